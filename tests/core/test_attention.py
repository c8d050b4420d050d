"""Attention against a definition in NumPy, and against itself in other shapes."""

from lmxlab import runtime
from lmxlab.core.attention import Attention, attend, causal_mask
from lmxlab.core.config import BlockConfig
import mlx.core as mx
import numpy as np
import pytest


def by_definition(q, k, v, mask=None):
    """Softmax attention in float64, one head at a time."""
    q, k, v = (np.array(a, dtype=np.float64) for a in (q, k, v))
    batch, heads, length, dim = q.shape
    total = k.shape[2]
    if mask is None:
        past = total - length
        mask = np.triu(np.full((length, total), -np.inf), past + 1)
    mask = np.broadcast_to(np.array(mask, np.float64), (batch, heads, length, total))
    out = np.empty_like(q)
    for b in range(batch):
        for h in range(heads):
            g = h * k.shape[1] // heads
            scores = q[b, h] @ k[b, g].T / np.sqrt(dim) + mask[b, h]
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[b, h] = weights / weights.sum(-1, keepdims=True) @ v[b, g]
    return out


def random_heads(kv_heads, past=3, length=5):
    mx.random.seed(0)
    q = 3 * mx.random.normal((2, 4, length, 8))
    k, v = mx.random.normal((2, 2, kv_heads, past + length, 8))
    return q, k, v


@pytest.fixture(params=[False, True], ids=["written_out", "mx_fast"])
def fused(request, monkeypatch):
    monkeypatch.setattr(runtime, "has_fused_attention", lambda: request.param)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("past", [0, 3])
def test_both_ways_equal_the_definition(kv_heads, past):
    q, k, v = random_heads(kv_heads, past)
    np.testing.assert_allclose(attend(q, k, v), by_definition(q, k, v), atol=1e-5)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("kv_heads", [2, 4])
@pytest.mark.parametrize("shape", [(5, 8), (2, 1, 5, 8), (2, 4, 5, 8), (4, 5, 8)])
def test_a_mask_of_any_shape_that_broadcasts(kv_heads, shape):
    q, k, v = random_heads(kv_heads)
    mask = mx.where(mx.random.bernoulli(0.5, shape), 0.0, -np.inf)
    mask[..., 0] = 0.0
    expected = by_definition(q, k, v, mask)
    np.testing.assert_allclose(attend(q, k, v, mask), expected, atol=1e-5)


def test_both_ways_have_the_same_gradient(monkeypatch):
    q, k, v = random_heads(kv_heads=2)

    def energy(q, k, v):
        return mx.square(attend(q, k, v)).sum()

    def gradients(fused):
        monkeypatch.setattr(runtime, "has_fused_attention", lambda: fused)
        return mx.grad(energy, argnums=(0, 1, 2))(q, k, v)

    for ours, theirs in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=5e-5)


@pytest.mark.usefixtures("fused")
def test_large_scores_do_not_overflow():
    q, k, v = random_heads(kv_heads=4)
    out = attend(1000 * q, k, v)
    assert mx.all(mx.isfinite(out)).item()


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays_half_precision(dtype):
    q, k, v = (a.astype(dtype) for a in random_heads(kv_heads=2))
    out = attend(q, k, v)
    assert out.dtype == dtype
    expected = by_definition(*(a.astype(mx.float32) for a in (q, k, v)))
    np.testing.assert_allclose(out.astype(mx.float32), expected, atol=0.05)


def test_the_mask_shows_the_past_and_oneself():
    seen = np.array(causal_mask(2, offset=3)) == 0
    np.testing.assert_array_equal(seen, [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])


def test_groups_of_one_are_multi_head_attention():
    mx.random.seed(0)
    mha = Attention(BlockConfig(attention="mha"))
    gqa = Attention(BlockConfig(attention="gqa", n_kv_heads=4))
    gqa.update(mha.parameters())
    x = mx.random.normal((2, 7, 64))
    assert mx.array_equal(mha(x)[0], gqa(x)[0])


def test_grouped_attention_is_multi_head_with_repeated_keys():
    mx.random.seed(0)
    gqa = Attention(BlockConfig(attention="gqa", n_kv_heads=2))
    mha = Attention(BlockConfig(attention="mha"))
    weights = gqa.parameters()
    for name in ("k_proj", "v_proj"):
        shared = weights[name]["weight"].reshape(2, 16, 64)
        weights[name]["weight"] = mx.repeat(shared, 2, axis=0).reshape(64, 64)
    mha.update(weights)
    x = mx.random.normal((2, 7, 64))
    np.testing.assert_allclose(gqa(x)[0], mha(x)[0], atol=1e-5)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_the_cache_keeps_one_entry_per_group_and_token(kv_heads):
    attention = Attention(BlockConfig(attention="gqa", n_kv_heads=kv_heads))
    _, first = attention(mx.zeros((3, 5, 64)))
    _, (keys, values) = attention(mx.zeros((3, 2, 64)), cache=first)
    assert keys.shape == values.shape == (3, kv_heads, 7, 16)
    assert first[0].shape == (3, kv_heads, 5, 16)


def test_rotary_positions_are_relative():
    """Shifting all tokens by the same distance changes no score."""
    mx.random.seed(0)
    attention = Attention(BlockConfig())
    x = mx.random.normal((1, 6, 64))
    nothing = mx.full((1, 4, 9, 16), 0.0)
    hide_it = mx.concatenate([mx.full((6, 9), -np.inf), causal_mask(6)], axis=1)
    shifted, _ = attention(x, mask=hide_it, cache=(nothing, nothing))
    np.testing.assert_allclose(attention(x)[0], shifted, atol=1e-5)


def test_rotary_positions_tell_near_from_far():
    mx.random.seed(0)
    x = mx.random.normal((1, 6, 64))
    swapped = x[:, [1, 0, 2, 3, 4, 5]]

    def moved(position):
        attention = Attention(BlockConfig(position=position))
        return mx.abs(attention(x)[0] - attention(swapped)[0])[:, -1].max().item()

    assert moved("rope") > 1e-3
    assert moved("none") < 1e-6


def test_one_position_is_turned_alike_on_a_gpu(monkeypatch):
    """There two positions are turned and one is kept; the CPU turns one."""
    layer = Attention(BlockConfig(d_model=32, n_heads=4))
    x = mx.random.normal((3, 1, 32))
    cache = layer(mx.random.normal((3, 5, 32)))[1]
    expected, (keys, _) = layer(x, cache=cache)
    monkeypatch.setattr(runtime, "is_gpu", lambda: True)
    monkeypatch.setattr(runtime, "has_fused_attention", lambda: False)
    got, (their_keys, _) = layer(x, cache=cache)
    assert mx.array_equal(got, expected)
    assert mx.array_equal(their_keys, keys)
    assert keys.shape == (3, 4, 6, 8)
