"""The default loss, and what the trainer expects of any other.

A loss function is ``loss_fn(model, *batch) -> loss`` or ``(loss, metrics)``: a scalar,
and a dictionary of scalars. The metric ``tokens``, when it is there, says how many
targets the loss is a mean over; micro-batches and evaluation batches are weighted by
it, and otherwise by their rows.
"""

from collections.abc import Callable
import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn

LossFn = Callable[..., Any]
UNIT = "nats per token"  # of the default loss
Metrics = dict[str, mx.array]

# What the trainer reports itself.
RESERVED = frozenset(
    {"step", "loss", "learning_rate", "grad_norm", "step_seconds"}
    | {"first_call_seconds", "eval_loss", "stopping"}
)


def next_token_loss(
    model: nn.Module, tokens: mx.array, targets: mx.array, mask: mx.array | None = None
) -> tuple[mx.array, dict[str, mx.array]]:
    """Mean cross-entropy of the next token over the unmasked targets.

    Args:
        model: Maps tokens (B, T) to logits (B, T, V), or to a tuple that starts so.
        tokens: Input token IDs, shape (B, T).
        targets: The same text one position later, shape (B, T).
        mask: 1 where a target counts and 0 where it is padding, shape (B, T).

    Returns:
        The loss in nats per token, shape (), and the metric ``tokens``: how many
        targets it is a mean over.

    Example:
        >>> uniform = lambda tokens: mx.zeros((*tokens.shape, 4))
        >>> tokens = mx.array([[0, 1, 2]])
        >>> loss, metrics = next_token_loss(uniform, tokens, tokens)
        >>> round(loss.item(), 4), metrics["tokens"].item()  # ln 4
        (1.3863, 3.0)
    """
    nats = -target_log_probs(logits_of(model, tokens), targets)
    if mask is None:
        return nats.mean(), {"tokens": mx.array(float(targets.size))}
    weight = mask.astype(nats.dtype)
    count = weight.sum()
    return (nats * weight).sum() / mx.maximum(count, 1), {"tokens": count}


def logits_of(model: nn.Module, tokens: mx.array) -> mx.array:
    """Call a model and keep the logits alone.

    Args:
        model: Maps tokens (B, T) to logits (B, T, V), or to a tuple that starts so.
        tokens: Token IDs, shape (B, T).

    Returns:
        Logits (B, T, V), float32, or float64 if the model computes in that.

    Example:
        >>> model = lambda tokens: (mx.zeros((*tokens.shape, 4)), "cache")
        >>> logits_of(model, mx.array([[1, 2]])).shape
        (1, 2, 4)
    """
    output = model(tokens)
    logits: mx.array = output[0] if isinstance(output, tuple) else output
    return logits if logits.dtype == mx.float64 else logits.astype(mx.float32)


def target_log_probs(logits: mx.array, targets: mx.array) -> mx.array:
    """Log-probability of each target token.

    Args:
        logits: Shape (..., V).
        targets: Token IDs, shape (...).

    Returns:
        ``logits[target] - log(sum(exp(logits)))`` in nats, shape (...).

    Example:
        >>> target_log_probs(mx.array([[0.0, 0.0]]), mx.array([1]))
        array([-0.693147], dtype=float32)
    """
    chosen = mx.take_along_axis(logits, targets[..., None], axis=-1).squeeze(-1)
    return chosen - log_normalizer(logits).squeeze(-1)


def log_normalizer(logits: mx.array) -> mx.array:
    """Return ``log(sum(exp(logits)))`` over the last axis, which is kept.

    ``logits - log_normalizer(logits)`` is the log-softmax.

    Args:
        logits: Shape (..., V), each row with at least one finite number.

    Returns:
        Shape (..., 1).

    Example:
        >>> log_normalizer(mx.array([[1000.0, 1000.0]]))
        array([[1000.69]], dtype=float32)
    """
    # Written out: mx.logsumexp is a scalar kernel on the CPU, and nn.log_softmax
    # crashes there on an axis of size 1 (MLX 0.32.4).
    top = mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    return mx.log(mx.exp(logits - top).sum(axis=-1, keepdims=True)) + top


def in_range(
    name: str, value: float | mx.array, low: float, high: float = math.inf
) -> None:
    """Check a setting of a loss, unless it is an array.

    A live setting is an ``mx.array``, whose value a traced step does not know; the
    slider that moves it keeps to its own bounds.

    Args:
        name: The argument's name.
        value: What was given.
        low: Smallest legal value.
        high: Largest legal value.

    Raises:
        TypeError: If it is neither a number nor an array of shape ().
        ValueError: If it is not a finite number in [low, high].

    Example:
        >>> in_range("alpha", 1.5, 0, 1)
        Traceback (most recent call last):
            ...
        ValueError: alpha must be a finite number in [0, 1], got 1.5
    """
    if isinstance(value, mx.array):
        if value.ndim:
            raise TypeError(f"{name} must be one number, got shape {value.shape}")
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and low <= value <= high):
        legal = f"in [{low}, {high}]" if math.isfinite(high) else f"of at least {low}"
        raise ValueError(f"{name} must be a finite number {legal}, got {value}")


def split_loss(result: Any) -> tuple[mx.array, dict[str, Any]]:
    """Take apart what a loss function returned.

    Args:
        result: ``loss`` or ``(loss, metrics)``.

    Returns:
        The loss, shape (), and its metrics, arrays of shape ().

    Raises:
        TypeError: If it is neither, or the loss or a metric is not a scalar.
        ValueError: If a metric has a reserved name.

    Example:
        >>> split_loss(mx.array(2.0))
        (array(2, dtype=float32), {})
    """
    parts = result if isinstance(result, tuple) else (result, {})
    if len(parts) != 2 or not isinstance(parts[1], dict):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(
            "loss_fn must return a loss, or (loss, metrics) with a dictionary of "
            f"scalars, got ({kinds})"
        )
    loss, metrics = parts
    for name, value in {"loss": loss, **metrics}.items():
        if not isinstance(value, (mx.array, int, float)) or (
            isinstance(value, mx.array) and value.ndim
        ):
            about = getattr(value, "shape", type(value).__name__)
            raise TypeError(
                f"loss_fn must return scalars: {name} is {about}; take its mean"
            )
    clash = sorted(set(metrics) & RESERVED)
    if clash:
        raise ValueError(
            f"loss_fn reports {clash[0]!r}, which the trainer reports itself; rename it"
        )
    loss, values = mx.array(loss), [mx.array(value) for value in metrics.values()]
    # mx.compile merges equal outputs and then misses one (MLX 0.32.4: IndexError).
    # What depends on something is merged with nothing, and nothing is computed for it.
    separate = mx.depends(values, [loss]) if values else []
    return loss, dict(zip(metrics, separate, strict=True))
