"""Configurations are complete, checked, and never changed."""

from dataclasses import FrozenInstanceError, asdict, fields, replace

from hypothesis import given
from hypothesis import strategies as st
from lmxlab.core.config import (
    ATTENTIONS,
    FFNS,
    NORMS,
    POSITIONS,
    BlockConfig,
    ModelConfig,
)
import pytest


def test_the_defaults_are_the_contract():
    assert asdict(ModelConfig()) == {
        "block": {
            "attention": "mha",
            "ffn": "relu2",
            "norm": "rms_norm",
            "position": "rope",
            "d_model": 64,
            "n_heads": 4,
            "n_kv_heads": None,
            "d_ff": None,
            "bias": False,
            "dropout": 0.0,
            "norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "max_seq_len": 1024,
            "pre_norm": True,
        },
        "vocab_size": 256,
        "n_layers": 2,
        "tie_embeddings": True,
    }


def test_every_field_has_a_help_text():
    for field in fields(BlockConfig) + fields(ModelConfig):
        assert field.metadata["help"].endswith(".")


def test_a_config_is_frozen_and_hashable():
    with pytest.raises(FrozenInstanceError):
        BlockConfig().d_model = 3
    assert hash(ModelConfig()) == hash(ModelConfig())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"attention": "mqa"}, "BlockConfig.attention must be one of 'mha', 'gqa'"),
        ({"norm": "rmsnorm"}, "did you mean 'rms_norm'"),
        ({"position": "Rope"}, "did you mean 'rope'"),
        ({"d_model": 0}, r"BlockConfig.d_model must be in \[1, "),
        ({"n_heads": 5}, "BlockConfig.n_heads must divide d_model=64, got 5"),
        ({"attention": "gqa", "n_kv_heads": 3}, "must divide n_heads=4, got 3"),
        ({"n_kv_heads": 2}, "n_kv_heads=2 needs attention='gqa'"),
        ({"dropout": 1.0}, r"BlockConfig.dropout must be in \[0.0, 0.95\], got 1.0"),
        ({"dropout": -0.1}, "BlockConfig.dropout"),
        ({"dropout": float("nan")}, "finite"),
        ({"max_seq_len": 0}, "BlockConfig.max_seq_len"),
        ({"d_model": 12, "n_heads": 4}, "must be even, got 3"),
        ({"d_model": 5, "n_heads": 5, "position": "sinusoidal"}, "even d_model, got 5"),
    ],
)
def test_a_bad_block_is_refused_in_words(bad, message):
    with pytest.raises(ValueError, match=message):
        BlockConfig(**bad)


@pytest.mark.parametrize("bad", [{"vocab_size": 1}, {"vocab_size": 0}, {"n_layers": 0}])
def test_a_bad_model_is_refused_in_words(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"ModelConfig.{name} must be in"):
        ModelConfig(**bad)


def test_a_block_must_be_a_block_config():
    with pytest.raises(TypeError, match=r"ModelConfig\.block must be BlockConfig"):
        ModelConfig({"d_model": 64})


def test_the_gated_unit_costs_what_the_others_cost():
    assert BlockConfig(d_model=96).ffn_dim == 384
    assert BlockConfig(d_model=96, ffn="swiglu").ffn_dim == 256
    assert BlockConfig(d_model=64, ffn="swiglu").ffn_dim == 176
    assert BlockConfig(d_ff=7).ffn_dim == 7


@st.composite
def block_configs(draw):
    """Any legal block of small size."""
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3))
    grouped = kv_heads != heads or draw(st.booleans())
    return BlockConfig(
        attention="gqa" if grouped else "mha",
        ffn=draw(st.sampled_from(FFNS)),
        norm=draw(st.sampled_from(NORMS)),
        position=draw(st.sampled_from(POSITIONS)),
        d_model=heads * 2 * draw(st.integers(1, 4)),
        n_heads=heads,
        n_kv_heads=kv_heads if grouped else None,
        d_ff=draw(st.none() | st.integers(1, 40)),
        bias=draw(st.booleans()),
        dropout=draw(st.floats(0, 0.95)),
        pre_norm=draw(st.booleans()),
    )


@given(block_configs())
def test_derived_sizes_fit_together(config):
    assert config.head_dim * config.n_heads == config.d_model
    assert config.n_heads % config.kv_heads == 0
    assert config.ffn_dim >= 1
    if config.d_ff is None and config.ffn == "swiglu":
        assert config.ffn_dim % 8 == 0
        assert 0 <= config.ffn_dim - 8 * config.d_model / 3 < 8
    assert replace(config) == config


@given(st.sampled_from(ATTENTIONS + FFNS), st.sampled_from(NORMS + POSITIONS))
def test_names_belong_to_their_field(attention, norm):
    if attention in ATTENTIONS and norm in NORMS:
        BlockConfig(attention=attention, norm=norm)
    else:
        with pytest.raises(ValueError, match="must be one of"):
            BlockConfig(attention=attention, norm=norm)
