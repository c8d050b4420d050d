"""The pictures of notebook 02: two programs, token weights, memory, and errors."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from lmxlab.lab.figures.drawing import SIZE, arrow, box, plot, say, sketch
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import NullFormatter, NullLocator, ScalarFormatter

PROGRAM, BUFFER, STATE = COLOURS[0], COLOURS[1], COLOURS[2]


def two_programs(k: int = 4) -> Figure:
    """Draw the two compiled programs, and what each reads and writes.

    Args:
        k: Micro-batches of an update.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> words = [text.get_text() for text in two_programs(4).axes[0].texts]
        >>> "4 times" in words, "once" in words
        (True, True)
    """
    figure, axes = sketch(84, 28)
    for y, words in ((21.2, "1"), (17.8, "2"), (11.2, str(k))):
        box(axes, 1, y, 12, 2.8, f"micro-batch {words}", colour=COLOURS[4], fill=0.1)
    say(axes, 7, 15.9, "...")
    box(axes, 21, 14, 17, 10, "micro-step\nloss, gradient g,\nn tokens")
    box(axes, 50, 14, 12, 10, "buffer\nsum of n · g\nsum of n", colour=BUFFER)
    box(axes, 71, 14, 12, 10, "update\ndivide, clip,\nstep")
    say(axes, 29.5, 26, f"{k} times", bold=True)
    say(axes, 77, 26, "once", bold=True)
    arrow(axes, (13.4, 19), (21, 19))
    say(axes, 17.2, 21, "reads")
    arrow(axes, (38, 19), (50, 19), colour=BUFFER)
    say(axes, 44, 21, "adds n · g")
    arrow(axes, (62, 19), (71, 19), colour=BUFFER)
    say(axes, 66.5, 21, "reads")
    box(axes, 21, 2, 41, 5.5, "weights", colour=STATE)
    box(axes, 71, 2, 12, 5.5, "moments", colour=STATE)
    arrow(axes, (29.5, 7.5), (29.5, 14), colour=STATE)
    say(axes, 33, 10.7, "reads")
    arrow(axes, (73, 14), (60, 7.5), colour=STATE)
    say(axes, 61.5, 11.4, "writes", align="right")
    arrow(axes, (76, 14), (76, 7.5), colour=STATE)
    arrow(axes, (79, 7.5), (79, 14), colour=STATE)
    return figure


def token_weights(counts: Sequence[int] = (3, 9)) -> Figure:
    """Draw how much a token counts when tokens, and when means, are averaged.

    Args:
        counts: Tokens of each micro-batch.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> words = [text.get_text() for text in token_weights((3, 9)).axes[1].texts]
        >>> words[0], words[-1]
        ('16.7% each', '5.6% each')
    """
    figure: Figure
    figure, both = plot(height=2.7, columns=2)
    total, k = sum(counts), len(counts)
    ways = {
        "all tokens together": [100 / total for _ in counts],
        "mean of the means": [100 / (k * n) for n in counts],
    }
    for axes, (title, shares) in zip(both, ways.items(), strict=True):
        start = 1
        for number, (n, share) in enumerate(zip(counts, shares, strict=True)):
            axes.bar(
                range(start, start + n),
                share,
                width=0.86,
                color=COLOURS[number],
                hatch="" if number % 2 else "///",
                edgecolor="#ffffff80",
                linewidth=0,
                label=f"micro-batch {number + 1}: {n} tokens",
            )
            middle, words = start + (n - 1) / 2, f"{share:.1f}% each"
            axes.text(
                middle,
                share + 0.3,
                words,
                size=SIZE,
                color=TEXT,
                ha="center",
                va="bottom",
            )
            start += n
        axes.set_title(title, size=SIZE + 1)
        axes.set(xlabel="token", ylabel="weight in the loss (%)")
        axes.set_ylim(0, 115 / (k * min(counts)))
        axes.set_xticks(range(1, total + 1))
    _grey(both[1].legend(frameon=False, fontsize=SIZE, loc="upper right"))
    return figure


def memory_and_speed(
    ks: Sequence[int], mib: Sequence[float], tokens_per_second: Sequence[float]
) -> Figure:
    """Plot what splitting a batch saves, and what it costs.

    Args:
        ks: Numbers of micro-batches, the first for the whole batch.
        mib: Working memory of an update for each, in MiB.
        tokens_per_second: Throughput for each.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = memory_and_speed([1, 4], [80.0, 20.5], [9000.0, 8800.0])
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['working memory (MiB)', 'tokens per second']
    """
    figure: Figure
    figure, (left, right) = plot(height=2.9, columns=2)
    ideal = [mib[0] * ks[0] / k for k in ks]
    words = "1/k of the whole batch"
    left.plot(ks, ideal, "--", color=TEXT, linewidth=1.2, label=words)
    left.plot(ks, mib, "o-", color=COLOURS[0], label="measured")
    for k, value in zip(ks, mib, strict=True):
        left.annotate(
            f"{value:.3g}", (k, value), (4, 4), textcoords="offset points",
            size=SIZE, color=TEXT,
        )  # fmt: skip
    left.set_yscale("log")
    left.set_ylim(min([*mib, *ideal]) / 1.6, max(mib) * 1.9)
    left.set_ylabel("working memory (MiB)")
    left.yaxis.set_major_formatter(ScalarFormatter())
    left.yaxis.set_minor_formatter(NullFormatter())
    _grey(left.legend(frameon=False, fontsize=SIZE, loc="lower left"))
    right.plot(ks, tokens_per_second, "s-", color=COLOURS[1])
    right.set_ylim(0, 1.15 * max(tokens_per_second))
    right.set_ylabel("tokens per second")
    right.yaxis.set_major_formatter("{x:,.0f}")
    for axes in (left, right):
        _in_twos(axes, ks)
    return figure


def gradient_errors(ks: Sequence[int], errors: Mapping[str, Sequence[float]]) -> Figure:
    """Plot how far accumulated gradients are from the whole batch's.

    Args:
        ks: Numbers of micro-batches.
        errors: Way of averaging to its relative errors, one for each of ``ks``.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = gradient_errors([2, 4], {"tokens": [1e-7, 1e-7]})
        >>> figure.axes[0].get_yscale()
        'log'
    """
    figure: Figure
    figure, axes = plot(height=3.0)
    # Lines may lie on each other: what they are is said beside their ends.
    looks = ("o-", "s--", "^-.", "D:")
    heights = _apart([max(values[-1], 1e-9) for values in errors.values()], 5.0)
    for number, (name, values) in enumerate(errors.items()):
        shown = [max(value, 1e-9) for value in values]
        axes.plot(ks, shown, looks[number % 4], color=COLOURS[number], label=name)
        axes.annotate(
            f"{name}: {values[-1]:.2g}", (ks[-1], heights[number]), (10, 0),
            textcoords="offset points", size=SIZE, color=TEXT, va="center",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(1e-8, 10)
    axes.set_ylabel("relative error of the gradient")
    _in_twos(axes, ks)
    axes.set_xlim(ks[0] / 1.15, ks[-1] * 5)
    return figure


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Raise heights of words, on a logarithmic axis, to ``least`` times the next."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], least * moved[below])
    return moved


def _in_twos(axes: Axes, ks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(ks[0] / 1.3, ks[-1] * 1.5)
    axes.set_xlabel("k, micro-batches for one update")


def _grey(legend: Legend) -> None:
    for text in legend.get_texts():
        text.set_color(TEXT)
