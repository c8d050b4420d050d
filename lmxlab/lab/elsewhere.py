"""What a panel leaves where its buttons cannot be, and what to do about it.

A panel is made of ipywidgets' own controls, and of nothing else, so that every widget
manager can show it: JupyterLab's, VS Code's, Colab's, the one in a book. Where there is
none, or the kernel has gone, words take its place; the picture that a run leaves behind
needs neither.

Colab is the one front end that needs its reader to do something: it passes on what
widgets have to say only while a cell runs (github.com/googlecolab/colabtools, issue
3373).
"""

import html
import sys

WHAT_TO_DO = (
    "Where no buttons show: run this cell in JupyterLab, or train with .run(), which "
    "needs none."
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


def in_words(description: str) -> dict[str, str]:
    """Return what stands in for a panel, for front ends that cannot show it.

    Args:
        description: What it is and where its run stands.

    Returns:
        MIME type to content, for ``_repr_mimebundle_``.

    Example:
        >>> print(in_words("Panel (idle).")["text/plain"])
        Panel (idle).
        Where no buttons show: run this cell in JupyterLab, or train with .run(), \
which needs none.
    """
    return {
        "text/plain": f"{description}\n{WHAT_TO_DO}",
        "text/html": (
            '<div style="border:1px solid #888;padding:0.5em 1em;max-width:60em">'
            f"{html.escape(description)}<br><small>{WHAT_TO_DO}</small></div>"
        ),
    }
