"""What the toy worlds share: rows are drawn, to train on and to evaluate on."""

from abc import ABC, abstractmethod

from lmxlab.data.batching import Batch, BatchIterator, at_least, numbered_rng
import numpy as np

# NumPy seeds of the user are below 2**63: evaluation rows share no stream with them.
_EVAL_SEED = 2**64


class World(ABC):
    """A dataset whose rows are drawn from a known distribution.

    A subclass says how (:meth:`_draw`), and what a row looks like.

    Example:
        >>> class Dice(World):
        ...     def _draw(self, rng, n):
        ...         return (rng.integers(1, 7, size=(n, 2)),)
        >>> [batch[0].shape for batch in Dice().eval_batches(8, n_batches=2)]
        [(8, 2), (8, 2)]
    """

    @abstractmethod
    def _draw(self, rng: np.random.Generator, n: int) -> Batch:
        """Return arrays of n rows, using the generator's randomness alone."""

    def batches(self, batch_size: int, seed: int) -> BatchIterator:
        """Return endless batches of fresh rows.

        Args:
            batch_size: Rows B in each batch.
            seed: Integer in [0, 2**63); the same seed gives the same batches.

        Returns:
            A resumable iterator of tuples of arrays, as the class describes them.

        Raises:
            ValueError: If batch_size < 1 or the seed is out of range.
        """
        return BatchIterator(self._draw, batch_size, seed)

    def eval_batches(self, batch_size: int, n_batches: int = 4) -> list[Batch]:
        """Return the same batches at every call, from a stream no seed trains on.

        In a world with few rows, a single one may well occur in training too.

        Args:
            batch_size: Rows B in each batch.
            n_batches: How many batches.

        Returns:
            A list of tuples of arrays, as the class describes them.

        Raises:
            ValueError: If batch_size or n_batches is below 1.
        """
        at_least("batch_size", batch_size, 1)
        return [
            self._draw(numbered_rng(_EVAL_SEED, number), batch_size)
            for number in range(at_least("n_batches", n_batches, 1))
        ]
