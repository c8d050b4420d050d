"""A panel where its buttons cannot be: terminal, script, saved notebook, Colab."""

import html
import math
import os
from pathlib import Path
import re
import subprocess
import sys

from ipywidgets.embed import dependency_state
import lmxlab
from lmxlab.lab import Knob, Panel, Run, RunStore
from lmxlab.lab.chart import Chart
from lmxlab.lab.elsewhere import IN_COLAB, WHAT_TO_DO
from lmxlab.lab.picture import save_chart, text_picture
from lmxlab.training.config import TrainConfig
import mlx.core as mx
import mlx.nn as nn
import nbclient
import nbconvert
import nbformat
import pytest

# A process of its own finds the library where this one found it.
ROOT = Path(lmxlab.__file__).parents[1]
PATHS = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS}
EXPERIMENT = """
from lmxlab.lab import Knob, Panel, Run, RunStore
from lmxlab.training.config import TrainConfig
import mlx.core as mx
import mlx.nn as nn

def experiment(learning_rate=3e-2):
    mx.random.seed(0)
    model = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8))
    tokens = mx.arange(8).reshape(2, 4)
    config = TrainConfig(learning_rate, max_steps=20, warmup_steps=0)
    return Run(model, config, [(tokens, tokens)] * 20)

lab = Panel(experiment, [Knob("learning_rate")], store=RunStore("off"))
"""


def experiment(learning_rate=3e-2):
    mx.random.seed(0)
    model = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8))
    tokens = mx.arange(8).reshape(2, 4)
    config = TrainConfig(learning_rate, max_steps=20, warmup_steps=0)
    return Run(model, config, [(tokens, tokens)] * 20)


@pytest.fixture
def lab():
    return Panel(experiment, [Knob("learning_rate")], store=RunStore("off"))


# ------------------------------------------------------------------ terminal and script


def python(tmp_path, code, **environment):
    """Run a script; return what it printed."""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, check=True, capture_output=True,
        env={**ENVIRONMENT, **environment}, timeout=300,
    )  # fmt: skip
    assert done.stderr == b""
    return done.stdout.decode()


def test_a_script_prints_the_run_draws_it_in_text_and_saves_it(tmp_path):
    code = f"{EXPERIMENT}\nprint(lab)\nlab.run()\nlab.save('run.png')\n"
    said, summary, picture = python(
        tmp_path, code, PYTHONIOENCODING="utf-8"
    ).splitlines()
    assert said.startswith("Panel (idle). Nothing has been trained yet")
    assert re.match(r"20 steps \| loss \d", summary)
    assert re.fullmatch(
        r"loss: 2\.\d{3} █[▁-█]{18}▁ [01]\.\d{3} nats per token", picture
    )
    assert (tmp_path / "run.png").read_bytes()[:4] == b"\x89PNG"


def test_a_terminal_sees_progress_even_one_that_knows_ascii_only(tmp_path):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    script = tmp_path / "script.py"
    script.write_text(f"{EXPERIMENT}\nlab.run()\n")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, check=True, stdout=theirs, timeout=300,
        env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0
    *told, summary, picture = os.read(ours, 100_000).decode("ascii").splitlines()
    os.close(ours)
    os.close(theirs)
    steps = [line.split(" | ")[0] for line in told]
    assert steps == [f"step {step}/20" for step in range(2, 21, 2)]
    assert summary.startswith("20 steps | loss ")
    assert picture.startswith("loss: 2.")


def test_a_curve_in_text_falls_as_its_values_do():
    assert text_picture([8, 7, 6, 5, 4, 3, 2, 1], width=8)[6:14] == "█▇▆▅▄▃▂▁"
    assert text_picture([1.0, 3.0, 5.0, 7.0], width=2) == "1.000 ▁█ 7.000"
    assert text_picture([2.0, 2.0], unit="nats") == "2.000 ▁▁ 2.000 nats"
    assert text_picture([3.0, math.nan, math.inf, 1.0]) == "3.000 █▁ 1.000"
    assert len(text_picture(range(100_000), width=60).split()[1]) == 60


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, 1.0, math.inf]])
def test_less_than_two_values_are_no_curve(values):
    assert text_picture(values) == ""


def test_the_plots_are_saved_by_what_the_file_is_called(lab, tmp_path):
    lab.run()
    assert lab.save(tmp_path / "run.svg").read_text().startswith("<svg")
    assert lab.save(str(tmp_path / "run.png")).read_bytes() == lab._chart.png()
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg, got 'run\.jpg'"):
        save_chart(Chart(1), "run.jpg")


