"""Data parallel: several processes, one model, one gradient.

Every process holds the whole model and draws the same batch. Each of the n processes
computes on its own share of the rows, about one n-th of them (:func:`share`). Before
the update one message round the group averages

    loss = sum_r w_r L_r / sum_r w_r        g = sum_r w_r g_r / sum_r w_r

with ``w_r`` the tokens (or rows) that process r's mean was over, so that n processes
make the update that one would make with the joint batch. They start equal, because the
first one sends its weights, moments and position round, and they stay equal, because
they apply equal gradients.

    mlx.launch -n 2 train.py

starts them (https://ml-explore.github.io/mlx/build/html/usage/distributed.html). The
message is MLX's ``all_sum``, whatever carries it: sockets, MPI, or NCCL.

Left out on purpose: sharding of weights or optimizer state, and overlapping the message
with the backward pass.
"""

import json
from typing import Any, cast

from lmxlab.training.loss import Metrics
from lmxlab.training.state import places
import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

Group = mx.distributed.Group


def average(
    group: Group, metrics: Metrics, grads: Any, weight: mx.array
) -> tuple[Metrics, Any]:
    """Average metrics and gradients over the processes by weight, in one message.

    Args:
        group: The processes.
        metrics: Numbers of shape (), means over ``weight`` tokens or rows.
        grads: A tree of arrays of the same shapes in each process, means too.
        weight: What they are a mean over in this process, shape ().

    Returns:
        The weighted means, each in its array's dtype; the metric ``tokens``, if there
        is one, is the sum of the weights. If every weight is 0 the means are 0.

    Example:
        >>> alone, metrics = mx.distributed.init(), {"loss": mx.array(2.0)}
        >>> average(alone, metrics, {"w": mx.array([4.0])}, mx.array(8.0))
        ({'loss': array(2, dtype=float32)}, {'w': array([4], dtype=float32)})
    """
    tree = {"metrics": metrics, "grads": grads}
    leaves = cast("list[tuple[str, mx.array]]", tree_flatten(tree))
    scale = weight.astype(mx.float32)
    parts = [(leaf.astype(mx.float32) * scale).reshape(-1) for _, leaf in leaves]
    message = mx.concatenate([*parts, scale.reshape(1)])
    joint = mx.distributed.all_sum(message, group=group)
    total, means, start = joint[-1], [], 0
    divisor = mx.where(total == 0, 1, total)
    for path, leaf in leaves:
        part = joint[start : start + leaf.size] / divisor
        means.append((path, part.reshape(leaf.shape).astype(leaf.dtype)))
        start += leaf.size
    mean: Any = tree_unflatten(means)
    counted = {"tokens": total} if "tokens" in metrics else {}
    return mean["metrics"] | counted, mean["grads"]


def share(group: Group, batch: tuple[mx.array, ...]) -> tuple[mx.array, ...]:
    """Return this process's rows of a batch.

    Args:
        group: The processes.
        batch: Arrays. Those with as many rows as the first are split, the first
            processes taking one row more where it does not come out even; others, such
            as numbers, go to every process whole.

    Returns:
        The arrays with this process's rows.

    Raises:
        ValueError: If there are fewer rows than processes.

    Example:
        >>> share(mx.distributed.init(), (mx.arange(4), mx.array(0.5)))
        (array([0, 1, 2, 3], dtype=int32), array(0.5, dtype=float32))
    """
    size, rank = group.size(), group.rank()
    rows = batch[0].shape[0] if batch[0].ndim else 1
    if rows < size:
        raise ValueError(
            f"a batch has {rows} rows for {size} processes; each needs at least one: "
            "raise batch_size or launch fewer"
        )
    start, stop = ((rows * r + size - 1) // size for r in (rank, rank + 1))
    return tuple(
        array[start:stop] if array.ndim and array.shape[0] == rows else array
        for array in batch
    )


def agree(trainer: Any) -> None:
    """Let every process stand where the first one stands.

    Each keeps randomness of its own, so that a dropout mask is not the same for every
    process's rows.

    Args:
        trainer: A :class:`~lmxlab.training.trainer.Trainer`.

    Example:
        >>> import mlx.nn as nn
        >>> from lmxlab.training.config import TrainConfig
        >>> from lmxlab.training.trainer import Trainer
        >>> trainer = Trainer(nn.Linear(2, 2), TrainConfig())
        >>> agree(trainer)
        >>> trainer.step
        0
    """
    group = trainer.group
    broadcast(group, [trainer.model, trainer.optimizer.state])
    state = broadcast_json(group, trainer.state())
    if group.rank() > 0:
        state["random"][1] ^= group.rank()
        trainer.restore(state)


def broadcast(group: Group, containers: Any) -> None:
    """Give every process the arrays of the first, in place.

    Args:
        group: The processes.
        containers: Nested dictionaries and lists of arrays, such as a model.

    Example:
        >>> state = {"weight": mx.array([1.0])}
        >>> broadcast(mx.distributed.init(), state)
        >>> state["weight"]
        array([1], dtype=float32)
    """
    for container, key in places(containers):
        ours = container[key]
        sent = ours if group.rank() == 0 else mx.zeros_like(ours)
        container[key] = mx.distributed.all_sum(sent, group=group)
        mx.eval(container[key])


def broadcast_json(group: Group, value: Any) -> Any:
    """Return the first process's value in every process.

    Args:
        group: The processes.
        value: Anything that JSON can hold; only the first process's is looked at.

    Returns:
        That value as JSON gives it back: a tuple as a list, keys as strings.

    Example:
        >>> broadcast_json(mx.distributed.init(), {"step": 3})
        {'step': 3}
    """
    text = json.dumps(value).encode() if group.rank() == 0 else b""
    length = mx.distributed.all_sum(mx.array(len(text)), group=group).item()
    padded = text.ljust(cast(int, length), b"\0")
    # As int32: sums of 8-bit integers are not offered by every backend.
    codes = mx.array(list(padded), mx.int32)
    received = cast("list[int]", mx.distributed.all_sum(codes, group=group).tolist())
    return json.loads(bytes(received))
