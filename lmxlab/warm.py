"""Kernels compiled beforehand, so that a learner's first run need not wait for them."""

import time

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data.story import StoryWorld
from lmxlab.models.base import LanguageModel
from lmxlab.models.generate import generate
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
import mlx.core as mx


def warm_up() -> float:
    """Train, evaluate and sample notebook 00's model, two steps of it.

    MLX finds a compiled kernel by what it computes, with which constants, but not by
    shapes: so other batches, depths and topics use most of these kernels too.

    Returns:
        Seconds that it took.

    Example:
        >>> warm_up() > 0
        True
    """
    started = time.perf_counter()
    world = StoryWorld()
    block = BlockConfig(d_model=64)
    model = LanguageModel(ModelConfig(block, vocab_size=world.vocab_size, n_layers=2))
    config = TrainConfig(max_steps=2, batch_size=2, warmup_steps=50, log_interval=0)
    trainer = Trainer(model, config)
    trainer.train(world.batches(2, 0), world.eval_batches(2, 1))
    generate(model, mx.zeros((2, 1), mx.int32), 2, temperature=1.0, seed=0)
    return time.perf_counter() - started
