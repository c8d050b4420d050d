"""A panel for each topic, with a model so small that a step takes milliseconds.

The headless tests build them, and so does a notebook in a browser. Nothing here is
meant to learn much: what is looked at is what a knob does (by_hand.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
import json
from typing import Any

import by_hand
from by_hand import Witness
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data import sorting
from lmxlab.data.batching import BatchIterator
from lmxlab.data.markov import MarkovWorld
from lmxlab.data.story import PROMPT_LENGTH, StoryWorld, preference_pairs, sentences
from lmxlab.lab import Knob, Panel, Run, Samples
from lmxlab.lab.runs import RunStore
from lmxlab.models.base import LanguageModel
from lmxlab.models.generate import generate
from lmxlab.training.config import TrainConfig
from lmxlab.training.curriculum import difficulty_curriculum, report_share
from lmxlab.training.distillation import distillation_loss
from lmxlab.training.dpo import dpo_loss
from lmxlab.training.mtp import MultiTokenPrediction, mtp_loss
from lmxlab.training.rollouts import GRPOBatches, rollout
import mlx.core as mx
import mlx.nn as nn
import numpy as np

STEPS = 20_000  # nobody waits for the end
EPOCHS = 3  # updates from one rollout


def config(**settings):
    usual = {"max_steps": STEPS, "warmup_steps": 0, "lr_schedule": "constant"}
    return TrainConfig(**usual | settings)


def small(vocab_size, d_model=8, seed=0):
    mx.random.seed(seed)
    block = BlockConfig(d_model=d_model, n_heads=2)
    return LanguageModel(ModelConfig(block, vocab_size=vocab_size, n_layers=1))


def live_arrays(**values):
    return {name: mx.array(value) for name, value in values.items()}


class Bigrams(nn.Module):
    """The next token from the present one; steep, so that gradients are long."""

    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        self.out = nn.Linear(d_model, vocab_size)

    def __call__(self, tokens):
        return 4 * self.out(self.embed(tokens))


def next_token(
    learning_rate=0.03,
    max_grad_norm=0.3,
    weight_decay=0.2,
    batch_size=4,
    d_model=16,
    compile_step=True,
    optimizer="sgd",
    lr_schedule="constant",
    max_steps=STEPS,
):
    mx.random.seed(0)
    world = StoryWorld()
    model = Bigrams(world.vocab_size, d_model)
    settings = config(
        learning_rate=learning_rate, max_grad_norm=max_grad_norm, beta1=0.0,
        weight_decay=weight_decay, batch_size=batch_size, compile_step=compile_step,
        optimizer=optimizer, lr_schedule=lr_schedule, max_steps=max_steps,
    )  # fmt: skip
    data = world.batches(batch_size, settings.seed)
    witness = Witness(model, data)
    return Run(model, settings, witness, callbacks=[witness])


def stories(model):
    names = sentences(4, 1)[:, :1]
    rows = np.array(generate(model, names, 5, seed=0))
    return [StoryWorld().tokenizer.decode(row) for row in rows]


def never_stutters(text):
    """Untrained models already manage that now and then."""
    words = text.split()
    return len(set(words)) == len(words)


STORIES = Samples(stories, never_stutters, every=20)


def dpo(beta=0.5, nll_weight=1.0, label_smoothing=0.1):
    model, reference = small(47), small(47, seed=1)
    live = live_arrays(
        beta=beta, nll_weight=nll_weight, label_smoothing=label_smoothing
    )

    def loss_fn(model, chosen, rejected):
        return dpo_loss(
            model, reference, chosen, rejected, live["beta"],
            nll_weight=live["nll_weight"], label_smoothing=live["label_smoothing"],
            prompt_lengths=PROMPT_LENGTH, return_metrics=True,
        )  # fmt: skip

    pairs = BatchIterator(lambda rng, n: preference_pairs(n, rng), 4, 0)
    witness = Witness(model, pairs, reference=reference, prompt_length=PROMPT_LENGTH)
    return Run(
        model, config(learning_rate=1e-3), witness, loss_fn=loss_fn, live=live,
        callbacks=[witness, STORIES.watch(model)],
    )  # fmt: skip


def digits_in_place(prompt, completion):
    """The share of the digits that stand where they should."""
    right = sorted(prompt[:-1])
    return sum(a == b for a, b in zip(right, completion, strict=False)) / len(right)


def spelled(model):
    """Four answers to each of two prompts."""
    world = sorting.SortingWorld()
    prompts = world.held_out_prompts(2).repeat(4, axis=0)
    out = rollout(model, prompts, world.answer_length, seed=0)
    answers = {}
    for prompt, end in zip(
        np.array(out.prompts), np.array(out.completions), strict=True
    ):
        answers.setdefault(world.decode(prompt), []).append(world.decode(end))
    return answers


def graded(prompt, answer):
    return digits_in_place([*prompt], [*answer])


ROLLOUTS = Samples(spelled, graded, every=20)


def grpo(epsilon=0.1, kl_weight=0.1, sampling_temperature=1.0):
    world = sorting.SortingWorld()
    model, reference = small(world.vocab_size), small(world.vocab_size, seed=1)
    live = live_arrays(epsilon=epsilon, kl_weight=kl_weight)
    data = GRPOBatches(
        model, world.prompts, digits_in_place, max_new_tokens=world.answer_length,
        n_prompts=4, group_size=4, epochs=EPOCHS, ref_model=reference,
        temperature=sampling_temperature,
    )  # fmt: skip

    def loss_fn(model, *batch):
        return data.loss_fn(
            model, *batch, beta=live["kl_weight"], epsilon=live["epsilon"]
        )

    def heat(value):
        data.temperature = value

    witness = Witness(model, data, epochs=EPOCHS)
    settings = config(learning_rate=5e-2)
    return Run(
        model, settings, witness, loss_fn=loss_fn, live=live,
        on_change={"sampling_temperature": heat},
        callbacks=[witness, ROLLOUTS.watch(model)],
    )  # fmt: skip


def mtp(mtp_weight=0.3):
    world = StoryWorld()
    model = MultiTokenPrediction(small(world.vocab_size), n_predict=2)
    live = live_arrays(mtp_weight=mtp_weight)

    def loss_fn(model, *batch):
        return mtp_loss(model, *batch, mtp_weight=live["mtp_weight"])

    witness = Witness(model, world.batches(4, 0))
    settings = config(learning_rate=1e-3)
    return Run(
        model, settings, witness, loss_fn=loss_fn, live=live, callbacks=[witness]
    )


class Sure(nn.Module):
    """A teacher that is surer of itself than an untrained model."""

    def __init__(self, vocab_size):
        super().__init__()
        self.model = small(vocab_size, seed=1)

    def __call__(self, tokens):
        return 5 * self.model(tokens)[0], None


def distillation(temperature=4.0, alpha=0.7):
    world = MarkovWorld(seq_len=8)
    student, teacher = small(world.vocab_size), Sure(world.vocab_size)
    live = live_arrays(temperature=temperature, alpha=alpha)

    def loss_fn(model, inputs, targets):
        return distillation_loss(
            model, teacher, inputs, live["temperature"], live["alpha"],
            targets=targets, return_metrics=True,
        )  # fmt: skip

    witness = Witness(student, world.batches(4, 0), teacher=teacher)
    settings = config(learning_rate=1e-3)
    return Run(
        student, settings, witness, loss_fn=loss_fn, live=live, callbacks=[witness]
    )


def curriculum(pace=0.3):
    warmup, rows = 3000, 4096
    model = Bigrams(2, 2)
    data = difficulty_curriculum(
        np.zeros(9, int), np.ones(9, int), rows, 2, STEPS, warmup / STEPS,
        pace=pace, with_share=True,
    )  # fmt: skip

    def change(value):
        data.pace = value

    witness = Witness(model, data, warmup=warmup)
    return Run(
        model, config(), witness, loss_fn=report_share(), on_change={"pace": change},
        callbacks=[witness],
    )  # fmt: skip


# ------------------------------------------------------------------------ the topics

Turns = list[tuple[str, int]]  # a key and how often, three positions
FAR_AND_WIDE: Turns = [("Home", 1), ("PageUp", 3), ("End", 1)]


@dataclass(frozen=True)
class Topic:
    """What to build, which knobs to turn and how far, and how to check the updates.

    Attributes:
        experiment: Settings to a run whose first callback is a witness.
        live: Live knobs, each with its three positions as keys of a slider.
        gap: (witness, record, settings of each update) to a distance: see by_hand.py.
        nothing: A distance that is rounding.
        something: A distance that shows that a knob was turned.
        restart: Other knobs.
        steps: After each turn.
        pane: Its samples.
    """

    experiment: Callable[..., Run]
    live: dict[str, Turns]
    gap: Callable[..., float]
    nothing: float = 5e-5
    something: float = 5e-4
    restart: tuple[Knob, ...] = ()
    steps: int = 3
    pane: Samples | None = None
    store: RunStore = field(default_factory=lambda: RunStore("off"))

    def panel(self) -> Panel:
        knobs = [*map(Knob, self.live), *self.restart]
        return Panel(self.experiment, knobs, store=self.store)

    def account(self, lab: Panel) -> dict[str, Any]:
        return by_hand.account(self, lab)


TOPICS = {
    "next_token": Topic(
        next_token,
        {
            "learning_rate": [("PageDown", 1), ("PageUp", 2), ("PageDown", 3)],
            "max_grad_norm": [("PageUp", 1), ("Home", 1), ("PageUp", 1)],
            "weight_decay": FAR_AND_WIDE,
        },
        by_hand.plain,
        nothing=0.01,
        something=0.05,
        restart=(
            Knob("batch_size", [4, 8, 16]),
            Knob("d_model", [8, 16, 32]),
            Knob("compile_step"),
            Knob("optimizer", ["sgd", "lion", "adamw"]),
            Knob("lr_schedule", ["constant", "linear", "cosine"]),
        ),
    ),
    "dpo": Topic(
        dpo,
        dict.fromkeys(("beta", "nll_weight", "label_smoothing"), FAR_AND_WIDE),
        by_hand.dpo,
        pane=STORIES,
    ),
    "grpo": Topic(
        grpo,
        {
            "epsilon": [("Home", 1), ("PageUp", 1), ("PageUp", 2)],
            "kl_weight": FAR_AND_WIDE,
            "sampling_temperature": [("PageDown", 1), ("PageUp", 3), ("PageUp", 5)],
        },
        by_hand.grpo,
        steps=3 * EPOCHS,  # the answers to one set of prompts may all be equally good
        pane=ROLLOUTS,
    ),
    "mtp": Topic(mtp, {"mtp_weight": FAR_AND_WIDE}, by_hand.mtp),
    "distillation": Topic(
        distillation,
        {
            "temperature": FAR_AND_WIDE,
            "alpha": [("End", 1), ("PageDown", 3), ("PageDown", 8)],
        },
        by_hand.distillation,
    ),
    "curriculum": Topic(
        curriculum,
        {"pace": [("Home", 1), ("PageUp", 4), ("End", 1)]},
        by_hand.curriculum,
        nothing=1e-6,
        something=0.4,
    ),
}

# Three positions of each restart knob; the last ones are the defaults.
RESTARTS = [
    {"batch_size": 8, "d_model": 32, "compile_step": False, "optimizer": "lion",
     "lr_schedule": "cosine"},
    {"batch_size": 16, "d_model": 8, "compile_step": True, "optimizer": "adamw",
     "lr_schedule": "linear"},
    {"batch_size": 4, "d_model": 16, "compile_step": False, "optimizer": "sgd",
     "lr_schedule": "constant"},
]  # fmt: skip


def tell(name: str, lab: Panel) -> None:
    """Print a topic's account, for a page to read."""
    print(json.dumps(TOPICS[name].account(lab)))
