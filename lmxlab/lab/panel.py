"""The panel: tune an experiment by hand and watch it train.

    lab = Panel(experiment, knobs=[Knob("learning_rate"), Knob("batch_size", [8, 32])])
    lab                      # in a notebook: buttons, sliders, live plots
    result = lab.run()       # the same thing at once, in the next cell or in a test

An experiment is a function from settings to a :class:`Run`; the knobs start where its
parameters' defaults are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
import math
import statistics
import sys
from typing import Any

from lmxlab.lab.chart import Chart
from lmxlab.lab.controls import Controls
from lmxlab.lab.knobs import Knob
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import LossFn
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
        config: The run.
        train_data: See :meth:`lmxlab.training.trainer.Trainer.stream`.
        eval_data: The same for evaluation, or None.
        loss_fn: Next-token cross-entropy when left out.
        live: Arrays that the loss reads and live knobs change, e.g. beta.
        on_change: Live settings that are no arrays, name to what takes a new value:
            ``{"pace": lambda pace: setattr(data, "pace", pace)}``.
        callbacks: Objects that see each record.
        references: Horizontal lines in the loss plot, label to nats.
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
        trainer: With the model and everything else.
        settings: The knobs' values at the start.
        changes: Live settings that were turned on the way: after which step, which
            setting, to what.
        history: One record for each step.
    """

    trainer: Trainer
    settings: dict[str, Any]
    changes: list[Change] = field(default_factory=list)

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
        """The training loss of each step, in nats."""
        return [record["loss"] for record in self.history]

    @property
    def eval_loss(self) -> float | None:
        """The last evaluation's loss in nats, or None if there was none."""
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
        """Say in one line what came out."""
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
        records: From a trainer.

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
        experiment: As for :class:`Panel`.
        settings: Its arguments.

    Returns:
        The fresh run.

    Raises:
        TypeError: If it returns anything else.
    """
    run = experiment(**settings)
    if not isinstance(run, Run):
        raise TypeError(f"the experiment must return a Run, got {type(run).__name__}")
    return run


class Panel(Controls):
    """Buttons, sliders and live plots over one experiment.

    Args:
        experiment: Takes the settings as keyword arguments, all with defaults, and
            returns a fresh :class:`Run`.
        knobs: The settings that the learner may turn.

    Raises:
        ValueError: If a knob is not a parameter of the experiment, or cannot show its
            default.

    Example:
        >>> def experiment(learning_rate=1e-2):
        ...     model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 4))
        ...     config = TrainConfig(learning_rate, max_steps=5, warmup_steps=0)
        ...     tokens = mx.array([[0, 1, 2, 3]])
        ...     return Run(model, config, [(tokens, tokens)] * 5)
        >>> lab = Panel(experiment, knobs=[Knob("learning_rate")])
        >>> result = lab.run(steps=3)  # doctest: +ELLIPSIS
        3 steps | loss ...
        >>> lab.state, len(result.history)
        ('stopped', 3)
    """

    def __init__(
        self, experiment: Callable[..., Run], knobs: Sequence[Knob] = ()
    ) -> None:
        """Build the widgets; the experiment is not called before Start."""
        self.result: Result | None = None
        self._chart = Chart(total=1)
        self._lag = 0
        self._setters: dict[str, Callable[[Any], None]] = {}
        self._last_wanted: int | None = None
        self._to_change: list[Change] = []
        super().__init__(experiment, knobs)

    def run(
        self,
        steps: int | None = None,
        *,
        changes: Sequence[Change] = (),
        progress: bool | None = None,
        **settings: Any,
    ) -> Result:
        """Train at once, in this cell, and leave a picture behind.

        Args:
            steps: Stop after so many; the whole run when left out.
            changes: Live settings to turn on the way, as a result lists them: after
                which step, which setting, to what.
            progress: Whether to print a line for each tenth of the run; by default in
                a terminal, where no panel can be watched.
            **settings: Instead of the knobs' present values.

        Returns:
            The run's result. The panel shows it too.

        Raises:
            ValueError: If a setting is unknown or out of range.
            Exception: What the experiment or a step raised. What was trained until
                then is in ``result``.
        """
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self._last_wanted = steps
        self._to_change = sorted(changes, key=lambda change: change[0])
        told = sys.stdout.isatty() if progress is None else progress

        def enough() -> bool:
            step = self._last["step"]
            if told and step * 10 // self.total > (step - 1) * 10 // self.total:
                print(f"step {step}/{self.total} | {self.describe()}", flush=True)
            return steps is not None and step >= steps

        try:
            self._run_now(settings, enough)
        finally:
            self._last_wanted, self._to_change = None, []
        self.show()
        assert self.result is not None
        return self.result

    def describe(self) -> str:
        """Say in one line where the run stands."""
        if self.result is None:
            return "Nothing has been trained yet: press Start, or call .run()."
        return self.result.summary()

    # ------------------------------------------------------------ what controls ask for

    def _open(self) -> Iterator[Record]:
        run = build(self.experiment, self.settings)
        trainer = run.trainer()
        self.result = Result(trainer, dict(self.settings))
        self._lag = trainer.lag
        self._setters = run.on_change
        self.total = run.config.max_steps
        self._chart = Chart(self.total, references=run.references)
        self._change_as_asked(0)
        return trainer.stream(run.train_data, run.eval_data)

    def _show(self, record: Record) -> None:
        self._chart.add(record)
        self._change_as_asked(record["step"])
        self._hold(self.state == "paused")

    def _change_as_asked(self, done: int) -> None:
        while self._to_change and self._to_change[0][0] <= done:
            _, name, value = self._to_change.pop(0)
            self._change_live(name, value)

    def _hold(self, held: bool) -> None:
        if self.result is None:
            return
        next_step = self._last.get("step", 0) + 1
        last = [] if self._last_wanted is None else [self._last_wanted]
        if next_step >= min(
            [*last, *(c[0] for c in self._to_change)], default=math.inf
        ):
            held = True  # nothing is queued behind a step that the run is to wait for
        self.result.trainer.lag = 0 if held else self._lag

    def _behind(self) -> bool:
        done = self._last.get("step", 0)
        return self.result is not None and self.result.trainer.step > done

    def _result(self) -> Result | None:
        return self.result

    def _reset(self) -> None:
        super()._reset()
        self.result = None
        self._chart = Chart(max(1, self.total))
        self._draw()

    def _change_live(self, name: str, value: Any) -> None:
        if self.result is None:
            return
        if name in self._setters:
            self._setters[name](value)
        else:
            self.result.trainer.set_live(name, value)
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        done = self.result.trainer.step  # one may be queued already
        self.result.changes.append((done, name, value))
        self._chart.mark(done, f"{name} {text}")
        words = self.knobs[name].words if name in self.knobs else name
        self.say(f"{words} = {text} from step {done + 1} on.")

    def _numbers(self) -> dict[str, str]:
        if not self._last:
            return {}
        data = self._data()
        speed = data["tokens-per-second"]
        return {
            "loss": f"{self._last['loss']:.3f}",
            "lr": f"{self._last['learning_rate']:.2e}",
            "tokens/s": f"{speed:,}" if speed else "first call",
            "traces": f"{data['traces']}",
            "memory": f"{mx.get_active_memory() / 2**20:.0f} MB",
        }

    def _data(self) -> dict[str, Any]:
        if self.result is None:
            return {"tokens-per-second": "", "traces": 0}
        speed = throughput(self.result.history[-20:])
        return {
            "tokens-per-second": "" if speed is None else round(speed),
            "traces": self.result.trainer.trace_count,
        }
