"""A teacher that is run once: its k most likely tokens at each position, on disk.

For a position with log-probabilities l = log softmax(z) the cache keeps the k largest,
their token IDs, and what they leave out:

    values   (B, T, k)   l of the k most likely tokens, most likely first
    indices  (B, T, k)   their IDs
    tail     (B, T)      log of the probability of all other tokens together

When it is read, the other V - k tokens share the tail equally, log-probability
tail - log(V - k) each. That is a distribution over all V: it works with every
divergence and at every temperature, its top k are exact at temperature 1, and k = V
gives the teacher back. To renormalise the top k would instead call all other tokens
impossible, and a high temperature would teach that loudly. The price: within the tail
the student is told that all tokens are equal, so use a larger k with a larger
temperature. k = 1 is label smoothing with the teacher's own doubt.

The cache belongs to a finite list of batches and holds a fingerprint of their tokens:
read with other data it is refused. Values are float32, 8 bytes with their index; or
float16, 6 bytes, which rounds a log-probability of -8 by up to 0.004.

Left out on purpose: caches larger than memory, and a fingerprint of the teacher.
"""

from collections.abc import Iterator, Sequence
import hashlib
import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lmxlab.core.modes import evaluation_mode
from lmxlab.data.batching import Batch, at_least, numbered_rng
from lmxlab.training.files import replacing
from lmxlab.training.loss import logits_of
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

TopK: TypeAlias = tuple[mx.array, mx.array, mx.array]  # values, indices, tail

FORMAT = "lmxlab teacher cache 1"


