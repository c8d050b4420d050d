"""What a frame shows, and that it costs the same however long the run has been."""

import io
import subprocess
import sys

from lmxlab.lab.chart import MAX_POINTS, Chart, Curve
import numpy as np
from PIL import Image
import pytest


def record(step, loss=3.0, **more):
    return {"step": step, "loss": loss, "tokens": 100, "step_seconds": 0.01, **more}


def filled(steps, total=None, **kwargs):
    chart = Chart(total or steps, **kwargs)
    for step in range(1, steps + 1):
        chart.add(record(step, loss=1 + 3 / step, step_seconds=0.01 + step % 7 / 1e3))
    return chart


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def redraws(chart, monkeypatch):
    """Count full redraws from now on."""
    counted = []
    draw = chart._draw_background
    monkeypatch.setattr(
        chart, "_draw_background", lambda: (counted.append(1), draw())[1]
    )
    return counted


# ------------------------------------------------------------------------------ curves


@pytest.mark.parametrize("length", [0, 1, 399, 400, 401, 799, 800, 801, 12345, 100_000])
def test_a_line_has_few_points_and_ends_where_the_run_does(length):
    curve = Curve()
    curve.xs, curve.ys, curve.means = (list(range(length)) for _ in range(3))
    for xs, ys in (curve.raw(), curve.smooth()):
        assert len(xs) == len(ys) == min(length, len(xs)) <= MAX_POINTS
        assert length > MAX_POINTS or len(xs) == length
        assert length == 0 or (xs[0], xs[-1]) == (0, length - 1)


def test_the_mean_starts_at_the_first_value_and_follows():
    curve = Curve(smoothing=0.9)
    for step in range(50):
        curve.add(step, 4.0)
    assert curve.means == pytest.approx([4.0] * 50)
    curve.add(50, 5.0)
    assert 4.05 < curve.means[-1] < 4.15


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_left_out(value):
    chart = filled(3)
    before = pixels(chart.png())
    chart.loss[""].add(4, value)
    assert (pixels(chart.png()) == before).all()
    assert chart.loss[""].xs == [1, 2, 3]


# ------------------------------------------------------------------------------ frames


def test_a_frame_of_a_long_run_draws_as_few_points_as_one_of_a_short_run():
    chart = filled(100_000)
    chart.png()
    for _, line, _ in chart._lines:
        assert len(line.get_xdata()) <= MAX_POINTS


def test_frames_differ_when_the_data_does_and_only_then():
    chart = filled(10, total=50)
    first = chart.png()
    assert chart.png() == first
    chart.add(record(11, loss=1.5))
    assert chart.png() != first
    assert chart.frame_seconds > 0


def test_a_frame_is_transparent_and_not_empty():
    image = pixels(filled(30).png())
    assert image.shape == (290, 840, 4)
    assert image[0, 0, 3] == 0
    assert 0.01 < (image[..., 3] > 0).mean() < 0.3


def test_blitted_and_redrawn_frames_are_the_same():
    chart = filled(30, total=60)
    chart.png()
    for step in range(31, 41):
        chart.add(record(step, loss=1.1))
    blitted = pixels(chart.png())
    chart._background = None
    assert np.abs(pixels(chart.png()).astype(int) - blitted).max() <= 2


def test_a_falling_loss_moves_the_limits_rarely(monkeypatch):
    chart = Chart(600)
    counted = redraws(chart, monkeypatch)
    for step in range(1, 601):
        chart.add(record(step, loss=0.66 + 3.3 * 0.98**step))
        if step < 20 or step % 30 == 0:
            chart.png()
    assert len(counted) <= 8


def test_the_limits_hold_the_data_and_the_references():
    chart = Chart(100, references={"floor": 0.5, "chance": 0.2})
    for step, loss in ((1, 4.0), (2, 6.0), (3, 1.0)):
        chart.add(record(step, loss, eval_loss=7.0 if step == 2 else 1.0))
        chart.png()
        low, high = chart._axes[0].get_ylim()
        assert low < 0.2
        assert high > (4.0 if step == 1 else 7.0)
    assert chart._axes[0].get_xlim() == (0, 100)
    assert chart._axes[1].get_ylim()[0] == 0
    assert chart._axes[1].get_ylim()[1] > 100 / 0.01


