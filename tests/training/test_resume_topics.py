"""Every kind of data that a topic trains on goes on from a checkpoint, bit for bit."""

import copy

from lmxlab.data import ParityWorld
from lmxlab.training.checkpointing import load_run, save_run
from lmxlab.training.curriculum import (
    difficulty_curriculum,
    length_curriculum,
    report_share,
)
from lmxlab.training.rollouts import GRPOBatches
import numpy as np
import pytest

STEPS, AT = 9, 4


def grpo(trainer, tiny):
    """In the middle of a rollout, with a reference and dropout."""
    model = tiny(dropout=0.2)
    data = GRPOBatches(
        model, [[1, 2], [3, 4]], lambda prompt, completion: float(completion[0]),
        max_new_tokens=3, n_prompts=2, group_size=4, epochs=3,
        ref_model=copy.deepcopy(model),
    )  # fmt: skip
    return trainer(model, loss_fn=data.loss_fn, max_steps=STEPS), data


def length(trainer, tiny):
    text = np.random.default_rng(0).integers(0, 11, 200)
    data = length_curriculum(text, 2, 4, 12, n_stages=3, batches_per_stage=3)
    return trainer(tiny(dropout=0.2), max_steps=STEPS), data


def difficulty(trainer, tiny):
    world = ParityWorld()
    data = difficulty_curriculum(
        world.easy(), world.hard(), 4, world.seq_len, STEPS, with_share=True
    )
    loss_fn = report_share()
    return trainer(tiny(dropout=0.2), loss_fn=loss_fn, max_steps=STEPS), data


@pytest.mark.parametrize("build", [grpo, length, difficulty])
def test_a_topic_goes_on_where_it_stopped(
    build, trainer, tiny, weights, same, untimed, tmp_path
):
    whole, data = build(trainer, tiny)
    whole.train(data)
    first, data = build(trainer, tiny)
    stream = first.stream(data)
    for _ in range(AT):
        next(stream)
    save_run(tmp_path, first)
    stream.close()
    second, data = build(trainer, tiny)
    load_run(tmp_path, second)
    assert len(second.train(data)) == STEPS - AT
    assert same(weights(second.model), weights(whole.model))
    assert untimed(second.history) == untimed(whole.history[AT:])
