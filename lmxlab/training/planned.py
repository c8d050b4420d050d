"""Batches that follow a plan: as many as it says, each by how far the run has come.

The base of the curricula. A :class:`~lmxlab.data.batching.BatchIterator` is endless,
and its batch i depends on (seed, i) alone; these end, and belong to a plan.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from lmxlab.data.batching import Batch, BatchIterator
import numpy as np

Draw: TypeAlias = Callable[[np.random.Generator, int], Batch]
Plan: TypeAlias = dict[str, Any]


class PlannedBatches(BatchIterator):
    """A finite `BatchIterator` whose batches may also depend on how far it has come.

    Args:
        draw: ``draw(rng, batch_size)`` returns one batch, using no other randomness.
        batch_size: Rows in each batch.
        seed: Integer in [0, 2**63).
        n_batches: How many batches there are.
        plan: Settings that a saved position belongs to, as plain data for JSON.

    Attributes:
        n_batches: Batches in all, which is also the iterator's ``len``.
        position: Number of the next batch, from 0, which is how many were drawn.

    Raises:
        ValueError: If batch_size < 1 or the seed is out of range.
        TypeError: If either is not an integer.

    Example:
        >>> draw = lambda rng, n: (rng.integers(1, 7, n),)
        >>> dice = PlannedBatches(draw, 3, seed=0, n_batches=2, plan={"sides": 6})
        >>> first = next(dice)
        >>> dice.state()
        {'seed': 0, 'batch_size': 3, 'position': 1, 'plan': {'sides': 6}}
        >>> len(dice), len(list(dice))  # of two batches one was left
        (2, 1)
    """

    def __init__(
        self, draw: Draw, batch_size: int, seed: int, n_batches: int, plan: Plan
    ) -> None:
        super().__init__(draw, batch_size, seed)
        self.n_batches = n_batches
        self._plan = plan

    def __len__(self) -> int:
        """Return how many batches there are, those already drawn included."""
        return self.n_batches

    def __next__(self) -> Batch:
        """Return the batch at `position`, until there have been ``n_batches``."""
        if self.position >= self.n_batches:
            raise StopIteration
        return super().__next__()

    def state(self) -> dict[str, Any]:
        """Return all it takes to continue, as plain data that JSON can hold.

        Returns:
            ``seed``, ``batch_size``, ``position`` and ``plan``.
        """
        return {**super().state(), "plan": self._plan}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`, in constant time; the saved seed replaces ours.

        Args:
            state: What :meth:`state` returned, here or in another process.

        Raises:
            ValueError: If it belongs to another plan. Nothing has changed.
        """
        saved = state.get("plan")
        if saved != self._plan:
            raise ValueError(
                f"state was saved from a curriculum of {saved} but this one is of "
                f"{self._plan}; build it with the same settings to continue the data"
            )
        super().restore(state)
