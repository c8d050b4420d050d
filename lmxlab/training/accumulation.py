"""Gradient accumulation: the update of one large batch in the memory of a small one.

For micro-batches b with n_b tokens, loss L_b and gradient g_b,

    L = sum_b n_b L_b / sum_b n_b        g = sum_b n_b g_b / sum_b n_b

are the loss and the gradient of all tokens together. Averaging over micro-batches
instead would count a token of a short one more than a token of a long one. Two
compiled programs share a buffer: one adds a micro-batch to it, one applies it.
"""

from collections.abc import Callable
from typing import Any

from lmxlab.training import feed
from lmxlab.training.loss import Metrics
from lmxlab.training.program import Programs
from lmxlab.training.state import RandomStream
import mlx.core as mx
from mlx.utils import tree_map


class Accumulation:
    """Makes one update from several batches.

    Args:
        run: Runs the two programs.
        loss_and_grads: ``(*batch) -> (metrics, gradients)``, metrics with the loss.
        apply: ``(metrics, gradients, weight) -> metrics``, which moves the weights;
            ``weight`` is what both are a mean over.

    Example:
        >>> import mlx.nn as nn, mlx.optimizers as optim
        >>> model, rule = nn.Linear(1, 1, bias=False), optim.SGD(0.1)
        >>> rule.init(model.trainable_parameters())
        >>> run = Programs(model, rule, {}, compiled=True)
        >>> def loss_and_grads(x):
        ...     loss_fn = nn.value_and_grad(model, lambda x: model(x).mean())
        ...     loss, grads = loss_fn(x)
        ...     return {"loss": loss}, grads
        >>> def apply(metrics, grads, weight):
        ...     return {"gradient": grads["weight"].sum(), "rows": weight}
        >>> accumulated = Accumulation(run, loss_and_grads, apply)
        >>> batches = [(mx.ones((3, 1)),), (mx.full((1, 1), 5.0),)]
        >>> metrics, _ = accumulated(batches, RandomStream(0))
        >>> metrics["gradient"].item(), metrics["rows"].item()  # (3 * 1 + 1 * 5) / 4
        (2.0, 4.0)
    """

    def __init__(
        self,
        run: Programs,
        loss_and_grads: Callable[..., tuple[Metrics, Any]],
        apply: Callable[[Metrics, Any, mx.array], Metrics],
    ) -> None:
        """Nothing is traced yet."""
        self._run = run
        self._loss_and_grads = loss_and_grads
        self._apply = apply
        self._sums: dict[str, Any] = {}

    def __call__(
        self, batches: list[feed.Batch], stream: RandomStream
    ) -> tuple[Metrics, bool]:
        """Queue an update over several batches.

        Args:
            batches: At least one.
            stream: Where randomness is drawn from.

        Returns:
            The metrics of all the batches together, and whether anything was traced.
        """
        parameters = self._run.model.trainable_parameters()
        self._sums["grads"] = tree_map(mx.zeros_like, parameters)
        sums: Metrics = {}
        weight, traced = mx.array(0.0), False
        try:
            for batch in batches:
                (part, part_weight), first = self._run(
                    "accumulate", self._add, batch, stream, self._sums
                )
                sums = {name: sums.get(name, 0.0) + part[name] for name in part}
                weight, traced = weight + part_weight, traced or first
                # Left lazy, the activations of all batches would be alive at once.
                mx.eval(sums, weight, self._sums)
            metrics, first = self._run(
                "apply", self._apply_sums, (sums, weight), stream, self._sums
            )
        finally:
            self._sums.clear()
        return metrics, traced or first

    def _add(self, *batch: mx.array) -> tuple[Metrics, mx.array]:
        metrics, grads = self._loss_and_grads(*batch)
        weight = weight_of(metrics, batch)
        self._sums["grads"] = tree_map(
            lambda total, g: total + weight.astype(g.dtype) * g,
            self._sums["grads"],
            grads,
        )
        # The sum of the weights is the number of tokens; it must not be squared.
        parts = {k: v if k == "tokens" else weight * v for k, v in metrics.items()}
        return parts, weight

    def _apply_sums(self, sums: Metrics, weight: mx.array) -> Metrics:
        divisor = mx.where(weight == 0, 1, weight)  # every target masked: all sums 0
        grads = tree_map(lambda g: g / divisor.astype(g.dtype), self._sums["grads"])
        metrics = {k: v if k == "tokens" else v / divisor for k, v in sums.items()}
        return self._apply(metrics, grads, weight)


def weight_of(metrics: Metrics, batch: feed.Batch) -> mx.array:
    """Return what a loss is a mean over: tokens if it counts them, otherwise rows.

    Args:
        metrics: What the loss function reported.
        batch: What it was given.

    Returns:
        Shape ().

    Example:
        >>> weight_of({}, (mx.zeros((4, 2)),)).item()
        4.0
    """
    return metrics["tokens"] if "tokens" in metrics else mx.array(feed.rows(batch))
