"""Heads that learned the story world halve the passes; the same heads untrained do not.

Of the 14 tokens of a story five are free choices, which nobody can guess: not even the
base model's own greedy choice among tokens that are equally likely. Guesses of two
depths that are right at all others settle a story in six passes, 42 tokens in 18:

    Ann | and Ben | saw a big | ball | and Ann gave | it to Ben | . Eva | and ...
"""

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data.judge import survey
from lmxlab.data.story import StoryWorld, sentences
from lmxlab.models.base import LanguageModel
from lmxlab.models.generate import generate
from lmxlab.training.mtp import MultiTokenPrediction, mtp_loss
from lmxlab.training.speculative import speculative_generate
import mlx.core as mx
import numpy as np
import pytest

TEXTS, LENGTH, SEED = 4, 42, 0
WORLD = StoryWorld("stream", seq_len=LENGTH)  # three stories a row


def learned(trainer, heads_too):
    """Train base and heads, or the base alone; measure all of them on fresh stories."""
    mx.random.seed(SEED)
    block = BlockConfig(d_model=48, n_heads=4)
    mtp = MultiTokenPrediction(LanguageModel(ModelConfig(block, 47)), n_predict=2)
    run = trainer(
        mtp if heads_too else mtp.model,
        loss_fn=mtp_loss if heads_too else None,
        learning_rate=6e-3, warmup_steps=50, max_steps=200, batch_size=8, seed=SEED,
    )  # fmt: skip
    run.train(WORLD)
    return mtp, trainer(mtp, loss_fn=mtp_loss).evaluate(WORLD)


def written(mtp):
    """Texts of 42 tokens from their first token on; checked against plain decoding."""
    prompts = sentences(TEXTS, seed=1000 + SEED)[:, :1].tolist()
    result = speculative_generate(mtp, prompts, LENGTH - 1)
    plain = generate(mtp.model, prompts, LENGTH - 1, temperature=0)
    assert mx.array_equal(result.tokens, plain)
    return result


@pytest.mark.slow
def test_trained_heads_halve_the_passes_and_untrained_ones_save_none(trainer):
    mtp, losses = learned(trainer, heads_too=True)
    alone, alone_losses = learned(trainer, heads_too=False)
    result, control = written(mtp), written(alone)

    # Greedy text repeats itself, so luck with a free choice comes back in each story.
    assert 14 <= result.forwards / TEXTS <= 22
    assert result.acceptance[0] > 0.55
    assert result.acceptance[1] > 0.35
    assert control.forwards / TEXTS > 34
    assert result.tokens_per_forward > 1.85 > 1.25 > control.tokens_per_forward

    # No gain is claimed for the main loss, and none is lost.
    main, floor = losses["eval_main_loss"], WORLD.entropy_floor
    assert abs(main - alone_losses["eval_main_loss"]) < 0.03
    assert floor - 0.01 < main < floor + 0.06
    # Depth k has the targets of the main loss but the first k: "and" and a friend.
    total = LENGTH * floor
    floors = {
        "depth_1": total / (LENGTH - 1),
        "depth_2": (total - np.log(9)) / (LENGTH - 2),
    }
    for name, lowest in floors.items():
        assert lowest - 0.01 < losses[f"eval_{name}"] < lowest + 0.6
        assert alone_losses[f"eval_{name}"] > 3
    stories = result.tokens.reshape(-1, 14)
    assert survey(np.array(stories))["grammatical"] == 1
