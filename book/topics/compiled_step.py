"""Notebook 01: the same seconds of training, eager and compiled, by batch size."""

import functools
import itertools

from lmxlab.data import ENTROPY_FLOOR, StoryWorld
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
from record import Position, Recording

from topics import small_model

SECONDS, TURN = 3.0, 5  # of training for each; steps in one turn
NAMES = {"eager": False, "compiled": True}


@functools.cache
def warm_up() -> None:
    """Compile what MLX keeps for all shapes: no position shall pay for the others."""
    config = TrainConfig(max_steps=3, log_interval=0)
    Trainer(small_model(), config).train(StoryWorld())


def in_turns(config: dict[str, object]) -> dict[str, list[dict[str, float]]]:
    """Train eager and compiled in turns, so that a busy machine slows both."""
    trainers, streams = {}, {}
    for name, compiled in NAMES.items():
        settings = TrainConfig(**config, compile_step=compiled, log_interval=0)
        trainers[name] = Trainer(small_model(), settings)
        streams[name] = trainers[name].stream(StoryWorld())
    spent = dict.fromkeys(NAMES, 0.0)
    while (behind := min(spent, key=spent.__getitem__)) and spent[behind] < SECONDS:
        for record in itertools.islice(streams[behind], TURN):
            spent[behind] += record["step_seconds"]
    for stream in streams.values():
        stream.close()
    return {name: trainer.history for name, trainer in trainers.items()}


def make(batch_size: int) -> Position:
    """Train for some seconds with this batch, both ways."""
    settings = {
        "batch_size": batch_size,
        "learning_rate": 3e-3,
        "warmup_steps": 50,
        "lr_schedule": "constant",
        "max_steps": 10**6,
    }
    warm_up()
    histories = in_turns(settings)
    loss, speed = {}, {}
    for name, history in histories.items():
        seconds = list(itertools.accumulate(r["step_seconds"] for r in history))
        loss[name] = seconds, [r["loss"] for r in history]
        tokens = sum(r["tokens"] for r in history)
        speed[name] = [batch_size], [tokens / seconds[-1]]
    fast, slow = (speed[name][1][0] for name in ("compiled", "eager"))
    return Position(
        {"loss": loss, "speed": speed},
        f"Batches of {batch_size}: {slow:,.0f} tokens a second eager, {fast:,.0f} "
        "compiled, first calls included.",
        settings | {"seconds": SECONDS},
    )


RECORDING = Recording(
    title="Three seconds of training, eager and compiled",
    label="batch size (stories)",
    positions=[1, 2, 4, 8, 16, 32, 64, 128],
    first=3,
    axes={
        "loss": {
            "x": "seconds of training",
            "y": "loss (nats a token)",
            "references": {"entropy floor": ENTROPY_FLOOR},
            "limits": (0.5, 4.2),
        },
        "speed": {"y": "tokens a second", "across": True, "scale": "log"},
    },
    make=make,
)
