"""How much memory an update takes, beyond what is there anyway.

MLX counts the bytes of its live arrays, and remembers the most there have been. What
was alive before (weights, moments, other models in the same notebook) is taken off:

    working memory = peak during the work - active before it

Memory that MLX keeps for reuse, and Python's own, are not part of it.
"""

from collections.abc import Callable
from typing import Any

from lmxlab.training.callbacks import Callback
from lmxlab.training.config import TrainConfig
from lmxlab.training.record import Record
import mlx.core as mx

MIB = 2**20
"""Bytes in a mebibyte."""


def working_memory(work: Callable[[], Any]) -> int:
    """Measure the most memory that some work needed at once.

    Args:
        work: Called once. Arrays that it returns are evaluated.

    Returns:
        Bytes, without those that were in use before.

    Example:
        >>> work = lambda: mx.zeros((1024, 1024)) + 1  # 2**20 numbers of 4 bytes
        >>> working_memory(work) // MIB  # bytes as MiB
        4
    """
    mx.synchronize()  # a GPU may still be at what was asked for before
    held = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(work())
    mx.synchronize()
    return max(0, mx.get_peak_memory() - held)


class PeakMemory(Callback):
    """Notes the most memory that a run has needed so far in each of its records.

    Evaluations count too. A panel shows the metric ``peak_memory_mib`` in a plot of its
    own. The count starts anew with the run, so watch one run at a time.

    Example:
        >>> watch = PeakMemory()
        >>> watch.on_train_begin(TrainConfig())
        >>> mx.eval(mx.ones((1024, 1024)))
        >>> record = {"step": 1, "loss": 2.0}
        >>> watch.on_step_end(1, record)
        >>> round(record["peak_memory_mib"])
        4
    """

    def __init__(self) -> None:
        """Nothing is running yet."""
        self._held = 0

    def on_train_begin(self, config: TrainConfig) -> None:
        """Note what is in use before the first step.

        Args:
            config: The run; not looked at.
        """
        mx.reset_peak_memory()
        self._held = mx.get_active_memory()

    def on_step_end(self, step: int, metrics: Record) -> None:
        """Add ``peak_memory_mib`` to the record.

        Args:
            step: Number of the update; not looked at.
            metrics: Its record, changed in place.
        """
        metrics["peak_memory_mib"] = max(0, mx.get_peak_memory() - self._held) / MIB
