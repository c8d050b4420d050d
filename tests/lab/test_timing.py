"""Medians, ratios, break-even and equal times of runs whose numbers are made up."""

import itertools
import math
import random
from types import SimpleNamespace

from lmxlab.lab.run import Result
from lmxlab.lab.timing import Equality, Findings, LossAt, Ratio, Timing
import pytest


def run(step_ms, first_ms=0.0, tokens=10, traces=1, losses=None):
    """A run as if it had taken so long: a first call, if any, then timed steps."""
    history = [{"step_seconds": ms / 1e3} for ms in step_ms]
    if first_ms:
        first = {"step_seconds": first_ms / 1e3, "first_call_seconds": first_ms / 1e3}
        history.insert(0, first)
    losses = losses or [1 / step for step in range(1, len(history) + 1)]
    for step, (record, loss) in enumerate(zip(history, losses, strict=True), start=1):
        record |= {"step": step, "loss": loss, "tokens": tokens}
    return Result(SimpleNamespace(history=history, trace_count=traces), {})


def steady(slow, fast, steps=60, **kwargs):
    """Findings on two runs, each (ms a step, ms of the first call)."""
    named = {"slow": slow, "fast": fast}
    runs = {n: run([ms] * (steps - 1), first) for n, (ms, first) in named.items()}
    return Findings(runs, **kwargs)


def timings_of(ms, **kwargs):
    return Timing.of("fast", run(ms, **kwargs))


# ---------------------------------------------------------------------------- medians


def test_a_timing_leaves_first_calls_out():
    timing = timings_of([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], first_ms=500, traces=3)
    assert timing.step_ms == pytest.approx(6)
    assert (timing.low_ms, timing.high_ms) == pytest.approx((2, 10))
    assert timing.tokens_per_second == pytest.approx(10 / 6e-3)
    assert timing.first_call_seconds == pytest.approx(0.5)
    assert timing.entered == 3


def test_too_few_steps_have_no_timing():
    with pytest.raises(ValueError, match="fast: 1 timed steps are too few"):
        timings_of([1.0], first_ms=5.0)
    assert Findings({"fast": run([1.0], 5.0)}).timings == {}


# ----------------------------------------------------------------------------- ratios


def test_speedup_is_known_for_steady_runs():
    found = steady((12, 500), (4, 4500))
    assert found.speedup("slow", "fast") == pytest.approx(3)
    assert found.speedup("fast", "slow") == pytest.approx(1 / 3)


def noisy(factor, spread=0.02, rounds=40, drift=10.0, seed=1):
    """Two runs in turns of five on a machine that gets slower and slower."""
    draw, steps = random.Random(seed), {"slow": [], "fast": []}
    for number in range(rounds):
        machine = 1 + drift * number / rounds
        for name, cost in (("slow", factor), ("fast", 1.0)):
            noise = (draw.uniform(1 - spread, 1 + spread) for _ in range(5))
            steps[name] += [cost * machine * one for one in noise]
    return Findings({name: run(ms) for name, ms in steps.items()})


@pytest.mark.parametrize("seed", range(5))
def test_what_the_machine_does_cancels(seed):
    ratio = noisy(1.9, seed=seed).ratio("slow", "fast")
    assert ratio.low < 1.9 < ratio.high
    assert ratio.high - ratio.low < 0.05  # though steps differ by a factor of ten


@pytest.mark.parametrize("seed", range(5))
def test_two_runs_alike_are_not_told_apart(seed):
    assert not noisy(1.0, seed=seed).ratio("slow", "fast").is_shown


def test_a_ratio_is_taken_in_the_rounds_that_both_had():
    rounds = {"slow": [0, 0, 1, 1, 2, 2], "fast": [0, 0, 3, 3, 3, 3]}
    runs = {"slow": run([8, 8, 1, 1, 1, 1]), "fast": run([2, 2, 9, 9, 9, 9])}
    assert Findings(runs, rounds=rounds).speedup("slow", "fast") == pytest.approx(4)
    rounds["fast"] = [7] * 6
    said = Findings(runs, rounds=rounds).verdict("fast")
    assert said == "fast against slow: too few steps to time them."
    with pytest.raises(ValueError, match="slow and fast share no round"):
        Findings(runs, rounds=rounds).ratio("slow", "fast")


