"""The pictures of notebook 04: a pair, reward to loss, curves, where it all went."""

from collections.abc import Mapping, Sequence

from lmxlab.lab.figures.drawing import SIZE, arrow, box, plot, say, sketch
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.figure import Figure
import numpy as np

CHOSEN, REJECTED = COLOURS[0], COLOURS[1]
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")


def pair(
    prompt: Sequence[str], chosen: Sequence[str], rejected: Sequence[str]
) -> Figure:
    """Draw a pair as tokens: one prompt that is masked, and its two endings.

    Args:
        prompt: Words that both share.
        chosen: Words of the preferred ending.
        rejected: Words of the other ending.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = pair(["Ann", "and"], ["gave", "it"], ["hid", "it"])
        >>> [text.get_text() for text in figure.axes[0].texts][:2]
        ['Ann', 'and']
    """
    figure, axes = sketch(84, 20)
    widths = [1.15 * max(map(len, column)) + 1.6 for column in zip(prompt)]
    ends = [
        1.15 * max(map(len, column)) + 1.6
        for column in zip(chosen, rejected, strict=True)
    ]
    gap, split = 0.4, 4.0
    space = 82 - split - gap * (len(widths) + len(ends))
    scale = min(1.0, space / (sum(widths) + sum(ends)))
    x = 1.0
    for word, width in zip(prompt, widths, strict=True):
        box(axes, x, 8, scale * width, 4, word, colour=TEXT, fill=0.08, dashed=True)
        x += scale * width + gap
    say(axes, max(10, (1 + x) / 2), 4.4, "the prompt:\nmask 0, not scored")
    left = x + split - 1
    for y, words, colour, name in (
        (13.4, chosen, CHOSEN, "chosen: mask 1, make it likelier"),
        (2.6, rejected, REJECTED, "rejected: mask 1, make it less likely"),
    ):
        arrow(axes, (x, 10), (left, y + 2), colour=colour, dashed=colour == REJECTED)
        place = left
        for word, width in zip(words, ends, strict=True):
            box(axes, place, y, scale * width, 4, word, colour=colour)
            place += scale * width + gap
        say(axes, (left + place) / 2, y + (5.3 if y > 8 else -1.4), name)
    return figure


def reward_to_loss(beta: float = 0.5, margin: float = 3.0) -> Figure:
    """Draw how log-probabilities become rewards, and their margin a loss.

    Args:
        beta: The scale of the rewards.
        margin: A margin in nats, marked on the curves.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> axes = reward_to_loss(beta=0.5, margin=3.0).axes[1]
        >>> [round(float(y), 3) for y in axes.lines[2].get_ydata()]
        [0.201]
    """
    figure, axes = sketch(84, 27)
    for y, name, sign, colour in (
        (18, "chosen", "+", CHOSEN),
        (4, "rejected", "−", REJECTED),
    ):
        box(axes, 1, y, 15, 6, f"ln π − ln π$_{{ref}}$\nof the {name}", colour=colour)
        arrow(axes, (16, y + 3), (22, y + 3))
        say(axes, 19, y + 4.6, "× β")
        box(axes, 22, y, 9.5, 6, f"reward\n{name}", colour=colour)
        arrow(axes, (31.5, y + 3), (35.6, 14 + (1.4 if y > 9 else -1.4)), colour=colour)
        say(axes, 35, y + (1.4 if y > 9 else 4.8), sign)
    box(axes, 35.6, 11, 8.6, 6, "margin\nβΔ", colour=COLOURS[2])
    arrow(axes, (44.2, 14), (47.6, 14))
    curves = figure.add_axes((0.64, 0.2, 0.345, 0.7))
    curves.spines[["top", "right"]].set_visible(False)
    nats = np.linspace(-8, 12, 201)
    loss, pull = np.log1p(np.exp(-beta * nats)), beta / (1 + np.exp(beta * nats))
    here = np.log1p(np.exp(-beta * margin)), beta / (1 + np.exp(beta * margin))
    curves.plot(nats, loss, color=CHOSEN, linewidth=2.4, label="loss −ln σ(βΔ), nats")
    curves.plot(
        nats, pull, color=COLOURS[3], linewidth=2, linestyle="--",
        label="pull β σ(−βΔ)",
    )  # fmt: skip
    curves.plot([margin], [here[0]], "o", color=CHOSEN, markersize=6)
    curves.plot([margin], [here[1]], "s", color=COLOURS[3], markersize=6)
    curves.annotate(
        f"Δ = {margin:g}",
        (margin, here[0]),
        xytext=(4, 8),
        textcoords="offset points",
        size=SIZE,
        color=TEXT,
    )
    curves.axvline(0, color=TEXT, linewidth=1, linestyle=":")
    curves.set_xlabel(f"Δ (nats), with β = {beta:g}", size=SIZE)
    curves.set_ylabel("loss (nats), pull", size=SIZE)
    curves.set(xlim=(-8, 12), ylim=(0, None))
    curves.legend(frameon=False, fontsize=SIZE, labelcolor=TEXT, loc="upper right")
    return figure


