"""The exercises of notebook 00: floor, perplexity, inputs and targets."""

import math
from typing import Any

from lmxlab.lab.exercises import Exercise, checker
import numpy as np


def _close(a: Any, b: float) -> bool:
    return math.isclose(float(a), b, rel_tol=1e-4, abs_tol=1e-9)


@checker
def check_entropy_floor(answer: Any) -> str | None:
    """Grade ``floor(choices, targets)``: nats a token of uniform, free choices.

    Args:
        answer: The learner's function ``floor``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
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
    one_coin = answer([2], 1)
    return None if _close(one_coin, math.log(2)) else "One coin, one target: ln 2."


FLOOR = Exercise(
    title="The floor of another world",
    difficulty="easy",
    minutes=3,
    question=(
        "Write `floor(choices, targets)`: in each story, words are drawn uniformly "
        "from `choices[0]`, `choices[1]`, ... possibilities; all other targets are "
        "certain. How many nats per target?"
    ),
    stub="def floor(choices, targets): ...",
    check=check_entropy_floor,
    hint=(
        "A fair die with n faces is worth ln n. Independent dice add up; certain words "
        "add nothing, but they count as targets."
    ),
    solution="""
        def floor(choices, targets):
            return sum(math.log(n) for n in choices) / targets
    """,
    mistakes={
        "mean over tokens": lambda choices, targets: sum(map(math.log, choices)),
        "bits": lambda choices, targets: sum(map(math.log2, choices)) / targets,
        "number of targets": lambda choices, _: np.mean(np.log(choices)),
        "logarithms add": lambda choices, targets: math.log(sum(choices)) / targets,
        "expect 0.6611": lambda choices, targets: sum(choices) / targets,
        "one coin": lambda choices, _: sum(map(math.log, choices)) / 13,
    },
)


@checker
def check_perplexity(answer: Any) -> str | None:
    """Grade ``perplexity(nats)``: the number of equally likely tokens.

    Args:
        answer: The learner's function ``perplexity``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    if _close(answer(2.0), 4.0):
        return "2 ** x undoes bits; this loss is in nats."
    if _close(answer(2.0), math.log(2.0)):
        return "The logarithm goes from probabilities to nats; you want the way back."
    for n in (1, 10, 47):
        if not _close(answer(math.log(n)), n):
            return f"A loss of ln {n} is as good as guessing among {n} tokens."
    return None


PERPLEXITY = Exercise(
    title="Perplexity",
    difficulty="easy",
    minutes=2,
    question=(
        "A loss in nats is hard to feel. Write `perplexity(nats)`: among how many "
        "equally likely words is the model choosing?"
    ),
    stub="def perplexity(nats): ...",
    check=check_perplexity,
    hint="Choosing among n equally likely words is worth ln n nats. Go backwards.",
    solution="""
        def perplexity(nats):
            return math.exp(nats)
    """,
    mistakes={
        "undoes bits": lambda nats: 2**nats,
        "way back": math.log,
        "guessing among": lambda nats: 1 + nats,
    },
)


@checker
def check_shift(answer: Any) -> str | None:
    """Grade ``shift(rows)``: inputs and next-token targets of rows (B, L).

    Args:
        answer: The learner's function ``shift``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
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


SHIFT = Exercise(
    title="Inputs and targets",
    difficulty="medium",
    minutes=5,
    question=(
        "Rows of tokens have shape (B, L). Write `shift(rows)`, which returns inputs "
        "and targets, so that each target is the token that follows its input."
    ),
    stub="def shift(rows): ...",
    check=check_shift,
    hint="Every token but the last has a successor. Every token but the first is one.",
    solution="""
        def shift(rows):
            return rows[:, :-1], rows[:, 1:]
    """,
    mistakes={
        "learn to copy": lambda rows: (rows[:, :-1], rows[:, :-1]),
        "previous token": lambda rows: (rows[:, 1:], rows[:, :-1]),
        "last axis": lambda rows: (rows[:-1], rows[1:]),
        "two arrays": lambda rows: rows[:, 1:],
        "that follows": lambda rows: (rows[:, :-1], rows[:, :0:-1]),
    },
)

EXERCISES = (FLOOR, PERPLEXITY, SHIFT)
