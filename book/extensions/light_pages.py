"""Pages without what they cannot use: widgets' state, and kernels for no notebook."""

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


def without_launch(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Leave out the offer to run a page elsewhere that is no notebook's file."""
    if pagename.startswith("notebooks/"):
        return
    context["header_buttons"] = [
        button
        for button in context.get("header_buttons", [])
        if button.get("label") != "launch-buttons"
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after the notebooks' own scripts and the theme's buttons were added."""
    app.connect("html-page-context", without_widgets, priority=900)
    app.connect("html-page-context", without_launch, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
