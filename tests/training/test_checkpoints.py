"""A checkpoint is whole, fits, or is refused with nothing changed."""

import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.training.checkpoints import (
    CheckpointError,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from lmxlab.training.config import OPTIMIZERS, TrainConfig
from lmxlab.training.optimizers import create_optimizer
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten
import numpy as np
import pytest


def contents(tree):
    flat = tree_flatten(tree)
    return {path: np.array(value.astype(mx.float32)) for path, value in flat}


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.fixture
def made(tiny):
    """``made(rule, seed)``: a model and its optimizer after one update."""

    def made(rule="adamw", seed=0):
        model = tiny(seed=seed)
        optimizer = create_optimizer(TrainConfig(optimizer=rule))
        optimizer.init(model.trainable_parameters())
        gradients = model.trainable_parameters()
        optimizer.update(model, gradients)
        mx.eval(model.state, optimizer.state)
        return model, optimizer

    return made


# ----------------------------------------------------------------- there and back again


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_weights_and_moments_come_back_bit_for_bit(rule, made, tmp_path):
    model, optimizer = made(rule)
    save_checkpoint(tmp_path / "c", model, optimizer, step=7)
    other, fresh = made(rule, seed=1)
    assert not equal(contents(other.parameters()), contents(model.parameters()))
    loaded = load_checkpoint(tmp_path / "c", other, fresh)
    assert loaded["step"] == 7
    assert equal(contents(other.parameters()), contents(model.parameters()))
    assert equal(contents(fresh.state), contents(optimizer.state))


def test_an_optimizer_that_never_ran_can_be_loaded_into(made, tmp_path):
    model, optimizer = made()
    save_checkpoint(tmp_path, model, optimizer)
    fresh = create_optimizer(TrainConfig())
    load_checkpoint(tmp_path, model, fresh)
    assert equal(contents(fresh.state), contents(optimizer.state))


def test_arrays_are_written_into_the_containers_that_are_there(made, tmp_path):
    """A compiled step holds on to them."""
    model, optimizer = made()
    save_checkpoint(tmp_path, model, optimizer)
    other, fresh = made(seed=1)
    layer, moments = other.blocks[0].ffn.up_proj, fresh.state["embed"]["weight"]
    load_checkpoint(tmp_path, other, fresh)
    assert other.blocks[0].ffn.up_proj is layer
    assert fresh.state["embed"]["weight"] is moments
    assert (moments["m"] == optimizer.state["embed"]["weight"]["m"]).all()


def test_metadata_and_versions_come_back(made, tmp_path):
    metadata = {"loss": [1.5, float("inf")], "name": "ä", "deep": {"none": None}}
    save_checkpoint(tmp_path, made()[0], step=3, metadata=metadata)
    loaded = load_checkpoint(tmp_path, made()[0])
    assert loaded["metadata"] == metadata
    assert loaded["versions"].keys() == {"lmxlab", "mlx"}
    assert read_state(tmp_path)["step"] == 3


def test_the_random_state_comes_back(made, tmp_path):
    mx.random.seed(5)
    save_checkpoint(tmp_path, made()[0])
    key = mx.random.state[0].tolist()
    expected = mx.random.uniform(shape=(3,)).tolist()
    mx.random.seed(6)
    load_checkpoint(tmp_path, made(seed=2)[0])
    assert mx.random.state[0].tolist() == key
    assert mx.random.uniform(shape=(3,)).tolist() == expected


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    kind=st.sampled_from(["float32", "float16", "bfloat16", "int32", "uint8", "bool_"]),
)
def test_every_shape_and_type_comes_back(shape, kind, tmp_path_factory):
    def module(value):
        built = nn.Module()
        built.weight = mx.full(tuple(shape), value).astype(getattr(mx, kind))
        return built

    folder = tmp_path_factory.mktemp("c")
    save_checkpoint(folder, module(1))
    other = module(0)
    load_checkpoint(folder, other)
    assert other.weight.dtype == getattr(mx, kind)
    assert other.weight.tolist() == module(1).weight.tolist()


