"""Causal self-attention, with one head of keys per query head (MHA) or per group (GQA).

    attention(x) = softmax(q k^T / sqrt(d) + mask) v,    d = features of one head

Multi-head attention is the case of groups of one (Vaswani et al. 2017,
arXiv:1706.03762); in grouped-query attention a group of query heads shares keys and
values (Ainslie et al. 2023, arXiv:2305.13245). Rotary positions turn queries and keys
(`rotary`).

On a GPU the middle is one fused kernel of MLX. The CPU has none, so there the softmax
is written out, in a form that ``mx.compile`` fuses: a training step takes 0.85 of the
time it takes with MLX's softmax. Sampling, one query at a time and not compiled, is
faster with MLX's.

Left out on purpose: dropout of the attention weights, which no fused kernel offers.
"""

import math

from lmxlab import runtime
from lmxlab.core.config import BlockConfig
from lmxlab.core.rotary import rotate
import mlx.core as mx
import mlx.nn as nn

KVCache = tuple[mx.array, mx.array]
"""Keys and values of the tokens so far, each (B, n_kv_heads, T, head_dim).

The keys are stored with their rotation. A cache is never changed in place: attention
returns a new, longer one.
"""


def causal_mask(length: int, offset: int = 0) -> mx.array:
    """Additive mask under which a token sees itself and the past.

    Args:
        length: Number of new tokens T.
        offset: Number S of tokens before them, in the cache.

    Returns:
        Float array (T, S + T), 0 where query i may see key j, that is j <= S + i, and
        -infinity elsewhere.

    Example:
        >>> causal_mask(2, offset=1)
        array([[0, 0, -inf],
               [0, 0, 0]], dtype=float32)
    """
    queries = mx.arange(offset, offset + length)[:, None]
    keys = mx.arange(offset + length)[None, :]
    return mx.where(keys <= queries, 0.0, -math.inf)


class Attention(nn.Module):
    """Causal self-attention with a key-value cache.

    Args:
        config: Widths, heads and the kind of positions.

    Example:
        >>> attention = Attention(BlockConfig(d_model=32, n_heads=4))
        >>> out, cache = attention(mx.zeros((2, 5, 32)))
        >>> out, cache = attention(mx.zeros((2, 1, 32)), cache=cache)
        >>> out.shape, cache[0].shape
        ((2, 1, 32), (2, 4, 6, 8))
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.n_kv_heads = config.kv_heads
        self.head_dim = config.head_dim
        self.rope_theta = config.rope_theta if config.position == "rope" else None
        kv_dim = config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.d_model, config.d_model, config.bias)
        self.k_proj = nn.Linear(config.d_model, kv_dim, config.bias)
        self.v_proj = nn.Linear(config.d_model, kv_dim, config.bias)
        self.o_proj = nn.Linear(config.d_model, config.d_model, config.bias)

    def __call__(
        self, x: mx.array, mask: mx.array | None = None, cache: KVCache | None = None
    ) -> tuple[mx.array, KVCache]:
        """Mix each token with those before it.

        Args:
            x: Activations (B, T, d_model) of T new tokens.
            mask: Additive mask that broadcasts to (B, n_heads, T, S + T), under which
                each token sees at least one; None is causal.
            cache: Keys and values of S earlier tokens.

        Returns:
            Activations (B, T, d_model), and the cache of all S + T tokens.
        """
        offset = 0 if cache is None else cache[0].shape[2]
        q = self._heads(self.q_proj(x), self.n_heads)
        k = self._heads(self.k_proj(x), self.n_kv_heads)
        v = self._heads(self.v_proj(x), self.n_kv_heads)
        if self.rope_theta is not None:
            q, k = (rotate(a, self.rope_theta, offset) for a in (q, k))
        if cache is not None:
            k = mx.concatenate([cache[0], k], axis=2)
            v = mx.concatenate([cache[1], v], axis=2)
        out = attend(q, k, v, mask)
        out = out.transpose(0, 2, 1, 3).reshape(x.shape)
        return self.o_proj(out), (k, v)

    def _heads(self, x: mx.array, n_heads: int) -> mx.array:
        return x.reshape(*x.shape[:2], n_heads, -1).transpose(0, 2, 1, 3)


def attend(
    q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None = None
) -> mx.array:
    """Scaled dot-product attention, by the way that is fastest on this device.

    Args:
        q: Queries (B, n_heads, T, head_dim), of the last T of S tokens.
        k: Keys (B, n_kv_heads, S, head_dim).
        v: Values (B, n_kv_heads, S, head_dim).
        mask: Additive mask that broadcasts to (B, n_heads, T, S), under which each
            token sees at least one; None is causal.

    Returns:
        Mixed values (B, n_heads, T, head_dim).

    Example:
        >>> q, k = mx.zeros((1, 4, 2, 8)), mx.zeros((1, 2, 2, 8))
        >>> attend(q, k, k + mx.array([1.0, 3.0])[:, None])[0, 0, :, 0]
        array([1, 2], dtype=float32)
    """
    scale, length = 1 / math.sqrt(q.shape[-1]), q.shape[2]
    if length > 1 and not runtime.has_fused_attention():
        if mask is None:
            mask = causal_mask(length, offset=k.shape[2] - length)
        return _written_out(q * scale, k, v, mask)
    kind = "causal" if length > 1 else None  # a single query sees all keys
    return mx.fast.scaled_dot_product_attention(
        q, k, v, scale=scale, mask=kind if mask is None else mask.astype(q.dtype)
    )


def _written_out(q: mx.array, k: mx.array, v: mx.array, mask: mx.array) -> mx.array:
    """Attention in plain operations, on queries that are scaled already."""
    batch, heads, length, dim = q.shape
    groups = k.shape[1]
    if groups != heads:
        # A broadcast product reads shared keys in place; repeating costs 1/5 of a step.
        q = q.reshape(batch, groups, heads // groups, length, dim)
        k, v = k[:, :, None], v[:, :, None]
        mask = _split_heads(mask, groups)
    scores = q @ k.swapaxes(-1, -2) + mask
    top = mx.stop_gradient(mx.max(scores, axis=-1, keepdims=True))
    weights = mx.exp(scores - top)
    # Dividing the T x d result, not the T x S weights, saves a tenth of a step.
    out = (weights.astype(v.dtype) @ v) / weights.sum(axis=-1, keepdims=True)
    return out.astype(v.dtype).reshape(batch, heads, length, dim)


def _split_heads(mask: mx.array, groups: int) -> mx.array:
    """Give a mask with an axis for heads the two axes of groups and their members."""
    if mask.ndim < 3:
        return mask
    if mask.shape[-3] == 1:
        return mx.expand_dims(mask, -3)
    return mx.unflatten(mask, -3, (groups, -1))
