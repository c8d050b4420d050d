"""The graders of the exercises, one for each, by notebook.

Each has a test in which the reference solution passes and planted mistakes fail.
"""

import math
from typing import Any

from lmxlab.lab.exercises import checker
import mlx.core as mx
import numpy as np


def _close(a: Any, b: float) -> bool:
    return math.isclose(float(a), b, rel_tol=1e-4, abs_tol=1e-9)


# ------------------------------------------------------------------- 00 start here


@checker
def check_entropy_floor(answer: Any) -> str | None:
    """Grade ``floor(choices, targets)``: nats a token of uniform, free choices."""
    choices, targets = [9, 10, 10, 6], 13
    right = sum(math.log(n) for n in choices) / targets
    got = answer(choices, targets)
    if _close(got, right * targets):
        return "That is the entropy of a whole story; the loss is a mean over tokens."
    if _close(got, right / math.log(2)):
        return "Those are bits. The loss is in nats: use the natural logarithm."
    if _close(got, right * targets / len(choices)):
        return "Divide by the number of targets: certain tokens count too, with 0 nats."
    if _close(got, math.log(math.fsum(choices)) / targets):
        return "Independent choices multiply, so their logarithms add."
    if not _close(got, right):
        return f"For choices {choices} and {targets} targets expect {right:.4f} nats."
    return (
        None if _close(answer([2], 1), math.log(2)) else "One coin, one target: ln 2."
    )


@checker
def check_perplexity(answer: Any) -> str | None:
    """Grade ``perplexity(nats)``: the number of equally likely tokens."""
    if _close(answer(2.0), 4.0):
        return "2 ** x undoes bits; this loss is in nats."
    if _close(answer(2.0), math.log(2.0)):
        return "The logarithm goes from probabilities to nats; you want the way back."
    for n in (1, 10, 47):
        if not _close(answer(math.log(n)), n):
            return f"A loss of ln {n} is as good as guessing among {n} tokens."
    return None


@checker
def check_shift(answer: Any) -> str | None:
    """Grade ``shift(rows)``: inputs and next-token targets of rows (B, L)."""
    rows = np.arange(12).reshape(2, 6)
    result = answer(rows)
    if not isinstance(result, tuple) or len(result) != 2:
        return "Return two arrays: inputs, targets."
    inputs, targets = (np.asarray(part) for part in result)
    if inputs.shape == targets.shape and np.array_equal(inputs, targets):
        return "Inputs and targets are the same: the model would learn to copy."
    if inputs.shape != (2, 5) or targets.shape != (2, 5):
        return (
            f"From rows of 6 tokens come 5 inputs and 5 targets; got shapes "
            f"{inputs.shape} and {targets.shape}. Cut along the last axis."
        )
    if np.array_equal(inputs, rows[:, 1:]) and np.array_equal(targets, rows[:, :-1]):
        return "The other way round: this model would predict the previous token."
    if not (
        np.array_equal(inputs, rows[:, :-1]) and np.array_equal(targets, rows[:, 1:])
    ):
        return "targets[i] must be the token that follows inputs[i]."
    return None


# ---------------------------------------------------------------- 01 compiled step


@checker
def check_live_factor(answer: Any) -> str | None:
    """Grade ``make(state)``: a compiled ``state["factor"] * x`` that stays live."""
    state = {"factor": mx.array(2.0)}
    f = answer(state)
    x = mx.array(3.0)
    if not _close(f(x).item(), 6.0):
        return "With a factor of 2, f(3) is 6."
    state["factor"] = mx.array(5.0)
    if _close(f(x).item(), 6.0):
        return (
            "The factor was frozen by the trace: f(3) is still 6 after it became 5. "
            "Capture the dictionary: mx.compile(..., inputs=state)."
        )
    if not _close(f(x).item(), 15.0):
        return "With a factor of 5, f(3) is 15."
    return None


@checker
def check_break_even(answer: Any) -> str | None:
    """Grade ``break_even(first_eager, first_compiled, eager, compiled)``, in steps."""
    got = answer(0.5, 4.5, 0.012, 0.004)
    if _close(got, 4.5 / 0.008):
        return "Eager has a first call too: only the difference must be earned back."
    if _close(got, 4.0 / 0.012) or _close(got, 4.0 / 0.004):
        return "A step earns the difference of the two step times, not all of one."
    if not _close(got, 4.0 / 0.008):
        return "4 s dearer at first, 8 ms cheaper a step: 500 steps."
    never = answer(0.5, 4.5, 0.005, 0.005)
    if not math.isinf(never) or never < 0:
        return "Steps that are no cheaper never earn anything back: return math.inf."
    slower = answer(0.5, 4.5, 0.005, 0.010)
    if not math.isinf(slower) or slower < 0:
        return "When compiled steps are slower, the answer is math.inf, not negative."
    return None


@checker
def check_bucket(answer: Any) -> str | None:
    """Grade ``bucket(n)``: the length in {16, 32, 64} for a row of n tokens."""
    got = {n: int(answer(n)) for n in range(1, 65)}
    short = [n for n, size in got.items() if size < n]
    if short:
        n = short[0]
        return f"A row of {n} tokens does not fit into {got[n]}: round up, not down."
    sizes = sorted(set(got.values()))
    if len(sizes) > 3:
        return (
            f"{len(sizes)} different lengths are {len(sizes)} traces; use 16, 32, 64."
        )
    if sizes != [16, 32, 64]:
        return f"Use the lengths 16, 32 and 64; got {sizes}. A row of 1 goes into 16."
    wasteful = [n for n in (16, 32) if got[n] != n]
    if wasteful:
        n = wasteful[0]
        return f"A row of exactly {n} tokens fits into {n}; got {got[n]}."
    return None
