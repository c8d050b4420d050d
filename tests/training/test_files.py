"""A file is there whole or not at all, whatever happens while it is written."""

import os
from pathlib import Path

from lmxlab.training.checkpoints import save_checkpoint
from lmxlab.training.files import replace_file, replacing
from lmxlab.training.teacher_cache import write_teacher_cache
import mlx.nn as nn
import pytest

resource = pytest.importorskip("resource")  # not on every system

OLD = b"as it was"


@pytest.fixture
def file(tmp_path):
    """A file with something in it."""
    path = tmp_path / "kept"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def nearly_full():
    """Files longer than 1,000 bytes cannot be written, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def unchanged(file):
    return file.read_bytes() == OLD and list(file.parent.iterdir()) == [file]


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(file, nearly_full):
    with pytest.raises(OSError, match="too large"):
        replace_file(file, bytes(5000))
    assert unchanged(file)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_so_does_a_failure_of_any_call(call, file, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"new")
    assert unchanged(file)


def test_so_does_an_interrupt_half_way(file):
    def write_half():
        with replacing(file) as beside:
            beside.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert unchanged(file)


def test_it_is_on_the_disk_before_it_takes_the_place(file, monkeypatch):
    seen = []
    really = os.replace
    monkeypatch.setattr(os, "fsync", lambda _: seen.append("flushed"))
    monkeypatch.setattr(os, "replace", lambda *a: seen.append("moved") or really(*a))
    replace_file(file, b"new")
    assert (seen, file.read_bytes()) == (["flushed", "moved"], b"new")
    assert list(file.parent.iterdir()) == [file]


def test_what_a_kill_left_is_written_over(file):
    Path(f"{file}.partial").write_text("half of another")
    replace_file(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(file.parent.iterdir()) == [file]


def test_checkpoints_and_teacher_caches_are_written_so(tmp_path, rows, nearly_full):
    with pytest.raises((OSError, RuntimeError)):
        save_checkpoint(tmp_path / "model", nn.Linear(64, 64))
    with pytest.raises(Exception, match=r"(?i)too large"):
        write_teacher_cache(tmp_path / "cache", nn.Embedding(64, 64), rows(9), k=64)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
