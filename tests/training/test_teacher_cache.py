"""A cached teacher says what the teacher said, and only about the data it read."""

import itertools
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.data.batching import Resumable
from lmxlab.training import teacher_cache
from lmxlab.training.distillation import distillation_loss, soft_target_loss
from lmxlab.training.teacher_cache import (
    Passes,
    dense_logits,
    fingerprint,
    read_teacher_cache,
    top_k_logits,
    write_teacher_cache,
)
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

VOCAB = 11  # of the conftest's model


def log_softmax(z):
    z = np.asarray(z, np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def rebuilt(logits, k):
    """What the cache makes of some logits, shape (..., V)."""
    kept = map(mx.array, top_k_logits(logits, k))
    return np.array(dense_logits(*kept, logits.shape[-1]), np.float64)


# ------------------------------------------------------------------------ top k, dense


@given(st.integers(0, 99), st.integers(1, 8), st.integers(1, 8), st.floats(0.1, 30))
@settings(max_examples=50, deadline=None)
def test_the_top_is_exact_and_the_tail_is_shared_equally(seed, vocab, k, scale):
    logits = np.random.default_rng(seed).normal(size=(2, 3, vocab)) * scale
    k = min(k, vocab)
    p = np.exp(log_softmax(logits))
    expected = p.copy()
    for row in expected.reshape(-1, vocab):
        tail = row.argsort()[: vocab - k]
        row[tail] = row[tail].mean() if len(tail) else 0
    got = np.exp(rebuilt(logits, k))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-30)
    np.testing.assert_allclose(got.sum(axis=-1), 1, rtol=1e-5)


