"""Rows of different lengths in one batch, and few lengths in all."""

from collections.abc import Sequence

from lmxlab.data.batching import TokenArray, as_tokens, at_least
import numpy as np
import numpy.typing as npt


def pad_batch(
    rows: Sequence[npt.ArrayLike], pad_id: int = 0, *, length: int | None = None
) -> tuple[TokenArray, TokenArray, npt.NDArray[np.float32]]:
    """Stack token rows of unequal length into one rectangle, with a mask.

    Args:
        rows: B rows of token IDs, each of at least 2 tokens.
        pad_id: ID that fills the input and the target after a row's end.
        length: Width T of the result; by default that of the longest row, less one.
            Pass ``length_bucket(...)`` to keep the number of shapes small.

    Returns:
        ``(inputs, targets, mask)``, each (B, T). IDs are int32. The mask is float32, 1
        where the target is a token of the row and 0 where it is padding.

    Raises:
        ValueError: If rows is empty, a row has fewer than 2 tokens or an ID out of
            range, or length is too small for the longest row.

    Example:
        >>> inputs, targets, mask = pad_batch([[1, 2, 3], [4, 5]])
        >>> inputs.tolist(), targets.tolist(), mask.tolist()
        ([[1, 2], [4, 0]], [[2, 3], [5, 0]], [[1.0, 1.0], [1.0, 0.0]])
    """
    if len(rows) == 0:
        raise ValueError("rows is empty; pass at least one row of token IDs")
    pad = at_least("pad_id", pad_id, 0)
    arrays = [as_tokens(row, f"rows[{i}]") for i, row in enumerate(rows)]
    for i, array in enumerate(arrays):
        if len(array) < 2:
            raise ValueError(
                f"rows[{i}] has 1 token; a row needs 2 to have an input and a target"
            )
    longest = max(map(len, arrays)) - 1
    width = longest if length is None else at_least("length", length, 1)
    if width < longest:
        raise ValueError(
            f"length={width} is too small: the longest row needs {longest}; "
            f"truncate the rows or raise length"
        )
    inputs = np.full((len(arrays), width), pad, dtype=np.int32)
    targets = inputs.copy()
    mask = np.zeros(inputs.shape, dtype=np.float32)
    for i, array in enumerate(arrays):
        n = len(array) - 1
        inputs[i, :n], targets[i, :n], mask[i, :n] = array[:-1], array[1:], 1.0
    return inputs, targets, mask


def length_bucket(n: int, buckets: Sequence[int]) -> int:
    """Round a length up to the nearest bucket.

    A compiled step is traced once for each shape and the traces are kept for ever, so a
    few buckets cost a little padding and save many traces.

    Args:
        n: A length in tokens, at least 1.
        buckets: Allowed lengths, in any order.

    Returns:
        The smallest bucket that is at least n.

    Raises:
        ValueError: If there are no buckets, one is below 1, or n exceeds the largest.

    Example:
        >>> [length_bucket(n, [16, 32, 64]) for n in (1, 16, 17, 64)]
        [16, 16, 32, 64]
    """
    at_least("n", n, 1)
    if len(buckets) == 0:
        raise ValueError("buckets is empty; pass the lengths to round up to")
    fitting = [b for b in buckets if at_least("every bucket", b, 1) >= n]
    if not fitting:
        raise ValueError(
            f"n={n} exceeds the largest bucket, {max(buckets)}; "
            f"add a bucket of at least {n} or truncate the row"
        )
    return min(fitting)
