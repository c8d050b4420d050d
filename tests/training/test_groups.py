"""Advantages compare a completion with the others of its prompt, and nobody else."""

import warnings

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.training.groups import (
    group_advantages,
    group_numbers,
    zero_variance_share,
)
from lmxlab.training.grpo import grpo_loss
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest


def by_formula(rewards, groups, scale):
    advantages = np.zeros(len(rewards))
    for number in set(groups):
        rows = [i for i, g in enumerate(groups) if g == number]
        of_group = np.array([rewards[i] for i in rows])
        if len(set(of_group)) > 1:
            advantages[rows] = of_group - of_group.mean()
            if scale:
                advantages[rows] /= of_group.std(ddof=1) + 1e-4
    return advantages


@settings(max_examples=50, deadline=None)
@given(data=st.data(), size=st.integers(1, 6), number=st.integers(1, 5))
@pytest.mark.parametrize("scale", [True, False])
def test_advantages_are_those_of_the_formula(scale, data, size, number):
    rows = size * number
    rewards = data.draw(
        st.lists(st.floats(-5, 5, width=16), min_size=rows, max_size=rows)
    )
    groups = np.arange(rows) // size
    expected = by_formula(rewards, groups, scale)
    exact = group_advantages(mx.array(rewards, mx.float64), size, scale=scale)
    assert exact.dtype == mx.float64
    np.testing.assert_allclose(np.array(exact), expected, atol=1e-11)
    shuffled = np.random.default_rng(rows).permutation(rows)
    mixed = group_advantages(
        mx.array(np.array(rewards)[shuffled], mx.float64),
        groups=mx.array(groups[shuffled]),
        scale=scale,
    )
    np.testing.assert_allclose(np.array(mixed), expected[shuffled], atol=1e-11)


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 9))
def test_equal_rewards_have_advantage_0_exactly(reward, size):
    assert group_advantages(mx.full(size, reward), size).tolist() == [0] * size


def test_a_group_of_one_has_advantage_0_exactly():
    assert group_advantages(mx.array([0.3, -7.0]), 1).tolist() == [0, 0]


def test_a_tiny_variance_is_a_variance():
    a = group_advantages(mx.array([1.0, 1.0001]), 2, scale=False)
    np.testing.assert_allclose(np.array(a), [-5e-5, 5e-5], rtol=1e-2)


def test_a_constant_added_to_all_rewards_changes_nothing():
    rewards = mx.array([0.0, 1, 2, 4, 4, 1])
    for scale in (True, False):
        a, b = (group_advantages(r, 3, scale=scale) for r in (rewards, rewards + 8))
        np.testing.assert_allclose(np.array(a), np.array(b), atol=1e-6)


def test_whole_numbers_are_rewards_too():
    assert group_advantages(mx.array([1, 0]), 2, scale=False).tolist() == [0.5, -0.5]


def test_the_share_of_groups_without_variance_counts_groups_not_rows():
    rewards, groups = mx.array([1.0, 1, 1, 0, 1]), mx.array([3, 3, 3, 7, 7])
    assert zero_variance_share(rewards, groups).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [("aabb", [0, 0, 1, 1]), ("aabaa", [0, 0, 1, 2, 2]), ("aaa", [0, 0, 0]),
     ("a", [0])],
)  # fmt: skip
def test_a_group_is_a_run_of_equal_prompts(prompts, expected):
    rows = mx.array([[9, ord(letter)] for letter in prompts])
    assert group_numbers(rows).tolist() == expected


def test_all_prompts_different_are_one_group_and_a_warning_says_so():
    with pytest.warns(UserWarning, match="every prompt is different: all 3 rows"):
        assert group_numbers(mx.array([[1, 2], [1, 3], [2, 2]])).tolist() == [0, 0, 0]


def test_scattered_prompts_are_groups_of_one_and_a_warning_says_so():
    with pytest.warns(UserWarning, match="next to each other"):
        assert group_numbers(mx.array([[1], [2], [1]])).tolist() == [0, 1, 2]


def test_a_group_size_asks_nothing_of_the_prompts():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert group_numbers(mx.array([[1], [2], [3], [3]]), 2).tolist() == [0, 0, 1, 1]


def loss_of(prompts, rewards, tokens=(0, 1, 2, 0), **options):
    model = nn.Embedding(9, 9)
    model.weight = mx.sin(mx.arange(81).reshape(9, 9))
    completions = mx.array(tokens[: len(prompts)])[:, None]
    arrays = mx.array(prompts), completions, mx.array(rewards)
    return nn.value_and_grad(
        model, lambda m: grpo_loss(m, None, *arrays, 0.0, **options)
    )(model)


def test_the_loss_takes_groups_from_the_prompts_or_the_size():
    prompts, rewards = [[1], [1], [4], [4]], [1.0, 0, 5, 0]
    _, runs = loss_of(prompts, rewards)
    _, sized = loss_of(prompts, rewards, group_size=2)
    _, whole = loss_of(prompts, rewards, group_size=4)
    assert mx.array_equal(runs["weight"], sized["weight"])
    assert not mx.allclose(runs["weight"], whole["weight"])
    # The order of groups, and a constant of each, play no part.
    _, swapped = loss_of([[4], [4], [1], [1]], [5.0, 0, 1, 0], (2, 0, 0, 1))
    assert mx.allclose(runs["weight"], swapped["weight"], atol=1e-6)
    _, shifted = loss_of(prompts, [3.0, 2, 5, 0])
    assert mx.allclose(runs["weight"], shifted["weight"], atol=1e-6)


def test_dr_grpo_does_not_divide_by_the_deviation_unless_asked():
    prompts, rewards = [[1], [1]], [4.0, 0.0]
    plain, scaled, grpo = (
        mx.abs(loss_of(prompts, rewards, **options)[1]["weight"]).max().item()
        for options in (
            {"loss_type": "dr_grpo"},
            {"loss_type": "dr_grpo", "scale_rewards": True},
            {"loss_type": "grpo", "scale_rewards": False},
        )
    )
    assert plain == pytest.approx(grpo)
    assert plain / scaled == pytest.approx(8**0.5, rel=1e-3)


def test_a_compiled_step_cannot_read_groups_from_prompts():
    step = mx.compile(lambda prompts: group_numbers(prompts))
    with pytest.raises(ValueError, match="pass group_size or advantages"):
        step(mx.array([[1], [2]]))
    assert mx.compile(lambda p: group_numbers(p, 2))(mx.array([[1], [2]])).size == 2


@pytest.mark.parametrize("size", [0, 3, 2.0, -4])
def test_a_group_size_divides_the_batch(size):
    with pytest.raises(ValueError, match=r"divides the batch of 4, got "):
        group_advantages(mx.zeros(4), size)


def test_groups_or_a_group_size_one_of_the_two():
    for both in ({}, {"group_size": 1, "groups": mx.zeros(1)}):
        with pytest.raises(ValueError, match="one of the two"):
            group_advantages(mx.zeros(1), **both)
    with pytest.raises(ValueError, match=r"rewards' shape \(2,\), got \(3,\)"):
        group_advantages(mx.zeros(2), groups=mx.zeros(3))
