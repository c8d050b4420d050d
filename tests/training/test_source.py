"""Batches are drawn in windows; none is lost, none is seen twice."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st
from lmxlab.data import StoryWorld
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import next_token_loss
from lmxlab.training.source import Source
import mlx.core as mx
import numpy as np
import pytest

seen = []


def opened(data, size=1, **config):
    source = Source(TrainConfig(grad_accumulation_steps=size, **config))
    source.open(data)
    return source


def taken(source):
    with source.window() as window:
        return window


def everything(source):
    return list(iter(lambda: taken(source), []))


def through_json(state):
    return json.loads(json.dumps(state))


@given(st.lists(st.integers(), min_size=1), st.integers(1, 5))
def test_windows_lose_nothing_and_only_the_last_is_short(items, size):
    windows = everything(opened(items, size))
    assert list(itertools.chain(*windows)) == items
    assert all(len(window) == size for window in windows[:-1])


def test_windows_take_no_more_than_they_give():
    data = iter(range(10))
    taken(opened(data, 3))
    assert next(data) == 3


def test_the_same_data_goes_on_and_other_data_starts():
    first, other = ["a", "b", "c"], ["x"]
    source = opened(first)
    taken(source)
    source.open(first)
    assert taken(source) == ["b"]
    source.open(other)
    assert taken(source) == ["x"]
    source.open(first)
    assert taken(source) == ["a"]


def test_a_list_that_was_used_up_starts_again():
    data = ["a"]
    source = opened(data)
    assert everything(source) == [["a"]]
    source.open(data)
    assert everything(source) == [["a"]]


def test_no_batch_at_all_is_an_error():
    empty = iter(())
    source = opened(empty)
    with pytest.raises(ValueError, match="train_data gave no batch"):
        taken(source)


def fail(source, error):
    with source.window() as window:
        seen.append(window)
        raise error


def test_an_interrupted_window_comes_again_and_a_failed_one_does_not():
    source = opened(range(5), 2)
    seen.clear()
    for error in (KeyboardInterrupt, KeyboardInterrupt, RuntimeError):
        with pytest.raises(error):
            fail(source, error)
    assert seen == [[0, 1]] * 3
    assert taken(source) == [2, 3]


def test_an_interrupt_while_a_window_is_drawn_loses_no_batch():
    class Rings:
        """Counts to six, and rings once at the third."""

        count, rung = 0, False

        def __iter__(self):
            return self

        def __next__(self):
            if self.count == 2 and not self.rung:
                self.rung = True
                raise KeyboardInterrupt
            if self.count == 6:
                raise StopIteration
            self.count += 1
            return self.count

    source = opened(Rings(), 3)
    with pytest.raises(KeyboardInterrupt):
        taken(source)
    assert everything(source) == [[1, 2, 3], [4, 5, 6]]


# -------------------------------------------------------------------------- positions


@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 12))
def test_any_position_in_a_list_is_found_again(length, size, windows):
    data = list(range(length))
    source = opened(data, size)
    for _ in range(min(windows, (length - 1) // size)):
        taken(source)
    state = through_json(source.state())
    other = Source(TrainConfig(grad_accumulation_steps=size))
    other.restore(state)
    other.open(list(data))
    assert everything(other) == everything(source)


def test_a_dataset_is_found_again_by_its_own_means():
    source = opened(StoryWorld(), batch_size=2)
    taken(source)
    state = through_json(source.state())
    assert state["iterator"]["position"] == 1
    expected = taken(source)[0]
    other = Source(TrainConfig(batch_size=2))
    other.restore(state)
    other.open(StoryWorld())
    (got,) = taken(other)
    assert all((a == b).all() for a, b in zip(got, expected, strict=True))


def test_a_pending_window_is_saved_whole():
    batches = [
        (np.array([[1, 2]], np.int32), np.array([0.1, 0.2], np.float32), 0.5),
        (mx.array([[3]]), mx.array([1.5], mx.bfloat16)),
        (np.array([[4]]),),
    ]
    source = opened(iter(batches), 2)
    with pytest.raises(KeyboardInterrupt):
        fail(source, KeyboardInterrupt)
    other = Source(TrainConfig(grad_accumulation_steps=2))
    other.restore(through_json(source.state()))
    other.open(iter(batches))
    first, second = taken(other)
    assert [a.tolist() for a in first] == [
        [[1, 2]],
        np.array([0.1, 0.2], np.float32).tolist(),
        0.5,
    ]
    assert (second[1].dtype, second[1].item()) == (mx.bfloat16, 1.5)
    assert len(taken(other)) == 1


def test_a_state_can_be_saved_before_the_data_is_there():
    source = Source(TrainConfig())
    assert source.state()["drawn"] == 0
    source.restore({"drawn": 2, "iterator": None, "pending": []})
    assert source.state()["drawn"] == 2
    source.open(["a", "b", "c"])
    assert taken(source) == ["c"]


def test_a_list_goes_back_and_a_generator_says_that_it_cannot():
    data = ["a", "b", "c"]
    start = {"drawn": 0, "iterator": None, "pending": []}
    source = opened(data)
    taken(source)
    source.restore(start)
    source.open(data)
    assert taken(source) == ["a"]
    generator = iter(data)
    source = opened(generator)
    taken(source)
    source.restore(start)
    with pytest.raises(ValueError, match="cannot go back from batch 1 to 0"):
        source.open(generator)


def test_data_that_ends_before_the_position_is_an_error():
    source = Source(TrainConfig())
    source.restore({"drawn": 3, "iterator": None, "pending": []})
    with pytest.raises(ValueError, match="ends after 2 batches, but the run had drawn"):
        source.open(["a", "b"])


def test_an_interrupted_update_is_made_again_with_its_batch(
    trainer, rows, weights, same
):
    def loss_fn(model, tokens, targets):
        calls.append(tokens)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return next_token_loss(model, tokens, targets)

    calls, batches = [], rows(5)
    settings = {"dropout": 0.3, "compile_step": False, "max_steps": 5}
    run = trainer(loss_fn=loss_fn, **settings)
    with pytest.raises(KeyboardInterrupt):
        run.train(batches)
    assert run.step == 2
    run.train(batches)
    whole = trainer(**settings)
    whole.train(batches)
    assert same(weights(run.model), weights(whole.model))
