"""What goes wrong in a learner's hands: a reward hangs, a cell runs again, a tab goes.

The reward function is host code between two steps, as in every GRPO run.
"""

import re

import nbformat
import pytest

pytestmark = pytest.mark.browser

# The panels that the cell has ever made stay in a list, to be asked afterwards.
CELLS = [
    """\
import asyncio
import time
import lmxlab
import mlx.core as mx
import mlx.nn as nn
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data import StoryWorld
from lmxlab.lab import Knob, Panel, Run
from lmxlab.models.base import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.rollouts import GRPOBatches

seconds, panels = 2.5, []

def reward(does):
    def judge(prompt, completion):
        if does == "take seconds":
            time.sleep(seconds)
        while does == "hang":
            time.sleep(0.05)
        if does == "raise":
            raise LookupError("the judge has gone home")
        if does == "be nan":
            return float("nan")
        return [1.0, 2.0] if does == "be a list" else float(completion.count(5))
    return judge

def experiment(reward_does="count", max_steps=100_000):
    mx.random.seed(0)
    model = LanguageModel(ModelConfig(BlockConfig(d_model=16), 12, n_layers=1))
    data = GRPOBatches(model, [[1, 2], [3, 4]], reward(reward_does),
                       max_new_tokens=2, n_prompts=1, group_size=2)
    config = TrainConfig(1e-3, max_steps=max_steps, warmup_steps=0)
    return Run(model, config, data, loss_fn=data.loss_fn)

def light(learning_rate=1e-2, max_steps=1_000_000):
    model = nn.Sequential(nn.Embedding(47, 8), nn.Linear(8, 47))
    return Run(model, TrainConfig(learning_rate, max_steps=max_steps), StoryWorld())""",
    """\
DOES = ["count", "take seconds", "hang", "raise", "be nan", "be a list"]
lab = Panel(experiment, [Knob("reward_does", DOES)])
panels.append(lab)
lab""",
    """\
other = Panel(light)
other""",
    """\
def told():
    tasks = [task for task in asyncio.all_tasks() if "_drive" in repr(task)]
    weights = lab.result and lab.result.model.parameters()
    seen = "weights" if weights and mx.isfinite(mx.array(
        [w.sum() for _, w in mlx_flatten(weights)])).all().item() else "nothing"
    return (f"states {[p.state for p in panels]} "
            f"steps {[p._last.get('step', 0) for p in panels]} "
            f"tasks {len(tasks)} {seen}")

from mlx.utils import tree_flatten as mlx_flatten
await asyncio.sleep(0.3)  # a run that was stopped has a few turns to go
print(told())""",
]
PANEL, TELL = 1, 3  # cells
EXPECTED = """(words) => {
    for (const kind of ["error", "unhandledrejection"]) {
        window.addEventListener(kind, (event) => {
            const error = event.error ?? event.reason;
            if (error?.message.includes(words)) { event.preventDefault(); }
        });
    }
}"""


@pytest.fixture
def robust(server, jupyterlab):
    """``with robust(name) as notebook``: two panels, all cells run."""

    def opened(name):
        nb = nbformat.v4.new_notebook()
        nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nb.cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
        nbformat.write(nb, server.root / name)
        return jupyterlab(name)

    return opened


def ask(notebook):
    """Run the last cell; return what it says of the panels."""
    found = re.search(
        r"states (\[.*?\]) steps (\[.*?\]) tasks (\d+) (\w+)", notebook.run_cell(TELL)
    )
    assert found
    return found.groups()


def let_the_reward(panel, do):
    """Choose what the reward function does, and start."""
    panel.box.locator(".lmx-knob-reward_does select").select_option(do)
    panel.page.wait_for_timeout(300)
    panel.press("start")
    panel.until(lambda p: p.state == "running", "Start", 60)


def message(panel):
    return panel.box.locator(".lmx-message").inner_text()


def clock(panel):
    """Seconds that the page itself has counted, or None while it shows none."""
    return panel.box.locator(".lmx-status").evaluate("""(line) => {
        const since = line.querySelector(".lmx-since");
        if (!since || parseFloat(getComputedStyle(since).fontSize) === 0) {
            return null;
        }
        const sign = getComputedStyle(since.querySelector("b"), "::after");
        return Number(sign.getPropertyValue("--lmx-s"));
    }""")


