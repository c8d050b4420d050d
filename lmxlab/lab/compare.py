"""Two or more settings side by side: the same seed, in turns, in one process.

The machine's noise hits all of them alike, because each trains a few steps and then
hands over. What tracing and compiling cost is shown apart from the steps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
import math
import statistics
from typing import Any

from IPython.display import Markdown, display
from lmxlab.lab.chart import Chart
from lmxlab.lab.controls import Controls
from lmxlab.lab.knobs import Knob
from lmxlab.lab.live import in_notebook
from lmxlab.lab.panel import Result, Run, build, throughput
from lmxlab.training.record import Record


@dataclass(frozen=True)
class Timing:
    """How fast one of the settings trained.

    Attributes:
        name: Its label.
        step_ms: Median of a step, first calls left out.
        low_ms: A tenth of the steps were faster than this.
        high_ms: A tenth were slower.
        tokens_per_second: Median.
        first_call_seconds: Tracing, compiling kernels, and the first step.
        entered: Times that Python entered the step.
    """

    name: str
    step_ms: float
    low_ms: float
    high_ms: float
    tokens_per_second: float
    first_call_seconds: float
    entered: int

    @classmethod
    def of(cls, name: str, result: Result) -> "Timing":
        """Measure a run that has ended.

        Raises:
            ValueError: If it has fewer than two timed steps.
        """
        ms = [
            1e3 * record["step_seconds"]
            for record in result.history
            if "first_call_seconds" not in record
        ]
        if len(ms) < 2:
            raise ValueError(f"{name}: {len(ms)} timed steps are too few; run more")
        tenths = statistics.quantiles(ms, n=10, method="inclusive")
        return cls(
            name,
            statistics.median(ms),
            tenths[0],
            tenths[-1],
            throughput(result.history) or 0.0,
            result.first_call_seconds,
            result.trainer.trace_count,
        )


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        results: Label to run.
    """

    results: dict[str, Result]

    @property
    def timings(self) -> dict[str, Timing]:
        """Label to timing."""
        return {name: Timing.of(name, run) for name, run in self.results.items()}

    @property
    def largest_difference(self) -> float:
        """Largest difference of the losses at any step, in nats; 0 is bit for bit."""
        curves = [result.losses for result in self.results.values()]
        return max(
            (max(losses) - min(losses) for losses in zip(*curves, strict=False)),
            default=0.0,
        )

    def speedup(self, slow: str, fast: str) -> float:
        """Return how many steps of ``fast`` fit into one of ``slow``."""
        timings = self.timings
        return timings[slow].step_ms / timings[fast].step_ms

    def break_even(self, slow: str, fast: str) -> float:
        """Return after how many steps ``fast`` has earned back its first call.

        Args:
            slow: The one with the cheaper first call.
            fast: The one with the cheaper steps.

        Returns:
            Steps, 0 if its first call was no dearer; ``inf`` if its steps are not
            cheaper.
        """
        before, after = self.timings[slow], self.timings[fast]
        gain = (before.step_ms - after.step_ms) / 1e3
        cost = after.first_call_seconds - before.first_call_seconds
        if cost <= 0:
            return 0.0
        return cost / gain if gain > 0 else math.inf

    def table(self) -> str:
        """Return a Markdown table, one row for each setting."""
        head = (
            "| | step, median (p10 to p90) | tokens/s | first call | entered Python |\n"
            "|---|---|---|---|---|\n"
        )
        rows = [
            f"| {t.name} | {t.step_ms:.2f} ms ({t.low_ms:.2f} to {t.high_ms:.2f}) "
            f"| {t.tokens_per_second:,.0f} | {t.first_call_seconds:.2f} s "
            f"| {t.entered} times |\n"
            for t in self.timings.values()
        ]
        return head + "".join(rows)

    def summary(self) -> str:
        """Say in two sentences what came out, for the first and the last setting."""
        slow, *_, fast = self.results
        difference = self.largest_difference
        same = (
            "The losses are equal, bit for bit, at every step."
            if difference == 0
            else f"The losses differ by up to {difference:.2g} nats."
        )
        ratio, steps = self.speedup(slow, fast), self.break_even(slow, fast)
        speed = (
            f"{fast} takes {1 / ratio:.2f} of the time of {slow} a step "
            f"({ratio:.2f} times the throughput)"
        )
        if math.isinf(steps):
            return f"{same} {speed}: its first call is never earned back."
        if steps == 0:
            return f"{same} {speed}, and its first call was no dearer."
        by = math.ceil(steps)
        return f"{same} {speed}, and has earned back its first call by step {by:,}."

    def _repr_markdown_(self) -> str:
        return f"{self.table()}\n{self.summary()}"


