"""Evaluation mode for a while: no dropout meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.nn as nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Context manager: evaluation mode inside of ``with``, the old modes after it.

    Args:
        model: Any module. Each module in it gets its own mode back, even after an
            error.

    Example:
        >>> model = nn.Dropout(0.5)
        >>> with evaluation_mode(model): print(model.training)
        False
        >>> model.training
        True
    """
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module._training = False
        yield
    finally:
        for module in training:
            module._training = True
