"""The pictures of notebook 03."""

from drawing_rules import complaints
from lmxlab.lab.figures.schedules import first_step, phases, range_tests, rate_over_loss
from lmxlab.training.config import TrainConfig
from lmxlab.training.optimizers import create_schedule
import numpy as np
import pytest

STEPS = 400


def rates_of(**settings):
    config = TrainConfig(learning_rate=0.03, max_steps=STEPS, **settings)
    return [create_schedule(config)(t).item() for t in range(STEPS)]


COSINE = rates_of(warmup_steps=100)
WSD = rates_of(warmup_steps=100, lr_schedule="wsd")
LOSS = np.geomspace(4.0, 0.7, STEPS)


def one_test(least):
    rates = np.geomspace(1e-5, 10, 60)
    return rates, 1 + 0.5 * np.log10(rates / least) ** 2


def five_tests():
    chosen = dict(adamw=6e-3, lion=3e-3, sgd=0.1, adafactor=2e-3, muon=2e-2)
    return {name: one_test(3 * rate) for name, rate in chosen.items()}, chosen


@pytest.mark.parametrize(
    "figure",
    [
        phases(COSINE, WSD, 100, 80),
        first_step([1e-3, 1, 100], [0.01] * 3, [1e-5, 0.01, 1], 0.01),
        range_tests({"adamw": one_test(2e-2)}, {"adamw": 6e-3}),
        range_tests(*five_tests()),
        rate_over_loss(
            {name: COSINE for name in ("constant", "cosine, no warm-up", "a", "b")},
            {name: LOSS for name in ("constant", "cosine, no warm-up", "a", "b")},
            0.6611,
        ),
        rate_over_loss({"cosine": [0.1] * 12}, {"cosine": [2.0] * 12}, 0.6611),
    ],
    ids=["phases", "first step", "one test", "five tests", "four runs", "a short run"],
)
def test_nothing_is_cut_off_or_covered(figure):
    assert complaints(figure) == []


def test_the_phases_are_named_in_their_order():
    left, right = phases(COSINE, WSD, 100, 80).axes
    assert [text.get_text() for text in left.texts] == ["warm-up", "decay"]
    assert [text.get_text() for text in right.texts] == ["warm-up", "stable", "decay"]


def test_the_phases_change_where_the_schedule_does():
    borders = [
        line.get_xdata()[0] for line in phases(COSINE, WSD, 100, 80).axes[1].lines
    ]
    assert borders[:2] == [100, STEPS - 80]


def test_the_chosen_rate_is_marked_on_its_own_line():
    axes = range_tests(*five_tests()).axes[0]
    marked = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert marked == [6e-3, 3e-3, 0.1, 2e-3, 2e-2]


def test_a_schedule_stands_above_its_effect_with_the_same_steps():
    above, below = rate_over_loss({"cosine": COSINE}, {"cosine": LOSS}, 0.66).axes
    assert above.get_xlim() == below.get_xlim() == (0, STEPS)
    assert list(above.lines[0].get_ydata()) == COSINE


def test_no_two_lines_are_told_apart_by_colour_alone():
    handles = range_tests(*five_tests()).axes[0].get_legend().legend_handles
    assert len({handle.get_marker() for handle in handles}) == 5
