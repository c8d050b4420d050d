"""TrainConfig: what DESIGN.md fixes, checks that name the field, fields that act."""

import dataclasses
import math

from lmxlab.training.config import (
    DECAY_SHAPES,
    OPTIMIZERS,
    SCHEDULES,
    LossConfig,
    TrainConfig,
)
from lmxlab.training.trainer import Trainer
import numpy as np
import pytest

FIXED = {
    "learning_rate": 3e-4,
    "weight_decay": 0.01,
    "warmup_steps": 100,
    "max_steps": 1000,
    "batch_size": 32,
    "grad_accumulation_steps": 1,
    "max_grad_norm": 1.0,
    "eval_interval": 100,
    "log_interval": 10,
    "checkpoint_interval": 500,
    "optimizer": "adamw",
    "lr_schedule": "cosine",
    "compile_step": True,
    "seed": 42,
}
FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
NUMBERS = [name for name, f in FIELDS.items() if f.metadata["bounds"] is not None]
NAMES = [name for name, f in FIELDS.items() if f.metadata["choices"] is not None]


def test_names_order_and_defaults_are_those_of_the_design():
    defaults = [(name, field.default) for name, field in FIELDS.items()]
    assert defaults[: len(FIXED)] == list(FIXED.items())
    config = TrainConfig()
    for (name, default), value in zip(
        FIXED.items(), dataclasses.astuple(config), strict=False
    ):
        assert (name, type(value), value) == (name, type(default), default)
    assert OPTIMIZERS == ("adamw", "lion", "adafactor", "sgd", "muon")
    assert SCHEDULES == ("cosine", "linear", "constant", "wsd")
    assert DECAY_SHAPES == ("linear", "cosine", "sqrt")


def test_it_is_frozen_and_says_of_each_field_what_it_does():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().seed = 1
    for name, field in FIELDS.items():
        assert field.metadata["help"].endswith("."), name
        kinds = [field.metadata[key] is not None for key in ("bounds", "choices")]
        assert sum(kinds) == (type(field.default) is not bool), name
    live = {name for name, field in FIELDS.items() if field.metadata["live"]}
    assert live == {"learning_rate", "weight_decay", "max_grad_norm"}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_must_be_within_its_bounds(name):
    low, high = FIELDS[name].metadata["bounds"]
    kind = type(FIELDS[name].default)
    for legal in (low, high):
        assert getattr(TrainConfig(**{name: kind(legal)}), name) == legal
    for value in (low - 1, high * 2 + 1):
        with pytest.raises(ValueError, match=f"TrainConfig.{name} must be in .*, got"):
            TrainConfig(**{name: kind(value)})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, "1", None, [1], 1j])
