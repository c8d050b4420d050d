"""How long an update took, without what the caller does between two of them."""

import time


class StepClock:
    """Times updates that a device may compute while Python does something else.

    The span of an update starts when the device was fed, or when the update before it
    ended, whichever came later. If Python then had to wait for the update, the device
    was busy all along, and the span is exact. If not, the update ended unseen, perhaps
    behind the caller's own work (a drawing, say). That work is left out, but a span is
    not made shorter than the one before it.

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
        self._away = 0.0

    def fed(self) -> None:
        """Note that an idle device is about to get an update."""
        self._start = time.perf_counter()
        self._away = 0.0

    def resumed(self) -> None:
        """Note that the caller has done its own work since the last update ended."""
        self._away = time.perf_counter() - self._start

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
        if queued and now - self._wait < self.UNSEEN:
            seconds = max(seconds - self._away, min(self._last, seconds))
        self._away = 0.0
        self._start, self._last = now, seconds
        return seconds
