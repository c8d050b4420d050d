"""The shape that every notebook shares, as rules that name the cell and the remedy.

Each rule takes the notebook as plain JSON and its path, and yields complaints in words.
``lint(path)`` applies them all. What the rules are for stands in CONTRIBUTING.md.
"""

import ast
import builtins
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, takewhile
import json
from pathlib import Path
import re
import symtable
from typing import Any
from urllib.parse import unquote

from lmxlab.lab.exercises import Exercise
from lmxlab.lab.topics import HEADING, differences, exercises_of
from nbformat.validator import iter_validate

Notebook = dict[str, Any]
Rule = Callable[[Notebook, Path], Iterator[str]]

MAX_LINES, MAX_COLUMNS = 40, 88
CELLS = (25, 45)
WORDS = (600, 1200)
IDEA_WORDS = 150
EXERCISES = (3, 4)
SUMMARY_BULLETS = 5

SECTIONS = [
    "What you will learn",
    "The idea",
    "The equation",
    "Toy numbers",
    "The function",
    "Predict",
    "Run it",
    "What you should have seen",
    "Break it",
    "Exercises",
    "Summary",
    "Further reading",
]
# The first notebook shows the tools, and may do without a formula.
OPTIONAL = {"00_start_here": {"The equation", "The function"}}

FENCE = re.compile(r"^(```|~~~).*?^\1\s*?$", flags=re.M | re.S)
DETAILS = re.compile(r"<details>(.*?)</details>", flags=re.S)
IMAGE = re.compile(r"!\[([^\]]*)\]\(\s*<?([^)\s>]*)")
LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))+\]\(\s*<?([^)\s>]*)")
HTML_TAG = re.compile(r"<(\w+)\b[^>]*>", flags=re.S)
ATTRIBUTE = r"\b{}\s*=\s*[\"']([^\"']*)[\"']"


