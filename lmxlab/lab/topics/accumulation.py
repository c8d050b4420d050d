"""The exercises of notebook 02: the gradient, clipping once, and choosing k."""

from typing import Any

from lmxlab.lab.exercises import Exercise, checker
import mlx.core as mx
import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def _numbers(got: Any) -> Numbers:
    return np.array(got, dtype=np.float64)


def _same(got: Numbers, wanted: Any) -> bool:
    wanted = np.asarray(wanted, dtype=np.float64)
    return got.shape == wanted.shape and np.allclose(got, wanted, rtol=1e-4, atol=1e-7)


def _slope(w: float, batch: Any) -> float:
    """Gradient of the mean of (w - x)^2 over a batch."""
    return float(2 * (w - np.mean(batch)))


@checker
def check_whole_gradient(answer: Any) -> str | None:
    """Grade ``whole_gradient(mean_gradient, w, batches)``, that of all numbers.

    Args:
        answer: The learner's function ``whole_gradient``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    batches = [[1.0, 2.0, 3.0], [10.0], [5.0, 9.0]]
    counts = [len(batch) for batch in batches]
    seen: list[tuple[float, int]] = []

    def mean_gradient(w: float, batch: list[float]) -> float:
        seen.append((w, len(batch)))
        return _slope(w, batch)

    got = float(answer(mean_gradient, 1.0, batches))
    each = [_slope(1.0, batch) for batch in batches]
    weighted = sum(n * g for n, g in zip(counts, each, strict=True))
    if any(w != 1.0 for w, _ in seen):
        return "Every micro-batch needs the gradient at the same w: do not move it."
    if max((n for _, n in seen), default=0) > max(counts):
        return (
            "You joined the micro-batches into one: right, and as large in memory "
            "as the batch that did not fit. Call mean_gradient once for each."
        )
    if np.isclose(got, sum(each) / len(each)):
        return (
            "That is the mean of means: the number in the batch of one counts three "
            "times as much as one in the batch of three."
        )
    if np.isclose(got, sum(each)):
        return "That is a plain sum of means. Weight each by its numbers, then divide."
    if np.isclose(got, weighted):
        return f"Weighted, but not divided by the {sum(counts)} numbers there are."
    if np.isclose(got, weighted / len(batches)):
        return "Divided by the micro-batches; divide by all the numbers in them."
    if np.isclose(got, each[-1]):
        return "Only the last micro-batch is left: add to the buffer."
    if not np.isclose(got, weighted / sum(counts)):
        return f"Gradients {each} over {counts} numbers make {weighted / sum(counts)}."
    return None


WHOLE_GRADIENT = Exercise(
    title="The gradient of the batch that did not fit",
    difficulty="medium",
    minutes=6,
    question=(
        "`mean_gradient(w, batch)` gives the gradient at `w` of a loss that is a "
        "*mean* over the numbers in `batch`, a list. Write "
        "`whole_gradient(mean_gradient, w, batches)`: that of the mean over the "
        "numbers of all batches, one batch in memory at a time."
    ),
    stub="def whole_gradient(mean_gradient, w, batches): ...",
    check=check_whole_gradient,
    hint="Turn each mean back into a sum. How many numbers is it a mean over?",
    solution="""
        def whole_gradient(mean_gradient, w, batches):
            total = sum(len(b) * mean_gradient(w, b) for b in batches)
            return total / sum(len(b) for b in batches)
    """,
    mistakes={
        "mean of means": lambda f, w, bs: sum(f(w, b) for b in bs) / len(bs),
        "plain sum": lambda f, w, bs: sum(f(w, b) for b in bs),
        "not divided": lambda f, w, bs: sum(len(b) * f(w, b) for b in bs),
        "divided by the micro-batches": lambda f, w, bs: (
            sum(len(b) * f(w, b) for b in bs) / len(bs)
        ),
        "only the last": lambda f, w, bs: f(w, bs[-1]),
        "joined": lambda f, w, bs: f(w, [x for b in bs for x in b]),
        "do not move it": """
            def whole_gradient(mean_gradient, w, batches):
                total = 0.0
                for b in batches:
                    g = mean_gradient(w, b)
                    w, total = w - 0.1 * g, total + len(b) * g
                return total / sum(len(b) for b in batches)
        """,
    },
)


def _shortened(g: Numbers, limit: float) -> Numbers:
    return g * min(1.0, limit / float(np.linalg.norm(g)))


@checker
def check_clip_once(answer: Any) -> str | None:
    """Grade ``clipped(grads, counts, limit)``: averaged, then shortened.

    Args:
        answer: The learner's function ``clipped``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    grads, counts = [_numbers([30.0, 40.0]), _numbers([0.0, -4.0])], [2, 6]
    whole = (2 * grads[0] + 6 * grads[1]) / 8  # (7.5, 7)
    got = _numbers(answer([mx.array(g) for g in grads], counts, 1.0))
    each = [_shortened(g, 1.0) for g in grads]
    early = (2 * each[0] + 6 * each[1]) / 8
    if _same(got, early) or _same(got, _shortened(early, 1.0)):
        return (
            "Clipped before averaging: each micro-batch's gradient lost its length, "
            "and the mean points elsewhere. Average first, clip once."
        )
    if _same(got, whole):
        return "The mean is right; it is longer than the limit and must be shortened."
    if _same(got, np.clip(whole, -1, 1)):
        return "Each number was cut alone, which turns the gradient. Scale it whole."
    if _same(got, _shortened((grads[0] + grads[1]) / 2, 1.0)):
        return "Clipped the mean of means: weight by the counts first."
    if not _same(got, _shortened(whole, 1.0)):
        return f"The mean {whole} shortened to length 1 is {_shortened(whole, 1.0)}."
    short = _numbers(answer([mx.array(g) for g in grads], counts, 100.0))
    if not _same(short, whole):
        return "A gradient within the limit stays as it is: never make it longer."
    return None


