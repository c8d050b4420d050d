"""Notebook 05: how fast rewards may teach."""

import copy
import functools

from lmxlab.data.sorting import END, SortingWorld, is_sorted_answer
from lmxlab.models import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.rewards import score
from lmxlab.training.rollouts import GRPOBatches, rollout
from lmxlab.training.trainer import Trainer
from record import Position, Recording

from topics import column, small_model

WORLD, STEPS = SortingWorld(), 100  # two updates for each rollout


@functools.cache
def base() -> LanguageModel:
    """Train the model that all runs start from: it sorts, reverses or copies."""
    model = small_model(WORLD.vocab_size)
    config = TrainConfig(
        3e-3, warmup_steps=50, max_steps=400, batch_size=64, log_interval=0
    )
    Trainer(model, config).train(WORLD)
    return model


def sorted_share(model: LanguageModel) -> float:
    """Return how many answers to held-out prompts are right."""
    prompts = WORLD.held_out_prompts(100).repeat(8, axis=0)
    out = rollout(model, prompts, WORLD.answer_length, stop_token=END, seed=1)
    return float(score(is_sorted_answer, *out[:2], out.mask).mean())


def make(learning_rate: float) -> Position:
    """Reward sorted answers, with this rate."""
    model = copy.deepcopy(base())
    settings = {
        "learning_rate": learning_rate,
        "lr_schedule": "constant",
        "warmup_steps": 0,
        "max_steps": STEPS,
    }
    groups = {"n_prompts": 16, "group_size": 8, "epochs": 2}
    data = GRPOBatches(
        *(model, WORLD.prompts, is_sorted_answer),
        max_new_tokens=WORLD.answer_length,
        stop_token=END,
        **groups,
    )
    config = TrainConfig(**settings, log_interval=0)
    history = Trainer(model, config, loss_fn=data.loss_fn).train(data)
    before, after = sorted_share(base()), sorted_share(model)
    return Position(
        {
            "reward": {"reward": column(history, "reward_mean")},
            "right": {
                "before": ([learning_rate], [before]),
                "after": ([learning_rate], [after]),
            },
        },
        f"After {STEPS} updates {100 * after:.1f}% of the answers to held-out prompts "
        f"are right; before, {100 * before:.1f}% were.",
        settings | groups,
    )


RECORDING = Recording(
    title="GRPO at several learning rates",
    label="learning rate",
    positions=[1e-5, 3e-5, 1e-4, 3e-4, 6e-4, 1e-3, 3e-3],
    first=3,
    axes={
        "reward": {"x": "update", "y": "mean reward", "limits": (0.0, 1.0)},
        "right": {"y": "right, held out", "across": True, "limits": (0.0, 1.0)},
    },
    make=make,
)
