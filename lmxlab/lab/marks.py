"""Lines where something was changed, or that curves are read against, with words."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

COLUMN = 11  # pixels that a text beside its line takes
MOST = 40  # letters of a text
HIGH = 0.98  # where texts begin, as a share of the height


def draw_marks(
    axes: Axes, marks: Sequence[tuple[float, str]], colour: str, legend: int | None
) -> None:
    """Draw a line for each mark.

    Args:
        axes: Where to draw; limits and place are final.
        marks: Place on the x axis and text of each.
        colour: Colour of lines and texts.
        legend: Rows of the legend in the upper right corner; None for no texts.
    """
    up, area = axes.get_xaxis_transform(), axes.get_window_extent()
    marks = sorted(marks, key=lambda mark: mark[0])
    for x in {x for x, _ in marks}:
        axes.vlines(x, 0, 1, colour, linestyles=":", linewidth=1, transform=up)
    if legend is None:
        return
    marks = marks[-int(area.width / COLUMN) :]
    below = HIGH - (18 + 17 * legend) / area.height if legend else HIGH
    lines = [float(axes.transData.transform((x, 1))[0]) - area.x0 for x, _ in marks]
    for edge, (_, text) in zip(columns(lines, area.width), marks, strict=True):
        top = below if edge > area.width / 2 else HIGH
        short = text if len(text) <= MOST else f"{text[: MOST - 1]}…"
        axes.text(
            (edge - 1) / area.width, top, short, color=colour, fontsize=7, rotation=90,
            ha="right", va="top", transform=axes.transAxes,
        )  # fmt: skip


def columns(lines: Sequence[float], wide: float) -> list[float]:
    """Return where texts end on the right, so that none covers another.

    A text stands left of its line; if another one stands there, left of that; and
    where the axes end on the left, all move to the right. If there is room, no line
    goes through a text.

    Args:
        lines: Pixels from the left end of the axes, in order.
        wide: Pixels from there to the right end.

    Returns:
        Pixels from the left end, in order, at least 11 apart: a text's line.

    Example:
        >>> columns([5.0, 200.0, 200.0, 203.0], wide=300)
        [16.0, 178.0, 189.0, 200.0]
        >>> columns([5.0, 5.0, 5.0], wide=35)
        [11.0, 22.0, 33.0]
    """
    for through in (lines, []):
        edges: list[float] = []
        for line in reversed(lines):
            edge = min(line, edges[-1] - COLUMN if edges else math.inf)
            for other in reversed(through):
                edge = other if edge - COLUMN < other < edge else edge
            edges.append(edge)
        placed: list[float] = []
        for edge in reversed(edges):
            edge = max(edge, (placed[-1] if placed else 0.0) + COLUMN)
            for other in through:
                edge = other + COLUMN if edge - COLUMN < other < edge else edge
            placed.append(edge)
        if not placed or placed[-1] <= wide:
            break
    return placed


def draw_references(
    axes: Axes, references: Mapping[str, float], colour: str
) -> dict[str, Line2D]:
    """Draw horizontal lines, whose names belong in the legend: no curve runs there.

    Args:
        axes: Where to draw; limits are final.
        references: Label to the value.
        colour: Colour of the lines.

    Returns:
        Name, with its value, to what stands beside it in the legend.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().add_subplot()
        >>> [*draw_references(axes, {"floor": 0.5}, "black")]
        ['floor 0.500']
    """
    look: dict[str, Any] = {"ls": ":", "lw": 1.2}
    for value in references.values():
        axes.hlines(value, 0, 1, colour, transform=axes.get_yaxis_transform(), **look)
    return {
        f"{label} {value:.3f}": Line2D([], [], color=colour, **look)
        for label, value in sorted(references.items(), key=lambda item: -item[1])
    }
