"""How long an update took, without what the caller does between two of them."""

import time


class StepClock:
    """Times updates that a device may compute while Python does something else.

    The span of an update starts when the device was fed, or when the update before it
    ended, whichever came later. Without a queue that is exact. With one, an update that
    ended behind the caller's own work (a drawing, say) ended unseen; it is given the
    time of the one before, rather than the time of the drawing.

    Example:
        >>> clock = StepClock()
        >>> clock.fed(); clock.waiting()
        >>> clock.ended() >= 0
        True
    """

    UNSEEN = 1e-4  # seconds: reading numbers that are already there takes less

    def __init__(self) -> None:
        """Start with nothing measured."""
        self._start = 0.0
        self._wait = 0.0
        self._last = 0.0

    def fed(self) -> None:
        """Note that an idle device is about to get an update."""
        self._start = time.perf_counter()

    def waiting(self) -> None:
        """Note that Python now has nothing to do but wait for the update."""
        self._wait = time.perf_counter()

    def ended(self, *, queued: bool = False) -> float:
        """Note that the update has ended.

        Args:
            queued: Whether it was queued behind another.

        Returns:
            Its seconds.
        """
        now = time.perf_counter()
        seconds = now - self._start
        unseen = (
            now - self._wait < self.UNSEEN and self._wait - self._start > self._last
        )
        if queued and unseen and self._last:
            seconds = self._last
        self._start, self._last = now, seconds
        return seconds
