"""Kernels compiled together: the right ones, at their places, whatever goes wrong."""

import os
from pathlib import Path
import subprocess
import sys
import time
import uuid

from lmxlab import rehearsal, runtime
from lmxlab.rehearsal import compile_ahead
import mlx.core as mx
import numpy as np
import pytest

CACHE = runtime.preparation().kernel_cache
pytestmark = pytest.mark.skipif(CACHE is None, reason="MLX compiles no files here")


def new_function():
    """A compiled function that no kernel exists for: its constants are new."""
    a, b = np.random.default_rng(uuid.uuid4().int).uniform(1, 2, 2).tolist()
    return mx.compile(lambda x: mx.exp(x * a) * mx.abs(x - b)), a, b


def rehearsed(function, x):
    return compile_ahead(uuid.uuid4().hex, lambda: mx.eval(function(x)))


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """From here on MLX's compiler fails."""

    def forbid():
        compiler = tmp_path / "g++"
        compiler.write_text('#!/bin/sh\ncase "$*" in *-shared*) exit 3 ;; esac\n')
        compiler.chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return forbid


def test_what_was_rehearsed_is_not_compiled_again(no_compiler):
    function, a, b = new_function()
    x = mx.array([0.5, -1.0, 2.0])
    assert rehearsed(function, x) == 1
    no_compiler()
    x64 = np.array(x, dtype=np.float64)
    wanted = np.exp(x64 * a) * abs(x64 - b)
    np.testing.assert_allclose(function(x), wanted, rtol=1e-4)


def test_without_a_rehearsal_the_compiler_is_asked(no_compiler):
    function, _, _ = new_function()
    no_compiler()
    with pytest.raises(RuntimeError):
        mx.eval(function(mx.array([0.5])))


def test_kernels_that_exist_are_left_alone():
    function, _, _ = new_function()
    x = mx.array([0.5])
    assert rehearsed(function, x) == 1
    again = mx.compile(lambda y: function(y))
    assert rehearsed(again, x) == 0


def test_a_name_is_rehearsed_once(tmp_path):
    name, calls = uuid.uuid4().hex, tmp_path / "calls"
    for _ in range(2):
        compile_ahead(name, lambda: calls.open("a").write("x"))
    assert calls.read_text() == "x"


@pytest.mark.parametrize("fate", ["crash", "hang", "error"])
def test_whatever_becomes_of_the_copy_the_run_goes_on(fate, monkeypatch):
    monkeypatch.setattr(rehearsal, "LIMIT", 1.0)
    function, _, _ = new_function()
    x = mx.array([1.0])

    def compute():
        mx.eval(function(x))
        if fate == "crash":
            os.abort()
        if fate == "hang":
            time.sleep(60)
        raise ValueError("for nobody to see")

    started = time.monotonic()
    assert compile_ahead(uuid.uuid4().hex, compute) == 1
    assert time.monotonic() - started < 30
    assert function(x).item() > 0
    with pytest.raises(ChildProcessError):  # no copy is left behind
        os.waitpid(-1, os.WNOHANG)


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("LMXLAB_AHEAD", "off")
    function, _, _ = new_function()
    assert rehearsed(function, mx.array([1.0])) == 0


def test_a_linker_that_is_missing_is_a_note(monkeypatch):
    before = list(runtime.preparation().notes)
    monkeypatch.setattr(runtime.preparation(), "compiler", "/nowhere/g++")
    assert compile_ahead(uuid.uuid4().hex, lambda: None) == 0
    notes = runtime.preparation().notes[len(before) :]
    monkeypatch.setattr(runtime.preparation(), "notes", before)
    assert ["compiled ahead" in note for note in notes] == [True]


FIRST_STEP = """
import lmxlab
from lmxlab.bench import cases
step = cases.trainer_step(cases.CASES["story"])
print([(r["loss"], r["grad_norm"]) for r in (step(), step(), step())])
"""


def test_a_cold_first_step_is_rehearsed_and_computes_the_same(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for name in ("PATH", "TMPDIR"):
        saved = environment.pop(f"LMXLAB_ORIGINAL_{name}")
        environment[name] = saved

    def printed(**extra):
        return subprocess.run(
            [sys.executable, "-c", FIRST_STEP],
            env={**environment, **extra},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert printed(LMXLAB_CACHE=str(tmp_path)) == printed(LMXLAB_AHEAD="off")
    kernels = list(tmp_path.glob("kernels/*/mlx/**/*.so"))
    together = [kernel for kernel in kernels if kernel.stat().st_nlink > 1]
    assert len(together) > 20
    assert len(together) == len(kernels)
    assert not list(tmp_path.glob("kernels/*/rehearsal-*"))
    assert not list(tmp_path.glob("kernels/*/pch"))  # that was for one by one
