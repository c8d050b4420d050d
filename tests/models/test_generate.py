"""Sampling draws from the model's distribution, and leaves no trace."""

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.models.generate import generate, stream_tokens
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

PROMPTS = [[1, 2, 3], [4, 5, 6]]


@pytest.fixture(scope="module")
def model():
    mx.random.seed(0)
    return LanguageModel(ModelConfig(BlockConfig(d_model=32), 13, 2))


class Fixed(nn.Module):
    """Says the same distribution at every position."""

    def __init__(self, probs):
        super().__init__()
        self.logits = mx.log(mx.array(probs))

    def __call__(self, tokens, cache=None):
        shape = (*tokens.shape, self.logits.size)
        return mx.broadcast_to(self.logits, shape), cache


def shares(probs, n=4000, **options):
    """How often each token is drawn."""
    tokens = generate(Fixed(probs), mx.zeros((n, 1), mx.int32), 1, seed=1, **options)
    return np.bincount(np.array(tokens[:, 1]), minlength=len(probs)) / n


def test_greedy_equals_the_loop_without_a_cache(model):
    tokens = mx.array(PROMPTS)
    for _ in range(10):
        best = mx.argmax(model(tokens)[0][:, -1:], axis=-1)
        tokens = mx.concatenate([tokens, best.astype(tokens.dtype)], axis=1)
    got = generate(model, PROMPTS, 10, temperature=0)
    assert got.dtype == tokens.dtype
    assert mx.array_equal(got, tokens)


def test_prompts_come_back_first(model):
    got = generate(model, PROMPTS, 4, seed=0)
    assert got.shape == (2, 7)
    assert mx.array_equal(got[:, :3], mx.array(PROMPTS))
    assert mx.array_equal(generate(model, PROMPTS, 0), mx.array(PROMPTS))


def test_a_seed_repeats_and_another_differs(model):
    def draw(**how):
        return generate(model, PROMPTS, 30, **how).tolist()

    assert draw(seed=1) == draw(seed=1) == draw(key=mx.random.key(1))
    assert draw(seed=1) != draw(seed=2)
    assert draw() != draw()


def test_training_never_notices(model):
    mx.random.seed(5)
    before = np.array(mx.random.state[0])
    generate(model, PROMPTS, 3)
    generate(model, PROMPTS, 3, seed=1)
    assert np.array_equal(before, np.array(mx.random.state[0]))


def test_draws_follow_the_distribution():
    probs = [0.5, 0.3, 0.15, 0.05]
    expected = 4000 * np.array(probs)
    chi_square = ((4000 * shares(probs) - expected) ** 2 / expected).sum()
    assert chi_square < 16.3  # 99.9% of the draws, 3 degrees of freedom


def test_temperature_sharpens():
    probs = np.array([0.5, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(
        shares(probs, temperature=0.5), probs**2 / (probs**2).sum(), atol=0.03
    )
    assert shares(probs, temperature=0)[0] == 1


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 1}, [1]),
        ({"top_k": 2}, [1, 3]),
        ({"top_k": 99}, [0, 1, 2, 3]),
        ({"top_p": 0.3}, [1]),
        ({"top_p": 0.6}, [1, 3]),
        ({"top_p": 0.81}, [1, 2, 3]),
        ({"top_p": 1.0}, [0, 1, 2, 3]),
        ({"top_k": 2, "top_p": 0.95}, [1, 3]),
        # Among the best two, the first has 0.625 of the probability.
        ({"top_k": 2, "top_p": 0.6}, [1]),
    ],
)
def test_cut_distributions_keep_what_they_should(options, kept):
    probs = np.array([0.05, 0.5, 0.15, 0.3])
    expected = np.zeros(4)
    expected[kept] = probs[kept] / probs[kept].sum()
    got = shares(probs, **options)
    np.testing.assert_allclose(got, expected, atol=0.04)
    assert got[expected == 0].sum() == 0


def test_ties_do_not_let_more_than_k_through():
    assert (shares([0.25] * 4, top_k=2) > 0).sum() == 2


def test_rows_are_filled_after_the_stop_token():
    probs = [0.5, 0.5]
    prompts = mx.zeros((50, 1), mx.int32)
    rows = np.array(generate(Fixed(probs), prompts, 12, stop_token=1, seed=0))[:, 1:]
    for row in rows:
        stopped = np.flatnonzero(row == 1)
        assert len(stopped) == 0 or (row[stopped[0] :] == 1).all()
    assert 0 < (rows[:, 0] == 1).sum() < 50


def test_log_probs_are_the_models_own(model):
    tokens, log_probs = generate(
        model, PROMPTS, 6, temperature=0.7, top_k=5, seed=3, return_log_probs=True
    )
    logits, _ = model(tokens[:, :-1])
    whole = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    expected = mx.take_along_axis(whole, tokens[:, 1:, None], axis=-1)[:, 2:, 0]
    assert log_probs.shape == (2, 6)
    np.testing.assert_allclose(log_probs, expected, atol=1e-5)


