"""Settings side by side: in turns, what each came to, and what may be said of it."""

import asyncio
from dataclasses import replace
import re

from lmxlab.lab import Compare, Comparison, Knob, Run
from lmxlab.lab.chart import COLOURS
from lmxlab.lab.live import Pacer
from lmxlab.training import trainer as trainers
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import next_token_loss
import mlx.core as mx
import mlx.nn as nn
import pytest

PAIR = {"eager": {"compile_step": False}, "compiled": {}}
THREE = {"a": {}, "b": {"width": 8}, "c": {"learning_rate": 0.1}}


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Frames cost most of the time, and these tests are about the rest."""
    monkeypatch.setattr(Compare, "_draw", lambda lab: None)


class Watch:
    """A callback that counts endings, and may raise at a step."""

    def __init__(self):
        self.begun = self.ended = self.raise_at = 0

    def on_train_begin(self, config):
        self.begun += 1

    def on_step_end(self, step, metrics):
        if step == self.raise_at:
            raise OSError("disk full")

    def on_train_end(self, history):
        self.ended += 1


class Clock:
    """Instead of the trainer's: a first call takes 1 s, a step what was set last."""

    pace = 0.125

    def __init__(self):
        self.seconds, self.first = Clock.pace, True

    def ended(self, *, queued=False):
        first, self.first = self.first, False
        return 1.0 if first else self.seconds

    def fed(self):
        pass

    resumed = waiting = fed


@pytest.fixture
def clock(monkeypatch):
    """Time is made up, so that budgets of seconds are exact."""
    monkeypatch.setattr(trainers, "StepClock", Clock)


def toy(steps=12, callbacks=()):
    def experiment(
        learning_rate=1e-2,
        compile_step=True,
        width=4,
        pace=0.125,
        fails=0,
        broken=False,
    ):
        if broken:
            raise MemoryError("no room\nfor it")
        mx.random.seed(0)
        Clock.pace = pace
        model = nn.Sequential(
            nn.Embedding(8, width), nn.Dropout(0.1), nn.Linear(width, 8)
        )
        config = TrainConfig(
            learning_rate, max_steps=steps, warmup_steps=0, compile_step=compile_step
        )
        tokens = mx.arange(8).reshape(2, 4)
        watching = list(callbacks)
        if fails:
            watch = Watch()
            watch.raise_at = fails
            watching.append(watch)
        return Run(model, config, [(tokens, tokens)] * steps, callbacks=watching)

    return experiment


def duel(steps=12, variants=PAIR, callbacks=(), **kwargs):
    return Compare(toy(steps, callbacks), variants, **kwargs)


def race(steps=400, variants=None, seconds=8.0, **kwargs):
    """Two that take the same steps, one twice as fast."""
    variants = variants or {"slow": {"pace": 0.125}, "fast": {"pace": 0.0625}}
    return duel(steps, variants, budget="seconds", seconds=seconds, **kwargs)


def counts(outcome):
    return [len(result.history) for result in outcome.results.values()]


def cells(outcome, column):
    """A column of the table: label to what stands there."""
    head, *rows = outcome.rows()
    return {row[0]: row[head.index(column)] for row in rows}


# -------------------------------------------------------------------------- training


@pytest.mark.exact
def test_eager_and_compiled_train_the_same_bit_for_bit():
    outcome = duel().run()
    eager, compiled = outcome.results.values()
    assert len(eager.losses) == 12
    assert eager.losses == compiled.losses
    assert outcome.largest_difference == 0
    assert "equal, bit for bit, at every step" in outcome.summary()


def test_python_enters_the_compiled_step_once():
    outcome = duel().run()
    timings = outcome.timings
    assert (timings["eager"].entered, timings["compiled"].entered) == (12, 1)
    assert cells(outcome, "Python entered") == {"eager": "12", "compiled": "1"}


