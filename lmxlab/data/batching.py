"""From a row of token IDs to batches of (input, target), reproducibly.

A dataset is anything with ``batches(batch_size, seed)``. What it returns here is a
`BatchIterator`, whose batch number ``i`` depends on ``(seed, i)`` and on nothing else:

    batch i = draw(Generator(seed, i), batch_size)

So two runs with one seed see the same text, dropout never changes the data, and the
position in the stream is a single integer that a checkpoint can keep.

Windows are drawn at random with replacement. There are no epochs, and no streaming of
corpora that exceed memory.
"""

from collections.abc import Callable, Iterator
import operator
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

TokenArray: TypeAlias = npt.NDArray[np.int32]
Batch: TypeAlias = tuple[npt.NDArray[Any], ...]

_MAX_TOKEN = int(np.iinfo(np.int32).max)
_MAX_SEED = 2**63


@runtime_checkable
class Dataset(Protocol):
    """Whatever can hand out training batches for a batch size and a seed.

    Example:
        >>> isinstance(TokenDataset(range(10), seq_len=4), Dataset)
        True
    """

    def batches(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Return batches, as tuples of arrays whose first axis is the batch.

        Args:
            batch_size: Rows in each batch.
            seed: The same seed gives the same batches.

        Returns:
            An iterator of tuples of arrays, often (input, target), each (B, T).
        """
        ...


@runtime_checkable
class Resumable(Protocol):
    """An iterator whose position can be saved and found again.

    Example:
        >>> isinstance(TokenDataset(range(10), seq_len=4).batches(2, seed=0), Resumable)
        True
        >>> isinstance(iter([1, 2]), Resumable)
        False
    """

    def state(self) -> dict[str, int]:
        """Return the position as plain data that JSON can hold.

        Returns:
            A dict for :meth:`restore`. The caller need not know its keys.
        """
        ...

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a saved position.

        Args:
            state: What :meth:`state` returned, here or in another process.
        """
        ...


class BatchIterator(Iterator[Batch]):
    """Endless batches, each a function of the seed and its own number.

    Args:
        draw: ``draw(rng, batch_size)`` returns one batch, using no other randomness.
        batch_size: Rows in each batch.
        seed: Integer in [0, 2**63).

    Attributes:
        position: Number of the next batch, from 0, which is how many were drawn.

    Raises:
        ValueError: If batch_size < 1 or the seed is out of range.
        TypeError: If either is not an integer.

    Example:
        >>> dice = BatchIterator(lambda rng, n: (rng.integers(1, 7, n),), 3, seed=0)
        >>> first, saved, second = next(dice), dice.state(), next(dice)
        >>> saved
        {'seed': 0, 'batch_size': 3, 'position': 1}
        >>> dice.restore(saved)
        >>> bool((next(dice)[0] == second[0]).all())
        True
    """

    def __init__(
        self,
        draw: Callable[[np.random.Generator, int], Batch],
        batch_size: int,
        seed: int,
    ) -> None:
        self._draw = draw
        self.batch_size = at_least("batch_size", batch_size, 1)
        self.seed = _checked_seed(seed)
        self.position = 0

    def __next__(self) -> Batch:
        """Return the batch at `position` and move on to the next."""
        batch = self._draw(numbered_rng(self.seed, self.position), self.batch_size)
        self.position += 1
        return batch

    def state(self) -> dict[str, int]:
        """Return seed, batch size and position: all it takes to continue.

        Returns:
            A dict of three integers. ``position`` counts the batches drawn so far.
        """
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "position": self.position,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Continue from `state`, in constant time; the saved seed replaces ours.

        Args:
            state: What `state` returned, here or in another process.

        Raises:
            ValueError: If a key is missing, the position is negative, or the state was
                saved with another batch size, which would be other data.
        """
        missing = {"seed", "batch_size", "position"} - state.keys()
        if missing:
            raise ValueError(
                f"state lacks {sorted(missing)}; pass the dict that state() returned"
            )
        if state["batch_size"] != self.batch_size:
            raise ValueError(
                f"state was saved with batch_size={state['batch_size']} but this "
                f"iterator draws {self.batch_size} rows; create it with "
                f"batch_size={state['batch_size']} to continue the same data"
            )
        seed = _checked_seed(state["seed"])
        self.position = at_least("position", state["position"], 0)
        self.seed = seed


class TokenDataset:
    """Windows of one long token array, as (input, target) one position apart.

    Window ``w`` covers ``tokens[w * stride : w * stride + seq_len + 1]``; its first
    seq_len tokens are the input and its last seq_len the target. Training draws windows
    uniformly, the last one included; evaluation spreads them evenly over the text.

    Args:
        tokens: Token IDs, shape (N,), integers in [0, 2**31).
        seq_len: Input length T of a row, in tokens.
        stride: Distance between window starts. 1 allows every offset; seq_len gives
            windows whose targets do not overlap; a sentence length starts every row
            at a sentence.

    Attributes:
        tokens: The text, shape (N,) int32.
        n_windows: How many windows there are, ``(N - seq_len - 1) // stride + 1``.

    Raises:
        ValueError: If tokens is empty, not 1-D, too short for one window, or holds IDs
            out of range; if seq_len or stride is below 1.
        TypeError: If an argument is not made of integers.

    Example:
        >>> data = TokenDataset(range(100, 110), seq_len=4)
        >>> data.n_windows
        6
        >>> inputs, targets = next(data.batches(batch_size=2, seed=0))
        >>> inputs.shape, bool((targets == inputs + 1).all())
        ((2, 4), True)
    """

    def __init__(self, tokens: npt.ArrayLike, seq_len: int, *, stride: int = 1) -> None:
        self.tokens = as_tokens(tokens, "tokens")
        self.seq_len = at_least("seq_len", seq_len, 1)
        self.stride = at_least("stride", stride, 1)
        spare = len(self.tokens) - (self.seq_len + 1)
        if spare < 0:
            raise ValueError(
                f"the text has {len(self.tokens)} tokens but seq_len={self.seq_len} "
                f"needs {self.seq_len + 1} (one more, for the last target); "
                f"use a longer text or seq_len <= {len(self.tokens) - 1}"
            )
        self.n_windows = spare // self.stride + 1

    def windows(self, numbers: npt.ArrayLike) -> tuple[TokenArray, TokenArray]:
        """Return the windows with these numbers.

        Args:
            numbers: Window numbers in [0, n_windows), shape (B,).

        Returns:
            Inputs and targets, each (B, T) int32.

        Raises:
            IndexError: If a number is out of range.

        Example:
            >>> TokenDataset([5, 6, 7, 8], seq_len=2).windows([1])
            (array([[6, 7]], dtype=int32), array([[7, 8]], dtype=int32))
        """
        chosen = np.asarray(numbers, dtype=np.int64)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < self.n_windows:
            raise IndexError(
                f"window numbers must be in [0, {self.n_windows}), got "
                f"{chosen.min()} to {chosen.max()}"
            )
        offsets = chosen[:, None] * self.stride + np.arange(self.seq_len + 1)
        return shift(self.tokens[offsets])

    def batches(self, batch_size: int, seed: int) -> BatchIterator:
        """Return endless batches of windows drawn uniformly, with replacement.

        Args:
            batch_size: Rows B in each batch.
            seed: Integer in [0, 2**63); the same seed gives the same batches.

        Returns:
            A resumable iterator of (input, target), each (B, T) int32.

        Raises:
            ValueError: If batch_size < 1 or the seed is out of range.
        """
        return BatchIterator(self._draw, batch_size, seed)

    def eval_batches(
        self, batch_size: int, n_batches: int = 4
    ) -> list[tuple[TokenArray, TokenArray]]:
        """Return the same batches at every call, spread evenly over the text.

        The first row is the first window and the last row is the last one. With fewer
        windows than rows, windows repeat.

        Args:
            batch_size: Rows B in each batch.
            n_batches: How many batches.

        Returns:
            A list of (input, target), each (B, T) int32.

        Raises:
            ValueError: If batch_size or n_batches is below 1.
        """
        at_least("batch_size", batch_size, 1)
        at_least("n_batches", n_batches, 1)
        spread = np.linspace(0, self.n_windows - 1, batch_size * n_batches)
        numbers = spread.round().astype(np.int64).reshape(n_batches, batch_size)
        return [self.windows(row) for row in numbers]

    def _draw(self, rng: np.random.Generator, n: int) -> Batch:
        return self.windows(rng.integers(self.n_windows, size=n))


def shift(rows: TokenArray) -> tuple[TokenArray, TokenArray]:
    """Split rows into what the model reads and what it must predict.

    Args:
        rows: Token IDs, shape (B, T + 1).

    Returns:
        ``(rows[:, :-1], rows[:, 1:])``, each (B, T) and contiguous.

    Example:
        >>> shift(np.array([[1, 2, 3]], dtype=np.int32))
        (array([[1, 2]], dtype=int32), array([[2, 3]], dtype=int32))
    """
    return np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])


def as_tokens(values: npt.ArrayLike, name: str = "tokens") -> TokenArray:
    """Return values as a 1-D int32 array, or say what is wrong with them.

    Args:
        values: Token IDs, shape (N,): a list, a range, or a NumPy or MLX array.
        name: What to call them in an error.

    Returns:
        The IDs, shape (N,), int32. An int32 NumPy array is returned uncopied.

    Raises:
        ValueError: If there are none, they are not 1-D, or one is outside [0, 2**31).
        TypeError: If they are not integers.

    Example:
        >>> as_tokens([3, 1, 2])
        array([3, 1, 2], dtype=int32)
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be 1-D, got shape {array.shape}; flatten it first"
        )
    if array.size == 0:
        raise ValueError(f"{name} is empty; pass at least one token ID")
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"{name} must hold integers, got {array.dtype}; encode the text first"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > _MAX_TOKEN:
        raise ValueError(
            f"{name} must hold IDs in [0, {_MAX_TOKEN}], got {low} to {high}; "
            f"check the tokenizer that made them"
        )
    return array.astype(np.int32, copy=False)


def numbered_rng(seed: int, number: int) -> np.random.Generator:
    """Return generator `number` of the family that belongs to `seed`.

    Args:
        seed: The family.
        number: The member. Members are independent and cost the same to reach.

    Returns:
        A NumPy generator of its own: neither ``np.random`` nor ``mx.random`` is used.

    Example:
        >>> draws = [numbered_rng(0, i).integers(1000) for i in (0, 1, 0)]
        >>> bool(draws[0] == draws[2] != draws[1])
        True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))


def at_least(name: str, value: int, low: int) -> int:
    """Return an integer argument, or say by name why it will not do.

    Args:
        name: The argument's name.
        value: What was given.
        low: The smallest legal value.

    Returns:
        The argument as a Python integer, also if it was one of NumPy's.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is too small.

    Example:
        >>> at_least("n", 3, 1)
        3
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, got {value!r}") from error
    if number < low:
        raise ValueError(f"{name} must be at least {low}, got {number}")
    return number


def _checked_seed(seed: int) -> int:
    number = at_least("seed", seed, 0)
    if number >= _MAX_SEED:
        raise ValueError(f"seed must be below 2**63, got {number}")
    return number
