"""The pages of the library's source: in colours, and an index without dead links.

viewcode colours as docstrings are coloured, which here is not at all, and its index
names modules for which it has no page: those of built-in and generated functions.
"""

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def colour(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make the lexer Python's once all other pages are written; adds no page."""
    app.config.highlight_language = "python"
    known = getattr(app.env, "_viewcode_modules", {})
    for name in [name for name, entry in known.items() if not entry]:
        del known[name]
    return iter(())


def tidy(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Keep the source's own empty lines, and let its name break at a dot."""
    if pagename.startswith("_modules/"):
        head, end, body = context["body"].partition("</h1>")
        body = body.replace('\n<a class="viewcode-back"', '<a class="viewcode-back"')
        body = body.replace("</div>\n</div>", "</div></div>")
        body = body.replace("</div>\n\n", "</div>")
        context["body"] = head.replace(".", ".<wbr>") + end + body


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before viewcode collects its pages."""
    app.connect("html-collect-pages", colour, priority=400)
    app.connect("html-page-context", tidy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
