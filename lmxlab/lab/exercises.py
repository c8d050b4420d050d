"""Exercises, each from one source, that say what went wrong and never stop a notebook.

An :class:`Exercise` holds the question, the stub, the check, the hint, the solution and
planted mistakes. From it come the notebook's cells (``python -m lmxlab.lab.exercises
notebooks/04_dpo.ipynb`` writes them) and the test of its check (:func:`assert_grades`).

A check is a function from a learner's answer to None, when it is right, or to the
sentence that names the likely mistake. :func:`checker` does the rest: an answer that is
still a stub, gives nothing, or raises, gets a sentence too.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
import dis
import functools
import inspect
from textwrap import dedent, indent
import traceback
from typing import Any, NamedTuple

from lmxlab.lab.verdict import State, verdict_html, verdict_text

DIFFICULTIES = ("easy", "medium", "hard")
MAX_COLUMNS = 88

# All that runs in a function whose body is `...`, `pass` or a docstring.
_IDLE = {"RESUME", "NOP", "COPY_FREE_VARS", "LOAD_CONST", "RETURN_CONST"}
_IDLE |= {"RETURN_VALUE"}


@dataclass(frozen=True)
class Grade:
    """What a checker says of an answer.

    Attributes:
        passed: Whether it is right.
        message: What to do next.
        answered: Whether there was an answer at all.

    Example:
        >>> Grade(False, "That is the square.")
        ✗ That is the square.
    """

    passed: bool
    message: str
    answered: bool = True

    @property
    def _state(self) -> State:
        return "right" if self.passed else "wrong" if self.answered else "open"

    def __repr__(self) -> str:
        """Show a mark and the message."""
        return verdict_text(self._state, self.message)

    def _repr_html_(self) -> str:
        return verdict_html(self._state, self.message)


class NotAnsweredError(Exception):
    """The answer is still the stub."""


class NothingReturnedError(Exception):
    """The answer does something, and gives None."""


def checker(check: Callable[[Any], str | None]) -> Callable[[Any], Grade]:
    """Turn a check into a grader of answers.

    Args:
        check: Takes the answer, a value or a function; returns None or the mistake.

    Returns:
        A function from the answer to a :class:`Grade`; it never raises.

    Example:
        >>> @checker
        ... def check_double(answer):
        ...     if answer(3) == 9:
        ...         return "That is the square."
        ...     return None if answer(3) == 6 else "Twice 3 is 6."
        >>> check_double(lambda x: x * x)
        ✗ That is the square.
        >>> check_double(lambda x: 2 * x)
        ✓ Right.
        >>> check_double(lambda x: ...)
        … Not answered yet: replace the ... above, then run both cells again.
    """

    @functools.wraps(check)
    def graded(answer: Any) -> Grade:
        try:
            mistake = check(_watched(answer))
        except NotAnsweredError:
            return Grade(
                False,
                "Not answered yet: replace the ... above, then run both cells again.",
                answered=False,
            )
        except NothingReturnedError:
            return Grade(False, "Your code gives None: does it end with a return?")
        except Exception as error:  # whatever the learner's code raises is the message
            return Grade(False, _blame(error, answer))
        return Grade(True, "Right.") if mistake is None else Grade(False, mistake)

    told = inspect.signature(check).replace(return_annotation=Grade)
    graded.__signature__ = told  # type: ignore[attr-defined] # not the check's own
    return graded


def _watched(answer: Any) -> Any:
    if answer is ... or answer is None:
        raise NotAnsweredError
    if not callable(answer):
        return answer

    def lmxlab_call(*args: Any, **kwargs: Any) -> Any:
        result = answer(*args, **kwargs)
        parts = result if isinstance(result, (tuple, list)) else [result]
        if any(part is ... for part in parts):
            raise NotAnsweredError
        if result is None:
            raise NotAnsweredError if _is_stub(answer) else NothingReturnedError
        return result

    return lmxlab_call


def _is_stub(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return (
        code is not None and {op.opname for op in dis.get_instructions(code)} <= _IDLE
    )


def _blame(error: Exception, answer: Any) -> str:
    """Say what was raised, and whether by the answer, where, or by what it gave."""
    said = f"{type(error).__name__}: {error}"
    code = getattr(answer, "__code__", None)
    frames = [
        (frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    lines = [line for at, line in frames if code and at.co_filename == code.co_filename]
    if lines:
        return f"Your code raised {said} (line {lines[-1]} of its cell)"
    if code is None or frames[-1][0].co_name == "lmxlab_call":
        return f"Your code raised {said}"
    return f"The check could not use what your code gives: {said}"


class Cell(NamedTuple):
    """One cell of a notebook."""

    cell_type: str
    """``"code"`` or ``"markdown"``."""
    source: str
    """What is written in it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Exercise:
    r"""One exercise: its cells in the notebook, and what its check must catch.

    Code runs with the names of the module in which the check is defined. Texts and code
    may be indented as the source around them is.

    Args:
        title: A few words, for the heading.
        difficulty: ``"easy"``, ``"medium"`` or ``"hard"``.
        minutes: How long it takes, about.
        question: What to write, in Markdown.
        stub: Code that runs, with ``...`` for what is missing. The last name that it
            defines is the answer.
        check: Made by :func:`checker`; its name starts with ``check_``.
        hint: Markdown that helps and does not tell.
        solution: Code that defines the same name, with the same arguments.
        mistakes: Two or more likely mistakes, each under words that the message must
            contain: code like the solution's, or the wrong answer itself.

    Raises:
        ValueError: If a part is missing or malformed; the message names it.

    Example:
        >>> @checker
        ... def check_double(answer):
        ...     if answer(3) == 9:
        ...         return "That is the square."
        ...     return None if answer(3) == 6 else "Twice 3 is 6."
        >>> exercise = Exercise(
        ...     title="Twice", difficulty="easy", minutes=1,
        ...     question="Write `double(x)`.",
        ...     stub="def double(x): ...",
        ...     check=check_double,
        ...     hint="Add it to itself.",
        ...     solution="def double(x):\n    return x + x",
        ...     mistakes={"square": lambda x: x * x, "is 6": lambda x: x + 2},
        ... )
        >>> print(exercise.cells(1)[0].source)
        ### Exercise 1: Twice (difficulty: easy, 1 minute)
        <BLANKLINE>
        Write `double(x)`.
        >>> exercise.cells(1)[2]
        Cell(cell_type='code', source='check_double(double)')
        >>> assert_grades(exercise)
    """

    title: str
    difficulty: str
    minutes: int
    question: str
    stub: str
    check: Callable[[Any], Grade]
    hint: str
    solution: str
    mistakes: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Straighten the texts and check every part."""
        for name in ("title", "question", "stub", "hint", "solution"):
            text = _straight(getattr(self, name))
            if not text:
                raise ValueError(f"{name} of exercise {self.title!r} is empty")
            object.__setattr__(self, name, text)
        where = f"of exercise {self.title!r}"
        if self.difficulty not in DIFFICULTIES:
            options = ", ".join(DIFFICULTIES)
            raise ValueError(
                f"difficulty {where} must be {options}, got {self.difficulty!r}"
            )
        if not isinstance(self.minutes, int) or self.minutes < 1:
            raise ValueError(f"minutes {where} must be 1, 2, ..., got {self.minutes!r}")
        if not self.check.__name__.startswith("check_"):
            raise ValueError(
                f"check {where} must be named check_..., got {self.check.__name__!r}"
            )
        if len(self.mistakes) < 2:
            raise ValueError(
                f"mistakes {where} must be two or more, got {len(self.mistakes)}"
            )
        self._check_code(where)

    def _check_code(self, where: str) -> None:
        (name, wanted), (found, given) = map(_defined, (self.stub, self.solution))
        if not name:
            raise ValueError(f"stub {where} defines no name: what is the answer?")
        if (found, given) != (name, wanted):
            raise ValueError(
                f"solution {where} must define {name}{wanted} as the stub does, and "
                f"defines {found}{given}"
            )
        for part, code in (("stub", self.stub), ("solution", self.solution)):
            if (width := max(map(len, code.splitlines()))) > MAX_COLUMNS:
                raise ValueError(
                    f"{part} {where} is {width} columns wide, more than {MAX_COLUMNS}"
                )

    @property
    def answer_name(self) -> str:
        """The name that the learner defines."""
        return _defined(self.stub)[0]

    def cells(self, number: int) -> list[Cell]:
        """Make the cells: heading and question, stub, check, folded hint and solution.

        Args:
            number: Its place in the notebook, from 1.
        """
        minutes = f"{self.minutes} minute{'' if self.minutes == 1 else 's'}"
        heading = (
            f"### Exercise {number}: {self.title} "
            f"(difficulty: {self.difficulty}, {minutes})"
        )
        folded = (
            f"<details><summary>Hint</summary>\n\n{self.hint}\n\n</details>\n\n"
            "<details><summary>Solution</summary>\n\n"
            f"```python\n{self.solution}\n```\n\n</details>"
        )
        return [
            Cell("markdown", f"{heading}\n\n{self.question}"),
            Cell("code", self.stub),
            Cell("code", f"{self.check.__name__}({self.answer_name})"),
            Cell("markdown", folded),
        ]

    def run(self, code: str) -> Any:
        """Run code as the learner's cell, and return the answer that it defines.

        Args:
            code: Python source that defines the stub's name.

        Raises:
            ValueError: If it does not define the answer's name.
        """
        names = dict(getattr(inspect.unwrap(self.check), "__globals__", {}))
        names.pop(self.answer_name, None)
        source = _straight(code)
        exec(compile(source, f"<{self.title}>", "exec"), names)
        if self.answer_name not in names:
            raise ValueError(
                f"code for exercise {self.title!r} does not define "
                f"{self.answer_name}:\n{indent(source, '    ')}"
            )
        return names[self.answer_name]


def _straight(text: str) -> str:
    return dedent(text.strip("\n")).strip()


def _defined(code: str) -> tuple[str, str]:
    """The last name that code defines at its top level, and a function's arguments."""
    for node in reversed(ast.parse(code).body):
        if isinstance(node, ast.FunctionDef):
            return node.name, f"({ast.unparse(node.args)})"
        if isinstance(node, ast.ClassDef):
            return node.name, ""
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            return node.targets[0].id, ""
    return "", ""


