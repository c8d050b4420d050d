"""What a panel shows is fresh, and where it shows it."""

from dataclasses import replace
from itertools import pairwise
import re
from types import SimpleNamespace

from lmxlab.lab import Compare, Knob, Panel, Run, controls, driver, live, status
from lmxlab.lab.chart import Chart
from lmxlab.lab.controls import Controls
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


@pytest.fixture
def clock(monkeypatch):
    """A clock that only a test moves; ``clock[0]`` are its seconds."""
    now = [0.0]
    moved = SimpleNamespace(perf_counter=lambda: now[0])
    for module in (driver, live, controls):
        monkeypatch.setattr(module, "time", moved)
    return now


def test_the_status_is_fresh_also_where_frames_are_dear(monkeypatch, clock):
    def dear(chart, only):
        clock[0] += 0.4  # so that frames are many seconds apart
        return {"loss": b""}

    lab = Panel(experiment)
    show = lab._show
    monkeypatch.setattr(lab, "_show", lambda record: (show(record), tick(0.01)))
    monkeypatch.setattr(Chart, "tiles", dear)

    def tick(seconds):
        clock[0] += seconds

    changed = [0.0]
    lab.status.observe(lambda _: changed.append(clock[0]), names="value")
    lab.run(steps=2000)
    assert clock[0] > 20
    assert max(after - before for before, after in pairwise(changed)) < 1.0


def test_words_for_pictures_and_ears_are_few_while_it_runs(monkeypatch, clock):
    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    lab = Panel(experiment)
    lab._announcer = status.Announcer(clock=lambda: clock[0])
    show, heard, told = lab._show, [], []

    def slowly(record):
        show(record)
        clock[0] += 0.1

    monkeypatch.setattr(lab, "_show", slowly)
    monkeypatch.setattr(Chart, "tiles", lambda chart, only: {"loss": b""})
    lab.announced.observe(lambda change: heard.append(change["new"]), names="value")
    lab.pictures["loss"].observe(lambda change: told.append(clock[0]), names="tooltip")
    lab.run(max_steps=600)  # a minute, 4 frames a second
    assert clock[0] == pytest.approx(60, abs=1)
    assert heard[0].startswith("running, step 1 of 600, loss 1.")
    assert heard[-1].startswith("done, step 600 of 600, loss 0.")
    assert 9 <= len(heard) <= 12
    assert 8 <= len(told) <= 14
    loss = lab.result.losses[-1]
    words = lab.pictures["loss"].tooltip
    assert f"{loss:.4g} at step 600" in words
    assert f"highest {max(lab.result.losses):.4g}" in words


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


def test_one_button_is_enabled_before_another_disables_itself():
    """A page hands the focus of the one on to the other."""
    lab, seen = Panel(experiment), []
    for name, button in lab.buttons.items():
        button.observe(
            lambda change, name=name: seen.append((name, change["new"])),
            names="disabled",
        )
    lab.state = "running"
    lab._refresh()
    assert seen == [("pause", False), ("stop", False), ("start", True), ("step", True)]


def test_only_one_line_is_read_out_and_alerts_are_at_once():
    lab = Panel(experiment)
    lab.say("beta = 1 from step 3 on.")
    assert lab.announced.value == "beta = 1 from step 3 on."
    assert 'role="status"' in lab.message.value  # which the page's script takes off
    lab.say("a & b", role="alert")
    assert 'role="alert"' in lab.message.value
    assert lab.announced.value == "beta = 1 from step 3 on."  # heard by its role
    for silent in (lab.status, lab.view.reading):
        assert not re.search("role|aria-live", silent.value)


def test_each_click_shows_in_the_line_even_if_nothing_changes():
    lab = Panel(experiment)
    before = lab.status.value
    lab.buttons["reset"].click()
    assert lab.status.value != before
    assert 'data-state="idle"' in lab.status.value


# ---------------------------------------------------------------------------- the view


def trained(**settings):
    lab = Panel(experiment, [Knob("learning_rate")])
    lab.run(steps=6, max_steps=8, **settings)
    return lab


def half_loss(model, tokens, targets):
    loss, metrics = next_token_loss(model, tokens, targets)
    return loss, {**metrics, "half": loss / 2}


