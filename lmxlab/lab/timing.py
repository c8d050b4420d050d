"""What runs that took turns can show: medians, ratios, break-even, equal losses.

Plain numbers from histories of records. Two runs are compared round by round: both had
their turn within a moment, so what the machine did meanwhile cancels in their ratio.

    ratio of a round = median seconds per token of one / of the other
    ratio            = median over the rounds, with an interval that holds the true
                       median in 95 cases of 100, whatever the noise is like

Simplified on purpose: one run of each, so intervals do not know other seeds.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
import itertools
import math
import statistics

from lmxlab.lab.run import Result, throughput
from lmxlab.training.record import Record

ROUND = 5  # steps of a run's turn, where nothing else is known
FEWEST_ROUNDS = 6  # with fewer, no interval is right in 95 cases of 100


@dataclass(frozen=True)
class Timing:
    """How fast a run trained.

    Attributes:
        name: Its label.
        step_ms: Median of a step, first calls left out.
        low_ms: A tenth of the steps were faster than this.
        high_ms: A tenth were slower.
        tokens_per_second: Median.
        first_call_seconds: Tracing, compiling kernels, and the first step.
        entered: Times that Python entered the step: its traces, when compiled.

    Example:
        >>> Timing("a", 2.0, 1.8, 2.5, 4000.0, 0.3, 1).step_ms
        2.0
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
        """Measure a run.

        Raises:
            ValueError: If it has fewer than two timed steps.
        """
        timed = [r for r in result.history if "first_call_seconds" not in r]
        if len(timed) < 2:
            raise ValueError(f"{name}: {len(timed)} timed steps are too few; run more")
        ms = [1e3 * record["step_seconds"] for record in timed]
        tenths = statistics.quantiles(ms, n=10, method="inclusive")
        return cls(
            name,
            statistics.median(ms),
            tenths[0],
            tenths[-1],
            throughput(timed) or 0.0,
            result.first_call_seconds,
            result.trainer.trace_count,
        )


