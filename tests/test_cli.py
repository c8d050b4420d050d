"""The command line, without starting what it starts."""

import json
import os
from pathlib import Path
import subprocess
import sys
import time

import lmxlab
from lmxlab import cli
import pytest


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lmxlab.cli", *arguments],
        cwd=options.pop("cwd", Path(__file__).parents[1]),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    (notebooks / "00_start_here.ipynb").write_text("{}")
    (notebooks / "000.ipynb").write_text("{}")
    return notebooks


@pytest.fixture
def started(monkeypatch) -> list:
    """What the command would have become; what it starts is not started."""
    calls: list = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(cli, "_in_background", lambda *call: None)
    return calls


# ------------------------------------------------------------------------------ usage


def test_help_and_version_are_quick_and_load_no_mlx(capsys):
    code = "import sys; from lmxlab.cli import main\ntry: main(['--help'])\n"
    code += "finally: print('mlx.core' in sys.modules, 'ipywidgets' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0
    assert all(name in found.stdout for name in ("doctor", "lab", "bench"))
    assert found.stdout.splitlines()[-1] == "False False"
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"lmxlab {lmxlab.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["lab", "--port", "0"], ["lab", "--port", "x"]]
)
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2


def test_ctrl_c_ends_a_command_without_a_traceback(monkeypatch, capsys):
    from lmxlab import doctor

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    assert cli.main(["doctor"]) == 130
    assert "Stopped" in capsys.readouterr().err


# ------------------------------------------------------------------------------- lab


def test_the_lab_opens_the_first_notebook_for_this_machine_alone(folder, started):
    assert cli.main(["lab", "--no-browser", "--port", "9999"]) == 0
    ((program, command, environment),) = started
    assert program == sys.executable
    assert command[1:3] == ["-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={folder.parent}" in command
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in command
    assert {"--ip=127.0.0.1", "--port=9999", "--no-browser"} <= set(command)
    assert ("--allow-root" in command) == (os.geteuid() == 0)
    assert not any("token" in part or "password" in part for part in command)
    assert "LMXLAB_ORIGINAL_PATH" not in environment


def test_the_lab_compiles_kernels_in_the_background(folder, started, monkeypatch):
    beside: list = []
    monkeypatch.setattr(cli, "_in_background", lambda *call: beside.append(call))
    cli.main(["lab"])
    ((command, environment),) = beside
    assert command[1:] == ["-m", "lmxlab.cli", "warm"]
    assert "LMXLAB_ORIGINAL_PATH" not in environment


def test_what_runs_in_the_background_is_nobodys_child(tmp_path):
    code = (
        "import os, pathlib; pathlib.Path('{0}.draft').write_text(str(os.getppid()));"
    )
    code += " os.replace('{0}.draft', '{0}')"
    told = tmp_path / "parent"
    command = [sys.executable, "-c", code.format(told)]
    cli._in_background(command, dict(os.environ))
    ends = time.monotonic() + 60
    while not told.exists():
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert int(told.read_text()) != os.getpid()


def test_the_lab_opens_a_browser_unless_told_not_to(folder, started):
    cli.main(["lab"])
    assert "--no-browser" not in started[0][1]


def test_the_lab_takes_another_folder(folder, started, tmp_path):
    mine = tmp_path / "my notebooks"
    mine.mkdir()
    (mine / "b.ipynb").write_text("{}")
    assert cli.main(["lab", str(mine)]) == 0
    assert "--LabApp.default_url=/lab/tree/my%20notebooks/b.ipynb" in started[0][1]


def test_the_lab_finds_the_notebooks_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = Path(cli.__file__).parents[1] / "notebooks"
    assert cli.find_notebooks(None) == expected


@pytest.mark.parametrize("where", ["missing", "empty"])
def test_no_notebooks_is_said_in_words(where, folder, started, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert cli.main(["lab", where]) == 1
    assert where in capsys.readouterr().err
    assert not started


def test_a_package_without_notebooks_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "site" / "lmxlab" / "cli.py"))
    with pytest.raises(cli.CommandError, match="clone the repository"):
        cli.find_notebooks(None)


def test_without_jupyterlab_the_extra_is_named(folder, started, monkeypatch, capsys):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 1
    assert "pip install 'lmxlab[lab]'" in capsys.readouterr().err
    assert not started


# -------------------------------------------------------------------- doctor and bench


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 1)])
def test_the_doctors_exit_code_says_whether_something_is_broken(
    broken, code, monkeypatch, capsys
):
    from lmxlab import doctor

    finding = doctor.Finding("BLAS", "slow", "Get one.", broken=broken)
    monkeypatch.setattr(doctor, "examine", lambda: doctor.Report([finding]))
    assert cli.main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["ok"] is not broken
    assert cli.main(["doctor"]) == code
    assert "Get one." in capsys.readouterr().out


REPORT = {
    "machine": {
        "device": "cpu",
        "cores": 2,
        "load_before": [0.0, 0.0, 0.0],
        "lmxlab": "1",
        "mlx": "1",
        "python": "3",
        "blas": None,
        "blas_threads": None,
        "when": "today",
    },
    "quick": True,
    "seconds": 1.0,
    "step_vs_bare": {"story": {"ratio": 1.5}},
}


def test_bench_prints_writes_and_compares(monkeypatch, capsys, tmp_path):
    from lmxlab import bench

    monkeypatch.setattr(bench, "measure", lambda quick, **_: REPORT | {"quick": quick})
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(REPORT | {"step_vs_bare": {"story": {"ratio": 3.0}}}))
    arguments = ["bench", "--quick", "--json", str(new), "--compare", str(old)]
    assert cli.main(arguments) == 0
    assert json.loads(new.read_text()) == REPORT
    change = next(
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("step_vs_bare.story.ratio")
    )
    assert change.split()[1:] == ["3", "1.5", "0.500"]


@pytest.mark.parametrize(("ratio", "code"), [(1.2, 0), (1.5, 1)])
def test_a_check_fails_where_a_ratio_is_far_off(ratio, code, monkeypatch, capsys):
    from lmxlab import bench

    report = REPORT | {"step_vs_bare": {"story": {"ratio": ratio}}}
    monkeypatch.setattr(bench, "measure", lambda **_: report)
    assert cli.main(["bench", "--check"]) == code
    assert cli.main(["bench"]) == 0
    assert ("at most 1.25" in capsys.readouterr().err) == bool(code)


def test_a_bad_file_is_noticed_before_minutes_of_measuring(monkeypatch, capsys):
    from lmxlab import bench

    monkeypatch.setattr(bench, "measure", lambda **_: pytest.fail("it measured"))
    assert cli.main(["bench", "--compare", "/no/such/file"]) == 1
    assert cli.main(["bench", "--json", "/no/such/folder/file"]) == 1
    assert "/no/such" in capsys.readouterr().err
