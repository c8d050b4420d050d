"""The pictures of notebook 10: one update made by several processes."""

from collections.abc import Mapping, Sequence

from lmxlab.lab.figures.drawing import SIZE, arrow, box, plot, say, sketch
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.figure import Figure

DASHES = ("-", "--", ":")


def one_update(processes: int = 2) -> Figure:
    """Draw a data-parallel update: own rows, own gradient, one mean, the same step.

    Args:
        processes: How many, 2 or 3.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> words = [text.get_text() for text in one_update(3).axes[0].texts]
        >>> sum(word.startswith("process") for word in words)
        3
    """
    height = 9.0
    figure, axes = sketch(84, height * processes + 3)
    top = height * processes
    box(axes, 47, 1, 11, top, "all_sum\nthe weighted\nmean of all", colour=COLOURS[1])
    for rank in range(processes):
        y = top - height * (rank + 1) + 2
        say(axes, 9, y + 3, f"process {rank}", align="right", bold=True)
        share = f"1/{processes}"
        for x, width, words, colour in (
            (10, 14, f"{share} of the rows", COLOURS[0]),
            (28, 14, "own gradient", COLOURS[0]),
            (63, 18, "same step,\nsame weights", COLOURS[2]),
        ):
            box(axes, x, y, width, 6, words, colour=colour)
        arrow(axes, (24, y + 3), (28, y + 3))
        arrow(axes, (42, y + 3), (47, y + 3))
        arrow(axes, (58, y + 3), (63, y + 3))
    return figure


def curves(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Draw loss curves over each other.

    Args:
        losses: Name of a run to its losses in nats, one for each step; at most three.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> len(curves({"one": [2.0, 1.0], "two": [2.0, 1.0]}).axes[0].lines)
        2
    """
    figure, axes = plot()
    for number, (name, values) in enumerate(losses.items()):
        look = {"color": COLOURS[number], "linestyle": DASHES[number]}
        width = 4 if number == 0 else 1.5
        steps = range(1, len(values) + 1)
        axes.plot(steps, values, linewidth=width, label=name, **look)
        axes.lines[-1].set_alpha(0.5 if number == 0 else 1)
    axes.set(xlabel="step", ylabel="loss (nats)")
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=SIZE)
    return figure


def drift(distances: Mapping[str, Sequence[float]]) -> Figure:
    """Draw how far the processes' weights have moved apart.

    Args:
        distances: Name of a run to the relative distance after each step.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> drift({"averaged": [0.0, 0.0], "alone": [0.1, 0.2]}).axes[0].get_xlabel()
        'step'
    """
    figure, axes = plot()
    for number, (name, values) in enumerate(distances.items()):
        look = {"color": COLOURS[number], "linestyle": DASHES[number]}
        axes.plot(range(1, len(values) + 1), values, label=name, linewidth=2, **look)
    axes.set(xlabel="step", ylabel="distance (share of the length)")
    highest = max((max(values) for values in distances.values()), default=0.0)
    axes.set_ylim(-0.04 * highest or -1.0, None)  # a line at 0 is seen
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=SIZE)
    return figure
