"""What the pictures of notebook 04 say, and that they can be read."""

from drawing_rules import complaints
from lmxlab.lab.figures.dpo import log_probs, pair, reward_to_loss, where_it_went
from matplotlib.colors import to_hex
import numpy as np
import pytest

PROMPT = ["Ann", "and", "Ben", "saw", "a", "shiny", "kite", "and", "Ann"]
KIND = ["shared", "it", "with", "Ben", "."]
UNKIND = ["broke", "it", "by", "Ben", "."]
FALLS = np.linspace(-1.8, -12.0, 50)
RUNS = {
    "DPO + NLL": (np.linspace(-1.8, -1.1, 50), FALLS * 2),
    "DPO alone": (FALLS, FALLS * 3),
    "only the chosen": (np.linspace(-1.8, -1.1, 50), FALLS),
}
SHARES = {"base": (0.5, 0.5), "with NLL": (0.99, 0.0), "without": (0.01, 0.0)}


def test_nothing_is_cut_off_or_lies_over_something_else():
    for figure in (
        pair(PROMPT, KIND, UNKIND),
        pair(PROMPT[:3], ["gave"], ["hid"]),
        reward_to_loss(),
        reward_to_loss(beta=0.1, margin=5.0),
        log_probs(RUNS, {"best: ln 1/3": -1.1, "base: ln 1/6": -1.79}),
        log_probs({"one": ([-1.0, -1.2], [-1.0, -1.1])}, {}),
        where_it_went(SHARES),
    ):
        assert complaints(figure) == []


def test_the_prompt_is_drawn_once_and_dashed_and_the_endings_are_not():
    axes = pair(PROMPT, KIND, UNKIND).axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words.count("Ben") == 3  # once in the prompt, once in each ending
    boxes = [patch for patch in axes.patches if patch.get_facecolor()[3] < 1]
    dashed = [patch for patch in boxes if patch.get_linestyle() == "--"]
    assert len(dashed) == len(PROMPT)
    assert len(boxes) == len(PROMPT) + len(KIND) + len(UNKIND)


def test_nothing_leaves_the_sketch_when_words_are_long():
    axes = pair(PROMPT, KIND, UNKIND).axes[0]
    right = max(p.get_x() + p.get_width() for p in axes.patches if hasattr(p, "get_x"))
    assert right <= axes.get_xlim()[1]


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_the_pull_is_the_slope_of_the_loss(beta):
    loss, pull = reward_to_loss(beta=beta).axes[1].lines[:2]
    nats = loss.get_xdata()
    slope = -np.gradient(loss.get_ydata(), nats)
    assert slope[1:-1] == pytest.approx(pull.get_ydata()[1:-1], abs=2e-3)


def test_each_side_of_the_pair_has_an_axis_of_its_own():
    left, right = log_probs(RUNS, {"best": -1.1}).axes
    assert "chosen" in left.get_ylabel()
    assert "rejected" in right.get_ylabel()
    assert left.get_ylim() != right.get_ylim()
    for axes, side in ((left, 0), (right, 1)):
        for line, curves in zip(axes.lines, RUNS.values(), strict=False):
            assert list(line.get_ydata()) == list(curves[side])


def test_runs_and_parts_are_told_apart_without_colour():
    lines = log_probs(RUNS, {}).axes[0].lines
    assert len({line.get_linestyle() for line in lines}) == len(RUNS)
    assert len({line.get_marker() for line in lines}) == len(RUNS)
    bars = where_it_went(SHARES).axes[0].patches[:3]
    assert len({bar.get_hatch() for bar in bars}) == 3
    assert len({to_hex(bar.get_facecolor()) for bar in bars}) == 3


def test_the_three_parts_of_a_bar_sum_to_one():
    bars = where_it_went(SHARES).axes[0].patches
    widths = [bar.get_width() for bar in bars]
    sums = [sum(widths[start : start + 3]) for start in range(0, len(widths), 3)]
    assert sums == pytest.approx([1.0] * len(SHARES))
