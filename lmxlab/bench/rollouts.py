"""Batched sampling, against mlx-lm's on the same weights (the extra ``hub``).

Both sample at temperature 1 from a model of the Llama family. What mlx-lm can do
besides (rows of different lengths, rows that come and go) is not asked of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
import importlib.util
import statistics
from typing import Any

from lmxlab.bench import timing
from lmxlab.core.config import ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.models.generate import generate
from lmxlab.models.llama import llama_config
from lmxlab.training.rollouts import rollout
import mlx.core as mx
from mlx.utils import tree_flatten

Tokens = list[list[int]]


def _llama(vocab_size: int, d_model: int, n_heads: int, n_layers: int) -> ModelConfig:
    heads = {"n_heads": n_heads, "n_kv_heads": n_heads}
    return llama_config(
        vocab_size, d_model, n_layers=n_layers, tie_embeddings=True, **heads
    )


@dataclass(frozen=True)
class Sampling:
    """A model, and what is sampled from it.

    Args:
        config: Of the model.
        rows: Prompts B.
        prompt: Tokens P of each.
        new: Tokens n that are added.
        turns: How often each side samples them.
    """

    config: ModelConfig
    rows: int
    prompt: int
    new: int
    turns: int


SAMPLINGS = {
    "grpo": Sampling(_llama(16, 64, 4, 2), 128, 6, 4, turns=20),
    "story": Sampling(_llama(47, 64, 4, 2), 32, 4, 60, turns=8),
    "wide": Sampling(_llama(1024, 512, 8, 6), 32, 16, 16, turns=3),
}
NAMES = {
    "embed": "model.embed_tokens",
    "final_norm": "model.norm",
    "attention": "self_attn",
    "ffn": "mlp",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def section(*, quick: bool = False) -> dict[str, Any]:
    """Batched sampling, against mlx-lm's.

    Args:
        quick: The first case only.

    Returns:
        Case to what :func:`measure` returns, or a ``reason`` if mlx-lm is missing.
    """
    if importlib.util.find_spec("mlx_lm") is None:
        return {"reason": "not installed: mlx-lm (the extra `hub`)"}
    chosen = list(SAMPLINGS.items())[: 1 if quick else None]
    return {name: measure(sampling) for name, sampling in chosen}


def measure(sampling: Sampling) -> dict[str, Any]:
    """Sample by both, in turns.

    Args:
        sampling: The model, what is sampled from it, and how often.

    Returns:
        Milliseconds of both, how many times as fast the library is, its tokens per
        second, and the share of tokens in which both agree when they are greedy.
    """
    mx.random.seed(0)
    model = LanguageModel(sampling.config)
    shape = (sampling.rows, sampling.prompt)
    prompts = mx.random.randint(0, sampling.config.vocab_size, shape)
    mx.eval(model.parameters(), prompts)
    rows: Tokens = prompts.tolist()  # type: ignore[assignment] # two axes, so lists
    sample = _sampler_of_mlx_lm(model)
    ours = generate(model, prompts, sampling.new, temperature=0)[:, sampling.prompt :]
    theirs = mx.array(sample(rows, sampling.new, 0.0))

    def library() -> None:
        mx.eval(rollout(model, prompts, sampling.new, seed=0).log_probs)

    sides = {"library": library, "mlx_lm": lambda: sample(rows, sampling.new, 1.0)}
    samples = timing.interleave(sides, sampling.turns, 1)
    seconds = statistics.median(samples["library"])
    return {
        **{f"{k}_ms": timing.summary(v, scale=1e3) for k, v in samples.items()},
        "ratio": timing.ratio(samples, "mlx_lm", "library"),
        "tokens_per_second": sampling.rows * sampling.new / seconds,
        "greedy_equal": (ours == theirs).astype(mx.float32).mean().item(),
    }


def renamed(path: str) -> str:
    """Return the name that mlx-lm's Llama gives a weight of ours.

    Args:
        path: The weight's place in our model, with dots.

    Returns:
        Its place in theirs.

    Example:
        >>> renamed("blocks.0.attention.q_proj.weight")
        'model.layers.0.self_attn.q_proj.weight'
        >>> renamed("final_norm.weight")
        'model.norm.weight'
    """
    parts = [NAMES.get(part, part) for part in path.split(".")]
    return ".".join(parts).replace("blocks.", "model.layers.", 1)


def _sampler_of_mlx_lm(model: LanguageModel) -> Callable[[Tokens, int, float], Tokens]:
    """Return mlx-lm's batched sampling from a model with the same weights."""
    from mlx_lm.generate import BatchGenerator
    from mlx_lm.models import llama
    from mlx_lm.sample_utils import make_sampler

    config, block = model.config, model.config.block
    twin = llama.Model(
        llama.ModelArgs(
            model_type="llama",
            hidden_size=block.d_model,
            num_hidden_layers=config.n_layers,
            intermediate_size=block.ffn_dim,
            num_attention_heads=block.n_heads,
            num_key_value_heads=block.kv_heads,
            rms_norm_eps=block.norm_eps,
            rope_theta=block.rope_theta,
            vocab_size=config.vocab_size,
            tie_word_embeddings=True,
        )
    )
    weights = dict(tree_flatten(model.parameters()))
    twin.load_weights([(renamed(path), value) for path, value in weights.items()])

    def sample(prompts: Tokens, new: int, temperature: float) -> Tokens:
        batch = BatchGenerator(
            twin,
            max_tokens=new,
            sampler=make_sampler(temperature),
            completion_batch_size=len(prompts),
            prefill_batch_size=len(prompts),
        )
        found: dict[int, list[int]] = {row: [] for row in batch.insert(prompts)}
        while responses := batch.next_generated():
            for response in responses:
                found[response.uid].append(response.token)
        batch.close()
        return list(found.values())

    return sample
