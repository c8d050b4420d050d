"""Runs on the disk: found again, damaged, unwritable, removed, exported."""

import csv
import json
import math
import os
import random
import statistics
import subprocess
import sys
import threading

from lmxlab.lab.code import recipe
from lmxlab.lab.kept import KeptRun
from lmxlab.lab.records import RunningSummary, read_history, to_csv, to_json
from lmxlab.lab.runs import RunStore
from lmxlab.training.config import TrainConfig
import pytest

CONFIG = TrainConfig(max_steps=7)


def record(step, loss=2.0, seconds=0.5, **more):
    return {"step": step, "loss": loss, "tokens": 8, "step_seconds": seconds, **more}


def records(count):
    return [record(step, loss=1 / step) for step in range(1, count + 1)]


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def begin(store, **kwargs):
    return store.begin("toy", {"width": 8}, CONFIG, **kwargs)


def again(store):
    """The same folder, as another session finds it."""
    return RunStore(store.folder)


# ------------------------------------------------------------------ written, and read


def test_a_run_is_found_by_another_session(store):
    run = begin(store, name="mine")
    run.extend(records(3), traces=1, peak_memory=12.5)
    run.change(2, "learning_rate", 0.1)
    run.finish("stopped")
    (found,) = again(store).runs()
    assert (found.name, found.state, found.settings) == (
        "mine",
        "stopped",
        {"width": 8},
    )
    assert found.about["config"]["max_steps"] == 7
    assert found.about["versions"].keys() == {"lmxlab", "mlx", "python"}
    assert found.changes == [(2, "learning_rate", 0.1)]
    assert found.history == run.history == records(3)
    assert found.summary() == run.summary()


def test_nothing_is_made_before_the_first_run(store):
    assert store.runs() == []
    assert not store.folder.exists()
    begin(store)
    assert (store.folder / ".gitignore").read_text() == "*\n"


def test_a_folder_of_the_users_own_gets_no_gitignore(tmp_path):
    begin(RunStore(tmp_path))
    assert not (tmp_path / ".gitignore").exists()


def test_the_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LMXLAB_RUNS", raising=False)
    assert RunStore().folder == tmp_path / "runs"
    monkeypatch.setenv("LMXLAB_RUNS", str(tmp_path / "elsewhere"))
    assert RunStore().folder == tmp_path / "elsewhere"
    monkeypatch.setenv("LMXLAB_RUNS", "off")
    assert RunStore().folder is None
    assert RunStore(tmp_path).folder == tmp_path


def test_only_what_is_new_is_written(store):
    run, history = begin(store), []
    file = run.folder / "history.jsonl"
    for step in (1, 2, 3):
        history.append(record(step))
        run.extend(history)
        run.extend(history)
        assert len(file.read_text().splitlines()) == step
    with pytest.raises(ValueError, match="whole history: 3 records are kept, got 1"):
        run.extend(history[2:])


def test_numbers_that_are_none_survive(store):
    run = begin(store)
    run.extend([record(1, math.nan), record(2, -math.inf, extra=math.inf)])
    one, two = again(store).runs()[0].history
    assert math.isnan(one["loss"])
    assert (two["loss"], two["extra"]) == (-math.inf, math.inf)


def test_half_a_line_after_a_kill_is_passed_over(store):
    run = begin(store)
    run.extend(records(3))
    file = run.folder / "history.jsonl"
    for cut in range(1, 30):
        file.write_bytes(file.read_bytes()[:-1])
        assert len(read_history(file)) == (3 if cut == 1 else 2)
    assert again(store).runs()[0].summary()["steps"] == 2


def test_a_damaged_line_in_the_middle_is_told(store):
    run = begin(store)
    run.extend(records(3))
    file = run.folder / "history.jsonl"
    file.write_text(file.read_text().replace('{"step": 2', "####", 1))
    with pytest.warns(UserWarning, match="1 damaged lines"):
        assert [r["step"] for r in read_history(file)] == [1, 3]


