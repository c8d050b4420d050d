"""The exercises of notebook 10: whose rows, whose weight, and how much is sent."""

import math
from typing import Any

from lmxlab.lab.exercises import Exercise, checker
import mlx.core as mx
import numpy as np


@checker
def check_rows(answer: Any) -> str | None:
    """Grade ``rows_of(batch, rank, size)``: this process's rows.

    Args:
        answer: The learner's function ``rows_of``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    for rows, size in ((8, 2), (7, 2), (10, 4), (3, 3)):
        batch = np.arange(2 * rows).reshape(rows, 2)
        parts = [np.asarray(answer(batch, rank, size)) for rank in range(size)]
        if any(part.ndim != 2 for part in parts):
            return "Return rows, an array of two dimensions, also if it is only one."
        seen = [int(row[0]) // 2 for part in parts for row in part]
        if len(set(seen)) < len(seen):
            return (
                f"With {rows} rows and {size} processes, a row is computed twice: it "
                "would count double. Each process takes other rows."
            )
        if len(seen) < rows:
            return (
                f"With {rows} rows and {size} processes, {rows - len(seen)} of the "
                "rows go to nobody. Give some processes one more."
            )
        counts = [len(part) for part in parts]
        if max(counts) - min(counts) > 1:
            return (
                f"With {rows} rows and {size} processes they get {counts}: all wait "
                "for the one with the most. Let them differ by at most one."
            )
    return None


ROWS = Exercise(
    title="Whose rows",
    difficulty="easy",
    minutes=5,
    question=(
        "Write `rows_of(batch, rank, size)`: the rows of an array that process `rank` "
        "of `size` computes on. Every row belongs to exactly one process, and no "
        "process has two more than another, also if the division leaves a remainder."
    ),
    stub="def rows_of(batch, rank, size): ...",
    check=check_rows,
    hint="A slice with a step: begin at your own number, and take every `size`-th row.",
    solution="""
        def rows_of(batch, rank, size):
            return batch[rank::size]
    """,
    mistakes={
        "computed twice": lambda batch, rank, size: batch[: len(batch) // size],
        "go to nobody": """
            def rows_of(batch, rank, size):
                n = len(batch) // size
                return batch[rank * n : (rank + 1) * n]
        """,
        "differ by at most one": """
            def rows_of(batch, rank, size):
                n = len(batch) // size
                return batch[rank * n :] if rank == size - 1 else batch[rank * n :][:n]
        """,
        "two dimensions": lambda batch, rank, size: batch[rank],
    },
)


@checker
def check_joint(answer: Any) -> str | None:
    """Grade ``joint(gradients, tokens)``: the gradient of the joint batch.

    Args:
        answer: The learner's function ``joint``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    gradients, tokens = [mx.array([1.0, 2.0]), mx.array([4.0, 8.0])], [30, 10]
    got = answer(gradients, tokens)
    values = np.asarray(got).reshape(-1)
    if values.shape != (2,):
        return "The joint gradient has the shape of each of them, here (2,)."
    if np.allclose(values, [2.5, 5.0]):
        return (
            "The plain mean lets 10 tokens count as much as 30: weight by the tokens."
        )
    if np.allclose(values, [5.0, 10.0]):
        return "That is the sum: with n processes, a step would be n times as long."
    if np.allclose(values, [70.0, 140.0]):
        return "Weighted, but not divided: divide by the number of all tokens."
    if np.allclose(values, [35.0, 70.0]):
        return "Divide by the number of all tokens, not by that of the processes."
    if not np.allclose(values, [1.75, 3.5], rtol=1e-5):
        return "(30 x 1 + 10 x 4) / 40 = 1.75 in the first place, 3.5 in the second."
    return None


JOINT = Exercise(
    title="Whose weight",
    difficulty="medium",
    minutes=5,
    question=(
        "Each process has the mean gradient over its own tokens. Write "
        "`joint(gradients, tokens)`, the mean gradient over all tokens, from a list of "
        "arrays and a list of counts."
    ),
    stub="def joint(gradients, tokens): ...",
    check=check_joint,
    hint="A mean times its count is a sum. Sums may be added, means may not.",
    solution="""
        def joint(gradients, tokens):
            sums = [n * g for g, n in zip(gradients, tokens, strict=True)]
            return sum(sums) / sum(tokens)
    """,
    mistakes={
        "plain mean": lambda gradients, tokens: sum(gradients) / len(gradients),
        "that is the sum": lambda gradients, tokens: sum(gradients),
        "not divided": lambda gradients, tokens: sum(
            n * g for g, n in zip(gradients, tokens, strict=True)
        ),
        "not by that of the processes": lambda gradients, tokens: (
            sum(n * g for g, n in zip(gradients, tokens, strict=True)) / len(tokens)
        ),
        "shape of each": lambda gradients, tokens: mx.array(1.75),
        "1.75 in the first place": lambda gradients, tokens: gradients[0],
    },
)


@checker
def check_sent(answer: Any) -> str | None:
    """Grade ``sent(numbers, processes)``: numbers that a process sends round a ring.

    Args:
        answer: The learner's function ``sent``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    got = float(answer(1200, 4))
    if math.isclose(got, 3600):
        return "Whole gradients from one to the next: a ring sends slices of 1/n."
    if math.isclose(got, 900):
        return "After that each process has one finished slice: it must go round too."
    if math.isclose(got, 2400):
        return "In each round a process sends all slices but one: n - 1 of n."
    if not math.isclose(got, 1800):
        return (
            "4 processes, slices of 300 numbers: 3 sent while adding, 3 while sharing."
        )
    if float(answer(1200, 1)) != 0:
        return "One process alone sends nothing."
    many = float(answer(1200, 1000))
    if not math.isclose(many, 2 * 1200 * 999 / 1000):
        return "The formula must hold for any number of processes."
    return None


SENT = Exercise(
    title="What goes over the wire",
    difficulty="hard",
    minutes=8,
    question=(
        "In a ring, each of n processes cuts its gradient into n slices. For n − 1 "
        "turns everybody sends a slice to the neighbour, who adds it to their own. "
        "Then each has one slice of the sum, and for n − 1 turns those go round. "
        "Write `sent(numbers, processes)`: how many numbers does one process send?"
    ),
    stub="def sent(numbers, processes): ...",
    check=check_sent,
    hint="Two rounds of n − 1 turns, and in each turn one slice of `numbers / n`.",
    solution="""
        def sent(numbers, processes):
            slice_of = numbers / processes
            return 2 * (processes - 1) * slice_of
    """,
    mistakes={
        "slices of 1/n": lambda numbers, n: (n - 1) * numbers,
        "must go round too": lambda numbers, n: (n - 1) * numbers / n,
        "all slices but one": lambda numbers, n: 2 * numbers,
        "3 sent while adding": lambda numbers, n: numbers / n,
        "for any number": lambda numbers, n: 0 if n == 1 else 1.5 * numbers,
    },
)

EXERCISES = (ROWS, JOINT, SENT)
