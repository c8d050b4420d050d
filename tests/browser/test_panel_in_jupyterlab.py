"""A learner's hands on the panel, in JupyterLab in Chromium.

The screenshots lie in tests/browser/artifacts afterwards, to be looked at.
"""

import pytest

pytestmark = pytest.mark.browser

EXPERIMENT = """\
import lmxlab
import mlx.core as mx
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data.story import ENTROPY_FLOOR, StoryWorld
from lmxlab.lab import Compare, Knob, Panel, Predict, Run
from lmxlab.models.base import LanguageModel
from lmxlab.training.config import TrainConfig

def experiment(learning_rate=3e-3, batch_size=8, d_model=64, optimizer="adamw",
               compile_step=True, max_grad_norm=1.0, max_steps=150):
    mx.random.seed(0)
    block = BlockConfig(d_model=d_model)
    model = LanguageModel(ModelConfig(block=block, vocab_size=47, n_layers=2))
    config = TrainConfig(
        learning_rate=learning_rate, batch_size=batch_size, warmup_steps=20,
        max_steps=max_steps, eval_interval=25, compile_step=compile_step,
        optimizer=optimizer, max_grad_norm=max_grad_norm)
    held_out = StoryWorld().eval_batches(32, 2)
    return Run(model, config, StoryWorld(), held_out,
               references={"entropy floor": ENTROPY_FLOOR})"""
EVERY_KNOB = """\
lab = Panel(experiment, [
    Knob("learning_rate"), Knob("max_grad_norm"), Knob("batch_size", [8, 16, 32]),
    Knob("d_model", [32, 64], label="width (d_model)"), Knob("optimizer"),
    Knob("compile_step")])
display(lab)"""
COMPARE = """\
duel = Compare(experiment, {"eager": {"compile_step": False}, "compiled": {}},
               [Knob("d_model", [32, 64]), Knob("learning_rate")])
display(Predict("Which is faster?", ["eager", "compiled"]), duel)"""
# A run that does not end by itself before a busy machine has drawn some frames of it.
LONG = 'lab.settings["max_steps"] = 1_000_000'
SECOND_PANEL = """\
other = Panel(experiment, [Knob("learning_rate")])
other.settings["max_steps"] = 1_000_000
other"""


def test_the_compiled_step_by_hand(notebook_file, jupyterlab):
    name = notebook_file("01_compiled_step.ipynb", LONG, SECOND_PANEL)
    with jupyterlab(name) as notebook:
        notebook.run_all(120)
        panel, other = notebook.panel(0), notebook.panel(1)
        panel.box.scroll_into_view_if_needed()
        notebook.shoot("01_after_run_all")

        panel.steps_from_now_on()
        panel.press("start")
        assert panel.frames(3) == 3
        assert 1 <= panel.steps_seen()[0] <= 5
        panel.shoot("01_running")

        before = panel.data()
        assert before["traces"] == "1"
        panel.slide("learning_rate", "ArrowRight", 14)  # to five times as much
        panel.until(
            lambda p: float(p.data()["lr"]) > 2 * float(before["lr"]),
            "the learning rate acts",
        )
        assert panel.data()["traces"] == "1"
        assert panel.state == "running"

        panel.press("pause")
        panel.until(lambda p: p.state == "paused", "Pause")
        notebook.page.wait_for_timeout(300)  # what was under way has come in
        held = panel.step
        notebook.page.wait_for_timeout(400)
        assert (panel.state, panel.step) == ("paused", held)
        panel.shoot("01_paused")

        panel.press("step")
        panel.until(lambda p: p.step > held, "Step")
        notebook.page.wait_for_timeout(300)
        assert (panel.state, panel.step) == ("paused", held + 1)

        # Between two steps that follow each other, the schedule does next to nothing.
        before = float(panel.data()["lr"])
        panel.slide("learning_rate", "ArrowLeft", 14)
        panel.press("step")
        panel.until(lambda p: p.step == held + 2, "Step")
        assert float(panel.data()["lr"]) == pytest.approx(before / 10**0.7, rel=0.02)
        assert panel.data()["traces"] == "1"

        panel.press("start")
        panel.until(lambda p: p.step > held + 20, "Start goes on")
        panel.press("reset")
        panel.until(lambda p: (p.state, p.step) == ("idle", 0), "Reset")
        panel.shoot("01_reset")

        panel.steps_from_now_on()
        panel.press("start")
        assert panel.frames(2) == 2
        panel.until(lambda p: p.steps_seen(), "a step in the status line")
        assert 1 <= panel.steps_seen()[0] <= 5

        # A machine that is busy with something else may be late once, not twice.
        seconds = panel.latency("stop", "stopped")
        if seconds > 0.5:
            panel.press("start")
            panel.until(lambda p: p.step > 20, "Start again")
            seconds = panel.latency("stop", "stopped")
        print(f"Stop acted in {seconds:.3f} s")
        assert seconds <= 0.5
        panel.shoot("01_stopped")

        both_at_once(panel, other)
        other.shoot("01_second_panel")


