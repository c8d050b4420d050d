"""The exercises of notebook 08: the ramp, what one bit tells, and the hidden bits."""

import math
from typing import Any

from lmxlab.data.parity import ParityWorld
from lmxlab.lab.exercises import Exercise, checker
import numpy as np  # noqa: F401 - for the solutions, as in the notebook

TOTAL, FRACTION, ROWS = 200, 0.5, 64


@checker
def check_hard_rows(answer: Any) -> str | None:
    """Grade ``hard_rows(i, n, total, fraction, pace)``: how many of n rows are hard.

    Args:
        answer: The learner's function ``hard_rows``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """

    def got(i: int, pace: float = 1.0) -> float:
        return float(answer(i, ROWS, TOTAL, FRACTION, pace))

    if got(0) != 0:
        return "Batch 0 is all easy."
    if got(50) == 16:
        return (
            "The share rises over the warm-up, total x fraction = 100 batches, and not "
            "over the whole run: batch 50 is half hard."
        )
    if got(50) == 0.5:
        return "That is the share: return how many rows, of n."
    if got(50) != 32:
        return f"At batch 50 of 100 the half of 64 rows is hard, 32; got {got(50):g}."
    if got(150) > ROWS:
        return "More hard rows than rows: the share stays at 1 after the warm-up."
    if got(150) != ROWS:
        return "After the warm-up all 64 rows are hard."
    if got(25, pace=2.0) == 16:
        return "The pace multiplies the speed: at pace 2, batch 25 is where 50 was."
    if got(25, pace=2.0) != 32:
        return f"At pace 2, half of batch 25 is hard, 32 rows; got {got(25, 2.0):g}."
    if got(1) != round(0.64):
        return "Rows are whole: round 0.64 to the nearest, 1."
    return None


HARD_ROWS = Exercise(
    title="How many are hard",
    difficulty="easy",
    minutes=5,
    question=(
        "Write `hard_rows(i, n, total, fraction, pace)`: how many of the `n` rows of "
        "batch `i` are hard? Their share rises in a straight line from 0, and at pace "
        "1 it reaches 1 after `total * fraction` batches, where it stays. A pace of 2 "
        "is twice as fast. Round to the nearest."
    ),
    stub="def hard_rows(i, n, total, fraction, pace): ...",
    check=check_hard_rows,
    hint="First the share, at most 1; then so much of `n`.",
    solution="""
        def hard_rows(i, n, total, fraction, pace):
            share = min(1.0, pace * i / (total * fraction))
            return round(share * n)
    """,
    mistakes={
        "not over the whole run": lambda i, n, total, fraction, pace: round(
            n * min(1, pace * i / total)
        ),
        "that is the share": lambda i, n, total, fraction, pace: min(
            1, pace * i / (total * fraction)
        ),
        "more hard rows than rows": lambda i, n, total, fraction, pace: round(
            n * pace * i / (total * fraction)
        ),
        "pace multiplies": lambda i, n, total, fraction, pace: round(
            n * min(1, i / (total * fraction))
        ),
        "rows are whole": lambda i, n, total, fraction, pace: int(
            n * min(1, pace * i / (total * fraction))
        ),
        "batch 0": lambda i, n, total, fraction, pace: n,
    },
)