def top_k_logits(
    logits: npt.ArrayLike | mx.array, k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Keep the k most likely tokens of each distribution, and the mass of the others.

    Args:
        logits: Shape (..., V), each row with at least one finite number.
        k: How many to keep, in [1, V].

    Returns:
        ``(values, indices, tail)`` of shapes (..., k), (..., k) and (...): log
        probabilities, most likely first; token IDs; log of the remaining probability,
        -inf if there is none.

    Raises:
        ValueError: If k is not in [1, V].

    Example:
        >>> values, indices, tail = top_k_logits(np.log([[0.1, 0.2, 0.7]]), k=1)
        >>> np.exp(values).round(4), indices, np.exp(tail).round(4)
        (array([[0.7]], dtype=float32), array([[2]], dtype=int32), \
array([0.3], dtype=float32))
    """
    z = np.asarray(logits, dtype=np.float64)
    vocab_size = z.shape[-1]
    if not 1 <= at_least("k", k, 1) <= vocab_size:
        raise ValueError(f"k must be at most the vocabulary, {vocab_size}, got {k}")
    z = z - z.max(axis=-1, keepdims=True)
    log_probs = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    order = np.argsort(-log_probs, axis=-1, kind="stable")
    ranked = np.take_along_axis(log_probs, order, axis=-1)
    with np.errstate(divide="ignore"):  # log 0 = -inf: nothing remains
        tail = np.log(np.exp(ranked[..., k:]).sum(axis=-1))
    return (
        np.ascontiguousarray(ranked[..., :k], dtype=np.float32),
        np.ascontiguousarray(order[..., :k], dtype=np.int32),
        tail.astype(np.float32),
    )


def dense_logits(
    values: mx.array, indices: mx.array, tail: mx.array, vocab_size: int
) -> mx.array:
    """Spread what a cache kept over the whole vocabulary, the tail in equal parts.

    Args:
        values: Log-probabilities, shape (..., k).
        indices: Their token IDs, shape (..., k), each in [0, vocab_size).
        tail: Log of the remaining probability, shape (...).
        vocab_size: The size V of the vocabulary.

    Returns:
        Log-probabilities, shape (..., V); float64 if the values are, else float32.

    Raises:
        ValueError: If shapes do not fit together, or k is larger than V.

    Example:
        >>> kept = map(mx.array, top_k_logits(np.log([0.1, 0.2, 0.7]), k=1))
        >>> mx.exp(dense_logits(*kept, vocab_size=3))
        array([0.15, 0.15, 0.7], dtype=float32)
    """
    k = values.shape[-1]
    if values.shape != indices.shape or tail.shape != values.shape[:-1]:
        raise ValueError(
            f"values {values.shape}, indices {indices.shape} and tail {tail.shape} do "
            "not fit; they must be (..., k), (..., k) and (...)"
        )
    if k > vocab_size:
        raise ValueError(
            f"the teacher's cache keeps {k} tokens, more than the vocabulary of "
            f"{vocab_size}; both models must use one tokenizer"
        )
    dtype = mx.float64 if values.dtype == mx.float64 else mx.float32
    share = tail.astype(dtype) - float(np.log(max(vocab_size - k, 1)))
    spread = mx.broadcast_to(share[..., None], (*tail.shape, vocab_size))
    return mx.put_along_axis(spread, indices, values.astype(dtype), axis=-1)


def write_teacher_cache(
    path: str | os.PathLike[str],
    teacher: nn.Module,
    batches: Sequence[Batch],
    k: int,
    *,
    dtype: Literal["float32", "float16"] = "float32",
) -> Path:
    """Run the teacher over all batches and keep its top k in one safetensors file.

    Whatever happens, there is the old file or the new one, whole.

    Args:
        path: Where to; its folder is made if need be.
        teacher: Maps tokens (B, T) to logits (B, T, V), or to a tuple that starts so.
            It is run in evaluation mode.
        batches: A finite list of (inputs, targets) or longer tuples. Shapes may differ.
        k: Tokens to keep at each position, in [1, V].
        dtype: How values and tails are stored, "float32" or "float16".

    Returns:
        The path.

    Raises:
        ValueError: If there are no batches, k is not in [1, V], or dtype is another.

    Example:
        >>> import tempfile
        >>> batches = [(np.array([[0, 1]]), np.array([[1, 2]]))]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_teacher_cache(
        ...         f"{folder}/teacher.safetensors", nn.Embedding(5, 5), batches, k=2
        ...     )
        ...     [part.shape for part in read_teacher_cache(path, batches, 5)[0]]
        [(1, 2), (1, 2), (1, 2, 2), (1, 2, 2), (1, 2)]
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be 'float32' or 'float16', got {dtype!r}")
    tensors: dict[str, npt.NDArray[Any]] = {}
    vocab_size = 0
    with evaluation_mode(teacher):
        for number, batch in enumerate(batches):
            logits = logits_of(teacher, mx.array(batch[0]))
            vocab_size = logits.shape[-1]
            values, indices, tail = top_k_logits(np.array(logits), k)
            tensors[f"values.{number}"] = values.astype(dtype)
            tensors[f"indices.{number}"] = indices
            tensors[f"tail.{number}"] = tail.astype(dtype)
    about = {
        "format": FORMAT,
        "vocab_size": str(vocab_size),
        "k": str(k),
        "batches": str(len(batches)),
        "fingerprint": fingerprint(batches),
    }
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place) as beside:
        save_file(tensors, beside, metadata=about)
    return place