def test_a_step_that_was_fast_by_chance_does_not_flatten_the_rest():
    chart = filled(50)
    chart.png()
    before = chart._axes[1].get_ylim()
    chart.add(record(51, step_seconds=1e-6))
    chart.loss[""].add(52, 1.0)
    chart.speed[""].high = before[1] / 10  # the mean has come back
    chart.png()
    assert chart._axes[1].get_ylim()[1] < before[1]


def test_every_axis_says_its_unit():
    chart = Chart(10, ["a", "b"], first_calls=True)
    chart.png()
    labels = [axes.get_ylabel() for axes in (*chart._axes, chart._bars)]
    assert labels == ["loss (nats per token)", "tokens / s", "first call (s)"]
    assert [axes.get_xlabel() for axes in chart._axes] == ["step", "step"]


def test_a_picture_without_data_has_no_numbers_on_it():
    chart = Chart(1)
    empty = (pixels(chart.png())[..., 3] > 0).sum()
    chart.add(record(1))
    chart.add(record(2))
    assert (pixels(chart.png())[..., 3] > 0).sum() > empty + 200


# ------------------------------------------------------------------- references, marks


def texts(chart):
    return [text.get_text().strip() for text in chart._axes[0].texts]


def test_references_are_named_with_their_value():
    chart = filled(5, references={"entropy floor": 0.6611})
    chart.png()
    assert texts(chart) == ["entropy floor 0.661"]


def test_marks_of_one_slider_merge_while_it_moves():
    chart = filled(100)
    for step in (50, 51, 52):
        chart.mark(step, f"learning_rate {step}")
    chart.mark(53, "max_grad_norm 1")
    chart.mark(54, "learning_rate 54")
    chart.mark(90, "learning_rate 90")
    assert chart.marks == [
        (52, "learning_rate 52"),
        (53, "max_grad_norm 1"),
        (54, "learning_rate 54"),
        (90, "learning_rate 90"),
    ]
    chart.png()
    assert texts(chart) == [text for _, text in chart.marks]


def test_marks_do_not_pile_up_from_redraw_to_redraw():
    chart = filled(100)
    for step in (10, 40, 80):
        chart.mark(step, f"learning_rate {step}")
        chart.png()
    assert len(texts(chart)) == 3
    assert len(chart._axes[1].collections) == 3


# ------------------------------------------------------------------------ several runs


def test_several_runs_are_named_and_told_apart_without_colour():
    chart = Chart(5, ["eager", "compiled"], first_calls=True)
    for name in chart.names:
        chart.add(record(1, first_call_seconds=0.5), name)
        chart.add(record(2), name)
    chart.png()
    legend = chart._axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["eager", "compiled"]
    styles = {line.get_linestyle() for line in legend.get_lines()}
    assert len(styles) == 2


def test_what_first_calls_cost_is_a_bar_and_no_point_of_the_curve():
    chart = Chart(5, ["a", "b"], first_calls=True)
    chart.add(record(1, first_call_seconds=0.5), "a")
    chart.add(record(2, first_call_seconds=0.25), "a")
    chart.add(record(3), "a")
    assert chart.first_calls == {"a": 0.75}
    assert chart.speed["a"].xs == [3]
    chart.png()
    assert [bar.get_height() for bar in chart._bars.patches] == [0.75, 0.0]
    assert chart._bars.patch.get_alpha() == 0  # on black, too


# --------------------------------------------------------------------------- no pyplot


def test_no_figure_is_left_with_pyplot():
    code = """
import sys
from lmxlab.lab import Compare, LivePlot, Panel
from lmxlab.lab.chart import Chart
from lmxlab.training.config import TrainConfig
Chart(3, ["a", "b"], first_calls=True).png()
plot = LivePlot()
plot.on_train_begin(TrainConfig(max_steps=2))
plot.on_train_end([])
print("matplotlib.pyplot" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("False\n", "")
