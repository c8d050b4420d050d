"""The loop: errors undo themselves, interrupts leave everything consistent."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import lmxlab
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data import StoryWorld
from lmxlab.models.base import LanguageModel
from lmxlab.models.gpt import gpt_tiny
from lmxlab.training.config import OPTIMIZERS, TrainConfig
from lmxlab.training.loss import next_token_loss
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

MODES = pytest.mark.parametrize("compiled", [True, False])


def scaled_loss(model, tokens, targets, factor):
    """A loss that a batch can poison."""
    return factor * next_token_loss(model, tokens, targets)[0]


def scaled(batches, **factors):
    """Batches with a factor: 1, or that of ``b<number>``."""
    return [
        (*batch, np.float32(factors.get(f"b{number}", 1.0)))
        for number, batch in enumerate(batches, start=1)
    ]


class Counter:
    """A callback that counts its calls and may do something at one step."""

    def __init__(self, at=None, action=None):
        self.at, self.action = at, action
        self.begun = self.ended = 0
        self.steps = []

    def on_train_begin(self, config):
        self.begun += 1

    def on_step_end(self, step, metrics):
        self.steps.append(step)
        if step == self.at:
            self.action()

    def on_train_end(self, history):
        self.ended += 1


def raise_(error):
    raise error


# --------------------------------------------------------------------- what it yields


def test_records_say_what_the_step_did(trainer, rows):
    records = trainer(max_steps=3).train(rows(3))
    assert [record["step"] for record in records] == [1, 2, 3]
    assert {record["tokens"] for record in records} == {10}
    for record in records:
        assert record["step_seconds"] > 0
        assert 1.0 < record["loss"] < 4.0
        assert record["grad_norm"] > 0
        assert all(type(value) in (int, float) for value in record.values())


def test_train_returns_its_own_records_and_history_keeps_all(trainer, rows):
    run = trainer(max_steps=5)
    source = iter(rows(9))
    first = [next(run.stream(source)) for _ in range(2)]
    rest = run.train(source)
    assert [record["step"] for record in rest] == [3, 4, 5]
    assert run.history == first + rest
    with pytest.warns(UserWarning, match="larger max_steps"):
        assert run.train(source) == []
    assert len(list(source)) == 4  # no batch was taken and lost


def test_a_list_starts_again_when_it_was_used_up(trainer, rows):
    run = trainer(max_steps=5)
    batches = rows(2)
    assert [len(run.train(batches)) for _ in range(3)] == [2, 2, 1]


def test_a_dataset_goes_on_where_it_stopped(trainer, tiny):
    class Numbers:
        def batches(self, batch_size, seed):
            for number in range(10):
                yield np.full((2, 3), number), np.full((2, 3), number)

    def loss_fn(model, tokens, targets):
        loss, _ = next_token_loss(model, tokens, targets)
        return loss, {"number": tokens.max()}

    data = Numbers()
    run = trainer(max_steps=6, loss_fn=loss_fn)
    stream = run.stream(data)
    numbers = [next(stream)["number"] for _ in range(2)]
    stream.close()
    numbers += [record["number"] for record in run.train(data)]
    assert numbers == [0, 1, 2, 3, 4, 5]


def test_step_seconds_leave_out_callbacks_and_evaluation(trainer, rows):
    slow = Counter(at=2, action=lambda: time.sleep(0.2))
    records = trainer(max_steps=3, callbacks=[slow]).train(rows(3))
    assert records[2]["step_seconds"] < 0.15


def test_the_live_learning_rate_of_a_running_stream_acts(trainer, rows):
    run = trainer(max_steps=4, lr_schedule="constant", learning_rate=0.1)
    rates = []
    for record in run.stream(rows(4)):
        rates.append(record["learning_rate"])
        run.set_live("learning_rate", 0.1 * (record["step"] + 1))
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])


# ------------------------------------------------------------- models and losses of all


def test_any_module_that_gives_logits_trains(trainer, rows):
    mx.random.seed(0)
    model = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11))
    records = trainer(model, max_steps=30, learning_rate=0.05).train(rows(1) * 30)
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]


def test_a_bare_loss_and_batches_of_floats_will_do(trainer):
    mx.random.seed(0)
    model = nn.Linear(3, 1)
    inputs = np.random.default_rng(0).normal(size=(16, 3))
    targets = inputs @ np.array([[1.0], [-2.0], [0.5]])

    def squared_error(model, x, y):
        return mx.square(model(x) - y).mean()

    run = trainer(model, max_steps=200, learning_rate=0.1, loss_fn=squared_error)
    records = run.train([(inputs, targets)] * 200)
    assert records[-1]["loss"] < 1e-3
    assert records[-1]["tokens"] == inputs.size
    assert run.evaluate([(inputs, targets)])["eval_loss"] < 1e-3


def test_other_metrics_of_the_loss_reach_records_and_evaluation(trainer, rows):
    def loss_fn(model, tokens, targets):
        loss, metrics = next_token_loss(model, tokens, targets)
        return loss, {**metrics, "double": 2 * loss, "one": 1}

    records = trainer(max_steps=2, eval_interval=2, loss_fn=loss_fn).train(
        rows(2), rows(3, seed=1)
    )
    assert records[0]["double"] == pytest.approx(2 * records[0]["loss"])
    assert "eval_loss" not in records[0]
    assert records[1]["eval_double"] == pytest.approx(2 * records[1]["eval_loss"])
    assert records[1]["eval_one"] == records[1]["one"] == 1


def test_every_rule_learns_the_story_world():
    """From ln 47 = 3.85 nats most of the way to the floor of 0.66, in 100 steps."""
    rates = {"adamw": 1e-2, "lion": 1e-3, "adafactor": 1e-2, "sgd": 0.3, "muon": 2e-2}
    final = {}
    for rule in OPTIMIZERS:
        mx.random.seed(0)
        model = LanguageModel(ModelConfig(BlockConfig(), vocab_size=47, n_layers=1))
        config = TrainConfig(
            optimizer=rule, learning_rate=rates[rule], warmup_steps=10, max_steps=100,
            log_interval=0,
        )  # fmt: skip
        world = StoryWorld()
        records = Trainer(model, config).train(world)
        assert records[0]["loss"] == pytest.approx(np.log(47), abs=0.4)
        final[rule] = np.mean([record["loss"] for record in records[-10:]])
    assert all(world.entropy_floor < loss < 1.0 for loss in final.values()), final


# -------------------------------------------------------------------------- bad batches


def bad_shape(rows):
    return rows(1)[0][0], rows(1, (2, 9))[0][1]


@MODES
@pytest.mark.parametrize("after", [0, 2])
def test_a_bad_batch_leaves_the_model_as_it_was(
    after, compiled, trainer, rows, weights, same
):
    """Also in the very first trace; the run then goes on as if nothing had been."""
    run = trainer(dropout=0.2, compile_step=compiled)
    for batch in rows(after):
        run.train_step(batch)
    before = weights(run.model)
    with pytest.raises(ValueError, match=r".") as error:
        run.train_step(bad_shape(rows))
    assert "update" in error.value.__notes__[0]
    assert same(weights(run.model), before)
    assert (run.step, run.optimizer.state["step"].item()) == (after, after)
    untouched = trainer(dropout=0.2, compile_step=compiled)
    for batch in rows(after):
        untouched.train_step(batch)
    assert (
        run.train_step(rows(1)[0])["loss"] == untouched.train_step(rows(1)[0])["loss"]
    )
    assert same(weights(run.model), weights(untouched.model))


@MODES
def test_an_error_in_the_loss_leaves_the_model_as_it_was(
    compiled, trainer, rows, weights, same
):
    failing = []

    def loss_fn(model, tokens, targets):
        loss = next_token_loss(model, tokens, targets)[0]
        model.update({"final_norm": {"weight": model.final_norm.weight * 2}})
        if failing:
            raise KeyError("planted")
        return loss

    run = trainer(compile_step=compiled, loss_fn=loss_fn)
    run.train_step(rows(1)[0])
    before = weights(run.model)
    failing.append(True)
    with pytest.raises(KeyError, match="planted"):
        run.train_step(rows(1, (3, 4))[0])
    assert same(weights(run.model), before)
    failing.clear()
    assert run.train_step(rows(1, (3, 4))[0])["step"] == 2


@MODES
@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_taken_back(
    factor, compiled, trainer, rows, weights, same, consistent
):
    """Step 3 fails; the run then goes on with batch 4, as if 3 had not been."""
    batches = scaled(rows(5), b3=factor)
    counter = Counter()
    run = trainer(
        loss_fn=scaled_loss, compile_step=compiled, callbacks=[counter],
        lr_schedule="constant",
    )  # fmt: skip
    source = iter(batches)
    with pytest.raises(FloatingPointError, match=rf"step 3: loss is {factor}"):
        run.train(source)
    assert run.step == 2
    assert consistent(run)
    run.train(source)
    assert run.step == 4
    assert consistent(run)
    assert counter.begun == counter.ended == 2
    clean = trainer(loss_fn=scaled_loss, compile_step=compiled, lr_schedule="constant")
    clean.train([batch for number, batch in enumerate(batches) if number != 2])
    assert same(weights(run.model), weights(clean.model))


def test_an_update_queued_behind_a_nan_is_taken_back_too(
    trainer, rows, weights, same, consistent
):
    def run_until_nan(lag):
        run = trainer(loss_fn=scaled_loss)
        run.lag = lag
        with pytest.raises(FloatingPointError, match="step 3"):
            run.train(iter(scaled(rows(6), b3=np.nan)))
        return run

    run = run_until_nan(lag=1)
    assert run.step == 2
    assert consistent(run)
    assert same(weights(run.model), weights(run_until_nan(lag=0).model))


def test_closing_with_a_nan_in_the_queue_takes_it_back(trainer, rows, consistent):
    run = trainer(loss_fn=scaled_loss)
    run.lag = 1
    stream = run.stream(scaled(rows(4), b2=np.nan))
    assert next(stream)["step"] == 1
    stream.close()
    assert run.step == 1
    assert consistent(run)


def as_mlx(array):
    return mx.array(array)


@pytest.mark.parametrize("convert", [np.asarray, as_mlx])
@pytest.mark.parametrize("token", [11, 10**6, -1, -100])
def test_a_token_outside_the_vocabulary_is_an_error(
    token, convert, trainer, rows, weights, same
):
    tokens, targets = (np.array(part) for part in rows(1)[0])
    targets[1, 2] = token
    run = trainer()
    before = weights(run.model)
    with pytest.raises(ValueError, match=rf"token id {token}, outside .* 11 \(0 to 10"):
        run.train_step((convert(tokens), convert(targets)))
    with pytest.raises(ValueError, match=f"token id {token}"):
        run.evaluate([(convert(targets), convert(tokens))])
    assert same(weights(run.model), before)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([], ValueError, "train_data gave no batch"),
        (iter(()), ValueError, "used up before"),
        (np.zeros((2, 3), int), TypeError, "got ndarray; wrap an array"),
        (mx.zeros((2, 3)), TypeError, "got array"),
        ("some text", TypeError, "got str"),
        ({"a": 1}, TypeError, "got dict"),
        (7, TypeError, "got int"),
        ([("a", "b")], TypeError, r"batch\[0\] must be an array or a number, got str"),
        ([(None,)], TypeError, "got NoneType"),
        ([[[1, 2], [3, 4]]], TypeError, "got list; a batch is a tuple of arrays"),
        ([np.zeros((0, 3), int)], ValueError, r"batch\[0\] is empty \(shape \(0, 3\)"),
    ],
)
def test_data_that_cannot_be_used_says_why(data, error, message, trainer):
    run = trainer()
    with pytest.raises(error, match=message):
        run.train(data)
    assert run.step == 0


def test_a_used_up_iterator_is_an_error_and_not_an_empty_run(trainer, rows):
    run = trainer()
    source = iter(rows(2))
    run.train(source)
    with pytest.raises(ValueError, match="used up before"):
        run.train(source)


def test_no_micro_batch_is_an_error(trainer):
    with pytest.raises(ValueError, match="micro_batches is empty"):
        trainer().train_step_accumulated([])


@MODES
@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (
            lambda loss: mx.stack([loss, loss]),
            TypeError,
            r"loss is \(2,\); take its me",
        ),
        (lambda loss: "low", TypeError, "loss is str"),
        (lambda loss: None, TypeError, "loss is NoneType"),
        (lambda loss: (loss, {"step": loss}), ValueError, "reports 'step', which"),
        (lambda loss: (loss, {"loss": loss}), ValueError, "reports 'loss', which"),
        (lambda loss: (loss, {"a": mx.zeros((2, 1))}), TypeError, r"a is \(2, 1\)"),
        (lambda loss: (loss, loss), TypeError, r"a dictionary of scalars, got \(array"),
        (lambda loss: (loss, {}, {}), TypeError, r"\(array, dict, dict\)"),
    ],
)
def test_a_loss_function_that_returns_something_else_says_what(
    result, error, message, compiled, trainer, rows, weights, same
):
    def loss_fn(model, tokens, targets):
        return result(next_token_loss(model, tokens, targets)[0])

    run = trainer(loss_fn=loss_fn, compile_step=compiled)
    before = weights(run.model)
    with pytest.raises(error, match=message):
        run.train_step(rows(1)[0])
    assert same(weights(run.model), before)


def test_a_trainer_stays_in_its_thread(trainer, rows):
    run = trainer(max_steps=2)
    run.train_step(rows(1)[0])
    errors = []

    def other():
        for call in (run.train, run.evaluate):
            try:
                call(rows(1))
            except RuntimeError as error:
                errors.append(str(error))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(errors) == 2
    assert all("another thread" in error for error in errors)
    assert run.train_step(rows(1)[0])["step"] == 2


# ------------------------------------------------- stops, interrupts, and their endings


def test_stop_from_a_callback_ends_after_that_step(trainer, rows, consistent):
    counter = Counter(at=3, action=lambda: run.stop())
    run = trainer(callbacks=[counter], max_steps=10)
    assert len(run.train(rows(10))) == 3
    assert counter.steps == [1, 2, 3]
    assert (counter.begun, counter.ended) == (1, 1)
    assert consistent(run)


@MODES
@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_in_a_callback_leaves_everything_consistent(
    error, lag, compiled, trainer, rows, consistent
):
    counter = Counter(at=3, action=lambda: raise_(error()))
    run = trainer(callbacks=[counter], max_steps=10, compile_step=compiled)
    run.lag = lag
    with pytest.raises(error):
        run.train(rows(10))
    assert run.step == 3 + lag  # what was queued has happened
    assert consistent(run)
    assert counter.ended == 1
    counter.at = None
    run.train(rows(10))
    assert run.step == 10
    assert consistent(run)


@pytest.mark.parametrize("lag", [0, 1])
def test_an_interrupt_in_the_loss_of_an_eager_step(lag, trainer, rows, consistent):
    calls, counter = [], Counter()

    def loss_fn(model, tokens, targets):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return next_token_loss(model, tokens, targets)

    run = trainer(loss_fn=loss_fn, compile_step=False, callbacks=[counter], max_steps=8)
    run.lag = lag
    with pytest.raises(KeyboardInterrupt):
        run.train(rows(8))
    assert run.step == 3
    assert consistent(run)
    assert counter.ended == 1
    run.train(rows(8))
    assert run.step == 8
    assert consistent(run)


@pytest.mark.parametrize("lag", [0, 1])
def test_an_interrupt_just_after_a_record_was_written(lag, trainer, rows, consistent):
    """It is neither lost nor written twice."""

    class History(list):
        def append(self, record):
            super().append(record)
            if record["step"] == 3:
                raise KeyboardInterrupt

    run = trainer(max_steps=8)
    run.lag, run.history = lag, History()
    with pytest.raises(KeyboardInterrupt):
        run.train(rows(8))
    assert run.step == 3 + lag
    assert consistent(run)


def test_a_real_interrupt_at_any_moment(trainer, rows, consistent):
    """Sixty timers, each going off somewhere in a compiled or accumulated update.

    Should one be swallowed (mx.array(numpy_array) does that), the next comes a second
    later, and the step shows it.
    """

    def ring(number, frame):
        if "coverage" in frame.f_code.co_filename:  # would keep its lock for ever
            signal.setitimer(signal.ITIMER_REAL, 1e-4, 1.0)
            return
        rings.append(frame.f_code.co_name)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, ring)
    rings, interrupts = [], 0
    try:
        for lag, accumulation in [(0, 1), (1, 1), (0, 2)]:
            run = trainer(
                dropout=0.1, max_steps=10**6, grad_accumulation_steps=accumulation
            )
            run.lag = lag
            (batch,) = rows(1)
            run.train(rows(4))  # traced
            for moment in np.random.default_rng(lag).uniform(1e-3, 1e-2, size=20):
                signal.setitimer(signal.ITIMER_REAL, moment, 1.0)
                try:
                    run.train(batch for _ in range(10**6))
                except KeyboardInterrupt:
                    interrupts += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert consistent(run)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(rings) == interrupts == 60, rings  # none was swallowed


def test_sigint_in_a_process_of_its_own(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import signal\n"
        # A shell's background job, which tests may be, is born deaf to it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from lmxlab.training.trainer import Trainer\n"
        "from lmxlab.training.config import TrainConfig\n"
        "from lmxlab.models.base import LanguageModel\n"
        "from lmxlab.models.gpt import gpt_tiny\n"
        "from lmxlab.data import StoryWorld\n"
        "class Ends:\n"
        "    n = 0\n"
        "    def on_step_end(self, step, metrics):\n"
        "        if step == 20: print('ready', flush=True)\n"
        "    def on_train_end(self, history): self.n += 1\n"
        "ends = Ends()\n"
        "config = TrainConfig(max_steps=10**6)\n"
        "run = Trainer(LanguageModel(gpt_tiny()), config, callbacks=[ends])\n"
        "try: run.train(StoryWorld())\n"
        "except KeyboardInterrupt: print('caught', flush=True)\n"
        "at = run.step, run.optimizer.state['step'].item(), len(run.history)\n"
        "assert len(set(at)) == 1 and at[0] >= 20 and ends.n == 1, (at, ends.n)\n"
        "assert next(run.stream(StoryWorld()))['loss'] < 9\n"
        "print('consistent', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(Path(lmxlab.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=30)[0]
        finally:
            process.kill()
    assert rest == "caught\nconsistent\n"


@pytest.mark.parametrize("lag", [0, 1])
def test_closing_the_stream_midway(lag, trainer, rows, consistent):
    counter = Counter()
    run = trainer(callbacks=[counter], max_steps=10)
    run.lag = lag
    stream = run.stream(rows(10))
    assert [next(stream)["step"] for _ in range(3)] == [1, 2, 3]
    assert counter.ended == 0
    stream.close()
    stream.close()
    assert counter.ended == 1
    assert run.step == 3 + lag
    assert consistent(run)


def test_an_error_in_the_data_ends_the_run_in_order(trainer, rows, consistent):
    def data():
        yield from rows(3)
        raise OSError("disk")

    counter = Counter()
    run = trainer(callbacks=[counter])
    run.lag = 1
    with pytest.raises(OSError, match="disk"):
        run.train(data())
    assert run.step == 3
    assert consistent(run)
    assert counter.ended == 1


# ------------------------------------------------------------- records one update late


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_with_lag_the_same_records_come_in_order(steps, trainer, rows, untimed):
    def run(lag):
        counter = Counter()
        run = trainer(
            dropout=0.2, max_steps=steps, eval_interval=4, callbacks=[counter]
        )
        run.lag = lag
        records = run.train(rows(steps), rows(2, seed=1))
        assert records == run.history
        return untimed(records), counter.steps

    assert run(1) == run(0)


def test_lag_runs_ahead_by_one_and_flushes_when_it_is_set_to_0(trainer, rows):
    run = trainer(max_steps=8, eval_interval=6)
    run.lag = 1
    seen = []
    for record in run.stream(rows(8), rows(1)):
        seen.append((record["step"], run.step))
        if record["step"] == 3:
            run.lag = 0
        if record["step"] == 4:
            run.lag = 1
    # One ahead; at 4 the queue is flushed; at 6, before the evaluation; at 8, the end.
    ahead = [done - step for step, done in seen]
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert ahead == [1, 1, 1, 0, 1, 0, 1, 0]


def test_stop_with_lag_still_records_what_was_queued(trainer, rows, consistent):
    run = trainer(max_steps=10)
    run.lag = 1
    steps = []
    for record in run.stream(rows(10)):
        steps.append(record["step"])
        if record["step"] == 3:
            run.stop()
    assert steps == [1, 2, 3, 4]
    assert consistent(run)


# --------------------------------------------------------------------------- evaluation


def test_evaluation_is_due_every_interval_and_equals_one_by_hand(trainer, rows):
    run = trainer(max_steps=6, eval_interval=3)
    held_out = rows(2, seed=1)
    for record in run.stream(rows(6), held_out):
        assert ("eval_loss" in record) == (record["step"] in (3, 6))
        if "eval_loss" in record:
            assert record["eval_loss"] == run.evaluate(held_out)["eval_loss"]


def test_evaluation_weights_by_tokens(trainer, rows):
    """Ragged masks: the mean over all tokens, not over batches."""
    run = trainer()
    masks = [[[1, 0, 0, 0, 0]] * 2, [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]]
    batches = [(*b, np.float32(m)) for b, m in zip(rows(2), masks, strict=True)]
    joined = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    together = run.evaluate([joined])["eval_loss"]
    assert run.evaluate(batches)["eval_loss"] == pytest.approx(together, rel=1e-5)
    means = [run.evaluate([batch])["eval_loss"] for batch in batches]
    assert abs(np.mean(means) - together) > 0.01


def test_evaluation_of_a_list_repeats_and_an_iterator_is_used_up(trainer, rows):
    run = trainer()
    batches = rows(2)
    assert run.evaluate(batches) == run.evaluate(batches)
    source = iter(batches)
    assert run.evaluate(source) == run.evaluate(batches)
    with pytest.raises(ValueError, match="eval_data gave no batch"):
        run.evaluate(source)


def test_an_iterator_serves_every_evaluation_of_one_run(trainer, rows):
    run = trainer(max_steps=4, eval_interval=2, learning_rate=0.0)
    records = run.train(rows(4), iter(rows(2, seed=1)))
    assert records[1]["eval_loss"] == records[3]["eval_loss"]


def test_a_dataset_can_be_evaluated_on(trainer, tiny):
    mx.random.seed(0)
    model = LanguageModel(gpt_tiny(vocab_size=47))
    run = trainer(model, batch_size=4, max_steps=1, eval_interval=1)
    (record,) = run.train(StoryWorld(), StoryWorld())
    assert record["eval_loss"] == run.evaluate(StoryWorld())["eval_loss"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([], ValueError, "eval_data gave no batch"),
        (np.zeros((2, 5), np.int32), TypeError, "eval_data must be a dataset"),
        (3, TypeError, "eval_data must be a dataset"),
    ],
)
def test_evaluation_data_that_cannot_be_used_says_why(data, error, message, trainer):
    with pytest.raises(error, match=message):
        trainer().evaluate(data)


def test_endless_evaluation_data_is_an_error(trainer, rows):
    def endless():
        while True:
            yield batch

    (batch,) = rows(1)
    run = trainer()
    with pytest.raises(ValueError, match="more than 10000 batches"):
        run.evaluate(endless())
    with pytest.raises(ValueError, match="more than 10000 batches"):
        run.train([batch], endless())
    assert run.step == 0


def test_evaluating_nothing_but_padding_is_an_error(trainer, rows):
    with pytest.raises(ValueError, match="every target of eval_data is masked"):
        trainer().evaluate([(*rows(1)[0], np.zeros((2, 5), np.float32))])


# ------------------------------------------------------------------------------- memory


def test_memory_is_flat_over_two_thousand_steps(trainer, rows):
    run = trainer(max_steps=2000, max_grad_norm=0.0)
    batches = rows(4)
    memory = []
    stream = run.stream(batches[step % 4] for step in range(2000))
    for record in stream:
        if record["step"] in (100, 2000):
            mx.synchronize()
            memory.append(mx.get_active_memory())
    assert memory[1] <= 1.02 * memory[0]
