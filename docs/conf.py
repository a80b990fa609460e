"""How the pages are built: `sphinx-build -W -n docs docs/_build/html`.

What belongs here: extensions, looks, and what of the package the reference shows. What does not:
text (the pages), checks of what was built (.ci/docs, tests/docs).
"""

import os
import re
import sys
from pathlib import Path

from sphinx.util.inspect import TypeAliasForwardRef

import fastbp

HERE = Path(__file__).parent

# what the examples import; the gallery's runs take seconds, as in the tests, and fetch nothing
sys.path.append(str(HERE.parent / "bench"))
os.environ["FASTBP_SHORT"] = "1"  # the gallery's runs take seconds, as in the tests

project = "fastbp"
version = release = fastbp.__version__
copyright = "the authors of fastbp"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "_examples",
    "changes",
    "gallery/*.ipynb",
    "gallery/*.py",
    "**/sg_execution_times.rst",
    "sg_execution_times.rst",
]
templates_path = ["_templates"]
default_role = "code"  # `X` in a docstring is code

# Pages ask no network: MathJax comes as files of a wheel, icons with the theme.
mathjax3_config = {"options": {"enableMenu": False}}

myst_enable_extensions = ["colon_fence", "dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "signature"
# types of arguments by their names, which api/types.md explains; not what they stand for
TYPES = re.findall(
    r"py:type:: \S*?(\w+)$", (HERE / "api/types.md").read_text("utf-8"), re.MULTILINE
)
autodoc_type_aliases = {name: name for name in TYPES}
TypeAliasForwardRef.__repr__ = lambda of: of.name  # which is what a union of them shows
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
add_module_names = False
numpydoc_show_class_members = False  # the templates list them
numpydoc_xref_param_type = False  # types there are words: "array_like (n, n_0)"
nitpick_ignore_regex = [
    # other libraries' names: their inventories lie in the network, which the build does not ask
    (
        r"py:.*",
        r"(numpy|np|collections|typing|matplotlib|sklearn|scipy|river|pathlib|os|types"
        r"|pyarrow|dask|onnx|torch|keras|Axes|Figure|ClfTarget)\b.*",
    ),
    # what public signatures and bases name and is not public itself: classes known by their file
    (r"py:class", r"fastbp\.\w+\.\w+\.\w+(\.\w+)?|fastbp\.(dropout\.Layered|layers\.Tensor)"),
    (
        r"py:class",
        r"fastbp\.(architecture\.Architecture|questions\.Questions|derivatives\.Derivatives"
        r"|one_sample\.OneSample)",
    ),
    (r"py:class", "Ordered|ParquetChunks"),
]

html_theme = "pydata_sphinx_theme"
html_title = "fastbp"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {
    page: [] for page in ("start", "derivation", "performance", "scaling", "architecture")
}
html_theme_options = {
    "use_edit_page_button": False,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

EXAMPLES = HERE.parent / "bench" / "examples"
sphinx_gallery_conf = {
    "examples_dirs": ["_examples"],
    "gallery_dirs": ["gallery"],
    "remove_config_comments": True,
    "filename_pattern": r"/(?!fashion)\w+\.py$",  # which are run: its images may not be there
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,  # times of the machine that builds pages say nothing
    "abort_on_example_error": True,
}


def as_gallery(cells: str) -> str:
    """An example in percent format, whose prose is Markdown, as sphinx-gallery reads it.

    The first cell becomes the module's docstring, its heading underlined.
    """
    _, first, rest = re.split(r"^# %% \[markdown\]\n|^(?=# %%)", cells, maxsplit=2, flags=re.M)
    lines = [re.sub("^# ?", "", line) for line in first.splitlines()]
    title = lines[0].removeprefix("# ")
    text = "\n".join([title, "=" * len(title), *lines[1:]])
    text = re.sub(r"\n\n(?=    \S)", r"\n\n::\n\n", text)  # indented lines are code
    rest = re.sub(r"^# %% \[markdown\]", "# %%", rest, flags=re.M)
    # a cell of code after one of prose goes on with it
    return f'"""{text.strip()}\n"""\n' + re.sub(r"^# %%\n(?!#)", "", rest, flags=re.M)


def write_examples(app: object) -> None:
    folder = HERE / "_examples"
    folder.mkdir(exist_ok=True)
    heading = "Gallery\n=======\n\nThe programs of ``bench/examples``, short runs of each.\n"
    (folder / "README.rst").write_text(heading, encoding="utf-8")
    for path in sorted(EXAMPLES.glob("*.py")):
        text = as_gallery(path.read_text(encoding="utf-8"))
        if (kept := EXAMPLES.parent / f"{path.stem}.png").exists():  # of an example that is not run
            text += f"\n# sphinx_gallery_thumbnail_path = '../bench/{kept.name}'\n"
        there = folder / path.name
        if not there.exists() or there.read_text(encoding="utf-8") != text:
            there.write_text(text, encoding="utf-8")


def is_left_out(app, what, name, obj, skip, options):  # type: ignore[no-untyped-def]
    """Inherited members that others wrote: scikit-learn's, those of exceptions and tuples."""
    written = getattr(obj, "fget", None) or getattr(obj, "__func__", obj)
    home = getattr(written, "__objclass__", written)
    module = getattr(home, "__module__", None)
    return True if module is not None and not module.startswith("fastbp") else None


def as_rst(app, what, name, obj, options, lines):  # type: ignore[no-untyped-def]
    """What numpydoc leaves: `coefs_` in plain text is no link, attributes are of their class."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...", "..")):
            parts = re.split("(`+[^`]+`+)", line)
            plain = [re.sub(r"(?<!\\)\b([A-Za-z]\w*)_(?!\w)", r"\1\_", p) for p in parts[::2]]
            parts[::2] = plain
            lines[i] = "".join(parts)
        lines[i] = re.sub(r":obj:`(\w+)(?: <\1>)?`", rf":obj:`\1 <{name}.\1>`", lines[i])


def setup(app):  # type: ignore[no-untyped-def]
    app.connect("builder-inited", write_examples, priority=100)  # before the gallery looks
    app.connect("autodoc-skip-member", is_left_out)
    app.connect("autodoc-process-docstring", as_rst, priority=900)  # after numpydoc
