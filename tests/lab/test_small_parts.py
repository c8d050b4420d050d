"""Exercises, samples, sizes and pictures."""

from lmxlab.lab import Samples, by_size, picture
from lmxlab.lab.exercises import checker
from lmxlab.training.config import TrainConfig
from matplotlib.figure import Figure
import mlx.nn as nn
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


def test_the_pane_shows_text_and_not_markup():
    pane = samples()
    pane.watch(nn.Identity()).on_train_begin(TrainConfig())
    assert "&lt;0&gt;" in pane.box.value
    assert "50%" in pane.box.value


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
