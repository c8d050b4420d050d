"""The story world: its floor, its oracle and its generator check one another."""

import math

from hypothesis import given
from hypothesis import strategies as st
from lmxlab.data import (
    ENTROPY_FLOOR,
    WORDS,
    StoryWorld,
    Verdict,
    entropy_floor,
    judge,
    story,
    survey,
)
from lmxlab.data.batching import Dataset, Resumable
import mlx.core as mx
import numpy as np
import pytest

numbers = st.integers(0, story.N_STORIES - 1)


@pytest.fixture(scope="module")
def every_story():
    return story.stories(np.arange(story.N_STORIES))


def nats_under_the_truth(inputs, targets):
    """Mean -log p(target | the row so far), by the oracle's own conditional."""
    nats = [
        -math.log(story.conditional(row[: i + 1])[target])
        for row, answers in zip(inputs, targets, strict=True)
        for i, target in enumerate(answers)
    ]
    return sum(nats) / len(nats)


def test_there_are_47_words_and_54000_different_stories_of_14_tokens(every_story):
    assert len(WORDS) == len(set(WORDS)) == 47
    assert every_story.shape == (54_000, 14)
    assert every_story.dtype == np.int32
    assert len(np.unique(every_story, axis=0)) == 54_000
    assert set(np.unique(every_story)) == set(range(1, 47))  # all words but padding


def test_the_notebooks_floor_is_13_targets_with_the_first_name_given():
    by_hand = (math.log(9) + 2 * math.log(10) + math.log(2) + math.log(3)) / 13
    assert entropy_floor() == pytest.approx(by_hand, abs=1e-12)
    assert entropy_floor() == ENTROPY_FLOOR == StoryWorld().entropy_floor
    assert round(ENTROPY_FLOOR, 4) == 0.6611


def test_floor_is_the_entropy_of_the_whole_set_of_stories():
    # Uniform over N stories has entropy ln N; the given name takes ln 10 of it.
    total = 13 * ENTROPY_FLOOR
    assert total == pytest.approx(math.log(54_000) - math.log(10))
    assert 14 * entropy_floor("stream", 14) == pytest.approx(math.log(54_000))


def test_every_batch_of_sentences_costs_exactly_the_floor_under_the_truth():
    for seed in range(3):
        batch = next(StoryWorld().batches(8, seed))
        assert nats_under_the_truth(*batch) == pytest.approx(ENTROPY_FLOOR, abs=1e-12)


@pytest.mark.parametrize("seq_len", [1, 2, 9, 13, 14, 17, 40])
def test_every_batch_of_the_stream_costs_exactly_its_floor(seq_len):
    world = StoryWorld("stream", seq_len)
    batch = next(world.batches(4, seed=0))
    assert batch[0].shape == batch[1].shape == (4, seq_len)
    assert nats_under_the_truth(*batch) == pytest.approx(world.entropy_floor, abs=1e-12)


def test_conditional_equals_counting_in_all_stories(every_story):
    for length in range(14):
        prefix = every_story[31_415, :length]
        alike = (every_story[:, :length] == prefix).all(axis=1)
        counts = np.bincount(every_story[alike, length], minlength=47)
        assert story.conditional(prefix) == pytest.approx(counts / counts.sum())


@given(st.lists(numbers, max_size=3), st.integers(0, 13))
def test_conditional_sums_to_one_and_starts_anew_after_each_story(before, length):
    start = story.stories([7])[0, :length]
    prefix = np.concatenate([story.stories(before).ravel(), start])
    probabilities = story.conditional(prefix)
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities == story.conditional(start)).all()


@pytest.mark.parametrize(
    "text", ["and", "Ann and Ann", "Ann and Ben saw a hat", "Ann ."]
)
def test_conditional_refuses_a_prefix_that_no_story_has(text):
    with pytest.raises(ValueError, match=r"prefix\[\d\] is .* no story has"):
        story.conditional(story.TOKENIZER.encode(text))


def test_a_batch_draws_stories_uniformly():
    rows = story.sentences(20_000, seed=0)
    for position, choices in {0: 10, 2: 10, 5: 10, 6: 10, 9: 6}.items():
        counts = np.unique(rows[:, position], return_counts=True)[1]
        expected = 20_000 / choices
        assert len(counts) == choices
        # Five standard deviations of a binomial count; the seed is fixed anyway.
        assert np.abs(counts - expected).max() < 5 * math.sqrt(expected)


def test_rows_are_shifted_by_one_and_hold_one_story():
    inputs, targets = next(StoryWorld().batches(5, seed=1))
    assert inputs.dtype == targets.dtype == np.int32
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    whole = np.concatenate([inputs, targets[:, -1:]], axis=1)
    assert survey(whole)["right_names"] == 1.0