# -------------------------------------------------------- without a kernel, in the book


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook after ``jupyter nbconvert --execute``: a panel and a run."""
    pages = [EXPERIMENT + "\nlab", "result = lab.run()"]
    nb = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, pages)))
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("book"))}}
    nbclient.NotebookClient(nb, timeout=300, resources=where).execute(env=ENVIRONMENT)
    return nb


def html_of(nb):
    return nbconvert.HTMLExporter(template_name="classic").from_notebook_node(nb)[0]


def test_a_saved_panel_says_what_to_do_in_text_and_in_html(executed):
    (panel,) = executed.cells[0].outputs
    for kind in ("text/plain", "text/html"):
        assert "Panel (idle). Nothing has been trained yet" in panel.data[kind]
        assert WHAT_TO_DO in panel.data[kind]


def test_the_run_beside_it_left_a_picture_and_a_line(executed):
    outputs = executed.cells[1].outputs
    pictures = [out.data["image/png"] for out in outputs if "data" in out]
    assert len(pictures) == 1
    assert len(pictures[0]) > 5000
    printed = "".join(out.text for out in outputs if out.output_type == "stream")
    assert re.fullmatch(r"20 steps \| loss .*\n", printed)


def test_without_widget_state_a_page_shows_words_and_the_picture(executed):
    nb = nbformat.from_dict({**executed, "metadata": {}})
    page = html_of(nb)
    assert WHAT_TO_DO in page
    assert page.count('src="data:image/png') == 1
    assert "widget-view+json" not in page


def test_what_is_said_for_a_panel_is_text_and_no_markup(lab, monkeypatch):
    monkeypatch.setattr(Panel, "describe", lambda panel: "<b>bold</b> & done")
    bundle = lab._repr_mimebundle_()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; done" in bundle["text/html"]
    assert bundle["text/plain"] == f"{lab!r}\n{WHAT_TO_DO}"


# --------------------------------------------------- VS Code, Colab, any widget manager


def test_a_panel_is_made_of_core_widgets_alone(lab):
    """No other module is to be had in Colab, or fetched by VS Code or a book."""
    lab.run()
    state = dependency_state(lab.box, drop_defaults=False).values()
    assert len(state) > 40
    core = {"@jupyter-widgets/base", "@jupyter-widgets/controls"}
    assert {model["model_module"] for model in state} <= core
    views = {model["state"].get("_view_module") for model in state} - {None}
    assert views <= core


def test_colab_is_told_to_wait_and_nobody_else(lab, monkeypatch):
    assert lab.message.value == ""
    assert "In Colab" not in str(dependency_state(lab.box))
    monkeypatch.setitem(sys.modules, "google.colab", object())
    in_colab = Panel(experiment, store=RunStore("off"))
    assert IN_COLAB in in_colab.message.value
    values = [str(getattr(part, "value", "")) for part in in_colab.box.children]
    (silent,) = [value for value in values if 'class="lmx-silent"' in value]
    assert html.escape(IN_COLAB) in silent


LIKE_COLAB = """
import sys, types
from IPython import get_ipython

def name_the_manager(message):
    widget = "application/vnd.jupyter.widget-view+json"
    if widget in message["content"]["data"]:
        message["content"]["metadata"][widget] = {"colab": "manager"}
    return message

output = types.ModuleType("google.colab.output")
output.enable_custom_widget_manager = lambda: (
    get_ipython().display_pub.register_hook(name_the_manager))
sys.modules[output.__name__] = output
sys.modules["google.colab"] = types.ModuleType("google.colab")
"""
SHOWN = [
    "lab",
    "from lmxlab.lab import Compare, Predict, Samples\nPredict('How many?')",
    "Samples(lambda model: [], bool)",
    "from lmxlab.lab.table import RunTable\nRunTable([])",
    "Compare(experiment, {'one': {}, 'two': {}})",
]


@pytest.mark.parametrize("front_end", ["", LIKE_COLAB], ids=["elsewhere", "Colab"])
def test_colab_hears_which_manager_shows_what_a_cell_returns(front_end, tmp_path):
    """It names the manager in what is displayed; a cell's result has no such hook."""
    echo = "import ipywidgets.widgets.widget as w; print(w.JUPYTER_WIDGETS_ECHO)"
    pages = [front_end + EXPERIMENT, *SHOWN, echo]
    nb = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, pages)))
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(nb, timeout=300, resources=where).execute(env=ENVIRONMENT)
    kind = "application/vnd.jupyter.widget-view+json"
    for cell in nb.cells[1:-1]:
        (shown,) = cell.outputs
        assert shown.output_type == "display_data" if front_end else "execute_result"
        assert {kind, "text/plain"} <= shown.data.keys()
        assert (kind in shown.metadata) is bool(front_end)
    assert nb.cells[-1].outputs[0].text == f"{not front_end}\n"
