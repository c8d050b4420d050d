"""The exercises of notebook 01: a live factor, the break-even step, buckets."""

import math
from typing import Any

from lmxlab.lab.exercises import Exercise, checker
import mlx.core as mx


def _close(a: Any, b: float) -> bool:
    return math.isclose(float(a), b, rel_tol=1e-4, abs_tol=1e-9)


class _Counted(dict[str, mx.array]):
    """A dictionary that counts how often Python reads from it."""

    reads = 0

    def __getitem__(self, name: str) -> mx.array:
        self.reads += 1
        return super().__getitem__(name)


@checker
def check_live_factor(answer: Any) -> str | None:
    """Grade ``make(state)``: a compiled ``state["factor"] * x`` that stays live.

    Args:
        answer: The learner's function ``make``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    state = _Counted(factor=mx.array(2.0))
    f = answer(state)
    x = mx.array(3.0)
    try:
        first = f(x)
    except ValueError as error:
        if "uncaptured" not in str(error):
            raise
        return 'Too early: read state["factor"] inside the function that is compiled.'
    if not _close(first, 6.0):
        return "With a factor of 2, f(3) is 6."
    state["factor"] = mx.array(5.0)
    if _close(f(x), 6.0):
        return (
            "The factor was frozen by the trace: f(3) is still 6 after it became 5. "
            "Capture the dictionary: mx.compile(..., inputs=state)."
        )
    if not _close(f(x), 15.0):
        return "With a factor of 5, f(3) is 15."
    before = state.reads
    f(x)
    if state.reads > before:
        return "It follows, but Python runs at every call: f is not compiled."
    return None


LIVE_FACTOR = Exercise(
    title="A factor that stays live",
    difficulty="easy",
    minutes=5,
    question=(
        '`make(state)` shall return a compiled function `f(x) = state["factor"] * x` '
        "that follows when somebody puts another array into the dictionary."
    ),
    stub="def make(state): ...",
    check=check_live_factor,
    hint=(
        "Look at the second toy experiment. Which argument of `mx.compile` tells it "
        "what to look at again?"
    ),
    solution="""
        def make(state):
            return mx.compile(lambda x: state["factor"] * x, inputs=state)
    """,
    mistakes={
        "frozen by the trace": """
            def make(state):
                return mx.compile(lambda x: state["factor"] * x)
        """,
        "too early": """
            def make(state):
                factor = state["factor"]
                return mx.compile(lambda x: factor * x, inputs=state)
        """,
        "is not compiled": """
            def make(state):
                return lambda x: state["factor"] * x
        """,
        "f(3) is 6": lambda state: lambda x: x,
        "f(3) is 15": lambda state: (
            lambda x: 2 * x if state["factor"].item() == 2 else x
        ),
    },
)


@checker
def check_break_even(answer: Any) -> str | None:
    """Grade ``break_even(first_eager, first_compiled, eager, compiled)``, in steps.

    Args:
        answer: The learner's function ``break_even``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    got = answer(0.5, 4.5, 0.012, 0.004)
    if _close(got, 4.5 / 0.008):
        return "Eager has a first call too: only the difference must be earned back."
    if _close(got, 4.0 / 0.012) or _close(got, 4.0 / 0.004):
        return "A step earns the difference of the two step times, not all of one."
    if not _close(got, 4.0 / 0.008):
        return "4 s dearer at first, 8 ms cheaper a step: 500 steps."
    never = "Steps that are no cheaper never earn anything back: return math.inf."
    try:
        equal = answer(0.5, 4.5, 0.005, 0.005)
    except ZeroDivisionError:
        return f"Equal step times divide by zero. {never}"
    if not math.isinf(equal) or equal < 0:
        return never
    slower = answer(0.5, 4.5, 0.005, 0.010)
    if not math.isinf(slower) or slower < 0:
        return "When compiled steps are slower, the answer is math.inf, not negative."
    return None


BREAK_EVEN = Exercise(
    title="The break-even step",
    difficulty="medium",
    minutes=5,
    question=(
        "Write `break_even(first_eager, first_compiled, eager, compiled)`: all in "
        "seconds, the answer in steps. It is `math.inf` when compiled steps are no "
        "cheaper."
    ),
    stub="def break_even(first_eager, first_compiled, eager, compiled): ...",
    check=check_break_even,
    hint=(
        "Only what the compiled first call costs *more* must be earned back, and a "
        "step earns the *difference* of the step times."
    ),
    solution="""
        def break_even(first_eager, first_compiled, eager, compiled):
            gain = eager - compiled
            if gain <= 0:
                return math.inf
            return (first_compiled - first_eager) / gain
    """,
    mistakes={
        "only the difference": lambda fe, fc, e, c: fc / (e - c),
        "two step times": lambda fe, fc, e, c: (fc - fe) / e,
        "500 steps": lambda fe, fc, e, c: (e - c) / (fc - fe),
        "divide by zero": lambda fe, fc, e, c: (fc - fe) / (e - c),
        "no cheaper": lambda fe, fc, e, c: (fc - fe) / (e - c) if e != c else 0.0,
        "not negative": lambda fe, fc, e, c: (
            (fc - fe) / (e - c) if e != c else math.inf
        ),
    },
)


@checker
def check_bucket(answer: Any) -> str | None:
    """Grade ``bucket(n)``: the length in {16, 32, 64} for a row of n tokens.

    Args:
        answer: The learner's function ``bucket``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    got = {n: int(answer(n)) for n in range(1, 65)}
    short = [n for n, size in got.items() if size < n]
    if short:
        n = short[0]
        return f"A row of {n} tokens does not fit into {got[n]}: round up, not down."
    sizes = sorted(set(got.values()))
    if len(sizes) > 3:
        traces = len(sizes)
        return f"{traces} different lengths are {traces} traces; use 16, 32, 64."
    if sizes != [16, 32, 64]:
        return f"Use the lengths 16, 32 and 64; got {sizes}. A row of 1 goes into 16."
    for n, size in got.items():
        fits = next(bucket for bucket in sizes if n <= bucket)
        if size != fits:
            exactly = "exactly " if n == fits else ""
            return f"A row of {exactly}{n} tokens fits into {fits}; got {size}."
    return None


BUCKET = Exercise(
    title="Buckets",
    difficulty="medium",
    minutes=5,
    question=(
        "Write `bucket(n)` for rows of 1 to 64 tokens: the smallest of 16, 32 and 64 "
        "that a row of `n` tokens fits into. Three lengths, three traces."
    ),
    stub="def bucket(n): ...",
    check=check_bucket,
    hint=(
        "Go through the sizes from the smallest, and stop at the first that is large "
        "enough."
    ),
    solution="""
        def bucket(n):
            return next(size for size in (16, 32, 64) if n <= size)
    """,
    mistakes={
        "round up": lambda n: max(size for size in (1, 16, 32, 64) if size <= n),
        "different lengths": lambda n: n,
        "use the lengths": lambda n: 64,
        "exactly 16": lambda n: next(s for s in (16, 32, 64) if n < s or s == 64),
        "17 tokens fits into 32": lambda n: (
            n if n in (16, 32) else 16 if n < 16 else 64
        ),
    },
)

EXERCISES = (LIVE_FACTOR, BREAK_EVEN, BUCKET)
