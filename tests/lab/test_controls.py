"""What a panel shows is fresh, and where it shows it."""

import asyncio
from dataclasses import replace
from itertools import pairwise
import time

from lmxlab.lab import Knob, Panel, Run
from lmxlab.lab.chart import Chart
from lmxlab.lab.runs import RunStore
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import next_token_loss
import mlx.core as mx
import mlx.nn as nn
import pytest


def experiment(learning_rate=1e-2, width=8, max_steps=10**6):
    model = nn.Sequential(nn.Embedding(4, width), nn.Linear(width, 4))
    config = TrainConfig(learning_rate, max_steps=max_steps, warmup_steps=0)
    tokens = mx.array([[0, 1, 2, 3]])
    return Run(model, config, iter(lambda: (tokens, tokens), None))


def test_the_status_is_fresh_also_where_frames_are_dear(monkeypatch):
    def dear(chart, only):
        time.sleep(0.1)  # so that frames are seconds apart
        return {"loss": b""}

    async def main():
        lab = Panel(experiment)
        monkeypatch.setattr(Chart, "tiles", dear)
        changed = []
        lab.status.observe(lambda _: changed.append(time.monotonic()), names="value")
        lab.buttons["start"].click()
        begun = time.monotonic()
        while time.monotonic() < begun + 1.6:
            await asyncio.sleep(0)
        lab.buttons["stop"].click()
        await lab.wait(5)
        times = [begun, *changed]
        assert max(after - before for before, after in pairwise(times)) < 1.0
        assert len(changed) >= 4

    asyncio.run(main())


def test_a_click_shows_before_the_picture_is_drawn(monkeypatch):
    seen = []
    lab = Panel(experiment)
    lab.buttons["step"].click()
    monkeypatch.setattr(
        Chart, "tiles", lambda chart, only: seen.append(lab.status.value) or {}
    )
    lab.buttons["stop"].click()
    assert 'data-state="stopped"' in seen[0]


def test_live_and_restart_knobs_stand_under_their_own_words():
    lab = Panel(experiment, [Knob("width", [8, 16]), Knob("learning_rate")])
    groups = lab.box.children[1].children
    words = ["at once" in group.children[0].value for group in groups]
    assert words == [True, False]
    assert groups[0].children[1] is lab.controls["learning_rate"]
    assert groups[1].children[1] is lab.controls["width"]


def test_the_line_says_no_steps_before_they_are_known():
    lab = Panel(experiment)
    assert lab.status.value.endswith("><b>idle</b></div>")


# ---------------------------------------------------------------------------- the view


def trained(**settings):
    lab = Panel(experiment, [Knob("learning_rate")])
    lab.run(steps=6, max_steps=8, **settings)
    return lab


def test_each_plot_has_a_tile_and_gauges_come_by_themselves():
    def with_gauge(max_steps=8):
        run = experiment(max_steps=max_steps)

        def loss_fn(model, tokens, targets):
            loss, metrics = next_token_loss(model, tokens, targets)
            return loss, {**metrics, "half": loss / 2}

        return replace(run, loss_fn=loss_fn)

    lab = Panel(with_gauge)
    assert list(lab.pictures) == ["loss", "speed"]
    lab.run(steps=3)
    shown = [tile.tooltip.partition(",")[0] for tile in lab.gallery.children]
    assert shown[:2] == ["Loss in nats per token", "Tokens per second"]
    assert shown[2:] == ["grad_norm", "half", "learning_rate"]
    assert all(
        bytes(tile.value).startswith(b"\x89PNG") for tile in lab.gallery.children
    )


