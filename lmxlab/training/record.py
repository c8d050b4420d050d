"""From an update that may still be computing to its record: plain numbers."""

from dataclasses import dataclass
import math
from typing import Any

from lmxlab.training.loss import Metrics
import mlx.core as mx

Record = dict[str, Any]


@dataclass
class Queued:
    """An update that the device may still be computing.

    Attributes:
        step: Its number.
        metrics: Its numbers, lazy, each of shape ().
        before: Weights and moments before it, should it have to be taken back.
        tokens: Tokens in its batches, for a loss that does not count them.
        traced: Whether Python was entered for it.

    Example:
        >>> queued = Queued(1, {"loss": mx.array(2.5)}, [], tokens=8, traced=False)
        >>> read(queued)["loss"]
        2.5
    """

    step: int
    metrics: Metrics
    before: list[mx.array]
    tokens: int
    traced: bool


def read(queued: Queued) -> Record:
    """Wait for an update and return its numbers, timings left out.

    Args:
        queued: The update.

    Returns:
        ``step``, ``tokens`` and every metric, as Python numbers.

    Example:
        >>> read(Queued(1, {"loss": mx.array(2.5)}, [], tokens=8, traced=False))
        {'step': 1, 'loss': 2.5, 'tokens': 8}
    """
    mx.eval(queued.metrics)
    record: Record = {"step": queued.step}
    record.update({name: value.item() for name, value in queued.metrics.items()})
    tokens = record.get("tokens", queued.tokens)
    record["tokens"] = int(tokens) if math.isfinite(tokens) else tokens
    return record


def is_finite(record: Record) -> bool:
    """Return whether an update may be kept.

    Args:
        record: What :func:`read` returned.

    Returns:
        Whether loss and gradient norm are finite numbers.

    Example:
        >>> is_finite({"loss": math.inf, "grad_norm": 1.0})
        False
    """
    return math.isfinite(record["loss"]) and math.isfinite(record["grad_norm"])


def not_finite(record: Record) -> FloatingPointError:
    """Return the error for an update that may not be kept.

    Args:
        record: What :func:`read` returned.

    Returns:
        The exception, to be raised once the update was taken back.

    Example:
        >>> bad = {"step": 3, "loss": 1.0, "grad_norm": math.inf, "learning_rate": 1.0}
        >>> str(not_finite(bad)).partition(",")[0]
        'step 3: loss is 1.0 and grad_norm is inf'
    """
    return FloatingPointError(
        f"step {record['step']}: loss is {record['loss']} and grad_norm is "
        f"{record['grad_norm']}, learning_rate {record['learning_rate']:.3g}. "
        "The update was taken back; lower the learning rate, warm up longer, "
        "or look at this batch"
    )
