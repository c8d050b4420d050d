"""Pages without what they cannot use: the state of widgets that need a kernel."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

WIDGETS = "application/vnd.jupyter.widget"


def without_widgets(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Leave the state out that executing a notebook has stored."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if not str(getattr(script, "attributes", {}).get("type")).startswith(WIDGETS)
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after the notebooks' own scripts were added."""
    app.connect("html-page-context", without_widgets, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
