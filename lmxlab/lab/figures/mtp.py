"""The pictures of notebook 06: depths, passes, heads that help, a loss that lies."""

from collections.abc import Sequence
from typing import Any

from lmxlab.lab.figures.drawing import SIZE, arrow, box, plot, say, sketch
from lmxlab.lab.plot import COLOURS, TEXT
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OWN, KEPT, LOST = COLOURS[0], COLOURS[2], COLOURS[1]
SMALL = 8.0  # points, for words in narrow boxes


def depths(words: Sequence[str], n_predict: int = 2) -> Figure:
    r"""Draw what each depth is told and what it predicts, position by position.

    Args:
        words: Tokens of a row; the last one is only a target.
        n_predict: Extra depths.

    Raises:
        ValueError: If there are too few words for that many depths.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = depths(["Ann", "and", "Ben", "saw"], n_predict=1)
        >>> [t.get_text() for t in figure.axes[0].texts if "told" in t.get_text()]
        ['told and\npredicts Ben', 'told Ben\npredicts saw']
    """
    positions = len(words) - 1
    if positions <= n_predict:
        raise ValueError(f"{len(words)} words are too few for {n_predict} depths")
    left, width = 15, 69 / positions
    inside, row, gap = width - 1.6, 5.0, 2.6
    top = (n_predict + 1) * (row + gap) + 4.2
    figure, axes = sketch(84, top + 5)
    say(axes, 1, top + 1.7, "the model reads", align="left", bold=True)
    for i in range(positions):
        box(axes, left + i * width, top, inside, 3.4, words[i], colour=COLOURS[4])
    for depth in range(n_predict + 1):
        y = top - gap - row - depth * (row + gap)
        name = "the model" if depth == 0 else f"head {depth}"
        ahead = "next" if depth == 0 else f"{depth} further"
        say(axes, 1, y + row / 2 + 1, name, align="left", bold=True)
        say(axes, 1, y + row / 2 - 1, ahead, align="left")
        for i in range(positions):
            x, there = left + i * width, i < positions - depth
            if not there:
                box(axes, x, y, inside, row, "no target", colour=TEXT, fill=0,
                    dashed=True, size=SMALL)  # fmt: skip
                continue
            told = f"told {words[i + depth]}\n" if depth else ""
            label = f"{told}predicts {words[i + depth + 1]}"
            colour = KEPT if depth else OWN
            box(axes, x, y, inside, row, label, colour=colour)
            arrow(axes, (x + inside / 2, y + row + gap), (x + inside / 2, y + row))
    note = "Arrows carry hidden states down. In its row each box also sees those on its"
    say(axes, 42, 1.7, f"{note} left, never on its right.")
    return figure


FULL = 0.32  # the inside of a token that the model chose by itself
Pass = tuple[Sequence[str], Sequence[str]]  # guesses; settled tokens


def passes(start: str, found: Sequence[Pass]) -> Figure:
    """Draw drafting and checking: a row for each pass, a column for each token.

    Args:
        start: The prompt, one token.
        found: For each pass the guesses that it checked and the tokens that it settled:
            the guesses it kept, and the model's own choice after them.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> figure = passes("Ann", [([], ["and"]), (["Ben", "ran"], ["Ben", "saw"])])
        >>> [text.get_text() for text in figure.axes[0].texts][3:6]
        ['pass 2', '✓ Ben', 'saw']
    """
    columns = 1 + max(sum(len(settled) for _, settled in found), 5)
    left, width = 9, min(75 / columns, 12)
    inside = width - 0.5
    heights = [
        6.2 if len(guesses) >= len(settled) else 3.6 for guesses, settled in found
    ]
    figure, axes = sketch(84, sum(heights) + 5)
    _word(axes, left, sum(heights) + 1.8, inside, start, COLOURS[4], 0.1)
    at, top = 1, sum(heights) + 4.6
    rows = zip(found, heights, strict=True)
    for number, ((guesses, settled), height) in enumerate(rows, start=1):
        y, kept = top - 2.8, len(settled) - 1
        say(axes, 1, y + 1.4, f"pass {number}", align="left")
        for k, word in enumerate(settled):
            own = k == kept
            words, colour = (word, OWN) if own else (f"✓ {word}", KEPT)
            x = left + (at + k) * width
            _word(axes, x, y, inside, words, colour, FULL if own else 0.1)
        for k, word in enumerate(guesses[kept:], start=kept):
            if at + k < columns:
                x = left + (at + k) * width
                _word(axes, x, y - 2.9, inside, f"✗ {word}", LOST, 0)
        at, top = at + len(settled), top - height
    for x, colour, fill, words in (
        (left, OWN, FULL, "filled: the model's own choice"),
        (left + 27, KEPT, 0.1, "✓ a guess that it kept"),
        (left + 49, LOST, 0.0, "✗ dashed: a guess that is lost"),
    ):
        box(axes, x, 0.8, 2, 2, colour=colour, fill=fill, dashed=colour == LOST)
        say(axes, x + 2.8, 1.8, words, align="left")
    return figure


