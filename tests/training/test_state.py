"""Containers, random streams, programs and the clock, each by itself."""

import time

from lmxlab.core.modes import evaluation_mode
from lmxlab.training.clock import StepClock
from lmxlab.training.program import Programs
from lmxlab.training.state import RandomStream, arrays, global_norm, places
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest


def test_places_finds_every_array_and_writes_through():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    found = places([model.state, {"a": [mx.array(1)], "b": "text"}])
    assert len(found) == 5
    for container, key in found:
        container[key] = mx.zeros_like(container[key])
    assert all(not value.any() for value in arrays(model.parameters()))


def test_global_norm_is_the_length_of_all_as_one_vector():
    parts = [np.random.default_rng(i).normal(size=(3, i + 1)) for i in range(3)]
    tree = {"a": mx.array(parts[0]), "b": [mx.array(part) for part in parts[1:]]}
    expected = np.linalg.norm(np.concatenate([part.ravel() for part in parts]))
    assert global_norm(tree).item() == pytest.approx(expected, rel=1e-6)
    half = {"a": mx.full((100,), 300.0, mx.float16)}  # squares overflow in float16
    assert global_norm(half).item() == 3000.0
    assert global_norm({}).item() == 0.0


def draws(stream, n):
    numbers = []
    for _ in range(n):
        with stream:
            numbers.append(mx.random.uniform().item())
    return numbers


def test_streams_do_not_see_each_other_or_the_global_one():
    a, b = RandomStream(1), RandomStream(2)
    expected = draws(RandomStream(1), 4), draws(RandomStream(2), 4)
    seen = [], []
    for _ in range(4):
        seen[0].extend(draws(a, 1))
        mx.random.seed(1)
        seen[1].extend(draws(b, 1))
        mx.random.uniform()
    assert seen == expected
    assert len(set(seen[0] + seen[1])) == 8


def test_a_block_that_fails_has_drawn_nothing():
    stream = RandomStream(0)
    with pytest.raises(KeyError), stream:  # noqa: PT012
        mx.random.uniform()
        raise KeyError
    assert draws(stream, 2) == draws(RandomStream(0), 2)


def test_evaluation_mode_keeps_each_module_as_it_was():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    model.layers[1].eval()
    with pytest.raises(KeyError), evaluation_mode(model):  # noqa: PT012
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [layer.training for layer in model.layers] == [True, False]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_program_that_fails_is_undone_and_says_where(compiled):
    model, rule = nn.Linear(2, 2), optim.SGD(0.1)
    rule.init(model.trainable_parameters())
    run = Programs(model, rule, {}, compiled=compiled)
    before = np.array(model.weight)

    def body(x):
        model.weight = model.weight * 2
        return model(x @ model.weight)

    with pytest.raises(ValueError, match="matmul") as error:
        run("double", body, (mx.ones((1, 3)),), RandomStream(0))
    assert error.value.__notes__ == [
        "In the program 'double' with arrays of shape (1, 3)."
    ]
    assert (np.array(model.weight) == before).all()
    run("double", body, (mx.ones((1, 2)),), RandomStream(0))
    assert (np.array(model.weight) == 2 * before).all()


def test_the_clock_measures_the_wait_and_not_the_caller():
    clock = StepClock()
    for _ in range(2):
        clock.fed()
        clock.waiting()
        time.sleep(0.02)
        assert 0.02 <= clock.ended() < 0.2
        time.sleep(0.05)  # the caller draws


def test_an_update_that_ended_unseen_gets_the_time_of_the_one_before():
    clock = StepClock()
    clock.fed()
    clock.waiting()
    time.sleep(0.01)
    first = clock.ended()
    time.sleep(0.1)  # the caller draws while the device works
    clock.resumed()
    clock.waiting()
    assert clock.ended(queued=True) == first
    time.sleep(0.05)  # Python itself is the slow part: that is the step's own time
    clock.waiting()
    assert 0.05 <= clock.ended(queued=True) < 0.1
    clock.waiting()
    time.sleep(0.03)  # now Python waits for the device: measured
    assert clock.ended(queued=True) >= 0.03
