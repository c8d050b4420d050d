"""Each topic's panel, driven through every button and every knob without a browser."""

import asyncio
import dataclasses
import math

import by_hand
import ipywidgets as widgets
from lmxlab.lab import Knob, driver, knobs
from lmxlab.lab.chart import Chart
from lmxlab.training.config import LossConfig
from panels_of_topics import RESTARTS, TOPICS
import pytest

EACH = pytest.mark.parametrize("name", TOPICS)


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Frames cost most of the time, and these tests are about the rest."""
    monkeypatch.setattr(Chart, "png", lambda chart: b"")
    monkeypatch.setattr(Chart, "plots", lambda chart: ["loss"])
    monkeypatch.setattr(Chart, "tiles", lambda chart, only: {"loss": b""})


def press_key(control, key, times):
    """What a key does to a slider in the page."""
    logarithmic = isinstance(control, widgets.FloatLogSlider)
    now = math.log10(control.value) if logarithmic else control.value
    jump = 5 * control.step * times
    place = {"Home": control.min, "End": control.max}.get(
        key, min(control.max, max(control.min, now + (-jump, jump)[key == "PageUp"]))
    )
    control.value = 10**place if logarithmic else place


def steps(lab, count):
    for _ in range(count):
        lab.buttons["step"].click()


@EACH
def test_every_live_knob_acts_on_the_next_update_as_its_formula_says(name):
    topic = TOPICS[name]
    lab = topic.panel()
    steps(lab, 8)
    for place in range(3):
        for knob, turns in topic.live.items():
            press_key(lab.controls[knob], *turns[place])
            assert f"from step {lab.result.trainer.step + 1} on" in lab.message.value
        steps(lab, topic.steps + 8 * (place == 0))
    found = topic.account(lab)
    lab.buttons["stop"].click()
    assert found["traces"] == 1
    assert found["worst"] < topic.nothing
    for knob in topic.live:
        values = [value for _, turned, value in found["changes"] if turned == knob]
        assert len(set(values)) == 3
        assert min(found["unlike"][knob]) > topic.something
        assert f"{lab.knobs[knob].words} {values[-1]:.3g}" in found["marks"]


def test_a_restart_knob_acts_at_reset_and_not_before():
    lab = TOPICS["next_token"].panel()
    for settings in RESTARTS:
        steps(lab, 3)
        before = TOPICS["next_token"].account(lab)
        for name, value in settings.items():
            lab.controls[name].value = value
            assert f"{value} takes effect at Reset." in lab.message.value
        steps(lab, 1)
        assert shape(TOPICS["next_token"].account(lab)) == shape(before)
        lab.buttons["reset"].click()
        steps(lab, 3)
        found = TOPICS["next_token"].account(lab)
        assert found["worst"] < TOPICS["next_token"].nothing  # the first update
        assert found["changes"] == []
        assert found["traces"] == (1 if settings["compile_step"] else 3)
        assert found["tokens"] == 13 * settings["batch_size"]
        assert found["weights"]["embed.weight"] == (47, settings["d_model"])
        assert found["optimizer"].lower().strip("_") in settings["optimizer"]
        expected = by_hand.rates(0.03, 2, 20_000)[settings["lr_schedule"]]
        assert found["learning_rate"] == pytest.approx(expected, rel=1e-7)


def shape(found):
    """All that a restart knob could have changed."""
    return [found[key] for key in ("tokens", "weights", "optimizer")]


@EACH
def test_every_button_of_every_panel(name, monkeypatch):
    monkeypatch.setattr(driver, "SLICE", 0.0)  # clicks come between any two steps

    async def until(condition):
        for _ in range(100_000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came to that")

    async def story():
        lab = TOPICS[name].panel()

        def click(button, state):
            lab.buttons[button].click()
            return until(lambda: lab.state == state)

        def step():
            return lab._last.get("step", 0)

        await click("start", "running")
        await until(lambda: step() >= 3)
        await click("pause", "paused")
        held = step()
        await click("step", "paused")
        await until(lambda: step() == held + 1)
        await click("start", "running")
        await until(lambda: step() > held + 3)
        await click("stop", "stopped")
        assert len(lab.result.history) == step() == lab.result.trainer.step
        assert lab.result.trainer.trace_count == 1
        await click("reset", "idle")
        assert lab.result is None
        await click("start", "running")  # and once more from the beginning
        await until(lambda: 1 <= step() <= 3)
        await click("reset", "idle")

    asyncio.run(story())


@EACH
def test_a_panel_shows_what_its_loss_reports_and_nothing_of_its_own(name):
    lab = TOPICS[name].panel()
    lab.run(2, progress=False)
    pane = TOPICS[name].pane
    if pane is not None:
        assert list(pane.seen) == [0, 2]
    extra = set(lab.result.history[-1]) - {
        "step", "loss", "learning_rate", "grad_norm", "tokens", "step_seconds",
        "first_call_seconds",
    }  # fmt: skip
    reported = {
        "next_token": set(),
        "dpo": {"accuracy", "reward_margin", "nll"},
        "grpo": {"clip_share", "entropy", "kl", "reward_mean"},
        "mtp": {"main_loss", "mtp_loss", "depth_1", "depth_2"},
        "distillation": {"soft_loss", "hard_loss", "gradient_share"},
        "curriculum": {"hard_share"},
    }[name]
    assert reported <= extra


# ---------------------------------------------------- metadata is the only source


def declare(monkeypatch, **metadata):
    """Let the declaration of beta say something else."""
    fields = {field.name: field for field in dataclasses.fields(LossConfig)}
    changed = dataclasses.field(
        default=0.1, metadata={**fields["beta"].metadata, **metadata}
    )
    monkeypatch.setattr(knobs, "_fields", lambda: {**fields, "beta": changed})


def test_a_slider_follows_the_bounds_of_the_field(monkeypatch):
    declare(monkeypatch, slider=(0.05, 50.0))
    slider = Knob("beta").widget(0.1, print)
    assert 10**slider.max == pytest.approx(50)
    assert 10**slider.min == pytest.approx(0.05, rel=0.13)  # on a notch of the value


def test_a_slider_follows_the_scale_of_the_field(monkeypatch):
    assert type(Knob("beta").widget(0.1, print)) is widgets.FloatLogSlider
    declare(monkeypatch, scale="linear")
    assert type(Knob("beta").widget(0.1, print)) is widgets.FloatSlider


def test_a_knob_follows_whether_the_field_is_live_and_its_help(monkeypatch):
    declare(monkeypatch, live=False, help="Another sentence.")
    assert not Knob("beta").is_live
    assert Knob("beta").widget(0.1, print).tooltip == "Another sentence."


def test_a_menu_follows_the_choices_of_the_field(monkeypatch):
    declare(monkeypatch, choices=("low", "high"))
    menu = Knob("beta").widget("low", print)
    assert menu.options == ("low", "high")


@EACH
def test_no_live_knob_of_a_topic_says_its_range_or_scale_itself(name):
    lab = TOPICS[name].panel()
    for knob in TOPICS[name].live:
        assert (lab.knobs[knob].bounds, lab.knobs[knob].scale) == (None, None)
        metadata = knobs._fields()[knob].metadata
        control, (low, high) = lab.controls[knob], metadata["slider"]
        logarithmic = isinstance(control, widgets.FloatLogSlider)
        assert logarithmic == (metadata["scale"] == "log")
        assert control.max == pytest.approx(math.log10(high) if logarithmic else high)
        if not logarithmic:
            assert control.min == low
