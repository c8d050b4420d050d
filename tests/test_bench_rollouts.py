"""Sampling against mlx-lm: the same weights under other names."""

import importlib.util

from lmxlab.bench import rollouts
from lmxlab.models.base import LanguageModel
from mlx.utils import tree_flatten
import pytest

HAS_MLX_LM = importlib.util.find_spec("mlx_lm") is not None
BLOCK = [
    "input_layernorm.weight", "mlp.down_proj.weight", "mlp.gate_proj.weight",
    "mlp.up_proj.weight", "post_attention_layernorm.weight", "self_attn.k_proj.weight",
    "self_attn.o_proj.weight", "self_attn.q_proj.weight", "self_attn.v_proj.weight",
]  # fmt: skip


@pytest.mark.parametrize("name", rollouts.SAMPLINGS)
def test_each_weight_has_the_name_that_a_llama_has_elsewhere(name):
    config = rollouts.SAMPLINGS[name].config
    paths = dict(tree_flatten(LanguageModel(config).parameters()))
    blocks = [f"model.layers.{i}.{w}" for i in range(config.n_layers) for w in BLOCK]
    outside = ["model.embed_tokens.weight", "model.norm.weight"]
    assert sorted(map(rollouts.renamed, paths)) == sorted(blocks + outside)


@pytest.mark.skipif(HAS_MLX_LM, reason="mlx-lm is installed")
def test_without_mlx_lm_the_section_says_what_to_install():
    assert rollouts.section() == {"reason": "not installed: mlx-lm (the extra `hub`)"}


@pytest.mark.skipif(not HAS_MLX_LM, reason="mlx-lm is not installed")
def test_both_draw_the_same_tokens_when_greedy():
    small = rollouts.Sampling(rollouts.SAMPLINGS["grpo"].config, 4, 3, 5, turns=1)
    found = rollouts.measure(small)
    assert found["greedy_equal"] == 1
    assert found["tokens_per_second"] > 0
