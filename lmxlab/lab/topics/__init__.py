"""The exercises of each notebook, and how they get into it.

A module here bears a notebook's name without its number (``dpo`` for ``04_dpo.ipynb``)
and lists its exercises in ``EXERCISES``. The section "Exercises" is made from
that list: edit the module, then run ``python -m lmxlab.lab.exercises
notebooks/04_dpo.ipynb``.
"""

import argparse
from collections.abc import Iterator, Sequence
import importlib
from itertools import zip_longest
import json
from pathlib import Path
import pkgutil
import re
from typing import Any

from lmxlab.lab.exercises import Cell, Exercise

HEADING = "## Exercises"
INTRODUCTION = "Replace the `...`, run the cell, then run the check below it."

_ROLES = ("heading and question", "stub", "check", "hint and solution")


def topics() -> dict[str, tuple[Exercise, ...]]:
    """Return the exercises of every topic, by the topic's name.

    Returns:
        Topic to its exercises, in their order.

    Example:
        >>> [exercise.minutes for exercise in topics()["start_here"]]
        [3, 2, 5]
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {
        name: tuple(importlib.import_module(f"{__name__}.{name}").EXERCISES)
        for name in names
    }


def exercises_of(notebook: str | Path) -> tuple[Exercise, ...]:
    """Return the exercises of one notebook.

    Args:
        notebook: Its path or name, such as ``"notebooks/04_dpo.ipynb"``.

    Returns:
        Its exercises, in their order.

    Raises:
        LookupError: If there is no module for it here.

    Example:
        >>> exercises_of("01_compiled_step.ipynb")[2].title
        'Buckets'
    """
    topic = re.sub(r"^\d+_", "", Path(notebook).stem)
    known = topics()
    if topic not in known:
        raise LookupError(
            f"{Path(notebook).name} has no exercises: write "
            f"lmxlab/lab/topics/{topic}.py with a list EXERCISES "
            f"(there are {', '.join(known)})"
        )
    return known[topic]


def section(exercises: Sequence[Exercise]) -> list[Cell]:
    """Make the cells of the section "Exercises".

    Args:
        exercises: The exercises, in the order of the notebook.

    Returns:
        The heading and four cells for each exercise, the first in the heading's cell.

    Example:
        >>> len(section(exercises_of("00_start_here")))
        12
    """
    cells = [
        cell
        for number, exercise in enumerate(exercises, start=1)
        for cell in exercise.cells(number)
    ]
    opening = f"{HEADING}\n\n{INTRODUCTION}\n\n{cells[0].source}"
    return [Cell("markdown", opening), *cells[1:]]


def differences(
    notebook: dict[str, Any], exercises: Sequence[Exercise]
) -> Iterator[str]:
    """Say where a notebook's exercises are not what their source makes of them.

    Args:
        notebook: The notebook as plain JSON.
        exercises: Those that it should have.

    Returns:
        A sentence for each difference; none if there is none.

    Example:
        >>> list(differences({"cells": []}, exercises_of("00_start_here")))
        ["no cell starts with '## Exercises'"]
    """
    span = _span(notebook["cells"])
    if span is None:
        yield f"no cell starts with {HEADING!r}"
        return
    found = [
        Cell(cell["cell_type"], _source(cell))
        for cell in notebook["cells"][span.start : span.stop]
    ]
    for place, (is_, should) in enumerate(zip_longest(found, section(exercises))):
        if is_ != should:
            number, role = divmod(place, len(_ROLES))
            problem = "is missing" if is_ is None else "is not what its source makes"
            yield (
                f"cell {span.start + place} is left over"
                if should is None
                else f"exercise {number + 1}: the {_ROLES[role]} {problem}"
            )


def rewrite(path: str | Path, exercises: Sequence[Exercise] | None = None) -> bool:
    """Write a notebook's exercises anew from their source; all else stays.

    A cell that was there keeps its id; a new one gets an id that says what it is.

    Args:
        path: The notebook.
        exercises: Those that it should have; None finds them by its name.

    Returns:
        Whether anything changed.

    Raises:
        LookupError: If no exercises are known for it.
        ValueError: If it has no section to write them into.

    Example:
        >>> rewrite("nowhere/99_nothing.ipynb")
        Traceback (most recent call last):
        LookupError: 99_nothing.ipynb has no exercises: write ...
    """
    path = Path(path)
    if exercises is None:
        exercises = exercises_of(path)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    if not list(differences(notebook, exercises)):
        return False
    span = _span(cells)
    if span is None:
        raise ValueError(f"{path}: no cell starts with {HEADING!r}; add one there")
    old = cells[span.start : span.stop]
    taken = {cell.get("id") for cell in cells}
    new = []
    for place, cell in enumerate(section(exercises)):
        before = old[place] if place < len(old) else {}
        if before.get("cell_type") == cell.cell_type:
            kept = {"id": before["id"], "metadata": before["metadata"]}
        else:
            kept = {"id": _free_id(place, taken), "metadata": {}}
        taken.add(kept["id"])
        new.append(_as_json(cell, kept))
    cells[span.start : span.stop] = new
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the notebooks named on the command line.

    Args:
        arguments: Their paths; None reads them from the command line.

    Example:
        >>> main([])
    """
    parser = argparse.ArgumentParser(
        prog="python -m lmxlab.lab.exercises",
        description="Write the exercises of notebooks anew from lmxlab/lab/topics.",
    )
    parser.add_argument("notebooks", nargs="*", type=Path)
    for path in parser.parse_args(arguments).notebooks:
        try:
            print(f"{path}: {'rewritten' if rewrite(path) else 'up to date'}")
        except (LookupError, ValueError, OSError) as error:
            parser.error(str(error))


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _span(cells: list[dict[str, Any]]) -> range | None:
    """The cells of the section: from its heading to the next one of its level."""
    starts = [n for n, cell in enumerate(cells) if _source(cell).startswith("## ")]
    for place, start in enumerate(starts):
        if _source(cells[start]).splitlines()[0].rstrip() == HEADING:
            return range(start, [*starts, len(cells)][place + 1])
    return None


def _free_id(place: int, taken: set[Any]) -> str:
    number, role = divmod(place, len(_ROLES))
    name = f"exercise-{number + 1}-{_ROLES[role].split()[0]}"
    return name if name not in taken else _free_id(place + len(_ROLES), taken)


def _as_json(cell: Cell, kept: dict[str, Any]) -> dict[str, Any]:
    """A cell as Jupyter writes it: sorted keys, lines that keep their ends."""
    lines = cell.source.splitlines(keepends=True)
    whole: dict[str, Any] = {"cell_type": cell.cell_type, **kept, "source": lines}
    if cell.cell_type == "code":
        whole |= {"execution_count": None, "outputs": []}
    return dict(sorted(whole.items()))
