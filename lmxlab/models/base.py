"""A causal language model: embedding, a stack of blocks, a norm, a head.

Left out on purpose: mixtures of experts, sliding windows, attention sinks. What is here
is the GPT-2 and the Llama family, at sizes that train on a laptop.
"""

from collections.abc import Sequence
import math
from typing import Literal, overload

from lmxlab import runtime
from lmxlab.core.attention import KVCache, causal_mask
from lmxlab.core.block import Block, make_norm
from lmxlab.core.config import ModelConfig
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path, tree_reduce

Caches = Sequence[KVCache | None]


class LanguageModel(nn.Module):
    """A decoder-only transformer that predicts the next token.

    Weights start as normal numbers of standard deviation 1/sqrt(fan-in), which lets a
    narrow model learn from the first step; GPT-2's fixed 0.02 suits a width of 768 and
    more. Two things start smaller: embeddings and head, by 1/2, so that the first loss
    is close to that of guessing, ln V; and the maps that write to the residual stream,
    by sqrt(2 n_layers) as in GPT-2 (Radford et al. 2019), and in a pre-norm model by
    1/4 more, so that the stream is at first little more than the token. Biases start
    at 0.

    Args:
        config: Sizes and parts of the model.

    Example:
        >>> model = LanguageModel(ModelConfig(vocab_size=47))
        >>> logits, caches = model(mx.array([[1, 2, 3]]))
        >>> logits.shape
        (1, 3, 47)
        >>> logits, caches = model(mx.array([[4]]), cache=caches)
        >>> caches[0][0].shape
        (1, 4, 4, 16)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        block = config.block
        self.embed = nn.Embedding(config.vocab_size, block.d_model)
        if block.position == "learned":
            self.position_embed = nn.Embedding(block.max_seq_len, block.d_model)
        self.dropout = nn.Dropout(block.dropout)
        self.blocks = [Block(block) for _ in range(config.n_layers)]
        self.final_norm = make_norm(block)
        if not config.tie_embeddings:
            self.head = nn.Linear(block.d_model, config.vocab_size, bias=False)
        self._initialize()

    @overload
    def __call__(
        self,
        tokens: mx.array,
        cache: Caches | None = None,
        return_hidden: Literal[False] = False,
    ) -> tuple[mx.array, list[KVCache]]: ...

    @overload
    def __call__(
        self,
        tokens: mx.array,
        cache: Caches | None = None,
        *,
        return_hidden: Literal[True],
    ) -> tuple[mx.array, list[KVCache], mx.array]: ...

    def __call__(
        self,
        tokens: mx.array,
        cache: Caches | None = None,
        return_hidden: bool = False,
    ) -> tuple[mx.array, list[KVCache]] | tuple[mx.array, list[KVCache], mx.array]:
        """Predict the token after each token.

        Args:
            tokens: Token IDs, integers (B, T).
            cache: What an earlier call returned, one (keys, values) per layer; the
                tokens then continue that text.
            return_hidden: Whether to return the hidden states as well.

        Returns:
            Logits (B, T, V) and the caches, a list with (keys, values) per layer; they
            are lazy, and cost nothing if unused. With ``return_hidden`` also the hidden
            states (B, T, d_model) *after* the final norm, those that the head maps to
            logits: ``model.to_logits(hidden)`` equals the logits.

        Raises:
            TypeError: If the tokens are not integers.
            ValueError: If the tokens are not of shape (B, T), if the cache has another
                number of layers, or if the text is longer than ``max_seq_len`` in a
                model whose positions end there.
        """
        caches = [None] * len(self.blocks) if cache is None else cache
        self._check(tokens, caches)
        length = tokens.shape[1]
        offset = 0 if caches[0] is None else caches[0][0].shape[2]

        x = self.dropout(self._embed(tokens, offset))
        # Built once for all layers. A fused kernel masks by itself; one token sees all.
        unmasked = length == 1 or runtime.has_fused_attention()
        mask = None if unmasked else causal_mask(length, offset)
        new_caches = []
        for block, layer_cache in zip(self.blocks, caches, strict=True):
            x, layer_cache = block(x, mask, layer_cache)
            new_caches.append(layer_cache)
        hidden = self.final_norm(x)
        logits = self.to_logits(hidden)
        return (logits, new_caches, hidden) if return_hidden else (logits, new_caches)

    def to_logits(self, hidden: mx.array) -> mx.array:
        """Apply the model's head to hidden states.

        Args:
            hidden: States (..., d_model) after the final norm.

        Returns:
            Logits (..., V).
        """
        head = self.embed.as_linear if self.config.tie_embeddings else self.head
        logits: mx.array = head(hidden)
        return logits

    def count_parameters(self) -> int:
        """Return the number of parameters, tied ones once, frozen ones included."""
        count: int = tree_reduce(lambda n, p: n + p.size, self.parameters(), 0)
        return count

    def _embed(self, tokens: mx.array, offset: int) -> mx.array:
        x: mx.array = self.embed(tokens)
        end = offset + tokens.shape[1]
        if self.config.block.position == "learned":
            x = x + self.position_embed.weight[offset:end]
        elif self.config.block.position == "sinusoidal":
            dims = x.shape[-1]
            # As in the paper: without the factor tokens drown in positions of size 1.
            x = math.sqrt(dims) * x
            x = x + sinusoidal_positions(offset, end, dims).astype(x.dtype)
        return x

    def _check(self, tokens: mx.array, caches: Caches) -> None:
        if not mx.issubdtype(tokens.dtype, mx.integer):
            raise TypeError(f"tokens must be integers, got {tokens.dtype}")
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise ValueError(
                "tokens must have shape (batch, length), neither of them 0, "
                f"got {tokens.shape}"
            )
        if len(caches) != len(self.blocks):
            raise ValueError(
                f"cache must have one entry for each of the {len(self.blocks)} layers, "
                f"got {len(caches)}"
            )
        block = self.config.block
        past = 0 if caches[0] is None else caches[0][0].shape[2]
        total = past + tokens.shape[1]
        if block.position in ("learned", "sinusoidal") and total > block.max_seq_len:
            raise ValueError(
                f"{total} tokens ({past} in the cache) are more than "
                f"max_seq_len={block.max_seq_len}, where the {block.position} "
                "positions end"
            )

    def _initialize(self) -> None:
        branch = 0.25 if self.config.block.pre_norm else 1.0

        def gain(path: str) -> float:
            if "embed" in path or path.startswith("head"):
                return 0.5
            if "o_proj" in path or "down_proj" in path:
                return branch / math.sqrt(2 * self.config.n_layers)
            return 1.0

        def init(path: str, value: mx.array) -> mx.array:
            if value.ndim < 2:
                return mx.zeros_like(value) if path.endswith("bias") else value
            std = gain(path) / math.sqrt(value.shape[-1])
            return std * mx.random.normal(value.shape)

        self.update(tree_map_with_path(init, self.parameters()))


def sinusoidal_positions(start: int, end: int, dims: int) -> mx.array:
    """Fixed positions of Vaswani et al. 2017 (arXiv:1706.03762), sines then cosines.

    Args:
        start: First position.
        end: Position after the last.
        dims: Width, an even number.

    Returns:
        Array (end - start, dims), a row for each position p: sin(p w_i), then
        cos(p w_i), for i = 0 ... dims/2 - 1. The frequencies are
        w_i = 10,000^(-2i / dims): wavelengths 2 pi / w_i from 2 pi to nearly
        10,000 * 2 pi tokens.

    Example:
        >>> sinusoidal_positions(0, 1, 4)
        array([[0, 0, 1, 1]], dtype=float32)
    """
    half = dims // 2
    frequencies = mx.exp(mx.arange(half) * (-math.log(10000.0) / half))
    angles = mx.arange(start, end)[:, None] * frequencies
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)
