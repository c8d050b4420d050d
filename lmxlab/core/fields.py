"""Dataclass fields that describe themselves, checked in one place.

A setting is declared once, with its help text, its range or its choices, and how a
slider should step through it. The same declaration then checks values on construction
(:func:`validate`), draws the sliders of the lab, names the command line flags and fills
the tables of the book.

Left out on purpose: conversion. A wrong value is an error that says what was expected;
it is never silently turned into something else.
"""

from collections.abc import Sequence
import dataclasses
import difflib
import math
import types
import typing
from typing import Any, Literal

Bounds = tuple[float, float]


def setting(
    default: Any,
    help: str,
    *,
    bounds: Bounds | None = None,
    choices: Sequence[str] | None = None,
    scale: Literal["linear", "log"] = "linear",
    live: bool = False,
    exclusive_min: bool = False,
    slider: Bounds | None = None,
) -> Any:
    """Declare one dataclass field together with all that is known about it.

    Args:
        default: The default value. ``None`` as a default makes ``None`` a legal value.
        help: One sentence for the docs table, the slider's tooltip and ``--help``.
        bounds: Smallest and largest legal number, both included. ``math.inf`` leaves
            an end open.
        choices: The legal names, for a field that is one of a few strings.
        scale: How a slider steps through the bounds.
        live: Whether a change acts on a running model; otherwise it needs a restart.
        exclusive_min: Whether the lower bound itself is illegal, as for a learning
            rate that must be greater than 0.
        slider: The part of the bounds that is worth exploring by hand; the bounds
            themselves when left out.

    Returns:
        A :func:`dataclasses.field` whose metadata has the keys ``help``, ``bounds``,
        ``choices``, ``scale``, ``live``, ``exclusive_min`` and ``slider``.

    Raises:
        ValueError: If the bounds are in the wrong order.

    Example:
        >>> from dataclasses import dataclass, fields
        >>> @dataclass(frozen=True)
        ... class Oven:
        ...     heat: float = setting(180.0, "Temperature in C.", bounds=(30, 300))
        >>> fields(Oven)[0].metadata["bounds"]
        (30, 300)
    """
    if bounds is not None and not bounds[0] <= bounds[1]:
        raise ValueError(f"bounds must be (low, high), got {bounds}")
    metadata = {
        "help": help,
        "bounds": bounds,
        "choices": None if choices is None else tuple(choices),
        "scale": scale,
        "live": live,
        "exclusive_min": exclusive_min,
        "slider": slider or bounds,
    }
    return dataclasses.field(default=default, metadata=metadata)


def validate(instance: Any) -> None:
    """Check every field of a dataclass instance against its declaration.

    Types come from the annotations: a bool is not an int, an int will do for a float,
    and ``None`` is legal only where it is the default. Numbers must be finite.

    Args:
        instance: A dataclass instance, usually ``self`` in ``__post_init__``.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of bounds, not finite, or not one of the choices.
            Both messages name the class, the field, the value and what is legal.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Oven:
        ...     heat: float = setting(180.0, "Temperature in C.", bounds=(30, 300))
        ...     def __post_init__(self):
        ...         validate(self)
        >>> Oven(heat=3000)
        Traceback (most recent call last):
            ...
        ValueError: Oven.heat must be in [30, 300], got 3000
    """
    cls = type(instance)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if value is None and field.default is None:
            continue
        name = f"{cls.__name__}.{field.name}"
        _check_type(name, value, hints[field.name])
        _check_value(name, value, field.metadata)


def unknown_choice(name: str, value: str, choices: Sequence[str]) -> ValueError:
    """Return the error for a name that is not one of the choices, with a suggestion.

    Args:
        name: What was being chosen, as the reader knows it.
        value: What was given.
        choices: What would have been legal.

    Returns:
        The exception, to be raised by the caller.

    Example:
        >>> unknown_choice("optimizer", "adamv", ["adamw", "sgd"])
        ValueError("optimizer must be one of 'adamw', 'sgd', got 'adamv'; \
did you mean 'adamw'?")
    """
    message = f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}"
    close = difflib.get_close_matches(value.lower(), choices, n=1, cutoff=0.5)
    return ValueError(message + (f"; did you mean {close[0]!r}?" if close else ""))


def _check_type(name: str, value: object, hint: Any) -> None:
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    members = typing.get_args(hint) if union else (hint,)
    # Parametrised containers, such as tuple[int, ...], are checked by their container.
    legal = [typing.get_origin(m) or m for m in members if m is not types.NoneType]
    if any(_is_a(value, kind) for kind in legal):
        return
    words = " or ".join(getattr(kind, "__name__", str(kind)) for kind in legal)
    raise TypeError(f"{name} must be {words}, got {value!r} ({type(value).__name__})")


def _is_a(value: object, kind: Any) -> bool:
    if kind is Any:
        return True
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, (int, float))
    return isinstance(value, kind)


def _check_value(name: str, value: Any, about: typing.Mapping[str, Any]) -> None:
    choices, bounds = about.get("choices"), about.get("bounds")
    if choices is not None and value not in choices:
        raise unknown_choice(name, value, choices)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    if bounds is not None:
        low, high = bounds
        exclusive = about.get("exclusive_min", False)
        if not low <= value <= high or (exclusive and value == low):
            legal = f"{'(' if exclusive else '['}{low}, {high}]"
            raise ValueError(f"{name} must be in {legal}, got {value!r}")
