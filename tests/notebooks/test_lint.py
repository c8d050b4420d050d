"""Every notebook keeps the shape that all share; and the lint finds what it is for."""

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import re

from lmxlab.lab.exercises import Exercise, checker
from lmxlab.lab.topics import section
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from notebook_lint import SECTIONS, lint
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}

Cells = list[nbformat.NotebookNode]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_the_shape_that_all_share(path):
    assert lint(path) == []


def words_of(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join(
        "".join(c["source"]) for c in cells if c["cell_type"] == "markdown"
    )


def test_the_first_notebook_says_how_hard_and_how_long_each_one_is():
    row = r"^\| \[\d\d\]\((.+?)\) \| (\w+), (\d+) \|"
    rows = re.findall(row, words_of(NOTEBOOKS[0]), re.M)
    said = {name: (difficulty, minutes) for name, difficulty, minutes in rows}
    found = {}
    for path in NOTEBOOKS:
        text = words_of(path)
        difficulty = re.search(r"Difficulty: (\w+)", text)
        minutes = re.search(r"(\d+) minutes", text)
        found[path.name] = (difficulty and difficulty[1], minutes and minutes[1])
    assert said == found


def test_the_readme_lists_every_notebook():
    readme = (NOTEBOOKS[0].parents[1] / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\]\(notebooks/(.+?)\)", readme)
    assert listed == [path.name for path in NOTEBOOKS]


# ---- a notebook in which nothing is wrong, and what each fault makes of it ----


@checker
def check_half(half):
    return None if half(3) == 1.5 else "That is not half of 3."


HALF = Exercise(
    title="Halve it",
    difficulty="easy",
    minutes=5,
    question="Write a function that halves its argument. It is the first thing to try.",
    stub="def half(x):\n    return ...  # yours",
    check=check_half,
    hint="Multiply by one half.",
    solution="# A comment, not a heading.\ndef half(x):\n    return x / 2",
    mistakes={"not half of 3": lambda x: x - 2, "half of 3": lambda x: x // 2},
)
EXERCISES = [HALF, HALF, HALF]


def fine_cells() -> Cells:
    cells = [new_markdown_cell("# A fine notebook\n\n" + "word " * 500)]
    for title in SECTIONS:
        cells.append(new_markdown_cell(f"## {title}\n\nSome words about it."))
        match title:
            case "What you will learn":
                cells[-1].source += " Difficulty: easy. 20 minutes, 300 MB."
                cells.append(new_code_cell("import lmxlab\nimport mlx.core as mx"))
            case "The idea":
                cells[-1].source += "\n\n![A falling curve](curve.svg)"
            case "Toy numbers":
                cells.append(new_markdown_cell("Back to [the idea](#The-idea). " * 20))
            case "The function":
                cells.append(new_code_cell("assert half(2) == 1"))
            case "Predict":
                cells.append(new_code_cell('Predict("Up or down?", ["up", "down"])'))
            case "Exercises":
                new = {"markdown": new_markdown_cell, "code": new_code_cell}
                cells[-1:] = [new[cell[0]](cell[1]) for cell in section(EXERCISES)]
            case "Summary":
                cells[-1].source += "\n" + "\n- A point." * 5
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return cells


def complaints(
    folder: Path,
    cells: Cells,
    name: str = "01_fine",
    minor: int = 5,
    given: list[Exercise] | None = EXERCISES,
    **metadata,
) -> list[str]:
    metadata.setdefault("kernelspec", KERNEL)
    # Not nbformat.write, which would refuse or repair some of the faults.
    nb = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": minor}
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps(nb))
    (folder / "curve.svg").write_text("<svg/>")
    return lint(path, given)


def find(cells: Cells, start: str) -> nbformat.NotebookNode:
    return next(cell for cell in cells if cell.source.startswith(start))


def swap(start: str, old: str, new: str) -> Callable[[Cells], None]:
    """A fault: in the first cell that starts so, one text stands for another."""

    def plant(cells: Cells) -> None:
        cell = find(cells, start)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return plant


def drop(start: str) -> Callable[[Cells], None]:
    return lambda cells: cells.remove(find(cells, start))


def add(source: str) -> Callable[[Cells], None]:
    """A fault: one more Markdown cell, under 'Toy numbers'."""

    def plant(cells: Cells) -> None:
        where = cells.index(find(cells, "## Toy numbers")) + 1
        cells.insert(where, new_markdown_cell(source, id="planted"))

    return plant


def test_nothing_is_wrong_with_a_fine_notebook(tmp_path):
    assert complaints(tmp_path, fine_cells()) == []


def test_the_first_notebook_may_do_without_a_formula(tmp_path):
    cells = fine_cells()
    for start in ("## The equation", "## The function", "assert half"):
        drop(start)(cells)
    assert complaints(tmp_path, cells, name="00_start_here") == []
    assert "the sections are" in complaints(tmp_path, cells, name="01_other")[0]


def test_the_summary_leads_to_the_next_notebook_and_the_last_one_to_the_first(tmp_path):
    def lint_of(name, words):
        cells = fine_cells()
        find(cells, "## Summary").source += f"\n\n{words}"
        return complaints(tmp_path, cells, name=name)

    onward, back = "Go on to [03](03_c.ipynb).", "Back to [00](00_a.ipynb)."
    for name in ("00_a", "02_b", "03_c"):
        (tmp_path / f"{name}.ipynb").write_text("{}")
    assert lint_of("02_b", onward) == []
    assert "03_c.ipynb, where the learner goes on" in lint_of("02_b", "The end.")[0]
    assert "does not link to 03_c" in lint_of("02_b", back)[0]
    assert lint_of("03_c", back) == []
    assert "does not link to 00_a" in lint_of("03_c", "The end.")[0]


FAULTS = {
    "ids that repeat": (
        lambda cells: cells[3].update(id="cell-2"),
        "two cells share the id",
    ),
    "no id": (lambda cells: cells[3].pop("id"), "not a valid notebook"),
    "an output": (
        lambda cells: find(cells, "check").outputs.append(new_output("stream")),
        "has outputs",
    ),
    "an execution count": (
        lambda cells: find(cells, "check").update(execution_count=3),
        "has an execution count",
    ),
    "a long cell": (
        swap("import lmxlab", "\n", "\n" * 40),
        "has 41 lines, more than 40",
    ),
    "a wide cell": (
        swap("import lmxlab", "mx", "m" * 80),
        "columns wide, more than 88",
    ),
    "too many cells": (
        lambda cells: [add("More.")(cells) for _ in range(20)],
        "cells, and a notebook has 25 to 45",
    ),
    "too few words": (
        swap("# A fine", "word word", ""),
        "words of text, and a notebook has 600 to 1200",
    ),
    "words only in folded answers": (
        lambda cells: (
            swap("# A fine", "word " * 500, "")(cells),
            swap("<details>", "Multiply", "word " * 500)(cells),
        ),
        "words of text",
    ),
    "mlx first": (
        swap("import lmxlab", "import lmxlab\n", ""),
        "imports mlx before lmxlab",
    ),
    "a section missing": (drop("## Break it"), "the sections are"),
    "a section renamed": (swap("## Summary", "Summary", "The end"), "sections are"),
    "a second title": (add("# Another title"), "one level-1 heading"),
    "no difficulty": (swap("## What you will", "easy", "so so"), "does not say"),
    "no time": (swap("## What you will", "20 minutes", "a while"), "no time"),
    "a long idea": (swap("## The idea", "Some", "word " * 150), "'The idea' takes"),
    "no picture": (swap("## The idea", "![A", "[A"), "'The idea' has no picture"),
    "no assertion": (swap("assert half", "assert ", ""), "no cell with 'assert'"),
    "no question": (swap("Predict(", "Predict", "input"), "no cell with 'Predict('"),
    "four bullets": (
        swap("## Summary", "\n- A point." * 5, "\n- A point." * 4),
        "4 bullets, not 5",
    ),
    "an exercise missing": (
        lambda cells: [drop(start)(cells) for start in ("### Exercise 3", "def half")],
        "exercise 3: the hint and solution is missing",
    ),
    "another difficulty": (
        swap("### Exercise 2", "easy", "hard"),
        "exercise 2: the heading and question is not what its source makes",
    ),
    "another stub": (
        swap("def half", "...", "x / 2"),
        "exercise 1: the stub is not",
    ),
    "another check": (
        swap("check_half", "check_half", "print"),
        "exercise 1: the check is not",
    ),
    "another solution": (
        swap("<details>", "x / 2", "x // 2"),
        "exercise 1: the hint and solution is not",
    ),
    "a cell too many": (
        lambda cells: cells.insert(
            cells.index(find(cells, "## Summary")), new_code_cell("1", id="more")
        ),
        "is left over: run python -m lmxlab.lab.exercises",
    ),
    "no exercises": (
        swap("## Exercises", "## Exercises", "## Tasks"),
        "no cell starts with '## Exercises'",
    ),
    "a link to no file": (add("See [it](gone.ipynb)."), "'gone.ipynb', which is not"),
    "a link to no heading": (add("See [it](#The-ideal)."), "'#The-ideal', which is"),
    "an image without alt": (add("![](curve.svg)"), "without alt text"),
    "an HTML image without alt": (add('<img src="curve.svg">'), "without alt text"),
    "an image from afar": (add("![A](https://a.example/a.png)"), "from the network"),
    "a drawing without a label": (add("<svg viewBox='0 0 1 1'></svg>"), "aria-label"),
}


@pytest.mark.parametrize(("plant", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_found(tmp_path, plant, message):
    cells = fine_cells()
    plant(cells)
    found = complaints(tmp_path, cells)
    assert any(message in complaint for complaint in found), found


PANEL = """\
rows = Knob("rows", [1, 2])
lab = Panel(experiment, [Knob("learning_rate"), rows])
recipe = {"learning_rate": 3e-3}
other = Panel(experiment).run()
"""


@pytest.mark.parametrize(
    ("run", "left"),
    [
        ("lab.run()", ["learning_rate", "rows"]),
        ("lab.run(rows=2)", ["learning_rate"]),
        ("lab.run(**recipe)", ["rows"]),
        ("print([lab.run(rows=n, **recipe) for n in (1, 2)])", []),
        ("lab.run(**recipe | {'rows': 2})", []),
        ("recipe |= {'rows': 2}\nlab.run(**recipe)", []),
        ("lab.run(learning_rate=1, rows=2)", []),
    ],
)
def test_a_run_that_depends_on_a_turned_knob_is_found(tmp_path, run, left):
    cells = fine_cells()
    find(cells, "import lmxlab").source += f"\n{PANEL}{run}"
    found = complaints(tmp_path, cells)
    assert [text.split("'")[1] for text in found if "left the knob" in text] == left
    assert len(found) == len(left)


def test_an_exercise_too_few_is_found(tmp_path):
    found = complaints(tmp_path, fine_cells(), given=[HALF, HALF])
    assert any("2 exercises, and a notebook has 3 or 4" in text for text in found)


def test_a_topic_without_exercises_is_found(tmp_path):
    [complaint] = complaints(tmp_path, fine_cells(), given=None)
    assert "write lmxlab/lab/topics/fine.py" in complaint


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ("return np.divide(x, 2)", ["np"]),
        ("return [mx.divide(x, n) for n in [2]][0]", []),
        ("import math\n    return math.ldexp(x, -1)", []),
        ("two = 2\n    return (lambda: x / too)()", ["too"]),
    ],
)
def test_a_solution_uses_only_what_the_notebook_defines(tmp_path, body, missing):
    given = [HALF, HALF, replace(HALF, solution=f"def half(x):\n    {body}")]
    cells = fine_cells()
    cells[cells.index(find(cells, "## Summary")) - 1].source = section(given)[-1][1]
    found = complaints(tmp_path, cells, given=given)
    texts = [f"exercise 3: its solution uses {name}, which no cell" for name in missing]
    assert [text[: text.index(" above")] for text in found] == texts


def test_widget_state_is_found(tmp_path):
    state = {"application/vnd.jupyter.widget-state+json": {}}
    [complaint] = complaints(tmp_path, fine_cells(), widgets=state)
    assert "widget state" in complaint


@pytest.mark.parametrize(
    ("change", "message"),
    [({"name": "mine"}, "choose python3"), ({"language": "R"}, "ruff would pass")],
)
def test_another_kernel_is_found(tmp_path, change, message):
    found = complaints(tmp_path, fine_cells(), kernelspec=KERNEL | change)
    assert any(message in complaint for complaint in found)


def test_an_old_format_is_found(tmp_path):
    assert "the format is not 4.5" in complaints(tmp_path, fine_cells(), minor=4)[0]
