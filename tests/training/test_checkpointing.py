"""A run that was killed, and resumed, is the run that was not: bit for bit."""

import json
from pathlib import Path
import signal
import subprocess
import sys
import time

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data import StoryWorld
from lmxlab.models.base import LanguageModel
from lmxlab.training.callbacks import Callback, EarlyStopping
from lmxlab.training.checkpointing import Checkpointing, latest, load_run, save_run
from lmxlab.training.checkpoints import (
    CheckpointError,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from lmxlab.training.config import OPTIMIZERS, TrainConfig
import mlx.core as mx
from mlx.utils import tree_flatten
import numpy as np
import pytest


def moments(trainer):
    return {k: np.array(v) for k, v in tree_flatten(trainer.optimizer.state)}


@pytest.fixture
def equal_runs(weights, same, untimed):
    """``equal_runs(a, b, since=0)``: weights, moments and records are the same."""

    def equal_runs(a, b, since=0):
        assert same(weights(a.model), weights(b.model))
        assert same(moments(a), moments(b))
        records = [
            [r for r in untimed(run.history) if r["step"] > since] for run in (a, b)
        ]
        assert records[0] == records[1]
        assert a.step == b.step
        return True

    return equal_runs


# --------------------------------------------------------------- 10 + load + 10 is 20


@pytest.mark.parametrize("traced", [False, True], ids=["fresh", "traced"])
@pytest.mark.parametrize("accumulated", [1, 3])
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "eager"])
@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_resuming_is_bitwise(
    rule, compiled, accumulated, traced, trainer, rows, equal_runs, tmp_path
):
    """With dropout and a schedule; into a new trainer, and into one that has run."""
    settings = {
        "dropout": 0.3, "rule": rule, "compile_step": compiled, "max_steps": 20,
        "grad_accumulation_steps": accumulated, "warmup_steps": 5,
    }  # fmt: skip
    batches = rows(20 * accumulated)
    whole = trainer(**settings)
    whole.train(batches)

    first = trainer(**settings)
    stream = first.stream(batches)
    for _ in range(10):
        next(stream)
    stream.close()
    save_run(tmp_path, first)

    second = trainer(**settings)
    if traced:
        second.train(batches[: 4 * accumulated])
    load_run(tmp_path, second)
    assert len(second.train(batches)) == 10
    assert equal_runs(second, whole, since=10)
    if compiled:
        assert second.trace_count == 1


def test_going_back_to_an_earlier_checkpoint_of_the_same_run(
    trainer, rows, weights, same, tmp_path
):
    run = trainer(dropout=0.3, max_steps=8)
    batches = rows(8)
    stream = run.stream(batches)
    for _ in range(3):
        next(stream)
    save_run(tmp_path, run)
    list(stream)
    after = weights(run.model)
    load_run(tmp_path, run)
    assert not same(weights(run.model), after)
    run.train(batches)
    assert same(weights(run.model), after)
    assert run.trace_count == 1


def test_a_dataset_goes_on_at_its_own_position(trainer, equal_runs, tmp_path):
    def run():
        return trainer(tiny_words(), max_steps=6, batch_size=2)

    def tiny_words():
        mx.random.seed(0)
        block = BlockConfig(d_model=16, n_heads=2)
        return LanguageModel(ModelConfig(block, vocab_size=47, n_layers=1))

    whole, first, second = run(), run(), run()
    whole.train(StoryWorld())
    stream = first.stream(StoryWorld())
    for _ in range(4):
        next(stream)
    save_run(tmp_path, first)
    stream.close()
    saved = read_state(tmp_path)["metadata"]["run"]["data"]
    assert saved["iterator"] == {"seed": 42, "batch_size": 2, "position": 4}
    load_run(tmp_path, second)
    second.train(StoryWorld())
    assert equal_runs(second, whole, since=4)


def test_a_setting_that_was_moved_stays_moved(trainer, rows, tmp_path):
    run = trainer(learning_rate=1e-2, max_steps=4)
    run.train_step(rows(1)[0])
    run.set_live("learning_rate", 5e-3)
    save_run(tmp_path, run)
    other = trainer(learning_rate=1e-2, weight_decay=0.5, max_steps=4)
    load_run(tmp_path, other)
    assert other.live["learning_rate"].item() == pytest.approx(5e-3)
    assert other.live["weight_decay"].item() == 0.5  # it was not moved


def test_a_gpu_that_runs_ahead_is_waited_for(trainer, rows, equal_runs, tmp_path):
    def run(**more):
        made = trainer(dropout=0.3, max_steps=9, checkpoint_interval=4, **more)
        made.lag = 1
        return made

    whole = run()
    whole.train(rows(9))
    run(callbacks=[Checkpointing(tmp_path, keep_last=9)]).train(rows(9))
    assert [p.parent.name for p in sorted(tmp_path.glob("step-*/state.json"))] == [
        "step-00000004",
        "step-00000008",
        "step-00000009",
    ]
    second = run()
    load_run(tmp_path / "step-00000004", second)
    assert second.step == 4
    second.train(rows(9))
    assert equal_runs(second, whole, since=4)


