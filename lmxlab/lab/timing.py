"""What runs that took turns can show: medians, ratios, break-even, equal losses.

Plain numbers from histories of records. Two runs are compared round by round: both had
their turn within a moment, so what the machine did meanwhile cancels in their ratio.

    ratio of a round = median seconds per token of one / of the other
    ratio            = median over the rounds, with an interval that holds the true
                       median in 95 cases of 100, whatever the noise is like

What has been looked at is remembered (tally.py), so that a look at a long comparison
costs hardly more than one at a short one.
"""

from dataclasses import dataclass, field
import math

from lmxlab.lab.measures import NOT_SHOWN, Equality, LossAt, Ratio, Timing
from lmxlab.lab.run import Result
from lmxlab.lab.tally import Tally
import numpy as np
from numpy.typing import NDArray

__all__ = ["Equality", "Findings", "LossAt", "Ratio", "Timing"]


@dataclass(frozen=True, repr=False)
class Findings:
    """The numbers of a comparison; :class:`.Comparison` puts them in words.

    Attributes:
        results: Label to the run's result.
        baseline: What the others are compared with; the first when left out.
        rounds: Label to the round in which each step was done.
        failures: Label to what ended that run; the others went on.
        memory: Label to the most bytes that the run used in a step.
        seconds: Training seconds that each was to have, when time was the budget.
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
    _tallies: dict[str, Tally] = field(default_factory=dict, init=False, compare=False)
    _timed: dict[str, tuple[int, Timing]] = field(
        default_factory=dict, init=False, compare=False
    )
    _equal: dict[tuple[str, str], Equality] = field(
        default_factory=dict, init=False, compare=False
    )

    @property
    def names(self) -> list[str]:
        """The baseline's label, and all others, also of runs that were never built."""
        names = dict.fromkeys([*self.results, *self.failures])
        return sorted(names, key=lambda name: name != self.baseline)

    @property
    def unit(self) -> str:
        """What all the losses are counted in; empty if not known, or not the same."""
        units = {run.unit for run in self.results.values()}
        return units.pop() if len(units) == 1 else ""

    @property
    def timings(self) -> dict[str, Timing]:
        """Label to timing, of the runs with two or more timed steps."""
        found = {}
        for name, run in self.results.items():
            if len((tally := self.tally(name)).ms) < 2:
                continue
            known = self._timed.get(name)
            if known is None or known[0] != tally.steps:
                timing = Timing.read(name, tally, run.trainer.trace_count)
                known = self._timed[name] = tally.steps, timing
            found[name] = known[1]
        return found

    def tally(self, name: str) -> Tally:
        """Return a run's numbers, up to date; only its new records are looked at.

        Args:
            name: The run's label.
        """
        history = self._run(name).history
        tally = self._tallies.get(name)
        if tally is None or tally.steps > len(history):
            tally = self._tallies[name] = Tally(self.first_calls)
        tally.take(history, self.rounds.get(name, ()))
        return tally

    @property
    def largest_difference(self) -> float:
        """Largest difference of losses at one step; 0: all are equal, bit for bit."""
        curves = [run.losses for run in self.results.values() if run.losses]
        steps = zip(*curves, strict=False)
        return max((max(losses) - min(losses) for losses in steps), default=0.0)

    def equality(self, one: str, other: str) -> Equality:
        """Compare the losses of two runs, step by step.

        Args:
            one: Label of a run.
            other: Label of another run.
        """
        histories = self._run(one).history, self._run(other).history
        known = self._equal.get((one, other), Equality(0, 0.0, None))
        found = self._equal[one, other] = known.after(*histories)
        return found

    def ratio(self, slow: str, fast: str) -> Ratio:
        """Return how many times as fast one run is as another, round by round.

        Args:
            slow: Label of the run to divide by.
            fast: Label of the run whose throughput is divided.

        Raises:
            ValueError: If they share no round of timed steps.
        """
        if not len(ratios := self._ratios(slow, fast)):
            raise ValueError(f"{slow} and {fast} share no round of timed steps")
        return Ratio.of(ratios)

    def _ratios(self, slow: str, fast: str) -> NDArray[np.float64]:
        """Return a ratio for each round in which both have timed steps."""
        one, other = (self.tally(name).costs() for name in (slow, fast))
        rounds = min(len(one), len(other))
        ratios = one[:rounds] / other[:rounds]
        return ratios[np.isfinite(ratios)]

    def speedup(self, slow: str, fast: str) -> float:
        """Return how many times as fast one run is as another.

        Args:
            slow: Label of the run to divide by.
            fast: Label of the run whose throughput is divided.

        Returns:
            Median of the rounds' ratios.
        """
        return self.ratio(slow, fast).value

    def break_even(self, slow: str, fast: str) -> float:
        """Return after how many steps one run has earned back its first call.

        Args:
            slow: Label of the run without that cost.
            fast: Label of the run that earns it back.

        Returns:
            Steps: 0 if its first call was no dearer, ``inf`` if its steps are not
            cheaper.
        """
        before, after = self.tally(slow), self.tally(fast)
        cost = after.first_call_seconds - before.first_call_seconds
        if cost <= 0:
            return 0.0
        saved_share = 1 - 1 / self.speedup(slow, fast)
        saved = before.median(before.ms) / 1e3 * saved_share
        return cost / saved if saved > 0 else math.inf

    def verdict(self, name: str) -> str:
        """Return a sentence: how fast a run was against the baseline, and since when.

        Args:
            name: The run's label.
        """
        return self.against(self.names[0], name)[2]

    def against(self, base: str, name: str) -> tuple[str, str, str]:
        """Compare two runs in words.

        Args:
            base: Label of the run to compare with.
            name: Label of the run that is compared.

        Returns:
            How many times as fast it is, such as ``1.90 (1.70 to 2.10)``; from which
            step it is ahead, such as ``after 12 steps``; and a sentence with both. A
            dash stands for what cannot be said.
        """
        timings = {n: t for n, t in self.timings.items() if n in (base, name)}
        if name == base:
            return "1", "–", f"{name} is the baseline."
        if len(timings) < 2 or not len(self._ratios(base, name)):
            return "–", "–", f"{name} against {base}: too few steps to time them."
        ratio, done = self.ratio(base, name), len(self.results[name].history)
        said = f"{name}: {ratio} times as fast as {base}"
        if not ratio.low:
            unsure = said.replace(": ", ": about ", 1)
            return f"about {ratio}", "–", f"{unsure}; too few turns to be sure."
        if not ratio.is_shown:
            return str(ratio), "not shown", f"{said}: {NOT_SHOWN}."
        tokens = [
            timings[n].tokens_per_second * timings[n].step_ms for n in (base, name)
        ]
        if not math.isclose(*tokens, rel_tol=0.1):
            return str(ratio), "–", f"{said}, by tokens."
        slow, fast = (base, name) if ratio.value > 1 else (name, base)
        steps = self.break_even(slow, fast)
        if ratio.value < 1 and steps:
            cell = f"ahead for {steps:,.0f} steps"
            said += f"; {cell}, since its first call was cheaper"
        elif ratio.value < 1:
            cell, said = "never", f"{said}; its first call cost more, too"
        elif not steps:
            cell, said = "at once", f"{said}; its first call was no dearer"
        else:
            count = math.ceil(steps)
            cell = f"after {count:,} step{'s' * (count > 1)}"
            said += (
                f"; its first call is earned back {cell}"
                if steps <= done
                else f"; its first call would be earned back {cell} (it did {done:,})"
            )
        return str(ratio), cell, f"{said}."

    def failure(self, name: str) -> str:
        """Return words that say after how many steps a run failed, and why.

        Args:
            name: The run's label.
        """
        steps = len(self.results[name].history) if name in self.results else 0
        error = self.failures[name]
        what = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(".: ")
        return f"failed after {steps:,} steps: {what}"

    @property
    def common_seconds(self) -> float:
        """Training seconds that each run has had; those that failed do not count."""
        going = [name for name in self.results if name not in self.failures]
        least = min((self.tally(name).seconds for name in going), default=0.0)
        return least if self.seconds is None else min(least, self.seconds)

    def losses_at(self, seconds: float) -> dict[str, LossAt]:
        """Return the smoothed loss of each run at a time, by label.

        Args:
            seconds: Training seconds; a run that has had fewer is left out.
        """
        tallies = {name: self.tally(name) for name in self.results}
        return {
            name: LossAt.of(tally.ends, tally.losses, seconds)
            for name, tally in tallies.items()
            if tally.seconds >= seconds > 0
        }

    def _run(self, name: str) -> Result:
        if name not in self.results:
            raise ValueError(f"{name!r} is not one of the runs {[*self.results]}")
        return self.results[name]
