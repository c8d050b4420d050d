"""A model of 11 tokens, batches for it, a silent trainer, and what to compare."""

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
import mlx.core as mx
from mlx.utils import tree_flatten
import numpy as np
import pytest

VOCAB = 11
TIMINGS = {"step_seconds", "first_call_seconds"}


def _model(dropout=0.0, seed=0):
    mx.random.seed(seed)
    block = BlockConfig(d_model=16, n_heads=2, dropout=dropout)
    return LanguageModel(ModelConfig(block, vocab_size=VOCAB, n_layers=1))


def _rows(n, shape=(2, 5), seed=0):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, VOCAB, size=(n, shape[0], shape[1] + 1), dtype=np.int32)
    return [(row[:, :-1], row[:, 1:]) for row in drawn]


def _trainer(
    model=None, *, dropout=0.0, optimizer=None, callbacks=(), loss_fn=None, live=None,
    rule="adamw", **config,
):  # fmt: skip
    defaults = {"warmup_steps": 0, "learning_rate": 1e-2, "log_interval": 0}
    settings = TrainConfig(**(defaults | {"optimizer": rule} | config))
    return Trainer(
        _model(dropout) if model is None else model,
        settings,
        optimizer,
        list(callbacks),
        loss_fn=loss_fn,
        live=live,
    )


def _weights(model):
    return {path: np.array(value) for path, value in tree_flatten(model.parameters())}


def _same(a, b):
    return a.keys() == b.keys() and all((a[key] == b[key]).all() for key in a)


def _untimed(records):
    return [{k: v for k, v in r.items() if k not in TIMINGS} for r in records]


def _consistent(trainer):
    """Whether the trainer, its optimizer and its history agree on the step."""
    steps = [record["step"] for record in trainer.history]
    assert steps == list(range(1, trainer.step + 1))
    assert trainer.optimizer.state["step"].item() == trainer.step
    assert all(np.isfinite(w).all() for w in _weights(trainer.model).values())
    return True


@pytest.fixture
def tiny():
    """``tiny(dropout=0.0, seed=0)``: a model with one block."""
    return _model


@pytest.fixture
def rows():
    """``rows(n, shape=(2, 5), seed=0)``: n batches (inputs, targets)."""
    return _rows


@pytest.fixture
def trainer():
    """``trainer(model=None, rule="adamw", **config)``: silent, no warm-up."""
    return _trainer


@pytest.fixture
def weights():
    """``weights(model)``: copies of all weights by path."""
    return _weights


@pytest.fixture
def same():
    """``same(a, b)``: whether two ``weights`` are equal bit for bit."""
    return _same


@pytest.fixture
def untimed():
    """``untimed(records)``: the records without their timings."""
    return _untimed


@pytest.fixture
def consistent():
    """``consistent(trainer)``: step, optimizer and history agree."""
    return _consistent