def test_story_world_is_a_dataset_whose_data_the_seed_decides():
    world = StoryWorld()
    assert isinstance(world, Dataset)
    assert isinstance(world.batches(2, 0), Resumable)
    a, b, c = (next(world.batches(16, seed))[0] for seed in (0, 0, 1))
    assert (a == b).all()
    assert (a != c).any()


def test_evaluation_is_the_same_at_every_call_and_not_a_training_stream():
    world = StoryWorld("stream", 28)
    first, again = world.eval_batches(4, 3), world.eval_batches(4, 3)
    assert len(first) == 3
    for (x, y), (x2, y2) in zip(first, again, strict=True):
        assert (x == x2).all()
        assert (y == y2).all()
    assert (first[0][0] != first[1][0]).any()
    assert (first[0][0] != next(world.batches(4, seed=0))[0]).any()


@given(numbers)
def test_the_oracle_accepts_every_story_and_knows_kindness(number):
    row = story.stories([number])[0]
    verdict = judge(row)
    assert verdict.grammatical
    assert verdict.right_names
    assert verdict.kind is (number % 6 < 3)
    assert judge(story.TOKENIZER.decode(row)) == verdict


@given(numbers, st.integers(0, 13), st.integers(0, 46))
def test_changing_one_token_keeps_a_true_story_only_if_it_is_one(number, place, token):
    row = story.stories([number])[0]
    row[place] = token
    verdict = judge(row)
    try:
        possible = [story.conditional(row[:i])[t] > 0 for i, t in enumerate(row)]
    except ValueError:
        possible = [False]
    assert (verdict.grammatical and verdict.right_names) is all(possible)
    assert (verdict.kind is None) is not verdict.grammatical


@given(numbers, st.integers(0, 13))
def test_a_missing_or_doubled_token_is_ungrammatical(number, place):
    row = story.stories([number])[0].tolist()
    rejected = Verdict(False, False, None)
    assert judge(row[:place] + row[place + 1 :]) == rejected
    assert judge([*row[:place], row[place], *row[place:]]) == rejected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann and Ben saw a red hat and Ann took it from Ben .", (True, True, False)),
        ("Ann and Ben saw a red hat and Ben took it from Ann .", (True, False, False)),
        ("Ann and Ann saw a red hat and Ann gave it to Ann .", (True, False, True)),
        ("Ann and Ben saw a red hat and Ann gave it from Ben .", (False, False, None)),
        ("Ann and Ben saw a hat red and Ann gave it to Ben .", (False, False, None)),
        ("Bob and Ben saw a red hat and Bob gave it to Ben .", (False, False, None)),
        ("", (False, False, None)),
    ],
)
def test_verdicts_by_hand(text, expected):
    verdict = judge(text)
    assert (verdict.grammatical, verdict.right_names, verdict.kind) == expected


def test_the_oracle_takes_mlx_rows_and_ids_that_no_word_has():
    row = story.sentences(1, seed=0)[0]
    assert judge(mx.array(row)).right_names
    for strange in (-1, 47, 255):
        row[5] = strange
        assert not judge(row).grammatical
    with pytest.raises(ValueError, match=r"shape \(1, 14\).*survey"):
        judge(story.sentences(1, seed=0))


def test_survey_counts_shares():
    good = "Ann and Ben saw a red hat and Ann gave it to Ben ."
    mean = "Ann and Ben saw a red hat and Ben took it from Ann ."
    assert survey([good, mean, "hat", ""]) == {
        "grammatical": 0.5,
        "right_names": 0.25,
        "kind": 0.25,
    }
    with pytest.raises(ValueError, match="samples is empty"):
        survey([])


def test_preference_pairs_differ_in_the_ending_alone():
    kind, unkind = story.preference_pairs(200, seed=0)
    prompt = story.PROMPT_LENGTH
    assert (kind[:, :prompt] == unkind[:, :prompt]).all()
    assert (kind[:, prompt] != unkind[:, prompt]).all()
    assert (kind[:, prompt + 3 :] == unkind[:, prompt + 3 :]).all()
    assert survey(kind) == {"grammatical": 1, "right_names": 1, "kind": 1}
    assert survey(unkind) == {"grammatical": 1, "right_names": 1, "kind": 0}
    assert len(np.unique(kind[:, prompt])) == len(np.unique(unkind[:, prompt])) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sentence", 64), "seq_len=64 does not suit"),
        (("stream",), "needs seq_len"),
        (("stream", 0), "needs seq_len"),
        (("poem",), "layout must be .* got 'poem'"),
    ],
)
def test_layouts_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StoryWorld(*arguments)
    with pytest.raises(ValueError, match=message):
        entropy_floor(*arguments)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 54000\), got -1 to 5"):
        story.stories([5, -1])
    with pytest.raises(ValueError, match="got 54000 to 54000"):
        story.stories([54_000])
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        story.sentences(-1, seed=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        StoryWorld().batches(0, seed=0)
    with pytest.raises(ValueError, match="n_batches must be at least 1, got 0"):
        StoryWorld().eval_batches(4, 0)
