"""Groups: the completions of one prompt, and how each compares with the others.

    A_i = (R_i - mean(R)) / (std(R) + 1e-4)        over the G rewards of a group

std is that of a sample, which divides by G - 1, as in the reference implementations of
GRPO (DeepSeekMath, arXiv:2402.03300). Dr. GRPO (arXiv:2503.20783) leaves the division
out, since it makes much of prompts that are nearly always right or nearly always wrong.
"""

import warnings

import mlx.core as mx
import numpy as np


def group_advantages(
    rewards: mx.array,
    group_size: int | None = None,
    groups: mx.array | None = None,
    *,
    scale: bool = True,
    eps: float = 1e-4,
) -> mx.array:
    """How much better each completion is than the others of its group.

    The standard deviation is that of a sample: it divides by G - 1.

    Args:
        rewards: Reward of each completion, shape (B,).
        group_size: Rows g*G to (g+1)*G - 1 are one group.
        groups: The number of each row's group instead, integers (B,), in any order.
        scale: Whether to divide by the group's standard deviation + eps.
        eps: Added to the standard deviation, so that nothing is divided by 0.

    Returns:
        Advantages, shape (B,), each group with mean 0; exactly 0 for all rows of a
        group whose rewards are all equal, one of a single row included.

    Raises:
        ValueError: If neither or both of group_size and groups are given, or they do
            not fit the rewards.

    Example:
        >>> group_advantages(mx.array([1.0, 0.0, 0.7, 0.7]), 2, scale=False)
        array([0.5, -0.5, 0, 0], dtype=float32)
    """
    if (group_size is None) == (groups is None):
        raise ValueError("pass group_size or groups, one of the two")
    if groups is None:
        groups = _numbered(rewards.shape[0], group_size)
    if groups.shape != rewards.shape:
        raise ValueError(
            f"groups must have the rewards' shape {rewards.shape}, got {groups.shape}"
        )
    same, size, equal = _within(rewards, groups)
    mean = mx.where(same, rewards, 0).sum(-1) / size
    centred = rewards - mean
    if scale:
        squares = mx.where(same, mx.square(rewards - mean[:, None]), 0).sum(-1)
        centred = centred / (mx.sqrt(squares / mx.maximum(size - 1, 1)) + eps)
    # The mean of equal floats may be off by a rounding, which no division may enlarge.
    return mx.where(equal, 0, centred)


def group_numbers(prompts: mx.array, group_size: int | None = None) -> mx.array:
    """Number the groups of rows: by their size, or by runs of equal prompts.

    Args:
        prompts: Token IDs (B, P).
        group_size: Rows g*G to (g+1)*G - 1 are one group. By default a group is a run
            of equal prompts, and the whole batch, with a warning, when all differ.

    Returns:
        The number of each row's group, shape (B,) int32.

    Raises:
        ValueError: If group_size does not divide B; or without it, inside a compiled
            step, where the prompts have no values yet.

    Example:
        >>> group_numbers(mx.array([[7, 8], [7, 8], [7, 9]])).tolist()
        [0, 0, 1]
    """
    if group_size is not None:
        return _numbered(prompts.shape[0], group_size)
    try:
        rows = np.array(prompts)
    except ValueError as error:  # MLX: no evaluation inside a transformation
        raise ValueError(
            "groups cannot be read from the prompts here, because a compiled step does "
            "not know their values; pass group_size or advantages"
        ) from error
    new_run = (rows[1:] != rows[:-1]).any(axis=1)
    if len(rows) > 1 and new_run.all():
        if len(np.unique(rows, axis=0)) == len(rows):
            warnings.warn(
                f"every prompt is different: all {len(rows)} rows are taken for one "
                "group; pass group_size to say otherwise",
                stacklevel=3,
            )
            return mx.zeros(len(rows), mx.int32)
        warnings.warn(
            "no two neighbours have the same prompt, so every group is one row and "
            "every advantage 0; put the completions of a prompt next to each other",
            stacklevel=3,
        )
    return mx.array(np.concatenate([[0], new_run.cumsum()]).astype(np.int32))


def zero_variance_share(rewards: mx.array, groups: mx.array) -> mx.array:
    """Share of the groups whose rewards are all equal: nothing is learned from them.

    Args:
        rewards: Reward of each completion, shape (B,).
        groups: The number of each row's group, integers (B,).

    Returns:
        The share, shape (), in [0, 1].

    Example:
        >>> rewards, groups = mx.array([1.0, 1.0, 1.0, 0.0]), mx.array([0, 0, 1, 1])
        >>> zero_variance_share(rewards, groups)
        array(0.5, dtype=float32)
    """
    _, size, equal = _within(rewards, groups)
    return (equal / size).sum() / (1 / size).sum()


def _within(rewards: mx.array, groups: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Who shares a group (B, B), its size (B,), and whether its rewards are equal."""
    same = groups[:, None] == groups
    lowest = mx.where(same, rewards, float("inf")).min(-1)
    highest = mx.where(same, rewards, -float("inf")).max(-1)
    return same, same.sum(-1).astype(rewards.dtype), lowest == highest


def _numbered(rows: int, group_size: int | None) -> mx.array:
    if not isinstance(group_size, int) or group_size < 1 or rows % group_size:
        raise ValueError(
            f"group_size must be a number of rows that divides the batch of {rows}, "
            f"got {group_size!r}"
        )
    return mx.arange(rows) // group_size
