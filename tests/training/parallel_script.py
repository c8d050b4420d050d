"""What test_distributed runs under ``mlx.launch``: each process writes a report.

Arguments: a JSON dictionary with fields of TrainConfig and the switches of ``main``,
and the folder for the reports.
"""

import json
from pathlib import Path
import sys

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training.callbacks import EarlyStopping, MetricsLogger
from lmxlab.training.checkpointing import Checkpointing
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import next_token_loss
from lmxlab.training.trainer import Trainer
import mlx.core as mx
from mlx.utils import tree_flatten
import numpy as np


def batches(number, rows):
    """Ragged batches: each row is masked after another number of targets."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(number):
        tokens = rng.integers(0, 11, size=(rows, 7), dtype=np.int32)
        ends = rng.integers(1, 7, size=rows)
        mask = (np.arange(6) < ends[:, None]).astype(np.float32)
        made.append((tokens[:, :-1], tokens[:, 1:], mask))
    return made


def row_loss(model, tokens, targets, mask):
    """A loss that counts no tokens: the mean over rows of each row's mean."""
    losses = [
        next_token_loss(model, tokens[i : i + 1], targets[i : i + 1], mask[i : i + 1])
        for i in range(len(tokens))
    ]
    return mx.stack([loss for loss, _ in losses]).mean()


class StopAt:
    """Asks the trainer to stop, in the process where it runs."""

    trainer = None

    def __init__(self, step):
        self.step = step

    def on_step_end(self, step, metrics):
        if step == self.step:
            self.trainer.stop()


def main(options, folder):
    rank = mx.distributed.init().rank()
    take = options.pop
    rows, number, seed = take("rows", 5), take("number", 12), take("model_seed", 0)
    loss_fn = row_loss if take("row_loss", False) else None
    mx.random.seed(seed + 100 * rank)  # each process starts with weights of its own
    block = BlockConfig(d_model=16, n_heads=2, dropout=take("dropout", 0.0))
    model = LanguageModel(ModelConfig(block, vocab_size=11, n_layers=1))
    callbacks = []
    if "log" in options:
        callbacks.append(MetricsLogger(take("log")))
    if "checkpoints" in options:
        callbacks.append(Checkpointing(take("checkpoints")))
    if "patience" in options:  # no evaluation is ever 10 nats better
        callbacks.append(EarlyStopping(take("patience"), min_delta=10.0))
    stopper = StopAt(take("stop_at", None))
    held_out = batches(2, rows) if take("evaluate", False) else None
    lag = take("lag", 0)
    data = batches(number, rows)
    if "nan_in_last_row_of" in options:
        data[take("nan_in_last_row_of")][2][-1, 0] = np.nan
    config = TrainConfig(**({"warmup_steps": 0, "log_interval": 0} | options))
    trainer = Trainer(model, config, callbacks=[*callbacks, stopper], loss_fn=loss_fn)
    stopper.trainer, trainer.lag = trainer, lag
    error = None
    try:
        trainer.train(data, held_out)
    except (ValueError, FloatingPointError) as failed:
        error = str(failed)
    history = trainer.history
    report = {
        "rank": rank,
        "error": error,
        "step": trainer.step,
        "losses": [record["loss"] for record in history],
        "tokens": [record["tokens"] for record in history],
        "eval": [r["eval_loss"] for r in history if "eval_loss" in r],
        "names": sorted(set().union(*history)),
        "traces": trainer.trace_count,
        "random": trainer.state()["random"],
        "weights": {
            path: np.asarray(value).ravel().tolist()
            for path, value in tree_flatten(model.parameters())
        },
    }
    Path(folder, f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    main(json.loads(sys.argv[1]), sys.argv[2])
