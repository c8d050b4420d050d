"""A prediction is compared with what happened, in words, and counted."""

import math

from lmxlab.lab.measures import Ratio
from lmxlab.lab.predict import Predict, Score
import mlx.core as mx
import pytest

RANGES = {"slower": (0, 1), "faster": (1, 2), "far faster": (2, math.inf)}


@pytest.fixture(autouse=True)
def new_kernel():
    Predict.forget()
    yield
    Predict.forget()


def times(**keywords):
    return Predict("How many times faster?", unit="times", **keywords)


def answered(guess, answer):
    guess.choose(answer)
    return guess


# ---- options ----


def test_nothing_is_picked_at_first():
    guess = Predict("How fast?", RANGES)
    assert guess.answer is None
    verdict = guess.reveal(1.5)
    assert not verdict
    assert repr(verdict) == "… No prediction was made. The run says: faster (1.5)."


@pytest.mark.parametrize(
    ("measured", "truth"),
    [
        *[(0, "slower"), (0.99, "slower"), (1, "faster"), (2.0, "far faster")],
        *[(1e9, "far faster"), (math.inf, "far faster"), (mx.array(1.5), "faster")],
    ],
)
def test_a_range_holds_its_low_end_and_not_its_high(measured, truth):
    right = [
        option
        for option in RANGES
        if answered(Predict("How fast?", RANGES), option).reveal(measured)
    ]
    assert right == [truth]


@pytest.mark.parametrize("measured", [-0.1, math.nan, "warp", None])
def test_what_no_option_stands_for_is_an_error(measured):
    with pytest.raises(ValueError, match=r"no option's range|nan|not one of|a number"):
        Predict("How fast?", RANGES).reveal(measured)


def test_words_are_compared_with_words():
    guess = answered(Predict("Which?", ["eager", "compiled"]), "eager")
    assert [repr(guess.reveal("eager")), repr(guess.reveal("compiled"))] == [
        "✓ Right. You predicted: eager. The run says: eager.",
        "✗ Not this time. You predicted: eager. The run says: compiled.",
    ]


@pytest.mark.parametrize(
    ("options", "default", "message"),
    [
        (["eager"], None, "options must be two or more"),
        (["eager", "eager"], None, "options must differ"),
        (["eager", "compiled"], "lazy", "default='lazy' is not one of"),
        ({"a": (0, 2), "b": (1, 3)}, None, "ranges overlap between 1 and 2"),
        ({"a": (2, 1), "b": (3, 4)}, None, r"a range must rise, got \(2, 1\)"),
        (None, "many", "default='many' is not a number"),
    ],
)
def test_options_that_make_no_sense_are_named(options, default, message):
    with pytest.raises(ValueError, match=message):
        Predict("Which?", options, default)


def test_a_pick_that_is_no_option_is_named():
    guess = Predict("Which?", ["eager", "compiled"])
    with pytest.raises(ValueError, match=r"'lazy' is not one of \['eager', 'comp"):
        guess.choose("lazy")
    with pytest.raises(ValueError, match="no option's range holds"):
        guess.reveal(1.0)


# ---- a number ----


@pytest.mark.parametrize(
    ("predicted", "measured", "right"),
    [
        *[(2.0, 2.5, True), (3.0, 2.5, True), (1.99, 2.5, False), (3.01, 2.5, False)],
        *[(0.3, 0.25, True), (-2, 2, False), (-2, -2.2, True), (0, 0, True)],
        *[(1e-9, 0, False), (100, math.inf, False)],
    ],
)
def test_a_number_within_a_fifth_is_right(predicted, measured, right):
    assert bool(answered(times(), predicted).reveal(measured)) is right


@pytest.mark.parametrize(
    ("limits", "off", "right"),
    [
        ({"within": 0.1}, 0.9, True),
        ({"within": 0.1}, 1.1, False),
        ({"within": 0.0, "margin": 0.5}, 0.5, True),
        ({"within": 0.0, "margin": 0.5}, 0.6, False),
        ({"within": 0.1, "margin": 2}, 1.9, True),
        ({"within": 0.0}, 0.0, True),
    ],
)
def test_the_tolerance_is_a_share_or_a_margin(limits, off, right):
    assert bool(answered(times(**limits), 10 - off).reveal(10)) is right


def test_a_number_is_told_with_its_unit_and_how_far_off_it_was():
    assert repr(answered(times(), 2).reveal(2.5)) == (
        "✓ Right. You predicted: 2 times. The run says: 2.5 times (20% off)."
    )
    tokens = answered(Predict("How many?", unit="tokens/s"), 1e4)
    assert tokens.reveal(56_789).message == (
        "Not this time. You predicted: 10,000 tokens/s. "
        "The run says: 56,789 tokens/s (82% off)."
    )


@pytest.mark.parametrize(
    ("typed", "answer", "remark"),
    [
        ("", None, ""),
        (" 2.5 ", 2.5, "You predict 2.5 times."),
        ("2.5 times", 2.5, "You predict 2.5 times."),
        ("1e3", 1000, "You predict 1,000 times."),
        ("2,5", None, "Not yet a number, such as 2.5."),
        ("lots", None, "Not yet a number, such as 2.5."),
        ("inf", None, "Not yet a number, such as 2.5."),
    ],
)
def test_what_is_typed_is_read_at_once(typed, answer, remark):
    guess = times()
    text = guess.box.children[1]
    text.value = "7"
    text.value = typed
    assert (guess.answer, guess._note.value) == (answer, remark)


