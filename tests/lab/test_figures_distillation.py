"""What the pictures of notebook 07 say, and that they can be read."""

from drawing_rules import complaints
from lmxlab.data import MarkovWorld
from lmxlab.lab.figures.distillation import (
    at_temperatures,
    excess_over_steps,
    three_targets,
    two_lessons,
)
import numpy as np
import pytest

TRUTH = MarkovWorld().table[3, 5]
CURVES = {
    "4,096 tokens, alone": ([30, 60, 90], [0.9, 0.8, 0.95]),
    "4,096 tokens, taught": ([30, 60, 90], [0.7, 0.3, 0.13]),
    "fresh text, alone": ([30, 60, 90], [0.8, 0.3, 0.12]),
    "fresh text, taught": ([30, 60, 90], [0.7, 0.3, 0.11]),
}


def heights(axes):
    return [bar.get_height() for bar in axes.patches]


def test_nothing_is_cut_off_or_lies_over_something_else():
    for figure in (
        two_lessons(),
        three_targets(3, TRUTH, TRUTH),
        at_temperatures(TRUTH),
        at_temperatures(TRUTH, (1, 4, 100)),
        excess_over_steps(CURVES, 0.05),
    ):
        assert complaints(figure) == []


def test_the_diagram_names_both_weights_and_who_stands_still():
    words = " ".join(text.get_text() for text in two_lessons().axes[0].texts)
    for part in ("× α", "× (1 − α)", "τ²", "frozen", "learns"):
        assert part in words


def test_the_three_targets_are_distributions_on_one_scale():
    teacher = np.roll(TRUTH, 1)
    text, soft, true = three_targets(3, teacher, TRUTH).axes
    assert heights(text) == [float(n == 3) for n in range(16)]
    assert heights(soft) == pytest.approx(teacher)
    assert heights(true) == pytest.approx(TRUTH)
    assert len({axes.get_ylim() for axes in (text, soft, true)}) == 1


def test_heat_keeps_the_order_and_raises_the_entropy_towards_ln_16():
    figure = at_temperatures(TRUTH, (1, 4, 1000))
    columns = [heights(axes) for axes in figure.axes]
    for soft in columns:
        assert sum(soft) == pytest.approx(1)
        assert np.argsort(soft).tolist() == np.argsort(TRUTH).tolist()
    assert columns[0] == pytest.approx(TRUTH)
    assert "2.77 nats" in figure.axes[2].get_title()


def test_curves_are_told_apart_without_colour_and_say_where_they_end():
    axes = excess_over_steps(CURVES, 0.05).axes[0]
    lines = axes.lines[: len(CURVES)]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 4
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words[1] == "4,096 tokens, taught: 0.13"
    assert words[-2:] == ["the teacher: 0.05", "0: the source's true entropy"]
