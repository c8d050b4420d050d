"""The parity world: an exact label, a known distribution, one target that counts."""

from itertools import combinations, product
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.data.batching import Dataset, Resumable
from lmxlab.data.parity import ParityWorld
import mlx.core as mx
import numpy as np
import pytest


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_label_is_the_xor_of_the_hidden_bits(data):
    n = data.draw(st.integers(1, 12))
    world = ParityWorld(n, data.draw(st.integers(1, n)), seed=data.draw(st.integers(0)))
    assert len(set(world.subset)) == world.k
    assert world.subset == sorted(world.subset)
    assert set(world.subset) <= set(range(n))
    bits = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    expected = 0
    for position in world.subset:
        expected ^= bits[position]
    assert world.label(bits) == expected
    assert world.label(np.array([[bits]], bool)).tolist() == [[expected]]


def test_a_hidden_bit_flips_the_label_and_another_never_does():
    world = ParityWorld(seed=3)
    bits = np.random.default_rng(0).integers(0, 2, (50, 16))
    for position in range(16):
        flipped = bits.copy()
        flipped[:, position] ^= 1
        changed = world.label(flipped) != world.label(bits)
        assert changed.all() if position in world.subset else not changed.any()


def test_a_row_is_the_bits_then_the_label_and_only_the_label_counts():
    world = ParityWorld(n_bits=7, k=3, seed=2)
    inputs, targets, mask = next(world.batches(20, seed=0))
    assert inputs.shape == targets.shape == mask.shape == (20, 7)
    assert (inputs.dtype, targets.dtype, mask.dtype) == (np.int32, np.int32, np.float32)
    assert (targets[:, :-1] == inputs[:, 1:]).all()
    assert (targets[:, -1] == world.label(inputs)).all()
    assert (mask == np.eye(7)[-1]).all()
    assert set(np.unique(inputs)) == {0, 1} == set(range(world.vocab_size))


@pytest.mark.parametrize("ones", [0.05, 0.1, 0.3, 0.5, 0.8])
def test_each_bit_is_one_with_the_probability_that_is_asked_for(ones):
    bits, *_ = next(ParityWorld(ones=ones).batches(4000, seed=1))
    error = math.sqrt(ones * (1 - ones) / 4000)
    assert np.abs(bits.mean(axis=0) - ones).max() < 4 * error
    assert np.abs(np.cov(bits.T) - np.eye(16) * ones * (1 - ones)).max() < 0.03


def exact(world):
    """Every row with its probability, and (-1)^bit and (-1)^label."""
    rows = np.array(list(product((0, 1), repeat=world.n_bits)))
    weight = np.prod(np.where(rows, world.ones, 1 - world.ones), axis=1)
    return weight, 1 - 2 * rows, 1 - 2 * world.label(rows)


@pytest.mark.parametrize("ones", [0.1, 0.25, 0.5])
def test_a_bit_alone_tells_of_the_label_only_where_ones_are_few(ones):
    """The formulas of the module, by enumeration of all rows."""
    world = ParityWorld(n_bits=8, k=4, ones=ones, seed=1)
    weight, signs, label = exact(world)
    m = 1 - 2 * ones
    assert weight @ (label == -1) == pytest.approx((1 - m**4) / 2)
    mean = weight @ label
    covariance = (weight * label) @ signs - mean * (weight @ signs)
    hidden = np.isin(np.arange(8), world.subset)
    np.testing.assert_allclose(covariance, hidden * m**3 * (1 - m**2), atol=1e-12)


def test_on_uniform_rows_no_group_of_fewer_bits_tells_anything():
    world = ParityWorld(n_bits=8, k=4, seed=1)
    weight, signs, label = exact(world)
    for size in range(5):
        for group in map(list, combinations(range(8), size)):
            told = (weight * label) @ signs[:, group].prod(axis=1)
            assert told == pytest.approx(float(group == world.subset), abs=1e-12)


