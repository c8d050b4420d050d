"""Notebook 09: how much patience early stopping should have."""

from lmxlab.data import ENTROPY_FLOOR, BatchIterator, StoryWorld, story
from lmxlab.training.callbacks import EarlyStopping
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
from record import Position, Recording

from topics import column, small_model

STORIES, ROWS, STEPS, EVERY = 256, 8, 400, 5


def make(patience: int) -> Position:
    """Train on a handful of stories until held-out ones get no better for a while."""
    rows = story.sentences(STORIES, seed=0)
    settings = {
        "learning_rate": 3e-3,
        "lr_schedule": "constant",
        "warmup_steps": 20,
        "max_steps": STEPS,
        "eval_interval": EVERY,
    }

    def draw(rng, n):  # type: ignore[no-untyped-def]
        chosen = rows[rng.integers(0, len(rows), n)]
        return chosen[:, :-1], chosen[:, 1:]

    stopper = EarlyStopping(patience, min_delta=0.0)
    config = TrainConfig(**settings, log_interval=0)
    trainer = Trainer(small_model(), config, callbacks=[stopper])
    held_out = StoryWorld().eval_batches(128, 1)
    history = trainer.train(BatchIterator(draw, ROWS, seed=0), held_out)
    seen = column(history, "eval_loss")
    last, stopped = history[-1]["step"], stopper.stopped_step is not None
    return Position(
        {"loss": {"training": column(history, "loss"), "held-out": seen}},
        f"{'Stopped at' if stopped else 'Never stopped: it ends at'} step {last}. The "
        f"best held-out loss was {min(seen[1]):.3f} nats a token, the last "
        f"{seen[1][-1]:.3f}.",
        settings | {"patience": patience, "stories": STORIES, "batch_size": ROWS},
    )


RECORDING = Recording(
    title="Early stopping",
    label="patience (evaluations)",
    positions=[1, 2, 3, 4, 8, 16, 24, 32],
    first=0,
    axes={
        "loss": {
            "x": "step",
            "y": "loss (nats a token)",
            "references": {"entropy floor": ENTROPY_FLOOR},
            "limits": (0.5, 1.6),
        }
    },
    make=make,
)
