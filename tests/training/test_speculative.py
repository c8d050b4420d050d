"""Drafting changes how many passes a text takes, and nothing else."""

from contextlib import contextmanager
from dataclasses import replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.core.modes import evaluation_mode
from lmxlab.models.base import LanguageModel
from lmxlab.models.generate import generate
from lmxlab.training.mtp import MultiTokenPrediction, mtp_loss
from lmxlab.training.speculative import SpeculativeResult, speculative_generate
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map
import numpy as np
import pytest

VOCAB = 13
SMALL = BlockConfig(d_model=16, n_heads=2)
KINDS = {
    "rope": SMALL,
    "learned": replace(SMALL, position="learned", max_seq_len=64),
    "gqa": replace(SMALL, attention="gqa", n_heads=4, n_kv_heads=2, ffn="swiglu"),
    "post_norm": replace(SMALL, pre_norm=False, norm="layer_norm", position="none"),
    "sinusoidal": replace(SMALL, position="sinusoidal", dropout=0.5),
}


@contextmanager
def passes_of(model):
    """List the tokens of each pass of a model."""
    passes, call = [], LanguageModel.__call__

    def spy(self, tokens, *rest, **options):
        if self is model:
            passes.append(tokens.tolist()[0])
        return call(self, tokens, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "__call__", spy)
        yield passes


def build(n_predict=2, block=SMALL, seed=0, gain=1.0, layers=1):
    """An untrained model; a gain above 1 lets it say more than one token."""
    mx.random.seed(seed)
    base = LanguageModel(ModelConfig(block, VOCAB, layers, tie_embeddings=False))
    mtp = MultiTokenPrediction(base, n_predict)
    mtp.update(tree_map(lambda p: gain * p if p.ndim > 1 else p, mtp.parameters()))
    mx.eval(mtp.parameters())
    return mtp


def plain(mtp, prompts, n, **options):
    return generate(mtp.model, prompts, n, temperature=0, **options)


class Foresight(nn.Module):
    """A head for a base whose next token depends on the last one alone."""

    def __init__(self, norm, sign=1):
        super().__init__()
        self.norm, self.sign = norm, sign

    def extend(self, h, prev_embed, mask=None, cache=None):
        empty = mx.zeros((1, 1, 0, 1))
        return self.sign * self.norm(prev_embed), (empty, empty)


def counter(*signs):
    """A base that counts, t + 1 after t, and heads that are always right or wrong.

    The sign -1 makes a head guess the least likely token.
    """
    mtp = build(len(signs), replace(SMALL, position="none"))
    for block in mtp.model.blocks:
        block.attention.o_proj.weight *= 0
        block.ffn.down_proj.weight *= 0
    norm = mtp.model.final_norm
    mtp.model.head.weight = mx.roll(norm(mtp.model.embed.weight), 1, axis=0)
    mtp.heads = [Foresight(norm, sign) for sign in signs]
    return mtp


# -------------------------------------------------------------------- the same tokens


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_tokens_equal_plain_greedy_decoding(data):
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    mtp = build(
        data.draw(st.integers(1, 4)),
        KINDS[kind],
        data.draw(st.integers(0, 1000)),
        data.draw(st.sampled_from([1.0, 2.0])),
    )
    length, n = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 16))
    rows = st.lists(st.integers(0, VOCAB - 1), min_size=length, max_size=length)
    prompts = data.draw(st.lists(rows, min_size=1, max_size=3))
    expected = plain(mtp, prompts, n)
    result = speculative_generate(mtp, prompts, n)
    assert mx.array_equal(result.tokens, expected)
    assert result.tokens.dtype == expected.dtype
    assert result.forwards <= n * len(prompts)

    stop = data.draw(st.sampled_from(expected[0].tolist()))
    result = speculative_generate(mtp, prompts, n, stop_token=stop)
    assert mx.array_equal(result.tokens, plain(mtp, prompts, n, stop_token=stop))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 20),
    signs=st.lists(st.sampled_from([1, -1]), min_size=1, max_size=4),
    stop=st.one_of(st.none(), st.integers(0, VOCAB - 1)),
)
def test_tokens_are_equal_however_right_or_wrong_the_heads(n, signs, stop):
    mtp, prompts = counter(*signs), [[1, 2], [3, 4]]
    result = speculative_generate(mtp, prompts, n, stop_token=stop)
    assert mx.array_equal(result.tokens, plain(mtp, prompts, n, stop_token=stop))


