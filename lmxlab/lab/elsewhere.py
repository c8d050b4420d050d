"""What a panel leaves where its buttons cannot be, and what to do about it.

A panel is made of ipywidgets' own controls, and of nothing else, so that every widget
manager can show it: JupyterLab's, VS Code's, Colab's, the one in a book. Where there is
none, or the kernel has gone, words take its place; the picture that a run leaves behind
needs neither.

Colab is the one front end that needs more. Its reader has to do something: it passes on
what widgets have to say only while a cell runs (github.com/googlecolab/colabtools,
issue 3373). Its manager for ipywidgets 8 has to be asked for, and hears of it only in
what ``display`` publishes, not in a cell's result (issue 63 of manzt/anywidget). And
that manager takes each echo of a slider's value for a new one, an old one included, so
that a fast hand's slider jumps back: in Colab the kernel sends none.
"""

import html
import sys
from typing import Any

from IPython.display import display
import ipywidgets as widgets
from ipywidgets.widgets import widget as protocol

WHAT_TO_DO = (
    "Where no buttons show: run this cell again, in JupyterLab if need be, or train "
    "with .run(), which needs none."
)
IN_COLAB = (
    "In Colab the plots move only while a cell runs: press Start, then run "
    "`await lab.wait()` (or what you called your panel) in the next cell at once. Its "
    "stop button ends the run."
)


def advice() -> str:
    """Return what this front end needs of its reader: a sentence, or nothing.

    Example:
        >>> advice()
        ''
    """
    return IN_COLAB if "google.colab" in sys.modules else ""


def prepare() -> None:
    """Ask the front end for the widget manager that panels need; only Colab has two.

    Example:
        >>> prepare()
    """
    if output := sys.modules.get("google.colab.output"):
        output.enable_custom_widget_manager()
        protocol.JUPYTER_WIDGETS_ECHO = False


class Shown:
    """What a cell shows as a widget, and in words where there are none.

    Attributes:
        box: The widget.
    """

    box: widgets.Widget

    def _whole(self) -> widgets.Widget:
        return self.box

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self._whole()._repr_mimebundle_(**kwargs) or {}
        return {**bundle, "text/plain": repr(self)}

    def _ipython_display_(self) -> None:
        if not advice():
            raise NotImplementedError  # IPython goes on to the MIME bundle
        display(self._repr_mimebundle_(), raw=True)


def in_words(description: str) -> dict[str, str]:
    """Return what stands in for a panel, for front ends that cannot show it.

    Args:
        description: What it is and where its run stands.

    Returns:
        MIME type to content, for ``_repr_mimebundle_``.

    Example:
        >>> print(in_words("Panel (idle).")["text/plain"])
        Panel (idle).
        Where no buttons show: run this cell again, in JupyterLab if need be, or train \
with .run(), which needs none.
    """
    return {
        "text/plain": f"{description}\n{WHAT_TO_DO}",
        "text/html": (
            '<div style="border:1px solid #888;padding:0.5em 1em;max-width:60em">'
            f"{html.escape(description)}<br><small>{WHAT_TO_DO}</small></div>"
        ),
    }
