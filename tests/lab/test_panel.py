"""A learner's hands on the panel, without a browser: a model of 68 weights trains."""

import asyncio
from dataclasses import dataclass
import math
import re
from types import SimpleNamespace

from lmxlab.lab import Knob, Panel, Run, controls, driver
from lmxlab.lab.chart import Chart
from lmxlab.lab.panel import Result, throughput
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import next_token_loss
import mlx.core as mx
import mlx.nn as nn
import pytest

KNOBS = [Knob("learning_rate"), Knob("batch_size", [2, 4]), Knob("max_grad_norm")]


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Frames cost most of the time, and these tests are about the rest."""
    monkeypatch.setattr(Chart, "png", lambda chart: b"")
    monkeypatch.setattr(Chart, "plots", lambda chart: ["loss"])
    monkeypatch.setattr(Chart, "tiles", lambda chart, only: {"loss": b""})


class Lagging(Run):
    """A run that queues one update ahead, as on a GPU."""

    def trainer(self):
        trainer = super().trainer()
        trainer.lag = 1
        return trainer


@dataclass
class At:
    """A callback that does something at one step."""

    step: int
    act: object
    ended: int = 0

    def on_step_end(self, step, metrics):
        if step == self.step:
            self.act()

    def on_train_end(self, history):
        self.ended += 1


def factor_loss(model, tokens, targets, factor):
    return factor * next_token_loss(model, tokens, targets)[0]


def toy(steps=6, *, callbacks=(), kind=Run, seed=0, nan_at=None, eval_data=None):
    def experiment(learning_rate=1e-2, batch_size=2, max_grad_norm=1.0):
        mx.random.seed(seed)
        model = nn.Sequential(nn.Embedding(8, 4), nn.Dropout(0.1), nn.Linear(4, 8))
        config = TrainConfig(
            learning_rate, max_steps=steps, warmup_steps=0, lr_schedule="constant",
            batch_size=batch_size, max_grad_norm=max_grad_norm, seed=seed,
            eval_interval=2,
        )  # fmt: skip
        tokens = mx.arange(4 * batch_size).reshape(batch_size, 4) % 8
        data = [
            (tokens, tokens, mx.array(math.nan if step == nan_at else 1.0))
            for step in range(1, steps + 1)
        ]
        return kind(
            model, config, data, eval_data=eval_data and data[:1],
            loss_fn=factor_loss, callbacks=callbacks,
        )  # fmt: skip

    return experiment


def panel(steps=6, **kwargs):
    return Panel(toy(steps, **kwargs), KNOBS)


def click(lab, *names):
    for name in names:
        lab.buttons[name].click()


def data(lab):
    """The status line's data attributes."""
    return dict(re.findall(r'data-([a-z-]+)="([^"]*)"', lab.status.value))


def shown(lab):
    return int(data(lab)["step"])


def raiser(error):
    def act(*_, **__):
        raise error

    return act


async def until(condition):
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def settled():
    """Give the loop the turns that a click and a step need."""
    for _ in range(20):
        await asyncio.sleep(0)


def failing_once(error):
    """An experiment that fails the first time."""
    errors = [error]

    def experiment(learning_rate=1e-2):
        if errors:
            raise errors.pop()
        return toy()(learning_rate)

    return experiment


# -------------------------------------------------------------------------- buttons


def test_a_run_that_a_callback_ends_says_so():
    class Enough:
        should_stop = False

        def on_step_end(self, step, metrics):
            self.should_stop = step == 4

    lab = panel(callbacks=[Enough()])
    lab.run()
    assert (lab.state, shown(lab)) == ("done", 4)
    assert "The run ended after step 4 of 6: a callback stopped it" in lab.message.value
    lab = panel()
    lab.run()
    assert lab.message.value == ""


def test_every_button_without_a_loop():
    lab = panel()
    story = []
    for name in ("step", "step", "stop", "step", "start", "start", "reset", "stop"):
        click(lab, name)
        story.append((name, lab.state, shown(lab)))
    assert story == [
        ("step", "paused", 1),
        ("step", "paused", 2),
        ("stop", "stopped", 2),
        ("step", "paused", 1),
        ("start", "done", 6),
        ("start", "done", 6),
        ("reset", "idle", 0),
        ("stop", "idle", 0),
    ]