def passes_by_heads(
    heads: Sequence[int], measured: Sequence[float], tokens: int
) -> Figure:
    """Plot how many passes a text takes against how many heads draft.

    Args:
        heads: Numbers of heads, 0 for plain decoding.
        measured: Passes of the base model for each.
        tokens: Length of the text.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> passes_by_heads([0, 1], [70, 37.5], 70).axes[0].get_ylabel()
        'passes for 70 tokens'
    """
    figure, axes = plot(height=2.8)
    least = [tokens / (n + 1) for n in heads]
    axes.plot(heads, least, "--", color=TEXT, linewidth=1.2, label="if all were kept")
    axes.plot(heads, measured, "o-", color=OWN, label="measured")
    for n, value in zip(heads, measured, strict=True):
        axes.annotate(f"{value:.3g}", (n, value), (4, 6), textcoords="offset points",
                      size=SIZE, color=TEXT)  # fmt: skip
    axes.set_ylim(0, 1.15 * tokens)
    axes.set_xlim(min(heads) - 0.2, max(heads) + 0.4)
    axes.set_xticks(list(heads))
    axes.set(xlabel="extra heads that draft", ylabel=f"passes for {tokens} tokens")
    _legend(axes)
    return figure


def losses_and_passes(
    floors: Sequence[float],
    losses: dict[str, Sequence[float]],
    counts: dict[str, float],
    tokens: int,
) -> Figure:
    """Plot the heads' losses beside the passes that they save.

    Args:
        floors: Entropy floor of each depth, in nats.
        losses: Run to its heads' losses, in nats.
        counts: Run to the passes that a text takes.
        tokens: Length of the text: the passes without heads.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> runs = {"sound": [0.9], "broken": [0.0]}
        >>> figure = losses_and_passes([0.8], runs, {"sound": 30, "broken": 70}, 70)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss (nats per token)', 'passes for 70 tokens']
    """
    figure, (left, right) = plot(height=2.9, columns=2)
    share = 0.8 / len(losses)
    for number, (name, values) in enumerate(losses.items()):
        style: dict[str, Any] = {"color": COLOURS[number], "linewidth": 0}
        style |= {"hatch": "///" if number else "", "edgecolor": "#ffffff80"}
        places = [k + share * number for k in range(len(values))]
        bars = left.bar(places, values, 0.9 * share, label=name, **style)
        left.bar_label(bars, [f"{v:.3f}" for v in values], size=SIZE, color=TEXT)
        bars = right.bar([name], [counts[name]], 0.5, **style)
        number_of = f"{counts[name]:.3g}"  # clear of the dashed line
        right.bar_label(bars, [number_of], padding=3, size=SIZE, color=TEXT)
    middle = share * (len(losses) - 1) / 2
    for k, floor in enumerate(floors):
        ends = (k + middle - 0.45, k + middle + 0.45)
        left.plot(ends, (floor, floor), "--", color=TEXT, linewidth=1.6,
                  label="" if k else "entropy floor")  # fmt: skip
    left.set_xticks(
        [k + middle for k in range(len(floors))],
        [f"head {k}" for k in range(1, len(floors) + 1)],
    )
    left.set(xlabel="depth", ylabel="loss (nats per token)")
    left.set_ylim(0, 1.6 * max(*floors, *(v for run in losses.values() for v in run)))
    _legend(left)
    right.axhline(tokens, linestyle="--", color=TEXT, linewidth=1.6)
    right.text(-0.45, tokens * 1.03, "without heads", size=SIZE, color=TEXT,
               ha="left", va="bottom")  # fmt: skip
    right.set_xlim(-0.5, len(counts) - 0.5)
    right.set_ylim(0, 1.3 * tokens)
    right.set(xlabel="run", ylabel=f"passes for {tokens} tokens")
    return figure


def _word(
    axes: Axes, x: float, y: float, width: float, words: str, colour: str, fill: float
) -> None:
    """Draw a token in a narrow box; what is lost is dashed."""
    size = SMALL if len(words) < 6 else SMALL - 1
    dashed = colour == LOST
    box(axes, x, y, width, 2.6, words, colour=colour, fill=fill, size=size,
        dashed=dashed)  # fmt: skip


def _legend(axes: Axes) -> None:
    legend = axes.legend(frameon=False, fontsize=SIZE, loc="upper right", ncols=1)
    for text in legend.get_texts():
        text.set_color(TEXT)
