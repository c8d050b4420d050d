"""What the model writes, while it learns to: texts, or several answers to a prompt.

A judge says of each whether it is as it should be, or gives it a reward. A reward is
compared with the mean of the answers to the same prompt; a sign, a colour and a legend
say the same thing three times, so that none of them is needed alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import html
import math
from typing import Any, TypeAlias

import ipywidgets as widgets
from lmxlab.lab.chart import COLOURS, TEXT
from lmxlab.lab.elsewhere import Shown, in_words
from lmxlab.training.callbacks import Callback
from lmxlab.training.config import TrainConfig
from lmxlab.training.record import Record
import mlx.nn as nn

Verdict: TypeAlias = bool | float
Judged: TypeAlias = list[tuple[str, Verdict]]
Written: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]

GOOD, BAD = COLOURS[2], COLOURS[1]
# Kind: its sign, its colour, its words in the legend and for a screen reader.
LOOKS = {
    "right": ("✓", GOOD, "as it should be"),
    "wrong": ("✗", BAD, "not"),
    "above": ("▲", GOOD, "above the mean of its group"),
    "mean": ("=", TEXT, "at the mean"),
    "below": ("▼", BAD, "below it"),
}
_ROW = "display:flex;flex-flow:row wrap;column-gap:18px;line-height:1.5"


class Samples(Shown, Callback):
    """A pane of samples, renewed as training goes on; a callback for the trainer.

    Args:
        write: Makes texts from the model, in a moment: it runs between two steps. For
            answers to prompts it returns a dictionary, prompt to its answers.
        judge: Says of a text whether it is as it should be, or its reward, a number.
            For answers it is called with the prompt and the answer.
        every: Steps between two renewals; the first comes before training.

    Attributes:
        seen (dict[int, Any]): Step to its samples as ``write`` returned them, but with
            each text a pair (text, verdict).

    Raises:
        ValueError: If ``every`` is below 1.

    Example:
        >>> pane = Samples(lambda model: ["a b"], judge=lambda text: True, every=5)
        >>> callback = pane.watch(nn.Identity())
        >>> callback.on_train_begin(TrainConfig())
        >>> pane.seen
        {0: [('a b', True)]}
        >>> pane = Samples(lambda model: {"1+1": ["2", "3"]}, lambda p, a: float(a) - 2)
        >>> pane.watch(nn.Identity()).on_train_begin(TrainConfig())
        >>> print(pane.text(0))
        - 1+1: mean reward 0.5
          - ▼ 2 (0)
          - ▲ 3 (1)
    """

    def __init__(
        self,
        write: Callable[[Any], Written],
        judge: Callable[..., Any],
        every: int = 50,
    ) -> None:
        """Build the pane; nothing is sampled yet."""
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.write = write
        self.judge = judge
        self.every = every
        self.seen: dict[int, Judged | dict[str, Judged]] = {}
        self._model: nn.Module | None = None
        self._next: nn.Module | None = None
        self.box = widgets.HTML("<i>Samples show here once training begins.</i>")
        self.box.add_class("lmx-samples")

    def __repr__(self) -> str:
        """Show the last samples in plain text."""
        if not self.seen:
            return "Samples: none yet; they show once training begins."
        step = max(self.seen)
        return f"Samples after step {step}:\n{self.text(step)}"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**kwargs), **in_words(repr(self))}

    def watch(self, model: nn.Module) -> "Samples":
        """Sample from this model once its run begins; until then from the one before.

        Args:
            model: The model that ``write`` is called with.

        Returns:
            The pane, to be passed on as a callback.
        """
        self._next = model
        return self

    def on_train_begin(self, config: TrainConfig) -> None:
        """Forget an earlier run and show what an untrained model writes."""
        self.seen, self._model = {}, self._next
        self._renew(0)

    def needs_weights(self, step: int) -> bool:
        """Return whether the pane is renewed after a step.

        Args:
            step: Number of the step, from 1.
        """
        return step % self.every == 0

    def on_step_end(self, step: int, metrics: Record) -> None:
        """Renew the pane when it is time."""
        if self.needs_weights(step):
            self._renew(step)

    def on_train_end(self, history: list[Record]) -> None:
        """Show what the model writes now."""
        if history and history[-1]["step"] not in self.seen:
            self._renew(history[-1]["step"])

    def share(self, step: int) -> float:
        """Return the share of a step's samples that the judge let pass.

        Args:
            step: One of ``seen``.

        Returns:
            The share in [0, 1]; where the judge gives rewards, their mean.
        """
        return _mean([pair for _, pairs in self._groups(step) for pair in pairs])

    def text(self, step: int, most: int = 4) -> str:
        """Return a step's samples as Markdown, each with a sign.

        Args:
            step: One of ``seen``.
            most: How many texts, or prompts with all their answers.

        Returns:
            A list; under each prompt one of its answers.
        """
        lines = []
        for prompt, pairs in list(self._groups(step))[:most]:
            indent = "" if prompt is None else "  "
            if prompt is not None:
                lines.append(f"- {prompt}: {_standing(pairs)}")
            for text, verdict in pairs[: most if prompt is None else None]:
                sign = LOOKS[_kind(verdict, pairs)][0]
                lines.append(f"{indent}- {sign} {text}{_reward(verdict)}")
        return "\n".join(lines)

    # ----------------------------------------------------------------------- inside

    def _renew(self, step: int) -> None:
        if self._model is None:
            raise ValueError(
                "the pane has no model yet; pass pane.watch(model) instead"
            )
        written = self.write(self._model)
        if isinstance(written, Mapping):
            self.seen[step] = {
                prompt: [(a, self._judged(prompt, a)) for a in answers]
                for prompt, answers in written.items()
            }
        else:
            self.seen[step] = [(text, self._judged(text)) for text in written]
        self.box.value = self._page(step)

    def _judged(self, *about: str) -> Verdict:
        """What the judge says: a bool, or a finite number."""
        verdict = self.judge(*about)
        try:
            number = float(verdict)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(
                f"judge must return True, False or a finite number, got {verdict!r} "
                f"for {' and '.join(map(repr, about))}"
            )
        # A verdict of NumPy or MLX says by its type whether it is a yes or a number.
        boolean = isinstance(verdict, bool) or "bool" in str(
            getattr(verdict, "dtype", "")
        )
        return bool(number) if boolean else number

    def _groups(self, step: int) -> Iterator[tuple[str | None, Judged]]:
        seen = self.seen[step]
        if isinstance(seen, dict):
            yield from seen.items()
        else:
            yield None, seen

    def _page(self, step: int) -> str:
        """The pane. Text keeps the theme's own colour, which can always be read."""
        kinds: set[str] = set()
        blocks = []
        for prompt, pairs in self._groups(step):
            kinds |= {_kind(verdict, pairs) for _, verdict in pairs}
            items = "".join(_item(text, v, _kind(v, pairs)) for text, v in pairs)
            if prompt is None:
                blocks.append(f'<div style="line-height:1.5">{items}</div>')
            else:
                blocks.append(
                    f'<div role="group" aria-label="answers to {html.escape(prompt)}" '
                    f'class="lmx-rollout" style="margin-top:4px"><div>'
                    f"<code>{html.escape(prompt)}</code> &middot; {_standing(pairs)}"
                    f'</div><div style="{_ROW}">{items}</div></div>'
                )
        rewards = kinds & {"above", "mean", "below"}
        shown = ["above", "mean", "below"] if rewards else []
        if not rewards or kinds & {"right", "wrong"}:
            shown += ["right", "wrong"]
        legend = " &middot; ".join(f"{_signed(k)} {LOOKS[k][2]}" for k in shown)
        overall = self.share(step)
        told = f"mean reward {overall:.3g}" if rewards else f"{overall:.0%}"
        return (
            f'<div role="group" aria-label="Samples after step {step}" '
            f'data-step="{step}" data-mean="{overall:.6g}">'
            f"<b>Samples after step {step}</b> &middot; {told} &middot; "
            f'<span class="lmx-legend">{legend}</span>{"".join(blocks)}</div>'
        )