def assert_grades(exercise: Exercise) -> None:
    """Assert that a check tells right from wrong: the whole test of an exercise.

    The solution passes, the stub counts as not answered, and each planted mistake fails
    with its words in the message.

    Args:
        exercise: The exercise to test.

    Raises:
        AssertionError: If the check gets one of them wrong; the message says which.

    Example:
        >>> from lmxlab.lab.topics import exercises_of
        >>> assert_grades(exercises_of("00_start_here")[0])
    """
    name = f"{exercise.check.__name__} of {exercise.title!r}"
    grade = exercise.check(exercise.run(exercise.solution))
    assert grade.passed, f"{name} refuses the solution: {grade}"
    grade = exercise.check(exercise.run(exercise.stub))
    assert not grade.answered, f"{name} takes the stub for an answer: {grade}"
    for words, mistake in exercise.mistakes.items():
        answer = exercise.run(mistake) if isinstance(mistake, str) else mistake
        grade = exercise.check(answer)
        assert not grade.passed, f"{name} lets a mistake pass: {words!r}"
        assert grade.answered, f"{name} takes a mistake for a stub: {words!r}"
        assert words.lower() in grade.message.lower(), (
            f"{name} should say {words!r} of a mistake, and says: {grade}"
        )


if __name__ == "__main__":
    from lmxlab.lab.topics import main

    main()