CLIP_ONCE = Exercise(
    title="Clip once",
    difficulty="medium",
    minutes=6,
    question=(
        "Write `clipped(grads, counts, limit)`: `grads` are the micro-batches' mean "
        "gradients (MLX vectors), `counts` their tokens. Return the gradient of the "
        "whole batch, shortened to `limit` if it is longer."
    ),
    stub="def clipped(grads, counts, limit): ...",
    check=check_clip_once,
    hint="Look at the diagram: in which of the two programs does clipping stand?",
    solution="""
        def clipped(grads, counts, limit):
            total = sum(n * g for n, g in zip(counts, grads, strict=True))
            mean = total / sum(counts)
            return mean * mx.minimum(1, limit / mx.linalg.norm(mean))
    """,
    mistakes={
        "clipped before averaging": """
            def clipped(grads, counts, limit):
                short = [g * mx.minimum(1, limit / mx.linalg.norm(g)) for g in grads]
                total = sum(n * g for n, g in zip(counts, short))
                return total / sum(counts)
        """,
        "must be shortened": """
            def clipped(grads, counts, limit):
                return sum(n * g for n, g in zip(counts, grads)) / sum(counts)
        """,
        "each number was cut": """
            def clipped(grads, counts, limit):
                mean = sum(n * g for n, g in zip(counts, grads)) / sum(counts)
                return mx.clip(mean, -limit, limit)
        """,
        "mean of means": """
            def clipped(grads, counts, limit):
                mean = sum(grads) / len(grads)
                return mean * mx.minimum(1, limit / mx.linalg.norm(mean))
        """,
        "never make it longer": """
            def clipped(grads, counts, limit):
                mean = sum(n * g for n, g in zip(counts, grads)) / sum(counts)
                return mean * limit / mx.linalg.norm(mean)
        """,
        "shortened to length 1": lambda grads, counts, limit: grads[0],
    },
)


def _least(rows: int, budget: float, fixed: float, per_row: float) -> int:
    return next(
        k
        for k in range(1, rows + 1)
        if rows % k == 0 and fixed + per_row * (rows // k) <= budget
    )


@checker
def check_fewest(answer: Any) -> str | None:
    """Grade ``fewest(rows, budget, fixed, per_row)``: the smallest k that fits.

    Args:
        answer: The learner's function ``fewest``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    got = int(answer(64, 100, 40, 4))  # at most 15 rows: k = 8
    if got == 64:
        return "It fits, and so does a smaller k: do not split more than you must."
    if got < 1 or 64 % got:
        return f"64 rows do not split evenly into {got}: k must divide the rows."
    used = 40 + 4 * 64 / got
    if used > 100:
        return f"{got} micro-batches use {used:g} of 100 MiB: the fixed part counts."
    if got != 8:
        return f"64 rows, 60 MiB for them, 4 MiB a row: 8 micro-batches; got {got}."
    got = int(answer(60, 50, 0, 7))  # at most 7 rows: k = 10, not 9
    if got != 10:
        return f"60 rows of 7 MiB in 50 MiB: 10 micro-batches of 6; got {got}."
    got = int(answer(8, 100, 20, 10))  # exactly
    if got != 1:
        return f"20 + 8 * 10 MiB is just 100, and that fits: 1 micro-batch; got {got}."
    for case in ((96, 64, 16, 3), (30, 1000, 10, 1), (7, 15, 10, 5)):
        if int(answer(*case)) != _least(*case):
            return f"fewest{case} is {_least(*case)}; got {int(answer(*case))}."
    return None


FEWEST = Exercise(
    title="As few as will fit",
    difficulty="easy",
    minutes=5,
    question=(
        "More micro-batches than needed only cost time. Weights, moments and the "
        "buffer take `fixed` MiB, each row of a micro-batch `per_row` more. Write "
        "`fewest(rows, budget, fixed, per_row)`: the smallest k that divides `rows` "
        "and keeps within `budget`."
    ),
    stub="def fewest(rows, budget, fixed, per_row): ...",
    check=check_fewest,
    hint="Try k = 1, 2, 3, ... and stop at the first that passes both conditions.",
    solution="""
        def fewest(rows, budget, fixed, per_row):
            for k in range(1, rows + 1):
                if rows % k == 0 and fixed + per_row * rows / k <= budget:
                    return k
    """,
    mistakes={
        "the fixed part counts": lambda rows, budget, fixed, per_row: next(
            k
            for k in range(1, rows + 1)
            if rows % k == 0 and per_row * rows / k < budget
        ),
        "must divide": lambda rows, budget, fixed, per_row: next(
            k for k in range(1, rows + 1) if fixed + per_row * rows / k <= budget
        ),
        "do not split more": lambda rows, budget, fixed, per_row: rows,
        "just 100": lambda rows, budget, fixed, per_row: next(
            k
            for k in range(1, rows + 1)
            if rows % k == 0 and fixed + per_row * rows / k < budget
        ),
        "10 micro-batches of 6": lambda rows, budget, fixed, per_row: 8,
    },
)

EXERCISES = (WHOLE_GRADIENT, CLIP_ONCE, FEWEST)