def test_the_first_step_of_a_turn_does_not_count():
    turns = {"slow": [90, 4, 8] * 6, "fast": [2, 2, 2] * 6}
    rounds = {name: [place // 3 for place in range(18)] for name in turns}
    found = Findings({name: run(ms) for name, ms in turns.items()}, rounds=rounds)
    assert found.speedup("slow", "fast") == pytest.approx(3)  # 6 to 2, and not 8


def test_throughput_is_compared_and_not_steps():
    runs = {"small": run([2.0] * 40, tokens=10), "large": run([4.0] * 40, tokens=40)}
    found = Findings(runs)
    assert found.speedup("small", "large") == pytest.approx(2)
    speed, since, sentence = found.against("small", "large")
    assert (speed, since) == ("2.00 (2.00 to 2.00)", "–")  # steps are not alike
    assert sentence.endswith("times as fast as small, by tokens.")


def coverage(count):
    """How often the interval of so many values holds the true median, exactly."""
    low, high = Ratio.of(range(count)).low, Ratio.of(range(count)).high
    outside = sum(math.comb(count, k) for k in range(int(low) + 1)) / 2**count
    assert low + high == count - 1  # as far from either end
    return 1 - 2 * outside


def test_the_interval_is_right_in_95_cases_of_100():
    assert all(coverage(count) >= 0.95 for count in range(6, 200))
    assert all(coverage(count) < 0.98 for count in range(30, 200))  # and not too wide


def test_five_rounds_have_no_interval():
    ratio = Ratio.of([1.8, 1.9, 2.0, 1.9, 1.9])
    assert (ratio.low, ratio.high, ratio.is_shown) == (0, math.inf, False)


@pytest.mark.parametrize(
    ("ends", "shown"),
    [((1.1, 1.2), True), ((0.8, 0.9), True), ((0.9, 1.1), False), ((1, 1), False)],
)
def test_a_difference_is_shown_when_the_interval_excludes_one(ends, shown):
    assert Ratio(1.0, *ends).is_shown is shown


# ------------------------------------------------------------------------- break-even


@pytest.mark.parametrize(
    ("slow", "fast", "steps"),
    [
        ((12, 500), (4, 4500), 500),  # 4 s dearer at first, 8 ms cheaper a step
        ((12, 500), (4, 500), 0),  # no dearer
        ((12, 500), (4, 100), 0),
        ((4, 500), (12, 100), 0),  # cheaper at first, if dearer a step
        ((4, 500), (12, 4500), math.inf),  # dearer both ways
        ((4, 500), (4, 4500), math.inf),
    ],
)
def test_break_even_is_cost_over_gain(slow, fast, steps):
    assert steady(slow, fast).break_even("slow", "fast") == pytest.approx(steps)


@pytest.mark.parametrize(
    ("slow", "fast", "steps", "cell", "words"),
    [
        ((12, 500), (4, 700), 60, "after 25 steps",
         "fast: 3.00 (3.00 to 3.00) times as fast as slow; its first call is earned "
         "back after 25 steps."),
        ((12, 500), (4, 4500), 60, "after 500 steps",
         "its first call would be earned back after 500 steps (it did 60)."),
        ((12, 500), (4, 100), 60, "at once", "fast as slow; its first call was no "
         "dearer."),
        ((4, 500), (12, 4500), 60, "never", "fast: 0.33 (0.33 to 0.33) times as fast "
         "as slow; its first call cost more, too."),
        ((4, 900), (12, 100), 60, "ahead for 100 steps", "slow; ahead for 100 steps, "
         "since its first call was cheaper."),
        ((4, 500), (4, 900), 60, "not shown", "fast: 1.00 (1.00 to 1.00) times as "
         "fast as slow: no difference that this run can show."),
        ((12, 500), (4, 700), 20, "–", "fast: about 3.00 times as fast as slow; too "
         "few turns to be sure."),
        ((12, 500), (4, 700), 2, "–", "fast against slow: too few steps to time "
         "them."),
    ],
)  # fmt: skip
def test_the_verdict_is_what_the_numbers_say(slow, fast, steps, cell, words):
    found = steady(slow, fast, steps)
    assert found.against("slow", "fast")[1] == cell
    assert found.verdict("fast").endswith(words)


def test_any_run_may_be_the_baseline():
    found = steady((12, 500), (4, 700), baseline="fast")
    assert found.names == ["fast", "slow"]
    assert found.verdict("slow").startswith("slow: 0.33 (0.33 to 0.33) times as fast")
    assert found.against("fast", "fast")[:2] == ("1", "–")


# ----------------------------------------------------------------------------- losses


def test_equal_losses_are_equal_bit_for_bit():
    found = steady((12, 500), (4, 700))
    assert found.equality("slow", "fast") == Equality(60, 0.0, None)
    assert str(found.equality("slow", "fast")) == "equal, bit for bit"
    assert found.largest_difference == 0


def test_the_first_step_that_differs_is_found_and_the_largest_gap():
    found = steady((12, 500), (4, 700))
    found.results["fast"].history[9]["loss"] += 1e-15  # hardly anything is not nothing
    found.results["fast"].history[30]["loss"] -= 0.25
    equality = found.equality("slow", "fast")
    assert (equality.first, equality.largest) == (10, pytest.approx(0.25))
    assert str(equality) == "differ from step 10 on, by up to 0.25"
    assert found.largest_difference == pytest.approx(0.25)


def test_only_steps_that_both_have_done_are_compared():
    found = Findings({"a": run([1.0] * 4), "b": run([1.0] * 9)})
    assert found.equality("a", "b") == Equality(4, 0.0, None)
    assert str(Equality.of([], [])) == "no step in common"


def test_a_run_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'tiny' is not one of the runs"):
        steady((12, 500), (4, 700)).speedup("slow", "tiny")


# ------------------------------------------------------------------------ equal times


def curve(step_ms, steps, loss_at, first_ms=0.0, noise=0.0, seed=0):
    """A run whose loss is a function of its training seconds, and noise."""
    draw = random.Random(seed)
    costs = ([first_ms] if first_ms else []) + [step_ms] * steps
    ends = itertools.accumulate(cost / 1e3 for cost in costs)
    losses = [loss_at(end) + draw.gauss(0, noise) for end in ends]
    return run([step_ms] * steps, first_ms, losses=losses)


def test_runs_are_compared_after_the_time_that_all_have_had():
    runs = {"a": curve(10, 500, lambda t: 3 - t), "b": curve(100, 40, lambda t: 3 - t)}
    assert Findings(runs).common_seconds == pytest.approx(4)
    assert Findings(runs, seconds=2.0).common_seconds == 2
    failed = {"b": ValueError("no data")}
    assert Findings(runs, failures=failed).common_seconds == pytest.approx(5)


@pytest.mark.parametrize(("step_ms", "steps"), [(1, 4000), (10, 400), (50, 80)])
def test_one_curve_has_one_loss_whatever_its_steps_cost(step_ms, steps):
    """Smoothed over the same seconds; over the same steps the slow one would lag."""
    runs = {"a": curve(step_ms, steps, lambda t: 3 - t / 2)}
    found = Findings(runs).losses_at(3.0)["a"]
    # An exponential mean lags by its memory, 3/20 s, here 0.075 nats.
    assert found.loss == pytest.approx(1.5 + 0.075, abs=0.015)
    assert found.steps == pytest.approx(3000 / step_ms, abs=1)


def test_between_two_steps_the_curve_is_interpolated():
    at = LossAt.of([1.0, 2.0, 3.0], [4.0, 4.0, 2.0], seconds=2.25)
    assert at.loss == pytest.approx(3.5, abs=1e-3)
    assert at.steps == 2


def test_first_calls_count_as_time_or_do_not():
    runs = {"a": curve(10, 400, lambda t: 3.0, first_ms=2000)}
    included, left_out = (Findings(runs, first_calls=on) for on in (True, False))
    assert included.common_seconds == pytest.approx(6)
    assert left_out.common_seconds == pytest.approx(4)
    assert included.losses_at(3.0)["a"].steps == pytest.approx(101, abs=1)
    assert left_out.losses_at(3.0)["a"].steps == pytest.approx(301, abs=1)


def test_who_has_not_trained_so_long_has_no_loss_there():
    runs = {"a": curve(10, 400, lambda t: 3.0), "b": curve(10, 100, lambda t: 3.0)}
    assert list(Findings(runs).losses_at(2.0)) == ["a"]
    assert Findings({"a": run([])}).losses_at(1.0) == {}


def test_the_noise_is_that_of_the_smoothed_curve():
    found = []
    for seed in range(60):
        made = curve(10, 600, lambda t: 3.0, noise=0.2, seed=seed)
        found.append(Findings({"a": made}).losses_at(5.0)["a"])
    spread = math.sqrt(sum((at.loss - 3.0) ** 2 for at in found) / len(found))
    said = sum(at.noise for at in found) / len(found)
    assert said == pytest.approx(spread, rel=0.25)


def test_eight_steps_are_needed_to_know_the_noise():
    ends, losses = [float(n) for n in range(1, 9)], [2.0, 3.0] * 4
    assert LossAt.of(ends, losses, 7.5).noise == math.inf
    assert LossAt.of(ends, losses, 8.0).noise < 1
    assert not LossAt.of(ends, losses, 7.5).is_below(LossAt(99.0, 0.0, 8))


@pytest.mark.parametrize(
    ("other", "below"), [(2.3, True), (2.28, False), (2.0, False), (1.0, False)]
)
def test_a_loss_is_lower_by_more_than_twice_the_noise(other, below):
    assert LossAt(2.0, 0.1, 50).is_below(LossAt(other, 0.1, 50)) is below
