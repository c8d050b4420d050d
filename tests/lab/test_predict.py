"""A prediction is compared with what happened, in words."""

import math

from lmxlab.lab.predict import Predict
import pytest

RANGES = {"slower": (0, 1), "faster": (1, 2), "far faster": (2, math.inf)}


def test_nothing_is_picked_at_first(capsys):
    guess = Predict("How fast?", RANGES)
    assert guess.answer is None
    assert not guess.check(1.5)
    printed = capsys.readouterr().out
    assert printed == "No prediction was made. The run says: faster (1.5).\n"


@pytest.mark.parametrize(
    ("measured", "truth"),
    [
        *[(0, "slower"), (0.99, "slower"), (1, "faster"), (2.0, "far faster")],
        *[(1e9, "far faster"), (math.inf, "far faster")],
    ],
)
def test_a_range_holds_its_low_end_and_not_its_high(measured, truth):
    answers = {}
    for option in RANGES:
        guess = Predict("How fast?", RANGES)
        guess.choose(option)
        answers[option] = guess.check(measured)
    assert [option for option, right in answers.items() if right] == [truth]


@pytest.mark.parametrize("measured", [-0.1, math.nan])
def test_a_number_outside_all_ranges_is_an_error(measured):
    with pytest.raises(ValueError, match="no option's range holds"):
        Predict("How fast?", RANGES).check(measured)


def test_words_are_compared_with_words(capsys):
    guess = Predict("Which?", ["eager", "compiled"])
    guess.choose("eager")
    assert guess.check("eager")
    assert not guess.check("compiled")
    assert capsys.readouterr().out.splitlines() == [
        "You predicted: eager. The run says: eager. Right.",
        "You predicted: eager. The run says: compiled. Not this time.",
    ]


def test_the_default_counts_when_nobody_picked():
    guess = Predict("Which?", ["eager", "compiled"], default="compiled")
    assert guess.answer == "compiled"
    guess.choose("eager")
    assert guess.answer == "eager"


def test_a_prediction_is_not_changed_after_the_result():
    guess = Predict("Which?", ["eager", "compiled"])
    assert not guess._radio.disabled
    guess.check("eager")
    assert guess._radio.disabled


def test_unknown_options_are_named():
    guess = Predict("Which?", ["eager", "compiled"])
    with pytest.raises(
        ValueError, match=r"'lazy' is not one of \['eager', 'compiled'\]"
    ):
        guess.choose("lazy")
    with pytest.raises(ValueError, match="'lazy' is not one of"):
        guess.check("lazy")
    with pytest.raises(ValueError, match="no option's range holds"):
        guess.check(1.0)
    with pytest.raises(ValueError, match="default='lazy' is not one of"):
        Predict("Which?", ["eager", "compiled"], default="lazy")
    with pytest.raises(ValueError, match="options must be two or more"):
        Predict("Which?", ["eager"])


def test_the_question_is_text_and_not_markup():
    guess = Predict("Is 1 < 2?", ["yes", "no"])
    assert "1 &lt; 2" in guess.box.children[0].value
    assert repr(guess) == "Predict: Is 1 < 2? (yes / no)"
    assert guess._repr_mimebundle_()["text/plain"] == repr(guess)
    assert "lmx-predict" in guess.box.children[1]._dom_classes
