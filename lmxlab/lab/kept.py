"""One kept run: what it was, which changes rarely, and records, which stream in."""

from collections.abc import Callable, Sequence
import json
import os
from pathlib import Path
import platform
import time
from typing import Any

from lmxlab.lab.code import Recipe
from lmxlab.lab.records import RunningSummary, plain, read_history
from lmxlab.training.files import replace_file
from lmxlab.training.record import Record

ABOUT, HISTORY = "run.json", "history.jsonl"
BY_ANYONE = ("name", "pinned")  # what another kernel may change meanwhile
NEEDED = {"id", "created", "experiment", "settings", "state", "changes", *BY_ANYONE}
SAVE_SECONDS = 1.0  # between two rewritings of run.json while knobs are being turned
_encode = json.JSONEncoder(default=plain).encode  # json.dumps builds one for each call


class KeptRun:
    """One run: what it was, and its history. ``RunStore`` makes and finds them.

    Args:
        about: The contents of ``run.json``.
        folder: Folder that it lies in; None if it is only in memory.
        on_error: What to do when a run that is being trained here cannot be written;
            None for a run that another session began.

    Attributes:
        about (dict[str, Any]): The contents of ``run.json``.
        folder (pathlib.Path | None): Where it lies; None since it could not be written.
        is_own (bool): Whether it was begun here, and so may grow.

    Example:
        >>> from lmxlab.lab.runs import RunStore
        >>> from lmxlab.training.config import TrainConfig
        >>> run = RunStore("off").begin("toy", {"width": 8}, TrainConfig())
        >>> run.extend([{"step": 1, "loss": 2.5, "tokens": 8, "step_seconds": 0.5}])
        >>> run.finish("done")
        >>> run.name, run.state, run.summary()["tokens_per_second"]
        ('1 toy', 'done', 16.0)
    """

    def __init__(
        self,
        about: dict[str, Any],
        folder: Path | None = None,
        on_error: Callable[["KeptRun", OSError], None] | None = None,
    ) -> None:
        """Take the contents; nothing is read or written yet."""
        self.about = about
        self.folder = folder
        self.is_own = on_error is not None
        self._on_error = on_error
        # None: they are on the disk.
        self._records: Sequence[Record] | None = [] if self.is_own else None
        self._written = 0
        self._tally = RunningSummary()
        self._tallied = -1
        self._unsaved = False
        self._saved = 0.0

    @property
    def id(self) -> str:
        """The run's ID, the name of its folder."""
        return str(self.about["id"])

    @property
    def name(self) -> str:
        """What the learner calls it."""
        return str(self.about["name"])

    @property
    def pinned(self) -> bool:
        """Whether it is laid over the plots of other runs."""
        return bool(self.about["pinned"])

    @property
    def settings(self) -> dict[str, Any]:
        """The experiment's settings; what JSON cannot hold is words."""
        return dict(self.about["settings"])

    @property
    def changes(self) -> list[tuple[int, str, float]]:
        """Live knobs that were turned: after which step, which, to what."""
        return [(step, name, value) for step, name, value in self.about["changes"]]

    @property
    def state(self) -> str:
        """``running``, or how it ended; ``cut off`` if its kernel died meanwhile."""
        state = str(self.about["state"])
        return "cut off" if state == "running" and not self._is_alive() else state

    @property
    def history(self) -> list[Record]:
        """One record for each step, read from the disk each time it is asked for."""
        if self._records is not None:
            return list(self._records)
        return [] if self.folder is None else read_history(self.folder / HISTORY)

    def summary(self) -> dict[str, Any]:
        """Return the numbers to compare it by; None where there is none.

        Returns:
            ``loss`` and ``eval_loss`` (the last ones), ``tokens_per_second``
            (median, first calls left out), ``peak_memory`` (MiB), ``seconds`` (of
            training, first calls included), ``steps``, and ``traces``.
        """
        kept: dict[str, Any] | None = self.about.get("summary")
        if self.is_own or (kept is None and self.folder is None):
            return self._tally.summary()
        if kept is not None and self.about["state"] != "running":
            return dict(kept)
        file = self.folder / HISTORY if self.folder else None
        size = file.stat().st_size if file and file.exists() else 0
        if self._tallied != size:  # it goes on elsewhere, or was cut off
            self._tally, self._tallied = RunningSummary(), size
            for record in self.history:
                self._tally.add(record)
            self._tally.given = kept or {}
        return self._tally.summary()

    def script(self) -> str:
        """Return a Python script that does this run again.

        Raises:
            ValueError: If the run was begun without a recipe.
        """
        if not self.about.get("code"):
            raise ValueError(f"{self.name!r} was kept without the experiment's code")
        recipe = Recipe(**self.about["code"])
        return recipe.script(self.summary()["steps"] or None, self.changes)

    # ------------------------------------------------------------------- while it runs

    def extend(
        self,
        records: Sequence[Record],
        *,
        traces: int | None = None,
        peak_memory: float | None = None,
    ) -> None:
        """Take in what is new in a history; cheap enough for every status refresh.

        Args:
            records: The whole history so far, e.g. ``trainer.history``.
            traces: Times that Python entered the step; by default, first calls.
            peak_memory: Most memory that the run has used so far, in MiB.

        Raises:
            ValueError: If the run was begun elsewhere, or the history is shorter than
                it was.
        """
        if not self.is_own:
            raise ValueError(f"{self.name!r} was begun elsewhere; begin a new run")
        if len(records) < self._written:
            raise ValueError(
                f"records must be the whole history: {self._written} records are kept, "
                f"got {len(records)}"
            )
        given = {"traces": traces, "peak_memory": peak_memory}
        self._tally.given |= {k: v for k, v in given.items() if v is not None}
        new = records[self._written :]
        if new:
            lines = "".join(_encode(record) + "\n" for record in new)
            self._records = records
            self._write(lines)
            self._written = len(records)
            for record in new:
                self._tally.add(record)
        if self._unsaved and time.monotonic() - self._saved > SAVE_SECONDS:
            self.save(changes=self.about["changes"], summary=self.summary())

    def change(self, step: int, setting: str, value: float) -> None:
        """Note that a live setting was changed.

        Args:
            step: Updates done (or queued) before the first one that it acts on.
            setting: Its name.
            value: Its new value.
        """
        self.about["changes"].append([step, setting, value])
        self._unsaved = True

    def finish(self, state: str) -> None:
        """Note how it ended; the history is read from the disk from now on.

        Args:
            state: ``done``, ``stopped`` or ``failed``.
        """
        changes = self.about["changes"]
        self.save(state=state, changes=changes, summary=self.summary())
        if self.folder is not None:
            self._records = None

    def _write(self, lines: str) -> None:
        if self.folder is None:
            return
        try:
            with (self.folder / HISTORY).open("a", encoding="utf-8") as stream:
                stream.write(lines)
        except OSError as error:
            self._failed(error)

    def save(self, **changed: Any) -> None:
        """Write some entries; others may have been changed by another kernel.

        Args:
            **changed: Entries of ``run.json``.

        Raises:
            OSError: If a run that was begun elsewhere cannot be written.
        """
        if self.folder is not None:
            try:
                now = read_about(self.folder)
                if self.is_own:  # all but these is newer here
                    now = self.about | {key: now[key] for key in BY_ANYONE}
                self.about = now | changed
                content = json.dumps(self.about, default=plain, indent=1)
                replace_file(self.folder / ABOUT, content.encode())
            except OSError as error:
                self._failed(error)
        self.about |= changed
        self._unsaved, self._saved = False, time.monotonic()

    def _failed(self, error: OSError) -> None:
        if self._on_error is None:
            raise error
        self._on_error(self, error)

    def _is_alive(self) -> bool:
        computer, process = self.about.get("process", (None, 0))
        if computer != platform.node():
            return True  # nobody here can know
        try:
            os.kill(process, 0)  # asks, and sends nothing
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def __repr__(self) -> str:
        """Say which run this is."""
        return f"<{self.name}: {self.state}, {self.summary()['steps']} steps>"


def read_about(folder: Path) -> dict[str, Any]:
    """Read a ``run.json``.

    Args:
        folder: The folder of a run.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or belongs to another folder.

    Example:
        >>> read_about(Path("nowhere"))
        Traceback (most recent call last):
            ...
        FileNotFoundError: [Errno 2] No such file or directory: 'nowhere/run.json'
    """
    file = folder / ABOUT
    about = json.loads(file.read_bytes())
    if not isinstance(about, dict) or not about.keys() >= NEEDED:
        raise ValueError(f"{file} lacks entries")
    if about["id"] != folder.name:
        raise ValueError(f"{file} belongs to the run {about['id']}")
    return about
