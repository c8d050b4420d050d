"""Records of runs: summed up as they come, read back from the disk, exported.

On the disk a record is a line of JSON as Python writes it, with ``NaN`` and
``Infinity``, which only Python reads. Exported JSON holds them as strings.
"""

from collections.abc import Iterable
import csv
from dataclasses import asdict, is_dataclass
import json
import math
from pathlib import Path
import statistics
from typing import Any, Protocol
import warnings

from lmxlab.training.record import Record


class HasHistory(Protocol):
    """What :func:`to_csv` and :func:`to_json` export: a description and records.

    Example:
        >>> from lmxlab.lab.runs import RunStore
        >>> from lmxlab.training.config import TrainConfig
        >>> run: HasHistory = RunStore("off").begin("toy", {"width": 8}, TrainConfig())
        >>> run.about["name"], run.about["settings"], run.history
        ('1 toy', {'width': 8}, [])
    """

    @property
    def about(self) -> dict[str, Any]:
        """Description of the run, with ``id``, ``name`` and anything else."""

    @property
    def history(self) -> list[Record]:
        """One record for each step."""

    def summary(self) -> dict[str, Any]:
        """Return the numbers to compare the run by, such as ``loss``, by name."""


class RunningSummary:
    """The summary of a run, brought up to date with each record.

    Attributes:
        given (dict[str, Any]): Numbers that no record holds: ``traces`` and
            ``peak_memory``.

    Example:
        >>> running = RunningSummary()
        >>> for seconds in (0.5, 0.25, 1.0):
        ...     running.add({"loss": 2.0, "tokens": 8, "step_seconds": seconds})
        >>> running.summary()["tokens_per_second"], running.summary()["seconds"]
        (16.0, 1.75)
    """

    def __init__(self) -> None:
        """Start without records."""
        self.given: dict[str, Any] = {}
        self._steps = self._first_calls = 0
        self._seconds = 0.0
        self._loss: float | None = None
        self._eval_loss: float | None = None
        self._rates: list[float] = []

    def add(self, record: Record) -> None:
        """Take one record in.

        Args:
            record: Has ``loss``, ``tokens`` and ``step_seconds``, and perhaps
                ``eval_loss`` and ``first_call_seconds``.
        """
        self._steps += 1
        self._loss = record.get("loss", self._loss)
        self._eval_loss = record.get("eval_loss", self._eval_loss)
        seconds = record.get("step_seconds", 0.0)
        self._seconds += seconds
        if "first_call_seconds" in record:
            self._first_calls += 1
        elif "tokens" in record:
            self._rates.append(record["tokens"] / max(seconds, 1e-9))

    def summary(self) -> dict[str, Any]:
        """Return the numbers by name, those of :meth:`.KeptRun.summary`."""
        return {
            "loss": self._loss,
            "eval_loss": self._eval_loss,
            "tokens_per_second": statistics.median(self._rates)
            if self._rates
            else None,
            "peak_memory": self.given.get("peak_memory"),
            "seconds": self._seconds,
            "steps": self._steps,
            "traces": self.given.get("traces", self._first_calls),
        }


def plain(value: Any) -> Any:
    """Turn what JSON cannot hold into what it can: fields, numbers, or words.

    It is the ``default`` of ``json.dumps``.

    Args:
        value: Anything.

    Example:
        >>> plain(Path("a")), plain(range(3))
        ('a', 'range(0, 3)')
    """
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def read_history(file: Path) -> list[Record]:
    r"""Read records back; half a line at the end, left by a kill, is passed over.

    Args:
        file: A ``history.jsonl``; one that is not there holds nothing.

    Returns:
        The records. Lines in the middle that are no records are left out, with a
        warning.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "history.jsonl")
        >>> _ = file.write_text('{"step": 1, "loss": NaN}\n{"step": 2, "lo')
        >>> read_history(file)
        [{'step': 1, 'loss': nan}]
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    records, bad = [], 0
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            bad += number < len(lines)
            continue
        if isinstance(record, dict):
            records.append(record)
        else:
            bad += 1
    if bad:
        warnings.warn(f"{file}: {bad} damaged lines are left out", stacklevel=3)
    return records


def to_csv(runs: HasHistory | Iterable[HasHistory], path: str | Path) -> Path:
    """Write the records of one or several runs as a table, a row for each step.

    Args:
        runs: One run, or several.
        path: The file; one that is there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: If there is no run.

    Example:
        >>> import tempfile
        >>> from lmxlab.lab.runs import RunStore
        >>> from lmxlab.training.config import TrainConfig
        >>> run = RunStore("off").begin("toy", {}, TrainConfig())
        >>> run.extend([{"step": 1, "loss": 0.1}])
        >>> print(to_csv(run, tempfile.mkdtemp() + "/toy.csv").read_text().split()[0])
        name,id,step,loss
    """
    rows = [
        {"name": run.about["name"], "id": run.about["id"], **record}
        for run in _several(runs)
        for record in run.history
    ]
    columns = {"name": None, "id": None} | dict.fromkeys(key for r in rows for key in r)
    with Path(path).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(columns))
        writer.writeheader()
        writer.writerows(rows)
    return Path(path)


def to_json(runs: HasHistory | Iterable[HasHistory], path: str | Path) -> Path:
    """Write one or several runs whole, as JSON that any language reads.

    Args:
        runs: One run, or several.
        path: The file; one that is there is replaced.

    Returns:
        The path. ``NaN``, ``Infinity`` and ``-Infinity`` are strings in it.

    Raises:
        ValueError: If there is no run.

    Example:
        >>> import tempfile
        >>> from lmxlab.lab.runs import RunStore
        >>> from lmxlab.training.config import TrainConfig
        >>> run = RunStore("off").begin("toy", {"width": 8}, TrainConfig())
        >>> file = to_json([run], tempfile.mkdtemp() + "/toy.json")
        >>> json.loads(file.read_text())["runs"][0]["settings"]
        {'width': 8}
    """
    content = [
        {**run.about, "summary": run.summary(), "history": run.history}
        for run in _several(runs)
    ]
    text = json.dumps(_strict({"runs": content}), allow_nan=False, indent=1)
    Path(path).write_text(text + "\n", encoding="utf-8")
    return Path(path)


def _several(runs: HasHistory | Iterable[HasHistory]) -> list[HasHistory]:
    found = list(runs) if isinstance(runs, Iterable) else [runs]
    if not found:
        raise ValueError("runs is empty; there is nothing to export")
    return found


def _strict(value: Any) -> Any:
    """Spell out numbers that JSON does not have, and whatever else it cannot hold."""
    if isinstance(value, dict):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    return _strict(plain(value))
