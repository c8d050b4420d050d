"""No sentence quotes a number that nothing has produced.

A fraction, a percentage or a factor in prose is arithmetic (below), or a setting: it
stands in the code of the same page too. Results come from cells, when they run.
"""

import json
import math
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    *sorted((ROOT / "book").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
]
ARITHMETIC = {
    "0.577": math.sqrt(1 / 3),  # of rewards 0, 0, 1, 1: the sample deviation
    "0.693": math.log(2),
    "2.77": math.log(16),
    "0.9": 9 / (9 + 1),  # softmax of ln 9 and 0
    "0.1": 1 / (9 + 1),
    "1.44": 1 / math.log(2),  # bits in a nat
}
TO_TRY = {"04_dpo": ["0.05"], "05_grpo": ["0.7"]}  # inputs that a learner is to give
NUMBER = re.compile(r"(?<![\w.,:-])\d+\.\d+(?![\w.]*\d)|\d+(?:\.\d+)? ?%|\d+ times\b")
NO_PROSE = re.compile(
    r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\]\([^)]*\)|^---\n.*?^---\n"
    r"|(?:Python|GNU Make|section|MLX|CUDA) ?\d[\d.]*",
    re.DOTALL | re.MULTILINE,
)


def prose_and_code(path):
    """Return the sentences of a page, and its code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        kinds = {"markdown": "", "code": ""}
        for cell in cells:
            kinds[cell["cell_type"]] += "".join(cell["source"]) + "\n\n"
        text, code = kinds["markdown"], kinds["code"]
    else:
        code = ""
    code += "\n".join(re.findall(r"```.*?```|`[^`\n]*`", text, re.DOTALL))
    return NO_PROSE.sub(" ", text), code


def unexplained(prose, code):
    """Return the numbers that are neither arithmetic nor in the code."""
    found = {match.group(0) for match in NUMBER.finditer(prose)}
    settings = {float(number) for number in re.findall(r"\d+\.\d+|\d+|\.\d+", code)}
    return sorted(
        number
        for number in found - ARITHMETIC.keys()
        if float(re.match(r"[\d.]+", number)[0]) not in settings
    )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_prose_quotes_no_result(path):
    assert unexplained(*prose_and_code(path)) == TO_TRY.get(path.stem, [])


@pytest.mark.parametrize("number", ARITHMETIC)
def test_arithmetic_is_right(number):
    digits = len(number.partition(".")[2])
    assert f"{ARITHMETIC[number]:.{digits}f}" == number


@pytest.mark.parametrize(
    "sentence",
    ["It reaches a loss of 0.834.", "Right in 98% of all.", "It is 12 times faster."],
)
def test_a_result_in_prose_is_noticed(sentence):
    assert unexplained(sentence, "x = 3")
    assert not unexplained(sentence, "levels = [0.834, 98, 12]")
