"""Rotary positions, against complex numbers."""

from lmxlab import runtime
from lmxlab.core.rotary import rotate
import mlx.core as mx
import numpy as np
import pytest

THETA = 100.0


def turned(x, offset):
    """Turn (a, b) as the complex number a + ib."""
    half = x.shape[-1] // 2
    positions = np.arange(offset, offset + x.shape[2])[:, None]
    angles = positions * THETA ** (-np.arange(half) / half)
    points = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([points.real, points.imag], axis=-1)


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("offset", [0, 5])
def test_halves_are_turned_by_the_position(length, offset):
    x = mx.random.normal((2, 3, length, 8))
    found = rotate(x, THETA, offset)
    np.testing.assert_allclose(found, turned(np.array(x), offset), atol=1e-5)


@pytest.mark.parametrize("length", [1, 7])
def test_the_ways_of_the_devices_agree(length, monkeypatch):
    """What a GPU is given is MLX's kernel, which the CPU can compute, too."""
    x, g = (mx.random.normal((2, 3, length, 8)) for _ in range(2))

    def value_and_gradient(x):
        return rotate(x, THETA, 4), mx.grad(lambda x: (rotate(x, THETA, 4) * g).sum())(
            x
        )

    ours = value_and_gradient(x)
    monkeypatch.setattr(runtime, "is_gpu", lambda: True)
    for a, b in zip(ours, value_and_gradient(x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_view_is_turned_like_its_copy():
    x = mx.random.normal((2, 7, 3, 8)).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(rotate(x, THETA), rotate(mx.contiguous(x), THETA))


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_sixteen_bits_stay_sixteen_bits(dtype):
    x = mx.random.normal((1, 1, 3, 4)).astype(dtype)
    slope = mx.grad(lambda x: rotate(x, THETA).sum())(x)
    assert rotate(x, THETA).dtype == slope.dtype == dtype
    expected = turned(np.array(x.astype(mx.float32)), 0)
    np.testing.assert_allclose(rotate(x, THETA).astype(mx.float32), expected, atol=0.03)


def test_products_depend_on_the_difference_of_positions():
    q, k = mx.random.normal((2, 1, 1, 1, 8))
    near = (rotate(q, THETA, 3) * rotate(k, THETA, 1)).sum()
    far = (rotate(q, THETA, 42) * rotate(k, THETA, 40)).sum()
    assert near.item() == pytest.approx(far.item(), abs=1e-4)
