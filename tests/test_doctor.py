"""The doctor: what it finds here, and what it says where something is missing."""

import json
from pathlib import Path
import sys

from lmxlab import doctor, runtime
import pytest

linux_cpu = pytest.mark.skipif(
    not runtime.preparation().applies, reason="the fast path is for Linux on a CPU"
)


@pytest.fixture(scope="module")
def report() -> doctor.Report:
    return doctor.examine()


@pytest.fixture
def pretend(monkeypatch):
    """Replace the report of the preparation."""

    def change(**values) -> None:
        monkeypatch.setattr(
            runtime, "_preparation", runtime.Preparation(applies=True, **values)
        )

    return change


def finding(findings, name: str) -> doctor.Finding:
    return next(found for found in findings if found.name == name)


def test_this_machine_is_ready(report):
    assert report.ok
    assert not [f.value for f in report.findings if "could not be examined" in f.value]
    assert report.as_text().endswith("Ready to train.")


def test_values_are_aligned_and_json_holds_the_same(report):
    starts = {
        line.index(found.value)
        for line, found in zip(
            report.as_text().splitlines(), report.findings, strict=False
        )
    }
    assert len(starts) == 1
    plain = json.loads(report.as_json())
    assert [f["name"] for f in plain["findings"]] == [f.name for f in report.findings]
    assert plain["ok"] is True


@linux_cpu
def test_the_blas_is_several_times_faster_than_the_wheels(report):
    assert finding(report.findings, "matrix products").number > 3


@linux_cpu
def test_a_kernel_is_built_and_faster_than_eager(report):
    assert finding(report.findings, "compiled kernel").number > 1.2
    assert finding(report.findings, "kernels built").number >= 1


def test_a_probe_that_fails_is_a_line_and_the_rest_still_runs():
    def torn():
        yield doctor.Finding("before", "seen")
        raise OSError("cable torn")

    def whole():
        yield doctor.Finding("after", "seen")

    report = doctor.examine([torn, whole])
    assert "cable torn" in finding(report.findings, "torn").value
    assert finding(report.findings, "after").value == "seen"
    assert report.ok
    assert len(report.advice) == 1


def test_a_slow_blas_is_broken(pretend, monkeypatch):
    pretend(blas=None, notes=["No fast BLAS was found. Run X."])
    fake = doctor.Finding("matrix products", "slow")
    monkeypatch.setattr(doctor, "_against_the_wheel", lambda ours, size: fake)
    report = doctor.examine([doctor.blas, doctor.preparation])
    assert not report.ok
    assert report.advice == ["No fast BLAS was found. Run X."]


def test_no_compiler_is_broken(pretend):
    pretend(blas="x", compiler=None, notes=["No C++ compiler was found."])
    report = doctor.examine([doctor.compiler])
    assert finding(report.findings, "compiler").broken
    assert "(!) No C++ compiler was found." in report.as_text()


def test_a_cache_without_kernels_is_broken(pretend, tmp_path):
    pretend(blas="x", compiler="g++", kernel_cache=str(tmp_path))
    report = doctor.examine([doctor.compiler])
    assert finding(report.findings, "kernels built").broken


def test_every_note_is_advice_and_none_of_them_fails(pretend):
    pretend(notes=["First.", "Second."])
    report = doctor.examine([doctor.preparation])
    assert report.advice == ["First.", "Second."]
    assert report.ok


def test_no_mlx_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    report = doctor.examine([doctor.mlx])
    assert not report.ok
    assert "pip install" in report.advice[0]


@pytest.mark.parametrize(
    ("versions", "works"),
    [
        ({"ipykernel": "6.31.0", "ipywidgets": "8.1.5"}, "yes"),
        ({"ipykernel": "7.4.0", "ipywidgets": "8.1.9"}, "yes"),
        ({"ipykernel": "5.5.6", "ipywidgets": "8.1.5"}, "no"),
        ({"ipykernel": "7.1.0", "ipywidgets": "7.8"}, "no"),
        ({"ipywidgets": "8.1.5"}, "no"),
    ],
)
def test_whether_the_stop_button_works(versions, works, monkeypatch):
    monkeypatch.setattr(doctor, "_version", versions.get)
    report = doctor.examine([doctor.notebooks])
    assert finding(report.findings, "Stop button works").value.startswith(works)
    assert any(doctor.INSTALL_LAB in advice for advice in report.advice)
    assert report.ok


@pytest.mark.parametrize(("size", "winner"), [(3, "mlx-cpu"), (5, "mlx-cuda-13")])
def test_which_backend_won_is_seen(size, winner, monkeypatch, tmp_path):
    library = tmp_path / "libmlx.so"
    library.write_bytes(b"x" * size)
    recorded = {"mlx-cpu": 3, "mlx-cuda-13": 5}
    monkeypatch.setattr(doctor, "_version", lambda name: name in recorded and "1")
    monkeypatch.setattr(
        doctor, "_recorded_library", lambda name: (library, recorded.get(name))
    )
    monkeypatch.setattr(Path, "exists", lambda path: True)
    report = doctor.examine([doctor.cuda])
    assert finding(report.findings, "MLX backend").value.startswith(winner)
    assert report.ok == (winner == "mlx-cuda-13")
    if not report.ok:
        assert "--no-deps mlx-cuda-13" in report.advice[0]


def test_one_backend_alone_is_not_worth_a_line(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    assert doctor.examine([doctor.cuda]).findings == []


@linux_cpu
def test_the_installed_library_is_found_by_its_record():
    path, size = doctor._recorded_library("mlx-cpu")
    assert path.stat().st_size == size
