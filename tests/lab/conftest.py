"""A small experiment, a panel's words as data, and a way to wait for a panel."""

import asyncio
import html
import re
import time
from types import SimpleNamespace

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data.story import ENTROPY_FLOOR, StoryWorld
from lmxlab.lab import Knob, Panel, Run
from lmxlab.models.base import LanguageModel
from lmxlab.training.config import TrainConfig
import mlx.core as mx
import pytest

ENDLESS = 10**6


def _experiment(
    learning_rate=1e-2, batch_size=2, width=8, dropout=0.1, compile_step=True,
    max_grad_norm=1.0, max_steps=8, callbacks=(), loss_fn=None,
):  # fmt: skip
    mx.random.seed(0)
    block = BlockConfig(d_model=width, n_heads=2, dropout=dropout)
    model = LanguageModel(ModelConfig(block, vocab_size=47, n_layers=1))
    config = TrainConfig(
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_steps=max_steps,
        max_grad_norm=max_grad_norm,
        warmup_steps=0,
        lr_schedule="constant",
        eval_interval=4,
        compile_step=compile_step,
    )
    return Run(
        model,
        config,
        StoryWorld(),
        StoryWorld().eval_batches(2, 1),
        loss_fn=loss_fn,
        callbacks=callbacks,
        references={"entropy floor": ENTROPY_FLOOR},
    )


def _panel(experiment=_experiment, kind=Panel, **defaults):
    def with_defaults(
        learning_rate=1e-2, width=8, max_steps=8, batch_size=2, max_grad_norm=1.0
    ):
        settings = {
            "learning_rate": learning_rate,
            "width": width,
            "max_steps": max_steps,
            "batch_size": batch_size,
            "max_grad_norm": max_grad_norm,
        }
        return experiment(**{**settings, **defaults})

    knobs = [
        Knob("learning_rate"),
        Knob("max_grad_norm"),
        Knob("width", [8, 16]),
        Knob("batch_size", [2, 4]),
    ]
    return kind(with_defaults, knobs)


def _data(panel):
    found = re.findall(r'data-([\w-]+)="([^"]*)"', panel.status.value)
    return {name: html.unescape(value) for name, value in found}


def _message(panel):
    found = re.search(r'role="(\w+)"[^>]*>(.*)</div>', panel.message.value, flags=re.S)
    return (found[1], html.unescape(found[2])) if found else ("", "")


async def _until(condition, seconds=10):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass"
        await asyncio.sleep(0)


@pytest.fixture
def experiment():
    """``experiment(**settings)``: a run of 8 steps of a millisecond, with dropout."""
    return _experiment


@pytest.fixture
def panel():
    """``panel(**defaults)``: a panel over the experiment."""
    return _panel


@pytest.fixture
def endless():
    """``endless(**defaults)``: a panel whose run does not end by itself."""
    return lambda **defaults: _panel(max_steps=ENDLESS, **defaults)


@pytest.fixture
def data():
    """``data(panel)``: the attributes of the status line."""
    return _data


@pytest.fixture
def message():
    """``message(panel)``: the role and the words of the message."""
    return _message


@pytest.fixture
def until():
    """``await until(condition)``: turn the loop until it holds."""
    return _until


@pytest.fixture
def cell(monkeypatch):
    """``cell(name)``: pretend that a cell of a notebook runs, once more."""
    shell = SimpleNamespace(kernel=True, execution_count=0)

    def enter(name):
        shell.execution_count += 1
        shell.get_parent = lambda: {"metadata": {"cellId": name}}

    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    return enter
