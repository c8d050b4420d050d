from drawing_rules import complaints
from lmxlab.lab.figures import checkpoints
from lmxlab.lab.figures.checkpoints import PARTS
import pytest

KEPT = {"weights alone": ["weights"], "with moments": ["weights", "moments", "step"],
        "a whole run": list(PARTS)}  # fmt: skip
FALLING = [3 - step / 100 for step in range(200)]
PAIR = {"went on": FALLING, "began again": FALLING}


@pytest.mark.parametrize(
    "figure",
    [
        checkpoints.parts(KEPT),
        checkpoints.resumed(FALLING, [(0, FALLING[:80]), (80, FALLING[80:])]),
        checkpoints.two_runs(
            {"a": FALLING, "b": FALLING}, {"a": FALLING, "b": FALLING}
        ),
        checkpoints.patience([20, 40, 60], [2.0, 1.0, 1.5], best=40, stopped=60),
    ],
    ids=["parts", "resumed", "two runs", "patience"],
)
def test_nothing_is_cut_off_or_covered(figure):
    assert complaints(figure) == []


def test_each_checkpoint_shows_what_it_keeps():
    words = [text.get_text() for text in checkpoints.parts(KEPT).axes[0].texts]
    assert (words.count("kept"), words.count("lost")) == (10, 8)


def test_each_of_three_processes_has_a_colour_of_its_own():
    pieces = [(0, FALLING[:80]), (80, FALLING[80:120]), (120, FALLING[120:])]
    lines = checkpoints.resumed(FALLING, pieces).axes[0].lines
    colours = {str(line.get_color()) for line in lines if "process" in line.get_label()}
    assert len(colours) == 3
