"""The rows of a batch on several CPU streams at once, a core for each.

A CPU stream of MLX is one thread: whatever is done element by element runs on one core,
however many there are. So the rows of a large batch are dealt out to several streams,
each computes loss and gradients of its own, and for parts p with n_p tokens, loss L_p
and gradient g_p,

    L = sum_p n_p L_p / sum_p n_p        g = sum_p n_p g_p / sum_p n_p

are those of the whole batch, to rounding: data parallelism within one process. The
matrix products of a part stay on its core (OpenBLAS gets one thread).

This is for the losses of next tokens, whose rows know nothing of each other, and for
batches that are worth it: with less than 3e8 operations a part they only cost time.
``LMXLAB_STREAMS`` says how many there may be; 1 switches it off.
"""

from collections.abc import Callable
import os
import threading
from typing import Any

from lmxlab import runtime
from lmxlab.training import feed
from lmxlab.training.chunked_loss import chunked_next_token_loss
from lmxlab.training.loss import LossFn, Metrics, next_token_loss
from lmxlab.training.state import arrays
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

FLOPS = 3e8  # of a part at the least; 6 for each weight and token (Kaplan et al. 2020)
BY_ROWS: tuple[LossFn, ...] = (next_token_loss, chunked_next_token_loss)
_DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)
_of_thread = threading.local()  # a stream belongs to the thread that made it,
#                                 and to the process, should that be copied

ValueAndGrad = Callable[..., tuple[tuple[mx.array, Metrics], Any]]


def streams_for(
    model: nn.Module, loss_fn: LossFn, batch: feed.Batch, group: mx.distributed.Group
) -> int:
    """Return the number of streams, at least 1, over which a batch is best spread.

    Args:
        model: What is trained. With dropout it stays on one: the parts would draw
            other numbers than the whole.
        loss_fn: The loss; one that is not known to be a mean over rows stays on one.
        batch: Arrays, (B, ...).
        group: The processes; several have the cores already.

    Example:
        >>> rows, group = mx.zeros((1, 4), mx.int32), mx.distributed.init()
        >>> streams_for(nn.Embedding(4, 2), next_token_loss, (rows, rows), group)
        1
    """
    if group.size() > 1 or loss_fn not in BY_ROWS or _has_dropout(model):
        return 1
    weights = sum(array.size for array in arrays(model.trainable_parameters()))
    worth = int(6 * weights * batch[0].size / FLOPS)
    return max(1, min(runtime.cpu_streams(), int(feed.rows(batch)), worth))


def on_streams(
    value_and_grad: ValueAndGrad, batch: feed.Batch, count: int
) -> tuple[Metrics, Any]:
    """Compute the loss and the gradients of a batch in parts, at the same time.

    Args:
        value_and_grad: ``(*batch) -> ((loss, metrics), gradients)``; with more than one
            part, means over the metric ``tokens``.
        batch: Arrays, (B, ...); the first parts get one row more where it does not
            come out even.
        count: Number of parts; 1 computes the batch as it is.

    Returns:
        Metrics, with ``loss`` among them, and gradients of the whole batch.

    Example:
        >>> def value_and_grad(x):
        ...     loss, tokens = x.mean(), mx.array(float(x.size))
        ...     return (loss, {"tokens": tokens}), {"w": 2 * loss}
        >>> rows = mx.array([[1.0], [2.0], [6.0]])
        >>> metrics, grads = on_streams(value_and_grad, (rows,), 2)
        >>> metrics["loss"].item(), metrics["tokens"].item(), grads["w"].item()
        (3.0, 3.0, 6.0)
    """

    def of(*rows: mx.array) -> tuple[Metrics, Any]:
        (loss, metrics), grads = value_and_grad(*rows)
        return {"loss": loss, **metrics}, grads

    if count == 1:
        return of(*batch)
    found, rows = [], batch[0].shape[0]
    for number, stream in enumerate(_streams(count)):
        start, stop = -(-rows * number // count), -(-rows * (number + 1) // count)
        with mx.stream(stream):
            found.append(of(*(array[start:stop] for array in batch)))
    weights = [metrics["tokens"] for metrics, _ in found]
    total = sum(weights, start=mx.array(0.0))
    shares = [weight / mx.maximum(total, 1) for weight in weights]

    def mean(*parts: mx.array) -> mx.array:
        scaled = [a * s.astype(a.dtype) for a, s in zip(parts, shares, strict=True)]
        return sum(scaled[1:], start=scaled[0])

    metrics: Metrics = tree_map(mean, *(metrics for metrics, _ in found))
    return metrics | {"tokens": total}, tree_map(mean, *(grads for _, grads in found))


def _streams(count: int) -> list[mx.Stream]:
    runtime.one_blas_thread()
    made: dict[int, list[mx.Stream]] = vars(_of_thread).setdefault("made", {})
    default = mx.default_stream(mx.Device(mx.cpu))
    streams = made.setdefault(os.getpid(), [default])
    while len(streams) < count:
        streams.append(mx.new_stream(mx.Device(mx.cpu)))
    return streams[:count]


def _has_dropout(model: nn.Module) -> bool:
    return any(
        module.training and isinstance(module, _DROPOUTS) and module._p_1 < 1
        for module in model.modules()
    )