def with_gauge(learning_rate=1e-2, max_steps=8, loss_fn=half_loss, unit=None):
    run = experiment(learning_rate, max_steps=max_steps)
    return replace(run, loss_fn=loss_fn, loss_unit=unit)


def test_each_plot_has_a_tile_and_gauges_come_by_themselves():
    lab = Panel(with_gauge)
    assert list(lab.pictures) == ["loss", "speed"]
    lab.run(steps=3)
    shown = [tile.tooltip.partition(",")[0] for tile in lab.gallery.children]
    assert shown[:2] == ["Loss", "Tokens per second"]
    assert shown[2:] == ["grad_norm", "half", "learning_rate"]
    assert all(
        bytes(tile.value).startswith(b"\x89PNG") for tile in lab.gallery.children
    )


def test_a_live_frame_renews_loss_and_speed_and_the_gauges_in_turn():
    lab = Panel(experiment)
    lab.state = "running"
    plots = ["loss", "speed", "a", "b"]
    assert lab._due_now(plots) == plots  # two of them have never been drawn
    lab.pictures |= dict.fromkeys(plots, lab.pictures["loss"])
    due = [lab._due_now(plots) for _ in range(12)]
    assert due[::3] == [["loss"]] * 4
    assert due[1::6] == [["speed"]] * 2
    assert [due[n] for n in (2, 4, 5, 8, 10, 11)] == [["b"], ["a"]] * 3
    few = [lab._due_now(plots[:2]) for _ in range(3)]
    assert few == [["loss"], ["speed"], ["speed"]]
    lab.state = "paused"
    assert lab._due_now(plots) == plots


def test_the_first_frame_of_a_run_renews_every_tile(monkeypatch):
    lab = Panel(with_gauge)
    lab.run(steps=6)
    before = {name: tile.value for name, tile in lab.pictures.items()}
    draw, frames = lab._draw, []

    def drawing():
        draw()
        if lab.state == "running":
            frames.append({name: tile.value for name, tile in lab.pictures.items()})

    monkeypatch.setattr(lab, "_draw", drawing)
    lab.run(steps=6, learning_rate=0.5)
    assert len(before) == 5  # more than a frame renews
    assert [name for name in before if frames[0][name] is before[name]] == []


NATS = "nats per token"


@pytest.mark.parametrize(
    ("loss_fn", "said", "unit"),
    [
        (None, None, NATS),
        (next_token_loss, None, NATS),
        (half_loss, None, ""),
        (half_loss, "nats per pair", "nats per pair"),
        (None, "bits per token", "bits per token"),
    ],
)
def test_the_unit_of_the_loss_is_said_wherever_it_is_shown(
    loss_fn, said, unit, monkeypatch, capsys
):
    lab = Panel(lambda max_steps=8: with_gauge(loss_fn=loss_fn, unit=said))
    duel = Compare(lab.experiment, {"a": {}, "b": {}})
    for panel in (lab, duel):  # a loss that is not known yet has no unit
        assert panel.pictures["loss"].tooltip.startswith("Loss, against")
    result = lab.run()
    last = f"{result.losses[-1]:.3f}"
    assert result.unit == unit
    assert capsys.readouterr().out.rstrip().endswith(f"{last} {unit}".rstrip())
    duel.run(steps=3)
    loss = f"oss in {unit}," if unit else "oss,"
    for panel in (lab, duel):
        axes = panel._chart._plots["loss"].axes
        assert axes.get_ylabel() == (f"loss ({unit})" if unit else "loss")
        assert panel.pictures["loss"].tooltip.startswith("L" + loss)
        images = []
        monkeypatch.setattr(controls, "display", images.append)
        monkeypatch.setattr(controls, "in_notebook", lambda: True)
        Controls.show(panel)
        assert images[0].alt.startswith("L" + loss)
        assert all(words in images[0].alt for words in panel._chart.words().values())
        panel.buttons["reset"].click()
        assert panel.pictures["loss"].tooltip.startswith("L" + loss)


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
    assert lab.announced.value.startswith("steps 4: loss ")  # and it is heard
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
