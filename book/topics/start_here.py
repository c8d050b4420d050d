"""Notebook 00: one learning rate after the other."""

from lmxlab.data import ENTROPY_FLOOR, StoryWorld
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
from record import Position, Recording

from topics import column, small_model

STEPS = 400


def make(learning_rate: float) -> Position:
    """Train with this rate."""
    settings = {
        "learning_rate": learning_rate,
        "batch_size": 32,
        "max_steps": STEPS,
        "warmup_steps": 50,
    }
    config = TrainConfig(**settings, eval_interval=20, log_interval=0)
    world = StoryWorld()
    history = Trainer(small_model(), config).train(world, world.eval_batches(128, 1))
    held_out = column(history, "eval_loss")
    gap = held_out[1][-1] - ENTROPY_FLOOR
    return Position(
        {"loss": {"training": column(history, "loss"), "held-out stories": held_out}},
        f"After {STEPS} steps the loss on held-out stories is {held_out[1][-1]:.3f} "
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
