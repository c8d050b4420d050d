"""Drawing takes its share and no more; a plot follows ``Trainer.train``."""

import io
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.lab import LivePlot, live
from lmxlab.lab.live import Pacer, both_plots, picture_widget
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import mlx.nn as nn
from PIL import Image
import pytest

COSTS = st.lists(st.floats(1e-5, 10.0), min_size=1, max_size=60)


def frames(pacer, costs):
    """Draw as soon as it is due, from time 0; yield when each began and ended."""
    now = 0.0
    for cost in costs:
        now = max(now, pacer._next)
        assert pacer.due(now)
        yield now, now + cost
        now += cost
        pacer.drew(cost, now)
        assert not pacer.due(now)


@settings(deadline=None)
@given(costs=COSTS, savings=st.sampled_from([0.0, 0.15]))
def test_frames_take_their_share_of_the_time_whatever_they_cost(costs, savings):
    pacer, spent = Pacer(savings=savings, patience=math.inf), 0.0
    for begun, ended in frames(pacer, costs):
        # When a frame may begin, all those before have been earned.
        assert spent <= pacer.share * begun + savings + 1e-9
        spent += ended - begun


@settings(deadline=None)
@given(costs=COSTS)
def test_there_are_never_more_than_four_frames_a_second(costs):
    ends = 0.0
    for number, (begun, ended) in enumerate(frames(Pacer(), costs)):
        assert number == 0 or begun - ends >= 0.25 - 1e-9
        ends = ended


@settings(deadline=None)
@given(cost=st.floats(1e-5, 1.0), rest=st.floats(0, 1e4))
def test_a_long_rest_saves_up_no_more_than_there_was_at_first(cost, rest):
    pacer = Pacer(patience=math.inf)
    *_, (_, ended) = frames(pacer, [cost] * 3)
    later = ended + rest + 1000
    pacer.drew(1.0, later)
    assert pacer._next - later >= (1.0 - 0.15) / pacer.share - 1e-6


@given(costs=COSTS)
def test_soon_after_a_frame_the_next_one_is_due(costs):
    """Even where a busy machine has made frames dear, or laying out plots has."""
    ends = 0.0
    for begun, ended in frames(Pacer(), costs):
        assert begun - ends <= 1.5 + 1e-9
        ends = ended


def test_the_first_frames_come_without_delay():
    begun = [start for start, _ in frames(Pacer(), [0.06, 0.06, 0.01, 0.01])]
    assert begun[3] < 1.1


# ---------------------------------------------------------------------- the live plot


def train(plot, steps=30):
    model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 4))
    config = TrainConfig(1e-2, max_steps=steps, warmup_steps=0)
    tokens = mx.array([[0, 1, 2, 3]])
    trainer = Trainer(model, config, callbacks=[plot])
    return trainer.train([(tokens, tokens)] * steps)


def test_a_plot_follows_training_and_ends_with_all_of_it():
    plot = LivePlot(references={"chance": 1.386})
    history = train(plot)
    assert plot.frames >= 2
    assert plot.draw_seconds > 0
    assert plot._chart.curves("loss")[""].ys == [record["loss"] for record in history]
    assert bytes(plot.widget.value) == plot._chart.png()


def test_a_plot_draws_as_often_as_its_share_allows(monkeypatch):
    clock = [0.0]

    def slow(chart):
        clock[0] += 0.01
        return b""

    monkeypatch.setattr(live.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(live.Chart, "png", slow)
    plot = LivePlot()
    plot.on_train_begin(TrainConfig(max_steps=10_000))
    for step in range(1, 10_001):
        clock[0] += 0.01
        plot.on_step_end(step, {"step": step, "loss": 1.0, "tokens": 1,
                                "step_seconds": 0.01})  # fmt: skip
    share = plot.draw_seconds / clock[0]
    assert 0.007 < share < 0.011


def test_a_plot_serves_one_run_after_the_other():
    plot = LivePlot()
    train(plot, 5)
    train(plot, 7)
    assert plot._chart.total == len(plot._chart.curves("loss")[""].xs) == 7


def test_a_plot_shows_itself_in_a_notebook(monkeypatch):
    shown = []
    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setattr(live, "display", shown.append)
    plot = LivePlot()
    train(plot, 2)
    assert shown == [plot.widget]


def test_a_plot_is_saved_as_it_is(tmp_path):
    plot = LivePlot()
    with pytest.raises(ValueError, match="no picture yet; train with this callback"):
        plot.save(tmp_path / "loss.png")
    train(plot, 3)
    path = plot.save(tmp_path / "loss.png")
    assert Image.open(io.BytesIO(path.read_bytes())).size == (840, 290)
    with pytest.raises(FileNotFoundError):
        plot.save(tmp_path / "no such folder" / "loss.png")


def test_the_picture_has_a_name_and_what_the_front_end_needs_for_it():
    picture = picture_widget(both_plots("nats per token"))
    assert picture.tooltip == (
        "Two plots against training steps: loss in nats per token, and tokens per "
        "second."
    )
    # ipywidgets 8.1 reads the description of whatever has a tooltip.
    assert picture.get_state()["description"] == ""