def _round_costs(history: Sequence[Record], rounds: Sequence[int]) -> dict[int, float]:
    """Return the median seconds per token of each round, first calls left out.

    A turn's first step is left out too, where three or more remain to choose from: it
    finds the caches full of another run's data.
    """
    turns: dict[int, list[float]] = {}
    for record, number in zip(history, rounds, strict=False):
        if "first_call_seconds" not in record:
            cost = record["step_seconds"] / max(record["tokens"], 1)
            turns.setdefault(number, []).append(max(cost, 1e-12))
    return {
        number: statistics.median(costs[1:] if len(costs) > 2 else costs)
        for number, costs in turns.items()
    }


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one run is as another.

    Attributes:
        value: Median over the rounds.
        low: Lower end of the interval; 0 when the rounds are too few for one.
        high: Upper end; ``inf`` when they are too few.

    Example:
        >>> ratio = Ratio.of([1.8, 2.0, 1.9, 1.7, 2.1, 1.9])
        >>> str(ratio), ratio.is_shown, str(Ratio.of([1.8, 2.0]))
        ('1.90 (1.70 to 2.10)', True, '1.90')
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> "Ratio":
        """Summarize the ratios of single rounds, one or more.

        The ends are two of them, as far inside as the binomial law allows.
        """
        count, ordered = len(ratios), sorted(ratios)
        place = math.floor((count + 1 - 1.96 * math.sqrt(count)) / 2)
        ends = (ordered[place - 1], ordered[-place]) if place > 0 else (0.0, math.inf)
        return cls(statistics.median(ordered), *ends)

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes 1: one of the two is faster."""
        return self.low > 1 or self.high < 1

    def __str__(self) -> str:
        ends = f" ({self.low:.2f} to {self.high:.2f})" if self.low else ""
        return f"{self.value:.2f}{ends}"


@dataclass(frozen=True)
class Equality:
    """Whether two runs had the same losses.

    Attributes:
        steps: That both have done.
        largest: Largest difference, in nats; 0 is bit for bit.
        first: First step at which they differ, or None.

    Example:
        >>> one, other = ([{"step": 1, "loss": loss}] for loss in (2.0, 2.5))
        >>> Equality.of(one, other)
        Equality(steps=1, largest=0.5, first=1)
    """

    steps: int
    largest: float
    first: int | None

    @classmethod
    def of(cls, one: Sequence[Record], other: Sequence[Record]) -> "Equality":
        """Compare the losses of the steps that both histories have."""
        pairs = zip(one, other, strict=False)
        gaps = [(a["step"], abs(a["loss"] - b["loss"])) for a, b in pairs]
        first = next((step for step, gap in gaps if gap != 0), None)
        return cls(len(gaps), max((gap for _, gap in gaps), default=0.0), first)

    def __str__(self) -> str:
        if not self.steps:
            return "no step in common"
        if self.first is None:
            return "equal, bit for bit"
        return f"differ from step {self.first:,} on, by up to {self.largest:.2g} nats"


def seconds_of(record: Record, first_calls: bool) -> float:
    """Return what a step adds to its run's training seconds.

    Args:
        record: Its numbers.
        first_calls: Whether tracing counts; if not, a step that was traced is free.

    Example:
        >>> seconds_of({"step_seconds": 2.0, "first_call_seconds": 2.0}, False)
        0.0
    """
    skipped = "first_call_seconds" in record and not first_calls
    return 0.0 if skipped else float(record["step_seconds"])


@dataclass(frozen=True)
class LossAt:
    """The loss of a run at a time.

    Attributes:
        loss: Of the smoothed curve, in nats.
        noise: Its standard error, from how losses scatter from step to step; ``inf``
            when there are too few steps.
        steps: Done by then.

    Example:
        >>> at = LossAt.of([1.0, 2.0], [4.0, 2.0], seconds=1.5)
        >>> round(at.loss, 3), at.noise, at.steps
        (3.0, inf, 1)
    """

    loss: float
    noise: float
    steps: int

    @classmethod
    def of(cls, ends: list[float], losses: list[float], seconds: float) -> "LossAt":
        """Read the smoothed curve at some seconds; steps ended at ``ends``."""
        memory = seconds / 20  # the same for each run, which a number of steps is not
        means = _smoothed(ends, losses, memory)
        done = bisect_right(ends, seconds)
        before, after = max(done - 1, 0), min(done, len(ends) - 1)
        gap = ends[after] - ends[before]
        share = (seconds - ends[before]) / gap if gap > 0 else 0.0
        loss = means[before] + max(0.0, share) * (means[after] - means[before])
        # The scatter of successive losses, which a trend hardly touches.
        near = slice(min(bisect_right(ends, seconds - 4 * memory), done - 8), done)
        if done < 8:
            return cls(loss, math.inf, done)
        steps = itertools.pairwise(losses[near])
        scatter = statistics.fmean((b - a) ** 2 for a, b in steps) / 2
        between = (ends[near][-1] - ends[near][0]) / (len(ends[near]) - 1)
        kept = math.exp(-between / memory)
        return cls(loss, math.sqrt(scatter * (1 - kept) / (1 + kept)), done)

    def is_below(self, other: "LossAt") -> bool:
        """Whether it is lower by more than twice the noise of both."""
        return other.loss - self.loss > 2 * math.hypot(self.noise, other.noise)


def _smoothed(ends: list[float], losses: list[float], memory: float) -> list[float]:
    """Return the mean over time; after ``memory`` seconds a loss weighs 1/e."""
    total = weight = then = 0.0
    means = []
    for now, loss in zip(ends, losses, strict=True):
        fresh = -math.expm1(-max(now - then, 1e-9) / memory)
        total += fresh * (loss - total)
        weight += fresh * (1 - weight)
        means.append(total / weight)
        then = now
    return means


@dataclass(frozen=True, repr=False)
class Findings:
    """The numbers of a comparison; :class:`lmxlab.lab.Comparison` puts them in words.

    Attributes:
        results: Label to run.
        baseline: What the others are compared with; the first when left out.
        rounds: Label to the round in which each step was done.
        failures: Label to what ended that run; the others went on.
        memory: Label to the most bytes that it used in a step.
        seconds: Of training that each was to have, when time was the budget.
        first_calls: Whether first calls count in these seconds.

    Example:
        >>> Findings({}, failures={"a": ValueError("no data")}).names
        ['a']
    """

    results: dict[str, Result]
    baseline: str = ""
    rounds: dict[str, list[int]] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    first_calls: bool = True

    @property
    def names(self) -> list[str]:
        """The baseline's label, and all others, also of runs that were never built."""
        names = dict.fromkeys([*self.results, *self.failures])
        return sorted(names, key=lambda name: name != self.baseline)

    @property
    def timings(self) -> dict[str, Timing]:
        """Label to timing, of those that have done enough steps."""
        found = {}
        for name, run in self.results.items():
            if sum("first_call_seconds" not in record for record in run.history) >= 2:
                found[name] = Timing.of(name, run)
        return found

    @property
    def largest_difference(self) -> float:
        """Largest difference of the losses at any step, in nats; 0 is bit for bit."""
        curves = [run.losses for run in self.results.values() if run.losses]
        steps = zip(*curves, strict=False)
        return max((max(losses) - min(losses) for losses in steps), default=0.0)

    def equality(self, one: str, other: str) -> Equality:
        """Compare the losses of two runs, step by step."""
        return Equality.of(self._run(one).history, self._run(other).history)

    def ratio(self, slow: str, fast: str) -> Ratio:
        """Compare the throughput of two runs, round by round.

        Raises:
            ValueError: If they share no round of timed steps.
        """
        costs = []
        for name in (slow, fast):
            history = self._run(name).history
            places = [place // ROUND for place in range(len(history))]
            costs.append(_round_costs(history, self.rounds.get(name, places)))
        shared = costs[0].keys() & costs[1].keys()
        if not shared:
            raise ValueError(f"{slow} and {fast} share no round of timed steps")
        return Ratio.of([costs[0][number] / costs[1][number] for number in shared])

    def speedup(self, slow: str, fast: str) -> float:
        """Return how many times as fast ``fast`` is: the median over the rounds."""
        return self.ratio(slow, fast).value

    def break_even(self, slow: str, fast: str) -> float:
        """Return after how many steps ``fast`` has earned back its first call.

        It is 0 if that was no dearer, and ``inf`` if its steps are not cheaper.
        """
        before, after = self._run(slow), self._run(fast)
        cost = after.first_call_seconds - before.first_call_seconds
        if cost <= 0:
            return 0.0
        saved_share = 1 - 1 / self.speedup(slow, fast)
        saved = Timing.of(slow, before).step_ms / 1e3 * saved_share
        return cost / saved if saved > 0 else math.inf

    def verdict(self, name: str) -> str:
        """Say in a sentence how fast a run was against the baseline, and since when."""
        return self.against(self.names[0], name)[2]

    def against(self, base: str, name: str) -> tuple[str, str, str]:
        """Return how many times as fast, since when, and both in a sentence."""
        pair = {n: self.results[n] for n in (base, name) if n in self.results}
        timings = Findings(pair).timings
        if name == base:
            return "1", "–", f"{name} is the baseline."
        if len(timings) < 2:
            return "–", "–", f"{name} against {base}: too few steps to time them."
        ratio, done = self.ratio(base, name), len(self.results[name].history)
        said = f"{name} is {ratio} times as fast as {base}"
        if not ratio.low:
            unsure = said.replace(" is ", " is about ", 1)
            return f"about {ratio}", "–", f"{unsure}: too few turns to be sure."
        if not ratio.is_shown:
            same = f"{name} and {base}: no difference in speed that this run can show"
            return str(ratio), "not shown", f"{same} ({ratio} times as fast)."
        tokens = [
            timings[n].tokens_per_second * timings[n].step_ms for n in (base, name)
        ]
        if not math.isclose(*tokens, rel_tol=0.1):
            return str(ratio), "–", f"{said}, by tokens."
        slow, fast = (base, name) if ratio.value > 1 else (name, base)
        steps = self.break_even(slow, fast)
        if ratio.value < 1 and steps:
            cell = f"ahead for {steps:,.0f} steps"
            said += f"; its first call was cheaper, and so it is {cell}"
        elif ratio.value < 1:
            cell, said = "never", f"{said}; its first call is never earned back"
        elif not steps:
            cell, said = "at once", f"{said}; its first call was no dearer"
        else:
            cell = f"after {math.ceil(steps):,} steps"
            said += (
                f"; it has earned its first call back {cell}"
                if steps <= done
                else f"; it would earn its first call back {cell}, and did {done:,}"
            )
        return str(ratio), cell, f"{said}."

    def failure(self, name: str) -> str:
        """Say after how many steps a run failed, and why."""
        steps = len(self.results[name].history) if name in self.results else 0
        error = self.failures[name]
        what = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".: ")
        return f"failed after {steps:,} steps: {what}"

    @property
    def common_seconds(self) -> float:
        """Training seconds that all have had, but for those that failed."""
        going = [run for name, run in self.results.items() if name not in self.failures]
        least = min((self._ends(run)[-1] for run in going), default=0.0)
        return least if self.seconds is None else min(least, self.seconds)

    def losses_at(self, seconds: float) -> dict[str, LossAt]:
        """Return the smoothed loss of each run that has trained for so long."""
        return {
            name: LossAt.of(self._ends(run), run.losses, seconds)
            for name, run in self.results.items()
            if self._ends(run)[-1] >= seconds > 0
        }

    def _ends(self, run: Result) -> list[float]:
        """Return the training seconds at the end of each step; 0 before the first."""
        seconds = (seconds_of(record, self.first_calls) for record in run.history)
        return list(itertools.accumulate(seconds)) or [0.0]

    def _run(self, name: str) -> Result:
        if name not in self.results:
            raise ValueError(f"{name!r} is not one of the runs {[*self.results]}")
        return self.results[name]
