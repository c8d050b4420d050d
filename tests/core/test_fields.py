"""Settings declare themselves once; validation says what is wrong, and where."""

from dataclasses import dataclass, fields
import math

from lmxlab.core.fields import setting, unknown_choice, validate
import pytest


@dataclass(frozen=True)
class Oven:
    heat: float = setting(180.0, "Celsius.", bounds=(0.0, 300.0), exclusive_min=True)
    minutes: int = setting(
        30, "Time.", bounds=(1, math.inf), slider=(5, 90), scale="log", live=True
    )
    mode: str = setting("fan", "Mode.", choices=("fan", "grill"))
    light: bool = setting(True, "Light.")
    timer: int | None = setting(None, "Alarm.", bounds=(1, 60))

    def __post_init__(self):
        validate(self)


def test_metadata_has_everything_a_slider_needs():
    about = {f.name: f.metadata for f in fields(Oven)}
    expected = {
        "help": "Celsius.",
        "bounds": (0.0, 300.0),
        "choices": None,
        "scale": "linear",
        "live": False,
        "exclusive_min": True,
    }
    assert expected.items() <= about["heat"].items()
    assert about["heat"]["slider"] == (0.0, 300.0)
    assert about["minutes"]["slider"] == (5, 90)
    assert about["minutes"]["scale"] == "log"
    assert about["minutes"]["live"] is True
    assert about["mode"]["choices"] == ("fan", "grill")


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"heat": 1},
        {"heat": 300},
        {"minutes": 10**12},
        {"timer": None},
        {"timer": 60},
        {"light": False},
    ],
)
def test_legal_values_pass(good):
    Oven(**good)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"heat": 0.0}, r"Oven.heat must be in \(0.0, 300.0\], got 0.0"),
        ({"heat": 301}, r"Oven.heat must be in \(0.0, 300.0\], got 301"),
        ({"heat": math.nan}, "Oven.heat must be a finite number, got nan"),
        ({"heat": math.inf}, "Oven.heat must be a finite number, got inf"),
        ({"minutes": 0}, r"Oven.minutes must be in \[1, inf\], got 0"),
        ({"mode": "grll"}, "'fan', 'grill', got 'grll'; did you mean 'grill'"),
        ({"timer": 61}, r"Oven.timer must be in \[1, 60\], got 61"),
    ],
)
def test_illegal_values_say_what_is_legal(bad, message):
    with pytest.raises(ValueError, match=message):
        Oven(**bad)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"heat": "hot"}, r"Oven.heat must be float, got 'hot' \(str\)"),
        ({"heat": True}, "Oven.heat must be float, got True"),
        ({"heat": None}, "Oven.heat must be float, got None"),
        ({"minutes": 3.0}, "Oven.minutes must be int, got 3.0"),
        ({"minutes": True}, "Oven.minutes must be int, got True"),
        ({"mode": 3}, "Oven.mode must be str, got 3"),
        ({"light": 1}, "Oven.light must be bool, got 1"),
        ({"timer": 1.5}, "Oven.timer must be int, got 1.5"),
    ],
)
def test_wrong_types_are_named(bad, message):
    with pytest.raises(TypeError, match=message):
        Oven(**bad)


def test_bounds_in_the_wrong_order_are_an_error():
    with pytest.raises(ValueError, match="low, high"):
        setting(1, "x", bounds=(2, 1))


def test_a_far_off_name_gets_no_suggestion():
    assert "did you mean" not in str(unknown_choice("mode", "xyzzy", ["fan", "grill"]))
