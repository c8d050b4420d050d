"""Right, wrong or not answered: a sign, a colour and words, never a colour alone."""

import html
from typing import Literal

from lmxlab.lab.chart import COLOURS, TEXT

State = Literal["right", "wrong", "open"]

_LOOKS = {
    "right": ("✓", COLOURS[2], "right"),
    "wrong": ("✗", COLOURS[1], "not right"),
    "open": ("…", TEXT, "not answered"),
}


def verdict_text(state: State, message: str) -> str:
    """Return a verdict in plain text.

    Args:
        state: ``"right"``, ``"wrong"`` or ``"open"``, which is not answered.
        message: The sentence after the sign.

    Returns:
        The sign and the message.

    Example:
        >>> verdict_text("wrong", "that is the square")
        '✗ that is the square'
    """
    return f"{_LOOKS[state][0]} {message}"


def verdict_html(state: State, message: str) -> str:
    """Return a verdict as HTML, in the page's text colour: for light and dark themes.

    Args:
        state: ``"right"``, ``"wrong"`` or ``"open"``, which is not answered.
        message: The sentence after the sign, as text: markup in it is escaped.

    Returns:
        One element, of class ``lmx-verdict``, that screen readers announce.

    Example:
        >>> page = verdict_html("right", "1 < 2")
        >>> "✓" in page, 'aria-label="right"' in page, "1 &lt; 2" in page
        (True, True, True)
    """
    sign, colour, name = _LOOKS[state]
    return (
        f'<div role="status" class="lmx-verdict" data-verdict="{state}" '
        f'style="border-left: 4px solid {colour}; padding: 2px 10px; margin: 4px 0; '
        f'line-height: 1.4"><b role="img" aria-label="{name}" '
        f'style="color: {colour}; font-size: 120%">{sign}</b> '
        f"{html.escape(message)}</div>"
    )