def test_each_trains_as_it_would_alone():
    variants = {"slow": {"learning_rate": 1e-3}, "fast": {"learning_rate": 0.1}}
    together = duel(variants=variants).run()
    for name, settings in variants.items():
        alone = Compare(toy(), {"one": settings, "other": {}}).run()
        assert together.results[name].losses == alone.results["one"].losses
    assert together.largest_difference > 0
    assert "Losses other than those of slow: fast." in together.summary()
    told = cells(together, "losses against slow")["fast"]
    assert told.startswith("differ from step 2 on")


def test_turns_go_there_and_back():
    lab, seen = duel(turn=2), ""
    for _ in range(12):
        lab.buttons["step"].click()
        seen += lab._last["variant"][0]
    assert seen == "eecc" + "ccee" + "eecc"


@pytest.mark.parametrize("steps", [3, 5, 7, 10, 12])
def test_run_does_so_many_steps_of_each(steps):
    lab = duel()
    assert counts(lab.run(steps=steps)) == [steps, steps]
    assert (lab.state, lab.total) == ("done", steps)
    assert counts(lab.run()) == [12, 12]


@pytest.mark.parametrize("count", [2, 3, 6])
def test_up_to_six_train_in_turns(count):
    variants = {f"v{n}": {"learning_rate": 0.01 * n} for n in range(1, count + 1)}
    lab = duel(variants=variants, turn=4)
    outcome = lab.run(steps=8)
    assert counts(outcome) == [8] * count
    assert outcome.rounds == dict.fromkeys(variants, [0] * 4 + [1] * 4)
    assert len(outcome.table().splitlines()) == 2 + count
    *speeds, losses = outcome.summary().splitlines()
    others = [f"v{n}" for n in range(2, count + 1)]
    assert [line.partition(":")[0] for line in speeds] == [f"- {n}" for n in others]
    assert losses == f"- Losses other than those of v1: {', '.join(others)}."
    assert max(map(len, speeds)) < 90  # a line for each, and not a wall of text


@pytest.mark.parametrize("turn", [1, 4])
def test_nothing_stays_queued_when_another_has_its_turn(turn, monkeypatch):
    """On a GPU a record comes one update late; the next turn must not pay for it."""
    monkeypatch.setattr(trainers.runtime, "is_gpu", lambda: True)
    lab = duel(turn=turn)
    lab.buttons["step"].click()
    trainers_of = [run.trainer for run in lab.comparison.results.values()]
    while lab.state == "paused":
        lab.buttons["step"].click()
        assert all(one.step == len(one.history) for one in trainers_of)
    assert lab.run(steps=7).largest_difference == 0
    for result in lab.comparison.results.values():
        assert (result.trainer.step, result.trainer.lag) == (7, 1)


def test_on_a_gpu_the_device_is_kept_busy_within_a_turn(monkeypatch):
    monkeypatch.setattr(trainers.runtime, "is_gpu", lambda: True)
    queued = []

    class Look(Watch):
        def on_step_end(self, step, metrics):
            queued.append(lab.comparison.results["eager"].trainer.step - step)

    lab = Compare(toy(), {"eager": {}, "other": {"width": 8}}, turn=4)
    lab.experiment = toy(callbacks=[Look()])
    lab.run(steps=4)
    assert queued[:4] == [1, 1, 1, 0]


def test_memory_is_weights_moments_and_what_a_step_takes():
    outcome = duel(variants={"narrow": {}, "wide": {"width": 4000}}).run()
    weights = 4 * (8 * 4000 + 4000 * 8 + 8)
    # A step takes gradients, twice at the most, besides what AdamW keeps.
    assert 5 * weights < outcome.memory["wide"] < 12 * weights
    assert outcome.memory["narrow"] < weights
    shown = float(cells(outcome, "peak memory (MiB)")["wide"])
    assert shown == pytest.approx(outcome.memory["wide"] / 2**20, rel=0.01)


def test_one_may_have_less_data_than_the_other():
    def experiment(steps=4):
        return toy(steps)()

    outcome = Compare(experiment, {"long": {"steps": 9}, "short": {}}).run()
    assert [len(r.history) for r in outcome.results.values()] == [9, 4]


