"""Bars: one number for each run."""

from textwrap import fill
from typing import Any

from lmxlab.lab.plot import ACROSS, COLOURS, TEXT, Plot

LETTER = 5.3  # pixels


class Bars(Plot):
    """One bar for each run.

    Attributes:
        values: Run's label to the height of its bar.

    Example:
        >>> bars = Bars("first call (s)")
        >>> bars.values = {"eager": 0.1, "compiled": 1.25}
        >>> bars.words()
        'first call (s): eager 0.1, compiled 1.25.'
    """

    values: dict[str, float]

    def words(self) -> str:
        """Return the bars' values as a sentence, for those who cannot see them."""
        each = [f"{name} {value:.3g}" for name, value in self.values.items()]
        return f"{self.label}: {', '.join(each)}."

    def _look(self) -> Any:
        return list(self.values.items())

    def _arrange(self) -> None:
        axes, names, heights = self.axes, list(self.values), list(self.values.values())
        for old in list(axes.patches):
            old.remove()
        bars = axes.bar(range(len(names)), heights, 0.6, color=COLOURS[: len(names)])
        labels = [f"{value:.2g}" if value else "" for value in heights]
        axes.bar_label(bars, labels, color=TEXT, fontsize=8)
        letters = max(1, int(ACROSS / (len(names) + 1) / LETTER))
        words = [fill(name, letters) for name in names]
        axes.set_xticks(range(len(names)), words, linespacing=0.95)
        axes.set_xlim(-1, len(names))
        axes.set_ylim(0, 1.15 * (max(heights, default=0.0) or 1.0))

    def _moving(self) -> list[Any]:
        return []