def test_every_button_on_the_loop():
    async def story():
        lab = panel(steps=10_000)
        click(lab, "start")
        await until(lambda: lab.state == "running" and lab._last)
        click(lab, "pause")
        await settled()
        held = shown(lab)
        click(lab, "start")
        await until(lambda: lab._last["step"] > held)
        click(lab, "pause")
        await settled()
        held = shown(lab)
        for expected in (held + 1, held + 2):
            click(lab, "step")
            await settled()
            assert (lab.state, shown(lab)) == ("paused", expected)
        click(lab, "stop")
        await settled()
        assert (data(lab)["state"], shown(lab)) == ("stopped", held + 2)
        assert len(lab.result.history) == held + 2
        click(lab, "start")
        await until(lambda: lab.state == "running" and lab._last)
        assert len(lab.result.history) < held  # a new run
        click(lab, "reset")
        await settled()
        assert (lab.state, lab.result) == ("idle", None)

    asyncio.run(story())


def test_buttons_that_would_do_nothing_are_greyed_out():
    lab = panel()

    def enabled():
        return {name for name, button in lab.buttons.items() if not button.disabled}

    assert enabled() == {"start", "step", "reset"}
    click(lab, "step")
    assert enabled() == {"start", "step", "stop", "reset"}
    seen = []
    running = panel(callbacks=[At(1, lambda: seen.append(1))])
    running.press("start")
    assert enabled() == {"start", "step", "stop", "reset"}


def test_buttons_and_picture_have_their_fixed_classes():
    lab = panel()
    for name, button in lab.buttons.items():
        assert f"lmx-{name}" in button._dom_classes
    assert "lmx-plot" in lab.pictures["loss"]._dom_classes
    assert "lmx-panel" in lab.box._dom_classes
    assert 'class="lmx-status"' in lab.status.value


# --------------------------------------------------------------------- status line


def test_the_status_line_in_every_state():
    async def story():
        states = {}
        lab = panel(steps=1000, callbacks=[At(500, raiser(OSError("disk full")))])
        states["idle"] = data(lab)
        click(lab, "start")
        await until(lambda: data(lab)["state"] == "running" and shown(lab))
        states["running"] = data(lab)
        click(lab, "pause")
        await until(lambda: data(lab)["state"] == "paused")
        await settled()
        states["paused"] = data(lab)
        click(lab, "step")
        await settled()
        assert shown(lab) == int(states["paused"]["step"]) + 1
        click(lab, "stop")
        await settled()
        states["stopped"] = data(lab)
        click(lab, "start")
        await until(lambda: lab.state == "failed")
        states["failed"] = data(lab)
        return states

    states = asyncio.run(story())
    lab = panel()
    click(lab, "start")
    states["done"] = data(lab)
    for state, values in states.items():
        assert values["state"] == state
        assert set(values) == {
            *("state", "step", "lr", "loss", "tokens-per-second", "traces")
        }
    idle = states.pop("idle")
    assert idle == {
        **{"state": "idle", "step": "0", "lr": "", "loss": ""},
        **{"tokens-per-second": "", "traces": "0"},
    }
    for values in states.values():
        assert int(values["step"]) >= 1
        assert float(values["lr"]) == pytest.approx(0.01)
        assert 0 < float(values["loss"]) < 10
        assert values["traces"] == "1"
    assert int(states["done"]["tokens-per-second"]) > 0
    assert states["done"]["step"] == "6"
    assert states["failed"]["step"] == "499"


def test_the_status_line_speaks():
    lab = panel()
    click(lab, "step", "step")
    assert "<b>paused</b> &middot; step 2/6 &middot; loss 2." in lab.status.value
    assert "lr 1.00e-02" in lab.status.value
    assert "ETA" in lab.status.value
    assert lab.progress.value == pytest.approx(2 / 6)
    click(lab, "start")
    assert "ETA" not in lab.status.value
    assert lab.progress.value == 1


# ------------------------------------------------------------------ one at a time


async def together(*labs):
    for lab in labs:
        click(lab, "start")
    return [(await lab.wait()).losses for lab in labs]


