"""Settings that may change while a run goes on.

A compiled step reads them from arrays in its captured state. A Python number would be
frozen into the trace, and a new one would need a new trace.
"""

from dataclasses import replace
import math
from typing import Any, cast

from lmxlab.training.config import TrainConfig
import mlx.core as mx

Live = dict[str, mx.array]

OPTIMIZER_SETTINGS = ("learning_rate", "weight_decay")
CONFIG_SETTINGS = (*OPTIMIZER_SETTINGS, "max_grad_norm")


def with_config(live: Live | None, config: TrainConfig) -> Live:
    """Add the config's live settings to those of a loss.

    Args:
        live: Arrays of shape () that a loss reads, kept as the same dictionary.
        config: Gives learning_rate, weight_decay and max_grad_norm.

    Returns:
        ``live``, with the config's settings written into it.

    Example:
        >>> sorted(with_config({"beta": mx.array(0.1)}, TrainConfig()))
        ['beta', 'learning_rate', 'max_grad_norm', 'weight_decay']
    """
    live = {} if live is None else live
    for name in CONFIG_SETTINGS:
        live[name] = mx.array(getattr(config, name), mx.float32)
    return live


def change(
    live: Live, name: str, value: float, config: TrainConfig, *, own_rule: bool
) -> None:
    """Write a new value into a live setting, or say why it cannot be.

    Args:
        live: The settings; changed in place.
        name: The name of one of them.
        value: A finite number, within the config field's bounds if it is one.
        config: The run.
        own_rule: Whether the config made the optimizer. One that was passed in does not
            read its learning rate and weight decay from here.

    Raises:
        ValueError: If the name is not live, or the value is out of range.

    Example:
        >>> live = with_config(None, TrainConfig())
        >>> change(live, "learning_rate", 0.5, TrainConfig(), own_rule=True)
        >>> live["learning_rate"].item()
        0.5
    """
    if name not in live:
        raise ValueError(
            f"{name!r} is not a live setting of this run; these are: "
            f"{', '.join(sorted(live))}. Others take effect in a new run"
        )
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    if name in CONFIG_SETTINGS:
        changed: dict[str, Any] = {name: float(value)}
        replace(config, **changed)  # checks the range
    if name in OPTIMIZER_SETTINGS and not own_rule:
        raise ValueError(
            f"{name} belongs to the optimizer that you passed; set it there, or "
            "leave optimizer out and name the rule in TrainConfig"
        )
    live[name] = mx.array(value, live[name].dtype)


def values(live: Live) -> dict[str, float]:
    """Return the settings as plain numbers.

    Args:
        live: The settings.

    Returns:
        The value of each setting under its name.

    Example:
        >>> values({"beta": mx.array(0.5)})
        {'beta': 0.5}
    """
    return {name: float(cast(float, array.item())) for name, array in live.items()}
