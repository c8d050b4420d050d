"""Where an x axis ends, long before its run is over."""

from collections.abc import Sequence

from lmxlab.lab.curves import KINDS, Curve


class Horizon:
    """How far an x axis goes: as far as the whole run will, long before it is over.

    Steps are known. Tokens and seconds are estimated from the progress made, and the
    axis moves only when the estimate has left it, or has become much smaller.

    Args:
        total: Steps of the whole run.
        seconds: Where the axis of seconds ends, if that is known.

    Example:
        >>> curve = Curve()
        >>> for step in (1, 2): curve.add(step, 1.0, tokens=64 * step)
        >>> horizon = Horizon(total=10)
        >>> horizon.of("steps", [curve]), horizon.of("tokens", [curve])
        (10.0, 672.0)
    """

    def __init__(self, total: int, seconds: float | None = None) -> None:
        """Start without an estimate."""
        self.total = max(1, total)
        self._seconds = seconds
        self._now = dict.fromkeys(KINDS, 0.0)

    def of(
        self, kind: str, curves: Sequence[Curve], kept: Sequence[Curve] = ()
    ) -> float:
        """Return the right end of an axis.

        Args:
            kind: The axis: ``steps``, ``tokens`` or ``seconds``.
            curves: One curve of each run that goes on.
            kept: One of each run that has ended; these are shown whole.
        """
        ends: list[float] = [getattr(curve[-1], kind) for curve in kept if curve]
        if kind == "steps":
            return max([float(self.total), *ends])
        running = [curve for curve in curves if curve]
        if kind == "seconds" and self._seconds is not None:
            done = (curve[-1].seconds for curve in running)
            return max([self._seconds, *ends, *done])
        likely = max([*ends, *(self._end(curve, kind) for curve in running)], default=1)
        if running and all(curve[-1].steps >= self.total for curve in running):
            self._now[kind] = likely
        elif not (0.6 * self._now[kind] <= likely <= self._now[kind]):
            self._now[kind] = 1.05 * likely
        return self._now[kind] or 1.0

    def _end(self, curve: Curve, kind: str) -> float:
        first, last = curve[0], curve[-1]
        here = float(getattr(last, kind))
        done = last.steps - first.steps
        if done > 0:  # the first step, with its first call, says nothing about the rest
            pace = (here - float(getattr(first, kind))) / done
        else:
            pace = here / max(1.0, last.steps)
        return here + pace * max(0.0, self.total - last.steps)