def both_at_once(one, two):
    for panel in (one, two):
        panel.press("start")
        panel.until(lambda p: p.state == "running", "Start")
    began = one.step, two.step
    for panel, step in zip((one, two), began, strict=True):
        panel.until(lambda p, step=step: p.step > step + 10, "progress")
    assert (one.state, two.state) == ("running", "running")
    one.press("stop")
    one.until(lambda p: p.state == "stopped", "Stop")
    ended, now = one.step, two.step
    two.until(lambda p: p.step > now + 10, "the other goes on")
    assert (one.state, one.step) == ("stopped", ended)
    assert two.state == "running"
    two.press("stop")
    two.until(lambda p: p.state == "stopped", "Stop")


def test_the_first_notebook_by_hand(notebook_file, jupyterlab):
    with jupyterlab(notebook_file("00_start_here.ipynb", LONG)) as notebook:
        notebook.run_all(120)
        panel = notebook.panel()
        samples = notebook.page.locator(".lmx-samples")
        panel.steps_from_now_on()
        panel.press("start")
        panel.until(lambda p: p.steps_seen(), "the first step")
        assert "after step 0" in samples.inner_text()
        assert panel.frames(3) == 3
        panel.until(lambda p: "after step 0" not in samples.inner_text(), "new samples")
        panel.box.scroll_into_view_if_needed()
        notebook.shoot("00_running")
        panel.press("stop")
        panel.until(lambda p: p.state == "stopped", "Stop")


def test_how_it_looks(notebook_file, jupyterlab):
    name = notebook_file("looks.ipynb", EXPERIMENT, EVERY_KNOB, COMPARE)
    with jupyterlab(name) as notebook:
        notebook.run_all()
        panel, duel = notebook.panel(), notebook.panel(kind="compare")
        panel.shoot("light_idle")
        # The picture has a name for those who cannot see it.
        assert panel.box.get_by_role("img", name="Loss, against").is_visible()
        panel.press("start")
        panel.until(lambda p: p.step > 30, "progress")
        panel.slide("learning_rate", "ArrowRight", 4)
        panel.until(lambda p: p.step > 80, "progress")
        panel.slide("max_grad_norm", "ArrowLeft", 3)
        panel.slide("batch_size", "ArrowRight", 1)
        panel.until(lambda p: p.state == "done", "the end", 60)
        duel.press("start")
        duel.until(lambda p: p.state == "done", "the end", 90)
        assert panel.box.get_by_role("img", name="loss in nats per token").is_visible()
        for theme in ("light", "dark"):
            notebook.menu("Settings", "Theme", f"JupyterLab {theme.title()}")
            notebook.wide()
            panel.shoot(f"{theme}_panel")
            duel.shoot(f"{theme}_compare")
            notebook.narrow()
            panel.shoot(f"{theme}_narrow_panel")
            duel.shoot(f"{theme}_narrow_compare")
            notebook.shoot(f"{theme}_narrow_window")
            for found in (panel, duel):  # nothing is cut off
                wider = found.box.evaluate("e => e.scrollWidth - e.clientWidth")
                assert wider <= 0
        panel.press("reset")
        panel.until(lambda p: p.state == "idle", "Reset")
        panel.shoot("dark_narrow_reset")