def read_teacher_cache(
    path: str | os.PathLike[str], batches: Sequence[Batch], vocab_size: int
) -> list[Batch]:
    """Read a cache and add to each batch what the teacher said of it.

    Args:
        path: What :func:`write_teacher_cache` wrote.
        batches: The batches it was written for, in the same order.
        vocab_size: V of the student; it must be the teacher's.

    Returns:
        A list of ``(*batch, values, indices, tail)``, ready for the Trainer and for
        ``distillation_loss(..., teacher_top_k=(values, indices, tail))``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no cache or damaged, has another vocabulary, or was written
            for other batches.

    Example:
        >>> read_teacher_cache("/no/such/cache", [], vocab_size=4)
        Traceback (most recent call last):
            ...
        FileNotFoundError: no teacher cache at /no/such/cache; write one first
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no teacher cache at {path}; write one first")
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise ValueError(f"{path} is no teacher cache; write one first")
            _check_cache(path, about, batches, vocab_size)
            return [
                (
                    *batch,
                    *(
                        file.get_tensor(f"{part}.{number}")
                        for part in ("values", "indices", "tail")
                    ),
                )
                for number, batch in enumerate(batches)
            ]
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it and write it again"
        ) from error


def fingerprint(batches: Sequence[Batch]) -> str:
    """SHA-256 of the shapes and token IDs of all inputs and targets, in order.

    Args:
        batches: At least one tuple (inputs, targets, ...) of integer arrays.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: If there are no batches, or one has no targets.

    Example:
        >>> one, two = np.array([[1, 2]]), np.array([[2, 3]])
        >>> fingerprint([(one, two)]) == fingerprint([(one, one)])
        False
    """
    if not batches:
        raise ValueError("batches is empty; pass at least one (inputs, targets)")
    digest = hashlib.sha256()
    for number, batch in enumerate(batches):
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError(f"batches[{number}] must be a tuple (inputs, targets)")
        for part in batch[:2]:
            ids = np.ascontiguousarray(part, dtype="<i8")
            digest.update(repr(ids.shape).encode() + ids.tobytes())
    return digest.hexdigest()


class Passes(Iterator[Batch]):
    """Endless passes over a finite list of batches, each in an order of its own.

    The order of pass i depends on (seed, i) and on nothing else, so cached and plain
    batches come in the same order, and the position is a single integer.

    Args:
        batches: At least one.
        seed: Integer of at least 0.

    Raises:
        ValueError: If there is no batch, or the seed is negative.

    Example:
        >>> passes = Passes([("a",), ("b",), ("c",)], seed=0)
        >>> [next(passes)[0] for _ in range(6)]
        ['a', 'b', 'c', 'a', 'c', 'b']
    """

    def __init__(self, batches: Sequence[Batch], seed: int) -> None:
        if len(batches) == 0:
            raise ValueError("batches is empty; pass at least one")
        self._batches = batches
        self.seed = at_least("seed", seed, 0)
        self.position = 0

    def __next__(self) -> Batch:
        """Return the batch at `position` and move on."""
        number, place = divmod(self.position, len(self._batches))
        order = numbered_rng(self.seed, number).permutation(len(self._batches))
        self.position += 1
        return self._batches[int(order[place])]

    def state(self) -> dict[str, int]:
        """Return seed, number of batches and position: all it takes to continue.

        Returns:
            A dict of three integers. ``position`` counts the batches given out so far.
        """
        return {
            "seed": self.seed,
            "batches": len(self._batches),
            "position": self.position,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Continue from `state`, over the same batches; the saved seed replaces ours.

        Args:
            state: What `state` returned, here or in another process.

        Raises:
            ValueError: If a key is missing, a number is negative, or the state was
                saved over another number of batches.
        """
        missing = {"seed", "batches", "position"} - state.keys()
        if missing:
            raise ValueError(
                f"state lacks {sorted(missing)}; pass the dict that state() returned"
            )
        if state["batches"] != len(self._batches):
            raise ValueError(
                f"state was saved over {state['batches']} batches but there are "
                f"{len(self._batches)}; pass the same batches to continue"
            )
        position = at_least("position", state["position"], 0)
        self.seed = at_least("seed", state["seed"], 0)
        self.position = position


def _check_cache(
    path: object, about: dict[str, str], batches: Sequence[Batch], vocab_size: int
) -> None:
    if int(about["vocab_size"]) != vocab_size:
        raise ValueError(
            f"{path} was written by a teacher with a vocabulary of "
            f"{about['vocab_size']}, the student has {vocab_size}; both must use one "
            "tokenizer"
        )
    if int(about["batches"]) != len(batches):
        raise ValueError(
            f"{path} was written for {about['batches']} batches, got {len(batches)}; "
            "pass the same batches, or write it again"
        )
    if about["fingerprint"] != fingerprint(batches):
        raise ValueError(
            f"{path} was written for other tokens (their SHA-256 differs); pass the "
            "same batches in the same order, or write it again"
        )
