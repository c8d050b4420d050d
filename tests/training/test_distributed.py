"""Two processes make the updates that one makes with the joint batch."""

import json
import os
from pathlib import Path
import random
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from lmxlab.training import distributed
import mlx.core as mx
import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("parallel_script.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def launch(tmp_path):
    """``launch(n, **options)``: the reports of n processes, and what they printed."""

    def launch(n, **options):
        folder = tmp_path / f"reports-{n}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        script = [sys.executable, str(SCRIPT), json.dumps(options), str(folder)]
        if n > 1:
            launcher = str(Path(sys.executable).with_name("mlx.launch"))
            port = str(random.randrange(20_000, 60_000, 10))
            ring = ["-n", str(n), "--backend", "ring", "--starting-port", port, "--"]
            script = [sys.executable, launcher, *ring, *script]
        run = subprocess.run(
            script, capture_output=True, text=True, timeout=120, cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        files = [folder / f"rank{rank}.json" for rank in range(n)]
        assert all(file.exists() for file in files), run.stdout + run.stderr
        return [json.loads(file.read_text()) for file in files], run.stdout

    return launch


def close(a, b, atol):
    for name, values in a["weights"].items():
        np.testing.assert_allclose(values, b["weights"][name], atol=atol)
    np.testing.assert_allclose(a["losses"], b["losses"], atol=atol)
    assert a["tokens"] == b["tokens"]
    return True


@pytest.mark.parametrize(
    ("row_loss", "accumulated", "compiled"),
    [(False, 1, True), (False, 3, True), (False, 3, False), (True, 3, True)],
)
def test_two_processes_equal_one_with_the_joint_batch(
    row_loss, accumulated, compiled, launch
):
    """Five ragged rows: three go to one process, two to the other."""
    options = {
        "optimizer": "sgd", "learning_rate": 0.1, "max_steps": 20 // accumulated,
        "number": 20, "grad_accumulation_steps": accumulated, "row_loss": row_loss,
        "compile_step": compiled,
    }  # fmt: skip
    (alone,), _ = launch(1, **options)
    pair, _ = launch(2, **options)
    assert len(alone["losses"]) == 20 // accumulated
    for process in pair:
        assert close(process, alone, atol=2e-5)
        assert process["traces"] == (1 if compiled else 20 // accumulated * accumulated)
        assert process["names"] == alone["names"]
    assert pair[0]["weights"] == pair[1]["weights"]  # not only nearly
    assert pair[0]["losses"] == pair[1]["losses"]


def test_three_processes_with_adam_and_clipping(launch):
    options = {"rows": 4, "max_grad_norm": 0.3, "learning_rate": 3e-3, "lag": 1}
    (alone,), _ = launch(1, **options)
    trio, _ = launch(3, **options)
    for process in trio:
        assert close(process, alone, atol=2e-4)


def test_the_first_process_alone_logs_and_writes(launch, tmp_path):
    folder = tmp_path / "checkpoints"
    _, printed = launch(2, log=6, checkpoints=str(folder), evaluate=True)
    assert printed.count("step 6 |") == printed.count("step 12 |") == 1
    lines = (folder / "history.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == list(range(1, 13))
    assert sorted(path.name for path in folder.iterdir()) == [
        "history.jsonl",
        "step-00000012",
    ]


def test_a_checkpoint_of_one_process_is_resumed_by_two(launch, tmp_path):
    folder = str(tmp_path / "checkpoints")
    (alone,), _ = launch(1, max_steps=12, lr_schedule="constant")
    launch(1, max_steps=5, lr_schedule="constant", checkpoints=folder)
    pair, _ = launch(
        2, max_steps=12, lr_schedule="constant", checkpoints=folder, model_seed=7
    )
    assert [process["step"] for process in pair] == [12, 12]
    for name, values in alone["weights"].items():
        np.testing.assert_allclose(pair[1]["weights"][name], values, atol=2e-5)
    np.testing.assert_allclose(pair[0]["losses"], alone["losses"], atol=2e-5)
    np.testing.assert_allclose(pair[1]["losses"], alone["losses"][5:], atol=2e-5)


def test_evaluation_is_the_same_in_every_process(launch):
    options = {"evaluate": True, "eval_interval": 4}
    (alone,), _ = launch(1, **options)
    pair, _ = launch(2, **options)
    assert len(alone["eval"]) == 3
    assert pair[0]["eval"] == pair[1]["eval"]
    np.testing.assert_allclose(pair[0]["eval"], alone["eval"], atol=2e-5)


@pytest.mark.parametrize("lag", [0, 1])
def test_all_stop_when_the_first_process_does(lag, launch):
    """Its wish travels with the gradients of the next update."""
    pair, _ = launch(2, stop_at=3, lag=lag)
    assert [process["step"] for process in pair] == [4 + 2 * lag] * 2
    assert pair[0]["weights"] == pair[1]["weights"]


def test_early_stopping_in_the_first_process_stops_all(launch):
    pair, _ = launch(2, patience=2, evaluate=True, eval_interval=1)
    assert [process["step"] for process in pair] == [4, 4]


def test_dropout_is_another_one_in_each_process(launch):
    """And the processes still agree on the weights."""
    pair, _ = launch(2, dropout=0.5)
    assert pair[0]["random"] != pair[1]["random"]
    assert pair[0]["weights"] == pair[1]["weights"]


def test_a_loss_that_is_not_finite_in_one_process_is_taken_back_in_all(launch):
    pair, _ = launch(2, nan_in_last_row_of=3)
    assert all("The update was taken back" in process["error"] for process in pair)
    assert [process["step"] for process in pair] == [3, 3]
    assert pair[0]["weights"] == pair[1]["weights"]


def test_fewer_rows_than_processes_is_an_error_that_says_so(launch):
    pair, _ = launch(2, rows=1)
    assert all("1 rows for 2 processes" in process["error"] for process in pair)


# ------------------------------------------------------------------------ the parts


class Group:
    """Process ``rank`` of ``size``, without the others."""

    def __init__(self, size, rank):
        self._size, self._rank = size, rank

    def size(self):
        return self._size

    def rank(self):
        return self._rank


@given(st.integers(1, 6), st.data())
def test_every_row_goes_to_exactly_one_process(size, data):
    rows = data.draw(st.integers(size, 20))
    batch = (mx.arange(rows), mx.arange(2 * rows).reshape(rows, 2), mx.array(0.5))
    shares = [distributed.share(Group(size, rank), batch) for rank in range(size)]
    assert [i for share in shares for i in share[0].tolist()] == list(range(rows))
    lengths = [len(share[0]) for share in shares]
    assert max(lengths) - min(lengths) <= 1
    assert all((share[1][:, 0] == 2 * share[0]).all().item() for share in shares)
    assert all(share[2].item() == 0.5 for share in shares)


def test_means_are_weighted_and_keep_their_types(monkeypatch):
    """The other process, played here, has weight 3 and arrays of 5."""

    def all_sum(message, group):
        assert message[-1].item() == 1
        theirs = mx.full((message.size - 1,), 15.0)
        return message + mx.concatenate([theirs, mx.array([3.0])])

    monkeypatch.setattr(mx.distributed, "all_sum", all_sum)
    metrics = {"loss": mx.array(1.0), "tokens": mx.array(1.0)}
    grads = {"a": mx.ones((2, 2), mx.bfloat16), "b": [mx.ones((3,))]}
    means, gradients = distributed.average(Group(2, 0), metrics, grads, mx.array(1.0))
    assert means["loss"].item() == (1 + 15) / 4
    assert means["tokens"].item() == 4
    assert gradients["a"].dtype == mx.bfloat16
    assert gradients["a"].tolist() == [[4, 4], [4, 4]]
    assert gradients["b"][0].tolist() == [4, 4, 4]


def test_a_batch_with_every_target_masked_averages_to_nothing():
    alone = mx.distributed.init()
    metrics, grads = {"loss": mx.array(0.0)}, {"w": mx.zeros((2,))}
    means, gradients = distributed.average(alone, metrics, grads, mx.array(0.0))
    assert means["loss"].item() == 0
    assert gradients["w"].tolist() == [0, 0]
