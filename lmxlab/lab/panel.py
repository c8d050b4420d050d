"""The panel: tune an experiment by hand and watch it train.

    lab = Panel(experiment, knobs=[Knob("learning_rate"), Knob("batch_size", [8, 32])])
    lab                      # in a notebook: buttons, sliders, live plots
    result = lab.run()       # the same thing at once, in the next cell or in a test

An experiment is a function from settings to a :class:`.Run`; the knobs start where its
parameters' defaults are.
"""

from collections.abc import Callable, Iterator, Sequence
import math
from pathlib import Path
import sys
from typing import Any

from lmxlab.lab.chart import Chart
from lmxlab.lab.controls import Controls
from lmxlab.lab.elsewhere import advice, in_words
from lmxlab.lab.keeping import Keeper
from lmxlab.lab.kept import KeptRun
from lmxlab.lab.knobs import Knob
from lmxlab.lab.live import Pacer, in_notebook
from lmxlab.lab.picture import save_chart, text_picture
from lmxlab.lab.run import Change, Result, Run, build, throughput
from lmxlab.lab.runs import RunStore
from lmxlab.training.record import Record
import mlx.core as mx

__all__ = ["Change", "Panel", "Result", "Run", "build", "throughput"]


class Panel(Controls):
    """Buttons, sliders and live plots over one experiment.

    Args:
        experiment: Takes the settings as keyword arguments, all with defaults, and
            returns a fresh :class:`.Run`.
        knobs: The settings that the learner may turn.
        store: Where runs are kept: a folder of the user's, see :class:`RunStore
            <lmxlab.lab.runs.RunStore>`.

    Raises:
        ValueError: If a knob is not a parameter of the experiment, or cannot show its
            default.

    Example:
        >>> import mlx.nn as nn
        >>> from lmxlab.training.config import TrainConfig
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
        self,
        experiment: Callable[..., Run],
        knobs: Sequence[Knob] = (),
        *,
        store: RunStore | None = None,
    ) -> None:
        """Build the widgets; the experiment is not called before Start."""
        self.result: Result | None = None
        self._keeper = Keeper(
            experiment,
            store or RunStore(),
            lambda *call: self.press("do", *call),
            self._pin,
            lambda: self._chart,
        )
        self._chart = Chart(total=1, loss_unit="")  # not known before a run is built
        self._lag = 0
        self._writing = Pacer(rate=1.0)  # a second's records cost less than four times
        self._blank = False
        self._overlaid: dict[str, str] = {}  # ID to the name in the legend
        self._setters: dict[str, Callable[[Any], None]] = {}
        self._last_wanted: int | None = None
        self._to_change: list[Change] = []
        super().__init__(experiment, knobs)
        if words := advice():
            self.say(words)

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
            **settings: Instead of the present values. Knobs move there, and stay; a
                setting that has no knob is for this run alone.

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
        """Return one line that says where the run stands."""
        if self.result is None:
            return "Nothing has been trained yet: press Start, or call .run()."
        return self.result.summary()

    def show(self) -> None:
        """Display the run as it stands: a picture that needs no kernel, and words."""
        super().show()
        losses = [] if in_notebook() or self.result is None else self.result.losses
        if drawn := text_picture(losses, unit=self._chart.loss_unit):
            print(f"loss: {drawn}")

    def save(self, path: str | Path) -> Path:
        """Write the plots as they are to a file.

        Args:
            path: Ends in ``.png`` or ``.svg``; a file that is there is replaced.

        Returns:
            The path.

        Raises:
            ValueError: If it ends in anything else.
        """
        return save_chart(self._chart, path)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**kwargs), **in_words(repr(self))}

    # ------------------------------------------------------------ what controls ask for

    def _open(self) -> Iterator[Record]:
        self._keeper.about_to_build()
        run = build(self.experiment, self.settings)
        trainer = run.trainer()
        self.result = Result(trainer, dict(self.settings), unit=run.unit)
        self._keeper.begin(dict(self.settings), trainer)
        self._lag = trainer.lag
        self._setters = run.on_change
        self.total = run.config.max_steps
        self._chart = self._new_chart(
            self.total,
            references=run.references,
            gauges=run.gauges,
            loss_unit=run.unit,
        )
        self._change_as_asked(0)
        return trainer.stream(run.train_data, run.eval_data)

    def _show(self, record: Record) -> None:
        self._chart.add(record)
        if self._to_change or self._last_wanted is not None or self._lag:
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

    def _refresh(self) -> None:
        super()._refresh()
        if self._blank and self.state == "idle":  # before a Start nobody sees it
            self._draw()
        self._blank = False
        if self.result is not None and (self.state != "running" or self._writing.due()):
            self._keeper.note(self.result.trainer)
            self._writing.drew(0.0)

    def _end(self, state: str) -> None:
        step = self._last.get("step", 0)
        if state == "done" and step < self.total:
            why = "a callback stopped it, or its data came to an end"
            self.say(f"The run ended after step {step} of {self.total}: {why}.")
        super()._end(state)  # its last refresh notes what there is
        self._keeper.finish(state)

    def _more(self) -> list[Any]:
        return [self._keeper.box]

    def _new_chart(self, *args: Any, **kwargs: Any) -> Chart:
        chart = super()._new_chart(*args, **kwargs)
        self._overlaid = {}
        self._overlay(chart)
        return chart

    def _overlay(self, chart: Chart) -> None:
        """Draw the kept runs that are wanted, and no others."""
        wanted = {run.id: run for run in self._keeper.pinned()}
        wanted.pop(self._keeper.run.id if self._keeper.run else "", None)
        for number in set(self._overlaid):
            if number not in wanted or wanted[number].name != self._overlaid[number]:
                chart.unpin(self._overlaid.pop(number))
        for number, run in wanted.items():
            if number not in self._overlaid:
                chart.pin(run.name, run.history)
                self._overlaid[number] = run.name

    def _pin(self, run: KeptRun, pinned: bool) -> None:
        try:
            self._overlay(self._chart)
        except ValueError:  # too many: the table shows that this one is not there
            self._keeper.take_off(run)
            raise
        finally:
            self._read()
            self._draw()

    def _reset(self) -> None:
        super()._reset()
        self.result = None
        self._chart = self._new_chart(
            max(1, self.total), loss_unit=self._chart.loss_unit
        )
        self._blank = True

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
        self._keeper.change(done, name, value)
        words = self.knobs[name].words if name in self.knobs else name
        self._chart.mark(done, f"{words} {text}")
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
            "memory": f"{mx.get_active_memory() / 2**20:.0f} MiB",
        }

    def _data(self) -> dict[str, Any]:
        if self.result is None:
            return {"tokens-per-second": "", "traces": 0}
        speed = throughput(self.result.history[-20:])
        return {
            "tokens-per-second": "" if speed is None else round(speed),
            "traces": self.result.trainer.trace_count,
        }
