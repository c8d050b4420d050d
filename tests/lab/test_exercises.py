"""An exercise: what learners are told, its cells, its place in a notebook, its test."""

from dataclasses import replace
import json
import subprocess
import sys

from lmxlab.lab.exercises import Exercise, Grade, assert_grades, checker
from lmxlab.lab.topics import (
    HEADING,
    INTRODUCTION,
    differences,
    exercises_of,
    main,
    rewrite,
    section,
    topics,
)
import mlx.core as mx
import pytest


def check_double(answer):
    if answer(3) == 9:
        return "That is the square."
    return None if answer(3) == 6 and answer(mx.array(2)).item() == 4 else "2 x 3 is 6."


DOUBLE = Exercise(
    title="Twice",
    difficulty="easy",
    minutes=1,
    question="Write `double(x)`.\n\nIt is quick.",
    stub="def double(x): ...",
    check=checker(check_double),
    hint="Add.",
    solution="""
        def double(x):
            return x + x
    """,
    mistakes={"square": "def double(x): return x * x", "is 6": lambda x: x + 2},
)


# ---- what a learner is told ----


def unfinished(x):
    half = x / 2
    return half, ...


def no_return(x):
    x + x


def idle(x):
    """The question again."""


def slip(x):
    return x + undefined  # noqa: F821


@pytest.mark.parametrize("answer", [..., None, idle, unfinished, lambda x: ...])
def test_what_is_still_a_stub_counts_as_not_answered(answer):
    grade = DOUBLE.check(answer)
    assert not grade.answered
    assert "replace the ..." in grade.message


def test_a_forgotten_return_is_named():
    grade = DOUBLE.check(no_return)
    assert grade.answered
    assert grade.message == "Your code gives None: does it end with a return?"


def test_an_error_in_the_answer_is_told_with_its_line():
    line = slip.__code__.co_firstlineno + 1
    said = DOUBLE.check(slip).message
    assert said.startswith("Your code raised NameError: name 'undefined'")
    assert said.endswith(f"(line {line} of its cell)")


def test_a_call_that_fails_is_the_answers_error():
    said = DOUBLE.check(lambda: 6).message
    assert said.startswith("Your code raised TypeError")
    assert "1 was given" in said


def test_an_answer_of_another_kind_is_not_called_an_error_in_it():
    plain = DOUBLE.run("double = lambda x: 6 if isinstance(x, int) else 4")
    said = DOUBLE.check(plain).message
    assert said.startswith("The check could not use what your code gives: Attribute")


@pytest.mark.parametrize(
    ("grade", "sign", "name"),
    [
        (Grade(True, "1 < 2"), "✓", "right"),
        (Grade(False, "1 < 2"), "✗", "not right"),
        (Grade(False, "1 < 2", answered=False), "…", "not answered"),
    ],
)
def test_a_grade_has_a_sign_and_words_and_not_a_colour_alone(grade, sign, name):
    assert repr(grade) == f"{sign} 1 < 2"
    page = grade._repr_html_()
    assert f">{sign}</b> 1 &lt; 2" in page
    assert f'aria-label="{name}"' in page
    assert 'role="status"' in page


# ---- its cells ----


def test_the_cells_come_from_the_exercise_alone():
    assert [tuple(cell) for cell in DOUBLE.cells(2)] == [
        (
            "markdown",
            "### Exercise 2: Twice (difficulty: easy, 1 minute)\n\n"
            "Write `double(x)`.\n\nIt is quick.",
        ),
        ("code", "def double(x): ..."),
        ("code", "check_double(double)"),
        (
            "markdown",
            "<details><summary>Hint</summary>\n\nAdd.\n\n</details>\n\n"
            "<details><summary>Solution</summary>\n\n"
            "```python\ndef double(x):\n    return x + x\n```\n\n</details>",
        ),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"difficulty": "tricky"}, "difficulty of exercise 'Twice' must be easy, med"),
        ({"minutes": 0}, "minutes of exercise 'Twice' must be 1, 2, ..., got 0"),
        ({"minutes": 1.5}, "got 1.5"),
        ({"hint": "  "}, "hint of exercise 'Twice' is empty"),
        ({"check": checker(lambda answer: None)}, "must be named check_..."),
        ({"mistakes": {"square": 1}}, "must be two or more, got 1"),
        ({"stub": "print(1)"}, "stub of exercise 'Twice' defines no name"),
        ({"stub": "def double(y): ..."}, "must define double.y. as the stub does"),
        ({"solution": "def twice(x): return 2 * x"}, "and defines twice.x."),
        ({"stub": f"def double(x): ...  # {'-' * 80}"}, "columns wide, more than 88"),
    ],
)
def test_a_part_that_is_wrong_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(DOUBLE, **change)


def test_an_answer_can_be_a_value():
    value = replace(
        DOUBLE,
        stub="six = ...",
        check=checker(check_six),
        solution="six = 6",
        mistakes={"half": 3, "square": "six = 3 * 3"},
    )
    assert value.cells(1)[2].source == "check_six(six)"
    assert_grades(value)


