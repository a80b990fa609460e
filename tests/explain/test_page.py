"""The page of `fastbp explain` in a browser: headless Chromium, where there is one."""

import shutil
from itertools import pairwise

import pytest

import fastbp
from fastbp.cli import main

webdriver = pytest.importorskip("selenium.webdriver")
By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("needs chromium and chromedriver", allow_module_level=True)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["explain", "--html", str(path)]) == 0
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    window(browser, 1100)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.get(page)
    return browser


def window(browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )


def shown(browser):
    """data-j of the panels that can be seen."""
    panels = browser.find_elements(By.CSS_SELECTOR, ".panel[data-j]")
    return [p.get_attribute("data-j") for p in panels if p.is_displayed()]


def pressed(browser):
    found = browser.find_elements(By.CSS_SELECTOR, 'button[aria-pressed="true"]')
    return [b.get_attribute("data-j") for b in found]


def marked(browser):
    found = browser.find_elements(By.CSS_SELECTOR, ".matrix .column.on")
    return [c.get_attribute("data-j") for c in found]


def button(browser, j):
    return browser.find_element(By.CSS_SELECTOR, f'button[data-j="{j}"]')


def move(browser, element):
    webdriver.ActionChains(browser).move_to_element(element).perform()


def test_it_opens_without_complaint_and_asks_nobody(browser, page):
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page)
    assert browser.get_log("browser") == []
    events = [entry["message"] for entry in browser.get_log("performance")]
    requests = [e for e in events if '"Network.requestWillBeSent"' in e]
    assert len(requests) == 1 and "page.html" in requests[0]
    assert shown(browser) == ["0"] * 3 and pressed(browser) == ["0"]


def test_a_click_chooses_a_neuron(opened):
    button(opened, 4).click()
    assert pressed(opened) == ["4"]
    assert shown(opened) == ["4"] * 3  # in each of the three networks
    assert marked(opened) == ["4"] * 2
    net = fastbp.Network([64, 30, 10])  # the number of neurons is that of the buttons
    assert len(opened.find_elements(By.CSS_SELECTOR, "button")) == net.sizes[-1]


def test_the_pointer_shows_and_leaves(opened):
    button(opened, 2).click()
    cells = ".matrix .column[data-j='7'] rect"
    cell = opened.find_elements(By.CSS_SELECTOR, cells)[3]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    move(opened, cell)
    assert shown(opened) == ["7"] * 3 and marked(opened) == ["7"] * 2
    assert pressed(opened) == ["2"]
    move(opened, opened.find_element(By.CSS_SELECTOR, "#structure h2"))
    assert shown(opened) == ["2"] * 3 and marked(opened) == ["2"] * 2
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    webdriver.ActionChains(opened).move_to_element(cell).click().perform()
    assert pressed(opened) == ["7"]


def test_the_keyboard_does_it_too(opened):
    opened.find_element(By.TAG_NAME, "body").click()
    for _ in range(20):
        opened.switch_to.active_element.send_keys(Keys.TAB)
        if opened.switch_to.active_element.get_attribute("data-j") == "1":
            break
    assert shown(opened) == ["1"] * 3  # focus shows
    opened.switch_to.active_element.send_keys(Keys.SPACE)
    assert pressed(opened) == ["1"]
    outline = opened.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_equations_are_laid_out(opened):
    """MathML is drawn as such: a denominator stands below its numerator."""
    fraction = opened.find_element(By.CSS_SELECTOR, "#question .equation mfrac")
    above, below = fraction.find_elements(By.XPATH, "./*")
    assert above.rect["y"] + above.rect["height"] <= below.rect["y"] + 1
    assert fraction.rect["height"] > 25


@pytest.mark.parametrize("width", [1100, 600, 390, 320])
def test_nothing_is_cut_off(opened, width):
    window(opened, width)
    inner, scroll = opened.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert scroll <= inner
    for equation in opened.find_elements(By.CSS_SELECTOR, ".equation, .rung"):
        wide, seen = opened.execute_script(
            "return [arguments[0].scrollWidth, arguments[0].clientWidth]", equation
        )
        assert wide <= seen, equation.text
    # wide tables can be moved sideways; the terms of a sum are in view without that
    for term in opened.find_elements(By.CSS_SELECTOR, "td.term"):
        if term.is_displayed():
            assert term.rect["x"] + term.rect["width"] <= inner, term.text
    ends = [
        (section.rect["y"], section.rect["y"] + section.rect["height"])
        for section in opened.find_elements(By.TAG_NAME, "section")
    ]
    assert all(above[1] <= below[0] + 1 for above, below in pairwise(ends))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(opened, scheme):
    """Contrast of at least 4.5 for text and what explains it, in both colour schemes."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    contrasts = opened.execute_script(
        """
        const light = (colour) => {
          const part = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => {
            const c = v / 255;
            return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          });
          return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
        };
        const ground = (e) => {
          for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
          }
          return "rgb(255, 255, 255)";
        };
        return [...document.querySelectorAll("p, h2, b, small, .note, td, tr.on > td, button")]
          .filter((e) => e.checkVisibility())
          .map((e) => [light(getComputedStyle(e).color), light(ground(e))])
          .map(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
        """
    )
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(contrasts) > 100 and min(contrasts) >= 4.5


def test_without_javascript_the_chosen_neuron_is_there(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page)
    try:
        assert browser.find_elements(By.CSS_SELECTOR, "html.script") == []
        panels = browser.find_elements(By.CSS_SELECTOR, ".panel[data-j]:not([hidden])")
        assert [p.get_attribute("data-j") for p in panels] == ["0"] * 3
        assert "sum" in panels[0].text
        assert not browser.find_element(By.CSS_SELECTOR, ".chooser").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