def test_a_number_must_be_one(name, value):
    with pytest.raises(TypeError, match=f"TrainConfig.{name} must be (int|float), got"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_must_be_finite(name, value):
    with pytest.raises((ValueError, TypeError), match=f"TrainConfig.{name} must be"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("name", ["max_steps", "batch_size", "seed", "warmup_steps"])
def test_a_count_must_be_whole(name):
    with pytest.raises(TypeError, match=f"TrainConfig.{name} must be int, got 2.0"):
        TrainConfig(**{name: 2.0})


def test_an_int_will_do_for_a_float_but_not_for_a_bool():
    assert TrainConfig(learning_rate=1, max_grad_norm=0).learning_rate == 1
    with pytest.raises(TypeError, match="compile_step must be bool, got 1"):
        TrainConfig(compile_step=1)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_name_gets_a_suggestion(name):
    choices = FIELDS[name].metadata["choices"]
    for choice in choices:
        assert getattr(TrainConfig(**{name: choice}), name) == choice
    slip = choices[0][:-1] + "x"
    suggestion = f"{name}.*got '{slip}'; did you mean '{choices[0]}'"
    with pytest.raises(ValueError, match=suggestion):
        TrainConfig(**{name: slip})
    with pytest.raises(TypeError, match=f"TrainConfig.{name} must be str, got 3"):
        TrainConfig(**{name: 3})


def test_an_unknown_field_is_an_error():
    with pytest.raises(TypeError, match="learning_rte"):
        TrainConfig(learning_rte=0.1)


# --------------------------------------------------------------------- every field acts


class Numbers:
    """A dataset whose rows depend on batch size and seed."""

    def batches(self, batch_size, seed):
        rng = np.random.default_rng(seed)
        while True:
            drawn = rng.integers(0, 11, size=(batch_size, 5))
            yield drawn[:, :-1], drawn[:, 1:]


WSD = {"lr_schedule": "wsd", "decay_fraction": 0.5}
ACTS = [
    ("learning_rate", 0.02, {}),
    ("weight_decay", 5.0, {}),
    ("warmup_steps", 3, {}),
    ("max_steps", 7, {}),
    ("batch_size", 3, {}),
    ("grad_accumulation_steps", 2, {}),
    ("max_grad_norm", 0.05, {}),
    ("eval_interval", 3, {}),
    ("log_interval", 2, {}),
    ("optimizer", "lion", {}),
    ("lr_schedule", "linear", {}),
    ("compile_step", True, {}),
    ("seed", 1, {}),
    ("beta1", 0.5, {}),
    ("beta2", 0.5, {}),
    ("lr_floor", 0.5, {}),
    ("decay_fraction", 0.9, WSD),
    ("decay_shape", "linear", WSD),
]


def test_the_table_has_every_field():
    """Checkpoints are the business of a callback, tested with it."""
    assert [name for name, *_ in ACTS] == [
        n for n in FIELDS if n != "checkpoint_interval"
    ]


@pytest.mark.parametrize(("name", "value", "base"), ACTS)
def test_every_field_acts(name, value, base, tiny, trainer, untimed, capsys):
    """Each changes what is recorded, printed, or traced."""

    def outcome(**config):
        settings = {
            "batch_size": 2, "max_steps": 6, "warmup_steps": 1, "eval_interval": 2,
            "log_interval": 3, "compile_step": False,
        }  # fmt: skip
        run = Trainer(tiny(dropout=0.1), TrainConfig(**(settings | config)))
        records = untimed(run.train(Numbers(), [next(Numbers().batches(2, 0))]))
        printed = [line.split(" | ")[0] for line in capsys.readouterr().out.split("\n")]
        return records, printed, run.trace_count

    before, after = outcome(**base), outcome(**(base | {name: value}))
    assert outcome(**base) == before
    assert after != before
    records, printed, traces = after
    if name == "max_steps":
        assert len(records) == 7
    elif name in ("batch_size", "grad_accumulation_steps"):
        assert [r["tokens"] for r in records] == [{3: 12, 2: 16}[value]] * 6
    elif name == "eval_interval":
        assert [r["step"] for r in records if "eval_loss" in r] == [3, 6]
    elif name == "log_interval":
        assert records == before[0]
        assert printed == [
            "step 2",
            "step 2",
            "step 4",
            "step 4",
            "step 6",
            "step 6",
            "",
        ]
    elif name == "compile_step":
        assert (traces, before[2]) == (1, 6)
    elif name == "seed":
        assert records[0]["loss"] != before[0][0]["loss"]


def test_log_interval_0_prints_nothing(tiny, capsys, rows):
    config = TrainConfig(log_interval=0, max_steps=2, eval_interval=1)
    Trainer(tiny(), config).train(rows(2), rows(1))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("field", dataclasses.fields(LossConfig), ids=lambda f: f.name)
def test_each_setting_of_a_topic_can_make_a_live_slider(field):
    low, high = field.metadata["slider"]
    least, most = field.metadata["bounds"]
    assert least <= low <= field.default <= high <= most
    assert low > 0 or field.metadata["scale"] == "linear"
    assert field.metadata["live"]
    assert field.metadata["help"].partition(": ")[2].endswith(".")
    with pytest.raises(ValueError, match=f"LossConfig.{field.name} must be in"):
        LossConfig(**{field.name: 2 * most})
