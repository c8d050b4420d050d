"""The transformer block: attention, then a feed-forward, each on a residual branch.

    pre-norm    x = x + attention(norm(x));    x = x + ffn(norm(x))
    post-norm   x = norm(x + attention(x));    x = norm(x + ffn(x))

Post-norm is the original (Vaswani et al. 2017, arXiv:1706.03762); pre-norm trains
without warm-up tricks and is what GPT-2 and Llama use (Xiong et al. 2020,
arXiv:2002.04745).
"""

from lmxlab.core.activations import gated_silu, gelu, relu2
from lmxlab.core.attention import Attention, KVCache
from lmxlab.core.config import BlockConfig
import mlx.core as mx
import mlx.nn as nn


def make_norm(config: BlockConfig) -> nn.Module:
    """Return the normalization layer that the config names.

    Args:
        config: Names the norm, its width, its epsilon and whether it has a bias.

    Returns:
        A module that maps (..., d_model) to the same shape.

    Example:
        >>> make_norm(BlockConfig(d_model=2, n_heads=1))(mx.array([3.0, 4.0]))
        array([0.848528, 1.13137], dtype=float32)
    """
    if config.norm == "layer_norm":
        return nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
    return nn.RMSNorm(config.d_model, config.norm_eps)


class FeedForward(nn.Module):
    """Linear maps around a non-linearity, two or (``swiglu``) three, token by token.

    - ``relu2``: down(relu(up(x))^2) (So et al. 2021, arXiv:2109.08668)
    - ``gelu``: down(gelu(up(x))), with the exact erf (Hendrycks and Gimpel 2016,
      arXiv:1606.08415)
    - ``swiglu``: down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202)

    Args:
        config: Names the non-linearity, the widths and whether maps have a bias.

    Example:
        >>> FeedForward(BlockConfig(d_model=32))(mx.zeros((2, 5, 32))).shape
        (2, 5, 32)
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.kind = config.ffn
        if config.ffn == "swiglu":
            self.gate_proj = nn.Linear(config.d_model, config.ffn_dim, config.bias)
        self.up_proj = nn.Linear(config.d_model, config.ffn_dim, config.bias)
        self.down_proj = nn.Linear(config.ffn_dim, config.d_model, config.bias)

    def __call__(self, x: mx.array) -> mx.array:
        """Transform each token by itself.

        Args:
            x: Activations (B, T, d_model).

        Returns:
            Activations of the same shape.
        """
        hidden = self.up_proj(x)
        if self.kind == "swiglu":
            hidden = gated_silu(self.gate_proj(x), hidden)
        elif self.kind == "gelu":
            hidden = gelu(hidden)
        else:
            hidden = relu2(hidden)
        return self.down_proj(hidden)


class Block(nn.Module):
    """Attention and feed-forward on residual branches.

    Args:
        config: Widths, heads and parts of the block.

    Example:
        >>> block = Block(BlockConfig(d_model=32))
        >>> out, (keys, values) = block(mx.zeros((2, 5, 32)))
        >>> out.shape, keys.shape
        ((2, 5, 32), (2, 4, 5, 8))
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.attention = Attention(config)
        self.ffn = FeedForward(config)
        self.attention_norm = make_norm(config)
        self.ffn_norm = make_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def __call__(
        self, x: mx.array, mask: mx.array | None = None, cache: KVCache | None = None
    ) -> tuple[mx.array, KVCache]:
        """Transform activations.

        Args:
            x: Activations (B, T, d_model) of T new tokens.
            mask: Additive mask that broadcasts to (B, 1, T, S + T); None is causal.
            cache: Keys and values of S earlier tokens.

        Returns:
            Activations (B, T, d_model), and the cache of all S + T tokens.
        """
        if self.pre_norm:
            mixed, cache = self.attention(self.attention_norm(x), mask, cache)
            x = x + self.dropout(mixed)
            return x + self.dropout(self.ffn(self.ffn_norm(x))), cache
        mixed, cache = self.attention(x, mask, cache)
        x = self.attention_norm(x + self.dropout(mixed))
        return self.ffn_norm(x + self.dropout(self.ffn(x))), cache