def test_values_come_most_likely_first_with_their_ids():
    values, indices, tail = top_k_logits(np.log([[0.1, 0.4, 0.2, 0.3]]), 3)
    assert indices.tolist() == [[1, 3, 2]]
    np.testing.assert_allclose(np.exp(values), [[0.4, 0.3, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(tail), [0.1], rtol=1e-6)
    assert (values.dtype, indices.dtype) == (np.float32, np.int32)


def test_the_mass_of_a_tail_that_is_next_to_nothing_is_right():
    """1 - (sum of the top) would be 0 here."""
    _, _, tail = top_k_logits(np.array([0.0, -60.0, -60.0]), 1)
    assert tail == pytest.approx(np.log(2) - 60, rel=1e-6)


def test_impossible_tokens_stay_impossible():
    logits = np.array([[2.0, -np.inf, 1.0, -np.inf]])
    np.testing.assert_allclose(rebuilt(logits, 2), log_softmax(logits), rtol=1e-6)
    np.testing.assert_allclose(rebuilt(logits, 3), log_softmax(logits), rtol=1e-6)


@pytest.mark.parametrize("divergence", ["forward", "reverse", "jsd"])
@pytest.mark.parametrize("tau", [1.0, 4.0, 100.0])
def test_with_k_the_whole_vocabulary_it_is_the_dense_loss(divergence, tau):
    student, teacher = np.random.default_rng(0).normal(size=(2, 3, 4, VOCAB)) * 2

    def loss_and_slope(teacher):
        loss, slope = mx.value_and_grad(
            lambda z: soft_target_loss(z, teacher, tau, divergence=divergence)
        )(mx.array(student))
        return loss.item(), np.array(slope)

    kept = map(mx.array, top_k_logits(teacher, VOCAB))
    loss, slope = loss_and_slope(dense_logits(*kept, VOCAB))
    expected, expected_slope = loss_and_slope(mx.array(teacher))
    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-6)


def test_a_small_k_is_closer_the_larger_it_is():
    student, teacher = np.random.default_rng(0).normal(size=(2, 50, VOCAB)) * 2
    exact = soft_target_loss(mx.array(student), mx.array(teacher), 1.0).item()
    errors = [
        abs(
            soft_target_loss(
                mx.array(student), mx.array(rebuilt(teacher, k)), 1.0
            ).item()
            - exact
        )
        for k in (1, 3, 6, 9, 11)
    ]
    assert sorted(errors, reverse=True) == errors
    assert errors[0] > 10 * errors[2] > 0
    assert errors[-1] < 1e-5


@pytest.mark.parametrize("k", [0, 12])
def test_k_must_fit_the_vocabulary(k):
    with pytest.raises(ValueError, match=rf"k must be at .* got {k}"):
        top_k_logits(np.zeros((1, VOCAB)), k)


def test_parts_that_do_not_fit_are_named():
    values, indices, tail = map(mx.array, top_k_logits(np.zeros((2, 3, VOCAB)), 4))
    with pytest.raises(ValueError, match=r"tail \(2, 1\) do not fit"):
        dense_logits(values, indices, tail[:, :1], VOCAB)
    with pytest.raises(ValueError, match="keeps 4 tokens, more than the vocabulary"):
        dense_logits(values, indices, tail, 3)


# ---------------------------------------------------------------------------- the file


@pytest.fixture
def cache(tmp_path, tiny, rows):
    """A teacher, three batches, and the path of their cache with k = 4."""
    teacher, batches = tiny(dropout=0.5, seed=1), rows(3)
    path = write_teacher_cache(tmp_path / "deep" / "cache", teacher, batches, k=4)
    return teacher, batches, path


def test_it_holds_what_the_teacher_says_without_dropout(cache):
    teacher, batches, path = cache
    assert teacher.training
    teacher.eval()
    read = read_teacher_cache(path, batches, VOCAB)
    assert len(read) == 3
    for batch, (inputs, targets, *kept) in zip(batches, read, strict=True):
        assert inputs is batch[0]
        assert targets is batch[1]
        expected = top_k_logits(np.array(teacher(mx.array(inputs))[0]), 4)
        for part, other in zip(kept, expected, strict=True):
            assert part.dtype == other.dtype
            np.testing.assert_array_equal(part, other)


def test_its_metadata_says_what_it_is(cache):
    _, batches, path = cache
    with safe_open(path, framework="numpy") as file:
        about = file.metadata()
    assert about == {
        "format": "lmxlab teacher cache 1",
        "vocab_size": "11",
        "k": "4",
        "batches": "3",
        "fingerprint": fingerprint(batches),
    }
    assert len(about["fingerprint"]) == 64


def test_half_precision_costs_little(tmp_path, tiny, rows):
    teacher, batches = tiny(seed=1), rows(1)
    paths = [
        write_teacher_cache(tmp_path / dtype, teacher, batches, k=VOCAB, dtype=dtype)
        for dtype in ("float32", "float16")
    ]
    single, half = (read_teacher_cache(path, batches, VOCAB)[0] for path in paths)
    assert half[2].dtype == half[4].dtype == np.float16
    np.testing.assert_allclose(half[2], single[2], rtol=2**-11)
    assert 0 < np.abs(half[2] - single[2]).max() < 0.004
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float16'"):
        write_teacher_cache(paths[0], teacher, batches, k=2, dtype="int8")


def test_batches_may_differ_in_shape_and_carry_a_mask(tmp_path, tiny, rows):
    masks = np.ones((2, 5), np.float32), np.zeros((3, 7), np.float32)
    pairs = rows(1), rows(1, (3, 7))
    batches = [(*pair[0], mask) for pair, mask in zip(pairs, masks, strict=True)]
    path = write_teacher_cache(tmp_path / "cache", tiny(), batches, k=2)
    read = read_teacher_cache(path, batches, VOCAB)
    assert [batch[2] is mask for batch, mask in zip(read, masks, strict=True)] == (
        [True, True]
    )
    assert [batch[3].shape for batch in read] == [(2, 5, 2), (3, 7, 2)]


def test_other_data_or_another_vocabulary_is_refused(cache):
    _, batches, path = cache
    changed = [(inputs.copy(), targets) for inputs, targets in batches]
    changed[1][0][1, 4] = (changed[1][0][1, 4] + 1) % VOCAB
    moved = [(inputs, np.roll(targets, 1)) for inputs, targets in batches]
    reshaped = [(i.reshape(5, 2), t.reshape(5, 2)) for i, t in batches]
    for other in (changed, moved, reshaped, batches[::-1]):
        with pytest.raises(ValueError, match=r"written for other tokens .*SHA-256"):
            read_teacher_cache(path, other, VOCAB)
    with pytest.raises(ValueError, match="written for 3 batches, got 2"):
        read_teacher_cache(path, batches[:2], VOCAB)
    with pytest.raises(ValueError, match="vocabulary of 11, the student has 12"):
        read_teacher_cache(path, batches, 12)
    as_int64 = [tuple(part.astype(np.int64) for part in batch) for batch in batches]
    as_mlx = [tuple(map(mx.array, batch)) for batch in batches]
    for same in (as_int64, as_mlx):
        assert len(read_teacher_cache(path, same, VOCAB)) == 3


def test_what_is_no_cache_is_named(cache, tmp_path):
    _, batches, path = cache
    with pytest.raises(FileNotFoundError, match="no teacher cache at"):
        read_teacher_cache(tmp_path / "none", batches, VOCAB)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is damaged .* write it again"):
        read_teacher_cache(path, batches, VOCAB)
    for metadata in (None, {"format": "another"}):
        save_file({"x": np.zeros(2)}, path, metadata=metadata)
        with pytest.raises(ValueError, match="is no teacher cache"):
            read_teacher_cache(path, batches, VOCAB)


@pytest.mark.parametrize("where", ["save_file", "replace", "teacher"])
def test_a_failure_leaves_the_old_cache_and_nothing_else(cache, where, monkeypatch):
    teacher, batches, path = cache
    old = path.read_bytes()

    def fail(*_, **__):
        raise OSError("disk full")

    if where == "teacher":
        monkeypatch.setattr(type(teacher), "__call__", fail)
    else:
        module = teacher_cache if where == "save_file" else os
        monkeypatch.setattr(module, where, fail)
    with pytest.raises(OSError, match="disk full"):
        write_teacher_cache(path, teacher, batches, k=2)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]
    assert teacher.training