def test_two_panels_at_once_train_as_each_does_alone():
    alone = [panel(20, seed=seed).run().losses for seed in (1, 2)]
    assert alone[0] != alone[1]

    async def story():
        return await together(panel(20, seed=1), panel(20, seed=2))

    assert asyncio.run(story()) == alone


def test_a_cell_that_draws_random_numbers_in_between_changes_nothing(monkeypatch):
    monkeypatch.setattr(driver, "SLICE", 0.0)  # it runs between any two steps
    alone = panel(20).run().losses

    async def story():
        lab = panel(20)
        drawn, task = set(), asyncio.create_task(together(lab))
        while not task.done():
            drawn.add(mx.random.uniform().item())
            await asyncio.sleep(0)
        assert len(drawn) > 20
        return await task

    assert asyncio.run(story()) == [alone]


def test_held_and_stepped_trains_as_straight_through():
    lab = panel()
    click(lab, "step", "step", "start")
    assert lab.result.losses == panel().run().losses


# ------------------------------------------------------------------------------ knobs


def test_a_live_knob_acts_at_the_next_step_without_a_new_trace():
    lab = panel()
    click(lab, "step", "step")
    lab.controls["learning_rate"].value = 0.05
    assert "learning rate = 0.05 from step 3 on" in lab.message.value
    click(lab, "start")
    rates = [record["learning_rate"] for record in lab.result.history]
    assert rates == pytest.approx([0.01] * 2 + [0.05] * 4)
    assert lab.result.trainer.trace_count == 1
    assert lab._chart.marks == [(2, "learning rate 0.05")]
    assert lab.result.losses[:3] == panel().run().losses[:3]
    assert lab.result.losses[3:] != panel().run().losses[3:]


def test_a_live_knob_acts_on_the_loop_too():
    async def story():
        lab = panel(steps=10_000)
        click(lab, "start")
        await until(lambda: lab._last)
        lab.controls["learning_rate"].value = 0.05
        await until(lambda: lab._last["learning_rate"] > 0.04)
        click(lab, "stop")
        await settled()
        return lab

    lab = asyncio.run(story())
    rates = [record["learning_rate"] for record in lab.result.history]
    assert rates == sorted(rates)
    assert lab.result.trainer.trace_count == 1
    assert [text for _, text in lab._chart.marks] == ["learning rate 0.05"]


def test_a_restart_knob_says_so_and_acts_at_reset():
    lab = panel()
    click(lab, "step")
    lab.controls["batch_size"].value = 4
    assert "batch size = 4 takes effect at Reset." in lab.message.value
    assert "role=alert" not in lab.message.value
    assert "takes effect at Reset" in lab.announced.value
    click(lab, "step")
    assert lab.result.history[-1]["tokens"] == 8
    assert lab._chart.marks == []
    click(lab, "reset")
    assert lab.message.value == ""
    click(lab, "step")
    assert lab.result.history[-1]["tokens"] == 16
    assert lab.result.settings["batch_size"] == 4


def test_a_knob_turned_while_idle_is_where_the_run_starts():
    lab = panel()
    lab.controls["learning_rate"].value = 0.05
    assert lab.message.value == ""
    click(lab, "step")
    assert lab.result.history[0]["learning_rate"] == pytest.approx(0.05)


@pytest.mark.parametrize("bad", [-1.0, math.nan, 1e12])
def test_a_bad_live_value_is_said_and_changes_nothing(bad):
    lab = panel()
    click(lab, "step")
    lab.press("change", "max_grad_norm", bad)
    assert 'role="alert"' in lab.message.value
    assert "max_grad_norm must be" in lab.message.value
    assert lab.settings["max_grad_norm"] == 1.0
    assert lab.controls["max_grad_norm"].value == 1.0
    assert lab.result.trainer.live["max_grad_norm"].item() == 1.0
    assert lab._chart.marks == []
    click(lab, "start")
    assert (lab.state, shown(lab)) == ("done", 6)


def test_a_knob_that_the_run_does_not_read_live_says_so():
    def experiment(beta=0.1):
        return toy()()

    lab = Panel(experiment, [Knob("beta", bounds=(0, 1), live=True)])
    click(lab, "step")
    lab.controls["beta"].value = 0.5
    assert "not a live setting of this run" in lab.message.value
    assert lab.controls["beta"].value == lab.settings["beta"] == 0.1