def test_a_prompt_may_be_an_array_of_one_token():
    mtp = build(3)
    prompts = mx.array([[5], [7]], dtype=mx.uint16)
    result = speculative_generate(mtp, prompts, 11)
    assert result.tokens.dtype == mx.uint16
    assert mx.array_equal(result.tokens, plain(mtp, prompts, 11))


def test_a_text_may_fill_a_model_whose_positions_end():
    """The last token is never read, nor is a guess beyond it: as in `generate`."""
    mtp = build(3, replace(SMALL, position="learned", max_seq_len=12))
    assert speculative_generate(mtp, [[1, 2, 3]], 10).tokens.shape == (1, 13)
    for decode in (speculative_generate, plain):
        with pytest.raises(ValueError, match="more than max_seq_len=12"):
            decode(mtp, [[1, 2, 3]], 11)


# ---------------------------------------------------------------- the number of passes


@pytest.mark.parametrize("depths", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_right_guesses_settle_all_depths_and_one_more_in_each_pass(depths, n):
    result = speculative_generate(counter(*[1] * depths), [[1, 2]], n)
    assert result.forwards == 1 + math.ceil((n - 1) / (depths + 1))
    assert result.accepted == result.drafted
    assert result.forwards + sum(result.accepted) == n
    assert result.tokens_per_forward == n / result.forwards


def test_wrong_guesses_cost_no_pass():
    result = speculative_generate(counter(-1, -1), [[1, 2]], 12)
    assert result.forwards == 12
    assert result.accepted == [0, 0]
    assert result.drafted == [10, 9]  # a last token needs no guess
    assert result.acceptance == [0, 0]
    assert result.tokens_per_forward == 1


def test_a_guess_is_lost_with_the_one_before_it():
    first = speculative_generate(counter(1, -1, 1), [[1, 2]], 21)
    assert first.forwards == 1 + 20 // 2
    assert first.acceptance == [1, 0, 0]
    none = speculative_generate(counter(-1, 1, 1), [[1, 2]], 21)
    assert none.forwards == 21
    assert none.acceptance == [0, 0, 0]


def test_passes_and_guesses_of_all_rows_are_counted():
    mtp = counter(1, -1)
    one, other = (speculative_generate(mtp, [[t]], 9) for t in (1, 4))
    both = speculative_generate(mtp, [[1], [4]], 9)
    assert both.forwards == one.forwards + other.forwards
    assert both.drafted == [a + b for a, b in zip(one.drafted, other.drafted)]  # noqa: B905
    assert mx.array_equal(both.tokens, mx.concatenate([one.tokens, other.tokens]))


@pytest.mark.parametrize("seed", range(4))
def test_the_base_reads_each_settled_token_once_and_no_more_than_counted(seed):
    mtp = build(3, seed=seed, gain=2.0)
    with passes_of(mtp.model) as passes:
        result = speculative_generate(mtp, [[1, 2, 3]], 20)
    text = result.tokens.tolist()[0]
    assert len(passes) == result.forwards
    assert passes[0] == [1, 2, 3]
    position, guesses = 3, 0
    for read in passes[1:]:
        assert read[0] == text[position]
        position += 1
        for guess in read[1:]:
            guesses += 1
            if guess != text[position]:
                break
            position += 1
    assert position == len(text) - 1
    assert sum(map(len, passes[1:])) == result.forwards - 1 + sum(result.drafted)


def test_decoding_ends_at_the_stop_token_wherever_it_comes():
    mtp = counter(1, 1, 1)
    text = plain(mtp, [[1]], 12).tolist()[0]
    assert text == [*range(1, VOCAB), 0]
    for place in range(1, 8):
        result = speculative_generate(mtp, [[1]], 12, stop_token=text[place])
        assert result.tokens.tolist()[0] == text[:place] + [text[place]] * (13 - place)
        assert result.forwards == 1 + math.ceil((place - 1) / 4)
        # Each fourth token is the base model's; no guess beyond the stop is counted.
        assert result.accepted == result.drafted
        assert sum(result.accepted) == place - 1 - (place - 1) // 4


def test_a_stop_token_in_the_prompt_stops_nothing():
    mtp = counter(1)
    text = plain(mtp, [[1]], 5).tolist()
    assert speculative_generate(mtp, [[1]], 5, stop_token=1).tokens.tolist() == text


# ---------------------------------------------------------------------- the heads


@pytest.mark.parametrize("kind", ["rope", "gqa"])
@pytest.mark.parametrize("depths", [1, 2, 4])
def test_guesses_are_those_of_the_heads_on_the_whole_text(kind, depths):
    """Caches that are cut wrongly would only make guesses worse: nobody would see."""
    mtp = build(depths, KINDS[kind], gain=2.0)
    heads = [Foresight(mtp.model.final_norm), *mtp.heads[1:]]  # some guesses are right
    for heads_now in (mtp.heads, heads):
        mtp.heads, settled = heads_now, 3
        with passes_of(mtp.model) as passes:
            text = speculative_generate(mtp, [[1, 2, 3]], 24).tokens.tolist()[0]
        for read in passes[1:]:
            tokens = mx.array([text[: settled + 1]])
            with evaluation_mode(mtp):
                h = mtp.model(tokens[:, :-1], return_hidden=True)[2]
                for k in range(1, len(read)):
                    told = mtp.model.embed(tokens[:, k:])
                    h = mtp.heads[k - 1].extend(h, told)[0]
                    guess = mx.argmax(mtp.model.to_logits(h[:, -1:]), axis=-1)
                    tokens = mx.concatenate([tokens, guess.astype(tokens.dtype)], 1)
            assert read == tokens.tolist()[0][settled:]
            settled += 1
            for guess in read[1:]:
                if guess != text[settled]:
                    break
                settled += 1


def test_heads_that_learned_save_passes(rows, trainer):
    """Counting texts, learned in 150 updates: nearly all guesses are right."""
    mtp = build(2, BlockConfig(d_model=32, n_heads=2))
    starts = np.random.default_rng(0).integers(0, VOCAB, (150, 8, 1))
    texts = ((starts + np.arange(15)) % VOCAB).astype(np.int32)
    before = speculative_generate(mtp, [[0, 1]], 40)
    run = trainer(mtp, loss_fn=mtp_loss, max_steps=150)
    run.train([(batch[:, :-1], batch[:, 1:]) for batch in texts])
    after = speculative_generate(mtp, [[0, 1]], 40)
    assert before.forwards >= 30
    assert after.forwards <= 16
    assert mx.array_equal(after.tokens, plain(mtp, [[0, 1]], 40))


# ---------------------------------------------------------------- the smaller promises


def test_it_runs_in_evaluation_mode_and_leaves_no_trace():
    mtp = build(2, replace(SMALL, dropout=0.5), gain=2.0)
    mtp.heads[0].eval()
    state, modes = np.array(mx.random.state[0]), [m.training for m in mtp.modules()]
    first, again = (speculative_generate(mtp, [[1, 2]], 15) for _ in range(2))
    assert first.tokens.tolist() == again.tokens.tolist()
    assert first[1:] == again[1:]
    assert [module.training for module in mtp.modules()] == modes
    assert np.array_equal(np.array(mx.random.state[0]), state)


def test_no_new_tokens_take_no_pass():
    result = speculative_generate(build(2), [[1, 2], [3, 4]], 0)
    assert result.tokens.tolist() == [[1, 2], [3, 4]]
    assert (result.forwards, result.drafted, result.accepted) == (0, [0, 0], [0, 0])
    assert all(map(math.isnan, [*result.acceptance, result.tokens_per_forward]))


def test_a_result_tells_its_rates():
    result = SpeculativeResult(mx.zeros((1, 1)), 10, [8, 4], [6, 1])
    assert result.acceptance == [0.75, 0.25]
    assert result.tokens_per_forward == 1.7


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "max_new_tokens must be 0 or more, got -1", ([[1]], -1)),
        (ValueError, "prompts must have shape", ([1, 2], 3)),
        (ValueError, "prompts must have shape", (mx.zeros((1, 0), mx.int32), 3)),
        (TypeError, "prompts must be integers", (mx.array([[0.5]]), 3)),
    ],
)
def test_bad_input_is_an_error_as_in_generate(error, message, arguments):
    with pytest.raises(error, match=message):
        speculative_generate(build(1), *arguments)