def _mean(pairs: Judged) -> float:
    return sum(verdict for _, verdict in pairs) / len(pairs) if pairs else math.nan


def _kind(verdict: Verdict, pairs: Judged) -> str:
    """A verdict's look; rewards are seen beside those of the same group."""
    if isinstance(verdict, bool):
        return "right" if verdict else "wrong"
    apart = verdict - _mean(pairs)
    if math.isclose(verdict, _mean(pairs), rel_tol=1e-9, abs_tol=1e-12):
        return "mean"
    return "above" if apart > 0 else "below"


def _standing(pairs: Judged) -> str:
    """How the answers to a prompt did, in words."""
    if pairs and all(isinstance(verdict, bool) for _, verdict in pairs):
        right = sum(verdict for _, verdict in pairs)
        return f"{right} of {len(pairs)} as they should be"
    return f"mean reward {_mean(pairs):.3g}"


def _reward(verdict: Verdict) -> str:
    return "" if isinstance(verdict, bool) else f" ({verdict:.3g})"


def _signed(kind: str) -> str:
    sign, colour, words = LOOKS[kind]
    words = "not as it should be" if kind == "wrong" else words
    return f'<b role="img" style="color:{colour}" aria-label="{words}">{sign}</b>'


def _item(text: str, verdict: Verdict, kind: str) -> str:
    return (
        f'<div class="lmx-sample" data-verdict="{kind}">{_signed(kind)} '
        f"{html.escape(text)}{_reward(verdict)}</div>"
    )
