"""The book: Sphinx reads pages here and notebooks where they lie; nothing is copied.

``make book`` runs every notebook afresh, unless its cells are the same as when it was
last run (jupyter-cache), and fails on any warning. The build needs no network, and what
it builds asks for none.
"""

import os
from pathlib import Path
import sys

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "extensions")]

import execute  # noqa: E402 - after the path
import lmxlab  # noqa: E402 - before anything imports mlx

project = "lmxlab"
author = "the lmxlab authors"
project_copyright = "the lmxlab authors, MIT licence"
version = release = lmxlab.__version__
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    # MathJax as files in the build, in place of a content delivery network.
    "sphinx-mathjax-offline",
    "myst_nb",
    "breaks",
    "formulas",
    "light_pages",
    "picture_words",
    "recorded",
    "settings",
    "signatures",
    "sources",
]

# The source root is the repository, so that notebooks are neither copied nor linked.
root_doc = "book/index"
include_patterns = ["book/**.md", "notebooks/*.ipynb"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "**/runs"]

# ---- notebooks ----

nb_execution_mode = os.environ.get("LMXLAB_BOOK_EXECUTION", "cache")
nb_execution_cache_path = str(execute.cache_path())
nb_execution_timeout = execute.TIMEOUT
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_markdown_format = "myst"  # with tables
# A widget needs a kernel: the page shows the picture beside it, or words.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None),
]
os.environ.setdefault("LMXLAB_RUNS", "off")

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# ---- the reference ----

autodoc_default_options = {
    "members": True,
    "special-members": "__init__, __call__",  # those that have a docstring
    "ignore-module-all": True,
    "member-order": "bysource",
}
autodoc_inherit_docstrings = False
autodoc_mock_imports = ["torch"]  # an extra that the book does without
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True  # as in the source: not <built-in function print>
default_role = "code"
highlight_language = "none"  # what docstrings set apart are formulas, mostly
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 1  # but what fits into a line: signatures.py
napoleon_use_ivar = True
napoleon_use_rtype = False  # "Returns:" begins with a shape or a sentence, not a type
nitpicky = True
# Types of other packages, whose references are not here (no intersphinx: no network),
# and names of our own that begin with an underscore.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(abc|array|asyncio|collections|concurrent|contextlib|dataclasses|enum|fractions|io|"
        r"ipywidgets|IPython|matplotlib|mlx|numpy|os|pathlib|subprocess|traitlets|types|"
        r"torch|typing)(\..*)?",
    ),
    (r"py:.*", r"(lmxlab\..*\.)?(_\w+|T)"),
]

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"

# ---- the pages ----

html_theme = "sphinx_book_theme"
html_title = "lmxlab"
html_static_path = ["static"]
html_favicon = "static/favicon.svg"
html_css_files = ["book.css"]
html_js_files = ["recorded.js", "scrolling.js"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_theme_options = {
    "repository_url": "https://github.com/lmxlab/lmxlab",
    "repository_branch": "main",
    "path_to_docs": "",
    "use_repository_button": True,
    "use_source_button": False,
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
    "show_toc_level": 2,
    # The theme has a search box of its own; with both there are two.
    "navbar_persistent": [],
    "show_navbar_depth": 1,
}
