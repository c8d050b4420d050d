"""A batch dealt out to several CPU streams is the batch, to rounding."""

from dataclasses import replace

from lmxlab import runtime
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training import cpu_streams
from lmxlab.training.chunked_loss import chunked_next_token_loss
from lmxlab.training.config import TrainConfig
from lmxlab.training.cpu_streams import on_streams, streams_for
from lmxlab.training.loss import next_token_loss
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

VOCAB, ROWS, LENGTH = 11, 5, 6
CONFIG = TrainConfig(1e-2, max_steps=8, warmup_steps=0, log_interval=0)


def model(dropout=0.0):
    mx.random.seed(1)
    block = BlockConfig(d_model=16, n_heads=2, dropout=dropout)
    return LanguageModel(ModelConfig(block, vocab_size=VOCAB, n_layers=2))


def batches(count=8, masked=True):
    rng = np.random.default_rng(3)
    for _ in range(count):
        text = rng.integers(0, VOCAB, (ROWS, LENGTH + 1)).astype(np.int32)
        mask = rng.integers(0, 2, (ROWS, LENGTH)).astype(np.float32)
        mask[:3] *= rng.integers(0, 2)  # now and then the first part counts nothing
        yield (text[:, :-1], text[:, 1:], *([mask] if masked else []))


@pytest.fixture
def cores(monkeypatch):
    """Pretend that every part is worth a core, and that there are so many."""

    def pretend(count):
        monkeypatch.setattr(cpu_streams, "FLOPS", 1.0)
        monkeypatch.setattr(runtime, "cpu_streams", lambda: count)

    return pretend


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("count", [2, 3, 5, 99])
@pytest.mark.parametrize("loss_fn", [next_token_loss, chunked_next_token_loss])
def test_a_run_on_several_streams_is_the_run_on_one(cores, loss_fn, count, compiled):
    config = replace(CONFIG, compile_step=compiled)
    runs = []
    for streams in (1, count):
        cores(streams)
        trainer = Trainer(model(), config, loss_fn=loss_fn)
        trainer.train(batches())
        runs.append(trainer)
    one, several = (run.history for run in runs)
    for a, b in zip(one, several, strict=True):
        assert a["tokens"] == b["tokens"]
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=2e-4)
    assert runs[0].trace_count == runs[1].trace_count == (1 if compiled else 8)


def test_it_runs_the_same_again_to_the_last_bit(cores):
    cores(2)
    losses = []
    for _ in range(2):
        trainer = Trainer(model(), CONFIG)
        losses.append([record["loss"] for record in trainer.train(batches())])
    assert losses[0] == losses[1]


def test_micro_batches_are_dealt_out_too(cores):
    whole = list(batches(4, masked=False))
    records = []
    for streams in (1, 2):
        cores(streams)
        records.append(Trainer(model(), CONFIG).train_step_accumulated(whole))
    assert records[0]["loss"] == pytest.approx(records[1]["loss"], rel=1e-6)
    assert records[0]["grad_norm"] == pytest.approx(records[1]["grad_norm"], rel=1e-5)


def test_parts_are_weighted_by_their_tokens():
    seen = []

    def value_and_grad(x, mask):
        seen.append(x.shape[0])
        mean = (x * mask).sum() / mx.maximum(mask.sum(), 1)
        return (mean, {"tokens": mask.sum(), "twice": 2 * mean}), {"w": 10 * mean}

    x = mx.array([[1.0], [2.0], [3.0], [4.0], [50.0]])
    mask = mx.array([[1.0], [0.0], [0.0], [1.0], [1.0]])
    metrics, grads = on_streams(value_and_grad, (x, mask), 2)
    assert seen == [3, 2]
    assert metrics["tokens"].item() == 3
    assert metrics["loss"].item() == pytest.approx(55 / 3)
    assert metrics["twice"].item() == pytest.approx(110 / 3)
    assert grads["w"].item() == pytest.approx(550 / 3)
    metrics, grads = on_streams(value_and_grad, (x, mx.zeros((5, 1))), 2)
    assert (metrics["loss"].item(), metrics["tokens"].item()) == (0, 0)
    assert grads["w"].item() == 0


def own_loss(net, tokens, targets):
    return next_token_loss(net, tokens, targets)


def test_only_what_is_worth_it_and_comes_out_the_same_is_dealt_out(monkeypatch):
    alone = mx.distributed.init()
    rows = mx.zeros((4, LENGTH), mx.int32)
    monkeypatch.setattr(runtime, "cpu_streams", lambda: 3)

    def streams(net, loss_fn=next_token_loss, batch=rows, group=alone):
        return streams_for(net, loss_fn, (batch, batch), group)

    assert streams(model()) == 1  # too small
    monkeypatch.setattr(cpu_streams, "FLOPS", 1.0)
    assert streams(model()) == 3
    assert streams(model(), batch=rows[:2]) == 2
    assert streams(model(), own_loss) == 1  # its rows may know of each other
    assert streams(model(dropout=0.1)) == 1
    quiet = model(dropout=0.1)
    quiet.eval()
    assert streams(quiet) == 3
    assert streams(nn.Sequential(nn.Embedding(VOCAB, 4), nn.Dropout(0.0))) == 3

    class Pair:
        def size(self):
            return 2

    assert streams(model(), group=Pair()) == 1


def test_the_user_says_how_many_cores_there_are(monkeypatch):
    monkeypatch.setattr(runtime, "preparation", lambda: runtime.Preparation(True))
    monkeypatch.setattr(runtime, "is_gpu", lambda: False)
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda process: range(6))
    told = []
    monkeypatch.setattr(runtime, "_set_blas_threads", told.append)
    monkeypatch.delenv("LMXLAB_STREAMS", raising=False)
    assert runtime.cpu_streams() == 6
    for wanted, expected in (("1", 1), ("4", 4), ("40", 6), (" ", 6)):
        monkeypatch.setenv("LMXLAB_STREAMS", wanted)
        assert runtime.cpu_streams() == expected
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("LMXLAB_STREAMS", wrong)
        with pytest.raises(ValueError, match=f"from 1 on, got {wrong!r}"):
            runtime.cpu_streams()
    monkeypatch.delenv("LMXLAB_STREAMS")
    runtime.one_blas_thread()
    assert told == [1]
    monkeypatch.setattr(runtime, "_set_blas_threads", None)  # the user set them
    assert runtime.cpu_streams() == 1
    monkeypatch.setattr(runtime, "is_gpu", lambda: True)
    assert runtime.cpu_streams() == 1
