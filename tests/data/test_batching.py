"""Windows, padding and buckets; the iterator that a checkpoint can resume."""

import json

from hypothesis import given
from hypothesis import strategies as st
from lmxlab.data import (
    BatchIterator,
    Dataset,
    Resumable,
    StoryWorld,
    TokenDataset,
    length_bucket,
    pad_batch,
)
import mlx.core as mx
import numpy as np
import pytest

DATASETS = [
    StoryWorld(),
    StoryWorld("stream", 20),
    TokenDataset(np.arange(500), seq_len=16),
]


def equal(a, b):
    return all((x == y).all() for x, y in zip(a, b, strict=True))


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 30))
def test_windows_are_all_that_fit_and_no_more(seq_len, stride, spare):
    tokens = np.arange(seq_len + 1 + spare)
    data = TokenDataset(tokens, seq_len, stride=stride)
    inputs, targets = data.windows(np.arange(data.n_windows))
    expected = [
        tokens[start : start + seq_len]
        for start in range(0, len(tokens), stride)
        if start + seq_len < len(tokens)
    ]
    assert inputs.tolist() == [row.tolist() for row in expected]
    assert (targets == inputs + 1).all()


@pytest.mark.parametrize("stride", [1, 3])
def test_training_reaches_every_window_the_last_included(stride):
    data = TokenDataset(np.arange(20), seq_len=4, stride=stride)
    batches = data.batches(batch_size=50, seed=0)
    seen = {int(row[0]) for _ in range(10) for row in next(batches)[0]}
    assert seen == set(range(0, 16, stride))


def test_a_text_of_one_window_gives_that_window():
    inputs, targets = next(TokenDataset([7, 8, 9], seq_len=2).batches(3, seed=0))
    assert inputs.tolist() == [[7, 8]] * 3
    assert targets.tolist() == [[8, 9]] * 3


@pytest.mark.parametrize("data", DATASETS)
def test_batches_are_contiguous_int32_pairs(data):
    assert isinstance(data, Dataset)
    for array in next(data.batches(6, seed=0)):
        assert array.shape == (6, data.seq_len)
        assert array.dtype == np.int32
        assert array.flags.c_contiguous


@pytest.mark.parametrize("data", DATASETS)
def test_the_seed_alone_decides_the_data(data):
    reference = [next(it) for it in [data.batches(4, seed=3)] for _ in range(3)]
    again = data.batches(4, seed=3)
    for batch in reference:
        assert equal(batch, next(again))
    assert not equal(reference[0], reference[1])
    assert not equal(reference[0], next(data.batches(4, seed=4)))


def global_state():
    _, key, position, *_ = np.random.get_state()  # noqa: NPY002
    return key.tolist(), position, mx.random.state[0].tolist()


def test_drawing_leaves_the_global_generators_alone():
    before = global_state()
    for data in DATASETS:
        next(data.batches(4, seed=0))
        data.eval_batches(2, 2)
    assert global_state() == before


@pytest.mark.parametrize("data", DATASETS)
@pytest.mark.parametrize("drawn", [0, 1, 5])
def test_resuming_through_json_continues_the_same_data(data, drawn):
    straight = data.batches(4, seed=11)
    assert isinstance(straight, Resumable)
    for _ in range(drawn):
        next(straight)
    saved = json.loads(json.dumps(straight.state()))
    resumed = data.batches(4, seed=0)
    next(resumed)
    resumed.restore(saved)
    assert resumed.state() == saved
    for _ in range(3):
        assert equal(next(straight), next(resumed))


