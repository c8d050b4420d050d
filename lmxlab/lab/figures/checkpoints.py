"""The pictures of notebook 09: what a run is made of, and how it goes on."""

from collections.abc import Mapping, Sequence

from lmxlab.lab.figures.drawing import SIZE, box, plot, say, sketch
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.figure import Figure

PARTS = {
    "weights": "what it knows",
    "moments": "where it was going",
    "step": "place in the schedule",
    "random key": "next dropout mask",
    "position": "next batch",
    "history": "for you",
}


def parts(kept: Mapping[str, Sequence[str]]) -> Figure:
    """Draw which parts of a run each kind of checkpoint keeps.

    Args:
        kept: Kind of checkpoint to the names of the parts that it keeps.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = parts({"weights alone": ["weights"]})
        >>> sum(text.get_text() == "lost" for text in figure.axes[0].texts)
        5
    """
    figure, axes = sketch(84, 7 + 6.5 * len(kept))
    for column, (name, meaning) in enumerate(PARTS.items()):
        x = 18 + 11 * column
        say(axes, x + 5, 6.5 * len(kept) + 4.6, name, bold=True)
        say(axes, x + 5, 6.5 * len(kept) + 2.2, meaning, size=7)
        for row, (kind, names) in enumerate(reversed(list(kept.items()))):
            y = 1.2 + 6.5 * row
            there = name in names
            words = "kept" if there else "lost"
            colour = COLOURS[2] if there else COLOURS[1]
            box(axes, x, y, 10, 4.6, words, colour=colour, dashed=not there)
            if column == 0:
                say(axes, 16.5, y + 2.3, kind, align="right")
    return figure


def resumed(
    whole: Sequence[float], pieces: Sequence[tuple[int, Sequence[float]]]
) -> Figure:
    """Draw a loss curve and, over it, the same run in pieces.

    Args:
        whole: Loss of each step of the run that was not interrupted, in nats.
        pieces: For each process, the steps that were done before it, and its losses.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = resumed([3.0, 2.0, 1.0], [(0, [3.0, 2.0]), (2, [1.0])])
        >>> len(figure.axes[0].lines)
        4
    """
    figure, axes = plot()
    steps = range(1, len(whole) + 1)
    axes.plot(
        steps, whole, color=COLOURS[0], linewidth=4, alpha=0.45, label="left alone"
    )
    for number, (done, losses) in enumerate(pieces):
        axes.plot(
            range(done + 1, done + len(losses) + 1),
            losses,
            color=COLOURS[(1, 3, 2)[number % 3]],
            linewidth=1.2,
            label=f"process {number + 1}",
        )
        if number:
            axes.axvline(done + 0.5, color=TEXT, linewidth=1, linestyle=":")
    axes.set(xlabel="step (dotted: a kill)", ylabel="loss (nats)")
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=SIZE)
    return figure


def two_runs(
    rates: Mapping[str, Sequence[float]], losses: Mapping[str, Sequence[float]]
) -> Figure:
    """Draw learning rates beside losses, of the same runs.

    Args:
        rates: Name of a run to the learning rate of each step.
        losses: The same names, to the loss of each step in nats.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = two_runs({"a": [1e-3, 1e-3]}, {"a": [2.0, 1.0]})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['learning rate (thousandths)', 'loss (nats)']
    """
    figure, (left, right) = plot(columns=2)
    for number, name in enumerate(rates):
        look = {"color": COLOURS[number], "linestyle": "-" if number == 0 else "--"}
        steps = range(1, len(rates[name]) + 1)
        left.plot(steps, [1000 * rate for rate in rates[name]], label=name, **look)
        right.plot(steps, losses[name], linewidth=1, label=name, **look)
    left.set(xlabel="step", ylabel="learning rate (thousandths)")
    right.set(xlabel="step", ylabel="loss (nats)")
    right.legend(frameon=False, labelcolor=TEXT, fontsize=SIZE)
    return figure


def patience(
    steps: Sequence[int], losses: Sequence[float], best: int, stopped: int
) -> Figure:
    """Draw evaluations, the best of them, and the wait until the run was stopped.

    Args:
        steps: Steps at which the evaluations were.
        losses: What they gave, in nats.
        best: The step of the lowest.
        stopped: The step at which the run was stopped.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = patience([1, 2, 3], [2.0, 1.0, 1.5], best=2, stopped=3)
        >>> figure.axes[0].get_xlabel()
        'step'
    """
    figure, axes = plot()
    axes.axvspan(best, stopped, color=COLOURS[1], alpha=0.15, label="patience")
    axes.plot(
        steps, losses, marker="o", markersize=3, color=COLOURS[0], label="held out"
    )
    lowest = losses[list(steps).index(best)]
    star = {"marker": "*", "markersize": 13, "linestyle": "none"}
    axes.plot(best, lowest, color=COLOURS[2], label="best", **star)
    axes.set(xlabel="step", ylabel="evaluation loss (nats)")
    axes.legend(frameon=False, labelcolor=TEXT, fontsize=SIZE)
    return figure
