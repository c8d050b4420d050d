"""Where an object comes from: a module, a line of the notebook, or what it says it is.

Every function here answers one question about a Python object with source text, or with
None where there is none.
"""

import __future__

import ast
from collections import ChainMap
from collections.abc import Iterator, Mapping
import dataclasses
import enum
import functools
import inspect
import linecache
from pathlib import PurePath
import symtable
import sys
import textwrap
from typing import Any

import mlx.core as mx
import numpy as np

Needs = dict[str, Any]
MAX_ARRAY = 64  # elements that are still readable as numbers in a script
MAX_DEPTH = 20


def literal(value: Any, needs: Needs, depth: int = 0) -> str | None:
    """Return an expression that makes an equal value, None if there is none.

    Args:
        value: Numbers, texts, containers of them, enums, paths, frozen dataclasses,
            small arrays.
        needs: Gets the classes that the expression names, and ``numpy`` or ``mlx``.
        depth: Number of containers around the value.

    Example:
        >>> literal({"rates": [0.1, float("inf")]}, {})
        "{'rates': [0.1, float('inf')]}"
        >>> literal(iter([]), {}) is None
        True
    """
    kind = type(value)
    if value is None or value is ... or kind in (bool, int, str, bytes, range):
        return repr(value) if value is not ... else "..."
    if kind is float:
        text = repr(value)
        return text if text.strip("-") not in ("nan", "inf") else f"float({text!r})"
    if depth > MAX_DEPTH:
        return None
    inner = functools.partial(literal, needs=needs, depth=depth + 1)
    if kind in (list, tuple, set, frozenset):
        items = [inner(item) for item in value]
        if None in items:
            return None
        joined = ", ".join(map(str, items))
        if kind is list:
            return f"[{joined}]"
        if kind is tuple:
            return f"({joined}{',' * (len(items) == 1)})"
        return f"{kind.__name__}([{joined}])"
    if kind is dict:
        pairs = [(inner(key), inner(item)) for key, item in value.items()]
        whole = all(None not in pair for pair in pairs)
        return f"{{{', '.join(f'{k}: {v}' for k, v in pairs)}}}" if whole else None
    return _object(value, needs, inner)


def _object(value: Any, needs: Needs, inner: Any) -> str | None:
    kind = type(value)
    if isinstance(value, mx.Dtype):
        needs["mlx"] = mx
        return str(value)
    if isinstance(value, (mx.array, np.ndarray, np.generic)):
        if value.size > MAX_ARRAY or "O" in str(getattr(value.dtype, "kind", "")):
            return None
        module = "mlx" if isinstance(value, mx.array) else "numpy"
        needs[module] = mx if module == "mlx" else np
        if isinstance(value, np.generic):
            return f"numpy.{kind.__name__}({inner(value.item())})"
        maker = "mlx.core.array" if module == "mlx" else "numpy.array"
        shape = f".reshape({value.shape})" if 0 in value.shape else ""
        dtype = str(value.dtype) if module == "mlx" else repr(str(value.dtype))
        return f"{maker}({inner(value.tolist())}, {dtype}){shape}"
    if isinstance(value, enum.Enum):
        needs[kind.__name__] = kind
        return f"{kind.__name__}.{value.name}"
    if isinstance(value, PurePath):
        needs[kind.__name__] = kind
        return f"{kind.__name__}({str(value)!r})"
    if dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        fields = dataclasses.fields(value)
        plain = all(field.init for field in fields)
        extra = set(getattr(value, "__dict__", {})) - {field.name for field in fields}
        parts = {f.name: inner(getattr(value, f.name)) for f in fields}
        if not plain or extra or None in parts.values():
            return None
        needs[kind.__name__] = kind
        return f"{kind.__name__}({', '.join(f'{k}={v}' for k, v in parts.items())})"
    return None


def home_of(thing: Any) -> tuple[str, str] | None:
    """Return the module and the name by which a class or function can be imported.

    Args:
        thing: Anything.

    Returns:
        The shortest module path, e.g. ``mlx.nn`` for a layer; None for what is no class
        or function, or lives in the notebook.

    Example:
        >>> import mlx.nn as nn
        >>> home_of(nn.Linear), home_of(lambda: 0)
        (('mlx.nn', 'Linear'), None)
    """
    module = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        path = ".".join(parts[:length])
        found = getattr(sys.modules.get(path), name, None)
        if found is thing and can_import(path):
            return path, name
    return None


def can_import(path: str) -> bool:
    """Whether another Python process, started here, would find a module.

    Args:
        path: Full name of a module that is loaded.

    Example:
        >>> can_import("mlx.nn"), can_import("__main__")
        (True, False)
    """
    module = sys.modules.get(path)
    if (
        path == "__main__"
        or module is None
        or getattr(module, "__spec__", None) is None
    ):
        return False
    top = path.partition(".")[0]
    return any(
        finder.find_spec(top, None) is not None
        for finder in sys.meta_path
        if hasattr(finder, "find_spec")
    )


