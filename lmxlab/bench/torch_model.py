"""The same model and the same update in PyTorch, for a comparison at equal maths.

Weights are copied over and losses compared before anything is timed. PyTorch gets what
its users would give it: fused AdamW, its own attention, TF32 for float32 products on a
GPU (as MLX does), autocast for bfloat16.
"""

from collections.abc import Callable, Iterator
from itertools import count

from lmxlab.bench.cases import Case, settings
from lmxlab.core.config import BlockConfig, ModelConfig
from mlx.utils import tree_flatten
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CPU = torch.device("cpu")


def device() -> torch.device:
    """Return where PyTorch computes: on the GPU if there is one."""
    return torch.accelerator.current_accelerator(check_available=True) or CPU


class Attention(nn.Module):
    """Causal multi-head attention; queries and keys may be rotated.

    Args:
        config: Width, heads and rotation.
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.heads, self.theta = config.n_heads, config.rope_theta
        self.rotates = config.position == "rope"
        width, bias = config.d_model, config.bias
        self.q_proj = nn.Linear(width, width, bias)
        self.k_proj = nn.Linear(width, width, bias)
        self.v_proj = nn.Linear(width, width, bias)
        self.o_proj = nn.Linear(width, width, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix each token with those before it.

        Args:
            x: Activations (B, T, d_model).

        Returns:
            Activations of the same shape.
        """
        batch, length, width = x.shape
        q, k, v = (
            project(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.rotates:
            q, k = self._rotate(q), self._rotate(k)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y: torch.Tensor = self.o_proj(out.transpose(1, 2).reshape(batch, length, width))
        return y

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        powers = torch.arange(half, device=x.device) / half
        angles = (
            torch.arange(x.shape[2], device=x.device)[:, None] * self.theta**-powers
        )
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class FeedForward(nn.Module):
    """Squared ReLU or exact GELU between two linear maps.

    Args:
        config: Width, and which of the two.
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.d_model, config.ffn_dim, config.bias)
        self.down_proj = nn.Linear(config.ffn_dim, config.d_model, config.bias)
        self.gelu = config.ffn == "gelu"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform each token by itself.

        Args:
            x: Activations (B, T, d_model).

        Returns:
            Activations of the same shape.
        """
        hidden = self.up_proj(x)
        hidden = F.gelu(hidden) if self.gelu else F.relu(hidden).square()
        y: torch.Tensor = self.down_proj(hidden)
        return y


class Block(nn.Module):
    """A pre-norm block.

    Args:
        config: Its parts, as in our model.
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.ffn = FeedForward(config)
        self.attention_norm = _norm(config)
        self.ffn_norm = _norm(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform activations.

        Args:
            x: Activations (B, T, d_model).

        Returns:
            Activations of the same shape.
        """
        x = x + self.attention(self.attention_norm(x))
        y: torch.Tensor = x + self.ffn(self.ffn_norm(x))
        return y


def _norm(config: BlockConfig) -> nn.Module:
    if config.norm == "layer_norm":
        return nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
    return nn.RMSNorm(config.d_model, config.norm_eps)


class TorchModel(nn.Module):
    """A pre-norm, tied language model whose parameters have the names of ours.

    Args:
        config: The config of the :class:`~lmxlab.models.base.LanguageModel`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        block = config.block
        self.embed = nn.Embedding(config.vocab_size, block.d_model)
        self.position_embed = None
        if block.position == "learned":
            self.position_embed = nn.Embedding(block.max_seq_len, block.d_model)
        self.blocks = nn.ModuleList([Block(block) for _ in range(config.n_layers)])
        self.final_norm = _norm(block)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy in nats.

        Args:
            tokens: (B, T).
            targets: The same text one position later, (B, T).

        Returns:
            A scalar, in float32.
        """
        x = self.embed(tokens)
        if self.position_embed is not None:
            x = x + self.position_embed.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.final_norm(x), self.embed.weight)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def torch_step(case: Case, *, compiled: bool = False) -> Callable[[], float]:
    """Return the update of ``cases.trainer_step``, by PyTorch.

    Args:
        case: What to train; its weights are those of our model.
        compiled: Whether ``torch.compile`` compiles forward and backward pass.

    Returns:
        A function that does one update and returns its loss, in nats.
    """
    torch.set_float32_matmul_precision("high")
    where, config = device(), settings()
    ours = case.model()
    model = TorchModel(ours.config)
    flat = dict(tree_flatten(ours.parameters()))
    weights = {name: torch.from_numpy(np.array(w)) for name, w in flat.items()}
    model.load_state_dict(weights)
    model = model.to(where)
    decayed = [
        p for n, p in model.named_parameters() if p.ndim > 1 and "embed" not in n
    ]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    rule = torch.optim.AdamW(
        groups, config.learning_rate, (config.beta1, config.beta2), fused=True
    )
    loss_of = torch.compile(model) if compiled else model
    batches = _on(where, case)
    steps = count()

    def step() -> float:
        share = min(1.0, next(steps) / config.warmup_steps)
        for group in rule.param_groups:
            group["lr"] = config.learning_rate * share
        tokens, targets = next(batches)
        with torch.autocast(where.type, torch.bfloat16, enabled=case.mixed):
            loss = loss_of(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        rule.step()
        rule.zero_grad()
        return float(loss.item())

    return step


def _on(where: torch.device, case: Case) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for tokens, targets in case.batches():
        yield (
            torch.from_numpy(tokens).long().to(where),
            torch.from_numpy(targets).long().to(where),
        )
