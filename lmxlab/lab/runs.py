"""Runs that stay: a folder for each, found again when the kernel has long gone.

    runs/20260314-150926-3f9a1c/run.json        what it was: settings, versions, state
    runs/20260314-150926-3f9a1c/history.jsonl   one record a line, as they came

They lie in the folder that ``RunStore`` is given, else in the one that the environment
variable ``LMXLAB_RUNS`` names, else in ``runs`` where the kernel runs. ``off`` keeps
them in memory only; so does, after one warning, a folder that cannot be written.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
import errno
from importlib.metadata import version
from itertools import count
import json
import os
from pathlib import Path
import platform
import re
import secrets
from typing import Any
import warnings

import lmxlab
from lmxlab import runtime
from lmxlab.lab.code import Recipe
from lmxlab.lab.kept import ABOUT, BY_ANYONE, HISTORY, KeptRun, read_about
from lmxlab.lab.records import plain
from lmxlab.training.config import TrainConfig
from lmxlab.training.files import replace_file

NAME_OF_A_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


class RunStore:
    """A folder of runs.

    Args:
        folder: Where they lie; ``off`` keeps them in memory only. By default what
            ``LMXLAB_RUNS`` says, else ``runs``. It is made when the first run begins.

    Attributes:
        folder (pathlib.Path | None): The folder; None for memory only.
        trouble (str | None): A sentence that says why runs are not being kept.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> run = RunStore(folder).begin("toy", {"width": 8}, TrainConfig())
        >>> run.extend([{"step": 1, "loss": 2.5, "tokens": 8, "step_seconds": 0.5}])
        >>> [(run.name, run.history[0]["loss"]) for run in RunStore(folder).runs()]
        [('1 toy', 2.5)]
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        """Choose the folder; nothing is read or written yet."""
        name = os.fspath(folder or os.environ.get("LMXLAB_RUNS") or "runs")
        self.folder = None if name == "off" else Path(name).expanduser().absolute()
        self.trouble: str | None = None
        self._known: dict[str, KeptRun] = {}
        self._damaged: set[str] = set()
        self._stamps: dict[str, tuple[int, int, int]] = {}

    def begin(
        self,
        experiment: str,
        settings: Mapping[str, Any],
        config: TrainConfig,
        *,
        name: str | None = None,
        recipe: Recipe | None = None,
    ) -> KeptRun:
        """Begin to keep a run.

        Args:
            experiment: The experiment's name.
            settings: What it was called with.
            config: The run's training config.
            name: What to call it; by default a number and the experiment's name.
            recipe: How to do it again, see :mod:`lmxlab.lab.code`.

        Returns:
            The run, kept on the disk if that can be.
        """
        earlier = self.runs(experiment)
        if name is None:
            taken = {run.name for run in earlier}
            numbers = count(len(earlier) + 1)
            names = (f"{number} {experiment}" for number in numbers)
            name = next(free for free in names if free not in taken)
        about = {
            "id": "",
            "name": name,
            "experiment": experiment,
            "created": datetime.now().astimezone().isoformat(),
            "state": "running",
            "pinned": False,
            "settings": dict(settings),
            "config": asdict(config),
            "changes": [],
            "versions": {
                "lmxlab": lmxlab.__version__,
                "mlx": version("mlx"),
                "python": platform.python_version(),
            },
            "device": runtime.device_name(),
            "process": [platform.node(), os.getpid()],
            "code": None if recipe is None else asdict(recipe),
        }
        run = KeptRun(about, on_error=self._keep_in_memory)
        self._place(run)
        self._known[run.id] = run
        return run

    def _place(self, run: KeptRun) -> None:
        """Give a run an ID and, if that can be, a folder."""
        while True:
            run.about["id"] = f"{_now()}-{secrets.token_hex(3)}"
            if self.folder is None or self.trouble is not None:
                return
            folder = self.folder / run.id
            try:
                _make(self.folder)
                folder.mkdir()
                content = json.dumps(run.about, default=plain, indent=1)
                replace_file(folder / ABOUT, content.encode())
            except FileExistsError:  # another kernel was as quick
                continue
            except OSError as error:
                self._keep_in_memory(run, error)
                return
            run.folder = folder
            return

    def _keep_in_memory(self, run: KeptRun, error: OSError) -> None:
        run.folder = None
        if self.trouble is None:
            self.trouble = (
                f"runs cannot be kept in {self.folder}: {error.strerror or error}. "
                "They stay in memory until the kernel ends; set LMXLAB_RUNS to a "
                "folder that can be written, or free some space, and make a new panel"
            )
            warnings.warn(self.trouble, stacklevel=4)

    # --------------------------------------------------------------------- those kept

    def runs(self, experiment: str | None = None) -> list[KeptRun]:
        """Find the runs, the oldest first, those of earlier sessions included.

        Args:
            experiment: Only those of one experiment.

        Returns:
            The runs; asked again, the same objects. A damaged one is left out, and
            named once in a warning.
        """
        found = {name: run for name, run in self._known.items() if run.folder is None}
        damaged = set()
        for folder in self._folders():
            known = self._known.get(folder.name)
            if known is not None and known.folder is None:
                continue  # what could not be written whole is whole in memory
            try:
                about = self._about(folder, known)
            except FileNotFoundError:
                if (folder / HISTORY).exists():  # else it is just being made
                    damaged.add(folder.name)
                continue
            except (ValueError, OSError):
                damaged.add(folder.name)
                continue
            if known is None:
                known = KeptRun(about, folder)
            elif not known.is_own:
                known.about = about
            else:  # ours; another kernel may only have named or pinned it
                known.about |= {key: about[key] for key in BY_ANYONE}
            found[folder.name] = known
        oldest_first = sorted(found.values(), key=lambda r: (r.about["created"], r.id))
        self._known = {run.id: run for run in oldest_first}
        if damaged - self._damaged:
            names = ", ".join(sorted(damaged - self._damaged))
            self._damaged |= damaged
            warnings.warn(
                f"damaged runs in {self.folder} are left out: {names}", stacklevel=2
            )
        runs = list(self._known.values())
        return [r for r in runs if experiment in (None, r.about["experiment"])]

    def _about(self, folder: Path, known: KeptRun | None) -> dict[str, Any]:
        """Read what a run says of itself, if that was written anew since last time."""
        status = (folder / ABOUT).stat()
        stamp = status.st_ino, status.st_mtime_ns, status.st_size
        if known is not None and self._stamps.get(folder.name) == stamp:
            return known.about
        about = read_about(folder)
        self._stamps[folder.name] = stamp
        return about

    def _folders(self) -> list[Path]:
        if self.folder is None or not self.folder.is_dir():
            return []
        with os.scandir(self.folder) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if NAME_OF_A_RUN.fullmatch(entry.name)
                and entry.is_dir(follow_symlinks=False)
            ]

    def find(self, run: KeptRun | str) -> KeptRun:
        """Find a run of this store.

        Args:
            run: The run, or its ID.

        Raises:
            ValueError: If there is none.
        """
        wanted = run if isinstance(run, str) else run.id
        for kept in self.runs():
            if kept.id == wanted:
                return kept
        raise ValueError(f"there is no run {wanted!r} in {self.folder or 'memory'}")

    def rename(self, run: KeptRun | str, name: str) -> None:
        """Give a run another name.

        Args:
            run: The run, or its ID.
            name: The new name.

        Raises:
            ValueError: If the name is empty, or there is no such run.
        """
        if not name.strip():
            raise ValueError("name is empty; a run needs one")
        self.find(run).save(name=name.strip())

    def pin(self, run: KeptRun | str, pinned: bool = True) -> None:
        """Lay a run over the plots of others, or no longer.

        Args:
            run: The run, or its ID.
            pinned: Whether it is laid over them.
        """
        self.find(run).save(pinned=pinned)

    def unpin(self, run: KeptRun | str) -> None:
        """Lay a run over other plots no longer.

        Args:
            run: The run, or its ID.
        """
        self.pin(run, pinned=False)

    def remove(self, run: KeptRun | str) -> None:
        """Delete a run's two files, and its folder if nothing else is in it.

        One that is still being trained goes on, unkept.

        Args:
            run: The run, or its ID.

        Raises:
            ValueError: If there is no such run.
        """
        kept = self.find(run)  # so only a folder that runs() recognised as a run
        folder, kept.folder = kept.folder, None
        del self._known[kept.id]
        if folder is None:
            return
        for name in (ABOUT, HISTORY, f"{ABOUT}.partial"):
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _now() -> str:
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def _make(folder: Path) -> None:
    """Make the store's folder; one that we made is kept out of git."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file") from None
        return
    (folder / ".gitignore").write_text("*\n")
