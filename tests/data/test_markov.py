"""The Markov world says the truth about itself: frequencies, entropy, floor."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.data.batching import Dataset, Resumable
from lmxlab.data.markov import MAX_VOCAB, MarkovWorld, stationary_pairs
import numpy as np
import pytest

worlds = st.builds(
    MarkovWorld,
    st.integers(0, 99),
    vocab_size=st.integers(2, 6),
    seq_len=st.integers(1, 9),
    sharpness=st.floats(0, 6),
)


def rows(batch):
    inputs, targets = batch
    return np.concatenate([inputs, targets[:, -1:]], axis=1)


def long_run_pairs(table, steps=2000):
    """Share of each pair after a long walk from a uniform start."""
    pairs = np.full(table.shape[:2], 1 / len(table) ** 2)
    for _ in range(steps):
        pairs = np.einsum("ab,abc->bc", pairs, table)
    return pairs


# ------------------------------------------------------------------------------- truth


@given(worlds)
@settings(max_examples=25, deadline=None)
def test_the_table_is_one_and_its_pairs_stay_as_they_are(world):
    assert (world.table > 0).all()
    np.testing.assert_allclose(world.table.sum(axis=-1), 1)
    assert world.pairs.sum() == pytest.approx(1)
    assert (world.pairs >= 0).all()
    once_more = np.einsum("ab,abc->bc", world.pairs, world.table)
    np.testing.assert_allclose(once_more, world.pairs, atol=1e-12)
    np.testing.assert_allclose(world.pairs.sum(axis=0), world.pairs.sum(axis=1))


@pytest.mark.parametrize("seed", range(3))
def test_the_stationary_pairs_are_where_a_long_walk_ends(seed):
    world = MarkovWorld(seed)
    expected = long_run_pairs(world.table)
    np.testing.assert_allclose(world.pairs, expected, atol=1e-12)
    rate = -np.einsum("ab,abc,abc->", expected, world.table, np.log(world.table))
    assert world.entropy_rate == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize("seq_len", [1, 2, 3, 5])
def test_the_floor_is_the_entropy_of_all_rows_of_a_small_alphabet(seq_len):
    """H(x_1 .. x_T | x_0) by enumerating every row and its probability."""
    world = MarkovWorld(1, vocab_size=3, seq_len=seq_len)
    pairs = long_run_pairs(world.table)
    total = 0.0
    for row in itertools.product(range(3), repeat=seq_len + 1):
        probability = pairs[row[0], row[1]]
        for a, b, c in zip(row, row[1:], row[2:], strict=False):
            probability *= world.table[a, b, c]
        total -= probability * math.log(probability / pairs[row[0]].sum())
    assert world.entropy_floor == pytest.approx(total / seq_len, abs=1e-12)
    assert MarkovWorld(1, vocab_size=3).floor(seq_len) == world.entropy_floor


def test_sharpness_goes_from_noise_to_certainty():
    rates = [MarkovWorld(sharpness=s).entropy_rate for s in (0.0, 1.0, 2.0, 5.0, 20.0)]
    assert rates[0] == pytest.approx(math.log(16))
    assert sorted(rates, reverse=True) == rates
    assert rates[-1] < 0.3
    world = MarkovWorld(sharpness=0.0)
    assert world.entropy_floor == pytest.approx(math.log(16))


def test_two_symbols_by_hand():
    """c = b with probability 0.9 whatever a is: pairs (0.45, 0.05, 0.05, 0.45)."""
    stay = np.array([[0.9, 0.1], [0.1, 0.9]])
    pairs = stationary_pairs(np.stack([stay, stay]))
    np.testing.assert_allclose(pairs, [[0.45, 0.05], [0.05, 0.45]])


# ----------------------------------------------------------------------------- samples


def agree(seen, truth, n):
    """Shares of n draws within several standard deviations; neighbours depend."""
    assert (np.abs(seen - truth) < 8 * np.sqrt(truth / n) + 8 / n).all()


def test_a_sample_has_the_worlds_frequencies_and_entropy():
    world = MarkovWorld(vocab_size=6)
    text = world.sample(200_000, seed=3)
    triples = np.zeros((6, 6, 6))
    np.add.at(triples, (text[:-2], text[1:-1], text[2:]), 1 / (len(text) - 2))
    agree(triples.sum(axis=2), world.pairs, len(text))
    agree(triples, world.pairs[..., None] * world.table, len(text))
    nats = -np.log(world.table[text[:-2], text[1:-1], text[2:]])
    assert nats.mean() == pytest.approx(world.entropy_rate, abs=0.01)
    # Counting, without the table: the empirical conditional entropy.
    given_pair = triples / triples.sum(axis=2, keepdims=True)
    counted = -(triples * np.log(np.maximum(given_pair, 1e-300))).sum()
    assert counted == pytest.approx(world.entropy_rate, abs=0.01)


@pytest.mark.parametrize("seq_len", [1, 2, 7])
def test_rows_have_the_worlds_frequencies_from_their_first_token_on(seq_len):
    world = MarkovWorld(2, vocab_size=4, seq_len=seq_len)
    drawn = rows(next(world.batches(60_000, seed=1)))
    for t in range(seq_len):
        pairs = np.zeros((4, 4))
        np.add.at(pairs, tuple(drawn[:, t : t + 2].T), 1 / len(drawn))
        agree(pairs, world.pairs, len(drawn))
    for t in range(seq_len - 1):
        triples = np.zeros((4, 4, 4))
        np.add.at(triples, tuple(drawn[:, t : t + 3].T), 1 / len(drawn))
        agree(triples, world.pairs[..., None] * world.table, len(drawn))


@pytest.mark.parametrize("seq_len", [1, 2, 32])
def test_rows_cost_the_floor_under_the_truth(seq_len):
    world = MarkovWorld(seq_len=seq_len)
    inputs, targets = next(world.batches(40_000 // seq_len, seed=0))
    probs = world.next_probs(inputs)
    nats = -np.log(np.take_along_axis(probs, targets[..., None], axis=-1))
    assert nats.mean() == pytest.approx(world.entropy_floor, abs=0.02)


def test_the_first_target_has_one_token_of_context():
    world = MarkovWorld()
    first = np.array([world.conditional([a]) for a in range(16)])
    np.testing.assert_allclose(first, world.pairs / world.pairs.sum(1, keepdims=True))
    assert (world.next_probs([[3, 4, 5]])[0, 0] == world.conditional([3])).all()


@given(worlds, st.lists(st.integers(0, 1), max_size=5))
@settings(max_examples=25, deadline=None)
def test_conditional_sums_to_one_and_forgets_all_but_two(world, prefix):
    probs = world.conditional(prefix)
    assert probs.shape == (world.vocab_size,)
    assert probs.sum() == pytest.approx(1)
    if len(prefix) >= 2:
        assert (probs == world.table[prefix[-2], prefix[-1]]).all()
    share = world.conditional([])
    after = np.array([world.conditional([a]) for a in range(world.vocab_size)])
    assert share @ after == pytest.approx(share)


# --------------------------------------------------------------------------- a dataset


def test_it_is_a_dataset_whose_data_the_seed_decides():
    world = MarkovWorld()
    assert isinstance(world, Dataset)
    assert isinstance(world.batches(2, 0), Resumable)
    inputs, targets = next(world.batches(5, seed=1))
    assert inputs.shape == targets.shape == (5, 32)
    assert inputs.dtype == targets.dtype == np.int32
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    again, other = next(world.batches(5, seed=1)), next(world.batches(5, seed=2))
    assert (again[0] == inputs).all()
    assert (other[0] != inputs).any()
    stream = world.batches(5, seed=1)
    next(stream)
    saved, expected = stream.state(), next(stream)
    stream = world.batches(5, seed=9)
    stream.restore(saved)
    assert (next(stream)[0] == expected[0]).all()


def test_each_seed_is_another_language():
    assert (MarkovWorld(0).table == MarkovWorld(0).table).all()
    assert (MarkovWorld(0).table != MarkovWorld(1).table).any()


def test_evaluation_rows_are_the_same_at_every_call_and_no_seeds():
    world = MarkovWorld()
    one, two = world.eval_batches(4, 3), world.eval_batches(4, 3)
    assert len(one) == 3
    assert all((a[0] == b[0]).all() for a, b in zip(one, two, strict=True))
    training = [next(world.batches(4, seed)) for seed in range(20)]
    seen, held_out = (
        {row.tobytes() for inputs, _ in batches for row in inputs}
        for batches in (training, one)
    )
    assert not seen & held_out


def test_a_sample_is_its_seeds():
    world = MarkovWorld()
    assert (world.sample(50, 0) == world.sample(50, 0)).all()
    assert (world.sample(50, 0) != world.sample(50, 1)).any()
    assert (world.sample(50, 0) == world.sample(500, 0)[:50]).all()
    assert world.sample(2, 0).dtype == np.int32


def test_drawing_touches_no_global_state():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    MarkovWorld().sample(10, 0)
    next(MarkovWorld().batches(2, 0))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("vocab_size must be at least 2, got 1", lambda: MarkovWorld(vocab_size=1)),
        (
            f"vocab_size must be at most {MAX_VOCAB}, got 33",
            lambda: MarkovWorld(vocab_size=33),
        ),
        (r"sharpness must be in \[0, 20\]", lambda: MarkovWorld(sharpness=-1.0)),
        (r"sharpness must be .* nan", lambda: MarkovWorld(sharpness=math.nan)),
        ("seq_len must be at least 1", lambda: MarkovWorld(seq_len=0)),
        ("seq_len must be at least 1", lambda: MarkovWorld().floor(0)),
        ("seed must be at least 0", lambda: MarkovWorld(-1)),
        ("seed must be at least 0", lambda: MarkovWorld().sample(9, -1)),
        ("n_tokens must be at least 2", lambda: MarkovWorld().sample(1, 0)),
        ("batch_size must be at least 1", lambda: MarkovWorld().batches(0, 0)),
        ("batch_size must be at least 1", lambda: MarkovWorld().eval_batches(0)),
        ("n_batches must be at least 1", lambda: MarkovWorld().eval_batches(1, 0)),
        ("inputs hold 16", lambda: MarkovWorld().next_probs([[1, 16]])),
        (r"shape \(B, T\), got \(2,\)", lambda: MarkovWorld().next_probs([1, 2])),
        ("prefix must hold IDs", lambda: MarkovWorld().conditional([-1])),
    ],
)
def test_bad_input_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()
