"""The command ``lmxlab``: report on the machine, open the lab, measure it.

Each command imports what it needs when it runs, so that ``--help`` answers at once and
a missing extra breaks nothing else.
"""

import argparse
from collections.abc import Sequence
import importlib.util
import json
import os
from pathlib import Path
import subprocess
import sys
from urllib.parse import quote

import lmxlab

FIRST_NOTEBOOK = "00_start_here.ipynb"
WARM = [sys.executable, "-m", "lmxlab.cli", "warm"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code.

    Example:
        >>> main(["lab", "/no/such/folder"])
        1
    """
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except CommandError as error:
        print(f"lmxlab {options.command}: {error}", file=sys.stderr)
        return 1
    return code


class CommandError(Exception):
    """Something that the person at the keyboard can mend; shown without a traceback."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lmxlab", description=lmxlab.__doc__)
    parser.add_argument(
        "--version", action="version", version=f"lmxlab {lmxlab.__version__}"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    about = "report on this machine: device, BLAS, compiler, widgets"
    doctor = commands.add_parser("doctor", help=about, description=about)
    doctor.add_argument("--json", action="store_true", help="print JSON instead")
    doctor.set_defaults(run=_doctor)

    about = "open JupyterLab at the first notebook"
    lab = commands.add_parser("lab", help=about, description=about)
    lab.add_argument(
        "folder",
        nargs="?",
        metavar="NOTEBOOK_DIR",
        help="folder of the notebooks; by default ./notebooks, or the checkout's",
    )
    lab.add_argument("--port", type=_port, default=8888, help="the next free one from")
    lab.add_argument("--no-browser", action="store_true", help="only print the URL")
    lab.set_defaults(run=_lab)

    about = "compile an ordinary step's kernels, as `lmxlab lab` does in the background"
    warm = commands.add_parser("warm", help=about, description=about)
    warm.set_defaults(run=_warm)

    about = "measure the training step and the live plot on this machine"
    bench = commands.add_parser("bench", help=about, description=about)
    bench.add_argument("--json", metavar="FILE", help="write the numbers there too")
    bench.add_argument(
        "--compare", metavar="OLD.json", help="print the change since an earlier --json"
    )
    bench.add_argument(
        "--quick", action="store_true", help="a minute or two, with wider spreads"
    )
    bench.add_argument(
        "--growth", action="store_true", help="measure how time grows with size, too"
    )
    bench.add_argument(
        "--parts", action="store_true", help="measure a step's operations, too"
    )
    bench.add_argument(
        "--check", action="store_true", help="fail if a ratio is far off its budget"
    )
    bench.set_defaults(run=_bench)
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"must be in [1, 65535], got {port}")
    return port


# ----------------------------------------------------------------------------- doctor


def _doctor(options: argparse.Namespace) -> int:
    from lmxlab import doctor

    report = doctor.examine()
    print(report.as_json() if options.json else report.as_text())
    return 0 if report.ok else 1


# ------------------------------------------------------------------------------- lab


def _lab(options: argparse.Namespace) -> int:
    from lmxlab.bench.plain import original_environment

    notebook = first_notebook(find_notebooks(options.folder))
    if importlib.util.find_spec("jupyterlab") is None:
        raise CommandError(
            "JupyterLab is not installed here. Run: pip install 'lmxlab[lab]'"
        )
    command = lab_command(notebook, options.port, browser=not options.no_browser)
    environment = original_environment()
    _in_background(WARM, environment)
    print(
        f"Opening {notebook}\nThe address, with its token, is printed below as soon as "
        "the server answers. Ctrl-C ends it.",
        flush=True,
    )
    # JupyterLab takes this process over, and with it Ctrl-C and the exit code.
    os.execve(command[0], command, environment)
    return 0


def _in_background(command: list[str], environment: dict[str, str]) -> None:
    """Start a command that yields to others; a shell's, so no child of this process."""
    shell = ["sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", "nice"]
    subprocess.run([*shell, *command], env=environment, check=True)


def find_notebooks(folder: str | None) -> Path:
    """Find the folder of the notebooks.

    Args:
        folder: The one asked for. By default ``./notebooks``, or the one beside the
            package in a checkout.

    Returns:
        An absolute path.

    Raises:
        CommandError: If there is none.
    """
    if folder is not None:
        if not Path(folder).is_dir():
            raise CommandError(f"there is no folder {folder}")
        return Path(folder).resolve()
    candidates = [Path.cwd() / "notebooks", Path(__file__).parents[1] / "notebooks"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate.resolve()
    raise CommandError(
        "found no notebooks in " + " or ".join(map(str, candidates)) + ". They are not "
        "part of the package: clone the repository, or name the folder: lmxlab lab DIR"
    )


def first_notebook(folder: Path) -> Path:
    """Return the notebook to open: the one to start with, or else the first by name.

    Args:
        folder: Of the notebooks.

    Raises:
        CommandError: If there is no notebook.
    """
    notebooks = sorted(folder.glob("*.ipynb"))
    if not notebooks:
        raise CommandError(f"there is no notebook in {folder}")
    start = folder / FIRST_NOTEBOOK
    return start if start in notebooks else notebooks[0]


def lab_command(notebook: Path, port: int, *, browser: bool) -> list[str]:
    """Return the command that serves a notebook to this machine alone.

    The token is Jupyter's own, new each time. Settings of the user's are left alone:
    what would cover the page is switched off for this server only.

    Args:
        notebook: To open.
        port: To try first, and then those above it.
        browser: Whether to open one.

    Example:
        >>> command = lab_command(Path("/lab/notebooks/a b.ipynb"), 8888, browser=True)
        >>> [part for part in command if "default_url" in part]
        ['--LabApp.default_url=/lab/tree/notebooks/a%20b.ipynb']
    """
    folder = notebook.parent
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=50",
        "--ServerApp.answer_yes=True",  # one Ctrl-C is enough
        f"--ServerApp.root_dir={folder.parent}",
        f"--LabApp.default_url=/lab/tree/{quote(f'{folder.name}/{notebook.name}')}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if not browser:
        command.append("--no-browser")
    if os.geteuid() == 0:
        command.append("--allow-root")
    return command


# ------------------------------------------------------------------------------- warm


def _warm(options: argparse.Namespace) -> int:
    from lmxlab.warm import warm_up

    print(f"An ordinary step is compiled ({warm_up():.1f} s).")
    return 0


# ------------------------------------------------------------------------------ bench


def _bench(options: argparse.Namespace) -> int:
    from lmxlab import bench
    from lmxlab.bench import tables

    old = None
    if options.compare is not None:
        try:
            old = json.loads(Path(options.compare).read_text())
        except (OSError, ValueError) as error:
            raise CommandError(f"cannot read {options.compare}: {error}") from error
    if options.json is not None and not Path(options.json).resolve().parent.is_dir():
        raise CommandError(f"there is no folder for {options.json}")
    report = bench.measure(
        quick=options.quick, growth=options.growth, parts=options.parts, say=_say
    )
    print(tables.render(report))
    if old is not None:
        print(f"\n{tables.compare(old, report)}")
    if options.json is not None:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    broken = tables.regressions(report) if options.check else []
    for sentence in broken:
        print(sentence, file=sys.stderr)
    return 1 if broken else 0


def _say(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