@pytest.mark.parametrize("limits", [{"within": -0.1}, {"margin": math.inf}])
def test_a_tolerance_that_makes_no_sense_is_named(limits):
    with pytest.raises(ValueError, match=f"{next(iter(limits))} must be 0 or more"):
        times(**limits)
    with pytest.raises(ValueError, match="give each option its range"):
        Predict("How fast?", RANGES, within=0.1)


# ---- a ratio of two runs ----


@pytest.mark.parametrize("options", [RANGES, None])
@pytest.mark.parametrize("rounds", [[0.5, 0.6, 1.1, 0.7, 0.5, 1.2], [0.6, 0.5]])
def test_a_ratio_that_a_comparison_does_not_show_decides_nothing(options, rounds):
    ratio = Ratio.of(rounds)
    assert not ratio.is_shown
    guess = answered(Predict("How fast?", options), "slower" if options else 0.6)
    verdict = guess.reveal(ratio)
    assert (verdict.state, bool(verdict)) == ("open", False)
    assert verdict.message.startswith("Not decided. You predicted: ")
    assert verdict.message.endswith(
        f"The run says: {ratio} times: no difference that this run can show."
    )
    assert repr(Predict.score()).endswith("✗ 0 wrong, … 0 not made, … 1 not decided")


def test_a_ratio_that_is_shown_is_judged_by_its_median():
    guess = answered(Predict("How fast?", RANGES), "faster")
    verdict = guess.reveal(Ratio.of([1.7, 1.8, 1.8, 1.9, 1.8, 1.7]))
    assert verdict
    assert verdict.message.endswith("The run says: faster (1.8).")


# ---- headless, and run again ----


def test_the_default_counts_when_nobody_answered():
    guess = Predict("Which?", ["eager", "compiled"], default="compiled")
    assert guess.answer == "compiled"
    assert answered(guess, "eager").answer == "eager"
    assert times(default=2.0).answer == 2.0


def test_a_default_is_not_called_yours():
    verdict = Predict("Which?", ["eager", "compiled"], default="eager").reveal("eager")
    assert verdict
    assert "Nobody predicted; taken instead: eager." in verdict.message


@pytest.mark.parametrize("options", [RANGES, None])
def test_an_answer_is_not_changed_after_the_result(options):
    guess = Predict("How fast?", options)
    control = guess.box.children[1]
    assert not control.disabled
    guess.reveal(1.5)
    assert control.disabled
    with pytest.raises(ValueError, match="the result is out"):
        guess.choose("slower" if options else 1)


def test_the_verdict_stands_under_the_question_too():
    guess = answered(times(), 2)
    assert guess.reveal(2.1)._repr_html_() == guess.box.children[2].value


def test_a_cell_that_is_run_again_keeps_the_answer_and_asks_anew():
    answered(Predict("How fast?", RANGES), "faster").reveal(3.0)
    again = Predict("How fast?", RANGES)
    assert again.answer == "faster"
    assert not again.box.children[1].disabled
    assert Predict("How far?", RANGES).answer is None
    answered(times(), 2.5)
    assert times().answer == 2.5


def test_an_answer_that_no_longer_fits_the_question_is_dropped():
    answered(Predict("How fast?", RANGES), "faster")
    assert Predict("How fast?", ["yes", "no"]).answer is None
    assert Predict("How fast?").answer is None


# ---- the score ----


def test_each_question_counts_once_by_its_last_result():
    assert Predict.score() == Score(right=0, wrong=0, missed=0)
    answered(Predict("Which?", ["eager", "compiled"]), "eager").reveal("eager")
    guess = answered(times(), 2)
    guess.reveal(9)
    Predict("Never revealed?", ["yes", "no"])
    assert Predict.score() == Score(right=1, wrong=1, missed=0)
    guess.reveal(2)
    assert Predict.score() == Score(right=2, wrong=0, missed=0)


def test_a_question_asked_again_has_no_result_yet():
    answered(times(), 2).reveal(2)
    times()
    assert Predict.score() == Score(right=0, wrong=0, missed=0)


def test_a_default_and_no_answer_are_predictions_not_made():
    times(default=2.0).reveal(2)
    Predict("Which?", ["eager", "compiled"]).reveal("eager")
    assert Predict.score() == Score(right=0, wrong=0, missed=2)


def test_the_score_is_told_in_words_and_signs():
    assert repr(Score(2, 1, 0)) == "Predictions: ✓ 2 right, ✗ 1 wrong, … 0 not made"


# ---- for everybody ----


def test_the_question_is_text_and_not_markup():
    guess = Predict("Is 1 < 2?", ["yes", "no"])
    assert "1 &lt; 2" in guess.box.children[0].value
    assert repr(guess) == "Predict: Is 1 < 2? (yes / no)"
    assert guess._repr_mimebundle_()["text/plain"] == repr(guess)
    assert repr(times(margin=0.1)) == (
        "Predict: How many times faster? "
        "(a number of times; within 20% or 0.1 times is right)"
    )


def test_what_is_typed_is_no_markup_either():
    guess = times()
    guess.box.children[1].value = "<b>9</b>"
    assert "<b>" not in guess._note.value


@pytest.mark.parametrize("options", [RANGES, None])
def test_controls_bear_the_fixed_class_and_the_question(options):
    control = Predict("How fast?", options).box.children[1]
    assert "lmx-predict" in control._dom_classes
    assert control.tooltip == "How fast?"


def test_the_number_field_is_labelled_with_its_unit():
    assert times().box.children[1].description == "Your prediction (times):"
