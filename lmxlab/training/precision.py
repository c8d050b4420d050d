"""Mixed precision: computed in 16 bits, kept in 32.

In bfloat16 the number after 1 is 1.0078: an update of 0.0001 would be lost. So the
master weights and the optimizer's moments stay float32, and only the forward and the
backward pass see copies in 16 bits (Micikevicius et al. 2018, arXiv:1710.03740).
bfloat16 has float32's range, and needs no scaling of the loss.
"""

from typing import Any

from lmxlab.training.loss import LossFn, next_token_loss
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map


def mixed_precision(
    loss_fn: LossFn = next_token_loss, dtype: mx.Dtype = mx.bfloat16
) -> LossFn:
    """Return a loss that computes with 16-bit copies of the model's float32 weights.

    The gradients come out in float32, and nothing else changes::

        trainer = Trainer(model, config, loss_fn=mixed_precision(next_token_loss))

    Args:
        loss_fn: See :mod:`lmxlab.training.loss`.
        dtype: What the weights are cast to while the loss is computed.

    Returns:
        A loss function with the same arguments and metrics.

    Raises:
        ValueError: If the type is not one of 16 bits.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> loss_fn = mixed_precision(lambda model, x: model(x).sum())
        >>> loss_fn(model, mx.ones((1, 2), mx.bfloat16)).dtype, model.weight.dtype
        (mlx.core.bfloat16, mlx.core.float32)
    """
    if dtype not in (mx.bfloat16, mx.float16):
        raise ValueError(f"dtype must be mx.bfloat16 or mx.float16, got {dtype}")

    def cast(weight: mx.array) -> mx.array:
        return weight.astype(dtype) if weight.dtype == mx.float32 else weight

    def mixed(model: nn.Module, *batch: mx.array) -> Any:
        master = model.parameters()
        model.update(tree_map(cast, master))
        try:
            return loss_fn(model, *batch)
        finally:
            model.update(master)

    return mixed