class Compare(Controls):
    """A panel that trains several settings of one experiment in turns.

    Args:
        experiment: As for :class:`lmxlab.lab.panel.Panel`.
        variants: Label to the settings that differ, e.g.
            ``{"eager": {"compile_step": False}, "compiled": {}}``.
        knobs: Settings that all variants share, such as the size of the model; they
            take effect at Reset.
        turn: Steps before the next one's turn.

    Raises:
        ValueError: If there are fewer than two variants, or one has an unknown setting.
    """

    def __init__(
        self,
        experiment: Callable[..., Run],
        variants: Mapping[str, Mapping[str, Any]],
        knobs: Sequence[Knob] = (),
        *,
        turn: int = 5,
    ) -> None:
        """Build the widgets; the experiment is not called before Start."""
        if len(variants) < 2:
            raise ValueError(f"variants must be two or more, got {len(variants)}")
        if turn < 1:
            raise ValueError(f"turn must be at least 1, got {turn}")
        self.variants = {name: dict(values) for name, values in variants.items()}
        self.turn = turn
        self.comparison: Comparison | None = None
        self._chart = self._new_chart(1)
        self._wanted: int | None = None
        varied = [key for values in variants.values() for key in values]
        at_reset = [replace(knob, live=False) for knob in knobs]
        super().__init__(experiment, at_reset, varied)

    def run(self, steps: int | None = None, **settings: Any) -> Comparison:
        """Compare at once, in this cell, and leave a picture and a table behind.

        Args:
            steps: Steps of each variant; the whole run when left out.
            **settings: Shared settings, instead of the knobs' present values.

        Returns:
            The comparison. The panel shows it too.

        Raises:
            ValueError: If a setting is unknown.
            Exception: What the experiment or a step raised.
        """
        if steps is not None and steps < 3:
            raise ValueError(f"steps must be at least 3, got {steps}")

        def enough() -> bool:
            counts = [len(result.history) for result in self._results().values()]
            return steps is not None and min(counts, default=0) >= steps

        self._wanted = steps
        try:
            self._run_now(settings, enough)
        finally:
            self._wanted = None
        self.show()
        assert self.comparison is not None
        return self.comparison

    def show(self) -> None:
        """Display picture and table; they need no kernel."""
        super().show()
        if in_notebook() and self.comparison is not None and self._is_timed():
            display(Markdown(self.comparison.table()))

    def describe(self) -> str:
        """Say in a few lines where the comparison stands."""
        names = " against ".join(self.variants)
        if self._is_timed():
            return f"{names}: {Comparison(self._results()).summary()}"
        return f"{names}: press Start, or call .run()."

    def _results(self) -> dict[str, Result]:
        return {} if self.comparison is None else self.comparison.results

    def _new_chart(self, total: int, references: Any = None) -> Chart:
        return Chart(total, list(self.variants), references, first_calls=True)

    def _open(self) -> Iterator[Record]:
        results, streams, runs = {}, {}, []
        for name, values in self.variants.items():
            settings = {**self.settings, **values}
            run = build(self.experiment, settings)
            trainer = run.trainer()
            results[name] = Result(trainer, settings)
            streams[name] = trainer.stream(run.train_data, run.eval_data)
            runs.append(run)
        self.total = max(run.config.max_steps for run in runs)
        self._chart = self._new_chart(self.total, runs[0].references)
        self.comparison = Comparison(results)
        return self._turns(streams)

    def _turns(self, streams: dict[str, Iterator[Record]]) -> Iterator[Record]:
        order = list(streams)
        try:
            while streams:
                for name in order:
                    for _ in range(self._left(name)):
                        record = next(streams[name], None) if name in streams else None
                        if record is None:
                            streams.pop(name, None)
                            break
                        yield {**record, "variant": name}
                order.reverse()  # A B, B A: whoever goes second gains nothing
        finally:
            with ExitStack() as stack:  # closes all, also after one has raised
                for stream in streams.values():
                    stack.callback(stream.close)  # type: ignore[attr-defined]

    def _left(self, name: str) -> int:
        """Steps in a variant's next turn; none beyond those that run() asked for."""
        if self._wanted is None:
            return self.turn
        done = len(self._results()[name].history)
        return min(self.turn, self._wanted - done)

    def _show(self, record: Record) -> None:
        self._chart.add(record, record["variant"])

    def _result(self) -> Comparison | None:
        return self.comparison

    def _reset(self) -> None:
        super()._reset()
        self.comparison = None
        self._chart = self._new_chart(max(1, self.total))
        self._draw()

    def _numbers(self) -> dict[str, str]:
        speeds = {
            name: throughput(result.history[-20:])
            for name, result in self._results().items()
        }
        return {
            name: f"{speed:,.0f} tokens/s" for name, speed in speeds.items() if speed
        }

    def _data(self) -> dict[str, Any]:
        results = self._results()
        name = self._last.get("variant")
        speed = throughput(results[name].history[-20:]) if name else None
        return {
            "tokens-per-second": "" if speed is None else round(speed),
            "traces": sum(result.trainer.trace_count for result in results.values()),
        }

    def _is_timed(self) -> bool:
        """Whether each variant has done enough for medians."""
        counts = [
            sum("first_call_seconds" not in record for record in result.history)
            for result in self._results().values()
        ]
        return min(counts, default=0) >= 2

    def _end(self, state: str) -> None:
        super()._end(state)
        if state != "failed" and self._is_timed():
            self.say(Comparison(self._results()).summary())
