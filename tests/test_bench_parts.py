"""A step's operations: that they are the model's, and that they are all counted."""

from lmxlab.bench import parts
from lmxlab.bench.cases import CASES
import mlx.core as mx
import numpy as np
import pytest

CASE = CASES["story"]


def test_the_operations_of_attention_are_the_models():
    attention = CASE.model().blocks[0].attention
    x = mx.random.normal((CASE.batch_size, CASE.seq_len, CASE.d_model))
    expected, _ = attention(x)
    rows = [part(x) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
    found = attention.o_proj(parts._middle(attention)(*rows))
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-6)


def test_the_operations_of_the_feed_forward_are_the_models():
    ffn = CASE.model().blocks[0].ffn
    x = mx.random.normal((CASE.tokens, CASE.d_model))
    found = parts.relu2(x @ ffn.up_proj.weight.T) @ ffn.down_proj.weight.T
    np.testing.assert_allclose(np.array(found), np.array(ffn(x)), atol=1e-5)


def test_each_weight_of_the_model_is_in_an_operation():
    """Six matrices a block, two vectors; embedding and head are one; the last norm."""
    model, counted = CASE.model(), parts.Parts(CASE).times
    width, layers = CASE.d_model, CASE.n_layers
    block = 4 * width**2 + 2 * width * model.config.block.ffn_dim + 2 * width
    total = layers * block + width + CASE.vocab_size * width
    assert model.count_parameters() == total
    assert counted["attention: matrix products"] == layers
    assert counted["feed-forward: matrix products"] == layers
    assert counted["norms"] == 2 * layers + 1


def test_operations_and_the_rest_are_the_step():
    found = parts.measure("story", turns=2)
    step = found.pop("step")
    rest = found.pop("the rest")
    assert min(found.values()) > 0
    assert sum(found.values()) + rest == pytest.approx(step)
    assert len(found) == 9


def test_the_section_has_both_kinds_of_mlx_beside_each_other():
    found = parts.section(quick=True)
    assert list(found) == ["story"]
    sides = {tuple(row) for row in found["story"].values()}
    assert len(sides) == 1
    assert next(iter(sides))[0] == "library_ms"
