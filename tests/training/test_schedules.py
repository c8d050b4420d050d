"""Learning rates at every step, against the formulas re-derived here."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.training.config import DECAY_SHAPES, SCHEDULES, TrainConfig
from lmxlab.training.optimizers import create_schedule
import mlx.core as mx
import numpy as np
import pytest


def rates(**config):
    """The schedule at 0 to max_steps + 3, for a peak of 1 unless given."""
    settings = TrainConfig(**({"learning_rate": 1.0} | config))
    steps = mx.arange(settings.max_steps + 4)
    # A constant is one number, whatever the steps.
    return np.broadcast_to(np.array(create_schedule(settings)(steps)), steps.shape)


def warmup_then(fall, W, N, m=0.0):
    """The textbook: rise to 1 over W updates, then m + (1 - m) * fall(x)."""
    out = []
    for t in range(N + 4):
        if t < W:
            out.append(t / W)
            continue
        x = min(1.0, (t - W) / (N - W)) if N > W else float(t > W)
        out.append(m + (1 - m) * fall(x))
    return out


def wsd(W, N, D, m, shape):
    """transformers.get_wsd_schedule with W, N - W - D and D steps, re-derived."""
    stable = N - W - D
    out = []
    for t in range(N + 4):
        if t < W:
            factor = m + (1 - m) * t / max(1, W)
        elif t < W + stable:
            factor = 1.0
        elif t < W + stable + D:
            progress = (t - W - stable) / max(1, D)
            fall = {
                "linear": 1.0 - progress,
                "cosine": 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)),
                "sqrt": 1.0 - math.sqrt(progress),
            }[shape]
            factor = m + (1 - m) * fall
        else:
            factor = m
        out.append(factor)
    return out


FALLS = {
    "cosine": lambda x: 0.5 * (1 + math.cos(math.pi * x)),
    "linear": lambda x: 1 - x,
    "constant": lambda x: 1.0,
}


@given(st.integers(0, 40), st.integers(1, 60), st.sampled_from(sorted(FALLS)))
@settings(max_examples=40, deadline=None)
def test_warmup_and_fall_at_every_step(W, N, name):
    actual = rates(lr_schedule=name, warmup_steps=W, max_steps=N)
    np.testing.assert_allclose(actual, warmup_then(FALLS[name], W, N), atol=2e-6)


@given(st.integers(0, 20), st.integers(21, 60), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_the_floor_is_where_cosine_and_linear_end(W, N, m):
    for name in ("cosine", "linear"):
        actual = rates(lr_schedule=name, warmup_steps=W, max_steps=N, lr_floor=m)
        expected = warmup_then(FALLS[name], W, N, m)
        np.testing.assert_allclose(actual, expected, atol=2e-6)
        assert actual[W:].min() >= m - 1e-6
        assert actual[-1] == pytest.approx(m, abs=1e-6)


@given(
    st.integers(0, 20), st.integers(1, 30), st.integers(0, 30), st.floats(0, 1),
    st.sampled_from(DECAY_SHAPES),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_wsd_equals_that_of_transformers(W, D, stable, m, shape):
    N = W + stable + D
    actual = rates(
        lr_schedule="wsd", warmup_steps=W, max_steps=N, decay_fraction=D / N,
        decay_shape=shape, lr_floor=m,
    )  # fmt: skip
    np.testing.assert_allclose(actual, wsd(W, N, D, m, shape), atol=5e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("W", "N"), [(0, 1), (0, 8), (8, 8), (100, 5), (1, 2)])
def test_any_warmup_goes_with_any_length(name, W, N):
    actual = rates(lr_schedule=name, warmup_steps=W, max_steps=N)
    assert np.isfinite(actual).all()
    assert ((actual >= 0) & (actual <= 1)).all()
    for t in range(min(W, N)):
        assert actual[t] == pytest.approx(t / W)
    if W < N:
        assert actual[W] == pytest.approx(1.0)


def test_by_hand():
    cosine = rates(lr_schedule="cosine", warmup_steps=2, max_steps=6)
    shape = [0, 0.5, 1, 0.853553, 0.5, 0.146447, 0]
    np.testing.assert_allclose(cosine[:7], shape, atol=1e-6)
    decay = rates(
        lr_schedule="wsd", warmup_steps=2, max_steps=8, decay_fraction=0.5,
        decay_shape="linear",
    )  # fmt: skip
    np.testing.assert_allclose(decay[:9], [0, 0.5, 1, 1, 1, 0.75, 0.5, 0.25, 0])


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_peak_multiplies_and_the_answer_is_a_float32_scalar(name):
    config = TrainConfig(learning_rate=0.25, warmup_steps=2, lr_schedule=name)
    schedule = create_schedule(config)
    for step in (0, 1, 2, 500, mx.array(3), mx.array(3, mx.uint64)):
        rate = schedule(step)
        assert isinstance(rate, mx.array)
        assert (rate.shape, rate.dtype) == ((), mx.float32)
    assert schedule(1).item() == pytest.approx(0.125)
    assert schedule(2).item() == pytest.approx(0.25)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_live_peak_moves_the_whole_schedule(name):
    config = TrainConfig(lr_schedule=name, warmup_steps=0, max_steps=10)
    live = {"learning_rate": mx.array(1.0)}
    schedule = create_schedule(config, live)
    before = schedule(5).item()
    live["learning_rate"] = mx.array(3.0)
    assert schedule(5).item() == pytest.approx(3 * before)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_update_uses_t_0_and_each_its_own(name, trainer, rows):
    run = trainer(lr_schedule=name, warmup_steps=3, max_steps=8, decay_fraction=0.5)
    schedule = create_schedule(run.config)
    seen = [record["learning_rate"] for record in run.train(rows(8))]
    assert seen == [schedule(t).item() for t in range(8)]
    assert seen[0] == 0.0
    assert run.trace_count == 1
