"""Each grader lets the reference solution pass, and names planted mistakes."""

import math

from lmxlab.lab import checks
import mlx.core as mx
import pytest


def capture(state):
    return mx.compile(lambda x: state["factor"] * x, inputs=state)


def freeze(state):
    return mx.compile(lambda x: float(state["factor"].item()) * x)


def break_even(first_eager, first_compiled, eager, compiled):
    gain = eager - compiled
    return (first_compiled - first_eager) / gain if gain > 0 else math.inf


def unguarded(first_eager, first_compiled, eager, compiled):
    return (first_compiled - first_eager) / (eager - compiled or -1e-12)


SOLUTIONS = [
    (
        checks.check_entropy_floor,
        lambda choices, targets: sum(map(math.log, choices)) / targets,
        {
            "mean over tokens": lambda c, t: sum(map(math.log, c)),
            "bits": lambda c, t: sum(map(math.log2, c)) / t,
            "number of targets": lambda c, t: sum(map(math.log, c)) / len(c),
            "logarithms add": lambda c, t: math.log(sum(c)) / t,
        },
    ),
    (
        checks.check_perplexity,
        math.exp,
        {
            "undoes bits": lambda nats: 2**nats,
            "way back": math.log,
            "guessing among": lambda nats: 1 + nats,
        },
    ),
    (
        checks.check_shift,
        lambda rows: (rows[:, :-1], rows[:, 1:]),
        {
            "learn to copy": lambda rows: (rows[:, :-1], rows[:, :-1]),
            "previous token": lambda rows: (rows[:, 1:], rows[:, :-1]),
            "last axis": lambda rows: (rows[:-1], rows[1:]),
            "two arrays": lambda rows: rows[:, 1:],
        },
    ),
    (
        checks.check_live_factor,
        capture,
        {
            "frozen by the trace": freeze,
            "f(3) is 6": lambda state: lambda x: x,
            "f(3) is 15": lambda state: lambda x: 2 * x + 1e-9 * state["factor"] ** 9,
        },
    ),
    (
        checks.check_break_even,
        break_even,
        {
            "only the difference": lambda fe, fc, e, c: fc / (e - c),
            "two step times": lambda fe, fc, e, c: (fc - fe) / e,
            "math.inf": unguarded,
        },
    ),
    (
        checks.check_bucket,
        lambda n: next(size for size in (16, 32, 64) if n <= size),
        {
            "round up": lambda n: max(s for s in (1, 16, 32, 64) if s <= n),
            "different lengths": lambda n: n,
            "use the lengths": lambda n: 64,
            "exactly 16": lambda n: next(s for s in (16, 32, 64) if n < s or s == 64),
        },
    ),
]


@pytest.mark.parametrize(("check", "solution", "_"), SOLUTIONS)
def test_the_reference_passes(check, solution, _):
    assert check(solution).passed, check(solution).message


@pytest.mark.parametrize(
    ("check", "mistake", "words"),
    [
        (check, mistake, words)
        for check, _, mistakes in SOLUTIONS
        for words, mistake in mistakes.items()
    ],
)
def test_a_planted_mistake_is_named(check, mistake, words):
    grade = check(mistake)
    assert not grade.passed
    assert words.lower() in grade.message.lower()


@pytest.mark.parametrize("check", [row[0] for row in SOLUTIONS])
def test_a_stub_is_not_answered_and_a_crash_is_reported(check):
    assert not check(lambda *args: ...).answered

    def crash(*args):
        raise ZeroDivisionError("by zero")

    grade = check(crash)
    assert not grade.passed
    assert "ZeroDivisionError: by zero" in grade.message
