"""A curve forgets nothing, and draws the same few points however long it is."""

import math
import random

from lmxlab.lab.curves import KINDS, MAX_POINTS, Curve, History
from lmxlab.lab.horizon import Horizon
import pytest


def noise(length, seed=0):
    made = random.Random(seed)
    return [3 + made.gauss(0, 0.3) for _ in range(length)]


def grown(values, smoothing=0.8, looks_every=None):
    """Add points one by one, looking now and then, as frames do."""
    curve = Curve(smoothing)
    for index, y in enumerate(values):
        curve.add(index + 1, y, tokens=64 * (index + 1), seconds=index / 8)
        if looks_every and index % looks_every == 0:
            curve.smooth()
    return curve


def means(values, smoothing):
    total = weight = 0.0
    for y in values:
        total = smoothing * total + (1 - smoothing) * y
        weight = smoothing * weight + (1 - smoothing)
        yield total / weight


def lists(points):
    return [column.tolist() for column in points]


LENGTHS = [1, 2, 399, 400, 401, 795, 796, 797, 1593, 5000, 101_889]


# ------------------------------------------------------------------------- few points


@pytest.mark.parametrize("length", LENGTHS)
def test_a_line_has_few_points_and_goes_from_the_first_to_the_last(length):
    curve = grown(noise(length))
    for xs, ys in (curve.raw(), curve.smooth()):
        assert len(xs) == len(ys) <= MAX_POINTS
        assert (xs[0], xs[-1]) == (1, length)
        assert length > MAX_POINTS or len(xs) == length
    assert curve.raw()[1][-1] == curve.ys[-1]


def test_a_long_line_still_has_more_than_a_hundred_points():
    for length in range(401, 3000, 97):
        assert len(grown(noise(length)).raw()[0]) > 100


@pytest.mark.parametrize("shape", ["raw", "band"])
@pytest.mark.parametrize("place", [0, 1, 777, 4998, 4999])
def test_a_single_peak_does_not_vanish(shape, place):
    values = noise(5000)
    values[place], values[place - 2] = 99.0, -99.0
    ys = getattr(grown(values), shape)()[1]
    assert (ys.max(), ys.min()) == (99.0, -99.0)


def test_the_raw_line_is_made_of_points_of_the_curve_in_their_order():
    curve = grown(noise(5000))
    points = list(zip(*lists(curve.raw()), strict=True))
    assert set(points) <= set(zip(curve.xs, curve.ys, strict=True))
    assert points == sorted(points)


def test_the_band_is_a_line_first_and_then_a_closed_outline():
    assert lists(grown(noise(400)).band()) == lists(grown(noise(400)).raw())
    xs, ys = grown(noise(401)).band()
    assert (xs[0], ys[0]) == (xs[-1], ys[-1])
    half = len(xs) // 2
    assert (ys[:half] <= ys[half:-1][::-1]).all()


@pytest.mark.parametrize("looks_every", [1, 7, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.8, 0.99])
def test_looking_does_not_change_what_is_seen(looks_every, smoothing):
    values = noise(3333)
    often = grown(values, smoothing, looks_every)
    once = grown(values, smoothing)
    assert lists(often.raw()) == lists(once.raw())
    assert often.smooth()[1] == pytest.approx(once.smooth()[1])
    assert often.is_noisy == once.is_noisy


# -------------------------------------------------------------------------- smoothing


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("length", [50, 400, 1000, 5000])
def test_the_smoothed_line_is_the_exponential_mean_corrected_for_its_start(
    smoothing, length
):
    values = noise(length)
    expected = list(means(values, smoothing))
    xs, ys = grown(values, smoothing).smooth()
    assert ys == pytest.approx([expected[int(x) - 1] for x in xs])


def test_the_smoothing_can_be_changed_afterwards_and_back():
    values = noise(2000)
    curve = grown(values, 0.8, looks_every=10)
    before = lists(curve.smooth())
    curve.smoothing = 0.3
    assert curve.smooth()[1] == pytest.approx(grown(values, 0.3).smooth()[1])
    curve.smoothing = 0.8
    assert curve.smooth()[1] == pytest.approx(before[1])
    assert curve.ys == values


def test_a_changed_smoothing_applies_to_what_comes_after():
    curve = grown(noise(500), 0.8)
    curve.smoothing = 0.1
    curve.add(501, 9.0)
    assert curve.smooth()[1][-1] == pytest.approx(list(means(curve.ys, 0.1))[-1])


def test_a_curve_says_when_it_would_look_different():
    curve = Curve(0.5)
    seen = {curve.version}
    curve.add(1, 1.0)
    seen.add(curve.version)
    curve.smoothing = 0.9
    assert len({*seen, curve.version}) == 3
    now = curve.version
    curve.raw(), curve.smooth(), curve.bounds()
    curve.smoothing = 0.9
    assert curve.version == now


# ------------------------------------------------------------------------ exact values


@pytest.mark.parametrize(
    ("x", "kind", "value"),
    [(-5, "steps", 1.0), (1.4, "steps", 1.0), (1.6, "steps", 2.0), (9, "steps", 3.0),
     (100, "tokens", 2.0), (120, "tokens", 3.0), (0.3, "seconds", 1.0),
     (0.8, "seconds", 2.0)],
)  # fmt: skip
def test_the_nearest_point_is_found_on_each_axis(x, kind, value):
    curve = Curve()
    for step, (tokens, seconds) in enumerate([(50, 0.25), (100, 0.75), (130, 2.0)], 1):
        curve.add(step, float(step), tokens, seconds)
    assert curve.nearest(x, kind).value == value