def test_data_that_is_too_short_is_an_error_before_training(
    trainer, rows, weights, same, tmp_path
):
    run = trainer(max_steps=5)
    run.train(rows(9))
    save_run(tmp_path, run)
    other = trainer(max_steps=9)
    load_run(tmp_path, other)
    with pytest.raises(ValueError, match="ends after 3 batches, but the run had drawn"):
        other.train(rows(3))
    assert other.step == 5
    assert same(weights(other.model), weights(run.model))


def test_weights_without_a_run_point_to_load_checkpoint(trainer, tmp_path):
    run = trainer()
    save_checkpoint(tmp_path, run.model, run.optimizer)
    with pytest.raises(ValueError, match="read it with load_checkpoint"):
        load_run(tmp_path, run)


# ------------------------------------------------------------------------ the callback


def steps_in(folder):
    return [int(path.name[5:]) for path in sorted(folder.glob("step-*"))]


def test_it_obeys_the_interval_and_keeps_the_last_ones(trainer, rows, tmp_path):
    saver = Checkpointing(tmp_path, keep_last=2)
    trainer(callbacks=[saver], max_steps=11, checkpoint_interval=3).train(rows(11))
    assert steps_in(tmp_path) == [9, 11]
    assert latest(tmp_path).name == "step-00000011"


def test_the_best_is_the_one_with_the_lowest_evaluation_loss(
    trainer, rows, weights, same, tmp_path
):
    class Bump(Callback):
        """Makes the model worse after step 4."""

        def on_step_end(self, step, metrics):
            kept[step] = weights(run.model), metrics.get("eval_loss")
            if step >= 4:
                run.model.embed.weight = run.model.embed.weight * 3

    kept = {}
    run = trainer(
        callbacks=[Bump(), Checkpointing(tmp_path)], max_steps=8, eval_interval=2,
        checkpoint_interval=100,
    )  # fmt: skip
    run.train(rows(1) * 8, rows(2, seed=0))
    best = min((loss, step) for step, (_, loss) in kept.items() if loss is not None)
    assert best[1] == 4
    assert read_state(tmp_path / "best")["step"] == 4
    other = trainer()
    loaded = load_checkpoint(tmp_path / "best", other.model)
    assert same(weights(other.model), kept[4][0])
    assert loaded["metadata"]["eval"]["eval_loss"] == best[0]


def test_a_new_trainer_resumes_by_itself(trainer, rows, equal_runs, tmp_path, capsys):
    settings = {"dropout": 0.3, "max_steps": 12, "checkpoint_interval": 5}
    whole = trainer(**settings)
    whole.train(rows(12))

    stream = trainer(callbacks=[Checkpointing(tmp_path)], **settings).stream(rows(12))
    for _ in range(7):
        next(stream)
    del stream  # closed: the end is written too
    assert steps_in(tmp_path) == [5, 7]
    second = trainer(callbacks=[Checkpointing(tmp_path)], **settings)
    assert len(second.train(rows(12))) == 5
    assert "resumed from" in capsys.readouterr().out
    assert equal_runs(second, whole)  # its history is whole, too


def test_an_error_loses_nothing(trainer, rows, weights, same, tmp_path):
    class Fails(Callback):
        def on_step_end(self, step, metrics):
            if step == 4:
                raise RuntimeError("of the user's")

    run = trainer(callbacks=[Fails(), Checkpointing(tmp_path)], max_steps=9)
    with pytest.raises(RuntimeError, match="of the user's"):
        run.train(rows(9))
    other = trainer()
    load_run(latest(tmp_path), other)
    assert other.step == 4
    assert same(weights(other.model), weights(run.model))


def test_early_stopping_is_where_it_was(trainer, rows, tmp_path):
    """Two evaluations before the kill and one after it make a patience of three."""

    def run(max_steps, folder=None):
        stopper = EarlyStopping(patience=3)
        callbacks = [stopper] + ([Checkpointing(folder)] if folder else [])
        run = trainer(
            callbacks=callbacks, max_steps=max_steps, eval_interval=2,
            learning_rate=0.0, checkpoint_interval=100,
        )  # fmt: skip
        run.train(rows(1) * max_steps, rows(1))
        return stopper.stopped_step

    assert run(20) == 8
    assert run(5, tmp_path) is None
    assert run(20, tmp_path) == 8


