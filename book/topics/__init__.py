"""What each figure of recorded runs trains: one module for each, with ``RECORDING``.

Here is only what several of them share.
"""

from collections.abc import Iterable
from typing import Any

from lmxlab.core import BlockConfig, ModelConfig
from lmxlab.data import StoryWorld
from lmxlab.models import LanguageModel
import mlx.core as mx


def small_model(
    vocab_size: int = StoryWorld().vocab_size, d_model: int = 64, seed: int = 0
) -> LanguageModel:
    """Return the small model of the notebooks: two layers, weights from a seed."""
    mx.random.seed(seed)
    return LanguageModel(ModelConfig(BlockConfig(d_model=d_model), vocab_size))


def column(history: Iterable[dict[str, Any]], name: str) -> tuple[list[int], list[Any]]:
    """Return the steps whose records have a number, and the numbers."""
    found = [(record["step"], record[name]) for record in history if name in record]
    return [step for step, _ in found], [value for _, value in found]
