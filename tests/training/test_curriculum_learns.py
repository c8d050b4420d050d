"""Easy rows first teach a parity that uniform rows alone do not.

And where a curriculum is not claimed to help: it trains, towards the same floor.
"""

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data.batching import TokenDataset
from lmxlab.data.parity import ParityWorld
from lmxlab.data.story import StoryWorld, sentences, stories
from lmxlab.models.base import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.curriculum import (
    difficulty_curriculum,
    length_curriculum,
    report_share,
)
from lmxlab.training.loss import logits_of, next_token_loss
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import numpy as np
import pytest

ROWS, STEPS, WARMUP, SEED = 64, 200, 120, 0


def parity_loss(model, tokens, targets, mask):
    logits = logits_of(model, tokens)
    loss, metrics = next_token_loss(lambda _: logits, tokens, targets, mask)
    right = (logits.argmax(axis=-1) == targets) * mask
    return loss, {**metrics, "accuracy": right.sum() / mask.sum()}


class EvenMixture:
    """Half easy and half hard rows in every batch: the same rows, in no order."""

    def __init__(self, world):
        self.easy, self.hard = world.easy(), world.hard()

    def batches(self, batch_size, seed):
        halves = [
            data.batches(batch_size // 2, seed) for data in (self.easy, self.hard)
        ]
        for easy, hard in zip(*halves, strict=True):
            yield tuple(np.concatenate(pair) for pair in zip(easy, hard, strict=True))


def learn_parity(data_of):
    """Return the records; accuracy is measured on 512 uniform rows."""
    world = ParityWorld(seed=SEED)
    mx.random.seed(SEED)
    block = BlockConfig(d_model=32, position="learned", max_seq_len=world.seq_len)
    model = LanguageModel(ModelConfig(block, vocab_size=world.vocab_size, n_layers=2))
    config = TrainConfig(
        learning_rate=3e-3, warmup_steps=20, max_steps=STEPS,
        batch_size=ROWS, seed=SEED, eval_interval=25, log_interval=0,
    )  # fmt: skip
    trainer = Trainer(model, config, loss_fn=report_share(parity_loss))
    held_out = world.hard().eval_batches(64, 8)
    return trainer.train(data_of(world), held_out)


def curriculum(world):
    return difficulty_curriculum(
        world.easy(), world.hard(), ROWS, world.seq_len, STEPS, WARMUP / STEPS,
        seed=SEED, with_share=True,
    )  # fmt: skip


@pytest.mark.slow
def test_easy_rows_first_teach_the_hidden_parity_and_uniform_rows_do_not():
    """The control gets as many batches, and stays where guessing is."""
    records = learn_parity(curriculum)
    assert records[-1]["eval_accuracy"] >= 0.97
    assert records[-1]["eval_loss"] < 0.15
    shares = [record["hard_share"] for record in records]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[WARMUP:] == [1.0] * (STEPS - WARMUP)

    control = learn_parity(ParityWorld.hard)
    accuracies = [r["eval_accuracy"] for r in control if "eval_accuracy" in r]
    assert len(accuracies) == STEPS // 25
    assert max(accuracies) < 0.6
    assert control[-1]["eval_loss"] > 0.68  # ln 2 is 0.693


@pytest.mark.slow
def test_an_even_mixture_in_no_order_learns_it_too():
    records = learn_parity(EvenMixture)
    assert records[-1]["eval_accuracy"] >= 0.97


def story_trainer(steps, rows):
    mx.random.seed(0)
    block = BlockConfig(d_model=32)
    model = LanguageModel(ModelConfig(block, vocab_size=StoryWorld().vocab_size))
    config = TrainConfig(
        learning_rate=6e-3, warmup_steps=30, max_steps=steps, batch_size=rows,
        log_interval=0,
    )  # fmt: skip
    return Trainer(model, config, loss_fn=report_share())


@pytest.mark.slow
def test_a_length_curriculum_trains_on_stories():
    batches = length_curriculum(
        sentences(2000, 0).ravel(), 16, 14, 56, n_stages=4, batches_per_stage=40
    )
    trainer = story_trainer(len(batches), 16)
    (before,) = trainer.evaluate(StoryWorld("stream", 56)).values()
    trainer.train(batches)
    world = StoryWorld("stream", 56)
    (after,) = trainer.evaluate(world).values()
    assert before > 3.5
    assert after < world.entropy_floor + 0.5
    assert trainer.trace_count == 4


@pytest.mark.slow
def test_a_difficulty_curriculum_trains_on_stories():
    """Easy stories are about Ann and Ben; the hard ones about anyone."""
    world = StoryWorld()
    easy = TokenDataset(stories(np.arange(600)).ravel(), 13, stride=14)
    batches = difficulty_curriculum(easy, world, 32, 13, n_batches=200, with_share=True)
    trainer = story_trainer(len(batches), 32)
    records = trainer.train(batches, world)
    assert records[0]["hard_share"] == 0
    assert records[-1]["hard_share"] == 1
    assert records[-1]["eval_loss"] < world.entropy_floor + 0.1