def test_a_stopped_comparison_closes_every_run():
    watch = Watch()
    lab = duel(callbacks=[watch], turn=1)
    for name in ("step", "step", "step", "stop"):
        lab.buttons[name].click()
    assert lab.state == "stopped"
    assert (watch.begun, watch.ended) == (2, 2)


def test_an_error_in_all_of_them_ends_the_comparison():
    watch = Watch()
    watch.raise_at = 3
    lab = duel(callbacks=[watch], turn=1)
    with pytest.raises(OSError, match="disk full"):
        lab.run()
    assert (lab.state, watch.begun, watch.ended) == ("failed", 2, 2)
    assert 'role="alert"' in lab.message.value
    assert cells(lab.comparison, "losses against eager")["eager"].startswith("failed")
    watch.raise_at = 0
    lab.buttons["start"].click()
    assert lab.state == "done"


def test_an_error_in_one_does_not_stop_the_others():
    watch = Watch()
    variants = {"good": {}, "bad": {"fails": 4}, "fine": {"width": 8}}
    lab = duel(variants=variants, callbacks=[watch])
    outcome = lab.run()
    assert counts(outcome) == [12, 4, 12]
    assert (lab.state, watch.begun, watch.ended) == ("done", 3, 3)
    assert list(outcome.failures) == ["bad"]
    why = "failed after 4 steps: OSError: disk full"
    assert cells(outcome, "losses against good")["bad"] == why
    assert f"bad {why}." in outcome.summary()
    assert why in lab.message.value
    assert "bad failed" in lab.status.value
    assert outcome.results["good"].losses == duel().run().results["compiled"].losses


def test_a_loss_that_is_not_finite_is_said_in_its_row():
    lab = Compare(nan_at(5), {"sane": {}, "wild": {"bad": True}})
    outcome = lab.run()
    assert counts(outcome) == [12, 4]
    row = cells(outcome, "losses against sane")["wild"]
    assert row.startswith(
        "failed after 4 steps: FloatingPointError: step 5: loss is nan"
    )


def nan_at(step):
    def experiment(bad=False):
        run = toy()()
        batches = [(*batch, mx.array(1.0)) for batch in run.train_data]
        if bad:
            batches[step - 1] = (*batches[0][:2], mx.array(float("nan")))
        run.train_data, run.loss_fn = batches, scaled
        return run

    return experiment


def scaled(model, tokens, targets, scale):
    return nn.losses.cross_entropy(model(tokens), targets, reduction="mean") * scale


def test_one_that_cannot_be_built_has_a_row_too():
    variants = {"broken": {"broken": True}, "good": {}, "fine": {"width": 8}}
    lab = duel(variants=variants)
    outcome = lab.run(steps=8)
    assert counts(outcome) == [8, 8]
    assert outcome.names == ["broken", "good", "fine"]
    why = cells(outcome, "losses against broken")
    assert why["broken"] == "failed after 0 steps: MemoryError: no room for it"
    assert "good against broken: too few steps to time them." in outcome.summary()


def test_an_error_at_the_end_of_one_run_is_its_own():
    class Late(Watch):
        def on_train_end(self, history):
            raise OSError("disk full")

    late = Late()
    lab = duel(variants={"good": {}, "late": {"fails": 99}})
    lab.experiment = lambda fails=0, **rest: toy(callbacks=[late] * bool(fails))(**rest)
    outcome = lab.run(steps=4)
    assert (counts(outcome), list(outcome.failures)) == ([4, 4], ["late"])


def test_a_comparison_on_the_loop():
    async def story():
        lab = duel()
        lab.buttons["start"].click()
        outcome = await lab.wait()
        assert outcome is lab.comparison
        assert 'data-state="done" data-step="12"' in lab.status.value
        assert 'data-traces="13"' in lab.status.value
        assert outcome.summary()[:20] in lab.message.value
        assert "white-space:pre-line" in lab.message.value  # its lines stay lines
        lab.buttons["reset"].click()
        for _ in range(9):
            await asyncio.sleep(0)
        assert (lab.state, lab.comparison) == ("idle", None)

    asyncio.run(story())


