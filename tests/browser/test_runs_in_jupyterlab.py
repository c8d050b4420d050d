"""Looking at runs, keeping them and coming back to them, in JupyterLab in Chromium."""

import pytest

pytestmark = pytest.mark.browser

CELLS = [
    """\
import lmxlab
import mlx.core as mx
import mlx.nn as nn
from lmxlab.data import StoryWorld
from lmxlab.lab import Knob, Panel, Run
from lmxlab.lab.runs import RunStore
from lmxlab.training.config import TrainConfig

def experiment(learning_rate=1e-2, max_steps=600):
    model = nn.Sequential(nn.Embedding(47, 16), nn.Linear(16, 47))
    config = TrainConfig(learning_rate, max_steps=max_steps, warmup_steps=0,
                         lr_schedule="constant", batch_size=8)
    return Run(model, config, StoryWorld())""",
    """\
lab = Panel(experiment, [Knob("learning_rate")], store=RunStore("kept"))
lab""",
]


def test_a_run_is_looked_at_kept_overlaid_and_shown_as_code(notebook_file, jupyterlab):
    with jupyterlab(notebook_file("kept_runs.ipynb", *CELLS)) as notebook:
        notebook.run_all()
        panel, page = notebook.panel(), notebook.page
        panel.press("start")
        panel.until(lambda p: p.state == "done", "the end", 60)
        gauges = panel.box.locator("img.lmx-gauge")
        panel.until(lambda p: gauges.count() == 3, "speed and two gauges")

        # Each control of the view, at three positions.
        for name, values in (
            ("x", ["tokens", "seconds", "steps"]),
            ("log_loss", [None, None, None]),
        ):
            control = panel.box.locator(f".lmx-view-{name}")
            for value in values:
                before = panel.settled()
                if value is None:
                    control.click()
                else:
                    control.locator("select").select_option(value)
                panel.until(lambda p, old=before: p.picture() != old, name)
        for name in ("smoothing", "cursor"):
            handle = panel.box.locator(f'.lmx-view-{name} [role="slider"]')
            for key, times in (("ArrowRight", 8), ("ArrowLeft", 3), ("ArrowRight", 60)):
                before = panel.settled()
                handle.focus()
                for _ in range(times):
                    handle.press(key)
                panel.until(lambda p, old=before: p.picture() != old, name)
        reading = panel.box.locator(".lmx-reading")
        assert "learning_rate 0.01" in reading.inner_text()

        # A second run, with the first laid over it.
        panel.box.get_by_text("Runs: compare").click()
        rows = panel.box.locator(".lmx-run-row")
        assert rows.count() == 1
        before = panel.settled()
        rows.first.locator(".lmx-run-pin input").check()
        panel.slide("learning_rate", "ArrowLeft", 10)
        panel.press("start")
        panel.until(lambda p: p.state == "running", "Start")
        panel.until(lambda p: p.state == "done", "the end", 60)
        panel.until(lambda p: rows.count() == 2, "the second run's row")
        assert panel.picture() != before
        rows.first.locator(".lmx-run-code").click()
        code = panel.box.locator(".lmx-code textarea")
        panel.until(lambda p: "Panel(experiment)" in code.input_value(), "the code")
        panel.shoot("runs_light")
        notebook.narrow()
        panel.shoot("runs_narrow")
        notebook.wide()

        # They outlive the kernel.
        notebook.menu("Kernel", "Restart Kernel…")
        page.get_by_role("button", name="Confirm Kernel Restart").click()
        notebook.idle(60)
        notebook.run_all()
        again = notebook.panel()
        again.box.get_by_text("Runs: compare").click()
        again.until(lambda p: again.box.locator(".lmx-run-row").count() == 2, "rows")


def test_after_a_reload_picture_and_buttons_come_back(notebook_file, jupyterlab):
    with jupyterlab(notebook_file("reload.ipynb", *CELLS)) as notebook:
        notebook.run_all()
        panel = notebook.panel()
        notebook.menu("File", "Save Notebook")
        panel.slide("learning_rate", "ArrowLeft", 1)
        panel.press("start")
        panel.until(lambda p: p.step > 5, "progress")
        notebook.page.reload()
        notebook.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        panel = notebook.panel()
        panel.until(lambda p: p.step > 5, "the run goes on")
        if panel.state == "running":
            panel.press("stop")
        panel.until(lambda p: p.state in ("stopped", "done"), "Stop")
        panel.until(lambda p: p.box.locator("img.lmx-plot").count() == 1, "the plot")
        panel.press("reset")
        panel.until(lambda p: (p.state, p.step) == ("idle", 0), "Reset")
        panel.shoot("after_reload")
