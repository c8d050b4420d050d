"""The one training loop: a generator that performs an update and yields its record.

An update, for every topic of the lab, is

    loss, grads = value_and_grad(loss_fn)(model, *batch)
    grads       = grads * min(1, max_grad_norm / ||grads||)
    model       = optimizer(model, grads)

and it is taken back when the loss or the length of the gradient is not finite. DPO,
GRPO, distillation and the rest are another ``loss_fn`` or another iterator of batches.
With gradient accumulation the first line runs for several batches (`accumulation`), in
several processes for each one's rows (`distributed`), on several CPU cores for some
rows each (`cpu_streams`). ``train`` drains the generator; a live panel drains it from
the notebook's event loop, and so can pause, step, re-tune and stop it.

Simplified on purpose: one precision, except where the loss has its own (`precision`).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any
import warnings

from lmxlab import runtime
from lmxlab.training import distributed, feed
from lmxlab.training.accumulation import Accumulation, weight_of
from lmxlab.training.callbacks import MetricsLogger, needs_weights, notify
from lmxlab.training.clock import StepClock
from lmxlab.training.config import TrainConfig
from lmxlab.training.cpu_streams import on_streams, streams_for
from lmxlab.training.evaluation import evaluate
from lmxlab.training.live import Live, change, values, with_config
from lmxlab.training.loss import LossFn, Metrics, next_token_loss, split_loss
from lmxlab.training.optimizers import create_optimizer
from lmxlab.training.program import Programs
from lmxlab.training.record import Queued, Record, is_finite, not_finite, read
from lmxlab.training.source import Source
from lmxlab.training.state import RandomStream, global_norm
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_map


class Trainer:
    """Trains a model, one compiled update at a time.

    Args:
        model: Any ``nn.Module``; for the default loss its call gives logits (B, T, V),
            or a tuple that starts with them.
        config: The run. Every field acts.
        optimizer: An ``mlx.optimizers`` rule with its own schedule; by default the one
            that the config names.
        callbacks: See :mod:`lmxlab.training.callbacks`. By default a
            ``MetricsLogger(config.log_interval)``; pass ``[]`` for silence.
        loss_fn: See :mod:`lmxlab.training.loss`; next-token cross-entropy by default.
        live: Arrays of shape () that the loss reads while it runs and that
            :meth:`set_live` may change, e.g. ``{"beta": mx.array(0.1)}``. The trainer
            writes learning_rate, weight_decay and max_grad_norm of the config into it.

    Attributes:
        step: Updates done.
        trace_count: Times that Python entered the update: once for each shape of batch
            when compiled, once for each update when not.
        history: All records so far.
        lag: Updates queued before the first is read: 1 on a GPU, 0 on a CPU.
        group: The processes of ``mlx.launch``; one by itself otherwise. Callbacks run
            in the first.

    Example:
        >>> model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
        >>> config = TrainConfig(max_steps=3, warmup_steps=0, log_interval=0)
        >>> trainer = Trainer(model, config)
        >>> tokens = mx.arange(8).reshape(2, 4)
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
        self.group = mx.distributed.init()
        if callbacks is None and config.log_interval:
            callbacks = [MetricsLogger(config.log_interval)]
        self.callbacks = list(callbacks or []) if self.group.rank() == 0 else []
        self.live = with_config(live, config)
        self._initial = values(self.live)
        self._own_rule = optimizer is None
        self.optimizer = optimizer or create_optimizer(config, self.live)
        self.optimizer.init(model.trainable_parameters())
        mx.eval(model.state, self.optimizer.state, self.live)

        self.history: list[Record] = []
        self.step = 0
        self.trace_count = 0
        self.lag = 1 if runtime.is_gpu() else 0
        self._stopping = False
        self._flags = {"stopping": mx.array(0.0)}  # goes round with the gradients
        self._random = RandomStream(config.seed)
        knobs, about = [self.live, self._flags], getattr(loss_fn, "__qualname__", "")
        self._run = Programs(model, self.optimizer, knobs, about, config.compile_step)
        self._accumulated = Accumulation(self._run, self._loss_and_grads, self._apply)
        self._source = Source(config)
        self._clock = StepClock()

    # ------------------------------------------- one update, as mx.compile sees it

    def _update(self, *batch: mx.array) -> Metrics:
        metrics, grads = self._loss_and_grads(*batch)
        return self._apply(metrics, grads, weight_of(metrics, batch))

    def _loss_and_grads(self, *batch: mx.array) -> tuple[Metrics, Any]:
        self.trace_count += 1
        value_and_grad = nn.value_and_grad(
            self.model, lambda *rows: split_loss(self.loss_fn(self.model, *rows))
        )
        streams = streams_for(self.model, self.loss_fn, batch, self.group)
        return on_streams(value_and_grad, batch, streams)

    def _apply(self, metrics: Metrics, grads: Any, weight: mx.array) -> Metrics:
        if self.group.size() > 1:
            metrics, grads = distributed.average(
                self.group, metrics | self._flags, grads, weight
            )
        norm = global_norm(grads)
        limit = self.live["max_grad_norm"]
        scale = mx.where(limit > 0, mx.minimum(1.0, limit / (norm + 1e-6)), 1.0)
        grads = tree_map(lambda g: g * scale.astype(g.dtype), grads)
        self.optimizer.update(self.model, grads)
        rate = self.optimizer.learning_rate
        return {**metrics, "learning_rate": rate, "grad_norm": norm}

    # ------------------------------------------------------------------ queue and read

    def _queue(self, window: Sequence[Any]) -> Queued:
        """Hand one update to the device, without waiting for it."""
        batches = [feed.checked(batch, feed.vocab_size(self.model)) for batch in window]
        if not batches:
            raise ValueError("micro_batches is empty; pass at least one batch")
        tokens = sum(batch[0].size for batch in batches)
        if self.group.size() > 1:
            batches = [distributed.share(self.group, batch) for batch in batches]
        before, done = self._run.snapshot(), self.step
        try:
            if len(batches) == 1:
                metrics, traced = self._run(
                    "update", self._update, batches[0], self._random
                )
            else:
                metrics, traced = self._accumulated(batches, self._random)
            self.step = done + 1
            if self.lag:
                mx.async_eval(metrics, self.model.state, self.optimizer.state)
            return Queued(self.step, metrics, before, tokens, traced)
        except BaseException:  # an interrupt between two of these lines included
            self._take_back(before, done)
            raise

    def _take_back(self, before: list[mx.array], done: int) -> None:
        self._run.restore(before)
        self.step = done

    def _read(self, queued: Queued) -> Record:
        """Wait for an update and turn its numbers into a record."""
        self._clock.waiting()
        record = read(queued)
        if record.pop("stopping", 0):
            self._stopping = True
        if not self.lag and is_finite(record):
            # The weights move once the numbers are known to be good, and with nothing
            # held back the optimizer may reuse their memory.
            queued.before.clear()
            mx.async_eval(self.model.state, self.optimizer.state)
        record["step_seconds"] = self._clock.ended(queued=bool(self.lag))
        if queued.traced:
            record["first_call_seconds"] = record["step_seconds"]
        return record

    def _finish(self, queue: deque[Queued], held_out: list[Any] | None) -> Record:
        queued = queue[0]
        record = self._read(queued)
        if not is_finite(record):
            # Updates queued behind this one were built on its weights: they go too.
            self._take_back(queued.before, queued.step - 1)
            queue.clear()
            raise not_finite(record)
        self.history.append(record)
        queue.popleft()
        if self._due(held_out, queued.step):
            record.update(self.evaluate(held_out))
            notify(self.callbacks, "on_eval_end", queued.step, record)
        notify(self.callbacks, "on_step_end", queued.step, record)
        if any(getattr(callback, "should_stop", False) for callback in self.callbacks):
            self.stop()
        return record

    def _settle(self, queue: deque[Queued]) -> None:
        """Record what was queued when a stream ends early: it has happened."""
        while queue:
            queued = queue.popleft()
            if self.history and self.history[-1]["step"] == queued.step:
                continue  # interrupted just after it was recorded
            record = self._read(queued)
            if not is_finite(record):
                self._take_back(queued.before, queued.step - 1)
                queue.clear()
                break
            self.history.append(record)

    def _due(self, held_out: list[Any] | None, step: int) -> bool:
        return held_out is not None and step % self.config.eval_interval == 0

    def _needed(self, held_out: list[Any] | None, queue: deque[Queued]) -> bool:
        """Whether someone wants the weights as they are after the last step queued."""
        last = queue[-1].step if queue else 0
        return last > 0 and (
            self._due(held_out, last) or needs_weights(self.callbacks, last)
        )

    # ------------------------------------------------------------------------- public

    def stream(self, train_data: Any, eval_data: Any = None) -> Iterator[Record]:
        """Train, yielding one record for each update, in order and complete.

        On a GPU a record comes one update late, so that the device never waits for
        Python; ``lag = 0`` makes the next one come at once. Closing the generator, an
        error or an interrupt leaves model, optimizer and history consistent.

        Args:
            train_data: A dataset with ``batches(batch_size, seed)``, or an iterable of
                batches. The same object given again goes on where it stopped; a
                list that was used up starts again.
            eval_data: What to evaluate on every ``eval_interval`` updates: a dataset
                with ``eval_batches``, or a finite iterable of batches.

        Yields:
            Dictionaries with step, loss (nats), learning_rate, grad_norm (before
            clipping), tokens, step_seconds (without drawing, evaluation and callbacks),
            first_call_seconds when the step was traced, eval_loss when due, and what
            the loss function reports.

        Raises:
            FloatingPointError: If the loss or the gradient is not finite.
            ValueError: If there is no data, or a batch does not fit the model.
        """
        held_out = None if eval_data is None else feed.reusable(eval_data, self.config)
        self._run.refresh()
        self._stopping, self._flags["stopping"] = False, mx.array(0.0)
        queue: deque[Queued] = deque()
        try:
            notify(self.callbacks, "on_train_begin", self.config)
            notify(self.callbacks, "resume", self)
            if self.group.size() > 1:
                distributed.agree(self)
            self._source.open(train_data)
            while True:
                while len(queue) > self.lag or self._needed(held_out, queue):
                    yield self._finish(queue, held_out)
                    self._clock.resumed()
                if self._stopping or self.step >= self.config.max_steps:
                    break
                if not queue:
                    self._clock.fed()
                with self._source.window() as window:
                    if not window:
                        break
                    queue.append(self._queue(window))
            while queue:
                yield self._finish(queue, held_out)
        finally:
            try:
                self._settle(queue)
            finally:
                notify(self.callbacks, "on_train_end", self.history)

    def train(self, train_data: Any, eval_data: Any = None) -> list[Record]:
        """Train until ``max_steps``, :meth:`stop`, or the end of the data.

        Arguments and errors are those of :meth:`stream`.

        Returns:
            The records of this call. After an interrupt or an error they are in
            ``history``.
        """
        if self.step >= self.config.max_steps:
            warnings.warn(
                f"the run has done its max_steps={self.config.max_steps} updates; "
                "build a Trainer with a larger max_steps to go on",
                stacklevel=2,
            )
        return list(self.stream(train_data, eval_data))

    def train_step(self, batch: Any) -> Record:
        """Do one update and wait for it; callbacks and evaluation are not run.

        Args:
            batch: A tuple of arrays, handed to the loss function.

        Returns:
            The record, as from :meth:`stream`.
        """
        return self.train_step_accumulated([batch])

    def train_step_accumulated(self, micro_batches: Sequence[Any]) -> Record:
        """Do one update from several batches, averaged by tokens.

        Args:
            micro_batches: One or more batches.

        Returns:
            The record of the update; its loss is the mean over all tokens.
        """
        self._run.refresh()
        self._clock.fed()
        queue: deque[Queued] = deque()
        try:
            queue.append(self._queue(micro_batches))
            return self._finish(queue, None)
        finally:
            self._settle(queue)

    def evaluate(self, eval_data: Any) -> Record:
        """Measure the loss in evaluation mode; weights and randomness stay as they are.

        Args:
            eval_data: See :meth:`stream`.

        Returns:
            ``eval_loss`` in nats, averaged by tokens, and the loss function's other
            metrics with the prefix ``eval_``.

        Raises:
            ValueError: If there is no batch, no end to them, or every target is
                masked.
        """
        batches = feed.reusable(eval_data, self.config)
        return evaluate(self._run, self.loss_fn, batches, self.config.seed)

    def stop(self) -> None:
        """End the running stream after the step in progress; safe from a callback.

        Under ``mlx.launch`` the first process decides, and all stop soon after.
        """
        if self.group.size() > 1:
            self._flags["stopping"] = mx.array(float(self.group.rank() == 0))
        else:
            self._stopping = True

    def state(self) -> Record:
        """Return where the run stands, but for weights and moments, as plain data.

        Returns:
            ``step``, the key of ``random``, the position in the ``data``, and those
            settings of ``live`` that were changed; see `checkpoints`.
        """
        now = values(self.live).items()
        return {
            "step": self.step,
            "random": self._random.key.tolist(),
            "data": self._source.state(),
            "live": {name: v for name, v in now if v != self._initial.get(name)},
        }

    def restore(self, state: Record) -> None:
        """Go on from a state; weights and moments have to be put back besides.

        Args:
            state: What :meth:`state` returned, here or in another process.
        """
        self.step = state["step"]
        self._random.key = mx.array(state["random"], mx.uint32)
        self._source.restore(state["data"])
        for name, value in (self._initial | state["live"]).items():
            if name in self.live:
                self.live[name] = mx.array(value, self.live[name].dtype)

    def set_live(self, name: str, value: float) -> None:
        """Change a live setting; it acts at the next update, without a new trace.

        Args:
            name: ``learning_rate`` (the peak; the schedule multiplies it),
                ``weight_decay``, ``max_grad_norm``, or a key of ``live``.
            value: A finite number within the setting's bounds.

        Raises:
            ValueError: If the name is not live, or the value is out of range.
        """
        change(self.live, name, value, self.config, own_rule=self._own_rule)