def test_the_shared_knobs_take_effect_at_reset():
    lab = duel(knobs=[Knob("learning_rate"), Knob("width", [4, 8])])
    lab.buttons["step"].click()
    lab.controls["learning_rate"].value = 0.05
    assert "takes effect at Reset" in lab.message.value
    lab.buttons["step"].click()
    assert lab._last["learning_rate"] < 0.011
    outcome = lab.run(steps=3, width=8)
    for result in outcome.results.values():
        assert result.history[0]["learning_rate"] == pytest.approx(0.05)
        assert result.model.layers[0].weight.shape == (8, 8)


# -------------------------------------------------------------------------- refusals


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="variants must be two to six, got 1"):
        Compare(toy(), {"one": {}})
    with pytest.raises(ValueError, match="'depth' is not a parameter"):
        Compare(toy(), {"one": {}, "other": {"depth": 2}})
    with pytest.raises(ValueError, match="variants must be two to six, got 7"):
        Compare(toy(), {str(n): {} for n in range(7)})
    with pytest.raises(ValueError, match=r"baseline must be in .*, got 'tiny'"):
        duel(baseline="tiny")
    with pytest.raises(ValueError, match="turn must be at least 1"):
        duel(turn=0)
    with pytest.raises(ValueError, match="steps must be at least 3, got 2"):
        duel().run(steps=2)
    with pytest.raises(ValueError, match="'depth' is not a setting"):
        duel().run(depth=2)


def test_an_experiment_must_return_a_run():
    lab = Compare(lambda width=1: None, {"one": {}, "other": {"width": 2}})
    with pytest.raises(TypeError, match="must return a Run, got NoneType"):
        lab.run()


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan")])
def test_a_budget_of_seconds_is_a_positive_number(seconds):
    with pytest.raises(ValueError, match="seconds must be more than 0, got"):
        race(seconds=seconds)


def test_only_what_is_the_budget_can_be_asked_for():
    with pytest.raises(
        ValueError, match="budget must be 'steps' or 'seconds', got 's'"
    ):
        duel(budget="s")
    with pytest.raises(ValueError, match=r"steps=9 needs Compare\(..., budget='steps'"):
        race().run(steps=9)
    for made in (lambda: duel(seconds=2.0), lambda: duel().run(seconds=2.0)):
        with pytest.raises(ValueError, match=r"seconds=2.0 needs .*budget='seconds'"):
            made()


# ------------------------------------------------------------------------- equal times


def test_each_trains_for_the_same_seconds(clock):
    lab = race(seconds=8.0)
    outcome = lab.run()
    assert counts(outcome) == [57, 113]  # 1 s for the first call, 7 s of steps
    assert outcome.common_seconds == 8.0
    assert lab.state == "done"
    head = outcome.rows()[0]
    assert "loss at 8 s" in head
    assert "first call earned back" not in head


def test_first_calls_may_be_left_out_of_the_seconds(clock):
    assert counts(race(seconds=8.0, first_calls=False).run()) == [65, 129]


def test_another_time_may_be_asked_for_once(clock):
    lab = race(seconds=8.0)
    assert counts(lab.run(seconds=3.0)) == [17, 33]
    assert counts(lab.run()) == [57, 113]


@pytest.mark.parametrize("first_calls", [True, False])
def test_the_axis_of_seconds_ends_at_the_budget(clock, first_calls):
    lab = race(seconds=8.0, first_calls=first_calls)
    assert lab._chart.x_end == 8.0
    for _ in range(20):
        lab.buttons["step"].click()
        assert lab._chart.x_end == 8.0
    lab.run(seconds=3.0)
    assert lab._chart.x_end == 3.0
    lab.view.controls["x"].value = "steps"
    assert lab._chart.x_end == 400


