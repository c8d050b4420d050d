"""The pictures of notebook 00: surprise at each word, and the way of one batch."""

from collections.abc import Sequence
import math

from lmxlab.lab.figures.drawing import SIZE, arrow, box, plot, say, sketch
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.figure import Figure


def surprise(words: Sequence[str], ways: Sequence[int]) -> Figure:
    """Draw how much a perfect model is surprised by each word of a sentence.

    Args:
        words: The words that are predicted, in order.
        ways: How many words were equally likely at each place, 1 for a certain one.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = surprise(["saw", "a"], [1, 10])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['1', '10']
    """
    figure, axes = plot(height=2.4)
    heights = [math.log(n) for n in ways]
    bars = axes.bar(range(len(words)), heights, color=COLOURS[0])
    axes.bar_label(bars, [str(n) for n in ways], color=TEXT, fontsize=SIZE)
    axes.set_xticks(range(len(words)), list(words))
    axes.set(ylabel="surprise (nats)", ylim=(0, 1.25 * max([*heights, 1.0])))
    axes.set_xlabel("word that came; above it, how many were equally likely")
    return figure


def one_batch() -> Figure:
    """Draw the way of one batch of tokens, from the data to the plots.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> len(one_batch().axes[0].patches)
        10
    """
    figure, axes = sketch(84, 21)
    rooms = [
        ("data", "rows of tokens"),
        ("model", "a probability\nfor each next word"),
        ("loss", "mean surprise\nin nats"),
        ("gradient", "which way\nis downhill"),
        ("optimizer", "how far to go\n(learning rate)"),
    ]
    for number, (name, words) in enumerate(rooms):
        x = 1 + 16.9 * number
        box(axes, x, 8, 13.4, 9, f"{name}\n{words}", colour=COLOURS[0])
        if number:
            arrow(axes, (x - 3.5, 12.5), (x, 12.5))
    arrow(axes, (75.3, 8), (24.6, 8), bend=-0.18)
    say(axes, 50, 1.4, "new weights: one step is done")
    return figure