def check_six(six):
    return {6: None, 3: "half", 9: "square"}[six]


# ---- the test that is one line ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"solution": "def double(x): return 3 * x"},
            "refuses the solution: ✗ That is",
        ),
        ({"stub": "def double(x): return 2 * x"}, "takes the stub for an answer: ✓"),
        (
            {
                "mistakes": {
                    "square": "def double(x): return x * x",
                    "": lambda x: x + x,
                }
            },
            "lets a mistake pass: ''",
        ),
        (
            {"mistakes": {"square": lambda x: x * x, "cube": lambda x: x**3}},
            "should say 'cube' of a mistake, and says: ✗ 2 x 3 is 6.",
        ),
        (
            {"mistakes": {"square": lambda x: x * x, "": lambda x: ...}},
            "takes a mistake for a stub",
        ),
    ],
)
def test_a_check_that_grades_wrongly_is_found(change, message):
    assert_grades(DOUBLE)
    with pytest.raises(AssertionError, match=message):
        assert_grades(replace(DOUBLE, **change))


def test_a_mistake_that_defines_something_else_is_an_error():
    wrong = {"square": "def twice(x): return x", "is 6": lambda x: x}
    with pytest.raises(ValueError, match="does not define double"):
        assert_grades(replace(DOUBLE, mistakes=wrong))


# ---- its place in a notebook ----


def markdown(name, source):
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": [source]}


@pytest.fixture
def notebook(tmp_path):
    """Exercises written by hand: a heading cell, and a check that was run."""
    done = {
        "cell_type": "code",
        "execution_count": 3,
        "id": "hand-1",
        "metadata": {"tags": ["mine"]},
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}],
        "source": "def double(x): return 1",
    }
    cells = [
        markdown("before", "## Break it"),
        markdown("hand-0", "## Exercises\n\nOld words."),
        done,
        markdown("hand-2", "Not code."),
        markdown("after", "## Summary\n\nα to ω"),
    ]
    path = tmp_path / "05_twice.ipynb"
    whole = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    return path


def load(path):
    return json.loads(path.read_text())


def test_rewriting_makes_the_notebook_what_its_source_says(notebook):
    two = [DOUBLE, DOUBLE]
    assert list(differences(load(notebook), two))
    assert rewrite(notebook, two)
    assert list(differences(load(notebook), two)) == []
    once = notebook.read_text()
    assert not rewrite(notebook, two)
    assert notebook.read_text() == once


def test_rewriting_keeps_ids_and_all_other_cells(notebook):
    before = load(notebook)["cells"]
    rewrite(notebook, [DOUBLE])
    after = load(notebook)["cells"]
    assert [after[0], after[-1]] == [before[0], before[-1]]
    assert [cell["id"] for cell in after] == [
        "before",
        "hand-0",
        "hand-1",
        "exercise-1-check",
        "exercise-1-hint",
        "after",
    ]
    assert after[2]["metadata"] == {"tags": ["mine"]}
    assert after[2]["outputs"] == []
    assert after[2]["execution_count"] is None


def test_exercises_that_become_fewer_leave_nothing_behind(notebook):
    rewrite(notebook, [DOUBLE] * 3)
    assert len(load(notebook)["cells"]) == 2 + 12
    rewrite(notebook, [DOUBLE])
    cells = load(notebook)["cells"]
    assert len(cells) == 2 + 4
    assert len({cell["id"] for cell in cells}) == 6
    rewrite(notebook, [DOUBLE] * 3)
    assert len({cell["id"] for cell in load(notebook)["cells"]}) == 14


def test_the_section_opens_with_what_to_do():
    first = section([DOUBLE])[0].source
    assert first.startswith(f"{HEADING}\n\n{INTRODUCTION}\n\n### Exercise 1: Twice")


def test_a_notebook_without_the_section_is_an_error(notebook):
    notebook.write_text(notebook.read_text().replace("## Exercises", "## Tasks"))
    with pytest.raises(ValueError, match="no cell starts with '## Exercises'; add one"):
        rewrite(notebook, [DOUBLE])


def test_a_notebook_is_matched_to_its_topic_by_name():
    assert exercises_of("99_compiled_step.ipynb") is topics()["compiled_step"]
    with pytest.raises(LookupError, match=r"write lmxlab/lab/topics/twice\.py"):
        exercises_of("05_twice.ipynb")


def test_the_command_rewrites_and_says_so(notebook, capsys):
    path = notebook.rename(notebook.with_name("00_start_here.ipynb"))
    main([str(path)])
    main([str(path)])
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{path}: rewritten", f"{path}: up to date"]
    assert list(differences(load(path), exercises_of(path))) == []


def test_the_command_names_what_it_cannot_do(notebook):
    call = [sys.executable, "-m", "lmxlab.lab.exercises", str(notebook)]
    run = subprocess.run(call, capture_output=True, text=True)
    assert run.returncode == 2
    assert "05_twice.ipynb has no exercises" in run.stderr
    assert "Traceback" not in run.stderr
