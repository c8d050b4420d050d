"""The numbers behind the picture: growing curves, thinned as they grow.

A curve keeps every point for the read-out, and beside it at most 400 of them for the
eye: where each bucket of neighbours is lowest and highest, and what the mean is at
its end. A full row of buckets is merged, so that a point costs the same on average, and
a frame the same always, however long the run has been.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Record = Mapping[str, Any]
Points = tuple[NDArray[np.float64], NDArray[np.float64]]

KINDS = ("steps", "tokens", "seconds")
MAX_POINTS = 400
BUCKETS = MAX_POINTS // 2 - 1  # two points each, and the first and last of the run
FAR = 1.6  # times the usual span; an outlier beyond it would squeeze the rest
LOSS, HELD_OUT, SPEED = "loss", "eval_loss", "tokens/s"
# What a record says about the run itself; every other number is a metric.
_NO_METRIC = {"step", "tokens", "step_seconds", "first_call_seconds", "stopping"}


class Point(NamedTuple):
    """One point, exactly: where it lies on each x axis, and its value."""

    steps: float
    """Step of the run."""
    tokens: float
    """Tokens seen until then."""
    seconds: float
    """Training seconds until then."""
    value: float
    """The metric's value there."""


class Curve:
    """A growing line: raw values, and the smoothed line that the eye follows.

    Args:
        smoothing: Weight of the past in the exponential mean, in [0, 1). The mean is
            corrected for its start, so that it begins at the first value.

    Example:
        >>> curve = Curve(smoothing=0.0)
        >>> curve.add(1, 4.0); curve.add(2, 2.0, tokens=64, seconds=0.5)
        >>> [points.tolist() for points in curve.smooth()]
        [[1.0, 2.0], [4.0, 2.0]]
        >>> curve.nearest(60, "tokens")
        Point(steps=2.0, tokens=64.0, seconds=0.5, value=2.0)
    """

    def __init__(self, smoothing: float = 0.9) -> None:
        """Start without points."""
        self._x = {kind: array("d") for kind in KINDS}
        self._y = array("d")
        self._appends = *(xs.append for xs in self._x.values()), self._y.append
        self._smoothing = smoothing
        self._times_begun = 0
        self._begin()

    def __len__(self) -> int:
        """Return how many points there are."""
        return len(self._y)

    @property
    def xs(self) -> list[float]:
        """The step of each point, as a copy."""
        return self._x["steps"].tolist()

    @property
    def ys(self) -> list[float]:
        """The value of each point, as a copy."""
        return self._y.tolist()

    @property
    def version(self) -> tuple[int, int]:
        """Two numbers that differ from before when what would be drawn has changed."""
        return self._times_begun, len(self._y)

    @property
    def smoothing(self) -> float:
        """Weight of the past; a change applies to the whole line."""
        return self._smoothing

    @smoothing.setter
    def smoothing(self, weight: float) -> None:
        if weight != self._smoothing:
            self._smoothing = weight
            self._begin()

    @property
    def is_noisy(self) -> bool:
        """Whether it goes up and down all the time, as a schedule does not."""
        self._settle()
        return self._turns > 3 + len(self) / 20

    def add(
        self, step: float, y: float, tokens: float = 0.0, seconds: float = 0.0
    ) -> None:
        """Append a point; one that is not finite is left out.

        Args:
            step: Step of the run, larger than the last one.
            y: The value.
            tokens: Tokens seen until then.
            seconds: Training seconds until then.
        """
        if math.isfinite(y):  # buckets can wait for a frame: this is done at each step
            add_step, add_tokens, add_seconds, add_y = self._appends
            add_step(step)
            add_tokens(tokens)
            add_seconds(seconds)
            add_y(y)

    def raw(self, kind: str = "steps") -> Points:
        """Return points for drawing: all of them, or the extremes of each bucket.

        Args:
            kind: X axis: ``steps``, ``tokens`` or ``seconds``.

        Returns:
            Places on the x axis and values, two arrays of one length.
        """
        if self._settle() == 1:
            return np.array(self._x[kind]), np.array(self._y)
        extremes = np.sort([self._lows, self._highs], axis=0).T.ravel()
        return self._pick(kind, [0, *extremes, len(self) - 1])

    def band(self, kind: str = "steps") -> Points:
        """Return all points or, closed, the outline of what lies between extremes.

        A line that goes up and down in each bucket costs five times as much to draw.

        Args:
            kind: X axis: ``steps``, ``tokens`` or ``seconds``.

        Returns:
            Places on the x axis and values, two arrays of one length.
        """
        if self._settle() == 1:
            return self.raw(kind)
        return self._pick(kind, [*self._lows, *reversed(self._highs), self._lows[0]])

    def _pick(self, kind: str, kept: list[int]) -> Points:
        return np.asarray(self._x[kind])[kept], np.asarray(self._y)[kept]

    def smooth(self, kind: str = "steps", exact: bool = False) -> Points:
        """Return the points of the smoothed line.

        Args:
            kind: X axis: ``steps``, ``tokens`` or ``seconds``.
            exact: Whether a curve without noise is left as it is, see :meth:`raw`.

        Returns:
            Places on the x axis and values, two arrays of one length.
        """
        if exact and not self.is_noisy:
            return self.raw(kind)
        if self._settle() == 1:
            return np.array(self._x[kind]), np.array(self._means)
        ends = np.arange(1, len(self._means) + 1) * self._width - 1
        kept = np.minimum(np.concatenate(([0], ends)), len(self) - 1)
        return np.asarray(self._x[kind])[kept], np.array([self._y[0], *self._means])

    def nearest(self, x: float, kind: str = "steps") -> Point | None:
        """Return the point nearest to a place on an x axis, exactly; None if empty.

        Args:
            x: The place.
            kind: X axis: ``steps``, ``tokens`` or ``seconds``.
        """
        return self[self.nearest_index(x, kind)] if self else None

    def nearest_index(self, x: float, kind: str) -> int:
        """Return the index of the point nearest to a place; the curve is not empty.

        Args:
            x: The place.
            kind: X axis: ``steps``, ``tokens`` or ``seconds``.
        """
        xs = self._x[kind]
        index = min(bisect_left(xs, x), len(xs) - 1)
        return index - bool(index and x - xs[index - 1] <= xs[index] - x)

    def __getitem__(self, index: int) -> Point:
        """Return a point by its number."""
        steps, tokens, seconds = (self._x[kind][index] for kind in KINDS)
        return Point(steps, tokens, seconds, self._y[index])

    def bounds(self) -> tuple[float, float]:
        """Return the least and greatest value to be shown, without distant outliers."""
        low, high = self._usual()
        least, greatest = self.extremes()
        near = greatest - least <= FAR * (high - low)
        return (least, greatest) if near else (low, high)

    def _usual(self) -> tuple[float, float]:
        self._settle()
        ys, count = np.asarray(self._y), len(self._lows)
        rare = min(count // 10, max(1, count // 50))
        lows, highs = np.sort(ys[self._lows]), np.sort(ys[self._highs])
        drawn = [self._y[0], *self._means]
        return min(*drawn, float(lows[rare])), max(*drawn, float(highs[-1 - rare]))

    def extremes(self) -> tuple[float, float]:
        """Return the smallest and the largest value."""
        self._settle()
        value = self._y.__getitem__
        return min(map(value, self._lows)), max(map(value, self._highs))

    # ------------------------------------------------------------------------- buckets

    def _begin(self) -> None:
        self._times_begun += 1
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._means: list[float] = []
        self._width, self._settled, self._turns = 1, 0, 0
        self._sum = self._weight = 0.0  # at the end of the last full bucket
        if len(self._y) > MAX_POINTS:
            self._width = 4
        while self._width > 1 and math.ceil(len(self._y) / self._width) > BUCKETS:
            self._width *= 2

    def _settle(self) -> int:
        """Put the points that are new into buckets; return how many each one has."""
        if self._settled == len(self._y):
            return self._width
        ys, keep = np.asarray(self._y), self._smoothing
        full = self._settled // self._width
        for kept in (self._lows, self._highs, self._means):
            del kept[full:]
        for start, block in _blocks(ys, full * self._width, self._width):
            self._lows += (start + block.argmin(axis=1)).tolist()
            self._highs += (start + block.argmax(axis=1)).tolist()
            length = block.shape[1]
            weights = (1 - keep) * keep ** np.arange(length - 1, -1, -1.0)
            total, weight, decay = self._sum, self._weight, keep**length
            for added in (block @ weights).tolist():
                total = decay * total + added
                weight = decay * weight + (1 - decay)
                self._means.append(total / weight)
            if length == self._width:
                self._sum, self._weight = total, weight
        # Turns among the new points, and at the one before them.
        changes = np.diff(ys[max(0, self._settled - 2) :])
        changes = changes[changes != 0]
        self._turns += int((np.diff(np.sign(changes)) != 0).sum())
        self._settled = len(ys)
        while len(self._lows) > (MAX_POINTS if self._width == 1 else BUCKETS):
            self._merge(4 if self._width == 1 else 2)
        return self._width

    def _merge(self, several: int) -> None:
        """Make one bucket of several."""
        starts = range(0, len(self._lows), several)
        value, last = self._y.__getitem__, len(self._means)
        full = self._settled // (self._width * several)
        self._means = [self._means[min(i + several, last) - 1] for i in starts]
        self._lows = [min(self._lows[i : i + several], key=value) for i in starts]
        self._highs = [max(self._highs[i : i + several], key=value) for i in starts]
        self._width *= several
        self._weight = 1 - self._smoothing ** (full * self._width)
        self._sum = self._means[full - 1] * self._weight if full else 0.0


def _blocks(
    ys: NDArray[np.float64], start: int, width: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the full buckets as rows, then the last one if it is not full."""
    full = len(ys) // width * width
    if start < full:
        yield np.arange(start, full, width), ys[start:full].reshape(-1, width)
    if full < len(ys):
        yield np.array([full]), ys[None, full:]


class History:
    """The curves of one run, one for each number that its records bring.

    A record is put aside at each step, and taken apart when the curves are looked at:
    between two steps of training Python runs at a tenth of its speed, because its code
    and data have left the processor's caches.

    Args:
        smoothing: Weight of the past in the curves of the loss and the metrics. The
            throughput's is its square root, which averages over twice as many steps;
            evaluations are not smoothed.
        records: Those of the steps already done.
        free_first_calls: Whether first calls take no time on the axis of seconds.

    Example:
        >>> run = History(smoothing=0.0)
        >>> run.add({"step": 1, "loss": 3.0, "kl": 0.5, "tokens": 8, "step_seconds": 2})
        >>> {name: curve.ys for name, curve in run.curves.items()}
        {'loss': [3.0], 'eval_loss': [], 'tokens/s': [4.0], 'kl': [0.5]}
    """

    def __init__(
        self,
        smoothing: float,
        records: Iterable[Record] = (),
        *,
        free_first_calls: bool = False,
    ) -> None:
        """Start with the records of a run that has ended, or without."""
        self._free = free_first_calls
        self._curves: dict[str, Curve] = {}
        self._first_calls: float | None = None
        self._waiting = list(records)
        self._tokens = self._seconds = 0.0
        self._smoothing = smoothing
        for name in (LOSS, HELD_OUT, SPEED):
            self._new(name)

    def add(self, record: Record) -> None:
        """Add one step's record.

        Args:
            record: Has ``step``, ``loss``, ``tokens`` and ``step_seconds``, and perhaps
                other numbers.
        """
        self._waiting.append(record)

    @property
    def curves(self) -> dict[str, Curve]:
        """Name to curve; loss, eval_loss and tokens/s are always there."""
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            self._take_apart(record)
        return self._curves

    def expect(self, names: Iterable[str]) -> None:
        """Make curves, empty as yet, for metrics that another run has.

        Args:
            names: The metrics' names.
        """
        for name in sorted(set(names) - set(self.curves)):
            self._new(name)

    @property
    def first_call_seconds(self) -> float | None:
        """Seconds that first calls have cost until now; None before the first."""
        return self._first_calls if self.curves else None  # with what was waiting

    def _take_apart(self, record: Record) -> None:
        step, spent = record["step"], record["step_seconds"]
        if math.isfinite(record["tokens"]):
            self._tokens += record["tokens"]
        if not (self._free and "first_call_seconds" in record):
            self._seconds += spent
        tokens, seconds = self._tokens, self._seconds
        if "first_call_seconds" in record:
            before = self._first_calls or 0.0
            self._first_calls = before + record["first_call_seconds"]
        else:
            rate = record["tokens"] / max(spent, 1e-9)
            self._curves[SPEED].add(step, rate, tokens, seconds)
        for name, value in record.items():
            if name in _NO_METRIC or not isinstance(value, (int, float)):
                continue
            curve = self._curves.get(name)
            if curve is None:
                if isinstance(value, bool) or not math.isfinite(value):
                    continue
                curve = self._new(name)
            curve.add(step, value, tokens, seconds)

    def smooth(self, smoothing: float) -> None:
        """Change the smoothing of all curves that are smoothed.

        Args:
            smoothing: Weight of the past in [0, 1), as at the start.
        """
        self._smoothing = smoothing
        for name, curve in self.curves.items():
            curve.smoothing = self._weight_for(name)

    def _new(self, name: str) -> Curve:
        curve = self._curves[name] = Curve(self._weight_for(name))
        return curve

    def _weight_for(self, name: str) -> float:
        if name.startswith("eval_"):
            return 0.0
        return math.sqrt(self._smoothing) if name == SPEED else self._smoothing