def test_a_live_frame_renews_two_plots_and_one_gauge_in_turn():
    lab = Panel(experiment)
    lab.state = "running"
    plots = ["loss", "speed", "a", "b", "c"]
    assert [lab._due_now(plots)[2] for _ in range(4)] == ["b", "c", "a", "b"]
    assert all(lab._due_now(plots)[:2] == ["loss", "speed"] for _ in range(3))
    lab.state = "paused"
    assert lab._due_now(plots) == plots


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("x", ["tokens", "seconds", "steps"]),
        ("log_loss", [True, False, True]),
        ("smoothing", [0.0, 0.5, 0.99]),
    ],
)
def test_the_view_changes_the_picture_and_nothing_of_the_run(name, values):
    lab = trained()
    history = [dict(record) for record in lab.result.history]
    for value in values:
        before = bytes(lab.pictures["loss"].value)
        lab.view.controls[name].value = value
        assert getattr(lab._chart, name) == value
        assert bytes(lab.pictures["loss"].value) != before
    assert lab.result.history == history
    assert lab.state == "stopped"
    lab.run(steps=3, max_steps=8)
    assert getattr(lab._chart, name) == values[-1]  # the next run is seen the same way


def test_the_cursor_reads_exact_values():
    lab = trained()
    lab.view.controls["cursor"].value = 0.5  # of 8 steps
    record = lab.result.history[3]
    assert lab._chart.cursor == 4
    for name in ("loss", "learning_rate"):
        assert f"{name} <b>{record[name]:.5g}</b>" in lab.view.reading.value
    assert "steps 4" in lab.view.reading.value
    lab.view.controls["cursor"].value = 0.0
    assert lab.view.reading.value == ""
    assert lab._chart.cursor is None
    lab.view.controls["cursor"].value = 0.5
    lab.buttons["reset"].click()  # and what was read of the last run goes
    assert lab.view.reading.value == ""
    assert lab.view.controls["cursor"].value == 0


# ---------------------------------------------------------------------------- kept runs


def test_runs_are_kept_pinned_overlaid_and_done_again(tmp_path):
    lab = Panel(experiment, [Knob("learning_rate")], store=RunStore(tmp_path))
    first = lab.run(steps=4, max_steps=8, changes=[(2, "learning_rate", 0.5)])
    lab.run(steps=3, max_steps=8, learning_rate=1e-3)
    kept, later = lab._keeper.store.runs()
    assert (kept.state, kept.summary()["steps"]) == ("stopped", 4)
    assert [record["loss"] for record in kept.history] == first.losses
    assert kept.changes == [(2, "learning_rate", 0.5)]
    before = bytes(lab.pictures["loss"].value)
    row = lab._keeper.table.rows[kept.id]
    row.pin.value = True
    assert bytes(lab.pictures["loss"].value) != before
    assert lab._overlaid == {kept.id: kept.name}
    lab.run(steps=2, max_steps=8)
    assert list(lab._overlaid) == [kept.id]  # also over the next run
    row.pin.value = False
    assert lab._overlaid == {}
    again = Panel(experiment, store=RunStore(tmp_path))  # another session
    assert len(again._keeper.table.rows) == 3
    assert later.id in again._keeper.table.rows


def test_a_run_that_fails_is_kept_as_failed(tmp_path):
    def failing(max_steps=5):
        run = experiment(max_steps=max_steps)
        bad = (mx.array([[0, 9]]), mx.array([[0, 1]]))
        good = (mx.array([[0, 1]]), mx.array([[0, 1]]))

        def loss_fn(model, tokens, targets):
            if tokens.shape[1] == 1:
                raise ValueError("a row of one token")
            return next_token_loss(model, tokens, targets)

        return replace(run, train_data=[good, (bad[0][:, :1], bad[1])], loss_fn=loss_fn)

    lab = Panel(failing, store=RunStore(tmp_path))
    lab.buttons["start"].click()
    assert lab.state == "failed"
    (kept,) = lab._keeper.store.runs()
    assert (kept.state, kept.summary()["steps"]) == ("failed", 1)


@pytest.mark.parametrize("kind", ["csv", "json", "png", "svg"])
def test_runs_and_plots_are_exported(kind, tmp_path):
    lab = Panel(experiment, store=RunStore(tmp_path))
    lab.run(steps=2, max_steps=8)
    lab._keeper.table.exports[kind].click()
    (file,) = tmp_path.glob(f"*.{kind}")
    starts = {"csv": b"name,", "json": b"{", "png": b"\x89PNG", "svg": b"<svg"}
    assert file.read_bytes().startswith(starts[kind])
    assert str(file) in lab._keeper.table.message.value