def test_a_saved_state_does_not_move_with_the_iterator():
    batches = DATASETS[0].batches(4, seed=0)
    saved = batches.state()
    next(batches)
    assert saved["position"] == 0
    assert batches.state()["position"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "saved with batch_size=8 but this iterator draws 4"),
        ({"position": -1}, "position must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_restoring_another_runs_state_is_refused_and_changes_nothing(change, message):
    batches = DATASETS[0].batches(4, seed=5)
    next(batches)
    before = batches.state()
    with pytest.raises(ValueError, match=message):
        batches.restore({"seed": 1, "batch_size": 4, "position": 9} | change)
    with pytest.raises(ValueError, match=r"state lacks \['position'\]"):
        batches.restore({"seed": 1, "batch_size": 4})
    assert batches.state() == before


def test_a_failed_draw_does_not_skip_a_batch():
    attempts = []

    def draw(rng, n):
        attempts.append(rng.integers(1 << 40))
        if len(attempts) == 1:
            raise RuntimeError("interrupted")
        return (np.zeros(n),)

    batches = BatchIterator(draw, 2, seed=0)
    with pytest.raises(RuntimeError, match="interrupted"):
        next(batches)
    next(batches)
    next(batches)
    assert attempts[0] == attempts[1] != attempts[2]


def test_evaluation_is_fixed_and_runs_from_the_first_window_to_the_last():
    data = TokenDataset(np.arange(100), seq_len=9)
    batches = data.eval_batches(batch_size=4, n_batches=3)
    assert len(batches) == 3
    assert batches[0][0][0, 0] == 0
    assert batches[-1][1][-1, -1] == 99
    starts = np.concatenate([x[:, 0] for x, _ in batches])
    assert (np.diff(starts) > 0).all()
    for one, other in zip(batches, data.eval_batches(4, 3), strict=True):
        assert equal(one, other)


@pytest.mark.parametrize("data", DATASETS)
def test_sizes_below_one_are_refused(data):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        data.batches(0, seed=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        data.eval_batches(0, 1)
    with pytest.raises(ValueError, match="n_batches must be at least 1, got -2"):
        data.eval_batches(1, -2)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        data.batches(1, seed=-1)
    with pytest.raises(ValueError, match=r"seed must be below 2\*\*63"):
        data.batches(1, seed=2**63)
    with pytest.raises(TypeError, match=r"batch_size must be an integer, got 2\.5"):
        data.batches(2.5, seed=0)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        (range(8), ValueError, r"8 tokens but seq_len=8 needs 9 .* seq_len <= 7"),
        ([], ValueError, "tokens is empty"),
        ([[1, 2]], ValueError, r"1-D, got shape \(1, 2\)"),
        ([1, -2, 3], ValueError, r"got -2 to 3"),
        ([1, 2**31], ValueError, r"\[0, 2147483647\], got 1 to 2147483648"),
        ([0.5, 1.0], TypeError, "integers, got float64"),
    ],
)
def test_tokens_that_cannot_be_windows_are_refused(tokens, error, message):
    with pytest.raises(error, match=message):
        TokenDataset(tokens, seq_len=8)


def test_other_arguments_of_a_dataset_are_checked():
    with pytest.raises(ValueError, match="seq_len must be at least 1, got 0"):
        TokenDataset(range(9), seq_len=0)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        TokenDataset(range(9), seq_len=2, stride=0)
    for number in (-1, 7):
        with pytest.raises(IndexError, match=rf"\[0, 7\), got {number}"):
            TokenDataset(range(9), seq_len=2).windows([number])


def test_mlx_tokens_are_taken():
    inputs, _ = TokenDataset(mx.arange(5), seq_len=4).windows([0])
    assert inputs.tolist() == [[0, 1, 2, 3]]


@given(
    rows=st.lists(
        st.lists(st.integers(0, 50), min_size=2, max_size=9), min_size=1, max_size=6
    ),
    pad_id=st.integers(0, 60),
    extra=st.integers(0, 4),
)
def test_padding_hides_nothing_and_invents_nothing(rows, pad_id, extra):
    width = max(map(len, rows)) - 1 + extra
    inputs, targets, mask = pad_batch(rows, pad_id, length=width)
    assert inputs.shape == targets.shape == mask.shape == (len(rows), width)
    assert (inputs.dtype, targets.dtype, mask.dtype) == (np.int32, np.int32, np.float32)
    assert (targets[mask == 0] == pad_id).all()
    assert (inputs[mask == 0] == pad_id).all()
    for row, x, y, m in zip(rows, inputs, targets, mask, strict=True):
        assert x[m == 1].tolist() == row[:-1]
        assert y[m == 1].tolist() == row[1:]
        assert m.tolist() == sorted(m.tolist(), reverse=True)


def test_padding_is_as_wide_as_the_longest_row_by_default():
    assert pad_batch([[1, 2], [3, 4, 5, 6]])[0].shape == (2, 3)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "rows is empty"),
        ([[1, 2], [3]], {}, r"rows\[1\] has 1 token"),
        ([[1, 2], []], {}, r"rows\[1\] is empty"),
        ([[1, -2]], {}, r"rows\[0\] must hold IDs"),
        ([[1, 2, 3]], {"length": 1}, "length=1 is too small.* needs 2"),
        ([[1, 2]], {"pad_id": -1}, "pad_id must be at least 0, got -1"),
    ],
)
def test_rows_that_cannot_be_padded_are_refused(rows, options, message):
    with pytest.raises(ValueError, match=message):
        pad_batch(rows, **options)


@given(st.integers(1, 64), st.permutations([8, 16, 32, 64]))
def test_a_bucket_is_the_smallest_that_fits(n, buckets):
    bucket = length_bucket(n, buckets)
    assert bucket in buckets
    assert n <= bucket
    assert all(other < n for other in buckets if other < bucket)


@pytest.mark.parametrize(
    ("n", "buckets", "message"),
    [
        (65, [32, 64], "n=65 exceeds the largest bucket, 64"),
        (0, [32], "n must be at least 1, got 0"),
        (1, [], "buckets is empty"),
        (1, [0, 8], "every bucket must be at least 1, got 0"),
    ],
)
def test_lengths_without_a_bucket_are_refused(n, buckets, message):
    with pytest.raises(ValueError, match=message):
        length_bucket(n, buckets)
