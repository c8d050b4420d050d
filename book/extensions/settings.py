"""The settings of a configuration as a table, from the fields' own declarations."""

import dataclasses
import inspect
from typing import Any

from sphinx.application import Sphinx


def table_of(cls: type) -> list[str]:
    """Return the rows for a dataclass whose fields say what they are for.

    Args:
        cls: Any class; one without such fields has no table.

    Returns:
        Lines of reStructuredText.
    """
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    known = [field for field in fields if "help" in field.metadata]
    if not known:
        return []
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [["setting", "default", "legal", "what it is"], *map(_row, known)]:
        lines += [
            f"   {'* -' if not n else '  -'} {cell}" for n, cell in enumerate(row)
        ]
    return ["", *lines, ""]


def _row(field: Any) -> list[str]:
    about = field.metadata
    legal = ", ".join(f"``{choice}``" for choice in about["choices"] or ())
    if about["bounds"]:
        low, high = map(_number, about["bounds"])
        legal = f"{'(' if about['exclusive_min'] else '['}{low}, {high}]"
    live = " Acts on a running model." if about["live"] else ""
    return [f"``{field.name}``", f"``{field.default!r}``", legal, about["help"] + live]


def _number(value: float) -> str:
    """Write a bound as a person would: 2**20 rather than 1.04858e+06."""
    if isinstance(value, int) and value > 10_000:
        power = value.bit_length() - 1
        near = {2**power: "", 2 ** (power + 1) - 1: " - 1"}
        if value in near:
            return f"2**{power + bool(near[value])}{near[value]}"
        return f"{value:,}"
    return f"{value:g}"


def add_table(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Put the table at the end of a class's description."""
    if what == "class" and inspect.isclass(obj):
        lines += table_of(obj)


def silence_tuples(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Leave out what Python itself writes about the fields of a named tuple."""
    if lines and lines[0].startswith("Alias for field number"):
        lines[:] = []


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after napoleon has read the sections."""
    app.connect("autodoc-process-docstring", add_table, priority=600)
    app.connect("autodoc-process-docstring", silence_tuples, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
