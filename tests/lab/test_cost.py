"""What a panel costs, counted: frames, messages and bytes; never seconds of a clock."""

import asyncio
import json

from lmxlab.lab import Knob, Panel, Run, RunStore
from lmxlab.lab.chart import Chart
from lmxlab.lab.plot import Plot
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


def layouts(monkeypatch):
    """The labels of the plots that are laid out from now on."""
    laid_out = []
    lay_out = Plot._draw_background

    def counted(plot):
        laid_out.append(plot.axes.get_ylabel())
        lay_out(plot)

    monkeypatch.setattr(Plot, "_draw_background", counted)
    return laid_out


def test_a_second_run_is_drawn_on_the_axes_of_the_first(lab, monkeypatch):
    """Laying out a plot costs six times as much as drawing it."""
    lab.run()
    lab.run()
    laid_out = layouts(monkeypatch)
    lab.run()
    assert len(laid_out) <= 3
    assert len(lab.pictures) == 7
    assert lab._chart.read(STEPS)["loss"] == lab.result.losses[-1]


def test_a_start_draws_no_empty_plots_and_a_reset_does(lab, monkeypatch):
    lab.run()
    before = lab.pictures["loss"].value
    drawn = []
    draw = lab._draw
    monkeypatch.setattr(lab, "_draw", lambda: drawn.append(lab.state) or draw())
    lab.run(steps=3)
    assert drawn[0] == "running"
    lab.press("reset")
    assert drawn[-1] == "idle"
    assert lab.pictures["loss"].value != before


def test_what_is_drawn_anew_is_what_a_new_chart_would_draw(monkeypatch):
    """Axes that are used again hold nothing of the run before."""
    records = [
        {"step": step, "loss": 4.0 - step / 20, "tokens": 8, "step_seconds": 0.1}
        for step in range(1, 51)
    ]
    first = Chart(50, references={"floor": 1.0})
    for record in records:
        first.add(record)
    expected = first.tiles()
    again = Chart(50, references={"floor": 1.0}, like=first)
    again.tiles()  # empty
    for record in records:
        again.add(record)
    assert again.tiles() == expected


def test_limits_follow_a_run_that_goes_elsewhere():
    first = Chart(50)
    first.add({"step": 50, "loss": 1.0, "tokens": 8, "step_seconds": 1e-4})
    first.tiles()
    again = Chart(50, like=first)
    for step in range(1, 51):
        again.add({"step": step, "loss": 9.0, "tokens": 8, "step_seconds": 0.1})
    again.tiles()
    assert again._plots["loss"].axes.get_ylim()[1] > 9  # grown
    assert again._plots["speed"].axes.get_ylim()[1] < 150  # and shrunk, from 100,000


def test_no_step_describes_the_panel(lab, monkeypatch):
    """Setting a signal's handler writes it out: a bound method brings all the panel."""
    described = []
    describe = type(lab).describe
    monkeypatch.setattr(
        type(lab), "describe", lambda panel: described.append(1) or describe(panel)
    )

    async def story():
        lab.press("start")
        await lab.wait()

    loop = asyncio.new_event_loop()
    monkeypatch.setattr(lab, "_loop", loop)
    loop.run_until_complete(story())
    loop.close()
    assert len(lab.result.history) == STEPS
    assert len(described) < STEPS / 4
