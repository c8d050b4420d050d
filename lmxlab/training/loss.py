"""The default loss, and what the trainer expects of any other.

A loss function is ``loss_fn(model, *batch) -> loss`` or ``(loss, metrics)``: a scalar,
and a dictionary of scalars. The metric ``tokens``, when it is there, says how many
targets the loss is a mean over; micro-batches and evaluation batches are weighted by
it, and otherwise by their rows.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

LossFn = Callable[..., Any]
Metrics = dict[str, mx.array]

# What the trainer reports itself.
RESERVED = frozenset(
    {"step", "loss", "learning_rate", "grad_norm", "step_seconds"}
    | {"first_call_seconds", "eval_loss"}
)


def next_token_loss(
    model: nn.Module, tokens: mx.array, targets: mx.array, mask: mx.array | None = None
) -> tuple[mx.array, dict[str, mx.array]]:
    """Mean cross-entropy of the next token over the unmasked targets.

    Args:
        model: Maps tokens (B, T) to logits (B, T, V), or to a tuple that starts so.
        tokens: Input token ids, shape (B, T).
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
    output = model(tokens)
    logits = output[0] if isinstance(output, tuple) else output
    chosen = mx.take_along_axis(logits, targets[..., None], axis=-1).squeeze(-1)
    # Written out, because mx.logsumexp is a scalar kernel on the CPU.
    top = mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    total = mx.exp(logits - top).sum(axis=-1)
    nats = mx.log(total) + top.squeeze(-1) - chosen
    if mask is None:
        return nats.mean(), {"tokens": mx.array(float(targets.size))}
    weight = mask.astype(nats.dtype)
    count = weight.sum()
    return (nats * weight).sum() / mx.maximum(count, 1), {"tokens": count}


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
    return mx.array(loss), {name: mx.array(value) for name, value in metrics.items()}
