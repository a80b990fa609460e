"""The built pages: links, what they ask of the network, and four of them in headless Chromium.

What belongs here: what only the built site shows. What does not: text and code of the pages
(test_docs.py). .ci/docs builds the site and names its folder in FASTBP_SITE; without that these
tests are skipped.
"""

import os
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import Chromium

SITE = Path(os.environ.get("FASTBP_SITE", ""))
if not os.environ.get("FASTBP_SITE"):
    pytest.skip("needs the built site: .ci/docs", allow_module_level=True)
assert (SITE / "index.html").is_file(), f"FASTBP_SITE: expected a built site; got {SITE}"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPENED = {
    "index.html": "fastbp",
    "start.html": "Start",
    "derivation.html": "The derivation",
    "performance.html": "Performance",
    "coming-from/pytorch.html": "From PyTorch",
    "api/generated/fastbp.Network.html": "Network",
}
PHONE, DESK = 390, 1280  # pixels


class Page(HTMLParser):
    """Where a page can be entered, where it leads, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.assets = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        asset = found.get("href") if tag == "link" else found.get("src")
        if asset and found.get("rel") not in ("index", "search", "next", "prev", "canonical"):
            self.assets.append(asset)


@pytest.fixture(scope="module")
def pages():
    return {
        path: Page(path.read_text(encoding="utf-8"))
        for path in SITE.resolve().rglob("*.html")
        if "_static" not in path.parts
    }


def is_elsewhere(link):
    return bool(urlsplit(link).scheme or urlsplit(link).netloc)


def test_links_lead_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if is_elsewhere(link):
                continue
            parts = urlsplit(link)
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages.get(there)
            if not there.is_file() or (
                parts.fragment and known and unquote(parts.fragment) not in known.anchors
            ):
                broken.append(f"{path.name}: {link}")
    assert not broken, broken[:20]


def test_pages_load_what_lies_beside_them(pages):
    """Neither fonts nor scripts, styles or counts of readers from a network."""
    for path, page in pages.items():
        for asset in page.assets:
            if asset.startswith("data:"):
                continue
            assert not is_elsewhere(asset), f"{path.name}: {asset}"
            assert (path.parent / unquote(urlsplit(asset).path)).is_file(), f"{path.name}: {asset}"
    for style in (SITE / "_static").rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert "url(http" not in text and "url(//" not in text, style
        assert "@import" not in text or "http" not in text.partition("@import")[2][:80], style


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("websocket")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    found = Chromium(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def opened(browser, name, width=DESK):
    browser.open(f"{SITE.resolve().as_uri()}/{name}", width)
    # formulas are laid out after the page is there; a page without any has no MathJax
    browser.run("return (window.MathJax?.startup?.promise ?? Promise.resolve()).then(() => true)")
    return browser


@pytest.mark.parametrize(("name", "title"), OPENED.items())
def test_a_page_opens_without_complaint(browser, name, title):
    opened(browser, name)
    shown = browser.run("return document.title")
    assert title in shown and "fastbp" in shown
    assert browser.complaints() == []
    asked = browser.requests()
    assert asked and not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


def test_formulas_are_laid_out(browser):
    opened(browser, "derivation.html")
    count = "return document.querySelectorAll('mjx-container').length"
    assert browser.run(count) >= 4
    assert browser.run("return document.querySelectorAll('mjx-merror').length") == 0
    fonts = "return document.fonts.ready.then(() => document.fonts.check('16px MJXZERO'))"
    assert browser.run(fonts)


# Text against what lies behind it, by WCAG 2: the ratio of their luminances, 4.5 (large text: 3)
CONTRAST = """
document.documentElement.dataset.theme = arguments[0];
document.documentElement.dataset.mode = arguments[0];
const still = document.createElement('style');
still.textContent = '* { transition: none !important; animation: none !important }';
document.head.append(still);
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
canvas.canvas.width = canvas.canvas.height = 1;
const rgba = css => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
};
const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
const behind = e => {
    if (!e) return [255, 255, 255];
    const own = rgba(getComputedStyle(e).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, behind(e.parentElement));
};
const luminance = c => {
    const [r, g, b] = c.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
};
const bad = [];
let seen = 0;
for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
    if (!text || !e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
    const box = e.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    seen += 1;
    const style = getComputedStyle(e), ground = behind(e);
    const [a, b] = [luminance(over(rgba(style.color), ground)), luminance(ground)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + .05) / (b + .05);
    if (ratio < (large ? 3 : 4.5)) bad.push([text.slice(0, 30), e.className, ratio.toFixed(2)]);
}
return [seen, bad];
"""  # noqa: E501


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", OPENED)
def test_text_can_be_read(browser, name, theme):
    opened(browser, name)
    seen, bad = browser.run(CONTRAST, theme)
    assert seen > 30 and bad == []


def test_light_and_dark_differ(browser):
    opened(browser, "index.html")
    ground = "document.documentElement.dataset.theme = arguments[0];" \
             "return getComputedStyle(document.body).backgroundColor"  # fmt: skip
    assert browser.run(ground, "light") != browser.run(ground, "dark")


@pytest.mark.parametrize(
    "name", [*OPENED, "api/generated/fastbp.estimators.TabularClassifier.html"]
)
def test_nothing_is_wider_than_a_phone(browser, name):
    opened(browser, name, PHONE)
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE
    # what holds the text may not have to be moved sideways either; code and tables may
    wide = browser.run(
        "return [...document.querySelectorAll("
        "'.bd-article-container, article, article div, article section')]"
        ".filter(e => !e.closest('.highlight, [class*=scrollable], table, mjx-container')"
        " && e.clientWidth && e.scrollWidth > e.clientWidth + 1)"
        ".map(e => [e.className, e.scrollWidth, e.clientWidth])"
    )
    assert wide == []


@pytest.mark.parametrize(("query", "found"), [("jacobian", "Network"), ("recurrence", "check")])
def test_the_search_works_without_a_network(browser, query, found):
    opened(browser, f"search.html?q={query}")
    results = browser.run(
        "return new Promise(done => { const look = () => {"
        "  const all = [...document.querySelectorAll('#search-results li a')];"
        "  all.length ? done(all.map(a => a.textContent)) : setTimeout(look, 50); }; look(); })"
    )
    assert any(found.lower() in result.lower() for result in results), results
