"""Arrays in nested containers: find them, list them, measure them; and a random key.

A compiled step holds on to the very dictionaries and lists that it was traced with.
Whoever replaces arrays must therefore write into those containers, never rebind them:
after ``optimizer.state = loaded`` a compiled step goes on training the old arrays.
"""

from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten

Places = list[tuple[Any, Any]]


def places(container: Any) -> Places:
    """Find the arrays of nested dictionaries and lists.

    Args:
        container: A dictionary (an ``nn.Module`` is one) or a list, nested at will.

    Returns:
        Pairs (container, key), one for each array, in a stable order.

    Example:
        >>> state = {"a": mx.array(1), "b": [mx.array(2)]}
        >>> for inner, key in places(state):
        ...     inner[key] = inner[key] + 1
        >>> state["b"][0].item()
        3
    """
    found: Places = []
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in items:
        if isinstance(value, mx.array):
            found.append((container, key))
        elif isinstance(value, (dict, list)):
            found.extend(places(value))
    return found


def arrays(tree: Any) -> list[mx.array]:
    """List the arrays of any tree, tuples included.

    Args:
        tree: Nested dictionaries, lists and tuples.

    Returns:
        Its arrays, in a stable order.

    Example:
        >>> len(arrays({"a": mx.array(1), "b": (mx.array(2), "text")}))
        2
    """
    leaves: list[Any] = [leaf for _, leaf in cast(Any, tree_flatten(tree))]
    return [leaf for leaf in leaves if isinstance(leaf, mx.array)]


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
    squares = [mx.square(g.astype(mx.float32)).sum() for g in arrays(gradients)]
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
        if _global_key() is not self.key:
            _seed(self.key)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Keep the key that comes next, or the one before if the block failed."""
        if error is None:
            self.key = _global_key()
        else:
            _seed(self.key)


def _global_key() -> mx.array:
    return cast(Any, mx.random.state)[0]  # type: ignore[no-any-return]


def _seed(key: mx.array) -> None:
    # The state itself is read-only.
    high, low = cast(list[int], key.tolist())
    mx.random.seed((high << 32) | low)
