"""Exercises, samples, sizes and pictures."""

import math
import re

from lmxlab.lab import Samples, by_size, picture
from lmxlab.lab.exercises import checker
from lmxlab.training.config import TrainConfig
from matplotlib.figure import Figure
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest


def test_a_value_that_is_no_function_can_be_an_answer():
    check = checker(lambda answer: None if answer == 4 else "add again")
    assert check(4).passed
    assert check(5).message == "add again"
    assert not check(...).answered


def test_a_grade_shows_its_mark():
    check = checker(lambda answer: None if answer == 4 else "add again")
    assert repr(check(4)).startswith("✓")
    assert repr(check(5)).startswith("✗")
    assert repr(check(None)).startswith("…")


@pytest.mark.parametrize(("size", "value"), [("smoke", 1), ("laptop", 2), ("full", 3)])
def test_the_size_comes_from_the_environment(monkeypatch, size, value):
    monkeypatch.setenv("LMXLAB_SIZE", size)
    assert by_size(smoke=1, laptop=2, full=3) == value


def test_an_unknown_size_is_named(monkeypatch):
    monkeypatch.setenv("LMXLAB_SIZE", "huge")
    with pytest.raises(ValueError, match="smoke, laptop, full, got 'huge'"):
        by_size(smoke=1, laptop=2, full=3)


def samples(every=2):
    texts = iter(range(100))
    return Samples(
        lambda model: [f"<{next(texts)}>", "good"], lambda text: text == "good", every
    )


def test_samples_are_renewed_before_during_and_after():
    pane = samples()
    callback = pane.watch(nn.Identity())
    callback.on_train_begin(TrainConfig())
    for step in (1, 2, 3):
        callback.on_step_end(step, {"step": step})
    callback.on_train_end([{"step": 3}])
    assert list(pane.seen) == [0, 2, 3]
    assert pane.share(3) == 0.5
    assert pane.text(2) == "- ✗ <1>\n- ✓ good"


def test_a_run_that_is_only_built_does_not_take_the_pane_over():
    pane = Samples(lambda model: [model], lambda text: True, every=1)
    pane.watch("first").on_train_begin(TrainConfig())
    pane.watch("second")  # an experiment that was called, and not trained
    pane.on_step_end(1, {})
    assert pane.seen == {0: [("first", True)], 1: [("first", True)]}
    pane.on_train_begin(TrainConfig())
    assert pane.seen == {0: [("second", True)]}


def test_a_pane_without_widgets_is_words():
    pane = Samples(lambda model: ["Anna reads."], lambda text: False)
    assert "none yet" in repr(pane)
    pane.watch(nn.Identity()).on_train_begin(TrainConfig())
    bundle = pane._repr_mimebundle_()
    assert bundle["text/plain"].startswith("Samples after step 0:\n- ")
    assert "Anna reads." in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_the_pane_shows_text_and_not_markup():
    pane = samples()
    pane.watch(nn.Identity()).on_train_begin(TrainConfig())
    assert "&lt;0&gt;" in pane.box.value
    assert "50%" in pane.box.value


def rollouts(rewards, **answers):
    """A pane of answers to prompts; rewards are handed out in turn."""
    given = iter(rewards)
    pane = Samples(lambda model: answers, lambda prompt, answer: next(given))
    pane.watch(nn.Identity()).on_train_begin(TrainConfig())
    return pane


def test_rewards_are_compared_with_the_mean_of_their_own_group():
    pane = rollouts([3.0, 5.0, 4.0, 2, 2], first=["a", "b", "c"], second=["d", "e"])
    assert pane.seen[0]["first"] == [("a", 3.0), ("b", 5.0), ("c", 4.0)]
    kinds = re.findall('data-verdict="(.*?)"', pane.box.value)
    assert kinds == ["below", "above", "mean", "mean", "mean"]
    assert pane.share(0) == 3.2
    assert pane.text(0) == (
        "- first: mean reward 4\n  - ▼ a (3)\n  - ▲ b (5)\n  - = c (4)\n"
        "- second: mean reward 2\n  - = d (2)\n  - = e (2)"
    )
    assert pane.text(0, most=1).count("mean reward") == 1


def test_yes_and_no_to_several_answers_are_counted():
    pane = rollouts([True, np.False_, mx.array(True)], prompt=["a", "b", "c"])
    assert [verdict for _, verdict in pane.seen[0]["prompt"]] == [True, False, True]
    assert "2 of 3 as they should be" in pane.text(0)
    assert "✓ a" in pane.text(0)


def test_each_sign_is_in_the_legend_with_its_words():
    for pane in (rollouts([0.0, 1.0], prompt=["a", "b"]), samples()):
        if not pane.seen:
            pane.watch(nn.Identity()).on_train_begin(TrainConfig())
        legend, rest = pane.box.value.split("</span>", 1)
        signs = set(re.findall('aria-label="([^"]+)">(.)</b>', rest))
        assert len(signs) == 2
        assert signs <= set(re.findall('aria-label="([^"]+)">(.)</b>', legend))
        assert all('role="img"' in part for part in rest.split("<b ")[1:])


def test_prompts_are_text_and_not_markup():
    pane = rollouts([1.0], **{'<i>"': ["<b>"]})
    assert "<i>" not in pane.box.value
    assert "&lt;b&gt;" in pane.box.value


@pytest.mark.parametrize("verdict", [None, "good", math.nan, np.array([1, 2])])
def test_a_judge_that_gives_no_verdict_is_named_with_its_sample(verdict):
    words = "judge must return True, False or a finite number, got .* for 'p' and 'a'"
    with pytest.raises(ValueError, match=words):
        rollouts([verdict], p=["a"])


def test_a_pane_without_a_model_says_what_to_do():
    with pytest.raises(ValueError, match=r"pass pane.watch\(model\)"):
        samples().on_train_begin(TrainConfig())
    with pytest.raises(ValueError, match="every must be at least 1"):
        samples(every=0)


def test_a_picture_is_a_transparent_png_with_words():
    figure = Figure(figsize=(1, 1))
    figure.subplots()
    image = picture(figure, "an empty plot")
    assert image.data.startswith(b"\x89PNG")
    assert image.alt == "an empty plot"
    with pytest.raises(ValueError, match="alt is empty"):
        picture(figure, " ")