def test_log_probs_may_be_those_of_the_distribution_drawn_from():
    probs = np.array([0.05, 0.5, 0.15, 0.3])
    kept = np.where(probs > 0.1, probs, 0) ** 2  # top 3 at temperature 1/2
    tokens, log_probs = generate(
        Fixed(probs), np.zeros((50, 1), np.int32), 3, temperature=0.5, top_k=3, seed=0,
        return_log_probs=True, log_probs_of="sampler",
    )  # fmt: skip
    expected = np.log(kept / kept.sum(), where=kept > 0, out=np.zeros(4))
    np.testing.assert_allclose(log_probs, expected[np.array(tokens)[:, 1:]], atol=1e-5)
    _, certain = generate(
        Fixed(probs), [[0]], 3, temperature=0,
        return_log_probs=True, log_probs_of="sampler",
    )  # fmt: skip
    assert certain.tolist() == [[0, 0, 0]]


def test_sampling_ends_when_all_have_stopped():
    class Counting(Fixed):
        calls = 0

        def __call__(self, tokens, cache=None):
            Counting.calls += 1
            return super().__call__(tokens, cache)

    tokens, log_probs = generate(
        Counting([0.1, 0.9]), [[0], [0]], 200, stop_token=1, seed=0,
        return_log_probs=True,
    )  # fmt: skip
    assert tokens.shape == (2, 201)
    assert log_probs.shape == (2, 200)
    assert tokens[:, 20:].min().item() == 1
    assert Counting.calls < 20


def test_filling_up_is_certain():
    tokens, log_probs = generate(
        Fixed([0.5, 0.5]), [[0]], 9, stop_token=1, seed=0, return_log_probs=True
    )
    stop = tokens[0, 1:].tolist().index(1)
    np.testing.assert_allclose(log_probs[0, : stop + 1], np.log(0.5), atol=1e-6)
    assert mx.all(log_probs[0, stop + 1 :] == 0).item()


def test_the_stream_is_the_same_text(model):
    columns = list(stream_tokens(model, PROMPTS, 5, seed=3, top_k=4))
    expected = generate(model, PROMPTS, 5, seed=3, top_k=4)
    assert columns[0].shape == (2,)
    assert mx.array_equal(mx.stack(columns, axis=1), expected[:, 3:])


def test_the_stream_ends_when_all_have_stopped():
    stream = stream_tokens(Fixed([0.1, 0.9]), [[0], [0]], 100, stop_token=1, seed=0)
    assert len(list(stream)) < 20


def test_modes_come_back_part_by_part(model):
    model.train()
    model.blocks[0].eval()
    stream = stream_tokens(model, PROMPTS, 3)
    next(stream)
    assert model.training
    generate(model, PROMPTS, 2)
    assert model.training
    assert model.blocks[1].dropout.training
    assert not model.blocks[0].dropout.training
    model.train()


def test_modes_come_back_after_an_error():
    block = BlockConfig(d_model=32, position="learned", max_seq_len=4)
    model = LanguageModel(ModelConfig(block))
    with pytest.raises(ValueError, match="max_seq_len=4"):
        generate(model, [[1, 2, 3]], 5)
    assert model.training


def test_dropout_is_off():
    mx.random.seed(0)
    block = BlockConfig(d_model=32, dropout=0.9)
    model = LanguageModel(ModelConfig(block))
    first, second = (generate(model, PROMPTS, 20, temperature=0) for _ in range(2))
    assert mx.array_equal(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature must be 0 or more, got -1"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k must be 1 or more, got 0"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, "top_p"),
        ({"seed": 1, "key": mx.random.key(1)}, "not both"),
        ({"max_new_tokens": -1}, "max_new_tokens must be 0 or more, got -1"),
        ({"prompts": [1, 2]}, "prompts must have shape"),
        ({"prompts": np.zeros((2, 0), int)}, "prompts must have shape"),
        ({"prompts": [[], []]}, "prompts must have shape"),
    ],
)
@pytest.mark.parametrize("function", [generate, stream_tokens])
def test_bad_options_are_refused_at_once(model, function, options, message):
    with pytest.raises(ValueError, match=message):
        function(model, **{"prompts": PROMPTS, "max_new_tokens": 2} | options)


def test_log_probs_are_of_the_model_or_of_the_sampler(model):
    with pytest.raises(ValueError, match="must be 'model' or 'sampler', got 'me'"):
        generate(model, PROMPTS, 2, return_log_probs=True, log_probs_of="me")


def test_prompts_must_be_integers(model):
    with pytest.raises(TypeError, match="prompts must be integers"):
        generate(model, mx.zeros((2, 3)), 2)
