"""Every notebook keeps the shape that all share; and the lint finds what it is for."""

from collections.abc import Callable
import json
from pathlib import Path

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


# ---- a notebook in which nothing is wrong, and what each fault makes of it ----

EXERCISE = """### Exercise {}: Halve it (difficulty: easy, 5 minutes)

Write a function that halves its argument. It is the first thing to try.
"""
ANSWERS = """<details><summary>Hint</summary>

Multiply by one half.

</details>

<details>
<summary>Solution</summary>

```python
# A comment, not a heading.
def half(x):
    return x / 2
```

</details>
"""


def exercise(number: int) -> Cells:
    return [
        new_markdown_cell(EXERCISE.format(number)),
        new_code_cell("def half(x):\n    return None  # yours"),
        new_code_cell("check_half(half)"),
        new_markdown_cell(ANSWERS),
    ]


def fine_cells() -> Cells:
    cells = [new_markdown_cell("# A fine notebook\n\n" + "word " * 500)]
    for title in SECTIONS:
        cells.append(new_markdown_cell(f"## {title}\n\nSome words about it."))
        match title:
            case "What you will learn":
                cells[-1].source += " It takes 20 minutes and 300 MB."
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
                cells += [cell for n in (1, 2, 3) for cell in exercise(n)]
            case "Summary":
                cells[-1].source += "\n" + "\n- A point." * 5
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return cells


def complaints(
    folder: Path, cells: Cells, name: str = "01_fine", minor: int = 5, **metadata
) -> list[str]:
    metadata.setdefault("kernelspec", KERNEL)
    # Not nbformat.write, which would refuse or repair some of the faults.
    nb = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": minor}
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps(nb))
    (folder / "curve.svg").write_text("<svg/>")
    return lint(path)


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
    "no time": (swap("## What you will", "20 minutes", "a while"), "no time"),
    "a long idea": (swap("## The idea", "Some", "word " * 150), "'The idea' takes"),
    "no picture": (swap("## The idea", "![A", "[A"), "'The idea' has no picture"),
    "no assertion": (swap("assert half", "assert", "print"), "no cell with 'assert'"),
    "no question": (swap("Predict(", "Predict", "input"), "no cell with 'Predict('"),
    "four bullets": (
        swap("## Summary", "\n- A point." * 5, "\n- A point." * 4),
        "4 bullets, not 5",
    ),
    "an exercise too few": (swap("### Exercise 3", "###", "####"), "2 exercises"),
    "no difficulty": (swap("### Exercise 2", "difficulty: ", ""), "is not 'Exercise 2"),
    "a number twice": (swap("### Exercise 3", "e 3", "e 2"), "is not 'Exercise 3"),
    "no stub": (drop("def half"), "has no code cell to fill in"),
    "no check": (swap("check_half", "check_half", "print"), "has no cell that calls"),
    "no hint": (swap("<details>", "Hint", "Help"), "<summary>Hint</summary>"),
    "an open solution": (
        swap("<details>", "<details>\n<summary>S", "<details open>\n<summary>S"),
        "<summary>Solution</summary>",
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
