"""What a model is made of: one frozen dataclass for a block, one for the stack.

Every value is checked on construction, and each field carries its help text, range and
choices, from which sliders, command line flags and the docs table are built.
"""

from dataclasses import dataclass
import math

from lmxlab.core.fields import setting, validate

ATTENTIONS = ("mha", "gqa")
FFNS = ("swiglu", "gelu", "relu2")
NORMS = ("rms_norm", "layer_norm")
POSITIONS = ("rope", "sinusoidal", "learned", "none")


@dataclass(frozen=True)
class BlockConfig:
    """One transformer block.

    The defaults are a small modern block: rotary positions, RMSNorm before each
    branch, squared ReLU, no biases.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of range, or two values do not fit together.

    Example:
        >>> BlockConfig(d_model=96, n_heads=6).head_dim
        16
        >>> BlockConfig(ffn="swiglo")
        Traceback (most recent call last):
            ...
        ValueError: BlockConfig.ffn must be one of 'swiglu', 'gelu', 'relu2', \
got 'swiglo'; did you mean 'swiglu'?
    """

    attention: str = setting(
        "mha",
        "Attention: every head has its own keys (mha), or groups share them (gqa).",
        choices=ATTENTIONS,
    )
    ffn: str = setting(
        "relu2", "Feed-forward: gated SiLU, exact GELU or squared ReLU.", choices=FFNS
    )
    norm: str = setting("rms_norm", "Normalization of activations.", choices=NORMS)
    position: str = setting(
        "rope", "How the model knows where a token stands.", choices=POSITIONS
    )
    d_model: int = setting(
        64, "Width of the residual stream.", bounds=(1, 65536), scale="log"
    )
    n_heads: int = setting(4, "Attention heads; must divide d_model.", bounds=(1, 1024))
    n_kv_heads: int | None = setting(
        None,
        "Heads of keys and values (gqa); must divide n_heads. None: n_heads.",
        bounds=(1, 1024),
    )
    d_ff: int | None = setting(
        None,
        "Width inside the feed-forward. None: 4 d_model, or 8/3 d_model for swiglu.",
        bounds=(1, 1_048_576),
        scale="log",
    )
    bias: bool = setting(False, "Whether linear layers and LayerNorm have a bias.")
    dropout: float = setting(
        0.0,
        "Share of each branch's output dropped while training.",
        bounds=(0.0, 0.95),
    )
    norm_eps: float = setting(
        1e-5, "Added to the variance before the root.", bounds=(1e-12, 0.1), scale="log"
    )
    rope_theta: float = setting(
        10000.0,
        "Base b of the rotary positions: wavelengths go from 2 pi up to 2 pi b tokens.",
        bounds=(1.0, 1e9),
        scale="log",
    )
    max_seq_len: int = setting(
        1024,
        "Longest context, for learned and sinusoidal positions.",
        bounds=(1, 16_777_216),
        scale="log",
    )
    pre_norm: bool = setting(
        True, "Normalize before each branch (True) or after each sum (False)."
    )

    def __post_init__(self) -> None:
        """Check each value, then the values against each other."""
        validate(self)
        if self.d_model % self.n_heads:
            raise ValueError(
                f"BlockConfig.n_heads must divide d_model={self.d_model}, "
                f"got {self.n_heads}"
            )
        if self.n_kv_heads is not None:
            if self.attention == "mha" and self.n_kv_heads != self.n_heads:
                raise ValueError(
                    f"BlockConfig.n_kv_heads={self.n_kv_heads} needs attention='gqa': "
                    f"with 'mha' each of the n_heads={self.n_heads} has its own keys"
                )
            if self.n_heads % self.n_kv_heads:
                raise ValueError(
                    f"BlockConfig.n_kv_heads must divide n_heads={self.n_heads}, "
                    f"got {self.n_kv_heads}"
                )
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(
                "BlockConfig.position='rope' turns pairs of features, so "
                f"d_model / n_heads must be even, got {self.head_dim}"
            )
        if self.position == "sinusoidal" and self.d_model % 2:
            raise ValueError(
                "BlockConfig.position='sinusoidal' needs an even d_model, "
                f"got {self.d_model}"
            )

    @property
    def head_dim(self) -> int:
        """Features of one head."""
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values, with the default resolved."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def ffn_dim(self) -> int:
        """Width inside the feed-forward, with the default resolved.

        A gated unit has three matrices where the others have two, so 8/3 d_model
        (rounded up to a multiple of 8) costs as many parameters as 4 d_model.
        """
        if self.d_ff is not None:
            return self.d_ff
        if self.ffn == "swiglu":
            return 8 * math.ceil(self.d_model / 3)
        return 4 * self.d_model


@dataclass(frozen=True)
class ModelConfig:
    """A stack of equal blocks between an embedding and a head.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of range.

    Example:
        >>> config = ModelConfig(BlockConfig(d_model=32), vocab_size=47, n_layers=1)
        >>> config.block.ffn_dim
        128
    """

    block: BlockConfig = setting(  # noqa: RUF009 (a frozen default can be shared)
        BlockConfig(), "What each block is made of."
    )
    # log_softmax over a single logit crashes the process (MLX on CPU), hence 2.
    vocab_size: int = setting(
        256, "Number of different tokens.", bounds=(2, 16_777_216), scale="log"
    )
    n_layers: int = setting(2, "Number of blocks.", bounds=(1, 1024))
    tie_embeddings: bool = setting(
        True, "Whether the head reuses the embedding matrix."
    )

    def __post_init__(self) -> None:
        """Check each value."""
        validate(self)
