"""Building blocks: configuration, attention, feed-forward, the transformer block."""

from lmxlab.core.attention import Attention, KVCache
from lmxlab.core.block import Block, FeedForward
from lmxlab.core.config import BlockConfig, ModelConfig

__all__ = [
    "Attention",
    "Block",
    "BlockConfig",
    "FeedForward",
    "KVCache",
    "ModelConfig",
]