def test_not_a_number_is_a_value_like_any_other(tmp_path):
    model = nn.Linear(2, 1, bias=False)
    model.weight = mx.array([[float("nan"), -0.0]])
    save_checkpoint(tmp_path, model)
    other = nn.Linear(2, 1, bias=False)
    load_checkpoint(tmp_path, other)
    assert np.isnan(other.weight[0, 0].item())
    assert np.signbit(np.array(other.weight)[0, 1])


def test_weights_alone_can_be_taken_from_a_checkpoint_with_moments(made, tmp_path):
    model, optimizer = made()
    save_checkpoint(tmp_path, model, optimizer)
    other, _ = made("sgd", seed=1)
    load_checkpoint(tmp_path, other)
    assert equal(contents(other.parameters()), contents(model.parameters()))


def test_a_checkpoint_is_written_over_and_leaves_no_old_files(made, tmp_path):
    for step in range(3):
        model, optimizer = made(seed=step)
        save_checkpoint(tmp_path, model, optimizer, step=step)
    assert len(list(tmp_path.iterdir())) == 3
    other, fresh = made(seed=9)
    assert load_checkpoint(tmp_path, other, fresh)["step"] == 2
    assert equal(contents(other.parameters()), contents(model.parameters()))


# ------------------------------------------------------------- refused, nothing changed


@pytest.fixture
def refused(made, tmp_path):
    """``refused(match, model, optimizer)``: loading fails and changes nothing."""

    def refused(match, model, optimizer=None, error=CheckpointError):
        state = {} if optimizer is None else optimizer.state
        before = contents(model.parameters()), contents(state)
        key = mx.random.state[0].tolist()
        with pytest.raises(error, match=match) as caught:
            load_checkpoint(tmp_path, model, optimizer)
        assert equal(contents(model.parameters()), before[0])
        assert equal(contents(state), before[1])
        assert mx.random.state[0].tolist() == key
        return str(caught.value)

    return refused


def tensor_file(folder, part="model"):
    (file,) = folder.glob(f"{part}-*.safetensors")
    return file


def test_another_architecture_is_refused_by_the_tensors_names(made, refused, tmp_path):
    save_checkpoint(tmp_path, nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)))
    message = refused(
        r"layers.0.weight is \(4, 2\) float32 here and \(3, 2\) float32 there",
        nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2, bias=False)),
    )
    assert "layers.1.bias is nothing here and (2,) float32 there" in message


def test_another_precision_is_refused(refused, tmp_path):
    model = nn.Linear(2, 2)
    save_checkpoint(tmp_path, model)
    model.set_dtype(mx.bfloat16)
    refused(r"weight is \(2, 2\) bfloat16 here and \(2, 2\) float32 there", model)


@pytest.mark.parametrize("other", ["lion", "sgd", "adafactor", "muon"])
def test_another_optimizer_is_refused(other, made, refused, tmp_path):
    save_checkpoint(tmp_path, *made("adamw"))
    message = refused("the rule is .* here and Adam there", *made(other, seed=1))
    assert re.search(r"weight\.\w+ is (nothing|\(.*\) float32) here", message)


def test_a_rule_with_tensors_of_the_same_names_is_refused_too(refused, tmp_path):
    model = nn.Linear(2, 2)
    rules = optim.Adam(1e-3), optim.AdamW(1e-3)
    for rule in rules:
        rule.init(model.trainable_parameters())
    save_checkpoint(tmp_path, model, rules[0])
    refused("the rule is AdamW here and Adam there", model, rules[1])


def test_moments_that_were_not_saved_are_missed(made, refused, tmp_path):
    model, optimizer = made()
    save_checkpoint(tmp_path, model)
    refused("holds no optimizer state.*leave the optimizer out", model, optimizer)


def test_a_changed_byte_is_found_and_the_tensor_named(made, refused, tmp_path):
    model, optimizer = made()
    save_checkpoint(tmp_path, model, optimizer)
    file = tensor_file(tmp_path)
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    (last,) = (
        name
        for name, about in header.items()
        if name != "__metadata__"
        and about["data_offsets"][1] == len(raw) - 8 - int.from_bytes(raw[:8], "little")
    )
    assert f"{last} was changed" in refused("is damaged", *made(seed=1))


