"""Three digits in order: what rewards teach a model that could already do it."""

import copy

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data.sorting import END, SortingWorld, is_sorted_answer
from lmxlab.models.base import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.rewards import score
from lmxlab.training.rollouts import GRPOBatches, rollout
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.slow

WORLD = SortingWorld()
SEED = 0
UPDATES = 40


def verdicts(model, samples=8, n_prompts=100):
    """Which samples of held-out prompts are sorted, (n_prompts, samples)."""
    prompts = WORLD.held_out_prompts(n_prompts).repeat(samples, axis=0)
    out = rollout(model, prompts, WORLD.answer_length, stop_token=END, seed=1)
    table = score(is_sorted_answer, out.prompts, out.completions, out.mask)
    return table.reshape(n_prompts, samples)


@pytest.fixture(scope="module")
def base():
    """A model of the corpus: it sorts, reverses or copies."""
    mx.random.seed(0)
    model = LanguageModel(ModelConfig(BlockConfig(d_model=64), WORLD.vocab_size))
    config = TrainConfig(
        learning_rate=3e-3, warmup_steps=50, max_steps=250, batch_size=64,
        log_interval=0,
    )  # fmt: skip
    trainer = Trainer(model, config)
    trainer.train(WORLD)
    assert trainer.evaluate(WORLD)["eval_loss"] - WORLD.entropy_floor < 0.08
    return model


def learn(base, reward):
    """40 updates of 16 prompts with 8 completions each; the model and its records."""
    model = copy.deepcopy(base)
    data = GRPOBatches(
        model, WORLD.prompts, reward, max_new_tokens=WORLD.answer_length,
        stop_token=END, seed=SEED,
    )  # fmt: skip
    config = TrainConfig(
        learning_rate=3e-4, lr_schedule="constant", warmup_steps=0,
        max_steps=UPDATES, log_interval=0, seed=SEED,
    )  # fmt: skip
    trainer = Trainer(model, config, loss_fn=data.loss_fn)
    records = trainer.train(data)
    assert trainer.trace_count == 1
    return model, records


def test_the_base_sorts_now_and_then_and_every_prompt_sometimes(base):
    table = verdicts(base, samples=32)
    assert 0.25 < table.mean() < 0.5
    assert table.any(axis=1).mean() > 0.9


def test_rewarding_sorted_answers_makes_them_the_rule(base):
    model, records = learn(base, is_sorted_answer)
    print("sorted", verdicts(base).mean(), "->", verdicts(model).mean())
    assert verdicts(model).mean() >= 0.75
    rewards = [record["reward_mean"] for record in records]
    assert np.mean(rewards[:5]) < 0.55
    assert np.mean(rewards[-10:]) >= 0.75
    # Why the loss says nothing: it is near 0 from the first update to the last.
    assert max(abs(record["loss"]) for record in records) < 0.05
    assert records[-1]["entropy"] < 0.5 * records[0]["entropy"]
    assert records[-1]["zero_variance_groups"] > 0.3


def test_shuffled_rewards_teach_no_sorting(base):
    """The control: the same verdicts, each given to a completion drawn by lot."""
    rng, pool = np.random.default_rng(SEED), []

    def shuffled(prompt, completion):
        pool.append(is_sorted_answer(prompt, completion))
        return pool.pop(rng.integers(len(pool))) if len(pool) > 128 else False

    model, _ = learn(base, shuffled)
    print("control", verdicts(base).mean(), "->", verdicts(model).mean())
    assert verdicts(model).mean() < verdicts(base).mean() - 0.05
