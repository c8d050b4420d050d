"""Boxes, arrows and words: what the diagrams are put together from.

Coordinates of a sketch are in tenths of an inch, x to the right and y upwards, so that
what is drawn has the size that it says. All colours show on white and on black.
"""

from typing import Any

from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

SIZE = 9.0  # of words, in points


def sketch(width: float = 84.0, height: float = 28.0) -> tuple[Figure, Axes]:
    """Return an empty figure to draw in, without axes, ticks or frame.

    Args:
        width: Tenths of an inch; 84 is as wide as a notebook's pictures are.
        height: Tenths of an inch.

    Returns:
        The figure, and its axes in those units.

    Example:
        >>> figure, axes = sketch(40, 20)
        >>> figure.get_size_inches().tolist(), axes.axison
        ([4.0, 2.0], False)
    """
    figure = Figure(figsize=(width / 10, height / 10))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def plot(
    width: float = 8.4, height: float = 2.6, columns: int = 1
) -> tuple[Figure, Any]:
    """Return a figure for curves or bars, and its axes without top and right lines.

    Args:
        width: Inches.
        height: Inches.
        columns: How many plots stand side by side.

    Returns:
        The figure and its axes; a list of axes for several columns.

    Example:
        >>> figure, (left, right) = plot(columns=2)
        >>> left.spines["top"].get_visible()
        False
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    found = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found[0] if columns == 1 else found


def box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    words: str = "",
    *,
    colour: str = COLOURS[0],
    fill: float = 0.1,
    size: float = SIZE,
    dashed: bool = False,
) -> None:
    """Draw a box with words in its middle.

    Args:
        axes: Axes from :func:`sketch`.
        x: Its left edge.
        y: Its lower edge.
        width: Width of the box.
        height: Height of the box.
        words: Text in its middle; lines are separated by a line feed.
        colour: Colour of its edge, and faintly of its inside; the lab's first by
            default.
        fill: How much of the colour the inside takes, from 0 to 1.
        size: Font size of the words, in points; 9 by default.
        dashed: Whether the edge is dashed: for what is optional or not there.

    Example:
        >>> figure, axes = sketch()
        >>> box(axes, 2, 2, 20, 6, "gradient")
        >>> [text.get_text() for text in axes.texts]
        ['gradient']
    """
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.6",
            facecolor=to_rgba(colour, fill),
            edgecolor=colour,
            linewidth=1.4,
            linestyle="--" if dashed else "-",
        )
    )
    if words:
        say(axes, x + width / 2, y + height / 2, words, size=size)


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    colour: str = TEXT,
    bend: float = 0.0,
    dashed: bool = False,
) -> None:
    """Draw an arrow.

    Args:
        axes: Axes from :func:`sketch`.
        start: Place where it begins, x and y.
        end: Place of its head, x and y.
        colour: Colour of the arrow; a grey that shows on white and on black by default.
        bend: 0 for a straight one; the share of its length that it bows to the side.
        dashed: Whether its line is dashed.

    Example:
        >>> figure, axes = sketch()
        >>> arrow(axes, (0, 0), (10, 10))
        >>> len(axes.patches)
        1
    """
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            linewidth=1.4,
            color=colour,
            linestyle="--" if dashed else "-",
            shrinkA=1,
            shrinkB=1,
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def say(
    axes: Axes,
    x: float,
    y: float,
    words: str,
    *,
    size: float = SIZE,
    align: str = "center",
    bold: bool = False,
) -> None:
    """Write words, vertically centred on a height.

    Args:
        axes: Axes from :func:`sketch`.
        x: Their middle, or their left or right end.
        y: Their middle.
        words: What to write.
        size: Font size in points; 9 by default.
        align: ``"center"``, ``"left"`` or ``"right"``.
        bold: Whether they are a title.

    Example:
        >>> figure, axes = sketch()
        >>> say(axes, 1, 1, "k = 2", align="left")
        >>> axes.texts[0].get_horizontalalignment()
        'left'
    """
    axes.text(
        x,
        y,
        words,
        size=size,
        color=TEXT,
        ha=align,
        va="center",
        weight="bold" if bold else "normal",
        linespacing=1.25,
    )
