"""A run as code: a script that needs no notebook and gives the same numbers.

The script holds the experiment's source and, followed from name to name, all that it
uses: imports; functions and classes of the notebook, by their source; values, as they
were when the run began; anything else by the notebook's own line that made it. What
only the notebook's memory holds is named at the top.

Left out on purpose: chance that comes from anywhere but MLX's generator.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
import inspect
from typing import Any

import lmxlab
from lmxlab import runtime
from lmxlab.lab import sources
import mlx.core as mx
import mlx.nn as nn

Change = tuple[int, str, float]
MANY = 2000  # characters: a value longer than that is written as the line that made it


@dataclass(frozen=True)
class Recipe:
    """A run's script but for how far it went: plain data, to be kept with the run.

    Attributes:
        header: Comments for the top of the script.
        imports: One import statement each.
        body: Source of the values and functions that the experiment uses.
        experiment: The experiment's name in the script.
        arguments: Name of a setting to the source of its value.
        random: Seed of MLX's generator just before the run, or None.
        missing: Names that the script uses and does not define.
        future: Whether the script begins with ``from __future__ import annotations``.

    Example:
        >>> made = Recipe("# A run", [], "def toy(width=4): ...", "toy", {"width": "8"})
        >>> print(made.script(steps=3, changes=[(1, "learning_rate", 0.01)]))
        # A run
        import lmxlab
        from lmxlab.lab import Panel
        <BLANKLINE>
        <BLANKLINE>
        def toy(width=4): ...
        <BLANKLINE>
        <BLANKLINE>
        result = Panel(toy).run(
            steps=3,
            changes=[(1, 'learning_rate', 0.01)],
            width=8,
        )
        <BLANKLINE>
    """

    header: str
    imports: list[str]
    body: str
    experiment: str
    arguments: dict[str, str]
    random: int | None = None
    missing: list[str] = field(default_factory=list)
    future: bool = False

    def script(self, steps: int | None = None, changes: Iterable[Change] = ()) -> str:
        """Return the Python script that does the run again.

        Args:
            steps: Steps that the run did; None for all of it.
            changes: Live settings that were changed: (updates done, setting, value).
        """
        given = [] if steps is None else [f"steps={steps}"]
        turned = sources.literal([tuple(change) for change in changes], {})
        if turned != "[]":
            given.append(f"changes={turned}")
        given += [f"{name}={source}" for name, source in self.arguments.items()]
        call = f"result = Panel({self.experiment}).run("
        one_line = f"{call}{', '.join(given)})"
        if len(one_line) > 60:
            call += "".join(f"\n    {argument}," for argument in given) + "\n)"
        else:
            call = one_line
        if self.random is not None:
            call = f"mlx.core.random.seed({self.random})\n{call}"
        imports = _joined([*self.imports, "from lmxlab.lab import Panel"])
        future = ["from __future__ import annotations"] if self.future else []
        top = "\n".join([self.header, *future, "import lmxlab", *imports])
        return "\n\n\n".join(part for part in (top, self.body, call) if part) + "\n"


def random_key() -> int:
    """Return the seed that puts MLX's generator where it is now.

    Example:
        >>> mx.random.seed(7)
        >>> random_key()
        7
    """
    state: Any = mx.random.state
    high, low = state[0].tolist()
    return int(high << 32 | low)


def recipe(
    experiment: Callable[..., Any],
    settings: Mapping[str, Any],
    random: int | None = None,
) -> Recipe:
    """Write down how to do a run again, as things are now: call it as the run begins.

    Args:
        experiment: The function from settings to a run.
        settings: What it is called with.
        random: From :func:`random_key`, just before the experiment was called; for one
            that draws its weights without a seed of its own.

    Returns:
        The recipe, plain data that does not change with the notebook.

    Example:
        >>> from lmxlab.data import StoryWorld
        >>> recipe(StoryWorld, {}).imports
        ['from lmxlab.data import StoryWorld']
    """
    writer = _Writer()
    variables = sources.variables_of(experiment)
    name = writer.experiment(experiment, variables)
    arguments = {}
    for setting, value in settings.items():
        source = writer.expression(value, variables)
        if source is not None:
            arguments[setting] = source
        elif value is not _default(experiment, setting):
            writer.missing.append(f"the setting {setting} ({_brief(value)})")
    if random is not None:
        writer.imports.add("import mlx.core")
    return Recipe(
        writer.header(),
        sorted(writer.imports, key=_order),
        writer.body(),
        name,
        arguments,
        random,
        writer.missing,
        writer.future,
    )


class _Writer:
    """Follows names to what they stand for and writes each down once, in order."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.missing: list[str] = []
        self.future = False
        self._remade: list[str] = []
        self._parts: list[str] = []
        self._meaning: dict[str, Any] = {}

    def experiment(self, function: Any, variables: Mapping[str, Any]) -> str:
        """Write the experiment down and return the name it has."""
        bound = [name for name, value in _items(variables) if value is function]
        own = getattr(function, "__name__", "")
        if not bound and own.isidentifier():
            bound = [own]
        name = own if own in bound else next(iter(bound), "experiment")
        self.name(name, function, variables)
        return name

    def expression(self, value: Any, variables: Mapping[str, Any]) -> str | None:
        """Return source for a value, or None if there is none."""
        text = self._literal(value, variables)
        if text is None:
            for name, known in _items(variables):
                if known is value:
                    self.name(name, value, variables)
                    return name
        return text

    def name(self, name: str, value: Any, variables: Mapping[str, Any]) -> None:
        """Make a name mean a value in the script."""
        if name in self._meaning:
            if not _same(self._meaning[name], value):
                self.missing.append(f"one meaning of {name!r}, which has two")
            return
        self._meaning[name] = value
        if inspect.ismodule(value):
            self._module(name, value)
        elif (home := sources.home_of(value)) is not None:
            renamed = "" if home[1] == name else f" as {name}"
            if home[0] != "builtins" or renamed:
                self.imports.add(f"from {home[0]} import {home[1]}{renamed}")
        elif not self._written(name, value, variables):
            self.missing.append(f"{name} ({_brief(value)})")

    def _written(self, name: str, value: Any, variables: Mapping[str, Any]) -> bool:
        text = self._literal(value, variables)
        if text is not None and len(text) <= MANY:
            self._add(f"{name} = {text}")
            return True
        source = sources.source_of(value)
        line = sources.defining_line(name, variables)
        made = "<locals>" in getattr(value, "__qualname__", "")  # e.g. by a decorator
        if source is not None and not (made and line is not None):
            inside = sources.variables_of(value)
            self.future |= sources.annotations_are_text(value)
            own = sources.defined_name(source)
            if own == name:
                self._follow(source, inside)
                self._add(source.rstrip())
            else:
                self.name(own, value, inside)
                self._add(f"{name} = {own}")
            return True
        if line is not None:
            self._follow(line, variables)
            self._add(line)
            if isinstance(value, (nn.Module, Iterator)):
                what = "weights" if isinstance(value, nn.Module) else "position"
                self.missing.append(f"the {what} of {name} ({_brief(value)})")
            elif not callable(value) and text is None:
                self._remade.append(name)
            return True
        if text is not None:
            self._add(f"{name} = {text}")
        return text is not None

    def _literal(self, value: Any, variables: Mapping[str, Any]) -> str | None:
        needs: sources.Needs = {}
        text = sources.literal(value, needs)
        if text is not None:
            for name, kind in needs.items():
                if inspect.ismodule(kind):
                    self.imports.add(f"import {kind.__name__}")
                else:
                    self.name(name, kind, variables)
        return text

    def _module(self, name: str, module: Any) -> None:
        path = module.__name__
        if not sources.can_import(path):
            self.missing.append(f"the module {name}")
        elif path == name:
            self.imports.add(f"import {path}")
        else:
            self.imports.add(f"import {path} as {name}")

    def _follow(self, source: str, variables: Mapping[str, Any]) -> None:
        """Write down first what a piece of source uses."""
        for name in sources.names_used(source):
            if name in variables and not name.startswith("__"):
                value = variables[name]
                self.name(name, value, variables)
                if inspect.ismodule(value):
                    paths = sources.submodules(source, name, value.__name__)
                    self.imports |= {f"import {path}" for path in paths}

    def _add(self, part: str) -> None:
        if part not in self._parts:
            self._parts.append(part)

    def header(self) -> str:
        """Return the comments for the top."""
        lines = [
            f"# Made by lmxlab {lmxlab.__version__}, mlx {version('mlx')}, on "
            f"{runtime.device_name()}.",
            "# With the same versions on the same device it gives the same numbers.",
        ]
        lines += [f"# It lacks {_line(what)}." for what in self.missing]
        if self._remade:
            names = ", ".join(self._remade)
            lines.append(f"# Made anew by the notebook's own lines: {names}.")
        return "\n".join(lines)

    def body(self) -> str:
        """Return values and functions, two empty lines around the latter."""
        text = ""
        for part in self._parts:
            block = part.startswith(("def ", "class ", "async ", "@"))
            wide = block or text.endswith("\n\n")
            text = text.rstrip("\n") + ("\n\n\n" if wide else "\n") if text else ""
            text += part + ("\n\n" if block else "")
        return text.strip("\n")


def _order(statement: str) -> tuple[bool, str]:
    return statement.startswith("from"), statement


def _joined(imports: Iterable[str]) -> list[str]:
    """Sort import statements; those from one module become one, if it is short."""
    joined: list[str] = []
    for statement in sorted(set(imports), key=_order):
        start, _, name = statement.partition(" import ")
        if joined and name and joined[-1].startswith(f"{start} import "):
            together = f"{joined[-1]}, {name}"
            if len(together) <= 88:
                joined[-1] = together
                continue
        joined.append(statement)
    return joined


def _items(variables: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The variables that somebody named; not ``_`` and what else a notebook adds."""
    return [(n, v) for n, v in list(variables.items()) if not n.startswith("_")]


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    text = sources.literal(one, {})
    return text is not None and text == sources.literal(other, {})


def _default(function: Callable[..., Any], parameter: str) -> Any:
    found = inspect.signature(function).parameters.get(parameter)
    return inspect.Parameter.empty if found is None else found.default


def _brief(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix(
        "builtins."
    )


def _line(text: str) -> str:
    return " ".join(text.split())
