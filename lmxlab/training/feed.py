"""Batches on their way into the trainer: grouped, checked and converted.

Checks happen here, on the host, because a compiled step cannot make them: MLX gathers
outside an embedding table without a word, and training goes on with garbage.
"""

from collections.abc import Iterator
import itertools
from typing import Any, cast

from lmxlab.training.config import TrainConfig
import mlx.core as mx
import numpy as np

Batch = tuple[mx.array, ...]
EVAL_BATCHES = 8  # drawn from a dataset, which has no end of its own
MAX_EVAL_BATCHES = 10_000


def batches(data: Any, config: TrainConfig) -> Iterator[Any]:
    """Iterate over training data of either kind.

    Args:
        data: A dataset, that is anything with ``batches(batch_size, seed)``, or an
            iterable of batches. A batch is a tuple of arrays, or one array.
        config: Gives a dataset its ``batch_size`` and ``seed``. The batches of an
            iterable are taken as they come.

    Returns:
        An iterator of batches.

    Raises:
        TypeError: If ``data`` is neither.

    Example:
        >>> next(batches([(1, 2)], TrainConfig()))
        (1, 2)
    """
    if hasattr(data, "batches"):
        return iter(data.batches(config.batch_size, config.seed))
    return _iterator("train_data", "batches(batch_size, seed)", data)


def reusable(data: Any, config: TrainConfig) -> list[Any]:
    """Keep evaluation data, so that every evaluation sees the same batches.

    Args:
        data: A dataset with ``eval_batches(batch_size, n_batches)``, of which 8 batches
            are taken, or a finite iterable of batches.
        config: Gives a dataset its ``batch_size``.

    Returns:
        All batches.

    Raises:
        TypeError: If ``data`` is neither.
        ValueError: If there is no batch, or no end to them.

    Example:
        >>> reusable(iter([1, 2]), TrainConfig())
        [1, 2]
    """
    if hasattr(data, "eval_batches"):
        data = data.eval_batches(config.batch_size, EVAL_BATCHES)
    source = _iterator("eval_data", "eval_batches(batch_size, n_batches)", data)
    kept = list(itertools.islice(source, MAX_EVAL_BATCHES + 1))
    if not kept:
        raise ValueError("eval_data gave no batch; pass at least one, or None")
    if len(kept) > MAX_EVAL_BATCHES:
        raise ValueError(
            f"eval_data gave more than {MAX_EVAL_BATCHES} batches; evaluation needs an "
            "end: pass a list, or itertools.islice(data, n)"
        )
    return kept


def checked(batch: Any, vocab_size: int | None) -> Batch:
    """Convert one batch to MLX arrays and check its token IDs.

    Args:
        batch: A tuple or list of arrays, or one array. An integer array with two axes
            is taken for token IDs.
        vocab_size: IDs must be in [0, vocab_size); None checks nothing.

    Returns:
        The arrays; integers as int32 and floats as float32 when they came from NumPy.

    Raises:
        TypeError: If an element is not an array of numbers or a number.
        ValueError: If an array is empty or an ID is outside the vocabulary.

    Example:
        >>> checked(np.array([[0, 7]]), vocab_size=5)
        Traceback (most recent call last):
            ...
        ValueError: batch[0] has token id 7, outside the model's vocabulary of 5 \
(0 to 4); use the tokenizer that the model was made for
    """
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    arrays = []
    for index, part in enumerate(parts):
        if not isinstance(part, (np.ndarray, np.generic, mx.array, int, float)):
            raise TypeError(
                f"batch[{index}] must be an array or a number, got "
                f"{type(part).__name__}; a batch is a tuple of arrays"
            )
        array = part if isinstance(part, (mx.array, np.ndarray)) else np.asarray(part)
        if isinstance(array, np.ndarray) and array.dtype.kind not in "fiub":
            raise TypeError(f"batch[{index}] must hold numbers, got {array.dtype}")
        if array.size == 0:
            raise ValueError(f"batch[{index}] is empty (shape {tuple(array.shape)})")
        if vocab_size is not None and array.ndim == 2 and _is_integer(array):
            _check_ids(array, index, vocab_size)
        arrays.append(_converted(array))
    return tuple(arrays)


def vocab_size(model: Any) -> int | None:
    """Read the size of a model's vocabulary.

    Args:
        model: Any module; ours say so in ``config``, those of mlx-lm in ``args``.

    Returns:
        The number of tokens, or None if the model does not say.

    Example:
        >>> vocab_size(object()) is None
        True
    """
    about = getattr(model, "config", None) or getattr(model, "args", None)
    return getattr(about, "vocab_size", None)


def rows(batch: Batch) -> float:
    """Count the rows of a batch: its weight when the loss counts no tokens.

    Args:
        batch: What :func:`checked` returned.

    Returns:
        The length of the first array's first axis, or 1.0 if that is a single number.

    Example:
        >>> rows((mx.zeros((4, 2)),)), rows((mx.array(1.0),))
        (4.0, 1.0)
    """
    return float(batch[0].shape[0]) if batch[0].ndim else 1.0


def _iterator(name: str, method: str, data: Any) -> Iterator[Any]:
    bare = isinstance(data, (np.ndarray, mx.array, str, dict))
    if bare or not hasattr(data, "__iter__"):
        raise TypeError(
            f"{name} must be a dataset with {method} or an iterable of batches, got "
            f"{type(data).__name__}; wrap an array of tokens in "
            "lmxlab.data.TokenDataset"
        )
    return iter(data)


def _is_integer(array: Any) -> bool:
    if isinstance(array, mx.array):
        return bool(mx.issubdtype(array.dtype, mx.integer))
    return array.dtype.kind in "iu"


def _check_ids(array: Any, index: int, vocab_size: int) -> None:
    if isinstance(array, mx.array):
        # On the CPU's stream, so that a GPU busy with the last step is not waited for.
        ends = array.min(stream=mx.cpu), array.max(stream=mx.cpu)
        low, high = (cast(int, end.item()) for end in ends)
    else:
        # The ufuncs themselves: the methods cost twice as much on a small array.
        low = int(np.minimum.reduce(array, None))
        high = int(np.maximum.reduce(array, None))
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"batch[{index}] has token id {low if low < 0 else high}, outside the "
            f"model's vocabulary of {vocab_size} (0 to {vocab_size - 1}); "
            + (
                "mask targets out with a mask, not with negative ids"
                if low < 0
                else "use the tokenizer that the model was made for"
            )
        )


def _converted(array: Any) -> mx.array:
    if isinstance(array, mx.array):
        return array
    kinds = {"f": np.float32, "i": np.int32, "u": np.int32, "b": np.bool_}
    ours = array.astype(kinds[array.dtype.kind], order="C", copy=False)
    # mx.array(ours) swallows a KeyboardInterrupt that comes while it looks at its
    # argument (one in three of them, MLX 0.32.4); it reads a memoryview without.
    return mx.array(cast(Any, memoryview(ours)))
