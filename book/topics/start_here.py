"""Notebook 00: one learning rate after the other."""

from lmxlab.core import BlockConfig, ModelConfig
from lmxlab.data import ENTROPY_FLOOR, StoryWorld
from lmxlab.models import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
import mlx.core as mx
from record import Position, Recording

STEPS = 400


def story_run(**settings: object) -> tuple[Trainer, list[dict[str, float]]]:
    """Train the small model of the notebooks on the story world."""
    mx.random.seed(0)
    world = StoryWorld()
    model = LanguageModel(
        ModelConfig(BlockConfig(d_model=64), vocab_size=world.vocab_size, n_layers=2)
    )
    config = TrainConfig(**{"eval_interval": 20, "log_interval": 0} | settings)
    trainer = Trainer(model, config)
    return trainer, trainer.train(world, world.eval_batches(128, 1))


def make(learning_rate: float) -> Position:
    """Train with this rate."""
    settings = {
        "learning_rate": learning_rate,
        "batch_size": 32,
        "max_steps": STEPS,
        "warmup_steps": 50,
    }
    _, history = story_run(**settings)
    losses = [record["loss"] for record in history]
    steps = [record["step"] for record in history]
    held_out = [record["eval_loss"] for record in history if "eval_loss" in record]
    gap = held_out[-1] - ENTROPY_FLOOR
    return Position(
        {"loss": {"training": (steps, losses)}},
        f"After {STEPS} steps the loss on held-out stories is {held_out[-1]:.3f} "
        f"nats a token, {gap:.3f} above the entropy floor.",
        settings,
    )


RECORDING = Recording(
    title="Loss of a first model",
    label="learning rate",
    positions=[1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
    first=4,
    axes={
        "loss": {
            "x": "step",
            "y": "loss (nats a token)",
            "references": {"entropy floor": ENTROPY_FLOOR},
            "limits": (0.5, 5.0),
        }
    },
    make=make,
)
