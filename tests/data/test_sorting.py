"""The sorting world is what it says, counted row by row."""

from collections import Counter
import itertools
import math

from lmxlab.data.batching import Dataset, Resumable
from lmxlab.data.sorting import SortingWorld, is_sorted_answer
import numpy as np
import pytest


def all_rows(n):
    """Every row of the corpus as text, with its probability."""
    rows = Counter()
    for digits in itertools.product("0123456789", repeat=n):
        prompt = "".join(digits)
        for answer in ("".join(sorted(prompt)), prompt[::-1], prompt):
            rows[f"{prompt}>{answer}."] += 1 / (3 * 10**n)
    return rows


@pytest.mark.parametrize("n", [2, 3])
def test_the_entropy_floor_is_that_of_all_rows_counted(n):
    """Token by token: -log p(token | all before it), over the targets of a row."""
    rows = all_rows(n)
    starts = Counter()
    for row, p in rows.items():
        for length in range(len(row) + 1):
            starts[row[:length]] += p
    nats = sum(
        p * sum(math.log(starts[row[:i]] / starts[row[: i + 1]])
                for i in range(1, len(row)))
        for row, p in rows.items()
    )  # fmt: skip
    world = SortingWorld(n)
    assert world.entropy_floor == pytest.approx(nats / (2 * n + 1), abs=1e-12)


def test_the_corpus_mixes_three_answers_a_third_each():
    world = SortingWorld()
    inputs, targets = next(world.batches(60_000, seed=0))
    assert inputs.shape == targets.shape == (60_000, 7)
    assert inputs.dtype == targets.dtype == np.int32
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    rows = np.concatenate([inputs[:, :1], targets], axis=1)
    legal = all_rows(3)
    counts = Counter(world.decode(row) for row in rows)
    assert counts.keys() <= legal.keys()
    # Prompts whose three answers differ tell which was given.
    told = Counter()
    for row, n in counts.items():
        prompt, answer = row[:3], row[4:7]
        ways = ["".join(sorted(prompt)), prompt[::-1], prompt]
        if len(set(ways)) == 3:
            told[ways.index(answer)] += n
    shares = np.array([told[i] for i in range(3)]) / sum(told.values())
    np.testing.assert_allclose(shares, 1 / 3, atol=0.01)
    firsts = np.bincount(rows[:, 0], minlength=10) / len(rows)
    np.testing.assert_allclose(firsts, 0.1, atol=0.01)


def test_it_is_a_dataset_that_resumes():
    world = SortingWorld()
    batches = world.batches(4, seed=3)
    assert isinstance(world, Dataset)
    assert isinstance(batches, Resumable)
    next(batches)
    position, second = batches.state(), next(batches)
    other = world.batches(4, seed=0)
    other.restore(position)
    assert all((a == b).all() for a, b in zip(second, next(other), strict=True))
    assert (
        next(world.batches(4, seed=1))[0] != next(world.batches(4, seed=2))[0]
    ).any()


def test_evaluation_batches_are_always_the_same_and_no_seed_draws_them():
    world = SortingWorld()
    one, two = world.eval_batches(16, 3), world.eval_batches(16, 3)
    assert len(one) == 3
    assert all((a == b).all() for x, y in zip(one, two, strict=True)
               for a, b in zip(x, y, strict=True))  # fmt: skip
    assert (one[0][0] != one[1][0]).any()


@pytest.mark.parametrize("n", [2, 3])
def test_held_out_prompts_are_a_fifth_and_are_never_drawn(n):
    world = SortingWorld(n)
    held_out = {world.decode(row) for row in world.held_out_prompts()}
    drawn = {world.decode(row) for row in world.prompts(50 * 10**n, seed=0)}
    assert len(held_out) == 10**n // 5
    assert not held_out & drawn
    assert len(held_out | drawn) == 10**n
    assert (SortingWorld(n).held_out_prompts(7) == world.held_out_prompts()[:7]).all()


def test_prompts_differ_from_each_other_and_repeat_with_their_seed():
    world = SortingWorld()
    rows = world.prompts(800, seed=1)
    assert rows.dtype == np.int32
    assert len(np.unique(rows, axis=0)) == 800
    assert (rows[:, -1] == 10).all()
    assert (rows == world.prompts(800, seed=1)).all()
    assert (rows == world.prompts(800, np.random.default_rng(1))).all()
    assert (rows != world.prompts(800, seed=2)).any()


@pytest.mark.parametrize(
    ("prompt", "completion", "right"),
    [
        ("528>", "258.", True),
        ("555>", "555.", True),
        ("100>", "001.", True),
        ("90>", "09.", True),
        ("528>", "825.", False),  # reversed
        ("528>", "528.", False),  # copied
        ("528>", "258", False),  # no end
        ("528>", "2588.", False),
        ("528>", "25.", False),
        ("528>", "259.", False),
        ("528>", "258.8", False),
        ("528>", ".", False),
    ],
)
def test_the_verifier_is_exact(prompt, completion, right):
    encode = SortingWorld().encode
    assert is_sorted_answer(encode(prompt), encode(completion)) is right
    assert (
        is_sorted_answer(encode(prompt).tolist(), encode(completion).tolist()) is right
    )


def test_whatever_a_model_says_has_a_verdict():
    assert not is_sorted_answer([5, 2, 10], [])
    assert not is_sorted_answer([5, 2, 10], [99, -3])


@pytest.mark.parametrize("n", [2, 3])
def test_the_verifier_accepts_the_sorted_answers_of_the_corpus(n):
    world = SortingWorld(n)
    rows = [world.encode(row) for row in all_rows(n)]
    right = [is_sorted_answer(row[: n + 1], row[n + 1 :]) for row in rows]
    assert sum(right) == 10**n  # one of the different answers to each prompt


def test_bad_arguments_are_named():
    world = SortingWorld()
    for message, call in {
        "n_digits must be at least 2, got 1": lambda: SortingWorld(1),
        "n_digits must be at most 5, got 6": lambda: SortingWorld(6),
        "n must be at least 1, got 0": lambda: world.prompts(0, seed=0),
        "n=201 is more than the 200 prompts": lambda: world.held_out_prompts(201),
        "n_batches must be at least 1": lambda: world.eval_batches(4, 0),
        r"prompt must be digits and then 10 .*, got \[5, 2\]": lambda: is_sorted_answer(
            [5, 2], [2, 5, 11]
        ),
        r"got \[11, 10\]": lambda: is_sorted_answer([11, 10], []),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