def test_a_second_cache_takes_the_place_of_the_first(cache):
    teacher, batches, path = cache
    write_teacher_cache(path, teacher, batches, k=2)
    assert read_teacher_cache(path, batches, VOCAB)[0][2].shape == (2, 5, 2)
    assert list(path.parent.iterdir()) == [path]


def test_no_batches_or_half_a_batch_are_errors(tmp_path, tiny):
    with pytest.raises(ValueError, match="batches is empty"):
        write_teacher_cache(tmp_path / "cache", tiny(), [], k=2)
    with pytest.raises(ValueError, match=r"batches\[0\] must be a tuple"):
        fingerprint([np.zeros((2, 3), np.int32)])
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------- in training


def cached_loss(model, inputs, targets, *top_k):
    return distillation_loss(
        model, None, inputs, 2.0, 0.7, targets=targets, teacher_top_k=top_k,
        return_metrics=True,
    )  # fmt: skip


def losses(trainer, tiny, loss_fn, data):
    run = trainer(tiny(), loss_fn=loss_fn, max_steps=12)
    return np.array([record["loss"] for record in run.train(data)]), run


def test_cached_training_equals_training_with_the_teacher(
    tmp_path, tiny, rows, trainer, weights
):
    teacher, batches = tiny(seed=1), rows(5)

    def asked(model, inputs, targets):
        return distillation_loss(model, teacher, inputs, 2.0, 0.7, targets=targets)

    expected, reference = losses(trainer, tiny, asked, Passes(batches, 3))
    gaps = []
    for k in (VOCAB, 8, 3):
        path = write_teacher_cache(tmp_path / str(k), teacher, batches, k)
        data = Passes(read_teacher_cache(path, batches, VOCAB), 3)
        got, run = losses(trainer, tiny, cached_loss, data)
        assert run.trace_count == 1
        gaps.append(np.abs(got - expected).max())
        if k == VOCAB:
            np.testing.assert_allclose(got, expected, rtol=1e-6)
            for path, value in weights(run.model).items():
                np.testing.assert_allclose(
                    value, weights(reference.model)[path], atol=1e-5
                )
    assert gaps[0] < gaps[1] < gaps[2] < 0.3


def test_a_pass_shows_every_batch_once_in_its_own_order():
    batches = [(number,) for number in range(6)]
    seen = [batch[0] for batch in itertools.islice(Passes(batches, 0), 600)]
    passes = [seen[i : i + 6] for i in range(0, 600, 6)]
    assert all(sorted(one) == list(range(6)) for one in passes)
    assert len(set(map(tuple, passes))) > 50
    again = [batch[0] for batch in itertools.islice(Passes(batches, 0), 600)]
    other = [batch[0] for batch in itertools.islice(Passes(batches, 1), 600)]
    assert again == seen != other


@given(st.integers(1, 5), st.integers(0, 20), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_passes_go_on_where_they_were_saved(n, position, seed):
    batches = [(number,) for number in range(n)]
    passes = Passes(batches, seed)
    assert isinstance(passes, Resumable)
    list(itertools.islice(passes, position))
    saved = passes.state()
    expected = list(itertools.islice(passes, 7))
    resumed = Passes(batches, seed + 1)
    resumed.restore(saved)
    assert list(itertools.islice(resumed, 7)) == expected
    assert saved == {"seed": seed, "batches": n, "position": position}


@pytest.mark.parametrize(
    ("message", "state"),
    [
        (r"state lacks \['batches', 'position'\]", {"seed": 0}),
        ("saved over 3 batches but there are 2", {"batches": 3}),
        ("position must be at least 0", {"position": -1}),
        ("seed must be at least 0", {"seed": -1, "position": 5}),
    ],
)
def test_a_state_that_does_not_fit_is_refused_whole(message, state):
    passes = Passes([(1,), (2,)], 7)
    usual = {} if "lacks" in message else passes.state()
    with pytest.raises(ValueError, match=message):
        passes.restore(usual | state)
    assert passes.state() == {"seed": 7, "batches": 2, "position": 0}


def test_passes_need_batches_and_a_seed():
    with pytest.raises(ValueError, match="batches is empty"):
        Passes([], 0)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        Passes([(1,)], -1)


def test_any_module_with_logits_can_be_cached(tmp_path):
    batches = [(np.array([[0, 1]]), np.array([[1, 2]]))]
    path = write_teacher_cache(str(tmp_path / "c"), nn.Embedding(5, 5), batches, 5)
    assert read_teacher_cache(str(path), batches, 5)[0][4].max() == -np.inf
