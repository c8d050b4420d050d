"""Notebook 07: how much of the loss is the teacher's, with little text and plenty."""

import functools

from lmxlab.data import MarkovWorld, TokenDataset
from lmxlab.models import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.distillation import distillation_loss
from lmxlab.training.trainer import Trainer
import mlx.core as mx
from record import Position, Recording

from topics import column, small_model

WORLD, STEPS = MarkovWorld(), 300
TABLE = mx.array(WORLD.table)  # TABLE[a, b]: the true probabilities after a, b
CORPORA = {"4,096 tokens": 4096, "262,144 tokens": 262_144}


def excess(model: LanguageModel, inputs: mx.array) -> mx.array:
    """Nats a token above the true entropy, where two tokens have been seen."""
    logits = model(inputs)[0][:, 1:]
    log_q = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    truth = TABLE[inputs[:, :-1], inputs[:, 1:]]
    return (truth * (mx.log(truth) - log_q)).sum(axis=-1).mean()


@functools.cache
def teacher() -> LanguageModel:
    """Train the teacher, on plenty of text."""
    model = small_model(WORLD.vocab_size, seed=1)
    config = TrainConfig(
        5e-3, batch_size=64, max_steps=200, warmup_steps=50, log_interval=0
    )
    Trainer(model, config).train(WORLD)
    return model


def make(alpha: float) -> Position:
    """Train a student with this share of the teacher in its loss, on both texts."""
    settings = {
        "learning_rate": 5e-3,
        "batch_size": 16,
        "max_steps": STEPS,
        "warmup_steps": 50,
    }
    tau, wise, held_out = 2.0, teacher(), WORLD.eval_batches(64, 2)

    def loss_fn(model, inputs, targets):  # type: ignore[no-untyped-def]
        loss = distillation_loss(model, wise, inputs, tau, alpha, targets=targets)
        return loss, {} if model.training else {"excess": excess(model, inputs)}

    curves, ends = {}, {}
    for label, size in CORPORA.items():
        config = TrainConfig(**settings, eval_interval=10, log_interval=0)
        student = small_model(WORLD.vocab_size, d_model=32)
        corpus = TokenDataset(WORLD.sample(size, seed=1), WORLD.seq_len)
        history = Trainer(student, config, loss_fn=loss_fn).train(corpus, held_out)
        curves[label] = column(history, "eval_excess")
        ends[label] = [alpha], [curves[label][1][-1]]
    own = excess(wise, mx.array(held_out[0][0])).item()
    ends["the teacher itself"] = [alpha], [own]
    little, plenty, _ = (end[1][0] for end in ends.values())
    return Position(
        {"excess": curves, "end": ends},
        f"After {STEPS} steps the student with 4,096 tokens of text is {little:.2f} "
        f"nats above the truth, the one with 262,144 tokens {plenty:.2f}; the teacher "
        f"is {own:.2f} above.",
        settings | {"alpha": alpha, "temperature": tau, "corpora": list(CORPORA)},
    )


RECORDING = Recording(
    title="A student, with more and less of its teacher",
    label="α, the teacher's share of the loss",
    positions=[0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
    first=0,
    axes={
        "excess": {"x": "step", "y": "excess (nats a token)", "scale": "log"},
        "end": {
            "y": "excess at the end (nats a token)",
            "across": True,
            "scale": "log",
        },
    },
    make=make,
)
