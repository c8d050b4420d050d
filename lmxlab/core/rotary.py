"""Rotary positions: a query and a key see how far apart they are (Su et al. 2021).

The two halves of a head's d features are taken for the coordinates of d/2 points, and
those of the token at position p are turned by the angles p theta^(-2i/d):

    (a, b) -> (a cos - b sin, b cos + a sin),        i = 0 ... d/2 - 1

so that a product of query and key depends on the difference of their positions alone
(arXiv:2104.09864; halves as in GPT-NeoX and Llama). The gradient is turned back.

A GPU has a kernel of MLX's for it. The CPU's cuts the halves apart and puts them
together again, through memory each time; here they are turned where they are, which is
a tenth of a small model's step.
"""

import math
from typing import Any

from lmxlab import runtime
import mlx.core as mx


def rotate(x: mx.array, theta: float, offset: int = 0) -> mx.array:
    """Turn queries or keys by the positions of their tokens.

    Args:
        x: Queries or keys (B, n_heads, T, head_dim), with an even head_dim.
        theta: Base of the wavelengths, such as 10,000.
        offset: Position of the first token.

    Returns:
        Array like ``x``.

    Example:
        >>> rotate(mx.array([[[[1.0, 0.0]]]]), theta=10_000.0, offset=1)  # cos 1, sin 1
        array([[[[0.540302, 0.841471]]]], dtype=float32)
    """
    length = x.shape[2]
    if length > 1 and not runtime.is_gpu():
        cos, sin = _waves(x, theta, offset)
        turned: mx.array = _turned(x, cos, sin)
        return turned
    doubled = length == 1 and runtime.is_gpu()
    if doubled:
        # MLX 0.32's CUDA kernel for a single position fails from 128 rows on where
        # heads are narrow; that for two does not.
        x = mx.concatenate([x, x], axis=2)
    x = mx.fast.rope(
        x, x.shape[-1], traditional=False, base=theta, scale=1.0, offset=offset
    )
    return x[:, :, :1] if doubled else x


def _waves(x: mx.array, theta: float, offset: int) -> tuple[mx.array, mx.array]:
    """Cosine, and sine with the sign of each half: (T, 1, d/2) and (T, 2, d/2)."""
    half = x.shape[-1] // 2
    wide = mx.float64 if x.dtype == mx.float64 else mx.float32
    frequencies = mx.exp(-mx.arange(half, dtype=wide) * (math.log(theta) / half))
    positions = mx.arange(offset, offset + x.shape[2], dtype=wide)
    angles = positions[:, None, None] * frequencies
    sin = mx.sin(angles)
    return mx.cos(angles), mx.concatenate([-sin, sin], axis=1)


def _turn(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    halves = mx.unflatten(x, -1, (2, -1))
    turned = halves * cos + halves[..., ::-1, :] * sin
    return mx.flatten(turned, -2).astype(x.dtype)


_turned: Any = mx.custom_function(_turn)


def _turn_back(inputs: list[mx.array], g: mx.array, _: mx.array) -> list[mx.array]:
    _, cos, sin = inputs
    return [_turn(g, cos, -sin), mx.zeros_like(cos), mx.zeros_like(sin)]


_turned.vjp(_turn_back)
