"""Exercises that say what went wrong, and never stop a notebook.

A checker is a function from a learner's answer to None, when it is right, or to the
sentence that names the likely mistake. :func:`checker` does the rest: an answer that is
still a stub, or raises, gets a sentence too.
"""

from collections.abc import Callable
from dataclasses import dataclass
import functools
from typing import Any


@dataclass(frozen=True)
class Grade:
    """What a checker says of an answer.

    Attributes:
        passed: Whether it is right.
        message: What to do next.
        answered: Whether there was an answer at all.
    """

    passed: bool
    message: str
    answered: bool = True

    def __repr__(self) -> str:
        """Show a mark and the message."""
        mark = "✓" if self.passed else "✗" if self.answered else "…"
        return f"{mark} {self.message}"


class NotAnsweredError(Exception):
    """The answer is still the stub."""


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
        ...         return "that is the square"
        ...     return None if answer(3) == 6 else "twice 3 is 6"
        >>> check_double(lambda x: x * x)
        ✗ that is the square
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
        except Exception as error:  # whatever the learner's code raises is the message
            return Grade(False, f"Your code raised {type(error).__name__}: {error}")
        return Grade(True, "Right.") if mistake is None else Grade(False, mistake)

    return graded


def _watched(answer: Any) -> Any:
    if answer is ... or answer is None:
        raise NotAnsweredError
    if not callable(answer):
        return answer

    def call(*args: Any, **kwargs: Any) -> Any:
        result = answer(*args, **kwargs)
        if result is ... or result is None:
            raise NotAnsweredError
        return result

    return call
