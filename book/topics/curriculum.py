"""Notebook 08: how fast hard rows come in."""

from lmxlab.core import BlockConfig, ModelConfig
from lmxlab.data import ParityWorld
from lmxlab.models import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.curriculum import difficulty_curriculum, report_share
from lmxlab.training.loss import next_token_loss
from lmxlab.training.trainer import Trainer
import mlx.core as mx
from record import Position, Recording

from topics import column

ROWS, STEPS, FRACTION = 64, 200, 0.6


def parity_loss(model, tokens, targets, mask):  # type: ignore[no-untyped-def]
    """The loss of every other notebook; it reports the accuracy too."""
    logits, _ = model(tokens)
    loss, metrics = next_token_loss(lambda _: logits, tokens, targets, mask)
    right = (logits.argmax(axis=-1) == targets) * mask
    return loss, metrics | {"accuracy": right.sum() / mask.sum()}


def make(pace: float) -> Position:
    """Train with a curriculum of this pace; measure on hard rows."""
    world, seed = ParityWorld(seed=0), 0
    mx.random.seed(seed)
    block = BlockConfig(d_model=64, position="learned", max_seq_len=world.seq_len)
    model = LanguageModel(ModelConfig(block, vocab_size=world.vocab_size, n_layers=2))
    settings = {
        "learning_rate": 1.5e-3,
        "warmup_steps": 20,
        "batch_size": ROWS,
        "max_steps": STEPS,
        "seed": seed,
    }
    batches = difficulty_curriculum(
        *(world.easy(), world.hard(), ROWS, world.seq_len, STEPS, FRACTION),
        seed=seed,
        pace=pace,
        with_share=True,
    )
    config = TrainConfig(**settings, eval_interval=10, log_interval=0)
    trainer = Trainer(model, config, loss_fn=report_share(parity_loss))
    history = trainer.train(batches, world.hard().eval_batches(64, 8))
    right = column(history, "eval_accuracy")
    shares = column(history, "hard_share")
    best = max(right[1])
    when = right[0][right[1].index(best)]
    return Position(
        {"accuracy": {"accuracy": right}, "share": {"share": shares}},
        f"Accuracy on hard rows was best at step {when}: {100 * best:.1f}%. After "
        f"{STEPS} steps it is {100 * right[1][-1]:.1f}%, and the last batch was "
        f"{100 * shares[1][-1]:.0f}% hard rows.",
        settings | {"pace": pace, "warmup_fraction": FRACTION},
    )


RECORDING = Recording(
    title="A curriculum at several paces",
    label="pace (1 is as planned)",
    positions=[0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 30.0],
    first=3,
    axes={
        "accuracy": {
            "x": "step",
            "y": "right, of hard rows",
            "references": {"guessing": 0.5},
            "limits": (0.4, 1.0),
        },
        "share": {"x": "step", "y": "share of hard rows", "limits": (0.0, 1.0)},
    },
    make=make,
)
