"""Memory is counted from what was in use before, and shows in each record."""

from lmxlab.training.config import TrainConfig
from lmxlab.training.memory import MIB, PeakMemory, working_memory
import mlx.core as mx
import mlx.nn as nn
import pytest


def test_work_is_charged_for_its_own_arrays_alone():
    held = mx.ones((1024, 1024))  # 4 MiB
    mx.eval(held)
    assert working_memory(lambda: held + 1) == pytest.approx(4 * MIB, rel=0.05)
    assert working_memory(lambda: held) < MIB / 10


def test_arrays_that_come_and_go_count_at_their_peak():
    def work():
        mx.eval(mx.ones((1024, 2048)))
        return mx.ones(())

    assert working_memory(work) == pytest.approx(8 * MIB, rel=0.05)


def step_memory(trainer, rows, n_rows):
    run = trainer(callbacks=[PeakMemory()], max_steps=3)
    return [record["peak_memory_mib"] for record in run.train(rows(3, (n_rows, 64)))]


def test_every_record_holds_the_peak_so_far_and_it_grows_with_the_batch(trainer, rows):
    small, large = step_memory(trainer, rows, 8), step_memory(trainer, rows, 64)
    assert len(small) == 3
    assert small == sorted(small)
    assert small[0] > 0
    assert large[-1] > 4 * small[-1]


def test_a_second_run_starts_anew(trainer, rows):
    watch = PeakMemory()
    [large] = trainer(callbacks=[watch], max_steps=1).train(rows(1, (64, 64)))
    [small] = trainer(callbacks=[watch], max_steps=1).train(rows(1, (4, 64)))
    assert small["peak_memory_mib"] < large["peak_memory_mib"] / 4


def test_a_model_that_is_there_already_does_not_count():
    ballast = nn.Linear(2048, 1024)  # 8 MiB
    mx.eval(ballast.parameters())
    watch, record = PeakMemory(), {"loss": 1.0}
    watch.on_train_begin(TrainConfig())
    mx.eval(mx.ones(10))
    watch.on_step_end(1, record)
    assert 0 < record["peak_memory_mib"] < 0.1
