"""The settings of a configuration as a table, from the fields' own declarations."""

import dataclasses
import inspect
import math
from typing import Any

from sphinx.application import Sphinx

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NO_BREAK = "\N{NO-BREAK SPACE}"


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
    lines = [".. list-table::", "   :header-rows: 1", "   :class: lmx-settings", ""]
    for row in [["setting", "default", "legal", "what it is"], *map(_row, known)]:
        lines += [
            f"   {'* -' if not n else '  -'} {cell}" for n, cell in enumerate(row)
        ]
    return ["", *lines, ""]


def _row(field: Any) -> list[str]:
    about = field.metadata
    legal = ", ".join(f"``{choice!r}``" for choice in about["choices"] or ())
    if about["bounds"]:
        legal = interval(*about["bounds"], open_below=about["exclusive_min"])
    live = " Acts on a running model." if about["live"] else ""
    return [
        f"``{field.name}``",
        default_of(field.default),
        legal,
        about["help"] + live,
    ]


def default_of(value: Any) -> str:
    """Return a default; of a nested configuration only its name, which has a table."""
    if dataclasses.is_dataclass(value):
        cls = type(value)
        return f":class:`{cls.__name__}() <{cls.__module__}.{cls.__qualname__}>`"
    return f"``{value!r}``"


def interval(low: float, high: float, *, open_below: bool = False) -> str:
    """Return what lies between two bounds, as a book on mathematics writes it.

    Args:
        low: The smallest legal number; with ``open_below``, the largest that is not.
        high: The largest legal number. An infinite bound is itself not legal.
        open_below: Whether the lower bound is left out.
    """
    begin = "(" if open_below or math.isinf(low) else "["
    end = ")" if math.isinf(high) else "]"
    return f"{begin}{_number(low)},{NO_BREAK}{_number(high)}{end}"


def _number(value: float) -> str:
    """Write a bound as a person would: 2²⁰ rather than 1.04858e+06."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int) and value > 10_000:
        power = (value + 1).bit_length() - 1
        for less, said in ((0, ""), (1, f"{NO_BREAK}−{NO_BREAK}1")):
            if value == 2**power - less:
                return f"2{str(power).translate(RAISED)}{said}"
        return f"{value:,}"
    digits, _, power = f"{value:g}".partition("e")
    if power:
        ten = f"10{str(int(power)).translate(RAISED)}"
        return ten if digits == "1" else f"{digits} × {ten}"
    return digits.replace("-", "−")


def add_table(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Put the table at the end of a class's description."""
    if what == "class" and inspect.isclass(obj):
        lines += table_of(obj)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after napoleon has read the sections."""
    app.connect("autodoc-process-docstring", add_table, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
