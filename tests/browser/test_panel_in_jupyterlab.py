"""A learner's hands on the panel, in JupyterLab in Chromium."""

from pathlib import Path

import nbformat
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

def two_layers(learning_rate=3e-3, batch_size=8, d_model=64, n_layers=2,
               compile_step=True, optimizer="adamw", max_grad_norm=1.0):
    mx.random.seed(0)
    block = BlockConfig(d_model=d_model)
    model = LanguageModel(ModelConfig(block=block, vocab_size=47, n_layers=n_layers))
    config = TrainConfig(
        learning_rate=learning_rate, batch_size=batch_size, warmup_steps=20,
        max_steps=4000, eval_interval=50, compile_step=compile_step,
        optimizer=optimizer, max_grad_norm=max_grad_norm,
    )
    held_out = StoryWorld().eval_batches(32, 2)
    return Run(model, config, StoryWorld(), held_out,
               references={"entropy floor": ENTROPY_FLOOR})"""
PANEL = """\
{name} = Panel(two_layers, [
    Knob("learning_rate"), Knob("max_grad_norm"), Knob("batch_size", [8, 16, 32]),
    Knob("d_model", [32, 64]), Knob("n_layers", [1, 2]), Knob("compile_step"),
    Knob("optimizer")])
{name}"""


def write(path: Path, *cells: str) -> None:
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
    )
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(nb, path)


def test_one_panel(server, jupyterlab):
    write(server.root / "panels.ipynb", EXPERIMENT, PANEL.format(name="lab"))
    with jupyterlab("panels.ipynb") as notebook:
        notebook.run_all()
        panel = notebook.panel()
        panel.shoot("idle")
        print(panel.box.evaluate("e => e.outerHTML")[-3000:])
        panel.press("start")
        assert panel.frames(4) == 4
        panel.shoot("running")