def test_time_passes_alike_for_all_of_them(clock):
    """At no moment has one trained more than two slices (of 0.4 s) longer."""
    lab = race(seconds=8.0, first_calls=False)
    for _ in range(150):
        lab.buttons["step"].click()
        seconds = lab._spent.values()
        assert max(seconds) - min(seconds) < 0.8 + 0.126
        speed = lab.comparison.rounds
    ratio = lab.comparison.ratio("slow", "fast")
    assert ratio.value == pytest.approx(2)
    assert len(set(speed["slow"]) & set(speed["fast"])) > 10


def reporting(head="main", gauges=None, unit="nats per pair", max_steps=4):
    """An experiment whose loss reports two metrics, which share a plot."""
    run = toy(max_steps)()

    def loss_fn(model, *batch):
        loss, metrics = next_token_loss(model, *batch)
        return loss, {**metrics, head: loss, f"{head}_half": loss / 2}

    names = [head, f"{head}_half"] if gauges is None else gauges
    return replace(
        run, loss_fn=loss_fn, loss_unit=unit, gauges={"per head (nats)": names}
    )


def test_gauges_are_grouped_as_the_panel_groups_them():
    lab = Compare(reporting, {"a": {}, "b": {"head": "extra"}, "c": {}})
    lab.run()
    assert lab._chart.plots() == [
        *("loss", "speed", "first_calls", "per head (nats)"),
        *("grad_norm", "learning_rate"),
    ]
    labels = [line.label for line in lab._chart._plots["per head (nats)"].lines]
    assert labels == [
        *("a, main", "a, main half", "b, extra", "b, extra half"),
        *("c, main", "c, main half"),
    ]


def test_a_second_comparison_is_drawn_on_the_plots_of_the_first():
    lab = Compare(reporting, {"a": {}, "b": {}})
    lab.run()
    lab._chart.tiles()
    before = dict(lab._chart._plots)
    lab.run()
    now = lab._chart._refreshed()
    again = [name for name in now if now[name] is before[name]]
    assert again == [name for name in before if name != "first_calls"]
    assert [name for name in again if now[name].is_stale] == again


def test_a_bad_gauge_is_named_before_a_step_is_done():
    lab = Compare(reporting, {"a": {}, "b": {"gauges": "main"}})
    with pytest.raises(ValueError, match=r"gauges\['per head .*'\] must be a list"):
        lab.run()


def test_losses_of_two_kinds_share_no_unit():
    units = {"a": {}, "b": {"unit": "nats"}}
    lab = Compare(reporting, units, budget="seconds", seconds=0.1)
    found = lab.run()
    assert (found.unit, lab._chart.loss_unit) == ("", "")
    assert "oss in" not in found.summary()
    assert Compare(reporting, {"a": {}, "b": {}}).run().unit == "nats per pair"


def test_the_progress_bar_shows_the_time(clock):
    lab = race(seconds=8.0)
    for _ in range(60):
        lab.buttons["step"].click()
    spent = lab._spent[lab._last["variant"]]
    assert lab.progress.value == pytest.approx(spent / 8.0, abs=0.02)


def test_the_loss_at_the_same_time_decides(clock):
    summary = race().run().summary()
    assert summary.startswith(
        "- Loss in nats per token after the same 8 of 8 s of training, first calls "
        "included:\n- slow "
    )
    assert re.search(r"slow \d\.\d+ \(57 steps\)\n- fast \d\.\d+ \(113 st", summary)
    assert "- fast is lowest.\n" in summary


def test_two_alike_show_no_difference(clock):
    summary = race(variants={"a": {}, "b": {}}).run().summary()
    assert "Between a and b: no difference that this run can show." in summary
    assert "equal, bit for bit" in summary


def test_a_run_whose_data_ends_sets_the_common_time(clock):
    outcome = race(steps=60, seconds=8.0).run()
    assert counts(outcome) == [57, 60]
    assert outcome.common_seconds == pytest.approx(1 + 59 * 0.0625)
    assert "after the same 4.69 of 8 s of training" in outcome.summary()


def test_a_run_that_fails_does_not_set_the_common_time(clock):
    variants = {"slow": {}, "bad": {"fails": 4}, "fast": {"pace": 0.0625}}
    outcome = race(variants=variants).run()
    assert outcome.common_seconds == 8.0
    assert cells(outcome, "loss at 8 s")["bad"] == "–"
    assert "fast is lowest." in outcome.summary()