def log_probs(
    runs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    references: Mapping[str, float],
) -> Figure:
    """Draw the log-probabilities of chosen and rejected, each with an axis of its own.

    Args:
        runs: Name to the two, at each step.
        references: Label to nats: horizontal lines among the chosen, the highest first.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> runs = {"DPO": ([-1.8, -4.0], [-1.8, -20.0])}
        >>> left, right = log_probs(runs, {"start": -1.79}).axes
        >>> right.lines[0].get_ydata().tolist()
        [-1.8, -20.0]
    """
    figure, both = plot(height=2.9, columns=2)
    for side, (axes, name) in enumerate(zip(both, ("chosen", "rejected"), strict=True)):
        for number, (run, curves) in enumerate(runs.items()):
            steps = np.arange(1, len(curves[side]) + 1)
            axes.plot(
                steps,
                np.array(curves[side]),
                color=COLOURS[number],
                linestyle=STYLES[number],
                marker=MARKERS[number],
                markevery=max(1, len(steps) // 6),
                markersize=5,
                linewidth=1.8,
                label=run,
            )
        axes.set_xlabel("step", size=SIZE)
        axes.set_ylabel(f"log-probability of {name} (nats)", size=SIZE)
        axes.set_xlim(1, max(2, len(steps)))
        axes.set_ylim(axes.get_ylim()[0], 0)
    for number, (label, nats) in enumerate(references.items()):
        both[0].axhline(nats, color=TEXT, linewidth=1, linestyle=":")
        both[0].annotate(
            label,
            (len(steps), nats),
            xytext=(0, -4 if number else 4),
            textcoords="offset points",
            ha="right",
            va="top" if number else "bottom",
            size=SIZE,
            color=TEXT,
        )
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels),
        frameon=False, fontsize=SIZE, labelcolor=TEXT,
    )  # fmt: skip
    return figure


def where_it_went(shares: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw what becomes of a probability of 1: kind, unkind, and everything else.

    Args:
        shares: Name of a model to what it gives to the kind and to the unkind endings.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = where_it_went({"base": (0.5, 0.4)})
        >>> [round(float(bar.get_width()), 3) for bar in figure.axes[0].patches]
        [0.5, 0.4, 0.1]
    """
    figure, axes = plot(height=0.95 + 0.36 * len(shares))
    parts = (
        ("kind endings", CHOSEN, ""),
        ("unkind endings", REJECTED, "///"),
        ("anything else", COLOURS[3], "..."),
    )
    for place, (kind, unkind) in enumerate(shares.values()):
        left = 0.0
        for width, (name, colour, hatch) in zip(
            (float(kind), float(unkind), max(0.0, float(1 - kind - unkind))),
            parts,
            strict=True,
        ):
            axes.barh(
                place, width, left=left, height=0.62, color=colour, alpha=0.85,
                hatch=hatch, edgecolor="#ffffff80", linewidth=0,
                label=name if not place else "",
            )  # fmt: skip
            left += width
        axes.text(1.02, place, f"{kind:.0%} kind", va="center", size=SIZE, color=TEXT)
    axes.set_yticks(range(len(shares)), list(shares), size=SIZE)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.16), ylim=(len(shares) - 0.5, -0.5))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("probability, after prompts that were held out", size=SIZE)
    axes.set_ylabel("model", size=SIZE)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels),
        frameon=False, fontsize=SIZE, labelcolor=TEXT,
    )  # fmt: skip
    return figure
