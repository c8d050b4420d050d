"""The pictures of notebook 07: two lessons, three targets, temperatures, two curves."""

from collections.abc import Mapping, Sequence
import math

from lmxlab.lab.figures.drawing import SIZE, arrow, box, plot, say, sketch
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

STUDENT, TEACHER, TRUTH = COLOURS[0], COLOURS[1], COLOURS[2]
HATCHES = ("", "///", "...")
LOOKS = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")


def two_lessons() -> Figure:
    """Draw what the student learns from: the teacher's distribution, and the text.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> words = [text.get_text() for text in two_lessons().axes[0].texts]
        >>> "inputs" in words, "× α" in words
        (True, True)
    """
    figure, axes = sketch(84, 25)
    box(axes, 1, 9.5, 9, 6, "inputs", colour=TEXT)
    box(axes, 17, 18, 15, 6, "teacher\nfrozen", colour=TEACHER, dashed=True)
    box(axes, 17, 9.5, 15, 6, "student\nlearns", colour=STUDENT)
    box(axes, 17, 1, 15, 6, "text\nthe next token", colour=TRUTH)
    arrow(axes, (10, 13.5), (17, 20.5))
    arrow(axes, (10, 12.5), (17, 12.5))
    arrow(axes, (32, 21), (48, 19.8), colour=TEACHER, dashed=True)
    say(axes, 40, 23.2, "p: all tokens, at τ")
    arrow(axes, (32, 13.6), (48, 17.2), colour=STUDENT)
    say(axes, 41.5, 13.6, "q at τ")
    arrow(axes, (32, 11.4), (48, 6.4), colour=STUDENT)
    say(axes, 42.5, 10.6, "at τ = 1")
    arrow(axes, (32, 4), (48, 4.6), colour=TRUTH)
    say(axes, 40, 1.8, "one token")
    box(axes, 48, 15.5, 13, 6, "τ² · KL(p‖q)\nsoft", colour=TEACHER)
    box(axes, 48, 2.5, 13, 6, "cross-entropy\nhard", colour=TRUTH)
    arrow(axes, (61, 18.5), (73, 14.4))
    say(axes, 67.5, 19, "× α")
    arrow(axes, (61, 5.5), (73, 10.6))
    say(axes, 69.5, 5.6, "× (1 − α)")
    box(axes, 73, 9.5, 9, 6, "loss", colour=TEXT)
    return figure


def three_targets(
    token: int, teacher: Sequence[float], truth: Sequence[float]
) -> Figure:
    """Plot what one position teaches: the text, the teacher, and what is true.

    Args:
        token: The one that follows in the text.
        teacher: Its probability of each token.
        truth: The source's probability of each token.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = three_targets(1, [0.2, 0.8], [0.3, 0.7])
        >>> [axes.get_title() for axes in figure.axes]
        ['the text: one-hot', 'the teacher: soft', 'the source: the truth']
    """
    figure: Figure
    figure, columns = plot(height=2.5, columns=3)
    onehot = [float(number == token) for number in range(len(truth))]
    shown = {
        "the text: one-hot": (onehot, STUDENT),
        "the teacher: soft": (teacher, TEACHER),
        "the source: the truth": (truth, TRUTH),
    }
    for number, (axes, (title, (bars, colour))) in enumerate(
        zip(columns, shown.items(), strict=True)
    ):
        _bars(axes, bars, colour, HATCHES[number])
        axes.set_title(title, size=SIZE + 1)
        axes.set_ylim(0, 1.05)
    return figure


def at_temperatures(
    probs: Sequence[float], temperatures: Sequence[float] = (1, 2, 10)
) -> Figure:
    """Plot a distribution at several temperatures, with its entropy.

    Args:
        probs: Probabilities at temperature 1, all above 0.
        temperatures: Above 0.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = at_temperatures([0.9, 0.1], [1, 2])
        >>> [f"{bar.get_height():.2f}" for bar in figure.axes[1].patches]
        ['0.75', '0.25']
        >>> figure.axes[1].get_title()
        'τ = 2: 0.56 nats of entropy'
    """
    figure: Figure
    figure, columns = plot(height=2.5, columns=len(temperatures))
    logits = np.log(np.asarray(probs, dtype=float))
    tops = []
    for axes, temperature in zip(columns, temperatures, strict=True):
        weights = np.exp((logits - logits.max()) / temperature)
        soft = weights / weights.sum()
        entropy = -math.fsum(soft * np.log(soft))
        _bars(axes, soft.tolist(), TEACHER, "")
        title = f"τ = {temperature:g}: {entropy:.2f} nats of entropy"
        axes.set_title(title, size=SIZE + 1)
        tops.append(soft.max())
    for axes in columns:
        axes.set_ylim(0, 1.08 * max(tops))
    return figure


def excess_over_steps(
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], teacher: float
) -> Figure:
    """Plot how far students stay above the truth, beside their teacher.

    Args:
        curves: Name to steps and to excess in nats a token, up to four.
        teacher: The teacher's excess, in nats a token.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = excess_over_steps({"alone": ([10, 20], [1.0, 0.9])}, 0.05)
        >>> len(figure.axes[0].lines)
        3
    """
    figure: Figure
    figure, axes = plot(height=3.1)
    for number, (name, (steps, nats)) in enumerate(curves.items()):
        axes.plot(
            steps, nats, LOOKS[number] + MARKERS[number], color=COLOURS[number],
            linewidth=2, markersize=4, label=f"{name}: {nats[-1]:.2f}",
        )  # fmt: skip
    axes.axhline(
        teacher, color=TEXT, linestyle=(0, (6, 3)), label=f"the teacher: {teacher:.2f}"
    )
    axes.axhline(0, color=TEXT, linewidth=2.5, label="0: the source's true entropy")
    axes.set(xlabel="step", ylabel="excess (nats per token)")
    top = max(max(nats) for _, nats in curves.values())
    axes.set_ylim(-0.04 * top, 1.08 * top)
    legend = axes.legend(
        frameon=False, fontsize=SIZE, loc="center left", bbox_to_anchor=(1.01, 0.5)
    )
    for text in legend.get_texts():
        text.set_color(TEXT)
    return figure


def _bars(axes: Axes, heights: Sequence[float], colour: str, hatch: str) -> None:
    axes.bar(
        range(len(heights)), heights, width=0.8, color=colour, hatch=hatch,
        edgecolor="#ffffff80", linewidth=0,
    )  # fmt: skip
    axes.set_xticks(range(0, len(heights), 5 if len(heights) > 6 else 1))
    axes.set(xlabel="next token", ylabel="probability")
