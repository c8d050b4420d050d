"""Training data with a position that can be saved and found again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from lmxlab.training import feed
from lmxlab.training.config import TrainConfig
import mlx.core as mx

START: dict[str, Any] = {"drawn": 0, "iterator": None, "pending": []}


class Source:
    """Windows of batches, one for each update, none lost and none seen twice.

    Args:
        config: Gives ``grad_accumulation_steps``, and what a dataset needs.

    Example:
        >>> source = Source(TrainConfig(grad_accumulation_steps=2))
        >>> source.open([(1,), (2,), (3,)])
        >>> with source.window() as window: print(window)
        [(1,), (2,)]
        >>> source.state()["drawn"]
        2
    """

    def __init__(self, config: TrainConfig) -> None:
        """Hold no data yet."""
        self._config = config
        self._data: Any = None
        self._batches: Iterator[Any] = iter(())
        self._drawn = 0
        self._pending: list[Any] = []
        self._goal: dict[str, Any] | None = None
        self._untouched = True

    def open(self, data: Any) -> None:
        """Start with new data, go on with the same, or go to a restored position.

        Args:
            data: See :func:`lmxlab.training.feed.batches`.

        Raises:
            TypeError: If it is neither a dataset nor an iterable.
            ValueError: If it ends before the restored position, or cannot go back to
                it, or its iterator says that the position is not its own.
        """
        if data is not self._data:
            self._start(data)
            self._pending = []
        if self._goal is not None:
            self._seek(data, self._goal)
            self._goal = None
        self._untouched = True

    @contextmanager
    def window(self) -> Iterator[list[Any]]:
        """Give out the next batches, and again next time if the block is interrupted.

        A context manager: ``with source.window() as window:``. A block that fails by
        itself would fail again, so its window is let go.

        Yields:
            A list of at most ``grad_accumulation_steps`` batches, to the block; [] at
            the end of the data.

        Raises:
            ValueError: If there was none at all since the data was opened.
        """
        while len(self._pending) < self._config.grad_accumulation_steps:
            try:
                self._pending.append(next(self._batches))
            except StopIteration:
                break
            self._drawn += 1
        if not self._pending:
            self._data = None  # a list that was used up starts again next time
            if self._untouched:
                raise ValueError(
                    "train_data gave no batch; an iterator that was used up before "
                    "stays empty, pass a list or a dataset"
                )
        self._untouched = False
        try:
            yield list(self._pending)
        except Exception:
            self._pending.clear()
            raise
        self._pending.clear()

    def state(self) -> dict[str, Any]:
        """Return the position as plain data that JSON can hold.

        Returns:
            How many batches were drawn, the iterator's own state if it has one, and
            batches that were drawn but not used.
        """
        if self._goal is not None or self._data is None:
            return self._goal or START
        resumable = hasattr(self._batches, "state")
        pending = [feed.checked(batch, None) for batch in self._pending]
        return {
            "drawn": self._drawn,
            "iterator": cast(Any, self._batches).state() if resumable else None,
            "pending": [[_packed(array) for array in batch] for batch in pending],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a position once the data is there: see :meth:`open`.

        Args:
            state: What :meth:`state` returned, here or in another process.
        """
        self._goal = state

    def _start(self, data: Any) -> None:
        self._batches = feed.batches(data, self._config)
        self._data, self._drawn = data, 0

    def _seek(self, data: Any, goal: dict[str, Any]) -> None:
        """By the iterator's own means, or by skipping batches."""
        if hasattr(self._batches, "restore") and goal["iterator"] is not None:
            cast(Any, self._batches).restore(goal["iterator"])
        else:
            if self._drawn > goal["drawn"]:
                if self._batches is data:
                    raise ValueError(
                        f"train_data cannot go back from batch {self._drawn} to "
                        f"{goal['drawn']}; pass a list or a dataset, or make it anew"
                    )
                self._start(data)
            for at in range(self._drawn, goal["drawn"]):
                if next(self._batches, None) is None:
                    raise ValueError(
                        f"train_data ends after {at} batches, but the run had drawn "
                        f"{goal['drawn']}; pass the data of that run, from its start"
                    )
        self._drawn = goal["drawn"]
        self._pending = [
            tuple(_unpacked(array) for array in batch) for batch in goal["pending"]
        ]


def _packed(array: mx.array) -> dict[str, Any]:
    return {"dtype": str(array.dtype).rpartition(".")[2], "values": array.tolist()}


def _unpacked(packed: dict[str, Any]) -> mx.array:
    return mx.array(packed["values"], getattr(mx, packed["dtype"]))