def test_a_run_in_a_terminal_says_how_far_it_is(capsys):
    panel(20).run(steps=7, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[:-2]] == [
        "step 2/20",
        "step 4/20",
        "step 6/20",
    ]
    panel().run()
    assert not re.search(r"^step ", capsys.readouterr().out, re.MULTILINE)


def test_changes_are_recorded_and_can_be_made_again_bit_for_bit():
    lab = panel(8)
    click(lab, "step")
    lab.controls["learning_rate"].value = 0.05
    click(lab, "step")
    click(lab, "step")
    lab.controls["max_grad_norm"].value = 0.5
    click(lab, "start")
    by_hand = lab.result
    assert [c[:2] for c in by_hand.changes] == [
        (1, "learning_rate"),
        (3, "max_grad_norm"),
    ]
    again = panel(8).run(changes=by_hand.changes)
    assert again.losses == by_hand.losses
    assert again.changes == by_hand.changes
    assert again.losses != panel(8).run().losses


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_change_acts_after_the_step_it_names_also_when_a_gpu_runs_ahead(at):
    changes = [(at, "learning_rate", 0.05)]
    ahead = panel(kind=Lagging).run(changes=changes)
    rates = [record["learning_rate"] for record in ahead.history]
    assert rates == pytest.approx([0.01] * at + [0.05] * (6 - at))
    assert ahead.losses == panel().run(changes=changes).losses


def test_a_change_of_what_is_not_live_is_an_error():
    with pytest.raises(ValueError, match="'batch_size' is not a live setting"):
        panel().run(changes=[(2, "batch_size", 4)])


def test_a_live_knob_may_turn_something_else_than_an_array():
    turned = []

    def experiment(pace=1.0):
        run = toy()()
        run.on_change["pace"] = turned.append
        return run

    lab = Panel(experiment, [Knob("pace")])
    click(lab, "step")
    lab.controls["pace"].value = 10**0.5
    assert turned == [pytest.approx(3.16, abs=0.01)]
    assert lab.result.changes == [(1, "pace", turned[0])]
    click(lab, "start")
    assert lab.state == "done"


# ----------------------------------------------------------------------------- errors


RAISING = {
    "experiment": lambda: Panel(failing_once(OSError("no such corpus"))),
    "not a run": lambda: Panel(lambda width=1: None),
    "step": lambda: panel(nan_at=3),
    "callback": lambda: panel(callbacks=[At(3, raiser(OSError("disk full")))]),
}


@pytest.mark.parametrize(
    ("what", "kind", "words", "done"),
    [
        ("experiment", OSError, "OSError: no such corpus", 0),
        ("not a run", TypeError, "must return a Run, got NoneType", 0),
        ("step", FloatingPointError, "step 3: loss is nan", 2),
        ("callback", OSError, "OSError: disk full", 3),
    ],
)
def test_an_error_is_shown_in_words_and_raised_by_run_and_wait(what, kind, words, done):
    lab = RAISING[what]()
    click(lab, "start")
    assert lab.state == data(lab)["state"] == "failed"
    assert 'role="alert"' in lab.message.value
    assert words in lab.message.value
    if done:
        assert len(lab.result.history) == done

    lab = RAISING[what]()
    with pytest.raises(kind) as caught:
        lab.run()
    assert caught.value is lab.error

    async def story():
        lab = RAISING[what]()
        click(lab, "start")
        with pytest.raises(kind) as caught:
            await lab.wait()
        assert caught.value is lab.error
        assert lab.state == "failed"

    asyncio.run(story())


def test_start_works_after_a_failure():
    lab = Panel(failing_once(OSError("no such corpus")))
    click(lab, "start")
    assert lab.state == "failed"
    click(lab, "start")
    assert (lab.state, lab.message.value, shown(lab)) == ("done", "", 6)


def test_words_of_an_error_are_text_and_not_markup():
    lab = Panel(failing_once(OSError("<b>")))
    click(lab, "start")
    assert "&lt;b&gt;" in lab.message.value


