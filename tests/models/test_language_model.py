"""The whole model: shapes, caches, causality, compiling, errors."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab import runtime
from lmxlab.core.config import FFNS, NORMS, POSITIONS, BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel, sinusoidal_positions
from lmxlab.models.gpt import gpt_config, gpt_tiny
from lmxlab.models.llama import llama_config, llama_tiny
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
import numpy as np
import pytest


def small(seed=0, **block):
    mx.random.seed(seed)
    block = {"d_model": 32, "max_seq_len": 16} | block
    tie_embeddings = block.pop("tie_embeddings", True)
    config = ModelConfig(BlockConfig(**block), 47, 2, tie_embeddings)
    return LanguageModel(config)


def some_tokens(batch=2, length=9):
    return mx.random.randint(0, 47, (batch, length), key=mx.random.key(1))


KINDS = [
    {"position": position, "pre_norm": pre_norm, **heads}
    for position, pre_norm, heads in product(
        POSITIONS, (True, False), ({}, {"attention": "gqa", "n_kv_heads": 2})
    )
]


@pytest.mark.parametrize("fused", [False, True], ids=["written_out", "mx_fast"])
@pytest.mark.parametrize("block", KINDS, ids=lambda b: "-".join(map(str, b.values())))
def test_a_cache_changes_nothing(block, fused, monkeypatch):
    monkeypatch.setattr(runtime, "has_fused_attention", lambda: fused)
    model, tokens = small(**block), some_tokens()
    whole, _ = model(tokens)
    for chunks in ([1] * 9, [4, 1, 3, 1], [2, 7]):
        caches, parts, start = None, [], 0
        for length in chunks:
            part = tokens[:, start : start + length]
            logits, caches = model(part, cache=caches)
            parts.append(logits)
            start += length
        np.testing.assert_allclose(mx.concatenate(parts, 1), whole, atol=1e-5)
    assert [len(layer) for layer in caches] == [2, 2]


@pytest.mark.parametrize("block", KINDS, ids=lambda b: "-".join(map(str, b.values())))
def test_the_future_leaves_no_trace(block):
    model, tokens = small(**block), some_tokens()
    before, _ = model(tokens)
    for j in (1, 4, 8):
        changed = mx.array(tokens)
        changed[:, j] = (changed[:, j] + 1) % 47
        after, _ = model(changed)
        assert mx.array_equal(before[:, :j], after[:, :j])
        assert not mx.array_equal(before[:, j], after[:, j])


@pytest.mark.parametrize("position", ["rope", "sinusoidal", "learned"])
def test_the_order_of_the_past_matters(position):
    model = small(position=position)
    a, _ = model(mx.array([[1, 2, 3, 4]]))
    b, _ = model(mx.array([[2, 1, 3, 4]]))
    assert mx.abs(a - b)[:, -1].max().item() > 1e-5


def expected_count(config):
    b, d = config.block, config.block.d_model
    heads = b.n_heads * b.head_dim + 2 * b.kv_heads * b.head_dim
    linear = [(d, heads), (b.n_heads * b.head_dim, d)]
    linear += [(d, b.ffn_dim)] * (2 if b.ffn == "swiglu" else 1) + [(b.ffn_dim, d)]
    count = sum(i * o + o * b.bias for i, o in linear)
    norm = d * (2 if b.norm == "layer_norm" and b.bias else 1)
    total = config.n_layers * (count + 2 * norm) + norm
    total += config.vocab_size * d * (1 if config.tie_embeddings else 2)
    return total + (b.max_seq_len * d if b.position == "learned" else 0)


@pytest.mark.parametrize(
    "config",
    [
        gpt_tiny(),
        llama_tiny(),
        llama_tiny(tie_embeddings=False, bias=True),
        ModelConfig(BlockConfig(norm="layer_norm", ffn="gelu", position="none"), 47, 3),
    ],
)
def test_parameters_are_counted_by_formula(config):
    assert LanguageModel(config).count_parameters() == expected_count(config)


def test_the_families_have_their_published_sizes():
    assert expected_count(gpt_config()) == 124_439_808
    llama_7b = llama_config(
        d_model=4096, n_heads=32, n_kv_heads=32, n_layers=32, d_ff=11008
    )
    assert expected_count(llama_7b) == 6_738_415_616


def test_tiny_configs_are_what_they_are_called():
    for config in (gpt_tiny(), llama_tiny()):
        assert (config.vocab_size, config.block.d_model, config.n_layers) == (
            256,
            64,
            2,
        )
    assert gpt_tiny(vocab_size=47, dropout=0.1, norm_eps=1e-6).block.norm_eps == 1e-6
    assert llama_tiny(n_kv_heads=1).block.kv_heads == 1
    with pytest.raises(TypeError, match="n_hads"):
        gpt_tiny(n_hads=2)


@pytest.mark.parametrize("tie_embeddings", [True, False])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_an_untrained_model_guesses(tie_embeddings, pre_norm):
    model = small(d_model=64, tie_embeddings=tie_embeddings, pre_norm=pre_norm)
    tokens = some_tokens(8, 16)
    loss = nn.losses.cross_entropy(model(tokens)[0][:, :-1], tokens[:, 1:]).mean()
    assert abs(loss.item() - np.log(47)) < 0.35


def test_the_seed_fixes_the_weights():
    same, other = small(seed=3), small(seed=4)
    pairs = zip(
        tree_flatten(small(seed=3).parameters()),
        tree_flatten(same.parameters()),
        tree_flatten(other.parameters()),
        strict=True,
    )
    for (name, a), (_, b), (_, c) in pairs:
        assert mx.array_equal(a, b)
        assert "norm" in name or not mx.array_equal(a, c)


def test_hidden_states_are_what_the_head_reads():
    for tie_embeddings in (True, False):
        model = small(tie_embeddings=tie_embeddings)
        logits, _, hidden = model(some_tokens(), return_hidden=True)
        assert hidden.shape == (2, 9, 32)
        assert mx.array_equal(model.to_logits(hidden), logits)


def test_dropout_acts_in_training_only():
    model = small(dropout=0.3)
    tokens = some_tokens()
    assert not mx.array_equal(model(tokens)[0], model(tokens)[0])
    model.eval()
    assert mx.array_equal(model(tokens)[0], model(tokens)[0])


def test_frozen_parts_get_no_gradient():
    model = small()
    model.embed.freeze()
    loss_and_grad = nn.value_and_grad(model, lambda tokens: model(tokens)[0].sum())
    _, grads = loss_and_grad(some_tokens())
    assert "weight" not in grads["embed"]
    assert "weight" in grads["final_norm"]


@pytest.mark.parametrize("ffn", FFNS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_compiled_gradients_equal_eager_ones_bit_for_bit(ffn, norm, dropout):
    if runtime.is_gpu():
        pytest.skip("bitwise equality is promised on the CPU")
    model = small(ffn=ffn, norm=norm, dropout=dropout, attention="gqa", n_kv_heads=2)
    tokens = some_tokens()

    def loss(tokens):
        logits, _ = model(tokens[:, :-1])
        return nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean")

    step = nn.value_and_grad(model, loss)
    state = [model.state, mx.random.state]
    compiled = mx.compile(step, inputs=state, outputs=state)
    results = []
    for function in (step, compiled):
        mx.random.seed(7)
        results.append([function(tokens) for _ in range(2)])
        mx.eval(results, state)
    for eager, fused in zip(*results, strict=True):
        pairs = zip(tree_flatten(eager), tree_flatten(fused), strict=True)
        for (name, a), (_, b) in pairs:
            assert mx.array_equal(a, b), name
    first, second = (loss.item() for loss, _ in results[1])
    assert (first != second) == (dropout > 0)


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_text_beyond_the_last_position_is_an_error(position):
    model = small(position=position)
    _, caches = model(some_tokens(length=16))
    with pytest.raises(ValueError, match=r"17 tokens .* max_seq_len=16"):
        model(some_tokens(length=17))
    with pytest.raises(ValueError, match=r"17 tokens \(16 in the cache\)"):
        model(some_tokens(length=1), cache=caches)


def test_rotary_positions_have_no_end():
    assert small(position="rope")(some_tokens(length=40))[0].shape == (2, 40, 47)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (2, 0), (0, 2)])
def test_tokens_must_be_a_matrix(shape):
    with pytest.raises(ValueError, match="must have shape"):
        small()(mx.zeros(shape, dtype=mx.int32))


def test_tokens_must_be_integers():
    with pytest.raises(TypeError, match="tokens must be integers"):
        small()(mx.zeros((2, 3)))


def test_a_cache_of_another_model_is_an_error():
    with pytest.raises(ValueError, match="each of the 2 layers, got 1"):
        small()(some_tokens(), cache=[None])


def test_sinusoidal_positions_equal_the_paper():
    got = sinusoidal_positions(5, 8, 6)
    angles = np.arange(5, 8)[:, None] / 10000 ** (np.arange(3) / 3)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    ffn=st.sampled_from(FFNS),
    norm=st.sampled_from(NORMS),
    position=st.sampled_from(POSITIONS),
    kv_heads=st.integers(1, 2),
    groups=st.integers(1, 3),
    half=st.integers(1, 3),
    bias=st.booleans(),
    pre_norm=st.booleans(),
    vocab_size=st.integers(2, 9),
    length=st.integers(1, 6),
)
def test_every_legal_config_makes_a_model(
    ffn, norm, position, kv_heads, groups, half, bias, pre_norm, vocab_size, length
):
    heads = kv_heads * groups
    block = BlockConfig(
        attention="gqa",
        ffn=ffn,
        norm=norm,
        position=position,
        d_model=2 * half * heads,
        n_heads=heads,
        n_kv_heads=kv_heads,
        bias=bias,
        pre_norm=pre_norm,
    )
    model = LanguageModel(ModelConfig(block, vocab_size, n_layers=1))
    tokens = mx.zeros((2, length), dtype=mx.int32)
    logits, [(keys, values)] = model(tokens)
    assert logits.shape == (2, length, vocab_size)
    assert keys.shape == values.shape == (2, kv_heads, length, 2 * half)
    assert mx.all(mx.isfinite(logits)).item()
    assert model.count_parameters() == expected_count(model.config)
