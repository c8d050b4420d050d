"""Preferring kind endings: what DPO learns on the story world, and what it may ruin."""

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data.batching import BatchIterator
from lmxlab.data.judge import survey
from lmxlab.data.story import PROMPT_LENGTH, StoryWorld, preference_pairs, sentences
from lmxlab.models.base import LanguageModel
from lmxlab.models.generate import generate
from lmxlab.training.config import TrainConfig
from lmxlab.training.dpo import dpo_loss
from lmxlab.training.trainer import Trainer
import mlx.core as mx
from mlx.utils import tree_map
import numpy as np
import pytest

pytestmark = pytest.mark.slow

SEED = 0
STEPS = 60
HELD_OUT = 10**6  # a seed that no run trains on


def new_model():
    return LanguageModel(ModelConfig(BlockConfig(n_heads=2), vocab_size=47))


@pytest.fixture(scope="module")
def base():
    """A model that has learned the stories, kind and unkind alike."""
    mx.random.seed(SEED)
    model = new_model()
    config = TrainConfig(
        max_steps=300, learning_rate=3e-3, warmup_steps=20, log_interval=0, seed=SEED
    )
    Trainer(model, config).train(StoryWorld())
    return model


@pytest.fixture(scope="module")
def before(base):
    return judged(base, base)


def prefer(base, nll_weight, swapped=False):
    model = new_model()
    model.update(tree_map(mx.array, base.parameters()))

    def draw(rng, n):
        pair = preference_pairs(n, rng)
        return pair[::-1] if swapped else pair

    def loss_fn(model, chosen, rejected):
        return dpo_loss(
            model,
            base,
            chosen,
            rejected,
            0.5,
            prompt_lengths=PROMPT_LENGTH,
            nll_weight=nll_weight,
            return_metrics=True,
        )

    config = TrainConfig(
        max_steps=STEPS, learning_rate=1e-3, warmup_steps=0, log_interval=0
    )
    run = Trainer(model, config, loss_fn=loss_fn)
    run.train(BatchIterator(draw, 32, SEED))
    return model


def judged(model, base):
    """Accuracy on held-out pairs, and what the model writes after held-out prompts."""
    pair = [mx.array(rows) for rows in preference_pairs(200, HELD_OUT)]
    _, metrics = dpo_loss(
        model, base, *pair, 0.5, prompt_lengths=PROMPT_LENGTH, return_metrics=True
    )
    prompts = mx.array(sentences(200, HELD_OUT + 1)[:, :PROMPT_LENGTH])
    samples = np.array(generate(model, prompts, 5, seed=0))
    return {name: value.item() for name, value in metrics.items()} | survey(samples)


def test_samples_become_kind_and_stay_stories(base, before):
    after = judged(prefer(base, 1.0), base)
    assert 0.35 < before["kind"] < 0.6
    assert before["right_names"] > 0.95
    assert after["accuracy"] >= 0.99
    assert after["kind"] >= 0.95
    assert after["right_names"] >= 0.95
    assert after["chosen_log_prob"] > before["chosen_log_prob"] + 0.5  # ln 6 -> ln 3


def test_without_the_nll_term_accuracy_is_as_good_and_the_stories_are_ruined(
    base, before
):
    after = judged(prefer(base, 0.0), base)
    assert after["accuracy"] >= 0.99
    assert after["right_names"] <= 0.6
    assert after["kind"] <= 0.7
    assert after["chosen_log_prob"] < before["chosen_log_prob"] - 0.3
    assert after["rejected_log_prob"] < before["rejected_log_prob"] - 20


def test_the_pairs_decide_what_is_preferred(base):
    """Control: the same pairs the other way round make every sample unkind."""
    after = judged(prefer(base, 1.0, swapped=True), base)
    assert after["accuracy"] <= 0.01
    assert after["kind"] <= 0.05
    assert after["right_names"] >= 0.95
