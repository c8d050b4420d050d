"""What a panel costs, counted: frames, messages and bytes; never seconds of a clock."""

import json

from lmxlab.lab import Knob, Panel, Run, RunStore
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import next_token_loss
import mlx.core as mx
import mlx.nn as nn
import pytest

STEP_SECONDS = 0.02
STEPS = 200


class Clock:
    """Time that passes with the steps, whatever the machine does meanwhile."""

    def __init__(self):
        self.now = 1000.0

    def on_step_end(self, step, metrics):
        self.now += STEP_SECONDS


def loss_with_metrics(model, tokens, targets):
    loss = next_token_loss(model, tokens, targets)[0]
    return loss, {"kl": 0.1 * loss, "entropy": 0.9 * loss, "reward": -loss}


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr("lmxlab.lab.live.time.perf_counter", lambda: found.now)
    return found


@pytest.fixture
def lab(clock, tmp_path):
    """A panel with everything on: five gauges, a kept run over them, the read-out."""

    def experiment(learning_rate=1e-2):
        mx.random.seed(0)
        model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
        config = TrainConfig(learning_rate, max_steps=STEPS, warmup_steps=0)
        tokens = mx.arange(8).reshape(2, 4)
        return Run(
            model, config, [(tokens, tokens)] * STEPS, loss_fn=loss_with_metrics,
            callbacks=[clock],
        )  # fmt: skip

    store = RunStore(tmp_path)
    lab = Panel(experiment, [Knob("learning_rate")], store=store)
    lab.run(steps=5)
    store.pin(store.runs()[0])
    lab.view.controls["cursor"].value = 0.4
    return lab


@pytest.fixture
def sent(lab, monkeypatch):
    """Size in bytes of each message to the front end, as they are sent."""
    sizes = []

    def publish(comm, msg_type, data=None, metadata=None, buffers=None, **keys):
        pictures = sum(len(buffer) for buffer in buffers or ())
        sizes.append(len(json.dumps(data, default=str)) + pictures)

    monkeypatch.setattr("comm.DummyComm.publish_msg", publish)
    return sizes


def test_a_second_of_training_sends_few_messages_and_bytes(lab, sent):
    lab.run()
    assert len(lab.result.history) == STEPS
    seconds = STEPS * STEP_SECONDS
    print(
        f"{len(sent) / seconds:.0f} messages, {sum(sent) / seconds:,.0f} bytes a second"
    )
    assert 20 < len(sent) < 60 * seconds
    assert sum(sent) < 500_000 * seconds


def test_a_step_alone_sends_nothing(lab, sent):
    """Between two frames there is nothing to tell: records wait for the next one."""
    lab.press("start")
    lab.press("reset")
    stream = lab._open()
    lab._chart.tiles()
    del sent[:]
    for _ in range(50):
        lab._show(next(stream))
    assert sent == []
    stream.close()


def test_frames_come_four_times_a_second_at_the_most(lab, monkeypatch):
    drawn = []
    draw = lab._draw
    monkeypatch.setattr(lab, "_draw", lambda: drawn.append(1) or draw())
    lab.run()
    assert 12 <= len(drawn) <= 4 * STEPS * STEP_SECONDS + 4


def test_a_tile_is_small(lab, sent):
    lab.run()
    sizes = {name: len(image.value) for name, image in lab.pictures.items()}
    assert len(sizes) == 7
    assert max(sizes.values()) < 30_000
