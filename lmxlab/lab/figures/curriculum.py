"""The pictures of notebook 08: the parity world, what a bit tells, who learns it."""

from collections.abc import Collection, Mapping, Sequence

from lmxlab.lab.figures.drawing import SIZE, arrow, box, plot, say, sketch
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.figure import Figure

DASHES = ("-", "--", ":", "-.")


def parity(rows: Mapping[str, Sequence[int]], hidden: Collection[int]) -> Figure:
    """Draw rows of bits, the hidden ones marked, and their parity.

    Args:
        rows: Name of a row to its bits.
        hidden: Positions that count, from 0.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = parity({"easy": [1, 0, 1], "hard": [1, 1, 1]}, hidden=[0, 2])
        >>> [text.get_text() for text in figure.axes[0].texts][-1]
        'label 0'
    """
    height = 6.5
    figure, axes = sketch(84, height * len(rows) + 5)
    width = 58 / max(len(bits) for bits in rows.values())
    say(axes, 9, height * len(rows) + 2.5, "full boxes count", align="left")
    for number, (name, bits) in enumerate(rows.items()):
        y = height * (len(rows) - 1 - number) + 1.5
        say(axes, 7.5, y + 1.9, name, align="right", bold=True)
        for position, bit in enumerate(bits):
            counts = position in hidden
            fill = 0.25 if counts else 0.0
            colour = COLOURS[1] if counts else COLOURS[0]
            x = 9 + width * position
            box(
                axes, x, y, width - 0.5, 3.8, str(bit),
                colour=colour, fill=fill, dashed=not counts,
            )  # fmt: skip
        arrow(axes, (67.5, y + 1.9), (70.5, y + 1.9))
        label = sum(bits[position] for position in hidden) % 2
        box(axes, 71, y, 12, 3.8, f"label {label}", colour=COLOURS[2])
    return figure


def telling(found: Mapping[str, Sequence[float]], hidden: Collection[int]) -> Figure:
    """Draw how much each bit alone tells of the label, in two kinds of rows.

    Args:
        found: Kind of rows to the covariance of each bit's sign with the label's.
        hidden: Positions that count, from 0; marked below the axis.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = telling({"easy": [0.2, 0.0], "hard": [0.0, 0.0]}, hidden=[0])
        >>> [axes.get_title() for axes in figure.axes]
        ['easy', 'hard']
    """
    figure, both = plot(height=2.5, columns=len(found))
    top = max(abs(value) for values in found.values() for value in values)
    for axes, (name, values) in zip(both, found.items(), strict=True):
        colours = [COLOURS[1 if n in hidden else 0] for n in range(len(values))]
        axes.bar(range(len(values)), values, color=colours)
        axes.axhline(0, color=TEXT, linewidth=0.8)
        axes.set_title(name, fontsize=SIZE + 1)
        marks = sorted(hidden)
        axes.set_xticks(marks, [str(position) for position in marks])
        axes.set(xlabel="bit (hidden ones numbered)", ylabel="covariance with label")
        axes.set_ylim(-1.2 * top, 1.2 * top)
    return figure


def learning(
    accuracy: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    shares: Mapping[str, Sequence[float]],
) -> Figure:
    """Draw the accuracy of several runs, beside the share of hard rows that each saw.

    Args:
        accuracy: Name of a run to steps and accuracies on hard rows (uniform bits).
        shares: The same names, to the share of hard rows of each step.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = learning({"a": ([25], [0.5])}, {"a": [0.0, 1.0]})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['accuracy on hard rows', 'share of hard rows']
    """
    figure, (left, right) = plot(height=2.9, columns=2)
    for number, name in enumerate(accuracy):
        look = {"color": COLOURS[number], "linestyle": DASHES[number], "linewidth": 2}
        left.plot(*accuracy[name], label=name, **look)
        right.plot(range(1, len(shares[name]) + 1), shares[name], **look)
    left.axhline(0.5, color=TEXT, linewidth=0.8)
    left.set(xlabel="step", ylabel="accuracy on hard rows", ylim=(0.4, 1.03))
    right.set(xlabel="step", ylabel="share of hard rows", ylim=(-0.03, 1.05))
    left.legend(frameon=False, labelcolor=TEXT, fontsize=SIZE)
    return figure
