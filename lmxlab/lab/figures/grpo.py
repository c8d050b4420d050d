"""The pictures of notebook 05: groups, the clipped gain, a loss of 0, and four runs."""

from collections.abc import Mapping, Sequence

from lmxlab.lab.figures.drawing import SIZE, plot
from lmxlab.lab.plot import COLOURS, TEXT
from lmxlab.training.groups import group_advantages
from matplotlib.figure import Figure
import mlx.core as mx
import numpy as np

BETTER, WORSE = COLOURS[0], COLOURS[1]
GIVEN, TRUE = COLOURS[1], COLOURS[0]


def groups(rewarded: Mapping[str, Sequence[tuple[str, float]]]) -> Figure:
    """Draw how the rewards of each group become advantages.

    Args:
        rewarded: Prompt to its group: completions, each with its reward.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = groups({"21>": [("12.", 1.0), ("21.", 0.0)]})
        >>> [f"{bar.get_width():.2f}" for bar in figure.axes[0].patches]
        ['0.71', '-0.71']
    """
    height = 1.1 + 0.32 * max(map(len, rewarded.values()))
    figure: Figure
    figure, found = plot(height=height, columns=len(rewarded))
    for axes, (prompt, completions) in zip(
        np.atleast_1d(found), rewarded.items(), strict=True
    ):
        rewards = [reward for _, reward in completions]
        scored = group_advantages(mx.array(rewards), len(rewards))
        advantages = np.array(scored).tolist()
        places = range(len(rewards))
        for place, advantage in zip(places, advantages, strict=True):
            good = advantage > 0
            axes.barh(
                place,
                advantage,
                height=0.62,
                color=BETTER if good else WORSE,
                hatch="" if good else "///",
                edgecolor="#ffffff80",
                linewidth=0,
            )
            axes.text(
                advantage + (0.06 if advantage >= 0 else -0.06),
                place,
                f"{advantage:+.2f}" if advantage else "0",
                ha="left" if advantage >= 0 else "right",
                va="center",
                size=SIZE,
                color=TEXT,
            )
        names = [f"{text}   reward {reward:g}" for text, reward in completions]
        axes.set_yticks(places, names, size=SIZE)
        axes.tick_params(axis="y", length=0)
        axes.axvline(0, color=TEXT, linewidth=1)
        axes.set(xlim=(-1.7, 1.7), ylim=(len(rewards) - 0.4, -0.6))
        axes.set_title(f"prompt {prompt}   mean {np.mean(rewards):g}", size=SIZE)
        axes.set_xlabel("advantage (standard deviations)", size=SIZE)
        axes.set_ylabel("answer", size=SIZE)
        axes.spines["left"].set_visible(False)
    return figure


