"""The exercises of notebook 09: patience, the best step, a file that is never half."""

import builtins
from collections.abc import Sequence
import io
import math  # noqa: F401 - for the solutions, as in the notebook
import os
from pathlib import Path
import tempfile
from typing import Any
from unittest import mock

from lmxlab.lab.exercises import Exercise, checker
from lmxlab.training.callbacks import EarlyStopping


def _stops_at(losses: Sequence[float], patience: int, min_delta: float) -> int:
    """After which evaluation the library stops, or their number if it does not."""
    stopper = EarlyStopping(patience, min_delta)
    for number, loss in enumerate(losses, start=1):
        stopper.on_eval_end(number, {"eval_loss": loss})
        if stopper.should_stop:
            return number
    return len(losses)


@checker
def check_patience(answer: Any) -> str | None:
    """Grade ``stop_at(losses, patience, min_delta)``, a number of evaluations.

    Args:
        answer: The learner's function ``stop_at``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    falling = [3.0, 2.0, 1.0]
    if answer(falling, 2, 0.0) != 3:
        return "A loss that falls each time never stops the run: the answer is 3 of 3."
    bumpy = [3.0, 2.0, 2.5, 2.4, 2.3, 2.2]
    if answer(bumpy, 3, 0.0) == 6:
        return (
            "2.4 is lower than 2.5, but not than the best, 2.0: compare with the "
            "lowest loss so far, not with the one before."
        )
    if answer(bumpy, 3, 0.0) == 4:
        return "After 3 evaluations without improvement, not after 2: count from 1."
    if answer(bumpy, 3, 0.0) != 5:
        return "The best is the 2nd, and 3 without improvement follow: stop at the 5th."
    recovers = [3.0, 3.1, 2.0, 2.1, 2.2, 2.3]
    if answer(recovers, 2, 0.0) == 4:
        return "An improvement sets the count back to 0: the 3rd one did."
    if answer(recovers, 2, 0.0) != 5:
        return "The best is the 3rd, and 2 without improvement follow: stop at the 5th."
    slow = [1.0, 0.995, 0.990, 0.985]
    if answer(slow, 2, 0.01) == 4 and _stops_at(slow, 2, 0.01) == 3:
        return "Falls of less than min_delta do not count as an improvement."
    for losses, patience, min_delta in ((slow, 1, 0.01), ([1.0] * 4, 3, 0.0)):
        right = _stops_at(losses, patience, min_delta)
        if answer(losses, patience, min_delta) != right:
            return (
                f"With losses {losses}, patience {patience} and min_delta {min_delta} "
                f"the run stops at {right}: an equal loss is no improvement."
            )
    return None


PATIENCE = Exercise(
    title="Patience",
    difficulty="medium",
    minutes=8,
    question=(
        "Write `stop_at(losses, patience, min_delta)`: after how many evaluations does "
        "a run stop? An evaluation improves if its loss is more than `min_delta` below "
        "the best so far; after `patience` in a row without improvement it is over. If "
        "that never happens, return how many there are."
    ),
    stub="def stop_at(losses, patience, min_delta): ...",
    check=check_patience,
    hint=(
        "Keep two numbers: the best loss, and how many evaluations have passed since. "
        "One of them changes at each evaluation."
    ),
    solution="""
        def stop_at(losses, patience, min_delta):
            best, waited = math.inf, 0
            for number, loss in enumerate(losses, start=1):
                if loss < best - min_delta:
                    best, waited = loss, 0
                else:
                    waited += 1
                if waited >= patience:
                    return number
            return len(losses)
    """,
    mistakes={
        "not with the one before": """
            def stop_at(losses, patience, min_delta):
                before, waited = math.inf, 0
                for number, loss in enumerate(losses, start=1):
                    waited = 0 if loss < before - min_delta else waited + 1
                    before = loss
                    if waited >= patience:
                        return number
                return len(losses)
        """,
        "count from 1": lambda losses, patience, min_delta: _stops_at(
            losses, patience - 1, min_delta
        ),
        "sets the count back to 0": """
            def stop_at(losses, patience, min_delta):
                best, waited = math.inf, 0
                for number, loss in enumerate(losses, start=1):
                    if loss < best - min_delta:
                        best = loss
                    else:
                        waited += 1
                    if waited >= patience:
                        return number
                return len(losses)
        """,
        "less than min_delta": lambda losses, patience, min_delta: _stops_at(
            losses, patience, 0.0
        ),
        "falls each time": lambda losses, patience, min_delta: 1,
    },
)


@checker
def check_best(answer: Any) -> str | None:
    """Grade a callback ``Best`` with ``loss`` and ``step`` of the best evaluation.

    Args:
        answer: The learner's class ``Best``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    best = answer()
    if not hasattr(best, "on_eval_end"):
        return "An evaluation calls on_eval_end(step, metrics): give the class one."
    for step, loss in ((20, 2.0), (40, 1.0), (60, 1.5)):
        best.on_eval_end(step, {"loss": 3.0 - step / 100, "eval_loss": loss})
    if best.loss == 1.5:
        return "That is the last evaluation's loss: keep it only if it is lower."
    if best.loss in (2.4, 2.6, 2.8):
        return 'metrics["loss"] is of the training batch; "eval_loss" is what to keep.'
    if best.loss != 1.0:
        return f"Of 2.0, 1.0 and 1.5 the lowest is 1.0; loss is {best.loss!r}."
    if best.step != 40:
        return f"The lowest came at step 40; step is {best.step!r}."
    other = answer()
    other.on_eval_end(20, {"loss": 9.0, "eval_loss": 8.0})
    if (other.loss, other.step) != (8.0, 20):
        return "A second one begins with what the first has seen: set loss in __init__."
    return None


