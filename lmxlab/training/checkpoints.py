"""Checkpoints: weights, moments, randomness and metadata, written whole or not at all.

A checkpoint is a folder. ``state.json`` names one safetensors file for the weights and
one for the optimizer's state, and gives every tensor's shape, type and SHA-256. The
files carry their own digest in their names, so a new checkpoint never writes over an
old one's: they are flushed to disk first, and then ``state.json`` is replaced in one
step. A kill at any moment leaves the old checkpoint or the new one.

Loading checks everything before it changes anything, and then writes into the
containers that are there: a compiled step goes on with the loaded arrays.
"""

from collections.abc import Iterable
import hashlib
from importlib.metadata import version
import json
import os
from pathlib import Path
from typing import Any, cast

import lmxlab
from lmxlab.training.files import draft, replace_file, sync
from lmxlab.training.state import Places
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten

FORMAT = 1
STATE = "state.json"
_SHOWN = 6  # tensors that an error names before it counts the rest


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or belongs to another model or optimizer.

    Example:
        >>> import tempfile
        >>> folder = save_checkpoint(tempfile.mkdtemp(), nn.Linear(2, 2))
        >>> try:
        ...     load_checkpoint(folder, nn.Linear(2, 2, bias=False))
        ... except CheckpointError as error:
        ...     print(str(error).partition(": ")[2])
        bias is nothing here and (2,) float32 there
    """


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: optim.Optimizer | None = None,
    step: int = 0,
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write a checkpoint; one that is there is replaced in one step.

    Args:
        path: The checkpoint's folder.
        model: Its parameters are written, frozen ones included.
        optimizer: Its state is written: moments, step count, learning rate.
        step: Updates done.
        metadata: Anything that JSON can hold.

    Returns:
        The folder.

    Raises:
        TypeError: If the metadata is not JSON; nothing is written.
        OSError: If the disk is full or the folder cannot be written; a checkpoint that
            was there stays whole.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> model, other = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> path = save_checkpoint(f"{folder}/first", model, step=3)
        >>> load_checkpoint(path, other)["step"]
        3
        >>> bool((other.weight == model.weight).all())
        True
    """
    folder = Path(path)
    key = cast("list[mx.array]", mx.random.state)[0]
    state: dict[str, Any] = {
        "format": FORMAT,
        "step": step,
        "random": key.tolist(),
        "metadata": metadata or {},
        "versions": {"lmxlab": lmxlab.__version__, "mlx": version("mlx")},
    }
    try:
        json.dumps(state)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must be plain data for JSON: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    state["model"] = _write_tensors(folder, "model", model.parameters())
    if optimizer is not None:
        state["optimizer"] = _write_tensors(folder, "optimizer", optimizer.state)
        state["optimizer"]["rule"] = _rule(optimizer)
    sync(folder)
    state["sha256"] = _digest(state)
    replace_file(folder / STATE, json.dumps(state, indent=1).encode())
    sync(folder)
    named = {state[part]["file"] for part in ("model", "optimizer") if part in state}
    for stale in folder.glob("*.safetensors"):
        if stale.name not in named:
            stale.unlink(missing_ok=True)
    return folder