def clipping(epsilon: float = 0.2) -> Figure:
    """Draw what a token gains by its ratio, for a good and for a bad completion.

    Args:
        epsilon: How far the ratio counts, to both sides of 1.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> [axes.get_title()[:12] for axes in clipping().axes]
        ['advantage +1', 'advantage -1']
    """
    figure: Figure
    figure, both = plot(height=2.5, columns=2)
    low, high = 1 - epsilon, 1 + epsilon
    end = max(2.0, high + 0.5)
    ratio = np.linspace(0, end, 401)
    for axes, advantage in zip(both, (1.0, -1.0), strict=True):
        gain = np.minimum(ratio * advantage, np.clip(ratio, low, high) * advantage)
        flat = (high, end) if advantage > 0 else (0.0, low)
        axes.axvspan(*flat, color=TEXT, alpha=0.15, linewidth=0)
        axes.plot(ratio, ratio * advantage, color=TEXT, linestyle=":", linewidth=1.6)
        axes.plot(ratio, gain, color=BETTER if advantage > 0 else WORSE, linewidth=2.4)
        axes.plot(1, advantage, "o", color=TEXT, markersize=6)
        at, side, aside = (1.6, "right", -7) if advantage > 0 else (0.28, "left", 7)
        axes.annotate(
            "not clipped",
            (at, at * advantage),
            xytext=(aside, 2),
            textcoords="offset points",
            ha=side,
            size=SIZE,
            color=TEXT,
        )
        axes.annotate(
            "as sampled",
            (1, advantage),
            xytext=(8, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            size=SIZE,
            color=TEXT,
        )
        axes.text(
            *(sum(flat) / 2, 0.25 * end if advantage > 0 else -0.75 * end),
            "flat:\nno gradient",
            ha="center",
            va="center",
            size=SIZE,
            color=TEXT,
        )
        verb = "more" if advantage > 0 else "less"
        axes.set_title(f"advantage {advantage:+.0f}: make it {verb} likely", size=SIZE)
        axes.set_xlabel("ratio: probability now / when it was sampled", size=SIZE)
        axes.set_ylabel("gain", size=SIZE)
        axes.set(xlim=(0, end), ylim=sorted((0, advantage * end)))
        axes.set_xticks([0, low, 1, high, end])
    return figure


def slope_at_zero(
    moves: Sequence[float], losses: Sequence[float], slope: float
) -> Figure:
    """Draw a loss that is 0 where the policy stands, and goes downhill from there.

    Args:
        moves: How far a logit has been moved from where it was when sampling, 0 among
            them.
        losses: The loss there.
        slope: Slope of the loss at 0.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = slope_at_zero([-1, 0, 1], [0.4, 0.0, -0.4], -0.4)
        >>> figure.axes[0].texts[0].get_text()
        'value 0, slope -0.40'
    """
    figure: Figure
    figure, axes = plot(width=5.4, height=2.4)
    axes.axhline(0, color=TEXT, linewidth=1)
    axes.plot(moves, losses, color=COLOURS[0], linewidth=2.4, label="loss")
    near = 0.8 * max(map(abs, moves))
    axes.plot(
        [-near, near],
        [-near * slope, near * slope],
        color=COLOURS[1],
        linestyle="--",
        linewidth=1.8,
        label="its slope at 0",
    )
    axes.legend(frameon=False, fontsize=SIZE, labelcolor=TEXT, loc="upper right")
    axes.plot(0, 0, "o", color=TEXT, markersize=7)
    axes.annotate(
        f"value 0, slope {slope:.2f}",
        (0, 0),
        xytext=(10, 12),
        textcoords="offset points",
        size=SIZE,
        color=TEXT,
    )
    axes.set_xlabel("how far the logit has moved since sampling", size=SIZE)
    axes.set_ylabel("loss", size=SIZE)
    return figure


def given_and_true(
    runs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    before: float,
) -> Figure:
    """Draw, side by side, the reward of several runs and how often they were right.

    Args:
        runs: Name to the mean reward of each rollout, and the share that was right.
        before: The share that was right before training.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = given_and_true({"exact": ([0.5, 0.9], [0.5, 0.9])}, 0.5)
        >>> [line.get_label() for line in figure.axes[0].lines][:2]
        ['reward given', 'truly sorted']
    """
    figure: Figure
    figure, found = plot(height=2.7, columns=len(runs))
    for number, (axes, (name, (given, true))) in enumerate(
        zip(np.atleast_1d(found), runs.items(), strict=True)
    ):
        steps = range(1, len(given) + 1)
        axes.plot(
            steps, given, color=GIVEN, linewidth=3.0, alpha=0.75, label="reward given"
        )
        axes.plot(
            steps,
            true,
            color=TRUE,
            linewidth=1.5,
            linestyle="--",
            label="truly sorted",
        )
        axes.axhline(before, color=TEXT, linewidth=1, linestyle=":", label="base model")
        ends = f"rollouts end at {np.mean(true[-5:]):.0%} sorted"
        axes.set_title(f"{name}\n{ends}", size=SIZE)
        axes.set(ylim=(-0.04, 1.04), xlim=(1, max(2, len(given))))
        axes.set_xlabel("rollout", size=SIZE)
        if number:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel("mean of a rollout", size=SIZE)
    handles, labels = np.atleast_1d(found)[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=SIZE,
        labelcolor=TEXT,
    )
    return figure