def test_a_reward_that_takes_seconds_or_for_ever_or_fails(robust):
    with robust("rewards.ipynb") as notebook:
        notebook.run_all(120)
        panel = notebook.panel()

        # Two calls of 2.5 s a step: the page counts, the kernel has no time to.
        let_the_reward(panel, "take seconds")
        counted = panel.until(clock, "the page counts by itself", 60)
        assert counted >= 2
        assert (
            "step 1 (or another cell)" in panel.box.locator(".lmx-since").inner_text()
        )
        panel.shoot("robust_slow_step")
        panel.until(lambda p: p.step >= 1, "the first step", 60)

        # Between two steps another cell runs, and the buttons act.
        states, *_, seen = ask(notebook)
        assert (states, seen) == ("['running']", "weights")
        panel.press("pause")
        panel.until(lambda p: p.state == "paused", "Pause", 60)
        held = panel.step
        notebook.page.wait_for_timeout(6000)
        assert (panel.state, panel.step, clock(panel)) == ("paused", held, None)
        panel.press("start")
        panel.until(lambda p: p.state == "running", "Start goes on", 60)
        panel.press("stop")
        panel.until(lambda p: p.state == "stopped", "Stop", 60)

        # For ever: nobody answers, and the page says what to do.
        let_the_reward(panel, "hang")
        panel.press("pause")
        silent = panel.box.locator(".lmx-silent")
        silent.wait_for(timeout=60_000)
        assert "the interrupt button" in silent.inner_text()
        panel.shoot("robust_hanging")
        notebook.menu("Kernel", "Interrupt Kernel")
        panel.until(lambda p: p.state == "stopped", "the interrupt", 60)
        assert "Interrupted: the run was stopped after step 0" in message(panel)
        silent.wait_for(state="hidden", timeout=60_000)
        states, _, tasks, seen = ask(notebook)
        assert (states, tasks, seen) == ("['stopped']", "0", "weights")
        let_the_reward(panel, "count")
        panel.until(lambda p: p.step > 5, "Start again", 60)
        panel.press("stop")
        panel.until(lambda p: p.state == "stopped", "Stop", 60)

        for does, error in (
            ("raise", "LookupError: the judge has gone home"),
            ("be nan", "a reward must be finite, got nan"),
            ("be a list", "a reward must be a number, got [1.0, 2.0]"),
        ):
            panel.box.locator(".lmx-knob-reward_does select").select_option(does)
            panel.page.wait_for_timeout(300)
            panel.press("start")
            panel.until(
                lambda p, words=error: p.state == "failed" and words in message(p),
                does,
                60,
            )
            assert "Reward function 'judge', sample 0" in message(panel)
        panel.shoot("robust_failed")
        let_the_reward(panel, "count")
        panel.until(lambda p: p.step > 5, "Start after an error", 60)
        panel.press("stop")
        panel.until(lambda p: p.state == "stopped", "Stop", 60)


def test_two_panels_and_a_cell_that_is_run_again(robust):
    with robust("two_panels.ipynb") as notebook:
        notebook.run_all(120)
        one, two = notebook.panel(0), notebook.panel(1)
        for panel in (one, two):
            panel.press("start")
            panel.until(lambda p: p.step > 5, "progress", 60)
        assert ask(notebook)[2] == "2"
        two.press("stop")
        two.until(lambda p: p.state == "stopped", "Stop", 60)
        ended, now = two.step, one.step
        one.until(lambda p: p.step > now + 10, "the other goes on", 60)
        assert (one.state, two.state, two.step) == ("running", "stopped", ended)
        two.press("start")
        two.until(lambda p: p.state == "running" and p.step > 5, "Start again", 60)

        # The cell again: its old run ends, the neighbour's goes on, no ghost trains.
        notebook.run_cell(PANEL)
        one = notebook.panel(0)
        one.until(lambda p: p.state == "idle", "a new panel", 60)
        states, steps, tasks, _ = ask(notebook)
        assert (states, tasks) == ("['stopped', 'idle']", "1")
        one.press("start")
        one.until(lambda p: p.step > 5, "the new panel's run", 60)
        states, later, tasks, _ = ask(notebook)
        assert (states, tasks) == ("['stopped', 'running']", "2")
        assert later.split(",")[0] == steps.split(",")[0]  # the old one stands still
        now = two.step
        two.until(lambda p: p.step > now + 10, "the neighbour goes on", 60)
        for panel in (one, two):
            panel.press("stop")
            panel.until(lambda p: p.state == "stopped", "Stop", 60)
        assert ask(notebook)[2] == "0"


def test_a_closed_tab_comes_back_and_a_dead_kernel_is_named(robust):
    with robust("closed.ipynb") as notebook:
        notebook.run_all(120)
        panel, page = notebook.panel(1), notebook.page
        notebook.menu("File", "Save Notebook")
        panel.press("start")
        panel.until(lambda p: p.step > 5, "progress", 60)
        page.wait_for_timeout(500)
        left = panel.step
        notebook.menu("File", "Close Tab")
        page.locator(".jp-Notebook").wait_for(state="detached", timeout=60_000)
        page.locator(".jp-DirListing-item", has_text="closed.ipynb").dblclick()
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        panel = notebook.panel(1)
        panel.until(lambda p: p.step > left, "the run went on", 60)
        assert panel.state == "running"
        before = panel.picture()
        panel.press("pause")
        panel.until(lambda p: p.state == "paused", "Pause", 60)
        panel.until(lambda p: p.picture() != before, "a new picture", 60)
        held = panel.step
        panel.press("step")
        panel.until(lambda p: p.step == held + 1, "Step", 60)
        panel.box.scroll_into_view_if_needed()
        panel.shoot("robust_reopened")

        notebook.menu("Kernel", "Shut Down Kernel")
        page.locator("#jp-main-statusbar").get_by_text("No Kernel").wait_for(
            timeout=60_000
        )
        # The panel still stands there. ipywidgets throws at a click; the page says why.
        page.evaluate(EXPECTED, "Cannot send")
        panel.press("start")
        silent = panel.box.locator(".lmx-silent")
        silent.wait_for(timeout=60_000)
        assert "run this panel's cell again" in silent.inner_text()
        notebook.shoot("robust_no_kernel")
