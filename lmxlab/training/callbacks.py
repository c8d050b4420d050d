"""Small observers of a run: they see every record and may ask it to stop.

A callback is any object with some of the methods of :class:`Callback`. The trainer
times neither them nor what they draw.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
import math
import statistics
from typing import Any, Protocol
import warnings

from lmxlab.training.config import TrainConfig
from lmxlab.training.record import Record


class Callback(Protocol):
    """What a callback may implement; subclasses inherit methods that do nothing.

    A callback with an attribute ``should_stop`` that is true ends the run after the
    step. Two more methods are looked for: ``needs_weights(step)``, see
    :func:`needs_weights`, and ``resume(trainer)``, called after ``on_train_begin`` with
    a trainer that may still be given another state.

    Example:
        >>> class Best(Callback):
        ...     loss = math.inf
        ...     def on_step_end(self, step, metrics):
        ...         self.loss = min(self.loss, metrics["loss"])
        >>> best = Best()
        >>> best.on_step_end(1, {"loss": 2.0}); best.loss
        2.0
    """

    def on_train_begin(self, config: TrainConfig) -> None:
        """Run before the first step.

        Args:
            config: The run's settings.
        """
        return

    def on_step_end(self, step: int, metrics: Record) -> None:
        """Run after each update.

        Args:
            step: Number of the update, from 1.
            metrics: Its record; what is added to it stays in the history.
        """
        return

    def on_eval_end(self, step: int, metrics: Record) -> None:
        """Run after each evaluation, and before that update's ``on_step_end``.

        Args:
            step: Number of the update that was evaluated, from 1.
            metrics: Its record, with ``eval_loss`` in it.
        """
        return

    def on_train_end(self, history: list[Record]) -> None:
        """Run once at the end, also after an error, an interrupt or ``stop()``.

        Args:
            history: The records of all updates so far, in order.
        """
        return


def notify(callbacks: Sequence[Any], event: str, *args: Any) -> None:
    """Call one method of each callback that has it, even after one of them failed.

    The error goes on once all have been told.

    Args:
        callbacks: They are called in this order.
        event: The method's name.
        *args: Its arguments.

    Example:
        >>> notify([object(), MetricsLogger(1)], "on_step_end", 1, {"loss": 2.0})
        step 1 | loss 2.0000
    """
    if not callbacks:
        return
    with ExitStack() as calls:
        for callback in reversed(callbacks):  # a stack: the last in is called first
            method = getattr(callback, event, None)
            if method is not None:
                calls.callback(method, *args)


def needs_weights(callbacks: Sequence[Any], step: int) -> bool:
    """Return whether a callback reads the weights after this very step.

    On a GPU the next update is queued before a step's numbers are read. A callback that
    wants the weights of a step has a method ``needs_weights(step)``, and where that is
    true the trainer waits.

    Args:
        callbacks: Any of them may lack the method.
        step: Number of the update.

    Returns:
        Whether the method of any is true for the step.

    Example:
        >>> needs_weights([MetricsLogger(1)], 1)
        False
    """
    asked = (getattr(callback, "needs_weights", None) for callback in callbacks)
    return any(ask(step) for ask in asked if ask is not None)


class MetricsLogger(Callback):
    """Prints a line every few steps and at each evaluation.

    Args:
        log_interval: Steps between lines; 0 prints evaluations only.

    Raises:
        ValueError: If ``log_interval`` is negative.

    Example:
        >>> logger = MetricsLogger(log_interval=2)
        >>> logger.on_step_end(1, {"loss": 3.0})
        >>> logger.on_step_end(2, {"loss": 2.5, "learning_rate": 3e-4})
        step 2 | loss 2.5000 | lr 3.00e-04
    """

    def __init__(self, log_interval: int = 10) -> None:
        """Check the interval."""
        self.log_interval = _interval(log_interval, least=0)

    def on_step_end(self, step: int, metrics: Record) -> None:
        """Print the record of every ``log_interval``-th step.

        Args:
            step: Number of the update.
            metrics: Its record, of which it prints what is there.
        """
        if not self.log_interval or step % self.log_interval:
            return
        parts = [f"step {step}", f"loss {metrics['loss']:.4f}"]
        if "learning_rate" in metrics:
            parts.append(f"lr {metrics['learning_rate']:.2e}")
        if "grad_norm" in metrics:
            parts.append(f"grad norm {metrics['grad_norm']:.2f}")
        if "step_seconds" in metrics and "first_call_seconds" not in metrics:
            parts.append(f"{metrics['step_seconds'] * 1e3:.1f} ms")
        print(" | ".join(parts))

    def on_eval_end(self, step: int, metrics: Record) -> None:
        """Print the evaluation's loss.

        Args:
            step: Number of the update.
            metrics: Its record, with ``eval_loss`` in it.
        """
        print(f"step {step} | eval loss {metrics['eval_loss']:.4f}")


class EarlyStopping(Callback):
    """Stops when the evaluation's loss has not improved for a while.

    Args:
        patience: Evaluations without improvement before the run stops.
        min_delta: Nats by which a loss must fall to count as an improvement.

    Attributes:
        best: Lowest loss so far.
        stopped_step: Step at which it asked to stop, or None.

    Raises:
        ValueError: If ``patience`` is below 1 or ``min_delta`` is negative.

    Example:
        >>> stopper = EarlyStopping(patience=1)
        >>> for step, loss in enumerate([2.0, 1.5, 1.5], start=1):
        ...     stopper.on_eval_end(step, {"eval_loss": loss})
        >>> stopper.should_stop, stopper.stopped_step
        (True, 3)
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.001) -> None:
        """Check the arguments."""
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        if not min_delta >= 0:
            raise ValueError(f"min_delta must be at least 0, got {min_delta}")
        self.patience = patience
        self.min_delta = min_delta
        self._reset()

    def _reset(self) -> None:
        self.best = math.inf
        self.waited = 0
        self.evaluations = 0
        self.stopped_step: int | None = None
        self.should_stop = False

    def state(self) -> dict[str, Any]:
        """Return what a resumed run must remember.

        Returns:
            ``best``, the lowest loss; ``waited``, how many evaluations were not better
            since then; and ``evaluations``, how many there were in all.
        """
        return {
            "best": self.best,
            "waited": self.waited,
            "evaluations": self.evaluations,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Remember it; the run may go on even if it had been stopped.

        Args:
            state: What :meth:`state` returned.
        """
        self.best = state["best"]
        self.waited = state["waited"]
        self.evaluations = state["evaluations"]

    def on_train_begin(self, config: TrainConfig) -> None:
        """Forget an earlier run.

        Args:
            config: The run; not looked at.
        """
        self._reset()

    def on_eval_end(self, step: int, metrics: Record) -> None:
        """Compare with the best loss so far, and ask to stop when it is time.

        Args:
            step: Number of the update.
            metrics: Its record, with ``eval_loss`` in it.
        """
        self.evaluations += 1
        if metrics["eval_loss"] < self.best - self.min_delta:
            self.best = metrics["eval_loss"]
            self.waited = 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.should_stop = True
            self.stopped_step = step

    def on_train_end(self, history: list[Record]) -> None:
        """Warn if there was nothing to judge by.

        Args:
            history: All records; a run without any gets no warning.
        """
        if history and not self.evaluations:
            warnings.warn(
                "EarlyStopping saw no evaluation: pass eval_data, and an eval_interval "
                "below max_steps",
                stacklevel=2,
            )


class ThroughputMonitor(Callback):
    """Measures tokens per second over the last few steps, first calls left out.

    Args:
        log_interval: Steps in the window, and between printed lines.
        tokens_per_step: Tokens in an update; the record's own count when left out.

    Attributes:
        tokens_per_second: Median over the window; None before the first timed step.
        first_call_seconds: What tracing and compiling cost, all shapes together.

    Raises:
        ValueError: If an argument is below 1.

    Example:
        >>> monitor = ThroughputMonitor(log_interval=2, tokens_per_step=100)
        >>> monitor.on_step_end(1, {"step_seconds": 9.0, "first_call_seconds": 9.0})
        >>> monitor.on_step_end(2, {"step_seconds": 0.1})
        step 2 | 1,000 tokens/s
    """

    def __init__(
        self, log_interval: int = 10, tokens_per_step: int | None = None
    ) -> None:
        """Check the arguments."""
        self.log_interval = _interval(log_interval)
        if tokens_per_step is not None and tokens_per_step < 1:
            raise ValueError(
                f"tokens_per_step must be at least 1, got {tokens_per_step}"
            )
        self.tokens_per_step = tokens_per_step
        self.tokens_per_second: float | None = None
        self.first_call_seconds = 0.0
        self._rates: deque[float] = deque(maxlen=log_interval)

    def on_step_end(self, step: int, metrics: Record) -> None:
        """Add a step to the window, and print the median when a line is due.

        Args:
            step: Number of the update.
            metrics: Its record, with ``step_seconds`` in it and, if the monitor was
                not given them, ``tokens``.
        """
        if "first_call_seconds" in metrics:
            self.first_call_seconds += metrics["first_call_seconds"]
        else:
            tokens = self.tokens_per_step or metrics["tokens"]
            self._rates.append(tokens / max(metrics["step_seconds"], 1e-9))
            self.tokens_per_second = statistics.median(self._rates)
        if step % self.log_interval == 0 and self.tokens_per_second is not None:
            print(f"step {step} | {self.tokens_per_second:,.0f} tokens/s")


def _interval(value: int, least: int = 1) -> int:
    if value < least:
        raise ValueError(f"log_interval must be at least {least}, got {value}")
    return value
