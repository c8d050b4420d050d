"""The pictures of notebook 03: phases, Adam's first step, range tests, four runs."""

from collections.abc import Mapping, Sequence

from lmxlab.lab.figures.drawing import SIZE, plot
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
import numpy as np

# Dashes tell the lines apart where colours do not.
DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v")


def phases(
    cosine: Sequence[float], wsd: Sequence[float], warmup: int, decay: int
) -> Figure:
    """Draw two schedules side by side, with their phases named.

    Args:
        cosine: The learning rate of each step.
        wsd: The same for warm-up, stable, decay.
        warmup: Steps of warm-up, in both.
        decay: Steps in which wsd decays.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = phases([0.0, 0.5, 1.0, 0.5], [0.0, 0.5, 1.0, 0.0], 2, 1)
        >>> [text.get_text() for text in figure.axes[1].texts]
        ['warm-up', 'stable', 'decay']
    """
    figure: Figure
    figure, both = plot(height=2.5, columns=2)
    total = len(cosine)
    plans = {
        "cosine": (cosine, {"warm-up": warmup, "decay": total}),
        "wsd": (wsd, {"warm-up": warmup, "stable": total - decay, "decay": total}),
    }
    for axes, (title, (rates, ends)) in zip(both, plans.items(), strict=True):
        start, high = 0, max(rates)
        for number, (name, end) in enumerate(ends.items()):
            hue = COLOURS[{"warm-up": 1, "stable": 2, "decay": 0}[name]]
            axes.axvspan(start, end, color=hue, alpha=0.16, linewidth=0)
            if number:
                axes.axvline(start, color=TEXT, linewidth=0.8, linestyle=":")
            middle = (start + end) / 2
            axes.text(middle, 1.1 * high, name, size=SIZE, color=TEXT, ha="center")
            start = end
        axes.plot(range(total), rates, color=COLOURS[0], linewidth=2)
        axes.set_title(title, size=SIZE + 1)
        axes.set(xlabel="step", ylabel="learning rate", xlim=(0, total))
        axes.set_ylim(0, 1.25 * high)
    return figure


def first_step(
    gradients: Sequence[float], adam: Sequence[float], sgd: Sequence[float], rate: float
) -> Figure:
    """Draw how far the first step moves a weight, for small and large gradients.

    Args:
        gradients: Sizes of the gradient.
        adam: How far Adam moves the weight for each.
        sgd: How far plain gradient descent does.
        rate: The learning rate of both.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = first_step([0.1, 10.0], [0.01, 0.01], [0.001, 0.1], rate=0.01)
        >>> figure.axes[0].get_xscale()
        'log'
    """
    figure: Figure
    figure, axes = plot(width=6.0, height=2.6)
    axes.loglog(gradients, sgd, "s--", color=COLOURS[1], label="SGD: rate × gradient")
    axes.loglog(gradients, adam, "o-", color=COLOURS[0], label="Adam: the rate")
    axes.axhline(rate, color=TEXT, linewidth=0.8, linestyle=":")
    axes.set(xlabel="size of the first gradient", ylabel="size of the first update")
    _grey(axes.legend(frameon=False, fontsize=SIZE, loc="upper left"))
    return figure


def range_tests(
    tests: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    chosen: Mapping[str, float],
) -> Figure:
    """Plot the loss against the rate while the rate grows, a line for each optimizer.

    Args:
        tests: Optimizer to its rates, rising, and the smoothed loss at each, in nats.
        chosen: Optimizer to the rate that was chosen, marked on its line.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> tests = {"adamw": ([1e-4, 1e-2, 1.0], [4.0, 1.0, 5.0])}
        >>> axes = range_tests(tests, {"adamw": 3e-3}).axes[0]
        >>> axes.get_legend().get_texts()[0].get_text()
        'adamw: 0.003'
    """
    figure: Figure
    figure, axes = plot(height=3.0)
    for number, (name, (rates, losses)) in enumerate(tests.items()):
        hue, rate = COLOURS[number], chosen[name]
        at = float(np.interp(np.log(rate), np.log(rates), losses))
        dash, marker = DASHES[number], MARKERS[number]
        axes.plot(rates, losses, color=hue, linestyle=dash, linewidth=1.7)
        axes.plot([rate], [at], marker, color=hue, markersize=8, markeredgecolor=TEXT)
        axes.plot(
            [],
            [],
            color=hue,
            linestyle=dash,
            marker=marker,
            label=f"{name}: {rate:.2g}",
        )
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylabel="loss (nats per token)")
    axes.set_ylim(0, 1.15 * max(losses[0] for _, losses in tests.values()))
    words = {"title": "chosen rate", "title_fontsize": SIZE, "bbox_to_anchor": (1, 1)}
    legend = axes.legend(frameon=False, fontsize=SIZE, loc="upper left", **words)
    legend.get_title().set_color(TEXT)
    _grey(legend)
    return figure


def rate_over_loss(
    rates: Mapping[str, Sequence[float]],
    losses: Mapping[str, Sequence[float]],
    floor: float,
) -> Figure:
    """Draw schedules above their effect, on one axis of steps.

    Args:
        rates: Schedule to the learning rate of each step.
        losses: Schedule to the loss of each step, in nats; drawn as a mean of 20.
        floor: The entropy floor, in nats.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = rate_over_loss({"cosine": [0.1] * 30}, {"cosine": [2.0] * 30}, 0.7)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['learning rate', 'loss (nats per token)']
    """
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
    for number, name in enumerate(rates):
        style = {"color": COLOURS[number], "linestyle": DASHES[number]}
        above.plot(range(1, len(rates[name]) + 1), rates[name], label=name, **style)
        window = min(20, len(losses[name]))
        smooth = np.convolve(losses[name], np.ones(window) / window, mode="valid")
        below.plot(range(window, window + len(smooth)), smooth, **style)
    below.axhline(floor, color=TEXT, linewidth=1)
    steps = max(map(len, rates.values()))
    label = {"size": SIZE, "color": TEXT, "ha": "left", "va": "top"}
    below.text(0.01 * steps, floor - 0.015, "entropy floor", **label)
    below.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, steps))
    # What happens near the floor is the point, not the fall from the top.
    below.set_ylim(floor - 0.13, floor + 0.75)
    above.set_ylabel("learning rate")
    above.set_ylim(0, 1.08 * max(map(max, rates.values())))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=TEXT, alpha=0.18, linewidth=0.6)
    _legend_beside(above)
    return figure


def _legend_beside(axes: Axes) -> None:
    _grey(
        axes.legend(
            frameon=False, fontsize=SIZE, loc="upper left", bbox_to_anchor=(1, 1)
        )
    )


def _grey(legend: Legend) -> None:
    for text in legend.get_texts():
        text.set_color(TEXT)