def test_a_run_that_failed_late_is_not_ranked(clock):
    outcome = race().run()
    outcome.failures["fast"] = OSError("disk full")
    summary = outcome.summary()
    assert "fast failed after 113 steps: OSError: disk full." in summary
    assert "Fewer than two runs have trained for a time to compare them" in summary


# ---------------------------------------------------------------------- what it says


def test_there_are_as_many_colours_as_variants_at_the_most():
    assert len(COLOURS) >= 6


def test_the_table_has_a_row_for_each(clock):
    variants = {"slow": {"pace": 0.012}, "fast": {"pace": 0.004}}
    outcome = duel(60, variants).run()
    lines = outcome.table().splitlines()
    loss = cells(outcome, "loss, last 20")["slow"]
    memory = list(cells(outcome, "peak memory (MiB)").values())
    assert lines[1] == "| " + " | ".join(["---"] * 11) + " |"
    assert lines[2:] == [
        f"| slow | 12.00 (12.00 to 12.00) | 667 | 1 | 1.00 | – | 1 | {memory[0]} "
        f"| {loss} | – | baseline |",
        "| fast | 4.00 (4.00 to 4.00) | 2,000 | 3.00 (3.00 to 3.00) | 1.00 "
        f"| at once | 1 | {memory[1]} | {loss} | – | equal, bit for bit |",
    ]
    assert outcome._repr_markdown_() == f"{outcome.table()}\n{outcome.summary()}"
    assert repr(outcome) == outcome._repr_markdown_()


def test_names_and_errors_cannot_break_a_table():
    failures = {"a|b": ValueError("x | <b>y</b>\nz")}
    outcome = Comparison({}, failures=failures)
    assert r"| a\|b |" in outcome.table()
    assert r"ValueError: x \| <b>y</b> z |" in outcome.table()
    shown = outcome.table_html({"a|b": "#000"})
    assert "ValueError: x | &lt;b&gt;y&lt;/b&gt; z" in shown


def test_the_panel_shows_the_table_as_it_grows():
    lab = duel(variants=THREE)
    assert lab._table.value == ""
    for _ in range(11):
        lab.buttons["step"].click()
    assert lab._table.value.count("<tr>") == 4
    lab.buttons["start"].click()
    for name, colour in zip(THREE, COLOURS, strict=False):
        sign = f'<span aria-hidden="true" style="color:{colour}">■</span> {name}'
        assert sign in lab._table.value
    assert "&nbsp;to&nbsp;" in lab._table.value  # an interval stays on one line
    assert lab._table in lab.box.children
    lab.buttons["reset"].click()
    assert lab._table.value == ""


def test_a_long_comparison_has_its_table_while_it_runs():
    lab = duel(variants=THREE)
    made = lab.run(steps=4)
    lab.state, lab._tabled, lab._table_pacer = "running", "", Pacer()
    lab._last, lab._table.value = {"step": 50_000, "variant": "a"}, "before"
    lab._refresh()
    assert lab._table.value == made.table_html(dict(zip(THREE, COLOURS, strict=False)))


def test_the_table_stands_above_the_plots():
    lab = duel()
    assert lab.box.children.index(lab._table) < lab.box.children.index(lab.gallery)


def test_another_baseline_comes_first():
    outcome = duel(variants=THREE, baseline="c").run()
    assert outcome.names == ["c", "a", "b"]
    assert "times as fast as c" in outcome.rows()[0]


def test_what_a_comparison_says_before_and_after(capsys):
    lab = duel()
    assert repr(lab) == (
        "Compare (idle). eager against compiled: press Start, or call .run()."
    )
    assert "Where no buttons show" in lab._repr_mimebundle_()["text/html"]
    outcome = lab.run()
    assert lab.describe() == f"eager against compiled:\n{outcome.summary()}"
    assert capsys.readouterr().out == f"{lab.describe()}\n{outcome.table()}"
