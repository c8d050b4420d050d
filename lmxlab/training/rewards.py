"""Rewards: plain functions that judge a completion, called with care.

A reward is ``reward(prompt, completion) -> number`` on lists of token IDs. It is the
learner's own code, so whatever goes wrong in it is reported with the sample at hand.
"""

from collections.abc import Callable, Sequence
import math
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np
import numpy.typing as npt

Reward: TypeAlias = Callable[[list[int], list[int]], float]
"""A function of the token IDs of a prompt and of a completion."""

Rewards: TypeAlias = Reward | Sequence[Reward | tuple[Reward, float]]
"""One function, or a list of functions or of pairs (function, weight).

:meta hide-value:
"""

_TAKEN = ("mean", "std")  # reward_mean and reward_std are metrics already


def score(
    rewards: Rewards,
    prompts: mx.array,
    completions: mx.array,
    mask: mx.array | None = None,
) -> npt.NDArray[np.float32]:
    """Reward each completion, cut where its mask ends.

    Args:
        rewards: One function, or a list of functions or of pairs (function, weight).
        prompts: Token IDs (B, P).
        completions: Token IDs (B, C).
        mask: 1 for the tokens of a completion and 0 after them, (B, C).

    Returns:
        Shape (B, F), a column for each of the F functions; weights play no part.

    Raises:
        TypeError: If a reward is not a number.
        ValueError: If a reward is not finite.
        Exception: What a function raises, with a note that says on which sample.

    Example:
        >>> ids, mask = mx.array([[5, 6]]), mx.array([[1, 0]])
        >>> score(lambda prompt, completion: len(completion), ids, ids, mask)
        array([[1.]], dtype=float32)
    """
    functions, names, _ = reward_functions(rewards)
    starts: Any = prompts.tolist()
    ends: Any = completions.tolist()
    kept = mx.ones(completions.shape) if mask is None else mask
    lengths: Any = kept.sum(axis=1).astype(mx.int32).tolist()
    table = np.zeros((len(ends), len(functions)), np.float32)
    for row, (prompt, end, length) in enumerate(
        zip(starts, ends, lengths, strict=True)
    ):
        for column, function in enumerate(functions):
            try:
                # Lists of its own: a function may well sort them in place.
                value = function(list(prompt), end[:length])
                table[row, column] = _number(value)
            except Exception as error:
                error.add_note(
                    f"Reward function {names[column]!r}, sample {row}: prompt "
                    f"{prompt}, completion {end[:length]}."
                )
                raise
    return table


def reward_functions(
    rewards: Rewards,
) -> tuple[list[Reward], list[str], npt.NDArray[np.float32]]:
    """Take apart what was given as rewards.

    Args:
        rewards: One function, or a list of functions or of pairs (function, weight).

    Returns:
        The F functions, a different name for each, and their weights (F,), 1 where
        none was given.

    Raises:
        TypeError: If a function is not callable.
        ValueError: If there is none, or a weight is not a finite number.

    Example:
        >>> def short(prompt, completion): return -len(completion)
        >>> reward_functions([short, (short, 0.5)])[1:]
        (['short', 'short_1'], array([1. , 0.5], dtype=float32))
    """
    items: Any = [rewards] if callable(rewards) else rewards
    pairs = [item if isinstance(item, tuple) else (item, 1.0) for item in items]
    if not pairs:
        raise ValueError("rewards is empty; pass at least one function")
    functions, names, weights = [], [], []
    for index, (function, weight) in enumerate(pairs):
        if not callable(function):
            raise TypeError(
                f"rewards[{index}] must be a function of (prompt, completion), got "
                f"{function!r}"
            )
        name = getattr(function, "__name__", type(function).__name__)
        taken = name in names or name in _TAKEN
        functions.append(function)
        names.append(f"{name}_{index}" if taken else name)
        try:
            weights.append(_number(weight))
        except (TypeError, ValueError) as error:
            error.add_note(f"It is the weight of rewards[{index}].")
            raise
    return functions, names, np.array(weights, np.float32)


def _number(value: Any) -> float:
    """Check that a reward is one finite number; a bool counts as 0 or 1."""
    scalar = isinstance(value, (bool, int, float, np.generic)) or (
        isinstance(value, (np.ndarray, mx.array)) and value.ndim == 0
    )
    try:
        number = float(value) if scalar else math.nan
    except (TypeError, ValueError):  # such as a NumPy string
        scalar = False
    if not scalar:
        raise TypeError(
            f"a reward must be a number, got {value!r} ({type(value).__name__}); "
            "return a float"
        )
    if not math.isfinite(number):
        raise ValueError(f"a reward must be finite, got {number}; return a number")
    return number
