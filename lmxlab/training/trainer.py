"""The one training loop: a generator that performs an update and yields its record.

An update, for every topic of the lab, is

    loss, grads = value_and_grad(loss_fn)(model, *batch)
    grads       = grads * min(1, max_grad_norm / ||grads||)
    model       = optimizer(model, grads)       unless the loss or ||grads|| is not finite

DPO, GRPO, distillation and the rest are another ``loss_fn`` or another iterator of
batches. With gradient accumulation the middle line runs once for a window of batches,
on the mean of their gradients weighted by tokens, which is the gradient of the one large
batch. ``train`` drains the generator; a live panel drains it from the notebook's event
loop, and so can pause, step, re-tune and stop it.

Simplified on purpose: one device, parameters and optimizer state in one precision.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
import math
import threading
import time
from typing import Any
import warnings

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_map

from lmxlab import runtime
from lmxlab.training import feed
from lmxlab.training.callbacks import MetricsLogger, notify
from lmxlab.training.config import TrainConfig
from lmxlab.training.optimizers import Live, create_optimizer
from lmxlab.training.program import Programs, evaluation_mode
from lmxlab.training.state import RandomStream, global_norm, keep_if, leaves

Record = dict[str, Any]
LossFn = Callable[..., Any]
Metrics = dict[str, mx.array]
RESERVED = (
    "step",
    "loss",
    "learning_rate",
    "grad_norm",
    "step_seconds",
    "first_call_seconds",
    "eval_loss",
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
        The loss in nats per token, shape (), and the metric ``tokens``: how many targets
        it is a mean over.

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
    nats = mx.logsumexp(logits, axis=-1) - chosen
    if mask is None:
        return nats.mean(), {"tokens": mx.array(float(targets.size))}
    weight = mask.astype(nats.dtype)
    count = weight.sum()
    return (nats * weight).sum() / mx.maximum(count, 1), {"tokens": count}


@dataclass
class _Queued:
    """An update that the device may still be computing."""

    step: int
    metrics: Metrics
    ok: mx.array
    tokens: int
    traced: bool


class Trainer:
    """Trains a model, one compiled update at a time.

    Args:
        model: Any ``nn.Module``; for the default loss its call gives logits (B, T, V) or
            a tuple that starts with them.
        config: The run. Every field acts.
        optimizer: An ``mlx.optimizers`` rule with its own schedule; by default the one
            that the config names.
        callbacks: See :mod:`lmxlab.training.callbacks`. By default a
            ``MetricsLogger(config.log_interval)``; pass ``[]`` for silence.
        loss_fn: ``loss_fn(model, *batch) -> loss`` or ``(loss, metrics)``, scalars.
            A metric named ``tokens`` says how many targets the loss is a mean over, and
            weighs micro-batches. By default :func:`next_token_loss`.
        live: Arrays of shape () that the loss reads while it runs and that
            :meth:`set_live` may change, e.g. ``{"beta": mx.array(0.1)}``. The trainer
            adds learning_rate, weight_decay and max_grad_norm.

    Attributes:
        step: Updates done.
        trace_count: Times that Python entered the update: once for each shape of batch
            when compiled, once for each update when not.
        history: All records so far.

    Example:
        >>> from lmxlab.models.base import LanguageModel
        >>> from lmxlab.models.gpt import gpt_tiny
        >>> config = TrainConfig(max_steps=3, warmup_steps=0, log_interval=0)
        >>> trainer = Trainer(LanguageModel(gpt_tiny()), config)
        >>> tokens = mx.arange(16).reshape(2, 8)
        >>> records = trainer.train([(tokens, tokens)] * 3)
        >>> [record["step"] for record in records], trainer.trace_count
        ([1, 2, 3], 1)
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        optimizer: optim.Optimizer | None = None,
        callbacks: Sequence[Any] | None = None,
        *,
        loss_fn: LossFn | None = None,
        live: Live | None = None,
    ) -> None:
        """Build the optimizer and its state; nothing is traced yet."""
        self.model = model
        self.config = config
        self.loss_fn: LossFn = next_token_loss if loss_fn is None else loss_fn
        if callbacks is None and config.log_interval:
            callbacks = [MetricsLogger(config.log_interval)]
        self.callbacks = list(callbacks or [])
        self.live: Live = {} if live is None else live
        for name in ("learning_rate", "weight_decay", "max_grad_norm"):
            self.live.setdefault(name, mx.array(getattr(config, name), mx.float32))
        self._own_rule = optimizer is None
        self.optimizer = optimizer or create_optimizer(config, self.live)
        self.optimizer.init(model.trainable_parameters())
        mx.eval(model.state, self.optimizer.state, self.live)

        self.history: list[Record] = []
        self.step = 0
        self.trace_count = 0
        self.lag = 1 if runtime.is_gpu() else 0
        self._stopping = False
        self._thread = threading.get_ident()
        self._random = RandomStream(config.seed)
        self._run = Programs(
            model, self.optimizer, self.live, compiled=config.compile_step
        )
        self._sums: dict[str, Any] = {}
        self._source: tuple[Any, Iterator[Any]] = (None, iter(()))
        self._mark = 0.0
        self._last_clean = 0.0

    # -------------------------------------------------------------- one update, pure

    def _update(self, *batch: mx.array) -> tuple[Metrics, mx.array]:
        """Train on one batch: the whole program that mx.compile sees."""
        return self._apply(*self._loss_and_grads(*batch))

    def _loss_and_grads(self, *batch: mx.array) -> tuple[Metrics, Any]:
        self.trace_count += 1

        def scalar_loss(*arrays: mx.array) -> Any:
            return feed.split_loss(self.loss_fn(self.model, *arrays), RESERVED)

        (loss, metrics), grads = nn.value_and_grad(self.model, scalar_loss)(*batch)
        return {"loss": loss, **metrics}, grads

    def _apply(self, metrics: Metrics, grads: Any) -> tuple[Metrics, mx.array]:
        norm = global_norm(grads)
        limit = self.live["max_grad_norm"]
        scale = mx.where(limit > 0, mx.minimum(1.0, limit / (norm + 1e-6)), 1.0)
        grads = tree_map(lambda g: g * scale.astype(g.dtype), grads)
        before = leaves(self.model) + leaves(self.optimizer.state)
        self.optimizer.update(self.model, grads)
        rate = self.optimizer.learning_rate
        ok = mx.isfinite(metrics["loss"]) & mx.isfinite(norm)
        keep_if(ok, before)
        return {**metrics, "learning_rate": rate, "grad_norm": norm}, ok

    # --------------------------------------------- accumulation: two programs, one sum

    def _accumulate(self, *batch: mx.array) -> tuple[Metrics, mx.array]:
        metrics, grads = self._loss_and_grads(*batch)
        weight = metrics.pop("tokens", mx.array(float(batch[0].shape[0])))
        self._sums["sums"] = tree_map(
            lambda total, g: total + weight.astype(g.dtype) * g,
            self._sums["sums"],
            grads,
        )
        return {name: weight * value for name, value in metrics.items()}, weight

    def _apply_sums(self, sums: Metrics, weight: mx.array) -> tuple[Metrics, mx.array]:
        def mean(total: mx.array) -> mx.array:
            return total / weight.astype(total.dtype)

        grads = tree_map(mean, self._sums["sums"])
        return self._apply({name: mean(total) for name, total in sums.items()}, grads)

    def _window(self, batches: list[feed.Batch]) -> tuple[Metrics, mx.array, bool]:
        """Queue an update over several micro-batches; memory stays that of one."""
        self._sums["sums"] = tree_map(
            mx.zeros_like, self.model.trainable_parameters()
        )
        parts, traced = [], False
        for batch in batches:
            part, first = self._run(
                "accumulate", self._accumulate, batch, self._random, self._sums
            )
            # Left lazy, the activations of all micro-batches would be alive at once.
            mx.eval(part, self._sums)
            parts.append(part)
            traced |= first
        weight = sum((part[1] for part in parts), start=mx.array(0.0))
        sums = {name: sum(part[0][name] for part in parts) for name in parts[0][0]}
        (metrics, ok), first = self._run(
            "apply", self._apply_sums, (sums, weight), self._random, self._sums
        )
        self._sums.clear()
        return {**metrics, "tokens": weight}, ok, traced or first

    # ---------------------------------------------------------------- queue and read

    def _queue(self, window: Sequence[Any]) -> _Queued:
        """Hand one update to the device, without waiting for it."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "this Trainer was built in another thread; MLX keeps its streams and "
                "compiled functions per thread, so build it where you train"
            )
        vocab_size = getattr(getattr(self.model, "config", None), "vocab_size", None)
        batches = [feed.checked(batch, vocab_size) for batch in window]
        if not batches:
            raise ValueError("micro_batches is empty; pass at least one batch")
        if len(batches) == 1:
            (metrics, ok), traced = self._run(
                "update", self._update, batches[0], self._random
            )
        else:
            metrics, ok, traced = self._window(batches)
        self.step += 1
        mx.async_eval(metrics, ok, self.model.state, self.optimizer.state)
        tokens = sum(batch[0].size for batch in batches)
        return _Queued(self.step, metrics, ok, tokens, traced)

    def _read(self, queued: _Queued) -> Record:
        """Wait for an update and turn its numbers into a record."""
        waited_from = time.perf_counter()
        mx.eval(queued.metrics, self.model.state, self.optimizer.state)
        now = time.perf_counter()
        seconds = now - self._mark
        hidden = self.lag and now - waited_from < 1e-4 and self._last_clean
        if hidden and waited_from - self._mark > self._last_clean:
            # It ended behind the caller's own work, a drawing say: nobody saw when.
            seconds = self._last_clean
        self._mark = now
        record: Record = {"step": queued.step}
        record.update({name: value.item() for name, value in queued.metrics.items()})
        record["tokens"] = int(record.get("tokens", queued.tokens))
        record["step_seconds"] = seconds
        if queued.traced:
            record["first_call_seconds"] = seconds
        else:
            self._last_clean = seconds
        return record

    def _finish(self, queue: deque[_Queued], held_out: list[Any] | None) -> Record:
        queued = queue[0]
        record = self._read(queued)
        queue.popleft()
        if not queued.ok.item():
            self.step -= 1
            raise FloatingPointError(
                f"step {queued.step}: loss is {record['loss']} and grad_norm is "
                f"{record['grad_norm']} at learning_rate {record['learning_rate']:.3g}. "
                "The update was not applied and the model is as it was; lower the "
                "learning rate, warm up longer, or look at this batch"
            )
        self.history.append(record)
        if self._due(held_out, queued.step):
            record.update(self.evaluate(held_out))
            notify(self.callbacks, "on_eval_end", queued.step, record)
        notify(self.callbacks, "on_step_end", queued.step, record)
        if any(getattr(callback, "should_stop", False) for callback in self.callbacks):
            self.stop()
        return record

    def _due(self, held_out: list[Any] | None, step: int) -> bool:
        return held_out is not None and step % self.config.eval_interval == 0

    # ------------------------------------------------------------------------ public

    def stream(self, train_data: Any, eval_data: Any = None) -> Iterator[Record]:
        """Train, yielding one record for each update, in order and complete.

        On a GPU a record comes one update late, so that the device never waits for
        Python; ``lag = 0`` makes the next one come at once. Closing the generator, an
        error, or an interrupt leaves model, optimizer and history consistent.

        Args:
            train_data: A dataset with ``batches(batch_size, seed)``, or an iterable of
                batches. The same object given again goes on where it stopped.
            eval_data: Batches to evaluate on every ``eval_interval`` updates: a dataset
                with ``eval_batches(batch_size)``, or a finite iterable.

        Yields:
            Dictionaries with step, loss (nats), learning_rate, grad_norm (before
            clipping), tokens, step_seconds (drawing, evaluation and callbacks left
            out), first_call_seconds when the step was traced, eval_loss when due, and
            what the loss function reports.

        Raises:
            FloatingPointError: If the loss or the gradient is not finite. The update
                was not applied.
            ValueError: If there is no data, or a batch does not fit the model.
        """
        if self._source[0] is not train_data or train_data is None:
            self._source = train_data, feed.batches(train_data, self.config)
        windows = feed.windows(self._source[1], self.config.grad_accumulation_steps)
        held_out = None if eval_data is None else feed.reusable(eval_data, self.config)
        self._stopping = False
        started = self.step
        queue: deque[_Queued] = deque()
        try:
            notify(self.callbacks, "on_train_begin", self.config)
            while True:
                while queue and (
                    len(queue) > self.lag or self._due(held_out, queue[-1].step)
                ):
                    yield self._finish(queue, held_out)
                if self._stopping or self.step >= self.config.max_steps:
                    break
                if not queue:
                    self._mark = time.perf_counter()
                window = next(windows, None)
                if window is None:
                    break
                queue.append(self._queue(window))
            while queue:
                yield self._finish(queue, held_out)
            if self.step == started < self.config.max_steps and not self._stopping:
                raise ValueError(
                    "train_data gave no batch; an iterator that was used up before "
                    "stays empty, pass a list or a dataset"
                )
        finally:
            for queued in queue:
                record = self._read(queued)
                self.history += [record] if queued.ok.item() else []
            notify(self.callbacks, "on_train_end", self.history)

    def train(self, train_data: Any, eval_data: Any = None) -> list[Record]:
        """Train until ``max_steps``, ``stop()``, or the end of the data.

        Args:
            train_data: See :meth:`stream`.
            eval_data: See :meth:`stream`.

        Returns:
            The records of this call. After an interrupt or an error they are in
            ``history``.

        Raises:
            FloatingPointError: See :meth:`stream`.
            ValueError: See :meth:`stream`.
        """
        if self.step >= self.config.max_steps:
            warnings.warn(
                f"the run has done its max_steps={self.config.max_steps} updates; build "
                "a Trainer with a larger max_steps to go on",
                stacklevel=2,
            )
        return list(self.stream(train_data, eval_data))

    def train_step(self, batch: Any) -> Record:
        """Do one update and wait for it; callbacks and evaluation are not run.

        Args:
            batch: A tuple of arrays, handed to the loss function.

        Returns:
            The record, as from :meth:`stream`.

        Raises:
            FloatingPointError: See :meth:`stream`.
            ValueError: If the batch does not fit the model.
        """
        return self.train_step_accumulated([batch])

    def train_step_accumulated(self, micro_batches: Sequence[Any]) -> Record:
        """Do one update from several micro-batches, weighted by tokens.

        Args:
            micro_batches: One or more batches.

        Returns:
            The record of the update; its loss is the mean over all tokens.

        Raises:
            FloatingPointError: See :meth:`stream`.
            ValueError: If there is none, or one does not fit the model.
        """
        self._mark = time.perf_counter()
        return self._finish(deque([self._queue(micro_batches)]), None)

    def evaluate(self, eval_data: Any) -> Record:
        """Measure the loss in evaluation mode, without touching weights or randomness.

        Args:
            eval_data: See :meth:`stream`.

        Returns:
            ``eval_loss`` in nats, weighted by tokens, and the loss function's other
            metrics with the prefix ``eval_``.

        Raises:
            ValueError: If there is no batch, or no end to them.
        """
        vocab_size = getattr(getattr(self.model, "config", None), "vocab_size", None)
        totals: dict[str, float] = {}
        weights = 0.0
        stream = RandomStream(self.config.seed)
        with evaluation_mode(self.model):
            for batch in feed.reusable(eval_data, self.config):
                arrays = feed.checked(batch, vocab_size)
                metrics, _ = self._run("evaluate", self._measure, arrays, stream)
                numbers = {name: value.item() for name, value in metrics.items()}
                weight = numbers.pop("tokens", float(arrays[0].shape[0]))
                weights += weight
                for name, value in numbers.items():
                    totals[name] = totals.get(name, 0.0) + weight * value
        return {f"eval_{name}": total / weights for name, total in totals.items()}

    def _measure(self, *batch: mx.array) -> Metrics:
        self.trace_count += 1
        loss, metrics = feed.split_loss(self.loss_fn(self.model, *batch), RESERVED)
        return {"loss": loss, **metrics}

    def set_live(self, name: str, value: float) -> None:
        """Change a live setting; it acts at the next update, without a new trace.

        Args:
            name: ``learning_rate`` (the peak; the schedule multiplies it),
                ``weight_decay``, ``max_grad_norm``, or a key of ``live``.
            value: A finite number within the setting's bounds.

        Raises:
            ValueError: If the name is not live, or the value is out of range.
        """
        if name not in self.live:
            raise ValueError(
                f"{name!r} is not a live setting of this run; these are: "
                f"{', '.join(sorted(self.live))}. Others take effect in a new run"
            )
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")
        if name in TrainConfig.__dataclass_fields__:
            replace(self.config, **{name: value})  # checks the range
        if name in ("learning_rate", "weight_decay") and not self._own_rule:
            raise ValueError(
                f"{name} belongs to the optimizer that you passed; set it there, or "
                "leave optimizer out and name the rule in TrainConfig"
            )
        self.live[name] = mx.array(value, self.live[name].dtype)
