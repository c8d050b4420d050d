"""A prediction before the result, recorded and compared with it after.

Said aloud and then contradicted, a wrong idea is noticed; merely read, it is not.
"""

from collections.abc import Mapping, Sequence
import html
import math
from typing import Any

import ipywidgets as widgets

Range = tuple[float, float]


class Predict:
    """A question with a few answers, one of which a run will turn out to give.

    Args:
        question: One sentence.
        options: The answers; for a number, each with the range [low, high) that it
            stands for.
        default: Answer that counts when nobody has picked one, as in a test.

    Raises:
        ValueError: If there are fewer than two options, or the default is not one.

    Example:
        >>> guess = Predict("How fast?", {"slower": (0, 1), "faster": (1, 99)})
        >>> guess.choose("slower")
        >>> guess.check(2.5)
        You predicted: slower. The run says: faster (2.5). Not this time.
        False
    """

    def __init__(
        self,
        question: str,
        options: Sequence[str] | Mapping[str, Range],
        default: str | None = None,
    ) -> None:
        """Build the widget with nothing picked."""
        if len(options) < 2:
            raise ValueError(f"options must be two or more, got {list(options)}")
        if default is not None and default not in options:
            raise ValueError(f"default={default!r} is not one of {list(options)}")
        self.question = question
        self.options = list(options)
        self.ranges = dict(options) if isinstance(options, Mapping) else None
        self.default = default
        self._radio = widgets.RadioButtons(
            options=self.options, value=None, layout={"width": "max-content"}
        )
        self._radio.add_class("lmx-predict")
        self._radio.tooltip = question
        words = widgets.HTML(f"<b>Predict.</b> {html.escape(question)}")
        self.box = widgets.VBox([words, self._radio])

    @property
    def answer(self) -> str | None:
        """What was picked, or the default, or None."""
        picked: str | None = self._radio.value
        return self.default if picked is None else picked

    def choose(self, option: str) -> None:
        """Pick an answer from code.

        Raises:
            ValueError: If it is not one of the options.
        """
        if option not in self.options:
            raise ValueError(f"{option!r} is not one of {self.options}")
        self._radio.value = option

    def check(self, actual: str | float) -> bool:
        """Compare the answer with what happened, in a printed sentence.

        Args:
            actual: The option that came true, or the number that was measured.

        Returns:
            Whether the prediction was right; False if there was none.

        Raises:
            ValueError: If no option fits ``actual``.
        """
        truth, detail = self._truth(actual)
        self._radio.disabled = True
        if self.answer is None:
            print(f"No prediction was made. The run says: {truth}{detail}.")
            return False
        right = self.answer == truth
        verdict = "Right." if right else "Not this time."
        print(f"You predicted: {self.answer}. The run says: {truth}{detail}. {verdict}")
        return right

    def _truth(self, actual: str | float) -> tuple[str, str]:
        if isinstance(actual, str):
            if actual not in self.options:
                raise ValueError(f"{actual!r} is not one of {self.options}")
            return actual, ""
        for option, (low, high) in (self.ranges or {}).items():
            if low <= actual < high or (math.isinf(high) and actual == high):
                return option, f" ({actual:.3g})"
        raise ValueError(f"no option's range holds {actual}; they are {self.ranges}")

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self.box._repr_mimebundle_(**kwargs) or {}
        return {**bundle, "text/plain": repr(self)}

    def __repr__(self) -> str:
        """Ask in plain text, for front ends without widgets."""
        return f"Predict: {self.question} ({' / '.join(self.options)})"
