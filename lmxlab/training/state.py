"""Arrays in nested containers: read them, put them back, gate them.

A compiled step holds on to the very dictionaries and lists that it was traced with.
Whoever replaces arrays must therefore write into those containers, never rebind them:
after ``optimizer.state = loaded`` a compiled step goes on training the old arrays.
"""

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

Leaves = list[tuple[Any, Any, mx.array]]


def leaves(container: Any) -> Leaves:
    """List the arrays of nested dictionaries and lists with the place of each.

    Args:
        container: A dictionary (an ``nn.Module`` is one) or a list, nested at will.

    Returns:
        Tuples (container, key, array), one for each array, in a stable order. No array
        is copied or evaluated.

    Example:
        >>> state = {"a": mx.array(1), "b": [mx.array(2)]}
        >>> before = leaves(state)
        >>> state["b"][0] = mx.array(7)
        >>> restore(before)
        >>> state["b"][0].item()
        2
    """
    found: Leaves = []
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in items:
        if isinstance(value, mx.array):
            found.append((container, key, value))
        elif isinstance(value, (dict, list)):
            found.extend(leaves(value))
    return found


def restore(saved: Leaves) -> None:
    """Write arrays back to the places that :func:`leaves` found them in.

    Args:
        saved: What :func:`leaves` returned.

    Example:
        >>> state = {"a": mx.array(1)}
        >>> saved = leaves(state); state["a"] = mx.array(2); restore(saved)
        >>> state["a"].item()
        1
    """
    for container, key, value in saved:
        container[key] = value


def keep_if(ok: mx.array, before: Leaves) -> None:
    """Undo a change, inside the graph, unless ``ok``.

    Every array that differs from ``before`` becomes ``where(ok, new, old)``; in a
    compiled step this fuses into the kernel that makes the new value.

    Args:
        ok: Boolean of shape ().
        before: What :func:`leaves` returned before the change.

    Example:
        >>> state = {"a": mx.array(1)}
        >>> before = leaves(state)
        >>> state["a"] = mx.array(2); keep_if(mx.array(False), before)
        >>> state["a"].item()
        1
    """
    for container, key, old in before:
        new = container[key]
        if new is not old:
            container[key] = mx.where(ok, new, old)


def global_norm(gradients: Any) -> mx.array:
    """Length of all gradients taken as one vector, float32 of shape ().

    Args:
        gradients: A tree of arrays.

    Returns:
        ``sqrt(sum of all squares)``.

    Example:
        >>> global_norm({"a": mx.array([3.0]), "b": [mx.array([4.0])]}).item()
        5.0
    """
    squares = [
        mx.square(leaf.astype(mx.float32)).sum() for _, leaf in tree_flatten(gradients)
    ]
    return mx.sqrt(sum(squares, start=mx.array(0.0)))


class RandomStream:
    """A key of one's own for MLX's global generator, worn while a block runs.

    Dropout draws from the global state. Two trainings in one notebook, or a cell that
    samples between two steps, would disturb each other if they shared it.

    Args:
        seed: Where the stream starts.

    Example:
        >>> stream = RandomStream(0)
        >>> with stream: a = mx.random.uniform()
        >>> mx.random.seed(7)
        >>> with stream: b = mx.random.uniform()
        >>> with RandomStream(0): same = mx.random.uniform(), mx.random.uniform()
        >>> (a.item(), b.item()) == (same[0].item(), same[1].item())
        True
    """

    def __init__(self, seed: int) -> None:
        """Start the stream."""
        self.key = mx.random.key(seed)

    def __enter__(self) -> None:
        """Put the key into the global state, unless nobody has drawn since."""
        if mx.random.state[0] is not self.key:
            _seed(self.key)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Keep the key that comes next, or the one before if the block failed."""
        if error is None:
            self.key = mx.random.state[0]
        else:
            _seed(self.key)


def _seed(key: mx.array) -> None:
    # The state itself is read-only.
    high, low = key.tolist()  # type: ignore[misc]
    mx.random.seed((high << 32) | low)