def load_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: optim.Optimizer | None = None,
) -> dict[str, Any]:
    """Read a checkpoint into a model and an optimizer, in place.

    MLX's global random state is put back too.

    Args:
        path: The checkpoint's folder.
        model: Of the architecture that was saved.
        optimizer: Of the rule that was saved; None leaves its state unread.

    Returns:
        ``step``, ``metadata`` and ``versions``.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        CheckpointError: If a tensor is damaged, missing, unknown to the model, or of
            another shape or type. The message names them, and nothing was changed.

    Example:
        >>> import tempfile
        >>> folder = save_checkpoint(tempfile.mkdtemp(), nn.Linear(2, 3))
        >>> load_checkpoint(folder, nn.Linear(2, 2))
        Traceback (most recent call last):
            ...
        lmxlab.training.checkpoints.CheckpointError: the model differs from the \
checkpoint: weight is (2, 2) float32 here and (3, 2) float32 there; bias is (2,) \
float32 here and (3,) float32 there
    """
    folder = Path(path)
    state = read_state(folder)
    tensors = _checked(folder, "model", state["model"], model.parameters())
    spots = _find(model, tensors)
    if optimizer is not None:
        if "optimizer" not in state:
            raise CheckpointError(
                f"{path} holds no optimizer state, it was saved without one; leave the "
                "optimizer out to load the weights alone"
            )
        optimizer.init(model.trainable_parameters())
        rule, about = _rule(optimizer), state["optimizer"]
        moments = _checked(folder, "optimizer", about, optimizer.state, rule)
        spots += _find(optimizer.state, moments)
        tensors = {**tensors, **{f"optimizer.{k}": v for k, v in moments.items()}}
    _assign(spots, list(tensors.values()))
    high, low = state["random"]
    mx.random.seed((high << 32) | low)
    return {name: state[name] for name in ("step", "metadata", "versions")}


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a checkpoint says of itself, without its tensors.

    Args:
        path: The checkpoint's folder.

    Returns:
        The contents of ``state.json``.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If it is not whole, or of a format from the future.

    Example:
        >>> import tempfile
        >>> read_state(save_checkpoint(tempfile.mkdtemp(), nn.Linear(2, 3)))["step"]
        0
    """
    file = Path(path) / STATE
    try:
        state = json.loads(file.read_bytes())
        found = state["format"]
        whole = {"step", "random", "metadata", "versions", "model"} <= state.keys()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is not a checkpoint: it has no {STATE}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged: {error!r}") from error
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {found}, this lmxlab reads {FORMAT}; "
            f"it was written by lmxlab {state.get('versions', {}).get('lmxlab')}"
        )
    if not whole or state.pop("sha256", None) != _digest(state):
        raise CheckpointError(f"{file} is damaged: it is not as it was written")
    return cast("dict[str, Any]", state)


# ------------------------------------------------------------------------------ tensors


def _write_tensors(folder: Path, name: str, tree: Any) -> dict[str, Any]:
    """Write arrays to a file named by its digest; return the name and the contents."""
    arrays = _arrays(tree)
    mx.eval(arrays)
    with draft(folder / f"{name}.partial.safetensors") as written:
        mx.save_safetensors(str(written), arrays)
        sync(written)
        tensors = _tensors(written)
        file = written.with_name(f"{name}-{_digest(tensors)[:16]}.safetensors")
        written.replace(file)
    return {"file": file.name, "tensors": tensors}


def _checked(
    folder: Path, part: str, about: dict[str, Any], tree: Any, rule: str | None = None
) -> dict[str, mx.array]:
    """Read the tensors of a file, if they are whole and fit the arrays here."""
    file = folder / about["file"]
    damage = _damage(file, about["tensors"])
    if damage:
        raise CheckpointError(
            f"{file} is damaged: {_listed(damage)}. The model here is as it was; load "
            "another checkpoint"
        )
    differences = _differences(tree, about["tensors"])
    if rule != about.get("rule"):
        differences.insert(0, f"the rule is {rule} here and {about['rule']} there")
    if differences:
        raise CheckpointError(
            f"the {part} differs from the checkpoint: {_listed(differences)}"
        )
    tensors = cast("dict[str, mx.array]", mx.load(str(file)))
    mx.eval(tensors)
    return {name: tensors[name] for name in about["tensors"]}


def _tensors(file: Path) -> dict[str, dict[str, Any]]:
    """Describe the tensors in a safetensors file, each with the digest of its bytes.

    The format: the length of a header as 8 bytes, the header as JSON with each tensor's
    type, shape and place, then the data (github.com/huggingface/safetensors).
    """
    found = {}
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError("the header is cut off")
        header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        for name, about in header.items():
            start, end = about["data_offsets"]
            stream.seek(8 + length + start)
            digest, left = hashlib.sha256(), end - start
            while left and (chunk := stream.read(min(left, 1 << 20))):
                digest.update(chunk)
                left -= len(chunk)
            found[name] = {
                "dtype": about["dtype"],
                "shape": about["shape"],
                "sha256": "cut off" if left else digest.hexdigest(),
            }
    return found


def _damage(file: Path, written: dict[str, Any]) -> list[str]:
    """Say which tensors of a file are not what was written."""
    try:
        found = _tensors(file)
    except FileNotFoundError:
        return [f"the file is gone, and with it {name}" for name in written]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{name} cannot be found ({error})" for name in written]
    faults = []
    for name in sorted(written.keys() | found.keys()):
        there = found.get(name)
        if there is None:
            faults.append(f"{name} is missing")
        elif name not in written:
            faults.append(f"{name} was added")
        elif there["sha256"] == "cut off":
            faults.append(f"{name} is cut off")
        elif there != written[name]:
            faults.append(f"{name} was changed")
    return faults


# ---------------------------------------------------------------------------- comparing


def _arrays(tree: Any) -> dict[str, mx.array]:
    flat = cast("list[tuple[str, Any]]", tree_flatten(tree))
    return {name: leaf for name, leaf in flat if isinstance(leaf, mx.array)}


_TYPES = {
    "BOOL": "bool", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
}  # fmt: skip


def _differences(tree: Any, written: dict[str, dict[str, Any]]) -> list[str]:
    """Say how the arrays here differ from those that were written."""
    here = {
        name: f"{tuple(array.shape)} {str(array.dtype).rpartition('.')[2]}"
        for name, array in _arrays(tree).items()
    }
    there = {
        name: f"{tuple(about['shape'])} {_TYPES.get(about['dtype'], about['dtype'])}"
        for name, about in written.items()
    }
    return [
        f"{name} is {here.get(name, 'nothing')} here and "
        f"{there.get(name, 'nothing')} there"
        for name in [*here, *(name for name in there if name not in here)]
        if here.get(name) != there.get(name)
    ]


def _rule(optimizer: optim.Optimizer) -> str:
    rules = getattr(optimizer, "optimizers", [optimizer])
    return " + ".join(type(rule).__name__.lstrip("_") for rule in rules)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _listed(faults: list[str]) -> str:
    more = len(faults) - _SHOWN
    return "; ".join(faults[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


# ------------------------------------------------------------------------------- memory


def _find(container: Any, names: Iterable[str]) -> Places:
    """Find where the arrays with these names stand, in the containers themselves."""
    found: Places = []
    for name in names:
        *path, last = name.split(".")
        inner = container
        for key in path:
            inner = inner[int(key)] if isinstance(inner, (list, tuple)) else inner[key]
        found.append((inner, int(last) if isinstance(inner, list) else last))
    return found


def _assign(spots: Places, arrays: list[mx.array]) -> None:
    before = [container[key] for container, key in spots]
    try:
        for (container, key), array in zip(spots, arrays, strict=True):
            container[key] = array
    except BaseException:  # an interrupt half way
        for (container, key), array in zip(spots, before, strict=True):
            container[key] = array
        raise
