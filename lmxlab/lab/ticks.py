"""Ticks with short numbers, few enough to be read, on linear and logarithmic axes."""

from collections.abc import Sequence
from itertools import pairwise
import math

from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, Locator, LogLocator, MaxNLocator, NullLocator


def set_scale(axes: Axes, name: str, log: bool, low: float, high: float) -> None:
    """Bring limits and ticks of an axis up to date.

    Args:
        axes: The plot's pair of axes.
        name: Which of the two, ``x`` or ``y``.
        log: Whether it is logarithmic.
        low: Value where it begins.
        high: Value where it ends.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().add_subplot()
        >>> set_scale(axes, "x", False, 0, 20_000)
        >>> [text.get_text() for text in axes.get_xticklabels()]
        ['0', '5k', '10k', '15k', '20k']
    """
    axis = getattr(axes, f"{name}axis")
    limit, scale = getattr(axes, f"set_{name}lim"), "log" if log else "linear"
    if axis.get_scale() != scale:
        limit(max(low, 1e-3 * high), high)  # valid on both
        getattr(axes, f"set_{name}scale")(scale)
        axis.set_minor_locator(NullLocator())
    limit(low, high)
    narrow = high < 10 * low
    whole = name == "x" and high > 5
    locate: Locator = MaxNLocator(6, steps=[1, 2, 5, 10], integer=whole)
    if log and not narrow:
        locate = LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,), numticks=8)
    axis.set_major_locator(locate)
    axis.set_major_formatter(ticks := _Ticks())
    longest = max(map(len, ticks.format_ticks(axis.get_majorticklocs())), default=0)
    axis.set_tick_params(labelsize=8 if longest < 6 else 7 if longest < 7 else 6.5)


class _Ticks(Formatter):
    """Short numbers: 0.25, 20k, 3e-4; all alike, unless the axis is logarithmic."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        top = max((abs(value) for value in values), default=1.0)
        gaps = [b - a for a, b in pairwise(sorted(values)) if b > a] or [top]
        if max(gaps) > 1.5 * min(gaps):
            return [short_number(value, abs(value), abs(value)) for value in values]
        return [short_number(value, top, gaps[0]) for value in values]


def short_number(x: float, top: float, apart: float) -> str:
    """Return the text of a tick: 0.25, 1500, 20k, 3e-4.

    Args:
        x: Value at the tick.
        top: Largest value of the axis, which decides between 20000 and 20k.
        apart: Distance from tick to tick, which decides on the decimals.

    Example:
        >>> short_number(5000, top=20_000, apart=5000), short_number(3e-4, 3e-4, 1e-4)
        ('5k', '3e-4')
    """
    if abs(x) <= 1e-9 * top:
        return "0"
    unit, end = 1.0, ""
    if top < 1e-2:
        power = math.floor(math.log10(abs(x)) + 1e-9)
        unit, end = 10.0**power, f"e{power}"
    elif top >= 1e4:
        power = min(4, math.floor(math.log10(top) / 3 + 1e-9))
        unit, end = 1000.0**power, " kMGT"[power]
    apart /= unit
    exact = (n for n in range(8) if abs(round(apart, n) - apart) < 1e-3 * apart)
    return f"{x / unit:.{next(exact, 8)}f}{end}"