BEST = Exercise(
    title="The best step",
    difficulty="easy",
    minutes=5,
    question=(
        "Write a callback `Best` with two attributes: `loss`, the lowest evaluation "
        "loss so far, and `step`, when it was."
    ),
    stub="Best = ...  # a class",
    check=check_best,
    hint=(
        "The trainer calls `on_eval_end(self, step, metrics)` after each evaluation. "
        "Begin with a loss that anything is below."
    ),
    solution="""
        class Best:
            def __init__(self):
                self.loss, self.step = math.inf, 0

            def on_eval_end(self, step, metrics):
                if metrics["eval_loss"] < self.loss:
                    self.loss, self.step = metrics["eval_loss"], step
    """,
    mistakes={
        "on_eval_end(step, metrics)": """
            class Best:
                loss, step = math.inf, 0

                def on_step_end(self, step, metrics):
                    self.loss, self.step = metrics["loss"], step
        """,
        "last evaluation's loss": """
            class Best:
                def on_eval_end(self, step, metrics):
                    self.loss, self.step = metrics["eval_loss"], step
        """,
        "is of the training batch": """
            class Best:
                loss, step = math.inf, 0

                def on_eval_end(self, step, metrics):
                    if metrics["loss"] < self.loss:
                        self.loss, self.step = metrics["loss"], step
        """,
        "came at step 40": """
            class Best:
                loss, step = math.inf, 0

                def on_eval_end(self, step, metrics):
                    self.loss, self.step = min(self.loss, metrics["eval_loss"]), step
        """,
        "with what the first has seen": """
            class Best:
                def on_eval_end(self, step, metrics):
                    if metrics["eval_loss"] < getattr(Best, "loss", math.inf):
                        Best.loss, Best.step = metrics["eval_loss"], step
        """,
    },
)


class _Disk:
    """Watches how a file is written: what its name shows at every moment."""

    def __init__(self, path: Path) -> None:
        self.path, self.old = path, path.read_bytes()
        self.half = False  # whether the name ever showed neither the old nor the new
        self.flushed = self.replaced = self.elsewhere = False
        self._replace, self._rename, self._fsync = os.replace, os.rename, os.fsync
        self._open = builtins.open

    def fsync(self, file: Any) -> None:
        """Note it; flushing is not what takes the time in an exercise."""
        self.flushed = True
        self._fsync(file)

    def replace(self, source: Any, target: Any, **options: Any) -> None:
        """Note it, and whether it stays within one folder."""
        self.replaced = Path(target) == self.path
        self.elsewhere = Path(source).parent != self.path.parent
        if self.path.read_bytes() != self.old:
            self.half = True
        self._replace(source, target, **options)

    def open(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        """Note when the file itself is opened to be written."""
        name = Path(file) if isinstance(file, (str, os.PathLike)) else None
        if name == self.path and set(mode) & set("wax+"):
            self.half = True
        return self._open(file, mode, *args, **options)


@checker
def check_replace(answer: Any) -> str | None:
    """Grade ``replace(path, data)``: the new bytes or the old ones, at any moment.

    Args:
        answer: The learner's function ``replace``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.bin"
        path.write_bytes(b"old")
        disk = _Disk(path)
        with (
            mock.patch("os.replace", disk.replace),
            mock.patch("os.rename", disk.replace),
            mock.patch("os.fsync", disk.fsync),
            mock.patch("builtins.open", disk.open),
            mock.patch.object(io, "open", disk.open),
        ):
            answer(path, b"new weights")
        if not path.exists() or path.read_bytes() != b"new weights":
            return "After the call, the file under `path` must hold the new bytes."
        if disk.half or not disk.replaced:
            return (
                "You write into the file itself: a kill half-way leaves half of it. "
                "Write another file, then put it in its place with os.replace."
            )
        if disk.elsewhere:
            return (
                "The other file lies in another folder, perhaps on another disk, where "
                "os.replace cannot be one step: put it beside the first."
            )
        left = sorted(p.name for p in Path(folder).iterdir() if p != path)
        if left:
            return f"{left[0]} is left behind: replace it, do not copy it."
        if not disk.flushed:
            return (
                "A power cut may lose bytes that the system still holds: flush them to "
                "the disk with os.fsync before you replace."
            )
    return None


REPLACE = Exercise(
    title="Old or new, never half",
    difficulty="hard",
    minutes=10,
    question=(
        "Write `replace(path, data)`, which puts bytes into a file that is there "
        "already, a `Path`. A kill or a power cut at any moment must leave the old "
        "bytes or the new ones. Return `path`."
    ),
    stub="def replace(path, data): ...",
    check=check_replace,
    hint=(
        "`os.replace(draft, path)` is one step for everybody who looks. All that can "
        "be interrupted happens before, in another file beside it. "
        "`os.fsync(file.fileno())` waits until the disk has it."
    ),
    solution="""
        def replace(path, data):
            draft = path.with_suffix(".draft")
            with open(draft, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
            return path
    """,
    mistakes={
        "a kill half-way leaves half": """
            def replace(path, data):
                path.write_bytes(data)
                return path
        """,
        "must hold the new bytes": lambda path, data: path,
        "in another folder": """
            def replace(path, data):
                draft = Path(tempfile.mkdtemp()) / "draft"
                draft.write_bytes(data)
                os.replace(draft, path)
                return path
        """,
        "os.fsync before you replace": """
            def replace(path, data):
                draft = path.with_suffix(".draft")
                draft.write_bytes(data)
                os.replace(draft, path)
                return path
        """,
        "is left behind": """
            def replace(path, data):
                for name in ("a.draft", "b.draft"):
                    path.with_name(name).write_bytes(data)
                os.replace(path.with_name("a.draft"), path)
                return path
        """,
    },
)

EXERCISES = (BEST, PATIENCE, REPLACE)
