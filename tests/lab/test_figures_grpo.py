"""What the pictures of notebook 05 say, and that they can be read."""

from drawing_rules import complaints
from lmxlab.lab.figures.grpo import clipping, given_and_true, groups, slope_at_zero
import numpy as np
import pytest

MIXED = [("015.", 1.0), ("105.", 0.0), ("501.", 0.0), ("015.", 1.0)]
SILENT = [("472.", 0.0)] * 4
RUNS = {
    "exact verifier": ([0.4, 0.9], [0.4, 0.9]),
    "shuffled rewards": ([0.4, 0.2], [0.4, 0.2]),
    "verifier: in order": ([0.5, 1.0], [0.4, 0.0]),
    "learning rate 5e-3": ([0.4, 0.0], [0.4, 0.0]),
}


def test_nothing_is_cut_off_or_lies_over_something_else():
    moves = np.linspace(-1, 1, 21)
    for figure in (
        groups({"501>": MIXED, "274>": SILENT}),
        groups({"501>": MIXED * 2}),
        clipping(0.2),
        clipping(0.5),
        slope_at_zero(moves, -0.4 * moves, -0.4),
        given_and_true(RUNS, 0.43),
        given_and_true({"one": ([0.5] * 60, [0.4] * 60)}, 0.43),
    ):
        assert complaints(figure) == []


def test_the_advantages_of_a_group_sum_to_zero():
    left, right = groups({"501>": MIXED, "274>": SILENT}).axes
    widths = [bar.get_width() for bar in left.patches]
    assert sum(widths) == pytest.approx(0, abs=1e-6)
    assert widths == pytest.approx([0.866, -0.866, -0.866, 0.866], abs=1e-3)
    assert {bar.get_width() for bar in right.patches} == {0}


def test_better_and_worse_are_told_apart_without_colour():
    bars = groups({"501>": MIXED}).axes[0].patches
    assert [bar.get_hatch() for bar in bars] == ["", "///", "///", ""]


@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_the_gain_is_flat_only_where_the_token_has_moved_as_wanted(epsilon):
    good, bad = (axes.lines[1] for axes in clipping(epsilon).axes)
    for line, flat in (
        (good, lambda ratio: ratio > 1 + epsilon + 0.01),
        (bad, lambda ratio: ratio < 1 - epsilon - 0.01),
    ):
        ratio, gain = line.get_data()
        slopes = np.abs(np.diff(gain) / np.diff(ratio))
        still = flat(ratio[1:]) & flat(ratio[:-1])
        assert still.any()
        assert slopes[still].max() == pytest.approx(0, abs=1e-9)
        away = np.abs(ratio[1:] - 1) < epsilon - 0.02
        assert slopes[away] == pytest.approx(1)


def test_the_tangent_goes_through_zero_with_the_slope_given():
    curve, tangent = slope_at_zero([-1, 0, 1], [0.4, 0, -0.4], -0.4).axes[0].lines[1:3]
    assert list(curve.get_ydata()) == [0.4, 0, -0.4]
    (a, b), (ya, yb) = tangent.get_data()
    assert (yb - ya) / (b - a) == pytest.approx(-0.4)
    assert ya / a == pytest.approx(-0.4)


def test_each_run_shows_what_it_was_given_and_what_was_true():
    figure = given_and_true(RUNS, 0.43)
    assert "end at 0% sorted" not in figure.axes[0].get_title()
    for axes, (name, (given, true)) in zip(figure.axes, RUNS.items(), strict=True):
        assert axes.get_title().startswith(name)
        assert [list(line.get_ydata()) for line in axes.lines[:2]] == [given, true]
        assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
