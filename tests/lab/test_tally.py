"""A look at a long comparison costs what is new in it, and gives the same numbers."""

import itertools
import random
import statistics
from types import SimpleNamespace

from lmxlab.lab import Comparison
from lmxlab.lab.run import Result
from lmxlab.lab.tally import Tally, seconds_of
from lmxlab.lab.timing import Findings, Timing
import numpy as np
import pytest


class Watched(list):
    """A history that counts how many of its records are looked at."""

    looked_at = 0

    def __getitem__(self, index):
        found = super().__getitem__(index)
        self.looked_at += len(found) if isinstance(index, slice) else 1
        return found

    def __iter__(self):
        self.looked_at += len(self)
        return super().__iter__()


def record(step, draw):
    made = {"step": step, "loss": 3 / step + draw.random() / 10, "tokens": 64}
    made["step_seconds"] = draw.uniform(0.001, 0.003)
    if step in (1, 7):
        made["first_call_seconds"] = made["step_seconds"] = 0.25
    if step % 50 == 0:
        made["eval_loss"] = 3 / step
    return made


def comparison(steps, seconds=None, seeds=(1, 2)):
    results = {}
    for seed in seeds:
        draw = random.Random(seed)
        history = Watched(record(step, draw) for step in range(1, steps + 1))
        trainer = SimpleNamespace(history=history, trace_count=2)
        results[f"run {seed}"] = Result(trainer, {})
    rounds = {name: [place // 5 for place in range(steps)] for name in results}
    return Comparison(results, rounds=rounds, seconds=seconds)


def grow(found, steps):
    for number, (name, run) in enumerate(found.results.items()):
        draw = random.Random(100 + number)
        for _ in range(steps):
            step = len(run.history) + 1
            run.history.append(record(step, draw))
            found.rounds[name].append((step - 1) // 5)


@pytest.mark.parametrize("seconds", [None, 2.0])
@pytest.mark.parametrize("steps", [1_000, 10_000])
def test_a_look_costs_what_is_new_however_long_the_run(steps, seconds):
    found = comparison(steps, seconds)
    found.rows(), found.summary()
    for run in found.results.values():
        run.history.looked_at = 0
    grow(found, 10)
    found.rows(), found.summary()
    assert all(0 < run.history.looked_at <= 100 for run in found.results.values())


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_a_table_that_grew_is_the_one_made_at_the_end(seconds):
    found = comparison(0, seconds)
    for steps in (0, 1, 1, 3, 2, 50, 4, 120):
        grow(found, steps)
        if found.results["run 1"].history:
            found.rows()
    histories = {name: list(run.history) for name, run in found.results.items()}
    fresh = Comparison(
        {
            name: Result(SimpleNamespace(history=history, trace_count=2), {})
            for name, history in histories.items()
        },
        rounds=found.rounds,
        seconds=seconds,
    )
    assert found.rows() == fresh.rows()
    assert found.summary() == fresh.summary()


def test_the_numbers_are_those_of_the_standard_library():
    found = comparison(333)
    history = list(found.results["run 1"].history)
    timed = [r for r in history if "first_call_seconds" not in r]
    ms = [1e3 * r["step_seconds"] for r in timed]
    timing = Timing.of("a", found.results["run 1"])
    tenths = statistics.quantiles(ms, n=10, method="inclusive")
    assert timing.step_ms == pytest.approx(statistics.median(ms))
    assert (timing.low_ms, timing.high_ms) == pytest.approx((tenths[0], tenths[-1]))
    rates = [r["tokens"] / r["step_seconds"] for r in timed]
    assert timing.tokens_per_second == pytest.approx(statistics.median(rates))
    assert timing.first_call_seconds == 0.5
    tally = found.tally("run 1")
    ends = itertools.accumulate(seconds_of(r, True) for r in history)
    assert list(tally.ends) == pytest.approx(list(ends))
    assert tally.eval_loss == history[299]["eval_loss"]


def test_the_loss_at_a_time_is_the_smoothed_one():
    """The mean that moves from loss to loss, as it is written down."""
    found = comparison(400)
    tally, at = found.tally("run 1"), 0.9
    total = weight = then = 0.0
    means = []
    for now, loss in zip(tally.ends, tally.losses, strict=True):
        fresh = 1 - np.exp(-(now - then) / (at / 20))
        total += fresh * (loss - total)
        weight += fresh * (1 - weight)
        means.append(total / weight)
        then = now
    expected = np.interp(at, tally.ends, means)
    assert found.losses_at(at)["run 1"].loss == pytest.approx(expected, rel=1e-6)


def test_a_round_costs_the_median_of_its_own_steps_but_the_first():
    seconds = [9, 1, 3, 9, 5, 7, 9, 2]
    history = [
        {"step": n, "loss": 1.0, "tokens": 10, "step_seconds": s}
        for n, s in enumerate(seconds, start=1)
    ]
    tally = Tally()
    for end in range(1, 9):  # as they come
        tally.take(history[:end], [0, 0, 0, 1, 1, 1, 2, 2])
    assert tally.costs().tolist() == pytest.approx([0.2, 0.6, 0.55])


def test_a_round_without_a_turn_costs_nothing_and_is_not_shared():
    history = [record(step, random.Random(0)) for step in range(8, 12)]
    tally = Tally()
    tally.take(history, [2, 2, 5, 5])
    assert len(tally.costs()) == 6
    assert np.flatnonzero(np.isfinite(tally.costs())).tolist() == [2, 5]


def test_a_new_history_is_taken_in_afresh():
    found = Findings({"a": comparison(50).results["run 1"]})
    assert found.tally("a").steps == 50
    found.results["a"] = comparison(8).results["run 2"]
    assert found.tally("a").steps == 8
