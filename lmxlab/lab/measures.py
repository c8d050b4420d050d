"""What can be read off runs: how fast, what ratio, whether equal, the loss at a time.

Simplified on purpose: one run of each, so intervals do not know other seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

from lmxlab.lab.run import Result
from lmxlab.lab.tally import Tally
from lmxlab.training.record import Record
import numpy as np
from numpy.typing import NDArray

NOT_SHOWN = "no difference that this run can show"  # where a Ratio is not shown


@dataclass(frozen=True)
class Timing:
    """How fast a run trained.

    Attributes:
        name: The run's label.
        step_ms: Median milliseconds of a step, first calls left out.
        low_ms: A tenth of the steps took fewer milliseconds than this.
        high_ms: A tenth of the steps took more.
        tokens_per_second: Median throughput.
        first_call_seconds: Seconds of tracing, compiling kernels and the first step.
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

        Args:
            name: The run's label.
            result: The run.

        Raises:
            ValueError: If it has fewer than two timed steps.
        """
        tally = Tally()
        tally.take(result.history, ())
        return cls.read(name, tally, result.trainer.trace_count)

    @classmethod
    def read(cls, name: str, tally: Tally, entered: int) -> "Timing":
        """Measure a run whose numbers have been taken in.

        Args:
            name: The run's label.
            tally: Its numbers.
            entered: Times that Python entered its step.

        Raises:
            ValueError: If it has fewer than two timed steps.
        """
        if len(tally.ms) < 2:
            few = f"{name}: {len(tally.ms)} timed steps are too few"
            raise ValueError(f"{few}; run more")
        return cls(
            name,
            tally.median(tally.ms),
            *tally.tenths(),
            tally.median(tally.rates),
            tally.first_call_seconds,
            entered,
        )


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one run is as another.

    Attributes:
        value: Median over the rounds.
        low: Lower end of the 95 % interval; 0 when the rounds are too few for one.
        high: Upper end of it; ``inf`` when they are too few.

    Example:
        >>> ratio = Ratio.of([1.8, 2.0, 1.9, 1.7, 2.1, 1.9])
        >>> str(ratio), ratio.is_shown, str(Ratio.of([1.8, 2.0]))
        ('1.90 (1.70 to 2.10)', True, '1.90')
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float] | NDArray[np.float64]) -> "Ratio":
        """Summarize the ratios of single rounds, one or more.

        The interval's ends are two of them, as far inside as the binomial law allows.

        Args:
            ratios: One ratio for each round.
        """
        count, ordered = len(ratios), np.sort(np.asarray(ratios, dtype=float))
        place = math.floor((count + 1 - 1.96 * math.sqrt(count)) / 2)
        ends = (ordered[place - 1], ordered[-place]) if place > 0 else (0.0, math.inf)
        return cls(float(np.median(ordered)), float(ends[0]), float(ends[1]))

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
        steps: Steps that both have done.
        largest: Largest difference of the two losses at a step; 0: equal, bit for bit.
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
        """Compare the losses of the steps that both histories have.

        Args:
            one: Records of a run.
            other: Records of another run.
        """
        return cls(0, 0.0, None).after(one, other)

    def after(self, one: Sequence[Record], other: Sequence[Record]) -> "Equality":
        """Compare the steps that have come since this comparison, and add them to it.

        Args:
            one: All records of the one run so far.
            other: All records of the other run so far.

        Returns:
            The comparison of all steps that both have done.
        """
        steps = min(len(one), len(other))
        pairs = zip(one[self.steps : steps], other[self.steps : steps], strict=True)
        gaps = [(a["step"], abs(a["loss"] - b["loss"])) for a, b in pairs]
        first = next((step for step, gap in gaps if gap != 0), None)
        largest = max([self.largest, *(gap for _, gap in gaps)])
        return Equality(steps, largest, first if self.first is None else self.first)

    def __str__(self) -> str:
        if not self.steps:
            return "no step in common"
        if self.first is None:
            return "equal, bit for bit"
        return f"differ from step {self.first:,} on, by up to {self.largest:.2g}"


@dataclass(frozen=True)
class LossAt:
    """The loss of a run at a time.

    Attributes:
        loss: Value of the smoothed curve.
        noise: Standard error of that value, from how losses scatter from step to step;
            ``inf`` when there are too few steps.
        steps: Steps done by then.

    Example:
        >>> at = LossAt.of([1.0, 2.0], [4.0, 2.0], seconds=1.5)
        >>> round(at.loss, 3), at.noise, at.steps
        (3.0, inf, 1)
    """

    loss: float
    noise: float
    steps: int

    @classmethod
    def of(
        cls, ends: Sequence[float], losses: Sequence[float], seconds: float
    ) -> "LossAt":
        """Read the smoothed curve of a run at a time.

        Args:
            ends: Training seconds at the end of each step.
            losses: Training loss of each step.
            seconds: Training seconds at which to read.
        """
        memory = seconds / 20  # the same for each run, which a number of steps is not
        times, values = np.asarray(ends, dtype=float), np.asarray(losses, dtype=float)
        done = int(np.searchsorted(times, seconds, side="right"))
        before, after = max(done - 1, 0), min(done, len(times) - 1)
        total, weight = _smoothed(times[: before + 1], values, memory)
        loss, gap = total / weight, times[after] - times[before]
        if gap > 0:  # between two steps, on the line from the one mean to the other
            fresh = -math.expm1(-gap / memory)
            total += fresh * (values[after] - total)
            weight += fresh * (1 - weight)
            share = max(0.0, (seconds - times[before]) / gap)
            loss = float(loss + share * (total / weight - loss))
        if done < 8:
            return cls(loss, math.inf, done)
        # The scatter of successive losses, which a trend hardly touches.
        since = int(np.searchsorted(times, seconds - 4 * memory, side="right"))
        near = slice(min(since, done - 8), done)
        scatter = float(np.mean(np.diff(values[near]) ** 2)) / 2
        between = float(times[near][-1] - times[near][0]) / (len(times[near]) - 1)
        kept = math.exp(-between / memory)
        return cls(loss, math.sqrt(scatter * (1 - kept) / (1 + kept)), done)

    def is_below(self, other: "LossAt") -> bool:
        """Return whether this loss is lower by more than twice the noise of both.

        Args:
            other: The loss of another run at the same time.
        """
        return other.loss - self.loss > 2 * math.hypot(self.noise, other.noise)


def _smoothed(
    ends: NDArray[np.float64], losses: NDArray[np.float64], memory: float
) -> tuple[float, float]:
    """Return the mean over time at the last of the ends, and its weight to divide by.

    After ``memory`` seconds a loss weighs 1/e: the mean moves to each loss by the share
    w = 1 - exp(-seconds / memory) that its step has, m += w (loss - m), from 0.
    """
    spans = np.maximum(np.diff(ends, prepend=0.0), 1e-9)
    ago = np.cumsum(spans[::-1])[::-1] - spans
    weights = -np.expm1(-spans / memory) * np.exp(-ago / memory)
    return float(weights @ losses[: len(ends)]), float(weights.sum())
