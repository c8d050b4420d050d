"""Faults planted behind the cells of a notebook, and whether its test fails."""

import os
from pathlib import Path
import subprocess
import sys

import nbformat
import pytest

ROOT = Path(__file__).parents[2]

PANEL = """\
from lmxlab.lab import Panel

def experiment(width=8):
    raise RuntimeError("no such model")

lab = Panel(experiment)"""
TASK = """\
import asyncio

async def fail():
    raise RuntimeError("the task failed")

task = asyncio.get_running_loop().create_task(fail())"""
LATE_CALLBACK = """\
import ipywidgets as widgets

button = widgets.Button()
button.on_click(lambda _: {}["no such key"])

async def click():
    button.click()

late = asyncio.get_running_loop().create_task(click())"""
THREAD = """\
import threading

thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()"""

FAULTY = [TASK, "del task", LATE_CALLBACK, THREAD, PANEL, 'lab.press("start")']
CALLBACK_IN_A_CELL = [
    *LATE_CALLBACK.replace("late = ", "import asyncio\nlate = ").split("async def")[:1],
    "button.click()",
]
GOOD = [
    PANEL,
    "try:\n    lab.run()\nexcept RuntimeError as error:\n    print(error)",
    'lab.press("start")\ntry:\n    await lab.wait()\nexcept RuntimeError:\n    pass',
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What pytest says about the three notebooks."""
    folder = tmp_path_factory.mktemp("planted")
    notebooks = {"faulty": FAULTY, "in_cell": CALLBACK_IN_A_CELL, "good": GOOD}
    for name, cells in notebooks.items():
        nb = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
        nbformat.write(nb, folder / f"{name}.ipynb")
    command = [
        sys.executable, "-m", "pytest", "-p", "nbval_background",
        "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=60",
        "--color=no", "-p", "no:cacheprovider", str(folder),
    ]  # fmt: skip
    paths = os.pathsep.join([str(ROOT / "tests" / "notebooks"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 1, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize(
    "words",
    [
        "never retrieved: RuntimeError('the task failed')",
        "exception in a callback: KeyError('no such key')",
        "exception in a thread: ZeroDivisionError",
        "Panel failed: RuntimeError('no such model')",
    ],
)
def test_what_failed_behind_the_cells_is_told(report, words):
    assert words in report


def failed(report):
    lines = [line for line in report.splitlines() if line.startswith("FAILED")]
    return [line.partition(".ipynb")[0].rpartition("/")[2] for line in lines]


def test_only_what_is_at_fault_fails(report):
    # In `faulty` the last, added cell; in `in_cell` the cell, and the added one.
    assert failed(report) == ["faulty", "in_cell", "in_cell"]


def test_an_error_that_a_cell_was_given_is_no_failure(report):
    assert "good.ipynb" in report
    assert "good" not in failed(report)