@pytest.mark.parametrize("part", ["model", "optimizer"])
@pytest.mark.parametrize("kept", [0, 4, 9, 300, -1])
def test_a_file_that_was_cut_off_is_found(kept, part, made, refused, tmp_path):
    model, optimizer = made()
    save_checkpoint(tmp_path, model, optimizer)
    file = tensor_file(tmp_path, part)
    file.write_bytes(file.read_bytes()[:kept])
    message = refused("is damaged", *made(seed=1))
    assert "cut off" in message or "cannot be found" in message
    assert ".weight" in message or "embed" in message


def test_a_swapped_or_missing_file_is_found(made, refused, tmp_path):
    save_checkpoint(tmp_path, made()[0])
    file = tensor_file(tmp_path)
    mx.save_safetensors(str(file), {"other": mx.zeros((2,))})
    refused("k_proj.weight is missing; .*and 5 more", made()[0])
    file.unlink()
    refused("the file is gone, and with it", made()[0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"step": 4', '"step": 5'),
        lambda text: json.dumps({"format": 1}),
    ],
)
def test_a_damaged_state_is_found(damage, made, refused, tmp_path):
    save_checkpoint(tmp_path, made()[0], step=4)
    file = tmp_path / "state.json"
    text = file.read_text()
    file.write_text(damage(text))
    assert file.read_text() != text
    refused("state.json is damaged", made()[0])


def test_a_format_from_the_future_is_named(made, refused, tmp_path):
    save_checkpoint(tmp_path, made()[0])
    file = tmp_path / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    refused("has checkpoint format 2, this lmxlab reads 1", made()[0])


def test_no_checkpoint_is_a_missing_file(refused, made):
    refused("is not a checkpoint", made()[0], error=FileNotFoundError)


def test_metadata_that_json_cannot_hold_is_refused_before_anything_is_written(
    made, tmp_path
):
    with pytest.raises(TypeError, match="metadata must be plain data"):
        save_checkpoint(tmp_path / "new", made()[0], metadata={"model": object()})
    assert not (tmp_path / "new").exists()


def test_an_interrupt_while_loading_leaves_the_model_as_it_was(refused, tmp_path):
    class Ringing(nn.Linear):
        def __setitem__(self, key, value):
            super().__setitem__(key, value)
            if key == "bias" and not rung:  # the second of two
                rung.append(key)
                raise KeyboardInterrupt

    rung = []
    save_checkpoint(tmp_path, nn.Linear(2, 2))
    model = nn.Linear(2, 2)
    model.__class__ = Ringing  # from here on
    refused(None, model, error=KeyboardInterrupt)
    assert rung


# ----------------------------------------------------------------------- kill -9, often

SAVER = """
import sys
from lmxlab.training.checkpoints import save_checkpoint
import mlx.core as mx, mlx.nn as nn
model, step = nn.Linear(64, 64), int(sys.argv[2])
print("ready", flush=True)
while True:
    step += 1
    model.weight = mx.full((64, 64), float(step))
    model.bias = mx.full((64,), float(step))
    save_checkpoint(sys.argv[1], model, step=step)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    rng, step, advanced = np.random.default_rng(0), 0, 0
    folder = tmp_path / "c"
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    for _ in range(6):
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder), str(step)],
            stdout=subprocess.PIPE, env=environment, cwd=tmp_path,
        )  # fmt: skip
        assert saver.stdout.readline() == b"ready\n"
        time.sleep(0.02 + 0.15 * rng.random())
        saver.send_signal(signal.SIGKILL)
        saver.wait()
        saver.stdout.close()
        if not (folder / "state.json").exists():
            continue  # killed before the first one was done
        model = nn.Linear(64, 64)
        loaded = load_checkpoint(folder, model)
        assert (model.weight == loaded["step"]).all().item()
        assert (model.bias == loaded["step"]).all().item()
        advanced += loaded["step"] > step
        step = loaded["step"]
    assert advanced >= 3


def test_a_full_disk_leaves_the_old_checkpoint(made, tmp_path, monkeypatch):
    model, optimizer = made()
    save_checkpoint(tmp_path, model, optimizer, step=1)

    def full(path, arrays):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(mx, "save_safetensors", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, *made(seed=1), step=2)
    assert len(list(tmp_path.iterdir())) == 3
    assert load_checkpoint(tmp_path, *made(seed=1))["step"] == 1