def test_an_interrupt_in_run_leaves_the_history():
    watcher = At(3, raiser(KeyboardInterrupt()))
    lab = panel(callbacks=[watcher])
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    assert (lab.state, data(lab)["state"]) == ("stopped", "stopped")
    assert len(lab.result.history) == lab.result.trainer.step == 3
    assert watcher.ended == 1
    watcher.step = 0
    assert len(lab.run().history) == 6


# ------------------------------------------------------------------------ run and wait


def test_run_prints_a_line_and_a_picture_and_returns_the_result(capsys):
    result = panel(eval_data=True).run()
    line, picture = capsys.readouterr().out.splitlines()
    assert line == result.summary()
    assert re.fullmatch(
        r"6 steps \| loss [\d.]+ \| evaluation [\d.]+ \| [\d,]+ tokens/s \| "
        r"first call [\d.]+ s \| Python entered the step 1 time",
        line,
    )
    first, last = result.losses[0], result.losses[-1]
    assert re.fullmatch(rf"loss: {first:.3f} [▁-█]{{6}} {last:.3f}", picture)
    assert result.eval_loss == result.history[5]["eval_loss"]


def test_run_for_some_steps_then_for_all():
    lab = panel()
    assert len(lab.run(steps=5).history) == 5
    assert lab.state == "stopped"
    assert len(lab.run().history) == 6
    assert lab.state == "done"
    assert len(lab.run(steps=99).history) == 6


def test_run_takes_settings_and_moves_the_knobs():
    lab = panel()
    result = lab.run(steps=1, learning_rate=0.05, batch_size=8)
    assert result.settings["batch_size"] == lab.controls["batch_size"].value == 8
    assert result.history[0]["learning_rate"] == pytest.approx(0.05)
    assert result.history[0]["tokens"] == 32
    assert lab.controls["learning_rate"].value == pytest.approx(0.05)


def test_a_setting_without_a_knob_is_for_one_run():
    lab = Panel(panel().experiment, knobs=[Knob("learning_rate")])
    assert lab.run(steps=1, batch_size=8).history[0]["tokens"] == 32
    assert lab.run(steps=1).history[0]["tokens"] == 4 * lab.settings["batch_size"] != 32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"width": 1}, "'width' is not a setting of this experiment; these are: learn"),
    ],
)
def test_run_refuses_what_it_cannot_do(arguments, words):
    lab = panel()
    with pytest.raises(ValueError, match=words):
        lab.run(**arguments)
    assert lab.state == "idle"
    assert len(lab.run(steps=2).history) == 2


def test_run_in_a_cell_takes_over_from_a_run_that_is_going():
    async def story():
        watcher = At(0, None)
        lab = panel(steps=2000, callbacks=[watcher])
        click(lab, "start")
        await until(lambda: lab._last)
        result = lab.run(steps=3)
        await settled()
        assert watcher.ended == 2
        assert (lab.state, len(result.history)) == ("stopped", 3)
        click(lab, "step")
        await settled()
        assert (lab.state, shown(lab)) == ("paused", 1)

    asyncio.run(story())


def test_wait_right_after_the_click():
    async def story():
        lab = panel()
        click(lab, "start")
        result = await lab.wait()
        assert result is lab.result
        return len(result.history)

    assert asyncio.run(story()) == 6


def test_wait_without_a_run_returns_none():
    async def story():
        return await panel().wait(1)

    assert asyncio.run(story()) is None


def test_wait_with_a_timeout_stops_the_run():
    async def story():
        lab = panel(steps=10_000)
        click(lab, "start")
        with pytest.raises(TimeoutError, match="stopped"):
            await lab.wait(0.05)
        assert lab.state == data(lab)["state"] == "stopped"
        assert len(lab.result.history) == lab.result.trainer.step

    asyncio.run(story())


# ---------------------------------------------------------------- one update queued


def test_step_and_stop_show_what_was_queued():
    lab = panel(kind=Lagging)
    for expected in (1, 2):
        click(lab, "step")
        assert shown(lab) == lab.result.trainer.step == expected
    click(lab, "start")
    assert shown(lab) == lab.result.trainer.step == 6


