"""Each declaration makes the control that fits it."""

import math

import ipywidgets as widgets
from lmxlab.lab.knobs import Knob, defaults
import pytest


def control(name, value, seen=None, **kwargs):
    seen = [] if seen is None else seen
    return Knob(name, **kwargs).widget(value, seen.append)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("learning_rate", 1e-3, widgets.FloatLogSlider),
        ("max_grad_norm", 1.0, widgets.FloatSlider),
        ("dropout", 0.1, widgets.FloatSlider),
        ("max_steps", 100, widgets.IntSlider),
        ("batch_size", 8, widgets.SelectionSlider),
        ("optimizer", "adamw", widgets.Dropdown),
        ("ffn", "relu2", widgets.Dropdown),
        ("compile_step", True, widgets.Checkbox),
    ],
)
def test_the_declaration_chooses_the_control(name, value, kind):
    made = control(name, value)
    assert type(made) is kind
    assert made.value == value
    assert f"lmx-knob-{name}" in made._dom_classes
    assert made.description == name.replace("_", " ")
    assert made.tooltip.endswith(".")  # the declaration's own sentence


def test_options_make_a_slider_over_just_these():
    made = control("batch_size", 32, options=[8, 32])
    assert type(made) is widgets.SelectionSlider
    assert list(made.options) == [8, 32]


def test_words_to_choose_from_make_a_menu():
    assert type(control("anything", "b", options=["a", "b"])) is widgets.Dropdown


def test_bounds_scale_label_and_help_override_the_declaration():
    made = control(
        "learning_rate",
        2.0,
        bounds=(1, 3),
        scale="linear",
        label="pace",
        help="How fast.",
    )
    assert type(made) is widgets.FloatSlider
    assert (made.min, made.max) == (1, 3)
    assert (made.description, made.tooltip) == ("pace", "How fast.")


def test_a_power_of_two_that_is_not_one_is_among_the_notches():
    assert list(control("batch_size", 12, bounds=(4, 32)).options) == [4, 8, 12, 16, 32]


def test_a_log_slider_has_a_notch_at_the_value():
    made = control("learning_rate", 3e-4)
    notches = (math.log10(3e-4) - made.min) / made.step
    assert notches == pytest.approx(round(notches), abs=1e-6)
    assert 10**made.max == pytest.approx(0.1)


def test_turning_reports_the_value():
    seen = []
    control("learning_rate", 1e-3, seen).value = 1e-2
    assert seen == [1e-2]


def test_live_and_restart_come_from_the_declaration():
    assert Knob("learning_rate").is_live
    assert Knob("max_grad_norm").is_live
    assert not Knob("optimizer").is_live
    assert not Knob("learning_rate", live=False).is_live
    assert Knob("heat", bounds=(0, 1), live=True).is_live
    assert not Knob("heat", bounds=(0, 1)).is_live


def test_nothing_to_choose_from_is_an_error():
    with pytest.raises(ValueError, match=r"Knob\('heat'\) is no declared setting"):
        Knob("heat")
    with pytest.raises(ValueError, match="options is empty"):
        Knob("batch_size", [])


def test_a_log_slider_needs_a_lower_bound_above_0():
    assert type(control("beta", 0.5, bounds=(0, 1))) is widgets.FloatSlider
    with pytest.raises(ValueError, match="a log slider cannot start at 0; raise"):
        Knob("beta", bounds=(0, 1), scale="log")


def test_a_default_that_the_control_cannot_show_is_an_error():
    with pytest.raises(ValueError, match=r"learning_rate=5\.0 is outside"):
        control("learning_rate", 5.0)
    with pytest.raises(ValueError, match=r"batch_size=9 is not among .* \[8, 16\]"):
        control("batch_size", 9, options=[8, 16])
    with pytest.raises(ValueError, match="optimizer='adam' is not among"):
        control("optimizer", "adam")


@pytest.mark.parametrize(
    ("name", "start", "value"),
    [
        ("learning_rate", 1e-3, 3.3e-4),
        ("learning_rate", 1e-3, 1.0),
        ("learning_rate", 1e-3, 1e-6),
        ("max_grad_norm", 1.0, 9.0),
        ("max_steps", 100, 3),
        ("max_steps", 100, 5000),
        ("batch_size", 8, 9),
        ("compile_step", True, False),
        ("optimizer", "adamw", "lion"),
    ],
)
def test_a_control_shows_any_value_that_it_is_moved_to(name, start, value):
    knob = Knob(name)
    made = knob.widget(start, lambda value: None)
    knob.move(made, value)
    assert made.value == value


def test_settings_are_read_from_the_experiments_parameters():
    assert defaults(lambda width=64, *, depth=2: None, ["depth"]) == {
        "width": 64,
        "depth": 2,
    }


def test_a_parameter_without_a_default_is_named():
    with pytest.raises(ValueError, match="'width' has no default"):
        defaults(lambda width: None, [])


def test_a_knob_that_is_no_parameter_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"'depth' is not a parameter .* width, pace"):
        defaults(lambda width=1, pace=2: None, ["depth"])
    with pytest.raises(ValueError, match="it has: none"):
        defaults(lambda: None, ["depth"])
