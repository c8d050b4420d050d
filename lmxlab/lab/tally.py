"""What a comparison keeps of a run while it grows, so that a look at it stays cheap.

A look takes in the records that are new, and then reads off medians and sums. Numbers
lie in arrays that NumPy looks at without a copy: a median of 100,000 steps takes a
millisecond, and the records themselves are read once.
"""

from array import array
from collections.abc import Sequence
import statistics

from lmxlab.training.record import Record
import numpy as np
from numpy.typing import NDArray

ROUND = 5  # steps of a run's turn, where nothing else is known


def seconds_of(record: Record, first_calls: bool) -> float:
    """Return what a step adds to its run's training seconds.

    Args:
        record: The step's record, with ``step_seconds``.
        first_calls: Whether tracing counts; if not, a step that was traced adds 0.

    Example:
        >>> seconds_of({"step_seconds": 2.0, "first_call_seconds": 2.0}, False)
        0.0
    """
    skipped = "first_call_seconds" in record and not first_calls
    return 0.0 if skipped else float(record["step_seconds"])


class Tally:
    """The numbers of one run, taken in as they come.

    Args:
        first_calls: Whether first calls count in the training seconds.

    Attributes:
        steps (int): Records taken in.
        ms (array): Milliseconds of each timed step: first calls are left out.
        rates (array): Tokens per second of each timed step.
        ends (array): Training seconds at the end of each step.
        losses (array): Training loss of each step.
        first_call_seconds (float): Seconds of all first calls together.
        eval_loss (float | None): The last evaluation's loss.

    Example:
        >>> tally = Tally()
        >>> record = {"step": 1, "loss": 2.0, "tokens": 8, "step_seconds": 0.5}
        >>> tally.take([record], [0])
        >>> tally.seconds, tally.median(tally.rates), tally.costs()
        (0.5, 16.0, array([0.0625]))
    """

    def __init__(self, first_calls: bool = True) -> None:
        """Start without records."""
        self._first_calls = first_calls
        self.steps = 0
        self.ms, self.rates, self.ends, self.losses = (array("d") for _ in range(4))
        self.first_call_seconds = 0.0
        self.eval_loss: float | None = None
        self._costs = array("d")  # of rounds that are over, NaN where it had no turn
        self._turn: list[float] = []
        self._round = 0

    @property
    def seconds(self) -> float:
        """Training seconds until now."""
        return self.ends[-1] if self.ends else 0.0

    def take(self, history: Sequence[Record], rounds: Sequence[int]) -> None:
        """Take in the records that are new.

        Args:
            history: All records of the run.
            rounds: Number of the round in which each step was done. Steps beyond its
                end are counted in rounds of five.
        """
        new = history[self.steps :]
        for place, record in enumerate(new, start=self.steps):
            spent = record["step_seconds"]
            self.ends.append(self.seconds + seconds_of(record, self._first_calls))
            self.losses.append(record["loss"])
            self.eval_loss = record.get("eval_loss", self.eval_loss)
            number = rounds[place] if place < len(rounds) else place // ROUND
            if number != self._round:
                self._close(number)
            if "first_call_seconds" in record:
                self.first_call_seconds += record["first_call_seconds"]
                continue
            self.ms.append(1e3 * spent)
            self.rates.append(record["tokens"] / max(spent, 1e-9))
            self._turn.append(max(spent / max(record["tokens"], 1), 1e-12))
        self.steps += len(new)

    def costs(self) -> NDArray[np.float64]:
        """Return the median seconds per token of each round, NaN where it had none."""
        return np.append(np.asarray(self._costs), self._median_of_turn())

    def median(self, values: array) -> float:  # type: ignore[type-arg]
        """Return the median of ``ms`` or ``rates``, in its unit.

        Args:
            values: The tally's ``ms`` or ``rates``, not empty.
        """
        return float(np.median(np.asarray(values)))

    def tenths(self) -> tuple[float, float]:
        """Return the 10th and the 90th percentile of a timed step, in ms."""
        low, high = np.quantile(np.asarray(self.ms), (0.1, 0.9))
        return float(low), float(high)

    def _close(self, number: int) -> None:
        """Note what the round cost that is over."""
        self._costs.append(self._median_of_turn())
        self._costs.extend([np.nan] * (number - self._round - 1))
        self._turn, self._round = [], number

    def _median_of_turn(self) -> float:
        # A turn's first step finds the caches full of another run's data: it is left
        # out, where two or more remain to choose from.
        costs = self._turn[1:] if len(self._turn) > 2 else self._turn
        return statistics.median(costs) if costs else np.nan
