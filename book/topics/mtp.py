"""Notebook 06: how many passes a draft saves, by the number of heads that write it."""

from lmxlab.data import StoryWorld, story
from lmxlab.training.config import TrainConfig
from lmxlab.training.mtp import MultiTokenPrediction, mtp_loss
from lmxlab.training.speculative import DraftMeter
from lmxlab.training.trainer import Trainer
from record import Position, Recording

from topics import column, small_model

T, STEPS = 70, 250  # five stories of 14 tokens


def make(heads: int) -> Position:
    """Train with so many heads, and draft with them now and then."""
    settings = {
        "learning_rate": 6e-3,
        "warmup_steps": 50,
        "max_steps": STEPS,
        "batch_size": 8,
    }
    mtp = MultiTokenPrediction(small_model(d_model=48), heads)
    prompts = story.sentences(4, seed=1000)[:, :1].tolist()  # a name each
    trainer = Trainer(
        mtp,
        TrainConfig(**settings, eval_interval=25, log_interval=0),
        callbacks=[DraftMeter(mtp, prompts, T)],
        loss_fn=mtp_loss,
    )
    world = StoryWorld("stream", seq_len=T)
    history = trainer.train(world, world.eval_batches(16, 2))
    passes, last = column(history, "eval_forwards"), history[-1]
    depths = list(range(1, heads + 1))
    kept = [last[f"eval_acceptance_{depth}"] for depth in depths]
    return Position(
        {
            "passes": {"with a draft": passes},
            "kept": {"kept": (depths, kept)},
        },
        f"After {STEPS} steps a text of {T} tokens takes {passes[1][-1]:.1f} passes. "
        f"The last of the heads ({heads}) has {100 * kept[-1]:.1f}% of its guesses "
        "kept.",
        settings | {"n_predict": heads, "mtp_weight": 0.3, "new tokens": T},
    )


RECORDING = Recording(
    title="More heads, longer drafts",
    label="extra heads",
    positions=[1, 2, 3, 4, 5, 6],
    first=1,
    axes={
        "passes": {
            "x": "step",
            "y": f"passes for {T} tokens",
            "references": {"plain decoding": T},
            "limits": (0, 75),
        },
        "kept": {"x": "head", "y": "share of guesses kept", "limits": (0.0, 1.0)},
    },
    make=make,
)
