"""Models of the Llama family (Touvron et al. 2023, arXiv:2302.13971).

Rotary positions, RMSNorm before each branch, SwiGLU, no biases; keys and values are
shared by groups of heads, as since the larger models of Llama 2.
"""

from typing import Any

from lmxlab.core.config import BlockConfig, ModelConfig


def llama_config(
    vocab_size: int = 32000,
    d_model: int = 512,
    n_heads: int = 8,
    n_kv_heads: int = 4,
    n_layers: int = 8,
    max_seq_len: int = 2048,
    d_ff: int | None = None,
    rope_theta: float = 10000.0,
    tie_embeddings: bool = False,
    **block: Any,
) -> ModelConfig:
    """Return the config of a Llama; the defaults have about 56 million parameters.

    Args:
        vocab_size: Number of different tokens V.
        d_model: Width of the residual stream.
        n_heads: Attention heads; must divide ``d_model``.
        n_kv_heads: Heads of keys and values; must divide ``n_heads``.
        n_layers: Number of blocks.
        max_seq_len: Longest context the model is meant for; rotary positions go on.
        d_ff: Width inside the feed-forward; None is 8/3 ``d_model``, rounded up to a
            multiple of 8.
        rope_theta: Base b of the rotary positions: their wavelengths go from 2 pi up
            to 2 pi b tokens.
        tie_embeddings: Whether the head reuses the embedding matrix.
        **block: Any other field of :class:`~lmxlab.core.config.BlockConfig`.

    Returns:
        The checked config.

    Raises:
        TypeError: If a value has the wrong type, or BlockConfig has no such field.
        ValueError: If a value is out of range.

    Example:
        >>> llama_config(n_layers=2, dropout=0.1).block.ffn
        'swiglu'
    """
    family: dict[str, Any] = {
        "attention": "gqa",
        "ffn": "swiglu",
        "norm": "rms_norm",
        "position": "rope",
    }
    return ModelConfig(
        block=BlockConfig(
            d_model=d_model,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            max_seq_len=max_seq_len,
            d_ff=d_ff,
            rope_theta=rope_theta,
            **(family | block),
        ),
        vocab_size=vocab_size,
        n_layers=n_layers,
        tie_embeddings=tie_embeddings,
    )


def llama_tiny(**overrides: Any) -> ModelConfig:
    """Return the config of a Llama for tests and first runs, about 109,000 parameters.

    Args:
        **overrides: Any argument of :func:`llama_config`.

    Returns:
        A config with 256 tokens (bytes), width 64, 4 heads that share 2 of keys and
        values, 2 layers, 256 positions, tied embeddings.

    Example:
        >>> llama_tiny(vocab_size=47).block.kv_heads
        2
    """
    tiny = {
        "vocab_size": 256,
        "d_model": 64,
        "n_heads": 4,
        "n_kv_heads": 2,
        "n_layers": 2,
        "max_seq_len": 256,
        "tie_embeddings": True,
    }
    return llama_config(**(tiny | overrides))
