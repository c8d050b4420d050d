"""Norms, feed-forwards and residual branches against their formulas."""

import math

from lmxlab.core.block import Block, FeedForward, make_norm
from lmxlab.core.config import BlockConfig
import mlx.core as mx
import numpy as np
import pytest


@pytest.fixture
def x():
    mx.random.seed(0)
    return 2 * mx.random.normal((2, 5, 32)) + 1


def test_rms_norm_divides_by_the_root_mean_square(x):
    got = make_norm(BlockConfig(d_model=32))(x)
    a = np.array(x, np.float64)
    expected = a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_layer_norm_subtracts_the_mean_too(x):
    got = make_norm(BlockConfig(d_model=32, norm="layer_norm"))(x)
    a = np.array(x, np.float64)
    a = a - a.mean(-1, keepdims=True)
    np.testing.assert_allclose(
        got, a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-5), atol=1e-5
    )


@pytest.mark.parametrize("bias", [False, True])
def test_bias_reaches_every_linear_map_and_layer_norm(bias):
    names = Block(BlockConfig(bias=bias, norm="layer_norm", ffn="swiglu")).parameters()
    for part in names["attention"], names["ffn"]:
        assert all(("bias" in layer) == bias for layer in part.values())
    assert ("bias" in names["ffn_norm"]) == bias


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.parametrize("ffn", ["relu2", "gelu", "swiglu"])
def test_feed_forwards_equal_their_formulas(x, ffn):
    layer = FeedForward(BlockConfig(d_model=32, ffn=ffn))
    a = np.array(x, np.float64)
    up = a @ np.array(layer.up_proj.weight, np.float64).T
    if ffn == "relu2":
        hidden = np.maximum(up, 0) ** 2
    elif ffn == "gelu":
        hidden = up * (1 + np.vectorize(math.erf)(up / math.sqrt(2))) / 2
    else:
        gate = a @ np.array(layer.gate_proj.weight, np.float64).T
        hidden = gate * sigmoid(gate) * up
    expected = hidden @ np.array(layer.down_proj.weight, np.float64).T
    np.testing.assert_allclose(layer(x), expected, atol=1e-4)


@pytest.mark.parametrize("norm", ["rms_norm", "layer_norm"])
def test_pre_norm_leaves_the_residual_stream_alone(x, norm):
    block = Block(BlockConfig(d_model=32, norm=norm))
    block.attention.o_proj.weight *= 0
    block.ffn.down_proj.weight *= 0
    assert mx.array_equal(block(x)[0], x)


def test_post_norm_normalizes_what_leaves_the_block(x):
    out, _ = Block(BlockConfig(d_model=32, pre_norm=False))(x)
    rms = mx.sqrt(mx.square(out).mean(axis=-1))
    np.testing.assert_allclose(rms, np.ones((2, 5)), atol=1e-4)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_blocks_are_causal_without_being_told(x, pre_norm):
    block = Block(BlockConfig(d_model=32, pre_norm=pre_norm))
    changed = mx.array(x)
    changed[:, 3] += 1
    before, after = block(x)[0], block(changed)[0]
    assert mx.array_equal(before[:, :3], after[:, :3])
    assert not mx.array_equal(before[:, 3:], after[:, 3:])


def test_dropout_acts_on_both_branches_and_only_in_training(x):
    block = Block(BlockConfig(d_model=32, dropout=0.5))
    assert not mx.array_equal(block(x)[0], block(x)[0])
    block.attention.o_proj.weight *= 0
    assert not mx.array_equal(block(x)[0], block(x)[0])
    block.eval()
    assert mx.array_equal(block(x)[0], block(x)[0])