def variables_of(thing: Any) -> Mapping[str, Any]:
    """Return what names mean inside a function or class: closure first, then globals.

    Args:
        thing: A function, perhaps wrapped, or a class.

    Example:
        >>> def outer(inner=3):
        ...     return lambda: inner
        >>> variables_of(outer())["inner"]
        3
    """
    function = _function(thing)
    if function is None:
        return getattr(
            sys.modules.get(getattr(thing, "__module__", "")), "__dict__", {}
        )
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    closure = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            closure[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return ChainMap(closure, function.__globals__)


def _function(thing: Any) -> Any:
    """Return the Python function inside, or None; of a class, one of its methods."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    thing = inspect.unwrap(thing)
    thing = getattr(thing, "__func__", thing)
    if inspect.isclass(thing):
        methods = [m for m in vars(thing).values() if inspect.isfunction(m)]
        own = [m for m in methods if linecache.getlines(m.__code__.co_filename)]
        inside = [
            m for m in own if m.__qualname__ == f"{thing.__qualname__}.{m.__name__}"
        ]
        return inside[0] if inside else None
    return thing if inspect.isfunction(thing) else None


def source_of(thing: Any) -> str | None:
    """Return the statement that defines a function or a class, decorators included.

    Args:
        thing: Anything; a lambda has no statement of its own.

    Example:
        >>> source_of(len) is None
        True
    """
    function = _function(thing)
    if function is None or isinstance(thing, functools.partial):
        return None
    if inspect.isclass(thing):
        text = "".join(linecache.getlines(function.__code__.co_filename))
        found = None
        for node in ast.walk(_parsed(text)):
            if isinstance(node, ast.ClassDef) and node.name == thing.__name__:
                found = _segment(text, node)
        return found
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None
    body = _parsed(text).body
    defines = body and isinstance(body[0], (ast.FunctionDef, ast.AsyncFunctionDef))
    return text if defines and len(body) == 1 else None


def defined_name(source: str) -> str:
    r"""Return the name of the function or class that a statement defines.

    Args:
        source: What :func:`source_of` returned.

    Example:
        >>> defined_name("@cache\ndef f(): ...")
        'f'
    """
    return str(getattr(_parsed(source).body[0], "name", ""))


def annotations_are_text(thing: Any) -> bool:
    """Whether ``from __future__ import annotations`` was in force.

    Args:
        thing: A function or a class.

    Example:
        >>> annotations_are_text(annotations_are_text)
        False
    """
    function = _function(thing)
    flag = __future__.annotations.compiler_flag
    return function is not None and bool(function.__code__.co_flags & flag)


def defining_line(name: str, variables: Mapping[str, Any]) -> str | None:
    """Return the notebook's statement that gave a variable its value.

    Args:
        name: The variable.
        variables: The notebook's variables, with its cells' sources under ``In``.

    Returns:
        The last such statement outside of loops and branches, or None if the variable
        was changed after it by a statement of another kind, or there is none.

    Example:
        >>> defining_line("b", {"In": ["a, b = f()", "c = 3"]})
        'a, b = f()'
    """
    if isinstance(variables, ChainMap) and name in variables.maps[0]:
        return None  # a closure's variable, perhaps with a namesake in the notebook
    found = None
    for text in _cells(variables):
        for node in _parsed(text).body:
            if name in _bound(node):
                alone = not isinstance(node, (ast.AugAssign, *_BRANCHES))
                found = _segment(text, node) if alone else None
    if found is None:
        return None
    awaits = any(isinstance(n, ast.Await) for n in ast.walk(_parsed(found)))
    return None if awaits else found


_BRANCHES = (ast.For, ast.While, ast.If, ast.With, ast.Try)


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement at the top of a cell gives a value."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, *_BRANCHES)):
        return {
            inner.id
            for inner in ast.walk(node)
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
        }
    return set()


def _cells(variables: Mapping[str, Any]) -> Iterator[str]:
    """The notebook's cells, in the order they ran; or the files that define things."""
    ran = variables.get("In")
    if isinstance(ran, list):
        yield from (cell for cell in ran if isinstance(cell, str))
        return
    module = variables.get("__name__")
    files = [
        value.__code__.co_filename
        for value in list(variables.values())
        if inspect.isfunction(value) and value.__module__ == module
    ]
    if module == "__main__":  # cells that were registered, and are no files
        cached = list(linecache.cache.items())
        files += [n for n, entry in cached if len(entry) > 1 and entry[1] is None]
    for file in dict.fromkeys(files):
        yield "".join(linecache.getlines(file))


def names_used(source: str) -> list[str]:
    r"""Return the names that a statement takes from around it.

    Args:
        source: A function, a class, or an assignment.

    Example:
        >>> names_used("def f(x=A):\n    y = B\n    return [y + z(C) for C in x]")
        ['A', 'B', 'z']
    """
    top = symtable.symtable(source, "<run>", "exec")
    found: dict[str, None] = {}

    def visit(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                found[symbol.get_name()] = None
        for child in table.get_children():
            visit(child)

    visit(top)
    return list(found)


def submodules(source: str, name: str, path: str) -> set[str]:
    """Return the modules that code reaches as attributes of a module.

    Args:
        source: The code.
        name: The module's name in that code.
        path: The module's full name.

    Example:
        >>> import mlx.utils
        >>> submodules("x = m.utils.tree_map", "m", "mlx")
        {'mlx.utils'}
    """
    found = set()
    for node in ast.walk(_parsed(source)):
        chain: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            chain.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id == name:
            here = path
            for part in chain:
                here = f"{here}.{part}"
                if not inspect.ismodule(sys.modules.get(here)):
                    break
                found.add(here)
    return found


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:  # a cell of another language, or one that never ran
        return ast.Module([], [])


def _segment(text: str, node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min(inner.lineno for inner in (node, *decorators))
    lines = text.splitlines(keepends=True)[first - 1 : node.end_lineno]
    whole = textwrap.dedent("".join(lines)).rstrip()
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return whole
    return ast.get_source_segment(text, node) or whole