@pytest.mark.parametrize("ones", [0.0, 0.1, 0.5])
def test_the_loss_of_guessing_is_the_entropy_of_the_label(ones):
    world = ParityWorld(n_bits=8, k=3, ones=ones)
    weight, _, label = exact(world)
    odd = weight @ (label == -1)
    entropy = -sum(p * np.log(p) for p in (odd, 1 - odd) if p)
    assert world.chance_loss == pytest.approx(entropy)
    assert world.entropy_floor == 0.0


def test_guessing_on_uniform_rows_costs_ln_2():
    assert ParityWorld().chance_loss == pytest.approx(math.log(2))


def test_easy_and_hard_hide_the_same_bits():
    world = ParityWorld(n_bits=9, k=2, ones=0.3, seed=4)
    easy, hard = world.easy(), world.hard()
    assert easy.subset == hard.subset == world.subset
    assert (easy.ones, hard.ones, easy.easy(0.2).ones) == (0.1, 0.5, 0.2)
    assert (easy.n_bits, easy.k, easy.seed) == (9, 2, 4)


def test_worlds_of_different_seeds_hide_different_bits():
    subsets = {tuple(ParityWorld(seed=seed).subset) for seed in range(50)}
    assert len(subsets) > 40
    assert set().union(*subsets) == set(range(16))


def equal(a, b):
    return all((x == y).all() for x, y in zip(a, b, strict=True))


def test_it_is_a_resumable_dataset_with_its_own_randomness():
    world = ParityWorld()
    batches = world.batches(8, seed=5)
    assert isinstance(world, Dataset)
    assert isinstance(batches, Resumable)
    first, saved, second = next(batches), batches.state(), next(batches)
    np.random.seed(0)  # noqa: NPY002
    mx.random.seed(0)
    again = world.batches(8, seed=5)
    assert equal(first, next(again))
    again.restore(saved)
    assert equal(second, next(again))
    assert not equal(first, second)
    assert not equal(first, next(world.batches(8, seed=6)))


def test_evaluation_is_fixed_and_no_training_stream():
    world = ParityWorld()
    held_out = world.eval_batches(8, 3)
    assert len(held_out) == 3
    assert all(
        equal(a, b) for a, b in zip(held_out, world.eval_batches(8, 3), strict=True)
    )
    assert not equal(held_out[0], held_out[1])
    for seed in range(20):
        assert not equal(held_out[0], next(world.batches(8, seed)))


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "n_bits must be at least 1, got 0", {"n_bits": 0}),
        (ValueError, "k must be at least 1, got 0", {"k": 0}),
        (ValueError, "k=5 bits cannot be hidden among n_bits=4", {"n_bits": 4, "k": 5}),
        (ValueError, r"ones .* must be in \[0, 1\], got 1.5", {"ones": 1.5}),
        (ValueError, r"ones .* must be in \[0, 1\], got nan", {"ones": float("nan")}),
        (ValueError, "seed must be at least 0, got -1", {"seed": -1}),
        (TypeError, "n_bits must be an integer, got 4.0", {"n_bits": 4.0}),
        (TypeError, "ones must be a number, got 'few'", {"ones": "few"}),
    ],
)
def test_bad_settings_are_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        ParityWorld(**arguments)


@pytest.mark.parametrize(
    ("error", "message", "bits"),
    [
        (ValueError, r"shape \(..., 3\), got \(2,\)", [0, 1]),
        (ValueError, r"shape \(..., 3\), got \(\)", 1),
        (ValueError, "bits must be 0 or 1, got 0 to 2", [0, 1, 2]),
        (ValueError, "bits must be 0 or 1, got -1 to 1", [0, 1, -1]),
        (TypeError, "bits must be integers, got float64", [0.0, 1.0, 0.5]),
    ],
)
def test_labels_of_what_is_no_bits_are_refused(error, message, bits):
    with pytest.raises(error, match=message):
        ParityWorld(n_bits=3, k=2).label(bits)


def test_no_rows_have_no_labels():
    assert ParityWorld(n_bits=3, k=2).label(np.zeros((0, 3), int)).shape == (0,)


@pytest.mark.parametrize("arguments", [(0, 4), (4, 0)])
def test_empty_evaluation_is_refused(arguments):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        ParityWorld().eval_batches(*arguments)
