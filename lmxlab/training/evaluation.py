"""The loss on held-out data, by tokens, with nothing left changed."""

from collections.abc import Iterable
from typing import Any

from lmxlab.core.modes import evaluation_mode
from lmxlab.training import feed
from lmxlab.training.loss import LossFn, split_loss
from lmxlab.training.program import Programs
from lmxlab.training.state import RandomStream
import mlx.core as mx


def evaluate(
    run: Programs, loss_fn: LossFn, batches: Iterable[Any], seed: int
) -> dict[str, float]:
    """Average the loss and the metrics over batches, in evaluation mode.

    Args:
        run: Runs the loss; knows the model.
        loss_fn: See :mod:`lmxlab.training.loss`.
        batches: At least one.
        seed: Of what the loss draws: the same at each evaluation.

    Returns:
        ``eval_loss`` in nats and the loss function's other metrics with the prefix
        ``eval_``, weighted by tokens (by rows when the loss counts none).

    Raises:
        ValueError: If every target is masked.

    Example:
        >>> import mlx.nn as nn, mlx.optimizers as optim
        >>> run = Programs(nn.Identity(), optim.SGD(0.1), {}, compiled=False)
        >>> loss_fn = lambda model, x: model(x).mean()
        >>> batches = [(mx.array([1.0, 1.0, 1.0]),), (mx.array([5.0]),)]
        >>> evaluate(run, loss_fn, batches, seed=0)  # by rows: (3 * 1 + 1 * 5) / 4
        {'eval_loss': 2.0}
    """

    def measure(*batch: mx.array) -> dict[str, mx.array]:
        loss, metrics = split_loss(loss_fn(run.model, *batch))
        return {"loss": loss, **metrics}

    totals: dict[str, float] = {}
    stream, weights = RandomStream(seed), 0.0
    with evaluation_mode(run.model):
        for batch in batches:
            arrays = feed.checked(batch, feed.vocab_size(run.model))
            metrics, _ = run("evaluate", measure, arrays, stream)
            numbers = {name: value.item() for name, value in metrics.items()}
            weight = numbers.pop("tokens", feed.rows(arrays))
            weights += weight
            for name, value in numbers.items():
                totals[name] = totals.get(name, 0.0) + weight * value
    if not weights:
        raise ValueError("every target of eval_data is masked: nothing to measure")
    return {f"eval_{name}": total / weights for name, total in totals.items()}
