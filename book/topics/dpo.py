"""Notebook 04: the weight of the NLL term decides what a preference costs."""

import copy
import functools
import math

from lmxlab.data import BatchIterator, StoryWorld
from lmxlab.data.judge import survey
from lmxlab.data.story import PROMPT_LENGTH, preference_pairs, sentences
from lmxlab.models import LanguageModel
from lmxlab.models.generate import generate
from lmxlab.training.config import TrainConfig
from lmxlab.training.dpo import dpo_loss
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import numpy as np
from record import Position, Recording

from topics import column, small_model

STEPS, HELD_OUT = 200, 10**6  # a seed that no run trains on


@functools.cache
def base() -> LanguageModel:
    """Train the model that all runs start from, on kind and unkind stories alike."""
    model = small_model()
    config = TrainConfig(3e-3, warmup_steps=50, max_steps=400, log_interval=0)
    Trainer(model, config).train(StoryWorld())
    return model


def make(nll_weight: float) -> Position:
    """Prefer kind endings with this weight; judge what the model then writes."""
    settings = {"learning_rate": 1e-3, "warmup_steps": 0, "max_steps": STEPS}
    beta, model, reference = 0.5, copy.deepcopy(base()), base()

    def loss_fn(model, chosen, rejected):  # type: ignore[no-untyped-def]
        return dpo_loss(
            *(model, reference, chosen, rejected, beta),
            prompt_lengths=PROMPT_LENGTH,
            nll_weight=nll_weight,
            return_metrics=True,
        )

    config = TrainConfig(**settings, eval_interval=10, log_interval=0)
    pairs = BatchIterator(lambda rng, n: preference_pairs(n, rng), 32, seed=0)
    trainer = Trainer(model, config, loss_fn=loss_fn)
    history = trainer.train(pairs, [preference_pairs(200, HELD_OUT)])
    prompts = mx.array(sentences(400, HELD_OUT + 1)[:, :PROMPT_LENGTH])
    found = survey(np.array(generate(model, prompts, 5, seed=0)))
    shares = {
        "pairs told apart": history[-1]["eval_accuracy"],
        "kind": found["kind"],
        "right names": found["right_names"],
    }
    told, kind, names = (100 * share for share in shares.values())
    sides = {
        side: column(history, f"eval_{side}_log_prob")
        for side in ("chosen", "rejected")
    }
    chosen = sides["chosen"][1][-1]
    return Position(
        {
            "log_probs": sides,
            "shares": {label: ([nll_weight], [y]) for label, y in shares.items()},
        },
        f"{told:.1f}% of the held-out pairs are told apart; of the endings that the "
        f"model writes {kind:.1f}% are kind and {names:.1f}% have the right names. "
        f"Chosen endings end at {chosen:.2f} nats.",
        settings | {"nll_weight": nll_weight, "beta": beta, "batch_size": 32},
    )


RECORDING = Recording(
    title="DPO with more and less of an NLL term",
    label="weight of the NLL term",
    positions=[0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0],
    first=0,
    axes={
        "log_probs": {
            "x": "step",
            "y": "log-probability (nats)",
            "references": {"ln 1/3": -math.log(3)},
        },
        "shares": {"y": "share, held out", "across": True, "limits": (0.0, 1.0)},
    },
    make=make,
)
