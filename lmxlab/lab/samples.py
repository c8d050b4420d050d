"""What the model writes, while it learns to."""

from collections.abc import Callable, Sequence
import html
from typing import Any

import ipywidgets as widgets
from lmxlab.lab.chart import COLOURS
from lmxlab.training.callbacks import Callback
from lmxlab.training.config import TrainConfig
from lmxlab.training.record import Record
import mlx.nn as nn

GOOD, BAD = COLOURS[2], COLOURS[1]


class Samples(Callback):
    """A pane of samples, renewed as training goes on; a callback for the trainer.

    Args:
        write: Makes texts from the model, in a moment: it runs between two steps.
        judge: Says whether a text is as it should be.
        every: Steps between two renewals; the first comes before training.

    Attributes:
        seen: Step to its samples, pairs (text, verdict).

    Raises:
        ValueError: If ``every`` is below 1.

    Example:
        >>> pane = Samples(lambda model: ["a b"], judge=lambda text: True, every=5)
        >>> callback = pane.watch(nn.Identity())
        >>> callback.on_train_begin(TrainConfig())
        >>> pane.seen
        {0: [('a b', True)]}
    """

    def __init__(
        self,
        write: Callable[[Any], Sequence[str]],
        judge: Callable[[str], bool],
        every: int = 50,
    ) -> None:
        """Nothing is sampled yet."""
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.write = write
        self.judge = judge
        self.every = every
        self.seen: dict[int, list[tuple[str, bool]]] = {}
        self._model: nn.Module | None = None
        self.box = widgets.HTML("<i>Samples show here once training begins.</i>")
        self.box.add_class("lmx-samples")

    def watch(self, model: nn.Module) -> "Samples":
        """Sample from this model from now on.

        Returns:
            The pane, to be passed on as a callback.
        """
        self._model = model
        return self

    def on_train_begin(self, config: TrainConfig) -> None:
        """Forget an earlier run and show what an untrained model writes."""
        self.seen = {}
        self._renew(0)

    def needs_weights(self, step: int) -> bool:
        """Return whether the pane is renewed after this step."""
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
        """Return the share of a step's samples that the judge let pass."""
        verdicts = [verdict for _, verdict in self.seen[step]]
        return sum(verdicts) / len(verdicts)

    def text(self, step: int, most: int = 4) -> str:
        """Return a step's samples as Markdown, with a tick or a cross each."""
        lines = [
            f"- {'✓' if verdict else '✗'} {text}"
            for text, verdict in self.seen[step][:most]
        ]
        return "\n".join(lines)

    def _renew(self, step: int) -> None:
        if self._model is None:
            raise ValueError(
                "the pane has no model yet; pass pane.watch(model) instead"
            )
        self.seen[step] = [(text, self.judge(text)) for text in self.write(self._model)]
        # The text keeps the theme's own colour, which can be read on any background.
        rows = "".join(
            f'<div><b style="color:{GOOD if verdict else BAD}" aria-label='
            f'"{"right" if verdict else "wrong"}">{_sign(verdict)}</b> '
            f"{html.escape(text)}</div>"
            for text, verdict in self.seen[step]
        )
        self.box.value = (
            f"<b>Samples after step {step}</b> &middot; "
            f'<b style="color:{GOOD}">{_sign(True)}</b> as it should be '
            f"({self.share(step):.0%}) &middot; "
            f'<b style="color:{BAD}">{_sign(False)}</b> not'
            f'<div style="line-height:1.5">{rows}</div>'
        )


def _sign(verdict: bool) -> str:
    return "&#10003;" if verdict else "&#10007;"
