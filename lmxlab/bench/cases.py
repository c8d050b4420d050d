"""What is measured: models of several sizes, trained by the library and by hand.

    story    102,000 parameters, 8 x 13 tokens     overhead decides
    medium   339,000 parameters, 16 x 64 tokens    matrix products begin to decide
    large    820,000 parameters, 16 x 128 tokens   matrix products decide

and on a GPU, in bfloat16 with float32 master weights, the loss in chunks:

    base     26 million parameters, 16 x 512 tokens
    gpt2     124 million parameters, 16 x 1,024 tokens
"""

from collections.abc import Iterator
from dataclasses import dataclass
import itertools
import os
from typing import Any

from lmxlab.bench.timing import Step
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.models.gpt import gpt_config
from lmxlab.training.chunked_loss import chunked_next_token_loss
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import LossFn, next_token_loss
from lmxlab.training.precision import mixed_precision
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

Batch = tuple[Any, Any]


@dataclass(frozen=True)
class Case:
    """A model and the shape of its batches.

    Args:
        name: Under which it is measured.
        vocab_size: Of the model.
        d_model: Its width.
        n_layers: Its depth.
        n_heads: Of its attention.
        batch_size: Rows of a batch.
        seq_len: Tokens of a row.
        family: ``small``, a modern small one, or ``gpt``.
        mixed: Whether it computes in bfloat16 with float32 master weights.
    """

    name: str
    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    batch_size: int
    seq_len: int
    family: str = "small"
    mixed: bool = False

    @property
    def tokens(self) -> int:
        """Tokens in a batch."""
        return self.batch_size * self.seq_len

    def model(self) -> LanguageModel:
        """Return the model, always with the same weights."""
        mx.random.seed(0)
        return LanguageModel(self.config())

    def config(self) -> ModelConfig:
        """Return the model's config: of the GPT-2 family, or a small modern one."""
        width, heads = self.d_model, self.n_heads
        if self.family == "gpt":
            return gpt_config(self.vocab_size, width, heads, self.n_layers)
        block = BlockConfig(d_model=width, n_heads=heads)
        return ModelConfig(
            block=block, vocab_size=self.vocab_size, n_layers=self.n_layers
        )

    def loss_fn(self) -> LossFn:
        """Return the loss that it is trained with."""
        if self.mixed:
            return mixed_precision(chunked_next_token_loss)
        return next_token_loss

    def batches(self) -> Iterator[Batch]:
        """Return sixteen random batches, drawn beforehand, round and round."""
        rng = np.random.default_rng(0)
        shape = (16, self.batch_size, self.seq_len + 1)
        tokens = rng.integers(0, self.vocab_size, shape).astype(np.int32)
        pairs = [(row[:, :-1].copy(), row[:, 1:].copy()) for row in tokens]
        return itertools.cycle(pairs)


CASES = {
    case.name: case
    for case in (
        Case("story", 47, 64, 2, 4, 8, 13),
        Case("medium", 64, 96, 3, 3, 16, 64),
        Case("large", 256, 128, 4, 4, 16, 128),
    )
}


GPU_CASES = {
    case.name: case
    for case in (
        Case("base", 13_824, 512, 6, 8, 16, 512, mixed=True),
        Case("gpt2", 50_257, 768, 12, 12, 16, 1024, family="gpt", mixed=True),
    )
}


def settings(*, compiled: bool = True, max_steps: int = 100_000) -> TrainConfig:
    """Return the run's settings: it warms up while nothing is measured yet.

    Args:
        compiled: Whether the step is compiled.
        max_steps: Of the schedule; more than are ever measured.

    Returns:
        The settings, the same for the library, by hand and in PyTorch.
    """
    warmup = min(100, max_steps // 2)
    return TrainConfig(
        warmup_steps=warmup,
        max_steps=max_steps,
        log_interval=0,
        compile_step=compiled,
    )


def trainer_step(
    case: Case, *, compiled: bool = True, callbacks: list[Any] | None = None
) -> Step:
    """Return the library's step: the next record of ``Trainer.stream``.

    Args:
        case: What to train.
        compiled: Whether the step is compiled.
        callbacks: The trainer's.

    Returns:
        A function that does one update and returns its record.
    """
    config = settings(compiled=compiled)
    trainer = Trainer(
        case.model(), config, loss_fn=case.loss_fn(), callbacks=callbacks or []
    )
    records = trainer.stream(case.batches())
    return lambda: next(records)


def on_one_core(step: Step) -> Step:
    """Return a step that is traced for one CPU stream, whatever the machine has.

    Args:
        step: One that has not been called.

    Example:
        >>> on_one_core(lambda: os.environ["LMXLAB_STREAMS"])()
        '1'
    """

    def limited() -> Any:
        before = os.environ.pop("LMXLAB_STREAMS", None)
        os.environ["LMXLAB_STREAMS"] = "1"
        try:
            return step()
        finally:
            del os.environ["LMXLAB_STREAMS"]
            if before is not None:
                os.environ["LMXLAB_STREAMS"] = before

    return limited


def bare_step(case: Case) -> Step:
    """Return the same update as one would write it by hand, with plain MLX.

    Args:
        case: What to train.

    Returns:
        A function that does one update and returns loss and gradient norm.
    """
    model, config, batches = case.model(), settings(), case.batches()
    schedule = optim.join_schedules(
        [
            optim.linear_schedule(0.0, config.learning_rate, config.warmup_steps),
            optim.cosine_decay(
                config.learning_rate, config.max_steps - config.warmup_steps
            ),
        ],
        [config.warmup_steps],
    )
    optimizer = optim.AdamW(
        schedule,
        betas=[config.beta1, config.beta2],
        weight_decay=config.weight_decay,
        bias_correction=True,
    )
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state, mx.random.state]

    def loss_fn(model: nn.Module, tokens: mx.array, targets: mx.array) -> mx.array:
        return next_token_loss(model, tokens, targets)[0]

    loss_and_grad = nn.value_and_grad(model, loss_fn)

    def update(tokens: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
        loss, grads = loss_and_grad(model, tokens, targets)
        grads, norm = optim.clip_grad_norm(grads, config.max_grad_norm)
        optimizer.update(model, grads)
        return loss, norm

    compiled = mx.compile(update, inputs=state, outputs=state)

    def step() -> tuple[Any, Any]:
        tokens, targets = next(batches)
        loss, norm = compiled(mx.array(tokens), mx.array(targets))
        mx.eval(loss, norm, state)
        return loss.item(), norm.item()

    return step