def test_a_kernel_that_died_leaves_a_run_cut_off(store):
    code = (
        "import lmxlab, os, sys\n"
        "from lmxlab.lab.runs import RunStore\n"
        "from lmxlab.training.config import TrainConfig\n"
        "run = RunStore(sys.argv[1]).begin('toy', {}, TrainConfig())\n"
        "run.extend([{'step': 1, 'loss': 0.5}])\n"
        "os._exit(9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, str(store.folder)]
    assert subprocess.run(command, env=environment).returncode == 9
    (found,) = store.runs()
    assert (found.state, found.summary()["loss"]) == ("cut off", 0.5)


def test_a_run_goes_on_elsewhere(store):
    run = begin(store)
    run.extend(records(1))
    (seen,) = again(store).runs()
    assert (seen.state, seen.summary()["steps"]) == ("running", 1)
    run.extend(records(2))
    assert seen.summary()["steps"] == 2
    with pytest.raises(ValueError, match="begun elsewhere"):
        seen.extend(records(3))


def test_what_json_cannot_hold_is_words(store):
    run = store.begin("toy", {"pick": len, "shape": CONFIG}, CONFIG)
    found = again(store).runs()[0]
    assert found.settings["pick"] == "<built-in function len>"
    assert found.settings["shape"]["max_steps"] == 7
    assert run.settings["pick"] is len


# ---------------------------------------------------------------------------- summary


def test_the_summary_counts_no_first_call_as_speed(store):
    run = begin(store)
    run.extend(
        [
            record(1, 3.0, 2.0, first_call_seconds=2.0),
            record(2, 2.5, 0.5, eval_loss=2.25),
            record(3, 2.0, 0.25),
            record(4, 1.5, 1.0),
        ]
    )
    assert run.summary() == {
        "loss": 1.5, "eval_loss": 2.25, "tokens_per_second": 16.0,
        "peak_memory": None, "seconds": 3.75, "steps": 4, "traces": 1,
    }  # fmt: skip
    run.extend(run.history, traces=4, peak_memory=7.5)
    assert (run.summary()["traces"], run.summary()["peak_memory"]) == (4, 7.5)


def test_the_running_median_is_the_median():
    chance, tally, rates = random.Random(0), RunningSummary(), []
    for step in range(200):
        seconds = chance.choice([0.1, 0.2, chance.random() + 0.01])
        rates.append(8 / seconds)
        tally.add(record(step, seconds=seconds))
        assert tally.summary()["tokens_per_second"] == statistics.median(rates)


def test_a_run_without_steps_has_a_summary_too(store):
    assert begin(store).summary()["loss"] is None
    assert again(store).runs()[0].summary()["steps"] == 0


# ------------------------------------------------------------------- names, pins, gone


def test_runs_are_numbered_and_named(store):
    first, second = begin(store), begin(store)
    assert (first.name, second.name) == ("1 toy", "2 toy")
    store.remove(first)
    assert begin(store).name == "3 toy"  # not a second "2 toy"
    store.rename(second, "  wide ")
    assert "wide" in [run.name for run in again(store).runs()]
    with pytest.raises(ValueError, match="name is empty"):
        store.rename(second, " ")


def test_runs_come_in_the_order_in_which_they_began(store):
    made = [begin(store).name for _ in range(12)]
    assert [run.name for run in store.runs()] == made
    assert [run.name for run in again(store).runs()] == made


def test_runs_of_one_experiment(store):
    begin(store)
    store.begin("other", {}, CONFIG)
    assert [run.name for run in store.runs("other")] == ["1 other"]


def test_a_pin_set_by_another_session_outlives_the_end_of_a_run(store):
    run = begin(store)
    other = again(store)
    other.pin(run.id)
    other.rename(run.id, "renamed meanwhile")
    run.change(1, "learning_rate", 0.5)
    run.finish("done")
    (found,) = again(store).runs()
    assert (found.pinned, found.name, found.state) == (
        True,
        "renamed meanwhile",
        "done",
    )
    assert found.changes == [(1, "learning_rate", 0.5)]
    store.unpin(run)
    assert not again(store).runs()[0].pinned


def test_a_name_given_by_another_session_is_seen(store):
    run = begin(store)
    one, other = again(store), again(store)
    assert one.runs()[0].name == "1 toy"
    other.rename(run.id, "wide")
    assert [one.runs()[0].name, store.runs()[0].name] == ["wide", "wide"]


def test_changes_that_are_not_saved_yet_survive_a_pin(store):
    run = begin(store)
    run.change(1, "learning_rate", 0.5)
    store.pin(run)
    assert again(store).runs()[0].changes == [(1, "learning_rate", 0.5)]


def test_the_same_objects_come_back(store):
    run = begin(store)
    assert store.runs()[0] is run
    other = again(store)
    assert other.runs()[0] is other.runs()[0]


def test_removing_deletes_a_run_and_nothing_else(store, tmp_path):
    run, other = begin(store), begin(store)
    run.extend(records(1))
    (other.folder / "notes.txt").write_text("mine")
    store.remove(run)
    store.remove(other.id)
    assert run.folder is None
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(
        [".gitignore", other.id]
    )
    assert (store.folder / other.id / "notes.txt").read_text() == "mine"
    assert again(store).runs() == []


@pytest.mark.parametrize(
    "name", ["..", "../precious", "precious", "", ".gitignore", "/"]
)
def test_nothing_outside_can_be_removed(store, tmp_path, name):
    begin(store)
    for precious in (tmp_path / "precious", store.folder / "precious"):
        precious.mkdir()
        (precious / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="there is no run"):
        store.remove(name)
    assert (tmp_path / "precious" / "run.json").exists()
    assert (store.folder / "precious" / "run.json").exists()


def test_a_link_with_the_name_of_a_run_is_none(store, tmp_path):
    run = begin(store)
    moved = run.folder.rename(tmp_path / run.id)
    (store.folder / run.id).symlink_to(moved)
    assert again(store).runs() == []
    with pytest.raises(ValueError, match="there is no run"):
        again(store).remove(run.id)
    assert (moved / "run.json").exists()


def test_a_run_that_was_copied_to_another_name_is_damaged(store):
    run = begin(store)
    run.folder.rename(store.folder / "20000101-000000-abcdef")
    with pytest.warns(UserWarning, match="20000101-000000-abcdef"):
        assert again(store).runs() == []


def test_removing_a_run_that_goes_on_leaves_it_in_memory(store):
    run = begin(store)
    run.extend(records(2))
    store.remove(run)
    run.extend(records(3))
    run.finish("done")
    assert (len(run.history), store.runs()) == (3, [])


def test_damaged_runs_are_named_once(store):
    whole, torn, bare = begin(store), begin(store), begin(store)
    (torn.folder / "run.json").write_text('{"id": ')
    bare.extend(records(1))
    (bare.folder / "run.json").unlink()
    fresh = again(store)
    with pytest.warns(UserWarning, match="damaged runs") as told:
        assert [run.id for run in fresh.runs()] == [whole.id]
    assert len(told) == 1
    assert torn.id in str(told[0].message)
    assert bare.id in str(told[0].message)
    assert len(fresh.runs()) == 1  # and no second warning: it would be an error here


# ---------------------------------------------------------------------- where it cannot


def test_two_kernels_at_once_get_folders_of_their_own(store):
    made, start = [], threading.Barrier(4)  # also for who makes the store's folder

    def work():
        mine = again(store)
        start.wait()
        made.extend(begin(mine).folder for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20
    assert len(store.runs()) == 20


def test_an_id_that_is_taken_is_not_taken_again(store, monkeypatch):
    tokens = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    monkeypatch.setattr("lmxlab.lab.runs.secrets.token_hex", lambda _: next(tokens))
    monkeypatch.setattr("lmxlab.lab.runs._now", lambda: "20260101-000000")
    assert [begin(store).id[-6:] for _ in range(2)] == ["aaaaaa", "bbbbbb"]


def test_where_nothing_can_be_written_runs_stay_in_memory(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = RunStore(tmp_path / "file")
    with pytest.warns(UserWarning, match=r"cannot be kept.*set LMXLAB_RUNS") as told:
        run = begin(store)
    assert len(told) == 1
    run.extend(records(3))
    run.finish("done")
    second = begin(store)  # warns no more
    store.pin(run)
    assert store.trouble
    assert set(store.runs()) == {run, second}
    assert (run.state, run.pinned, len(run.history)) == ("done", True, 3)


def test_a_disk_that_fills_up_during_a_run_loses_nothing(store, monkeypatch):
    run = begin(store)
    run.extend(records(2))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        run.extend(records(4))
    run.extend(records(5))
    run.finish("done")
    assert [r["step"] for r in run.history] == [1, 2, 3, 4, 5]
    assert run.summary()["steps"] == 5
    assert store.runs() == [run]


def test_a_folder_deleted_under_a_run_is_no_end_of_it(store):
    run = begin(store)
    for file in run.folder.iterdir():
        file.unlink()
    run.folder.rmdir()
    with pytest.warns(UserWarning, match="cannot be kept"):
        run.extend(records(1))
    assert run.history == records(1)


# ----------------------------------------------------------------------------- exports


def test_csv_holds_every_number(store, tmp_path):
    one, two = begin(store, name="one, or so"), begin(store)
    one.extend([record(1, 0.1 + 0.2), record(2, math.nan, eval_loss=math.inf)])
    two.extend([record(1, beta=0.5)])
    with to_csv([one, two], tmp_path / "runs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["one, or so"] * 2 + ["2 toy"]
    assert float(rows[0]["loss"]) == 0.1 + 0.2
    assert math.isnan(float(rows[1]["loss"]))
    assert (float(rows[1]["eval_loss"]), rows[0]["eval_loss"]) == (math.inf, "")
    assert rows[2]["beta"] == "0.5"


def test_json_is_of_a_kind_that_any_reader_takes(store, tmp_path):
    run = begin(store)
    run.extend([record(1, math.nan), record(2, -math.inf)])

    def refuse(constant):
        raise AssertionError(constant)

    text = to_json(run, tmp_path / "run.json").read_text()
    (back,) = json.loads(text, parse_constant=refuse)["runs"]
    assert [r["loss"] for r in back["history"]] == ["NaN", "-Infinity"]
    assert back["settings"] == {"width": 8}
    assert back["summary"]["steps"] == 2
    with pytest.raises(ValueError, match="runs is empty"):
        to_json([], tmp_path / "none.json")


def test_a_kept_run_remembers_how_to_do_it_again(store):
    def experiment(width=8):
        return width

    run = begin(store, recipe=recipe(experiment, {"width": 16}))
    run.extend(records(3))
    run.change(2, "learning_rate", 0.1)
    run.finish("stopped")
    (found,) = again(store).runs()
    assert found.script() == run.script()
    script = found.script()
    assert "steps=3" in script
    assert "changes=[(2, 'learning_rate', 0.1)]" in script
    assert "width=16" in script
    with pytest.raises(ValueError, match="without the experiment's code"):
        begin(store).script()


def test_a_kept_run_says_which_it_is():
    run = begin(RunStore("off"), name="wide")
    assert isinstance(run, KeptRun)
    assert repr(run) == "<wide: running, 0 steps>"