@pytest.mark.parametrize("action", ["pause", "step", "stop"])
def test_with_an_update_queued_the_last_step_shown_is_the_last_done(action):
    async def story():
        lab = panel(steps=10_000, kind=Lagging)
        click(lab, "start")
        await until(lambda: lab._last)
        assert lab.result.trainer.step == lab._last["step"] + 1
        click(lab, action)
        await settled()
        assert shown(lab) == lab.result.trainer.step == len(lab.result.history)
        assert lab._chart.curves("loss")[""].xs[-1] == shown(lab)
        click(lab, "step")
        await settled()
        assert shown(lab) == lab.result.trainer.step
        click(lab, "start")
        held = lab._last["step"]
        await until(lambda: lab._last["step"] > held)
        assert lab.result.trainer.lag == 1
        click(lab, "reset")
        await settled()

    asyncio.run(story())


@pytest.mark.parametrize("steps", [1, 2, 5, 6])
def test_run_queues_nothing_behind_its_last_step(steps):
    result = panel(kind=Lagging).run(steps=steps)
    assert result.trainer.step == len(result.history) == steps
    assert result.losses == panel().run(steps=steps).losses


# -------------------------------------------------------------------------- notebooks


@pytest.fixture
def cell(monkeypatch):
    """``cell(name)`` runs a notebook's cell: panels built after it belong to it."""
    shell = SimpleNamespace(execution_count=0)
    monkeypatch.setattr(controls, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    monkeypatch.setattr(controls, "_by_cell", {})

    def execute(name):
        shell.execution_count += 1
        metadata = {} if name is None else {"cellId": name}
        shell.get_parent = lambda: {"metadata": metadata}

    return execute


def test_running_a_cell_again_stops_its_earlier_panels(cell):
    async def story():
        cell("a")
        labs = [panel(10_000), panel(10_000)]
        cell("b")
        labs.append(panel(10_000))
        click(labs[0], "start")
        click(labs[1], "step")
        click(labs[2], "start")
        await until(lambda: all(lab._last for lab in labs))
        assert [lab.state for lab in labs] == ["running", "paused", "running"]
        cell("a")
        again = panel()
        assert [lab.state for lab in labs] == ["stopped", "stopped", "running"]
        await settled()
        assert again.state == "idle"
        click(labs[2], "stop")
        await settled()

    asyncio.run(story())


def test_a_front_end_that_does_not_name_cells_stops_nothing(cell):
    cell(None)
    lab = panel()
    click(lab, "step")
    cell(None)
    panel()
    assert lab.state == "paused"


# ------------------------------------------------------------------------ what is said


def test_what_a_panel_says_without_widgets():
    lab = panel()
    assert repr(lab) == (
        "Panel (idle). Nothing has been trained yet: press Start, or call .run()."
    )
    click(lab, "start")
    assert repr(lab).startswith("Panel (done). 6 steps | loss ")


def test_a_run_without_a_step_has_a_summary():
    empty = Result(SimpleNamespace(history=[], trace_count=0), {})
    assert empty.summary() == "no step was done"
    assert (empty.eval_loss, empty.tokens_per_second) == (None, None)


def test_throughput_is_a_median_without_first_calls():
    records = [{"tokens": 10, "step_seconds": s} for s in (0.1, 0.2, 5.0)]
    first = {"tokens": 10, "step_seconds": 9.0, "first_call_seconds": 9.0}
    assert throughput([first, *records]) == pytest.approx(50)
    assert throughput([first]) is None


def test_the_picture_is_there_from_the_start_and_moves(monkeypatch):
    monkeypatch.undo()
    lab = panel()
    before = bytes(lab.pictures["loss"].value)
    assert before.startswith(b"\x89PNG")
    click(lab, "step")
    assert bytes(lab.pictures["loss"].value) != before


def test_settings_that_cannot_train_are_not_kept():
    lab = Panel(toy(), knobs=[Knob("learning_rate")])
    before = dict(lab.settings)
    with pytest.raises(ValueError, match="learning_rate"):
        lab.run(learning_rate=-1.0)
    assert lab.settings == before
    assert lab.controls["learning_rate"].value == pytest.approx(before["learning_rate"])
    assert lab.run(steps=2).history
