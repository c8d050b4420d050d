"""What the reference promises of every public name of the library."""

import ast
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path
    for path in (ROOT / "lmxlab").rglob("*.py")
    if not {"lab", "bench"} & set(path.relative_to(ROOT).parts)
    and path.name not in ("__init__.py", "cli.py", "doctor.py", "runtime.py")
)


def public(path):
    """Each public function, class and method: its name, its node, whether it is top."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_":
            if is_overload(node):
                continue
            yield node.name, node, True
            for inner in getattr(node, "body", []) if is_class(node) else []:
                named = isinstance(inner, ast.FunctionDef) and (
                    inner.name[0] != "_" or inner.name == "__call__"
                )
                if named and not is_overload(inner):
                    yield f"{node.name}.{inner.name}", inner, False


def is_class(node):
    return isinstance(node, ast.ClassDef)


def is_overload(node):
    names = (getattr(d, "id", "") for d in node.decorator_list)
    return "overload" in names


def faults(path):
    for name, node, top in public(path):
        text = ast.get_docstring(node) or ""
        section = set(re.findall(r"^(\w+):$", text, flags=re.M))
        if top and not (">>> " in text and "Example" in section):
            yield f"{name}: no example that runs"
        if is_class(node):
            continue
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        named = [a.arg for a in arguments if a.arg not in ("self", "cls")]
        missing = [a for a in named if not re.search(rf"^ *{a}( \(.*\))?:", text, re.M)]
        if top and missing:
            yield f"{name}: says nothing of {', '.join(missing)}"
        raises = any(
            isinstance(inner, ast.Raise) and inner.exc is not None
            for inner in ast.walk(node)
        )
        if top and raises and "Raises" not in section:
            yield f"{name}: does not say what it raises"


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_public_name_is_explained_and_shown(path):
    assert list(faults(path)) == []


def test_there_is_something_to_check():
    assert sum(1 for path in MODULES for _ in public(path)) > 100