@checker
def check_signal(answer: Any) -> str | None:
    """Grade ``signal(p, k)``: what one hidden bit tells of the parity of k.

    Args:
        answer: The learner's function ``signal``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    if not math.isclose(float(answer(0.1, 1)), 1 - 0.8**2, rel_tol=1e-6):
        if math.isclose(float(answer(0.1, 1)), 1.0, rel_tol=1e-6):
            return (
                "That is the mean of a product; a covariance takes off the product of "
                "the means: m^(k-1) - m x m^k."
            )
        return "With k = 1 the label is the bit: the variance of a sign, 1 - m^2."
    if not math.isclose(float(answer(0.5, 4)), 0.0, abs_tol=1e-12):
        return "On uniform bits m = 1 - 2p is 0: with k = 4 one bit tells nothing."
    right = 0.8**3 * (1 - 0.8**2)
    if math.isclose(float(answer(0.1, 4)), 0.8**4 * (1 - 0.8**2), rel_tol=1e-6):
        return "The other hidden bits are k - 1, not k: m to that power."
    if math.isclose(float(answer(0.1, 4)), 0.9**3 * (1 - 0.9**2), rel_tol=1e-6):
        return "The mean of a sign is (1 - p) - p = 1 - 2p, not 1 - p."
    if not math.isclose(float(answer(0.1, 4)), right, rel_tol=1e-6):
        return f"With p = 0.1 and k = 4: 0.8^3 (1 - 0.8^2) = {right:.4f}."
    return None


SIGNAL = Exercise(
    title="What one bit tells",
    difficulty="medium",
    minutes=8,
    question=(
        "Write a bit as a sign, +1 for 0 and −1 for 1; the parity is then a product of "
        "signs. Each bit is 1 with probability `p`, so a sign's mean is m = 1 − 2p. "
        "Write `signal(p, k)`: the covariance of one hidden sign with the product of "
        "all k."
    ),
    stub="def signal(p, k): ...",
    check=check_signal,
    hint=(
        "cov(a, b) = E[ab] − E[a] E[b]. A sign times itself is 1, so the product of "
        "the bit and the label has k − 1 signs left."
    ),
    solution="""
        def signal(p, k):
            m = 1 - 2 * p
            return m ** (k - 1) - m * m**k
    """,
    mistakes={
        "takes off the product": lambda p, k: (1 - 2 * p) ** (k - 1),
        "k - 1, not k": lambda p, k: (
            (1 - 2 * p) ** k * (1 - (1 - 2 * p) ** 2) if k > 1 else 1 - (1 - 2 * p) ** 2
        ),
        "variance of a sign": lambda p, k: (1 - p) ** (k - 1) * (1 - (1 - p) ** 2),
        "uniform bits": lambda p, k: 1 - 0.8**2,
        "with p = 0.1": lambda p, k: (
            (1 - 2 * p) ** (2 * k - 2) * (1 - (1 - 2 * p) ** 2)
        ),
    },
)


@checker
def check_hidden(answer: Any) -> str | None:
    """Grade ``hidden(bits, labels, k)``: which bits count, from easy rows alone.

    Args:
        answer: The learner's function ``hidden``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    for seed in (3, 4):
        world = ParityWorld(seed=seed).easy()
        bits, targets, _ = next(world.batches(8192, seed=1))
        found = answer(bits, targets[:, -1], world.k)
        got = sorted(int(position) for position in found)
        if len(got) != world.k:
            return f"{world.k} bits are hidden; you found {len(got)}."
        if len(set(got)) < len(got):
            return "Each position once."
        if got != world.subset:
            right = len(set(got) & set(world.subset))
            return (
                f"{right} of {world.k} are right. In easy rows a hidden bit goes with "
                "the label by itself: compare the label where the bit is 1 and where "
                "it is 0, for each bit."
            )
    return None


HIDDEN = Exercise(
    title="Find the hidden bits",
    difficulty="hard",
    minutes=10,
    question=(
        "Write `hidden(bits, labels, k)`: from *easy* rows, (N, n) zeros and ones, and "
        "their labels, (N,), find the positions of the `k` bits that count. No "
        "training: this is what the gradient sees at first. (Try it on hard rows "
        "afterwards.)"
    ),
    stub="def hidden(bits, labels, k): ...",
    check=check_hidden,
    hint=(
        "For each bit, the covariance with the label over all rows. The hidden ones "
        "stand out; `np.argsort` puts them last."
    ),
    solution="""
        def hidden(bits, labels, k):
            centred = labels - labels.mean()
            covariance = (bits - bits.mean(axis=0)).T @ centred / len(labels)
            return np.argsort(abs(covariance))[-k:]
    """,
    mistakes={
        "are right": lambda bits, labels, k: range(k),
        "you found": lambda bits, labels, k: [],
        "each position once": lambda bits, labels, k: [3] * k,
        "by itself": """
            def hidden(bits, labels, k):
                centred = labels - labels.mean()
                covariance = (bits - bits.mean(axis=0)).T @ centred / len(labels)
                return np.argsort(abs(covariance))[:k]
        """,
    },
)

EXERCISES = (HARD_ROWS, SIGNAL, HIDDEN)
