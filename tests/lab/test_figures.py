"""The pictures of the first two notebooks; the others have a file of their own."""

from drawing_rules import complaints
from lmxlab.lab.figures import compiled_step, start_here
import pytest


@pytest.mark.parametrize(
    "figure",
    [
        start_here.surprise(["ada", "saw", "a", "kite", "."], [1, 1, 1, 10, 1]),
        start_here.one_batch(),
        compiled_step.recording(),
        compiled_step.recording(operations=6, fused=3, steps=3),
        compiled_step.captured(),
    ],
    ids=["surprise", "one batch", "recording", "another recording", "captured"],
)
def test_nothing_is_cut_off_or_covered(figure):
    assert complaints(figure) == []


def test_a_certain_word_has_no_bar():
    bars = start_here.surprise(["saw", "a", "kite"], [1, 1, 10]).axes[0].patches
    assert [bar.get_height() > 0 for bar in bars] == [False, False, True]


def test_python_runs_in_each_eager_step_and_in_one_compiled_step():
    words = [text.get_text() for text in compiled_step.recording(steps=3).axes[0].texts]
    assert (words.count("Python"), words.count("trace")) == (3, 1)