def text(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def is_code(cell: dict[str, Any]) -> bool:
    return cell["cell_type"] == "code"


def prose(cell: dict[str, Any]) -> str:
    """A Markdown cell without its fenced code; nothing for a code cell."""
    return FENCE.sub("", text(cell)) if cell["cell_type"] == "markdown" else ""


def words(cells: list[dict[str, Any]]) -> int:
    """Words a learner reads: no code, formulas, addresses, or folded answers."""
    whole = DETAILS.sub("", "\n\n".join(map(prose, cells)))
    whole = re.sub(r"\$\$.*?\$\$", " ", whole, flags=re.S)
    whole = re.sub(r"<svg.*?</svg>|<!--.*?-->|<[^>]+>", " ", whole, flags=re.S)
    whole = re.sub(r"\]\([^)]*\)", " ", whole)
    return sum(bool(re.search(r"\w", word)) for word in whole.split())


def headings(nb: Notebook, level: int) -> list[tuple[int, str]]:
    """(cell number, title) of each heading of one level."""
    found = re.compile(rf"^{'#' * level} +(.+?)\s*$", flags=re.M)
    return [
        (number, title)
        for number, cell in enumerate(nb["cells"])
        for title in found.findall(prose(cell))
    ]


def section(nb: Notebook, title: str) -> list[dict[str, Any]]:
    """The cells from a level-2 heading to the next one; none if it is missing."""
    starts = [*headings(nb, 2), (len(nb["cells"]), "")]
    for (start, name), (end, _) in pairwise(starts):
        if name == title:
            return nb["cells"][start:end]
    return []


def valid_format(nb: Notebook, path: Path) -> Iterator[str]:
    if (nb.get("nbformat"), nb.get("nbformat_minor")) != (4, 5):
        yield "the format is not 4.5, the first with cell ids: save it in JupyterLab"
    for error in iter_validate(nb):
        yield f"not a valid notebook: {error}"
    ids = [cell.get("id") for cell in nb["cells"]]
    for twice in sorted({str(name) for name in ids if name and ids.count(name) > 1}):
        yield f"two cells share the id {twice!r}"


def stripped(nb: Notebook, path: Path) -> Iterator[str]:
    for number, cell in enumerate(nb["cells"]):
        if cell.get("outputs"):
            yield f"cell {number} has outputs: run nbstripout --keep-id {path.name}"
        if cell.get("execution_count") is not None:
            yield f"cell {number} has an execution count: run nbstripout --keep-id"
    if "widgets" in nb["metadata"]:
        yield "widget state is saved in the metadata: run nbstripout --keep-id"


def kernel(nb: Notebook, path: Path) -> Iterator[str]:
    spec = nb["metadata"].get("kernelspec", {})
    if (name := spec.get("name")) != "python3":
        yield f"the kernel is {name!r}, which others do not have: choose python3"
    if spec.get("language") != "python":
        yield "the kernelspec's language is not 'python': ruff would pass it over"


def code_size(nb: Notebook, path: Path) -> Iterator[str]:
    for number, cell in enumerate(nb["cells"]):
        if not is_code(cell):
            continue
        lines = text(cell).splitlines()
        if len(lines) > MAX_LINES:
            yield f"cell {number} has {len(lines)} lines, more than {MAX_LINES}"
        if (width := max(map(len, lines), default=0)) > MAX_COLUMNS:
            yield f"cell {number} is {width} columns wide, more than {MAX_COLUMNS}"


def length(nb: Notebook, path: Path) -> Iterator[str]:
    for count, unit, (low, high) in (
        (len(nb["cells"]), "cells", CELLS),
        (words(nb["cells"]), "words of text", WORDS),
    ):
        if not low <= count <= high:
            yield f"{count} {unit}, and a notebook has {low} to {high}"


def runtime_first(nb: Notebook, path: Path) -> Iterator[str]:
    for number, cell in enumerate(nb["cells"]):
        pattern = r"^\s*(?:import|from) (lmxlab|mlx)\b"
        first = re.search(pattern, text(cell), flags=re.M) if is_code(cell) else None
        if first:
            if first[1] == "mlx":
                yield f"cell {number} imports mlx before lmxlab, which makes it fast"
            return


def skeleton(nb: Notebook, path: Path) -> Iterator[str]:
    titles = [title for _, title in headings(nb, 2)]
    optional = OPTIONAL.get(path.stem, set())
    expected = [name for name in SECTIONS if name in titles or name not in optional]
    if titles != expected:
        yield f"the sections are {titles}, and should be {expected}"
    if [number for number, _ in headings(nb, 1)] != [0]:
        yield "one level-1 heading, the title, belongs in the first cell"


def sections_deliver(nb: Notebook, path: Path) -> Iterator[str]:
    learn = " ".join(map(prose, section(nb, "What you will learn")))
    if not (re.search(r"\d minutes", learn) and re.search(r"\d [MG]B\b", learn)):
        yield "'What you will learn' gives no time ('20 minutes') and memory ('300 MB')"
    if not re.search(r"Difficulty: (easy|medium|hard)\b", learn):
        yield "'What you will learn' does not say 'Difficulty: easy', medium or hard"
    idea = section(nb, "The idea")
    if (count := words(idea)) > IDEA_WORDS:
        yield f"'The idea' takes {count} words, more than {IDEA_WORDS}"
    picture = re.compile(r"!\[|<img\b|<svg\b")
    if idea and not any(is_code(cell) or picture.search(prose(cell)) for cell in idea):
        yield "'The idea' has no picture"
    for title, needed in (("The function", "assert "), ("Predict", "Predict(")):
        cells = section(nb, title)
        if cells and not any(is_code(cell) and needed in text(cell) for cell in cells):
            yield f"{title!r} has no cell with {needed.strip()!r}"
    bullets = re.findall(
        r"^[-*] ", "\n".join(map(prose, section(nb, "Summary"))), flags=re.M
    )
    if len(bullets) != SUMMARY_BULLETS:
        yield f"the summary has {len(bullets)} bullets, not {SUMMARY_BULLETS}"


def exercises(nb: Notebook, given: Sequence[Exercise]) -> Iterator[str]:
    """The rules for exercises: so many, word for word from their source, solvable."""
    if not EXERCISES[0] <= len(given) <= EXERCISES[1]:
        yield f"{len(given)} exercises, and a notebook has 3 or 4"
    for complaint in differences(nb, given):
        yield f"{complaint}: run python -m lmxlab.lab.exercises on the notebook"
    before = takewhile(lambda cell: not text(cell).startswith(HEADING), nb["cells"])
    defined = names_of("\n".join(text(cell) for cell in before if is_code(cell)))[0]
    for number, exercise in enumerate(given, start=1):
        more, used = names_of(f"{exercise.stub}\n{exercise.solution}")
        for name in sorted(used - defined - more - set(dir(builtins))):
            yield (
                f"exercise {number}: its solution uses {name}, which no cell above the "
                "exercises defines"
            )


def names_of(code: str) -> tuple[set[str], set[str]]:
    """The global names that code binds at its top level, and those that it uses."""
    top = symtable.symtable(code, "cell", "exec")
    used, tables = set(), [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and (symbol.is_global() or table is top)
        }
    bound = {
        symbol.get_name()
        for symbol in top.get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }
    return bound, used


def targets(cell: dict[str, Any]) -> Iterator[str]:
    """Where a Markdown cell's links and images point."""
    body = re.sub(r"(`+).+?\1", "", prose(cell))
    yield from LINK.findall(body)
    yield from (target for _, target in IMAGE.findall(body))
    for tag in HTML_TAG.finditer(body):
        yield from re.findall(ATTRIBUTE.format("(?:href|src)"), tag[0])


def links(nb: Notebook, path: Path) -> Iterator[str]:
    anchors = {
        title.replace(" ", "-")
        for level in range(1, 5)
        for _, title in headings(nb, level)
    }
    for number, cell in enumerate(nb["cells"]):
        for target in targets(cell):
            file, _, anchor = unquote(target).partition("#")
            if re.match(r"(?:https?|mailto|data):", target):
                continue
            if file.startswith("attachment:"):
                known = file.removeprefix("attachment:") in cell.get("attachments", {})
            elif file:
                known = (path.parent / file).exists()
            else:
                known = anchor in anchors
            if not known:
                yield f"cell {number} links to {target!r}, which is not there"


def images(nb: Notebook, path: Path) -> Iterator[str]:
    for number, cell in enumerate(nb["cells"]):
        found = [(alt, target) for alt, target in IMAGE.findall(prose(cell))]
        for tag in HTML_TAG.finditer(prose(cell)):
            if tag[1] == "svg" and not re.search(
                ATTRIBUTE.format("aria-label"), tag[0]
            ):
                yield f"cell {number} has an <svg> without an aria-label"
            if tag[1] == "img":
                attribute = [
                    (re.findall(ATTRIBUTE.format(name), tag[0]) or [""])[0]
                    for name in ("alt", "src")
                ]
                found.append((attribute[0], attribute[1]))
        for alt, target in found:
            if not alt.strip():
                yield f"cell {number} shows {target!r} without alt text"
            if target.startswith("http"):
                yield f"cell {number} loads {target!r} from the network: ship it here"


def the_way_on(nb: Notebook, path: Path) -> Iterator[str]:
    """The summary links to the next notebook; that of the last one to the first."""
    own = re.match(r"\d+", path.stem)
    if own is None:
        return
    others = {
        int(other.name[:2]): other.name for other in path.parent.glob("??_*.ipynb")
    }
    following = others.get(int(own[0]) + 1) or others.get(0)
    linked = [t for cell in section(nb, "Summary") for t in targets(cell)]
    if following not in [None, path.name, *linked]:
        yield f"the summary does not link to {following}, where the learner goes on"


def keys_of(node: ast.AST, known: dict[str, set[str]]) -> set[str]:
    """The keys of a dictionary that is written out, has a name, or joins others."""
    match node:
        case ast.Dict():
            return {key.value for key in node.keys if isinstance(key, ast.Constant)}
        case ast.Name():
            return known.get(node.id, set())
        case ast.BinOp():
            return keys_of(node.left, known) | keys_of(node.right, known)
    return set()


def knobs_in(call: ast.AST, known: dict[str, set[str]]) -> set[str]:
    """The knobs of a panel or a comparison: made in the call, or named in it."""
    found = set()
    for node in ast.walk(call):
        match node:
            case ast.Call(func=ast.Name("Knob"), args=[ast.Constant(name), *_]):
                found.add(name)
            case ast.Name():
                found |= known.get(node.id, set())
    return found


def proofs(nb: Notebook, path: Path) -> Iterator[str]:
    """A run whose numbers are shown does not depend on where a learner left a knob."""
    settings: dict[str, set[str]] = {}
    knobs: dict[str, set[str]] = {}
    for number, cell in enumerate(nb["cells"]):
        for node in ast.walk(ast.parse(text(cell) if is_code(cell) else "")):
            match node:
                case ast.Assign([ast.Name(name)], ast.Dict() | ast.BinOp() as value):
                    settings[name] = keys_of(value, settings)
                case ast.AugAssign(ast.Name(name), ast.BitOr(), value):
                    settings[name] = settings[name] | keys_of(value, settings)
                case ast.Assign([ast.Name(name)], ast.Call(ast.Name(kind)) as call):
                    if kind in ("Knob", "Panel", "Compare"):
                        knobs[name] = knobs_in(call, knobs)
                case ast.Call(ast.Attribute(ast.Name(name), "run")) if name in knobs:
                    given = {word.arg for word in node.keywords if word.arg}
                    for word in node.keywords:
                        given |= set() if word.arg else keys_of(word.value, settings)
                    for knob in sorted(knobs[name] - given):
                        yield (
                            f"cell {number}: {name}.run() takes {knob!r} from where a "
                            "learner left the knob: set it there"
                        )


RULES: list[Rule] = [
    valid_format,
    stripped,
    kernel,
    code_size,
    length,
    runtime_first,
    skeleton,
    sections_deliver,
    links,
    the_way_on,
    images,
    proofs,
]


def lint(path: Path, given: Sequence[Exercise] | None = None) -> list[str]:
    """All that is wrong with one notebook, in words; an empty list if nothing is.

    Its exercises are compared with those given, or else with those of its topic.
    """
    nb = json.loads(path.read_text(encoding="utf-8"))
    found = [complaint for rule in RULES for complaint in rule(nb, path)]
    try:
        return found + list(
            exercises(nb, exercises_of(path) if given is None else given)
        )
    except LookupError as error:
        return [*found, str(error)]
