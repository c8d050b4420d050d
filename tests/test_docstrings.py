"""What the reference promises of every public name of the library."""

import ast
from itertools import pairwise
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[1]
ALL_MODULES = sorted((ROOT / "lmxlab").rglob("*.py"))
MODULES = [
    path
    for path in ALL_MODULES
    if not {"lab", "bench"} & set(path.relative_to(ROOT).parts)
    and path.name not in ("__init__.py", "cli.py", "doctor.py", "runtime.py")
]


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


# ---- each argument ----


def classes(*trees):
    return {n.name: n for tree in trees for n in ast.walk(tree) if is_class(n)}


PACKAGE = classes(*(ast.parse(path.read_text()) for path in ALL_MODULES))


def names_of(nodes):
    return {getattr(n, "id", getattr(n, "attr", "")) for n in nodes}


def bases(node, known):
    for name in names_of(node.bases) & known.keys() - {node.name}:
        yield known[name]
        yield from bases(known[name], known)


def explained(text):
    """The names with an entry under Args or Attributes, and words beside it."""
    names, within = set(), False
    for line in text.splitlines():
        if line and line[0] != " ":
            within = line in ("Args:", "Attributes:")
        elif within and (entry := re.match(r" {4}(\**\w+)( \(.+?\))?: \S", line)):
            names.add(entry[1].lstrip("*"))
    return names


def named(node):
    given = node.args
    several = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    several += [argument for argument in (given.vararg, given.kwarg) if argument]
    return [a.arg for a in several if a.arg not in ("self", "cls") and a.arg[0] != "_"]


def fields(node):
    """What a dataclass or a named tuple is built from, and no line explains there."""
    decorators = [getattr(d, "func", d) for d in node.decorator_list]
    if "dataclass" in names_of(decorators) or "NamedTuple" in names_of(node.bases):
        for inner, following in pairwise([*node.body, ast.Pass()]):
            # A setting brings its own help text; a text may follow any other.
            told = "setting(" in ast.unparse(inner) or isinstance(following, ast.Expr)
            if isinstance(inner, ast.AnnAssign) and not told:
                yield inner.target.id


def methods(node, known):
    """What a class promises: how it is built and called, and what no base explains."""
    inherited = {m.name for base in bases(node, known) for m in base.body if is_def(m)}
    for inner in filter(is_def, node.body):
        # A setter takes one value, which the property's docstring says.
        setter = "setter" in names_of(inner.decorator_list)
        own = inner.name[0] != "_" and inner.name not in inherited and not setter
        if own or inner.name in ("__init__", "__call__"):
            yield inner


def demands(tree, known):
    """Each name with what is to be explained, and the docstrings that may do so."""
    for node in tree.body:
        if is_class(node) and node.name[0] != "_":
            about = ast.get_docstring(node) or ""
            yield node.name, [name for name in fields(node) if name[0] != "_"], about
            # Some classes are built by one function alone, which explains it all.
            by_function = re.search(r"`\w+` makes it", about)
            for inner in methods(node, known):
                if is_overload(inner) or (inner.name == "__init__" and by_function):
                    continue
                text = ast.get_docstring(inner) or ""
                both = f"{about}\n{text}" if inner.name == "__init__" else text
                yield f"{node.name}.{inner.name}", named(inner), both
        elif is_def(node) and node.name[0] != "_":
            # The answer to an exercise is what the first sentence of its check names.
            names = names_of(node.decorator_list)
            if names.isdisjoint({"checker", "overload"}):
                yield node.name, named(node), ast.get_docstring(node) or ""


def is_def(node):
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def unexplained(source, known=PACKAGE):
    for name, wanted, text in demands(ast.parse(source), known):
        if not re.search(r"^Arguments .*those of\s:meth:", text, re.M):
            yield from (f"{name}: {w}" for w in wanted if w not in explained(text))


@pytest.mark.parametrize(
    "path", ALL_MODULES, ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_argument_is_explained(path):
    assert list(unexplained(path.read_text())) == []


BASE = 'class Base:\n    def act(self, how):\n        """Do it."""\n'


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('def f(x):\n    """Do it.\n\n    Args:\n        x: A number.\n    """', []),
        ('def f(x):\n    """Do it.\n\n    Args:\n        x:\n    """', ["f: x"]),
        (
            'def f(x):\n    """Do it.\n\n    Note:\n        x: A number.\n    """',
            ["f: x"],
        ),
        ('def f(*a, k=1, **b):\n    """Do it."""', ["f: k", "f: a", "f: b"]),
        ('async def f(x):\n    """Do it."""', ["f: x"]),
        ("def _f(x): ...", []),
        ("class C:\n    def __init__(self, x): ...", ["C.__init__: x"]),
        ("class C:\n    def __call__(self, x): ...", ["C.__call__: x"]),
        ("class C(NamedTuple):\n    x: int", ["C: x"]),
        ('class C(NamedTuple):\n    x: int\n    """A number."""\n    y: int', ["C: y"]),
        ("@dataclass(frozen=True)\nclass C:\n    x: int\n    _y: int", ["C: x"]),
        (BASE, ["Base.act: how"]),
        (f"{BASE}class C(Base):\n    def act(self, how): ...", ["Base.act: how"]),
    ],
)
def test_an_argument_without_words_is_found(source, found):
    assert list(unexplained(source, classes(ast.parse(source)))) == found
