"""How large a notebook's runs are: one setting for all of them."""

import os
from typing import TypeVar

T = TypeVar("T")
SIZES = ("smoke", "laptop", "full")


def by_size(*, smoke: T, laptop: T, full: T) -> T:
    """Pick a value by the environment variable ``LMXLAB_SIZE``, ``laptop`` by default.

    Args:
        smoke: Value for a check that everything runs; results are not yet true.
        laptop: Value for two CPU cores and a minute.
        full: Value for a GPU, or patience.

    Returns:
        One of the three.

    Raises:
        ValueError: If the variable is none of the three names.

    Example:
        >>> by_size(smoke=1, laptop=2, full=3) in (1, 2, 3)
        True
    """
    size = os.environ.get("LMXLAB_SIZE", "laptop")
    values = dict(zip(SIZES, (smoke, laptop, full), strict=True))
    if size not in values:
        raise ValueError(f"LMXLAB_SIZE must be one of {', '.join(SIZES)}, got {size!r}")
    return values[size]