def test_the_nearest_point_is_exact_however_long_the_curve_is():
    values = noise(20_000)
    curve = grown(values)
    curve.smooth()
    assert all(
        curve.nearest(step).value == values[step - 1] for step in (1, 7777, 20000)
    )
    assert curve.nearest(64 * 7777, "tokens").steps == 7777


def test_an_empty_curve_has_no_nearest_point():
    assert Curve().nearest(1) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_left_out(value):
    curve = grown([1.0, 2.0])
    curve.add(3, value)
    assert curve.xs == [1, 2]


# ------------------------------------------------------------------------------ bounds


def test_bounds_leave_a_single_outlier_out_and_extremes_do_not():
    values = noise(1000)
    values[500] = 1e6
    curve = grown(values, smoothing=0.0)
    curve.smoothing = 0.8  # from here on the mean dilutes it, too
    low, high = curve.bounds()
    assert high < 1e6 / 2
    assert curve.extremes() == (min(values), 1e6)
    assert low == pytest.approx(min(values), abs=0.5)


@pytest.mark.parametrize(("peak", "is_shown"), [(1.3, True), (9.0, False)])
def test_a_peak_that_is_not_far_is_within_the_bounds(peak, is_shown):
    values = [step % 2 for step in range(300)]
    values[150] = peak
    low, high = grown(values, smoothing=0.9).bounds()
    assert low == 0
    assert (high == peak) is is_shown


def test_a_schedule_is_not_noisy_and_a_gauge_is():
    schedule = [math.cos(math.pi * step / 3000) for step in range(3000)]
    assert not grown(schedule, looks_every=9).is_noisy
    assert grown(noise(3000), looks_every=9).is_noisy
    assert lists(grown(schedule).smooth(exact=True)) == lists(grown(schedule).raw())


# ----------------------------------------------------------------------------- history


def record(step, **more):
    return {"step": step, "loss": 3.0, "tokens": 64, "step_seconds": 0.5, **more}


def test_a_history_has_a_curve_for_every_number_that_is_a_metric():
    run = History(0.8)
    run.add(
        record(1, kl=0.1, grad_norm=2, stopping=0.0, variant="a", on=True, none=None)
    )
    run.add(record(2, eval_loss=2.5, eval_accuracy=0.5, late=math.nan))
    filled = {name for name, curve in run.curves.items() if curve}
    assert filled == {
        "loss",
        "tokens/s",
        "kl",
        "grad_norm",
        "eval_loss",
        "eval_accuracy",
    }
    assert "late" not in run.curves


def test_tokens_and_seconds_add_up_with_the_first_call_and_speed_without_it():
    run = History(0.8)
    run.add(record(1, step_seconds=4.0, first_call_seconds=4.0))
    run.add(record(2))
    run.add(record(3, step_seconds=2.0, first_call_seconds=2.0))
    last = run.curves["loss"][-1]
    assert (last.tokens, last.seconds) == (192, 6.5)
    assert run.curves["tokens/s"].ys == [128.0]
    assert run.curves["tokens/s"].xs == [2]
    assert run.first_call_seconds == 6.0


def test_evaluations_are_never_smoothed():
    run = History(0.9, [record(1, eval_kl=1.0), record(2, eval_kl=3.0)])
    run.smooth(0.5)
    assert lists(run.curves["eval_kl"].smooth())[1] == [1.0, 3.0]


# ----------------------------------------------------------------------------- horizon


def paced(steps, first=10.0, each=0.5):
    curve = Curve()
    for step in range(1, steps + 1):
        curve.add(step, 1.0, 64 * step, first + each * (step - 1))
    return curve


def test_steps_end_where_the_run_does_from_the_start():
    horizon = Horizon(300)
    assert horizon.of("steps", []) == horizon.of("steps", [paced(7)]) == 300


def test_seconds_are_estimated_without_the_first_call():
    ends = Horizon(100).of("seconds", [paced(2)])
    assert 10 + 99 * 0.5 <= ends <= 1.1 * (10 + 99 * 0.5)


def test_the_end_moves_rarely_and_holds_what_is_there():
    horizon, curve, seen = Horizon(1000), Curve(), []
    made, seconds = random.Random(0), 5.0
    for step in range(1, 1001):
        seconds += 0.01 * made.uniform(0.5, 1.5)
        curve.add(step, 1.0, 64 * step, seconds)
        seen.append(horizon.of("seconds", [curve]))
        assert seen[-1] >= seconds
    assert len(set(seen)) <= 8
    assert seen[-1] == seconds


def test_a_known_number_of_seconds_is_the_end_of_their_axis():
    horizon, curve, seen = Horizon(1000, seconds=10.0), Curve(), []
    for step in range(1, 41):
        curve.add(step, 1.0, 64 * step, 0.25 * step)
        seen.append(horizon.of("seconds", [curve]))
    assert set(seen) == {10.0}
    curve.add(41, 1.0, 64 * 41, 10.25)  # what is there is shown
    assert horizon.of("seconds", [curve]) == 10.25
    assert horizon.of("seconds", [], [paced(50)]) == paced(50)[-1].seconds
    assert horizon.of("steps", [curve]) == 1000


def test_first_calls_may_take_no_time():
    run = History(0.0, free_first_calls=True)
    run.add(record(1, step_seconds=4.0, first_call_seconds=4.0))
    run.add(record(2))
    assert [run.curves["loss"][i].seconds for i in (0, 1)] == [0.0, 0.5]
    assert run.first_call_seconds == 4.0


def test_kept_runs_are_shown_whole():
    assert Horizon(10).of("steps", [], [paced(50)]) == 50
    assert Horizon(10).of("tokens", [paced(2)], [paced(50)]) >= 50 * 64


@pytest.mark.parametrize("kind", KINDS)
def test_an_axis_without_data_has_an_end(kind):
    assert Horizon(1).of(kind, []) >= 1
