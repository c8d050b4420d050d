"""Notebook 03: how much warm-up, with a peak that is too high for most of a run."""

from lmxlab.data import ENTROPY_FLOOR, StoryWorld
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
from record import Position, Recording

from topics import column, small_model

STEPS, PEAK, MODERATE = 400, 3e-2, 3e-3
RUNS = {"seed 0": (PEAK, 0), "seed 1": (PEAK, 1), "seed 2": (PEAK, 2)}
RUNS |= {"lower peak": (MODERATE, 0)}


def make(warmup_steps: int) -> Position:
    """Train with this warm-up: three seeds at the high peak, one at a moderate one."""
    settings = {"warmup_steps": warmup_steps, "max_steps": STEPS, "batch_size": 32}
    losses, gaps = {}, {}
    for label, (peak, seed) in RUNS.items():
        config = TrainConfig(
            peak, **settings, seed=seed, eval_interval=STEPS, log_interval=0
        )
        world = StoryWorld()
        trainer = Trainer(small_model(seed=seed), config)
        history = trainer.train(world, world.eval_batches(128, 2))
        losses[label] = column(history, "loss")
        gaps[label] = [warmup_steps], [history[-1]["eval_loss"] - ENTROPY_FLOOR]
    *high, moderate = (gap[1][0] for gap in gaps.values())
    found = ", ".join(f"{gap:.3f}" for gap in high)
    return Position(
        {"loss": losses, "gap": gaps},
        f"With a peak of {PEAK:g} the three runs end {found} nats above the floor on "
        f"held-out stories; with {MODERATE:g} one ends {moderate:.3f} above.",
        settings
        | {"learning_rate": [PEAK, MODERATE], "lr_schedule": "cosine"}
        | {"seeds": [0, 1, 2]},
    )


RECORDING = Recording(
    title="Warm-up at a high learning rate",
    label="warm-up (steps)",
    positions=[0, 5, 20, 50, 100, 200],
    first=0,
    axes={
        "loss": {
            "x": "step",
            "y": "loss (nats a token)",
            "references": {"floor": ENTROPY_FLOOR},
            "limits": (0.6, 1.4),
        },
        "gap": {"y": "nats above the floor", "across": True, "scale": "log"},
    },
    make=make,
)
