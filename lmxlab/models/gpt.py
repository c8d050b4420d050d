"""Models of the GPT-2 family (Radford et al. 2019).

Learned positions, LayerNorm before each branch, GELU, biases, tied embeddings. Unlike
GPT-2 itself the GELU is the exact one: its compiled gradient equals the eager one bit
for bit, which that of the tanh form does not.
"""

from typing import Any

from lmxlab.core.config import BlockConfig, ModelConfig


def gpt_config(
    vocab_size: int = 50257,
    d_model: int = 768,
    n_heads: int = 12,
    n_layers: int = 12,
    max_seq_len: int = 1024,
    dropout: float = 0.0,
    tie_embeddings: bool = True,
    **block: Any,
) -> ModelConfig:
    """Return the config of a GPT; the defaults are GPT-2 with 124 million parameters.

    Args:
        vocab_size: Number of different tokens V.
        d_model: Width of the residual stream.
        n_heads: Attention heads; must divide ``d_model``.
        n_layers: Number of blocks.
        max_seq_len: Longest context: there are as many learned positions.
        dropout: Share of each branch's output dropped while training.
        tie_embeddings: Whether the head reuses the embedding matrix.
        **block: Any other field of :class:`~lmxlab.core.config.BlockConfig`.

    Returns:
        The checked config.

    Raises:
        TypeError: If a value has the wrong type, or BlockConfig has no such field.
        ValueError: If a value is out of range.

    Example:
        >>> gpt_config(n_layers=3, norm_eps=1e-6).block.norm
        'layer_norm'
    """
    family: dict[str, Any] = {
        "ffn": "gelu",
        "norm": "layer_norm",
        "position": "learned",
        "bias": True,
    }
    return ModelConfig(
        block=BlockConfig(
            d_model=d_model,
            n_heads=n_heads,
            max_seq_len=max_seq_len,
            dropout=dropout,
            **(family | block),
        ),
        vocab_size=vocab_size,
        n_layers=n_layers,
        tie_embeddings=tie_embeddings,
    )


def gpt_tiny(**overrides: Any) -> ModelConfig:
    """Return the config of a GPT for tests and first runs, about 133,000 parameters.

    Args:
        **overrides: Any argument of :func:`gpt_config`.

    Returns:
        A config with 256 tokens (bytes), width 64, 4 heads, 2 layers, 256 positions.

    Example:
        >>> gpt_tiny(vocab_size=47).block.d_model
        64
    """
    tiny = {
        "vocab_size": 256,
        "d_model": 64,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 256,
    }
    return gpt_config(**(tiny | overrides))
