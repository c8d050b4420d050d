"""Observers: any subset of methods, told in order, able to stop the run."""

import math
import warnings

from lmxlab.training.callbacks import (
    Callback,
    EarlyStopping,
    MetricsLogger,
    ThroughputMonitor,
    notify,
)
from lmxlab.training.config import TrainConfig
import pytest


class Diary(Callback):
    def __init__(self, log, name=""):
        self.log, self.name = log, name

    def on_train_begin(self, config):
        self.log.append((self.name + "begin", config.max_steps))

    def on_step_end(self, step, metrics):
        self.log.append((self.name + "step", step))

    def on_eval_end(self, step, metrics):
        self.log.append((self.name + "eval", step, "eval_loss" in metrics))

    def on_train_end(self, history):
        self.log.append((self.name + "end", len(history)))


def test_the_events_of_a_run_in_their_order(trainer, rows):
    log = []
    run = trainer(max_steps=3, eval_interval=2, callbacks=[Diary(log)])
    run.train(rows(3), rows(1))
    assert log == [
        ("begin", 3), ("step", 1), ("eval", 2, True), ("step", 2), ("step", 3),
        ("end", 3),
    ]  # fmt: skip


def test_any_subset_of_methods_will_do(trainer, rows):
    class OnlySteps:
        seen = 0

        def on_step_end(self, step, metrics):
            self.seen += 1

    only = OnlySteps()
    run = trainer(max_steps=3, eval_interval=1, callbacks=[object(), only, Callback])
    # An instance, not the class, is a callback; the protocol's methods do nothing.
    run.callbacks[2] = type("Nothing", (Callback,), {})()
    run.train(rows(3), rows(1))
    assert only.seen == 3


def test_all_are_told_in_order_even_after_one_failed():
    log = []

    class Failing:
        def on_train_end(self, history):
            log.append("failing")
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        notify([Diary(log, "a "), Failing(), Diary(log, "b ")], "on_train_end", [])
    assert log == [("a end", 0), "failing", ("b end", 0)]


def test_should_stop_is_honoured_by_attribute(trainer, rows):
    class Enough:
        should_stop = False

        def on_step_end(self, step, metrics):
            self.should_stop = step == 2

    assert len(trainer(max_steps=9, callbacks=[Enough()]).train(rows(9))) == 2


# ------------------------------------------------------------------------ EarlyStopping


def judged(losses, **arguments):
    stopper = EarlyStopping(**arguments)
    for step, loss in enumerate(losses, start=1):
        stopper.on_eval_end(step, {"eval_loss": loss})
        if stopper.should_stop:
            break
    return stopper


@pytest.mark.parametrize(
    ("losses", "patience", "stop"),
    [
        ([3, 2, 1], 1, None),
        ([3, 2, 2, 1], 1, 3),
        ([3, 2, 2, 1, 1, 1], 2, 6),
        ([3, 2.9995, 2.999, 2.9985], 3, 4),  # never by min_delta
        ([3, 2.99, 2.98, 2.97], 3, None),
        ([math.nan, math.nan], 2, 2),
    ],
)
def test_it_stops_after_patience_evaluations_without_progress(losses, patience, stop):
    stopper = judged(losses, patience=patience, min_delta=0.002)
    assert stopper.stopped_step == stop
    assert stopper.should_stop == (stop is not None)


def test_it_stops_a_run_at_the_right_step_and_starts_afresh(trainer, rows):
    stopper = EarlyStopping(patience=2)
    run = trainer(learning_rate=0.0, eval_interval=3, max_steps=40, callbacks=[stopper])
    for end in (9, 18):
        run.train(rows(40), rows(1))
        assert (stopper.stopped_step, run.step) == (end, end)


def test_it_warns_when_it_saw_no_evaluation(trainer, rows):
    with pytest.warns(UserWarning, match="EarlyStopping saw no evaluation"):
        trainer(max_steps=2, callbacks=[EarlyStopping()]).train(rows(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(max_steps=2, eval_interval=1, callbacks=[EarlyStopping()]).train(
            rows(2), rows(1)
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=0), "patience must be at least 1, got 0"),
        (lambda: EarlyStopping(min_delta=-1.0), "min_delta must be at least 0"),
        (lambda: EarlyStopping(min_delta=math.nan), "min_delta must be at least 0"),
        (lambda: MetricsLogger(-1), "log_interval must be at least 0, got -1"),
        (lambda: ThroughputMonitor(0), "log_interval must be at least 1, got 0"),
        (lambda: ThroughputMonitor(tokens_per_step=0), "tokens_per_step must be at"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --------------------------------------------------------- throughput and printed lines


def test_throughput_leaves_first_calls_out_and_takes_the_median(capsys):
    monitor = ThroughputMonitor(log_interval=3)
    steps = [
        {"tokens": 100, "step_seconds": 9.0, "first_call_seconds": 9.0},
        {"tokens": 100, "step_seconds": 0.1},
        {"tokens": 100, "step_seconds": 0.2},
        {"tokens": 50, "step_seconds": 5.0, "first_call_seconds": 5.0},
        {"tokens": 100, "step_seconds": 0.1},
        {"tokens": 100, "step_seconds": 0.1},
    ]
    for step, record in enumerate(steps, start=1):
        monitor.on_step_end(step, record)
        if step == 1:
            assert monitor.tokens_per_second is None
    assert monitor.first_call_seconds == 14.0
    assert monitor.tokens_per_second == pytest.approx(1000)
    assert capsys.readouterr().out == "step 3 | 750 tokens/s\nstep 6 | 1,000 tokens/s\n"


def test_throughput_of_a_run_counts_its_tokens(trainer, rows, capsys):
    monitor = ThroughputMonitor(log_interval=4)
    records = trainer(max_steps=4, callbacks=[monitor]).train(rows(4))
    slowest = max(record["step_seconds"] for record in records[1:])
    fastest = min(record["step_seconds"] for record in records[1:])
    assert 10 / slowest <= monitor.tokens_per_second <= 10 / fastest
    assert "tokens/s" in capsys.readouterr().out


def test_the_lines_of_the_logger(capsys):
    logger = MetricsLogger(log_interval=2)
    record = {
        "loss": 2.34567, "learning_rate": 3e-4, "grad_norm": 1.234,
        "step_seconds": 0.01234,
    }  # fmt: skip
    for step in (1, 2, 3):
        logger.on_step_end(step, record)
    logger.on_step_end(4, {**record, "first_call_seconds": 0.01234})
    logger.on_eval_end(4, {"eval_loss": 2.0})
    assert capsys.readouterr().out.splitlines() == [
        "step 2 | loss 2.3457 | lr 3.00e-04 | grad norm 1.23 | 12.3 ms",
        "step 4 | loss 2.3457 | lr 3.00e-04 | grad norm 1.23",
        "step 4 | eval loss 2.0000",
    ]


def test_a_logger_of_interval_0_prints_evaluations_only(capsys):
    logger = MetricsLogger(0)
    logger.on_train_begin(TrainConfig())
    logger.on_step_end(10, {"loss": 1.0})
    logger.on_eval_end(10, {"eval_loss": 2.0})
    assert capsys.readouterr().out == "step 10 | eval loss 2.0000\n"
