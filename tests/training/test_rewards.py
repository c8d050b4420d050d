"""Reward functions are the learner's own, and may fail in any way."""

from lmxlab.training.rewards import reward_functions, score
import mlx.core as mx
import numpy as np
import pytest

PROMPTS = mx.array([[1, 2], [3, 4]])
COMPLETIONS = mx.array([[5, 6, 7], [8, 7, 7]])
MASK = mx.array([[1.0, 1, 1], [1, 1, 0]])


def length(prompt, completion):
    return len(completion)


def first(prompt, completion):
    return prompt[0] + completion[0] / 10


def test_completions_are_cut_where_their_mask_ends():
    seen = []

    def reward(prompt, completion):
        seen.append((prompt, completion))
        return 0

    score(reward, PROMPTS, COMPLETIONS, MASK)
    assert seen == [([1, 2], [5, 6, 7]), ([3, 4], [8, 7])]
    assert all(type(token) is int for part in seen[0] for token in part)


def test_several_rewards_are_columns():
    table = score([length, (first, 0.5)], PROMPTS, COMPLETIONS, MASK)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, [[3, 1.5], [2, 3.8]], rtol=1e-6)
    assert score(length, PROMPTS, COMPLETIONS).tolist() == [[3], [3]]


def test_a_reward_may_change_its_lists_and_the_next_sees_none_of_it():
    def greedy(prompt, completion):
        prompt.clear()
        completion.clear()
        return 1

    table = score([greedy, length, first], PROMPTS, COMPLETIONS, MASK)
    assert table[:, 1].tolist() == [3, 2]


def test_names_and_weights():
    def mean(prompt, completion):
        return 0

    class Judge:
        def __call__(self, prompt, completion):
            return 0

    functions, names, weights = reward_functions([length, (mean, 2), length, Judge()])
    assert names == ["length", "mean_1", "length_2", "Judge"]
    assert weights.tolist() == [1, 2, 1, 1]
    assert functions[2] is length
    assert reward_functions(length)[1] == ["length"]


@pytest.mark.parametrize(
    "value", [True, np.float32(1), np.bool_(1), np.array(1), mx.array(1.0), 1]
)
def test_every_kind_of_number_is_a_reward(value):
    assert score(lambda p, c: value, PROMPTS, COMPLETIONS).tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, "a reward must be a number, got None"),
        ("1", TypeError, "a reward must be a number, got '1'"),
        (np.str_("x"), TypeError, "a reward must be a number"),
        ([1.0], TypeError, "a reward must be a number"),
        (mx.ones(2), TypeError, "a reward must be a number"),
        (float("nan"), ValueError, "a reward must be finite, got nan"),
        (float("inf"), ValueError, "a reward must be finite, got inf"),
    ],
)
def test_anything_else_is_an_error_with_the_sample(value, error, message):
    def judge(prompt, completion):
        return value if completion == [8, 7] else 0

    with pytest.raises(error, match=message) as caught:
        score([length, judge], PROMPTS, COMPLETIONS, MASK)
    assert caught.value.__notes__ == [
        "Reward function 'judge', sample 1: prompt [3, 4], completion [8, 7]."
    ]


def test_what_a_reward_raises_comes_with_the_sample():
    def judge(prompt, completion):
        return 1 / (completion[0] - 5)

    with pytest.raises(ZeroDivisionError) as caught:
        score(judge, PROMPTS, COMPLETIONS, MASK)
    assert "sample 0: prompt [1, 2], completion [5, 6, 7]" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("rewards", "error", "message"),
    [
        ([], ValueError, "rewards is empty"),
        ([length, 3], TypeError, r"rewards\[1\] must be a function"),
        ([(length, "1")], TypeError, "must be a number, got '1'"),
        ([(length, float("nan"))], ValueError, "must be finite"),
    ],
)
def test_bad_lists_of_rewards_are_refused(rewards, error, message):
    with pytest.raises(error, match=message):
        reward_functions(rewards)
