"""The pictures of notebook 06 show what they were given, and can be read."""

from drawing_rules import complaints
from lmxlab.lab.figures.mtp import (
    depths,
    losses_and_passes,
    passes,
    passes_by_heads,
)
import pytest

WORDS = ["Ann", "and", "Ben", "saw", "a", "big"]
FOUND = [
    ([], ["and"]),
    (["Ben", "saw"], ["Eva"]),
    (["saw", "a"], ["saw", "a", "big"]),
    (["ball", "and"], ["kite"]),
    (["and", "Ann"], ["and", "Ann", "shared"]),
    (["it", "with"], ["it", "with", "Eva"]),
    (["."], [".", "Zoe"]),
]


def words_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    "figure",
    [
        depths(WORDS),
        depths(["shared", "it", "with", "Eva"], n_predict=1),
        passes("Ann", FOUND),
        passes("Ann", FOUND[:3]),
        passes_by_heads([0, 1, 2, 3, 4], [70, 36.5, 27.1, 26.9, 23.5], 70),
        losses_and_passes(
            [0.79, 0.77],
            {"sound": [1.134, 0.95], "broken": [0.003, 0.003]},
            {"sound": 27.0, "broken": 70.0},
            70,
        ),
    ],
    ids=["depths", "one head", "passes", "few passes", "heads", "losses"],
)
def test_words_are_whole_apart_and_large_enough(figure):
    assert complaints(figure) == []


def test_each_depth_is_told_the_token_before_the_one_it_predicts():
    shown = words_of(depths(WORDS))
    assert [w for w in shown if "told" in w] == [
        *("told and\npredicts Ben", "told Ben\npredicts saw"),
        *("told saw\npredicts a", "told a\npredicts big"),
        *("told Ben\npredicts saw", "told saw\npredicts a", "told a\npredicts big"),
    ]
    assert shown.count("no target") == 1 + 2


def test_more_depths_than_the_row_has_room_for_are_refused():
    with pytest.raises(ValueError, match="2 words are too few for 1 depths"):
        depths(["Ann", "and"], n_predict=1)


def test_a_pass_shows_what_was_kept_chosen_and_lost():
    shown = words_of(passes("Ann", FOUND[:3]))
    assert shown[:3] == ["Ann", "pass 1", "and"]
    assert shown[3:10] == ["pass 2", "Eva", "✗ Ben", "✗ saw", "pass 3", "✓ saw", "✓ a"]


def test_signs_and_not_colours_alone_tell_guesses_apart():
    legend = words_of(passes("Ann", FOUND))[-3:]
    assert [words.split()[0] for words in legend] == ["filled:", "✓", "✗"]
