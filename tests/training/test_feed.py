"""Batches on their way in: grouped, checked, converted."""

import signal

from lmxlab.data import StoryWorld
from lmxlab.training import feed
from lmxlab.training.config import TrainConfig
import mlx.core as mx
import numpy as np
import pytest


def test_a_dataset_gets_batch_size_and_seed():
    config = TrainConfig(batch_size=3, seed=7)
    ours = next(feed.batches(StoryWorld(), config))
    theirs = next(StoryWorld().batches(3, 7))
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_evaluation_batches_of_a_dataset_are_the_same_every_time():
    config = TrainConfig(batch_size=2)
    first, again = (feed.reusable(StoryWorld(), config) for _ in range(2))
    assert len(first) == feed.EVAL_BATCHES
    assert [b[0].tolist() for b in first] == [b[0].tolist() for b in again]
    assert first[0][0].shape == (2, 13)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float64, mx.float32), (np.float32, mx.float32), (np.float16, mx.float32),
        (np.int64, mx.int32), (np.uint8, mx.int32), (np.bool_, mx.bool_),
    ],
)  # fmt: skip
def test_numpy_arrays_become_int32_float32_or_bool(dtype, expected):
    (array,) = feed.checked(np.ones((2, 2), dtype), None)
    assert array.dtype == expected
    assert array.tolist() == np.ones((2, 2), dtype).tolist()


@pytest.mark.parametrize(
    "view", [np.s_[:, :-1], np.s_[::-1, ::2], np.s_[1], np.s_[1, 2], np.s_[None]]
)
def test_any_view_arrives_whole(view):
    array = np.asarray(np.arange(12).reshape(3, 4)[view])
    (arrived,) = feed.checked(array, None)
    assert arrived.shape == array.shape
    assert arrived.tolist() == array.tolist()


@pytest.mark.parametrize("array", [np.array([["a"]]), np.array([None]), np.array([1j])])
def test_arrays_of_anything_but_numbers_are_an_error(array):
    with pytest.raises(TypeError, match=r"batch\[1\] must hold numbers, got"):
        feed.checked((np.ones((1, 1)), array), None)


def test_mlx_arrays_and_numbers_pass_as_they_are():
    given_ = mx.ones((2, 2), mx.bfloat16)
    array, number, count = feed.checked((given_, 0.5, np.int64(3)), None)
    assert array is given_
    assert (number.item(), number.dtype) == (0.5, mx.float32)
    assert (count.item(), count.dtype) == (3, mx.int32)


@pytest.mark.parametrize("kind", [np.array, mx.array])
def test_only_integers_with_two_axes_are_taken_for_tokens(kind):
    batch = (kind([[9.0, 99.0]]), kind([99]), kind([[[99]]]), kind([[0, 4]]))
    assert len(feed.checked(batch, 5)) == 4
    with pytest.raises(ValueError, match=r"batch\[3\] has token id 4"):
        feed.checked(batch, 4)


def test_a_negative_id_points_to_masks():
    with pytest.raises(ValueError, match="with a mask, not with negative ids"):
        feed.checked(np.array([[1, -100]]), 50)


def test_an_interrupt_while_a_batch_is_converted_is_not_swallowed():
    """One in three was, by mx.array(numpy_array)."""
    array, rings, caught = np.ones((2, 8), np.int32), 0, 0

    def ring(number, frame):
        nonlocal rings
        if "coverage" not in frame.f_code.co_filename:  # would keep its lock for ever
            rings += 1
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(40):
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-3)
                for _ in range(2000):
                    feed.checked(array, None)
            except KeyboardInterrupt:
                caught += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert rings == caught > 20


def test_the_vocabulary_is_found_in_config_or_args(tiny):
    class Args:
        vocab_size = 8

    class Loaded:
        args = Args()

    assert feed.vocab_size(tiny()) == 11
    assert feed.vocab_size(Loaded()) == 8
    assert feed.vocab_size(object()) is None
