"""Checkpoints of a whole run: written while it trains, and found again by itself.

A run is more than weights and moments: also the random key, the position in the data,
live settings that were moved, what callbacks remember, and the records so far. With all
of them a run that was killed goes on as if nothing had happened, bit for bit.
"""

from dataclasses import asdict
import json
import math
import os
from pathlib import Path
import shutil
from typing import Any
import warnings

from lmxlab.training.callbacks import Callback
from lmxlab.training.checkpoints import (
    STATE,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from lmxlab.training.config import TrainConfig
from lmxlab.training.files import replace_file
from lmxlab.training.record import Record
from lmxlab.training.trainer import Trainer

BEST = "best"
HISTORY = "history.jsonl"


def save_run(
    path: str | os.PathLike[str],
    trainer: Trainer,
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write a checkpoint from which a run goes on exactly.

    Args:
        path: The checkpoint's folder.
        trainer: Between two steps: not from a callback that lets a GPU run ahead.
        metadata: Anything else that JSON can hold.

    Returns:
        The folder.

    Raises:
        TypeError: If the metadata, or what a callback or an iterator of batches says of
            its state, is not JSON.

    Example:
        >>> import tempfile, mlx.nn as nn
        >>> model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
        >>> trainer = Trainer(model, TrainConfig(max_steps=9, log_interval=0))
        >>> read_state(save_run(tempfile.mkdtemp(), trainer))["metadata"]["run"]["step"]
        0
    """
    return save_checkpoint(
        path,
        trainer.model,
        trainer.optimizer,
        trainer.step,
        {
            **(metadata or {}),
            "run": trainer.state(),
            "config": asdict(trainer.config),
            "callbacks": {
                name: callback.state() for name, callback in _remembering(trainer)
            },
        },
    )


def load_run(path: str | os.PathLike[str], trainer: Trainer) -> dict[str, Any]:
    """Put a trainer where a run stood; its next stream goes on from there.

    Args:
        path: What :func:`save_run` wrote.
        trainer: Of the same model and optimizer. Its config may differ, say in
            ``max_steps``.

    Returns:
        What :func:`~lmxlab.training.checkpoints.load_checkpoint` returns.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it holds weights but no run.
        CheckpointError: As from ``load_checkpoint``; nothing was changed.

    Example:
        >>> import tempfile, mlx.nn as nn
        >>> def build():
        ...     model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
        ...     return Trainer(model, TrainConfig(max_steps=9, log_interval=0))
        >>> folder = save_run(tempfile.mkdtemp(), build())
        >>> load_run(folder, build())["step"]
        0
    """
    saved = read_state(path)["metadata"]
    if "run" not in saved:
        raise ValueError(
            f"{path} holds weights but no run, it was not written by save_run; read it "
            "with load_checkpoint"
        )
    loaded = load_checkpoint(path, trainer.model, trainer.optimizer)
    trainer.restore(saved["run"])
    for name, callback in _remembering(trainer):
        if name in saved["callbacks"]:
            callback.restore(saved["callbacks"][name])
    return loaded


def latest(folder: str | os.PathLike[str]) -> Path | None:
    """Find the checkpoint of the last step in a run's folder.

    Args:
        folder: The one that a :class:`Checkpointing` writes to.

    Returns:
        The checkpoint's own folder, or None if there is no checkpoint.

    Example:
        >>> import tempfile
        >>> latest(tempfile.mkdtemp()) is None
        True
    """
    found = _steps(Path(folder))
    return found[-1] if found else None


class Checkpointing(Callback):
    """Writes checkpoints into a folder, and resumes from the last one there.

    One is written every ``checkpoint_interval`` steps of the config, and one when
    training ends, by an interrupt or an error too. ``best`` is the one with the lowest
    ``eval_loss``. All records are kept in ``history.jsonl``. A trainer that has not
    begun, given a folder that holds a run, goes on with that run.

    Args:
        folder: One run's own; made if it is not there.
        keep_last: Checkpoints to keep, besides the best.
        keep_best: Whether to keep the best.
        resume: Whether to go on with a run that is there. Without it, a run that is
            there is an error and not overwritten.

    Attributes:
        best_loss: Lowest ``eval_loss`` so far, in nats.

    Raises:
        ValueError: If ``keep_last`` is below 1.

    Example:
        >>> import tempfile, mlx.core as mx, mlx.nn as nn
        >>> folder, tokens = tempfile.mkdtemp(), mx.arange(8).reshape(2, 4)
        >>> model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
        >>> config = TrainConfig(max_steps=3, log_interval=0)
        >>> trainer = Trainer(model, config, callbacks=[Checkpointing(folder)])
        >>> _ = trainer.train([(tokens, tokens)] * 3)
        >>> latest(folder).name
        'step-00000003'
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep_last: int = 3,
        *,
        keep_best: bool = True,
        resume: bool = True,
    ) -> None:
        """Check the arguments; nothing is written yet."""
        if keep_last < 1:
            raise ValueError(f"keep_last must be at least 1, got {keep_last}")
        self.folder = Path(folder)
        self.keep_last = keep_last
        self.keep_best = keep_best
        self.best_loss = math.inf
        self._resume = resume
        self._trainer: Trainer | None = None
        self._interval = 0
        self._saved_step = -1
        self._written = 0  # records in the history file

    def state(self) -> dict[str, Any]:
        """Return what a resumed run must remember.

        Returns:
            ``best_loss``.
        """
        return {"best_loss": self.best_loss}

    def restore(self, state: dict[str, Any]) -> None:
        """Remember it.

        Args:
            state: What :meth:`state` returned.
        """
        self.best_loss = state["best_loss"]

    def on_train_begin(self, config: TrainConfig) -> None:
        """Take the interval from the config.

        Args:
            config: Gives ``checkpoint_interval``.
        """
        self._interval = config.checkpoint_interval

    def resume(self, trainer: Trainer) -> None:
        """Go on with the run in the folder, if the trainer has not begun.

        Args:
            trainer: The one that is about to train.

        Raises:
            ValueError: If there is a run and ``resume`` is off, or the trainer has
                begun one of its own.
            CheckpointError: If the run is of another model, or damaged.
        """
        if trainer is self._trainer:
            return  # trains on
        last = latest(self.folder)
        if last is not None:
            if trainer.step > 0 or not self._resume:
                raise ValueError(
                    f"{self.folder} holds a run, at {last.name}, and this trainer "
                    f"{'is at step ' + str(trainer.step) if trainer.step else 'is new'}"
                    "; give each run a folder of its own, or remove that one"
                )
            load_run(last, trainer)
            self._saved_step = trainer.step
            trainer.history[:] = self._read_history(trainer.step)
            print(f"resumed from {last}")
            if trainer.step >= trainer.config.max_steps:
                warnings.warn(
                    f"the run in {self.folder} has done its {trainer.step} steps; "
                    "raise max_steps to go on, or choose another folder to start anew",
                    stacklevel=2,
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_history(trainer.history, anew=True)
        self._trainer = trainer

    def needs_weights(self, step: int) -> bool:
        """Tell the trainer which steps are written.

        Args:
            step: Number of an update.

        Returns:
            Whether a checkpoint follows it.
        """
        return step % self._interval == 0

    def on_eval_end(self, step: int, metrics: Record) -> None:
        """Keep the weights if they are the best so far.

        Args:
            step: Number of the update; not looked at.
            metrics: Its record, with ``eval_loss`` in it.
        """
        if metrics["eval_loss"] < self.best_loss:
            self.best_loss = metrics["eval_loss"]
            if self.keep_best and self._trainer is not None:
                save_run(self.folder / BEST, self._trainer, {"eval": metrics})

    def on_step_end(self, step: int, metrics: Record) -> None:
        """Write a checkpoint if it is time.

        Args:
            step: Number of the update.
            metrics: Its record; not looked at.
        """
        if self.needs_weights(step):
            self._save()

    def on_train_end(self, history: list[Record]) -> None:
        """Write where the run ended, however it did.

        Args:
            history: All records; not looked at, the trainer has them.
        """
        if self._trainer is not None and self._trainer.step > max(0, self._saved_step):
            self._save()

    def _save(self) -> None:
        trainer = self._trainer
        if trainer is None:
            raise RuntimeError(
                "Checkpointing was not told of its trainer: pass it among the callbacks"
            )
        self._write_history(trainer.history)
        save_run(self.folder / f"step-{trainer.step:08d}", trainer)
        self._saved_step = trainer.step
        for old in _steps(self.folder)[: -self.keep_last]:
            (old / STATE).unlink()  # from here on it is no checkpoint
            shutil.rmtree(old)

    def _write_history(self, history: list[Record], *, anew: bool = False) -> None:
        start = 0 if anew else self._written
        lines = "".join(json.dumps(record) + "\n" for record in history[start:])
        if anew:
            replace_file(self.folder / HISTORY, lines.encode())
        else:
            with (self.folder / HISTORY).open("a") as stream:
                stream.write(lines)
        self._written = len(history)

    def _read_history(self, step: int) -> list[Record]:
        """Read the records up to a step; a kill may have left more, or half a line."""
        file, records = self.folder / HISTORY, []
        for line in file.read_text().splitlines() if file.exists() else []:
            if not line.endswith("}"):
                break
            record = json.loads(line)
            if record["step"] <= step:
                records.append(record)
        return records


def _steps(folder: Path) -> list[Path]:
    """Find whole checkpoints, by step."""
    return sorted(file.parent for file in folder.glob(f"step-*/{STATE}"))


def _remembering(trainer: Trainer) -> list[tuple[str, Any]]:
    """Name the callbacks that have something to remember."""
    return [
        (f"{number}-{type(callback).__name__}", callback)
        for number, callback in enumerate(trainer.callbacks)
        if hasattr(callback, "state") and hasattr(callback, "restore")
    ]