def test_a_run_that_is_complete_says_so(trainer, rows, tmp_path):
    def build():
        return trainer(callbacks=[Checkpointing(tmp_path)], max_steps=3)

    build().train(rows(3))
    with pytest.warns(UserWarning, match="has done its 3 steps; raise max_steps"):
        assert build().train(rows(3)) == []


def test_a_longer_run_goes_on_from_a_complete_one(trainer, rows, tmp_path):
    for steps, expected in [(3, [1, 2, 3]), (5, [4, 5])]:
        run = trainer(callbacks=[Checkpointing(tmp_path)], max_steps=steps)
        assert [r["step"] for r in run.train(rows(5)[:steps])] == expected
    assert [r["step"] for r in run.history] == [1, 2, 3, 4, 5]


def test_another_model_is_refused_and_stays_as_it_was(
    trainer, rows, weights, same, tmp_path
):
    trainer(callbacks=[Checkpointing(tmp_path)], max_steps=2).train(rows(2))
    kept = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    run = trainer(rule="lion", callbacks=[Checkpointing(tmp_path)], max_steps=2)
    before = weights(run.model)
    with pytest.raises(CheckpointError, match="the rule is Lion here and Adam there"):
        run.train(rows(2))
    assert same(weights(run.model), before)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == kept
    run.callbacks.clear()
    assert len(run.train(rows(2))) == 2


def test_a_run_is_not_written_over(trainer, rows, tmp_path):
    trainer(callbacks=[Checkpointing(tmp_path)], max_steps=2).train(rows(2))
    anew = trainer(callbacks=[Checkpointing(tmp_path, resume=False)], max_steps=4)
    with pytest.raises(ValueError, match=r"holds a run, at step-00000002, .* new"):
        anew.train(rows(4))
    begun = trainer(max_steps=4)
    begun.train(rows(1))
    begun.callbacks.append(Checkpointing(tmp_path))
    with pytest.raises(ValueError, match="this trainer is at step 1; give each run"):
        begun.train(rows(4))
    assert steps_in(tmp_path) == [2]


def test_training_on_with_the_same_trainer_writes_on(trainer, rows, tmp_path):
    run = trainer(callbacks=[Checkpointing(tmp_path)], max_steps=4)
    batches = rows(4)
    stream = run.stream(batches)
    next(stream)
    run.stop()
    list(stream)
    run.train(batches)
    assert steps_in(tmp_path) == [1, 4]
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_half_a_line_of_history_is_left_out(trainer, rows, tmp_path):
    trainer(callbacks=[Checkpointing(tmp_path)], max_steps=2).train(rows(2))
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    run = trainer(callbacks=[Checkpointing(tmp_path)], max_steps=3)
    run.train(rows(3))
    assert [r["step"] for r in run.history] == [1, 2, 3]
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_the_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="keep_last must be at least 1, got 0"):
        Checkpointing(tmp_path, keep_last=0)
    saver = Checkpointing(tmp_path)
    saver.on_train_begin(TrainConfig(checkpoint_interval=1))
    with pytest.raises(RuntimeError, match="pass it among the callbacks"):
        saver.on_step_end(1, {"loss": 1.0})


# ------------------------------------------------------------------- killed, really

SCRIPT = """
import sys
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data import StoryWorld
from lmxlab.models.base import LanguageModel
from lmxlab.training.checkpointing import Checkpointing
from lmxlab.training.config import TrainConfig
from lmxlab.training.trainer import Trainer
import mlx.core as mx

mx.set_default_device(mx.cpu)
mx.random.seed(0)
block = BlockConfig(d_model=16, n_heads=2, dropout=0.2)
model = LanguageModel(ModelConfig(block, vocab_size=47, n_layers=1))
config = TrainConfig(max_steps=60, batch_size=2, log_interval=0, checkpoint_interval=3)
trainer = Trainer(model, config, callbacks=[Checkpointing(sys.argv[1])])
for record in trainer.stream(StoryWorld()):
    print(record["step"], record["loss"].hex(), flush=True)
"""


def run_script(folder, kill_after=None):
    """Start the script; kill it shortly after it printed so many steps."""
    printed = {}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        for line in process.stdout:
            if line.startswith("resumed"):
                continue
            if not line.endswith("\n"):
                break  # killed in the middle of the line
            step, loss = line.split()
            printed[int(step)] = loss
            if kill_after is not None and len(printed) >= kill_after:
                time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
                kill_after = None
    return printed


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_is_the_run_that_was_not(tmp_path):
    whole = run_script(tmp_path / "whole")
    assert len(whole) == 60
    for after in (5, 17, 9, None):
        printed = run_script(tmp_path / "killed", after)
        assert printed.items() <= whole.items()
    assert min(printed) > 1  # the last one did not start over
    lines = (tmp_path / "killed" / "history.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["step"]: record["loss"].hex() for record in records} == whole
