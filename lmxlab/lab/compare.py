"""Two to six settings side by side: the same seed, in turns, in one process.

The machine's noise hits all of them alike, because each trains a few steps and then
hands over. What tracing and compiling cost is shown apart from the steps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
import itertools
import math
import time
from typing import Any

from IPython.display import Markdown, display
import ipywidgets as widgets
from lmxlab.lab.chart import COLOURS, Chart
from lmxlab.lab.comparison import Comparison
from lmxlab.lab.controls import Controls
from lmxlab.lab.driver import ACTIVE
from lmxlab.lab.elsewhere import in_words
from lmxlab.lab.gauges import shared
from lmxlab.lab.knobs import Knob
from lmxlab.lab.live import Pacer, in_notebook
from lmxlab.lab.run import Result, Run, build, throughput
from lmxlab.lab.tally import seconds_of
from lmxlab.training.record import Record
import mlx.core as mx
from mlx.utils import tree_flatten

__all__ = ["Compare", "Comparison"]


class Compare(Controls):
    """A panel that trains several settings of one experiment in turns.

    Args:
        experiment: Function from settings, all with defaults, to a :class:`.Run`.
        variants: Label to the settings that differ, two to six, e.g.
            ``{"eager": {"compile_step": False}, "compiled": {}}``.
        knobs: Settings that all variants share; they take effect at Reset.
        turn: Steps before the next one's turn.
        baseline: The variant that others are compared with; the first by default.
        budget: ``steps``: each does as many. ``seconds``: each trains for as long, or
            until its data or its ``max_steps`` end.
        seconds: Training seconds of each, when that is the budget; 10 by default.
        first_calls: Whether tracing and compiling are part of the seconds, as they are
            of what you wait for. If not, the steps that are traced are free.

    Raises:
        ValueError: If an argument will not do, or a variant has an unknown setting.

    Example:
        >>> duel = Compare(lambda learning_rate=0.1: None, {"a": {}, "b": {}})
        >>> duel
        Compare (idle). a against b: press Start, or call .run().
    """

    def __init__(
        self,
        experiment: Callable[..., Run],
        variants: Mapping[str, Mapping[str, Any]],
        knobs: Sequence[Knob] = (),
        *,
        turn: int = 5,
        baseline: str | None = None,
        budget: str = "steps",
        seconds: float | None = None,
        first_calls: bool = True,
    ) -> None:
        """Build the widgets; the experiment is not called before Start."""
        if not 2 <= len(variants) <= len(COLOURS):
            raise ValueError(f"variants must be two to six, got {len(variants)}")
        if turn < 1:
            raise ValueError(f"turn must be at least 1, got {turn}")
        if budget not in ("steps", "seconds"):
            raise ValueError(f"budget must be 'steps' or 'seconds', got {budget!r}")
        if baseline not in (None, *variants):
            raise ValueError(f"baseline must be in {[*variants]}, got {baseline!r}")
        self.variants = {name: dict(values) for name, values in variants.items()}
        self.turn, self.first_calls, self.budget = turn, first_calls, budget
        self.baseline = baseline or next(iter(variants))
        self._check_wanted(None, seconds)
        self.seconds = 10.0 if seconds is None else seconds
        self.comparison: Comparison | None = None
        self._chart = Chart(1, list(variants), loss_unit="", **self._look_of_charts())
        self._table_pacer = Pacer(share=0.005, rate=0.5)
        self._wanted: int | None = None
        self._held, self._tabled = False, ""
        varied = [key for values in variants.values() for key in values]
        super().__init__(experiment, [replace(k, live=False) for k in knobs], varied)
        self.view.controls["x"].value = budget  # it is an axis too

    def run(
        self, steps: int | None = None, seconds: float | None = None, **settings: Any
    ) -> Comparison:
        """Compare at once, in this cell, and leave a picture and a table behind.

        Args:
            steps: Steps of each variant; the whole run when left out.
            seconds: Training seconds of each, when that is the budget.
            **settings: Shared settings, instead of the knobs' present values.

        Returns:
            The comparison. The panel shows it too.

        Raises:
            ValueError: If a setting is unknown, or what is wanted is not the budget.
            Exception: What ended the last of the variants, if each has failed.
        """
        self._check_wanted(steps, seconds)
        usual, self._wanted, self.seconds = self.seconds, steps, seconds or self.seconds
        try:
            self._run_now(settings, lambda: False)
        finally:
            self._wanted, self.seconds = None, usual
        self.show()
        return self._found

    def show(self) -> None:
        """Display picture, sentences and table; they need no kernel."""
        super().show()
        if self.comparison is not None:
            table = self.comparison.table()
            display(Markdown(table)) if in_notebook() else print(table, end="")

    def describe(self) -> str:
        """Return a few lines that say where the comparison stands."""
        first, *others = self.variants
        names = f"{first} against {', '.join(others)}"
        if self.comparison is None or not self.comparison.names:
            return f"{names}: press Start, or call .run()."
        return f"{names}:\n{self.comparison.summary()}"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**kwargs), **in_words(repr(self))}

    def _check_wanted(self, steps: int | None, seconds: float | None) -> None:
        for name, given in {"steps": steps, "seconds": seconds}.items():
            if given is not None and self.budget != name:
                raise ValueError(f"{name}={given} needs Compare(..., budget={name!r})")
        if steps is not None and steps < 3:
            raise ValueError(f"steps must be at least 3, got {steps}")
        if not 0 < (1 if seconds is None else seconds) < math.inf:
            raise ValueError(f"seconds must be more than 0, got {seconds}")

    def _results(self) -> dict[str, Result]:
        return {} if self.comparison is None else self.comparison.results

    def _fresh(self, total: int, **more: Any) -> Chart:
        return self._new_chart(
            total, [*self.variants], **self._look_of_charts(), **more
        )

    def _look_of_charts(self) -> dict[str, Any]:
        timed = self.budget == "seconds"
        return {
            "first_calls": True,
            "seconds": self.seconds if timed else None,
            "free_first_calls": timed and not self.first_calls,
        }

    def _open(self) -> Iterator[Record]:
        self._limit = self.seconds if self.budget == "seconds" else None
        found = self.comparison = self._found = Comparison(
            {}, self.baseline, seconds=self._limit, first_calls=self.first_calls
        )
        self._streams: dict[str, Any] = {}
        self._spent = dict.fromkeys(self.variants, 0.0)
        self._own: dict[str, int] = {}
        runs = []
        for name, values in self.variants.items():
            settings = {**self.settings, **values}
            try:
                run = build(self.experiment, settings)
                trainer = run.trainer()
            except Exception as error:  # said in its row; the others go on
                self._give_up(name, error)
                continue
            found.results[name] = Result(trainer, settings, unit=run.unit)
            found.rounds[name] = []
            own: Any = tree_flatten([run.model.parameters(), trainer.optimizer.state])
            self._own[name] = sum(array.nbytes for _, array in own)
            self._streams[name] = trainer.stream(run.train_data, run.eval_data)
            runs.append(run)
        steps = max(run.config.max_steps for run in runs)
        self.total = min(steps, self._wanted or steps)
        self._chart = self._fresh(
            self.total,
            references=runs[0].references,
            gauges=shared(run.gauges for run in runs),
            loss_unit=found.unit,
        )
        return self._turns()

    def _give_up(self, name: str, error: Exception) -> None:
        """Note what ended a variant; raise it if no variant is left."""
        self._found.failures[name] = error
        self.say(f"{name} {self._found.failure(name)}", role="alert")
        if len(self._found.failures) == len(self.variants):
            raise error

    def _turns(self) -> Iterator[Record]:
        order = list(self._streams)
        try:
            for number in itertools.count():
                for name in order:
                    if name in self._streams:
                        yield from self._turn(name, number)
                if not self._streams:
                    return
                order.reverse()  # A B, B A: whoever goes second gains nothing
        finally:
            with ExitStack() as stack:  # closes all, also after one has raised
                for stream in self._streams.values():
                    stack.callback(stream.close)

    def _turn(self, name: str, number: int) -> Iterator[Record]:
        trainer, taken = self._results()[name].trainer, 0
        lag = trainer.lag
        try:
            # What it has queued is read before it hands over.
            while (left := self._left(name, number, taken)) or self._behind():
                trainer.lag = 0 if self._held or left < 2 else lag
                record = self._next(name)
                if record is None:
                    return
                taken += 1
                self._found.rounds[name].append(number)
                yield {**record, "variant": name}
        finally:
            trainer.lag = lag
        mx.synchronize()  # its last update is nobody else's time
        if not self._left(name, math.inf, 0):  # in any turn to come
            try:
                self._streams.pop(name).close()
            except Exception as error:
                self._give_up(name, error)

    def _next(self, name: str) -> Record | None:
        mx.reset_peak_memory()
        before, memory = mx.get_active_memory(), self._found.memory
        try:
            record = next(self._streams[name], None)
        except Exception as error:  # said in its row; the others go on
            record = None
            self._give_up(name, error)
        most = self._own[name] + mx.get_peak_memory() - before
        memory[name] = max(memory.get(name, 0), most)
        if record is None:
            self._streams.pop(name)
        else:
            self._spent[name] += seconds_of(record, self.first_calls)
        return record

    def _left(self, name: str, number: float, taken: int) -> float:
        """Steps in the rest of a variant's turn, when time is the budget about so."""
        done, spent = len(self._results()[name].history), self._spent[name]
        if self._limit is None:
            wanted = math.inf if self._wanted is None else self._wanted
            return max(0, min(self.turn - taken, wanted - done))
        end = min(self._limit, (number + 1) * min(self._limit / 20, 0.5))
        return max(0.0, end - spent) * done / spent if spent else 1

    def _behind(self) -> bool:
        return any(r.trainer.step > len(r.history) for r in self._results().values())

    def _hold(self, held: bool) -> None:
        self._held = held

    def _show(self, record: Record) -> None:
        name, step = record["variant"], record["step"]
        self._chart.add(record, name)
        if self._limit is not None and self._spent[name]:  # about so many, then
            self.total = max(step, round(step * self._limit / self._spent[name]))

    def _result(self) -> Comparison | None:
        return self.comparison

    def _reset(self) -> None:
        super()._reset()
        self.comparison = None
        self._chart = self._fresh(max(1, self.total), loss_unit=self._chart.loss_unit)
        self._refresh()  # that it was reset shows before the picture is drawn
        self._draw()

    def _speeds(self) -> dict[str, int]:
        runs = self._results().items()
        return {name: round(throughput(run.history[-20:]) or 0) for name, run in runs}

    def _numbers(self) -> dict[str, str]:
        speeds = {n: f"{v:,} tokens/s" for n, v in self._speeds().items() if v}
        return speeds | dict.fromkeys(
            getattr(self.comparison, "failures", ()), "failed"
        )

    def _data(self) -> dict[str, Any]:
        speed = self._speeds().get(self._last.get("variant", "")) or ""
        traces = sum(run.trainer.trace_count for run in self._results().values())
        return {"tokens-per-second": speed, "traces": traces}

    def _above(self) -> list[widgets.Widget]:
        self._table = widgets.HTML(layout={"max_width": "100%", "overflow": "auto"})
        return [self._table]

    def _refresh(self) -> None:
        super()._refresh()
        found, step = self.comparison, self._last.get("step", 0)
        if found is None or not found.names:
            self._table.value = self._tabled = ""
            return
        now = f"{self._last.get('variant')} {step} {[*found.failures]}"
        live = self.state == "paused" or self._table_pacer.due()
        if now != self._tabled and (self.state not in ACTIVE or live):
            started, self._tabled = time.perf_counter(), now
            colours = dict(zip(self.variants, COLOURS, strict=False))
            self._table.value = found.table_html(colours)
            self._table_pacer.drew(time.perf_counter() - started)

    def _end(self, state: str) -> None:
        super()._end(state)
        if state != "failed" and self.comparison is not None:
            self.say(self.comparison.summary())
