"""A prediction before the result, recorded and compared with it after.

Said aloud and then contradicted, a wrong idea is noticed; merely read, it is not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import html
from itertools import pairwise
import math
from typing import Any, ClassVar

import ipywidgets as widgets
from lmxlab.lab.elsewhere import Shown
from lmxlab.lab.measures import NOT_SHOWN, Ratio
from lmxlab.lab.page import page_widget
from lmxlab.lab.verdict import State, verdict_html, verdict_text

Range = tuple[float, float]

WITHIN = 0.2
WORDS = {"right": "Right.", "wrong": "Not this time.", "open": "Not decided."}


@dataclass(frozen=True)
class Verdict:
    """A prediction beside what happened. It is true if the prediction was right.

    Attributes:
        state: ``"right"``, ``"wrong"``, or ``"open"``: nobody predicted anything, or
            the run cannot decide.
        predicted: The prediction in words, or None.
        actual: What the run said, in words.
        by_default: Whether the prediction is the default, since nobody made one.

    Example:
        >>> Verdict("wrong", "slower", "faster (2.5)")
        ✗ Not this time. You predicted: slower. The run says: faster (2.5).
    """

    state: State
    predicted: str | None
    actual: str
    by_default: bool = False

    @property
    def message(self) -> str:
        """The sentence that a learner reads."""
        if self.predicted is None:
            return f"No prediction was made. The run says: {self.actual}."
        who = "Nobody predicted; taken instead" if self.by_default else "You predicted"
        word = WORDS[self.state]
        return f"{word} {who}: {self.predicted}. The run says: {self.actual}."

    def __bool__(self) -> bool:
        """Tell whether the prediction was right."""
        return self.state == "right"

    def __repr__(self) -> str:
        """Show a sign and the sentence."""
        return verdict_text(self.state, self.message)

    def _repr_html_(self) -> str:
        return verdict_html(self.state, self.message)


@dataclass(frozen=True)
class Score:
    """How the predictions of a notebook turned out, each question counted once.

    Attributes:
        right: Predictions that the run confirmed.
        wrong: Predictions that it did not.
        missed: Results that were shown before anybody predicted.
        undecided: Predictions that the run could neither confirm nor refute.

    Example:
        >>> Score(right=2, wrong=1, missed=1)
        Predictions: ✓ 2 right, ✗ 1 wrong, … 1 not made
    """

    right: int
    wrong: int
    missed: int
    undecided: int = 0

    def __repr__(self) -> str:
        """Count, with the signs that the verdicts bear."""
        right = verdict_text("right", f"{self.right} right")
        wrong = verdict_text("wrong", f"{self.wrong} wrong")
        missed = verdict_text("open", f"{self.missed} not made")
        unsure = f", {verdict_text('open', f'{self.undecided} not decided')}"
        return f"Predictions: {right}, {wrong}, {missed}{unsure * bool(self.undecided)}"


class Predict(Shown):
    """A question that a run will answer: pick an option, or write a number.

    The answer is kept while the kernel lives, so the cell may be run again, and no
    longer changes once the result is out.

    Args:
        question: One sentence. A question asked again takes over the answer given.
        options: The answers; for a measurement, each with the range [low, high) that
            it stands for. None asks for a number.
        default: What counts when nobody has answered, as in a test.
        within: For a number: how far off is still right, as a share of the run's
            number; 20% unless told.
        margin: For a number: how far off is still right in any case, in its unit.
        unit: What the number counts: ``"times"``, ``"nats"``, ``"%"``.

    Raises:
        ValueError: If an argument makes no sense; the message says why.

    Example:
        >>> guess = Predict("How fast?", {"slower": (0, 1), "faster": (1, 99)})
        >>> guess.choose("slower")
        >>> guess.reveal(2.5)
        ✗ Not this time. You predicted: slower. The run says: faster (2.5).
        >>> guess = Predict("How many times faster?", within=0.2, unit="times")
        >>> guess.choose(2)
        >>> print(guess.reveal(2.4).message)
        Right. You predicted: 2 times. The run says: 2.4 times (17% off).
    """

    _answers: ClassVar[dict[str, str]] = {}
    _verdicts: ClassVar[dict[str, Verdict]] = {}

    def __init__(
        self,
        question: str,
        options: Sequence[str] | Mapping[str, Range] | None = None,
        default: str | float | None = None,
        *,
        within: float | None = None,
        margin: float = 0.0,
        unit: str = "",
    ) -> None:
        """Build the widget, with the answer given to the same question before."""
        self.question = question
        self._form: _Choice | _Number
        if options is None:
            self._form = _Number(WITHIN if within is None else within, margin, unit)
        elif within is not None or margin:
            raise ValueError(
                "within and margin are for a number; give each option its range instead"
            )
        else:
            self._form = _Choice(options, unit)
        if default is not None and self._form.read(default) is None:
            raise ValueError(f"default={default!r} is not {self._form.wanted}")
        self.default = default

        control = self._form.control
        control.add_class("lmx-predict")
        control.tooltip = question
        words = f"<b>Predict.</b> {html.escape(question)}"
        if self._form.rule:
            words += f" ({self._form.rule})"
        self._note = widgets.HTML()
        parts = [widgets.HTML(words), control, self._note, page_widget()]
        self.box = widgets.VBox(parts)
        self.box.add_class("lmx-lab")
        self._verdicts.pop(question, None)
        earlier = self._answers.get(question)
        if earlier is not None and self._form.read(earlier) is not None:
            control.value = earlier
        control.observe(self._answered, names="value")

    @property
    def answer(self) -> str | float | None:
        """What was picked or written, or the default, or None."""
        given = self._form.read(self._form.control.value)
        return self.default if given is None else given

    def choose(self, answer: str | float) -> None:
        """Answer from code.

        Args:
            answer: One of the options, or a number where none are given.

        Raises:
            ValueError: If it is not one of the options, or no number; or if the result
                is out.
        """
        if self._form.control.disabled:
            raise ValueError("the result is out; ask again in a new Predict")
        if self._form.read(answer) is None:
            raise ValueError(f"{answer!r} is not {self._form.wanted}")
        self._form.control.value = str(answer)

    def reveal(self, actual: Any) -> Verdict:
        """Compare the answer with what happened; nothing changes it from then on.

        Args:
            actual: The option that came true, or the number that was measured. A
                :class:`.Ratio` that is not shown decides nothing.

        Returns:
            The verdict, for a cell to show; it is true if the prediction was right.

        Raises:
            ValueError: If ``actual`` is no possible answer.
        """
        given = self._form.read(self._form.control.value)
        answer = self.default if given is None else given
        decided = not isinstance(actual, Ratio) or actual.is_shown
        if not isinstance(actual, Ratio):
            right, happened = self._form.judge(answer, actual)
        elif decided:
            right, happened = self._form.judge(answer, actual.value)
        else:
            right, happened = False, f"{actual} times: {NOT_SHOWN}"
        state: State = "right" if right else "wrong"
        if answer is None or not decided:
            state = "open"
        words = None if answer is None else self._form.words(answer)
        verdict = Verdict(state, words, happened, by_default=given is None)
        self._form.control.disabled = True
        self._note.value = verdict._repr_html_()
        # A default is nobody's prediction.
        self._verdicts[self.question] = (
            verdict if given is not None else Verdict("open", None, happened)
        )
        return verdict

    @classmethod
    def score(cls) -> Score:
        """Count the predictions of this notebook that have met their result."""
        states = Counter(
            "missed" if verdict.predicted is None else verdict.state
            for verdict in cls._verdicts.values()
        )
        return Score(*(states[name] for name in ("right", "wrong", "missed", "open")))

    @classmethod
    def forget(cls) -> None:
        """Forget all answers and results, as a new kernel would."""
        cls._answers.clear()
        cls._verdicts.clear()

    def _answered(self, change: dict[str, Any]) -> None:
        self._answers[self.question] = change["new"]
        self._note.value = html.escape(self._form.remark(change["new"]))

    def __repr__(self) -> str:
        """Ask in plain text, for front ends without widgets."""
        return f"Predict: {self.question} ({self._form.summary})"


class _Choice:
    """One of a few options, each of which may stand for a range of numbers."""

    rule = ""

    def __init__(self, options: Sequence[str] | Mapping[str, Range], unit: str) -> None:
        self.options, self.unit = list(options), unit
        if len(self.options) < 2:
            raise ValueError(f"options must be two or more, got {self.options}")
        if len(set(self.options)) < len(self.options):
            raise ValueError(f"options must differ, got {self.options}")
        self.ranges = dict(options) if isinstance(options, Mapping) else None
        ends = sorted((self.ranges or {}).values())
        for low, high in ends:
            if not low < high:
                raise ValueError(f"a range must rise, got ({low}, {high})")
        for (_, high), (low, _) in pairwise(ends):
            if low < high:
                raise ValueError(f"ranges overlap between {low} and {high}")
        self.wanted = f"one of {self.options}"
        self.summary = " / ".join(self.options)
        self.control = widgets.RadioButtons(
            options=self.options, value=None, layout={"width": "max-content"}
        )

    def read(self, answer: Any) -> str | None:
        return answer if answer in self.options else None

    def words(self, answer: Any) -> str:
        return str(answer)

    def remark(self, answer: Any) -> str:
        return ""

    def judge(self, answer: Any, actual: Any) -> tuple[bool, str]:
        if isinstance(actual, str):
            if actual not in self.options:
                raise ValueError(f"{actual!r} is not one of {self.options}")
            return answer == actual, actual
        number = _number(actual)
        for option, (low, high) in (self.ranges or {}).items():
            if low <= number < high or (math.isinf(high) and number == high):
                return answer == option, f"{option} ({_written(number, self.unit)})"
        raise ValueError(f"no option's range holds {actual}; they are {self.ranges}")


class _Number:
    """A number, right if it is near enough."""

    wanted = "a number, such as 2.5"

    def __init__(self, within: float, margin: float, unit: str) -> None:
        for name, value in (("within", within), ("margin", margin)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be 0 or more, got {value!r}")
        self.within, self.margin, self.unit = within, margin, unit
        near = [f"{100 * within:.3g}%"] * bool(within)
        near += [_written(margin, unit)] * bool(margin)
        exactly = "only the exact number is right"
        self.rule = f"within {' or '.join(near)} is right" if near else exactly
        self.summary = f"a number{f' of {unit}' if unit else ''}; {self.rule}"
        self.control = widgets.Text(
            placeholder="a number",
            description=f"Your prediction{f' ({unit})' if unit else ''}:",
            style={"description_width": "initial"},
            layout={"width": "320px", "max_width": "95%"},
        )

    def read(self, answer: Any) -> float | None:
        if isinstance(answer, str) and self.unit:
            answer = answer.strip().removesuffix(self.unit)
        try:
            number = float(answer)
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) else None

    def words(self, answer: Any) -> str:
        return _written(float(answer), self.unit)

    def remark(self, answer: Any) -> str:
        number = self.read(answer)
        if number is not None:
            return f"You predict {self.words(number)}."
        return f"Not yet {self.wanted}." if str(answer).strip() else ""

    def judge(self, answer: Any, actual: Any) -> tuple[bool, str]:
        number = _number(actual)
        happened = _written(number, self.unit)
        if answer is None or not math.isfinite(number):
            return False, happened
        off = abs(float(answer) - number)
        # A hair more: 0.1 + 0.2 is not 0.3.
        near = max(self.within * abs(number), self.margin) * (1 + 1e-9)
        far = f"{off / abs(number):.0%}" if number else f"{off:.3g}"
        return off <= near, f"{happened} ({far} off)"


def _number(actual: Any) -> float:
    try:
        number = float(actual)
    except (TypeError, ValueError):
        raise ValueError(f"reveal() needs a number here, got {actual!r}") from None
    if math.isnan(number):
        raise ValueError("the run gives nan, so no prediction can be compared with it")
    return number


def _written(number: float, unit: str) -> str:
    large = 1000 <= abs(number) < math.inf
    space = "" if unit == "%" else " "
    return f"{number:{',.0f' if large else '.3g'}}{space}{unit}".rstrip()
