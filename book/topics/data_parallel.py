"""Notebook 10: two processes against one with the joint batch, by its size."""

import json
from pathlib import Path
import tempfile

from lmxlab.lab.processes import launch
from record import Position, Recording

STEPS = 60
SCRIPT = """
import json, sys
import lmxlab
from lmxlab.core import BlockConfig, ModelConfig
from lmxlab.data import StoryWorld
from lmxlab.models import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
import mlx.core as mx

settings = json.loads(sys.argv[1])
mx.random.seed(0)
world = StoryWorld()
shape = ModelConfig(BlockConfig(d_model=64), vocab_size=world.vocab_size, n_layers=2)
trainer = Trainer(LanguageModel(shape), TrainConfig(**settings, log_interval=0))
history = trainer.train(world)
if trainer.group.rank() == 0:
    print(json.dumps([[r["loss"] for r in history], [
        1000 * r["step_seconds"] for r in history if "first_call_seconds" not in r]]))
"""


def make(rows: int) -> Position:
    """Train twice on the same batches: in one process, and in two that share them."""
    settings = {
        "batch_size": 2 * rows,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "lr_schedule": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_steps": STEPS,
    }
    losses, times = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        script.write_text(SCRIPT)
        for label, n in {"one process": 1, "two processes": 2}.items():
            said = launch(script, json.dumps(settings), processes=n)
            loss, milliseconds = json.loads(said)
            losses[label] = list(range(1, STEPS + 1)), loss
            times[label] = [rows], [min(milliseconds)]  # what else runs only adds
    (steps, one), (_, two) = losses.values()
    # On a logarithmic scale there is no place for a difference of 0.
    apart = [abs(a - b) or float("nan") for a, b in zip(one, two, strict=True)]
    alone, shared = (time[1][0] for time in times.values())
    return Position(
        {"loss": losses | {"their difference": (steps, apart)}, "time": times},
        f"{rows} rows a process. The losses differ by at most "
        f"{max(gap for gap in apart if gap == gap):.1e} nats. The fastest step of one "
        f"process, with all {2 * rows} rows, took {alone:.1f} ms, that of two "
        f"{shared:.1f} ms.",
        settings | {"processes": [1, 2]},
    )


RECORDING = Recording(
    title="One process, and two that share its batch",
    label="rows a process",
    positions=[4, 8, 16, 32, 64, 128],
    first=3,
    axes={
        "loss": {"x": "step", "y": "nats a token", "scale": "log"},
        "time": {"y": "fastest step (ms)", "across": True, "scale": "log"},
    },
    make=make,
)
