"""What an experiment hands to a panel, and what comes out of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import statistics
from typing import Any

from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import UNIT, LossFn, next_token_loss
from lmxlab.training.record import Record
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import mlx.nn as nn

Change = tuple[int, str, Any]  # after which step, which setting, to what


@dataclass
class Run:
    """What an experiment hands to the panel: all that a trainer needs.

    Args:
        model: A fresh model.
        config: Settings of the training run.
        train_data: See :meth:`lmxlab.training.trainer.Trainer.stream`.
        eval_data: The same for evaluation, or None.
        loss_fn: Next-token cross-entropy when left out.
        live: Arrays that the loss reads and live knobs change, e.g. beta.
        on_change: Live settings that are no arrays, name to what takes a new value:
            ``{"pace": lambda pace: setattr(data, "pace", pace)}``.
        callbacks: Objects that see each record.
        references: Horizontal lines in the loss plot, label to value.
        gauges: Metrics that share a plot, its title (with the unit) to their names.
            Every other metric that the loss reports has a plot of its own.
        loss_unit: What the loss is counted in, such as ``nats per pair``. When left
            out, nats per token for the default loss; for another one nothing is said.
    """

    model: nn.Module
    config: TrainConfig
    train_data: Any
    eval_data: Any = None
    loss_fn: LossFn | None = None
    live: dict[str, mx.array] = field(default_factory=dict)
    on_change: dict[str, Callable[[Any], None]] = field(default_factory=dict)
    callbacks: Sequence[Any] = ()
    references: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, Sequence[str]] = field(default_factory=dict)
    loss_unit: str | None = None

    @property
    def unit(self) -> str:
        """What the loss is counted in; empty if that is not known."""
        if self.loss_unit is None:
            return UNIT if self.loss_fn in (None, next_token_loss) else ""
        return self.loss_unit

    def trainer(self) -> Trainer:
        """Build the trainer of this run."""
        return Trainer(
            self.model,
            self.config,
            callbacks=list(self.callbacks),
            loss_fn=self.loss_fn,
            live=self.live,
        )


@dataclass
class Result:
    """A run that has ended, however it ended.

    Attributes:
        trainer: The run's trainer, with model, optimizer and history.
        settings: The knobs' values at the start.
        changes: Live settings that were turned on the way: after which step, which
            setting, to what.
        unit: What the loss is counted in; empty if that is not known.
        history: One record for each step.
    """

    trainer: Trainer
    settings: dict[str, Any]
    changes: list[Change] = field(default_factory=list)
    unit: str = ""

    @property
    def model(self) -> nn.Module:
        """The trained model."""
        return self.trainer.model

    @property
    def history(self) -> list[Record]:
        """One record for each step."""
        return self.trainer.history

    @property
    def losses(self) -> list[float]:
        """The training loss of each step."""
        return [record["loss"] for record in self.history]

    @property
    def eval_loss(self) -> float | None:
        """The last evaluation's loss, or None if there was none."""
        found = [r["eval_loss"] for r in self.history if "eval_loss" in r]
        return found[-1] if found else None

    @property
    def tokens_per_second(self) -> float | None:
        """Median throughput, first calls left out; None before the first timed step."""
        return throughput(self.history)

    @property
    def first_call_seconds(self) -> float:
        """What tracing and compiling cost, all shapes together."""
        return sum(float(r.get("first_call_seconds", 0.0)) for r in self.history)

    def summary(self) -> str:
        """Return one line that says what came out."""
        if not self.history:
            return "no step was done"
        parts = [f"{len(self.history)} steps", f"loss {self.losses[-1]:.3f}"]
        if self.eval_loss is not None:
            parts.append(f"evaluation {self.eval_loss:.3f}")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        parts.append(f"first call {self.first_call_seconds:.2f} s")
        entered = self.trainer.trace_count
        parts.append(f"Python entered the step {entered} time{'s' * (entered != 1)}")
        return " | ".join(parts)


def throughput(records: Sequence[Record]) -> float | None:
    """Median tokens per second of some records, first calls left out.

    Args:
        records: A history, or a part of one.

    Returns:
        Tokens per second, or None if no step was timed.

    Example:
        >>> throughput([{"tokens": 10, "step_seconds": 0.5}])
        20.0
    """
    rates = [
        record["tokens"] / max(record["step_seconds"], 1e-9)
        for record in records
        if "first_call_seconds" not in record
    ]
    return statistics.median(rates) if rates else None


def build(experiment: Callable[..., Run], settings: dict[str, Any]) -> Run:
    """Call an experiment.

    Args:
        experiment: Function from settings to a :class:`.Run`.
        settings: The values that it is called with, by name.

    Returns:
        The fresh run.

    Raises:
        TypeError: If it returns anything else.
    """
    run = experiment(**settings)
    if not isinstance(run, Run):
        raise TypeError(f"the experiment must return a Run, got {type(run).__name__}")
    return run
