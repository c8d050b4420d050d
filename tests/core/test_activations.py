"""Non-linearities and their gradients, against NumPy in double precision."""

import math

from lmxlab import runtime
from lmxlab.core import activations
import mlx.core as mx
import numpy as np
import pytest

POINTS = np.array([-1e4, -100, -89, -50, -41, -39, -3, -1, 0, 0.5, 4, 9, 90, 1e4])


def sigmoid(a):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-a))


def share(a):
    return (1 + np.vectorize(math.erf)(a / math.sqrt(2))) / 2


def relu2(a):
    return np.maximum(a, 0) ** 2, 2 * np.maximum(a, 0)


def gelu(a):
    density = np.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    return a * share(a), share(a) + a * density


def silu(a):
    return a * sigmoid(a), sigmoid(a) * (1 + a * (1 - sigmoid(a)))


def silu_alone(x):
    return activations.gated_silu(x, mx.ones_like(x))


CASES = [(activations.relu2, relu2), (activations.gelu, gelu), (silu_alone, silu)]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("on_gpu", [False, True], ids=["cpu", "as_on_gpu"])
@pytest.mark.parametrize(("function", "formula"), CASES, ids=["relu2", "gelu", "silu"])
def test_value_and_gradient_hold_at_any_size(
    function, formula, on_gpu, compiled, monkeypatch
):
    monkeypatch.setattr(runtime, "is_gpu", lambda: on_gpu)
    weights = np.linspace(-2, 3, len(POINTS))

    def weighted(x):
        return (function(x) * mx.array(weights)).sum()

    slope = mx.grad(weighted)
    if compiled:
        function, slope = mx.compile(function), mx.compile(slope)
    value, gradient = formula(POINTS)
    x = mx.array(POINTS)
    np.testing.assert_allclose(function(x), value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope(x), weights * gradient, rtol=1e-5, atol=1e-6)


def test_both_inputs_of_the_gate_have_their_gradient():
    gate, x, g = (mx.random.normal((3, 5)) for _ in range(3))
    by_gate, by_x = mx.grad(
        lambda gate, x: (activations.gated_silu(gate, x) * g).sum(), argnums=(0, 1)
    )(gate, x)
    value, slope = silu(np.array(gate, np.float64))
    np.testing.assert_allclose(by_gate, np.array(g * x) * slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_x, np.array(g) * value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
@pytest.mark.parametrize(("function", "formula"), CASES, ids=["relu2", "gelu", "silu"])
def test_sixteen_bits_stay_sixteen_bits(function, formula, dtype):
    x = mx.array([-1.5, 0.25, 2.0], dtype)
    slope = mx.grad(lambda x: function(x).sum())(x)
    assert function(x).dtype == slope.dtype == dtype
    value, gradient = formula(np.array([-1.5, 0.25, 2.0]))
    np.testing.assert_allclose(function(x).astype(mx.float32), value, rtol=0.01)
    np.testing.assert_allclose(slope.astype(mx.float32), gradient, rtol=0.01)


@pytest.mark.parametrize(("function", "formula"), CASES, ids=["relu2", "gelu", "silu"])
def test_gradients_have_gradients(function, formula):
    x, h = np.array([-1.5, 0.25, 2.0]), 1e-5
    twice = mx.grad(lambda x: mx.grad(lambda x: function(x).sum())(x).sum())
    curvature = (formula(x + h)[1] - formula(x - h)[1]) / (2 * h)
    np.testing.assert_allclose(twice(mx.array(x)), curvature, rtol=1e-4, atol=1e-4)
