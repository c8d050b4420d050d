"""What the picture shows of runs, and that it costs the same however long they are."""

import io
from itertools import pairwise
import random
import subprocess
import sys
import time
from xml.etree import ElementTree

from lmxlab.lab.chart import HEIGHT, WIDTH, Chart
from lmxlab.lab.curves import MAX_POINTS
import numpy as np
from PIL import Image
import pytest


def record(step, loss=3.0, **more):
    return {"step": step, "loss": loss, "tokens": 100, "step_seconds": 0.01, **more}


def history(steps, **metrics):
    made = random.Random(0)
    return [
        record(
            step,
            loss=1 + 3 / step,
            step_seconds=0.01 + step % 7 / 1e3,
            **{name: value + made.random() for name, value in metrics.items()},
        )
        for step in range(1, steps + 1)
    ]


def filled(steps, total=None, metrics=None, **kwargs):
    chart = Chart(total or steps, **kwargs)
    for each in history(steps, **(metrics or {})):
        chart.add(each)
    return chart


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def legend(chart, name):
    found = chart._plots[name].axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


# ------------------------------------------------------------------------------ frames


def test_a_frame_of_a_long_run_draws_as_few_points_as_one_of_a_short_run():
    chart = filled(20_000)
    chart.png()
    for plot in chart._plots.values():
        for _, artist, _ in plot._artists:
            path = artist.get_path()
            assert len(path.vertices) <= MAX_POINTS + 1


def test_a_frame_of_a_long_run_costs_what_one_of_a_short_run_does():
    def frame(chart):
        step = int(chart.curves("loss")[""].xs[-1]) + 1
        chart.add(record(step, loss=1 + step % 5 / 10))
        started = time.process_time()
        chart.tiles()
        return time.process_time() - started

    charts = [filled(steps, total=50_000) for steps in (1000, 40_000)]
    for chart in charts:
        chart.tiles()
    short, long = zip(
        *([frame(chart) for chart in charts] for _ in range(25)), strict=True
    )
    assert sorted(long)[12] < 2 * sorted(short)[12]


def test_frames_differ_when_the_data_does_and_only_then():
    chart = filled(10, total=50)
    first = chart.png()
    assert chart.png() == first
    chart.add(record(11, loss=1.5))
    assert chart.png() != first
    assert chart.frame_seconds > 0


def test_loss_and_speed_lie_side_by_side_and_gauges_below():
    assert pixels(filled(9).png()).shape == (HEIGHT, WIDTH, 4)
    chart = filled(9, metrics={"kl": 0, "margin": 1, "entropy": 2})
    picture, tiles = pixels(chart.png()), chart.tiles()
    assert picture.shape == (3 * HEIGHT, WIDTH, 4)
    margin = picture[2 * HEIGHT :, : WIDTH // 2]
    apart = np.abs(margin.astype(int) - pixels(tiles["margin"]))
    assert apart.max() < 50  # few colours are chosen for each picture
    assert apart.mean() < 1
    assert picture[2 * HEIGHT :, WIDTH // 2 :, 3].max() == 0


def test_tiles_that_have_not_changed_are_the_same_objects():
    chart = filled(9, metrics={"kl": 0})
    before = chart.tiles()
    chart.add(record(10))  # brings no kl
    after = chart.tiles()
    assert [name for name in before if after[name] is before[name]] == ["kl"]


def test_only_the_tiles_that_were_asked_for_are_drawn():
    chart = filled(9, metrics={"kl": 0})
    assert chart.plots() == ["loss", "speed", "kl"]
    assert list(chart.tiles(only=["kl", "loss"])) == ["loss", "kl"]


def test_a_tile_whose_lines_are_others_is_drawn_whoever_asked():
    chart = filled(9, metrics={"kl": 0, "reward": 0})
    chart.tiles()
    chart.add(record(10, kl=1.0, reward=1.0))
    assert list(chart.tiles(only=["loss"])) == ["loss"]
    chart.add(record(11, kl=1.0, eval_kl=1.0))
    assert list(chart.tiles(only=["loss"])) == ["loss", "kl"]
    chart.pin("before", history(3, reward=0))
    assert list(chart.tiles(only=[])) == ["loss", "speed", "kl", "reward"]

    before = chart.tiles()["kl"]
    another = Chart(9, like=chart)  # which has the plots of the run before
    for each in history(2, kl=5):
        another.add(each)
    drawn = another.tiles(only=["loss"])
    assert list(drawn) == ["loss", "speed", "kl"]
    assert (pixels(drawn["kl"]) != pixels(before)).any()


def test_an_svg_holds_every_plot():
    chart = filled(9, metrics={"kl": 0})
    root = ElementTree.fromstring(chart.svg())
    inner = [child for child in root if child.tag.endswith("svg")]
    places = [(child.get("x"), child.get("y"), child.get("width")) for child in inner]
    assert places == [("0", "0", "420"), ("420", "0", "420"), ("0", "290", "420")]
    assert root.get("viewBox") == "0 0 840 580"


def test_a_picture_without_data_can_be_drawn():
    chart = Chart(1)
    empty = (pixels(chart.png())[..., 3] > 0).sum()
    chart.add(record(1))
    chart.add(record(2))
    assert (pixels(chart.png())[..., 3] > 0).sum() > empty + 200


def test_every_axis_says_its_unit():
    chart = Chart(10, ["a", "b"], first_calls=True)
    chart.png()
    labels = [plot.axes.get_ylabel() for plot in chart._plots.values()]
    assert labels == ["loss (nats per token)", "tokens / s", "first call (s)"]
    assert chart.words()["loss"].startswith("Loss in nats per token, against")
    assert [chart._plots[name].axes.get_xlabel() for name in ("loss", "speed")] == [
        "step",
        "step",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_left_out(value):
    chart = filled(3)
    before = chart.tiles()["loss"]
    chart.add(record(4, value))
    assert chart.curves("loss")[""].xs == [1, 2, 3]
    assert chart.tiles()["loss"] == before


# ------------------------------------------------------------------------------ gauges


def test_every_other_number_gets_a_gauge_when_it_arrives():
    chart = Chart(10)
    chart.add(record(1, grad_norm=1.0, learning_rate=1e-3, stopping=0.0, variant="a"))
    assert chart.plots() == ["loss", "speed", "grad_norm", "learning_rate"]
    chart.add(record(2, eval_loss=2.0, entropy=float("nan")))
    assert "entropy" not in chart.plots()
    chart.add(record(3, entropy=1.0))
    assert chart.plots()[2:] == ["entropy", "grad_norm", "learning_rate"]


def test_metrics_that_belong_together_share_a_gauge_and_come_first():
    chart = Chart(10, gauges={"reward (points)": ["won", "lost"], "none": ["missing"]})
    chart.add(record(1, accuracy=0.5, won=1.0, lost=2.0))
    chart.tiles()
    assert chart.plots()[2:] == ["reward (points)", "accuracy"]
    assert legend(chart, "reward (points)") == ["won", "lost"]
    won, lost = chart._plots["reward (points)"].lines
    assert won.colour != lost.colour
    assert won.marker != lost.marker
    assert chart._plots["reward (points)"].axes.get_ylabel() == "reward (points)"


def test_evaluations_are_dots_in_the_gauge_of_their_metric():
    chart = Chart(10)
    chart.add(record(1, accuracy=0.5, eval_accuracy=0.4, eval_bleu=3.0))
    chart.tiles()
    assert chart.plots()[2:] == ["accuracy", "bleu"]
    line, dots = chart._plots["accuracy"].lines
    assert (line.dots, dots.dots) == (False, True)
    assert dots.curve.ys == [0.4]
    assert legend(chart, "accuracy") == ["evaluation"]


@pytest.mark.parametrize("most", [0, 2])
def test_there_are_not_too_many_gauges(most):
    chart = Chart(10, gauges={"z": ["z"]}, max_gauges=most)
    chart.add(record(1, a=1, b=2, z=3))
    assert chart.plots()[2:] == ["z", "a"][:most]


def test_a_metric_may_be_called_like_a_plot():
    chart = Chart(10)
    chart.add(record(1, speed=1.0))
    assert list(chart.tiles()) == ["loss", "speed", "speed (metric)"]


@pytest.mark.parametrize("gauges", [{"kl": "kl"}, {"kl": [3]}])
def test_gauges_that_are_not_lists_of_names_are_an_error(gauges):
    with pytest.raises(ValueError, match=r"gauges\['kl'\] must be a list of names"):
        Chart(1, gauges=gauges)
    with pytest.raises(ValueError, match="max_gauges must be at least 0, got -1"):
        Chart(1, max_gauges=-1)


# ---------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("x", "tokens"), ("x", "seconds"), ("log_loss", True), ("smoothing", 0.0),
     ("smoothing", 0.99), ("cursor", 30.0), ("log_x", True)],
)  # fmt: skip
def test_a_setting_takes_effect_at_the_next_frame_and_can_be_taken_back(name, value):
    chart = filled(40, total=60, metrics={"kl": 0})
    before, now = chart.tiles(), getattr(chart, name)
    setattr(chart, name, value)
    assert getattr(chart, name) == value
    changed = [plot for plot, png in chart.tiles().items() if png != before[plot]]
    assert changed == (["loss"] if name == "log_loss" else ["loss", "speed", "kl"])
    setattr(chart, name, now)
    chart.tiles()
    for plot in chart._plots.values():  # the limits may still be those of the value
        plot._limits, plot._background = (False, 0.0, 1.0), None
    assert chart.tiles() == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("x", "token", "did you mean 'tokens'"), ("x", None, "x must be one of"),
     ("log_loss", 1, "log_loss must be True or False, got 1"),
     ("smoothing", 1.0, r"smoothing must be in \[0, 0.99\], got 1.0"),
     ("smoothing", -0.1, r"smoothing must be in \[0, 0.99\]"),
     ("smoothing", "0.5", "smoothing must be a finite number, got '0.5'"),
     ("cursor", float("nan"), "cursor must be a finite number, got nan"),
     ("cursor", True, "cursor must be a finite number")],
)  # fmt: skip
def test_a_wrong_setting_is_an_error_and_changes_nothing(name, value, message):
    chart = filled(3)
    before = getattr(chart, name)
    with pytest.raises(ValueError, match=message):
        setattr(chart, name, value)
    assert getattr(chart, name) == before


def test_smoothing_applies_to_the_loss_and_not_to_evaluations():
    chart = Chart(10)
    for step in (1, 2, 3):
        chart.add(record(step, loss=step, eval_loss=step, kl=step))
    chart.smoothing = 0.0
    assert chart.curves("loss")[""].smooth()[1].tolist() == [1, 2, 3]
    chart.smoothing = 0.9
    assert chart.curves("loss")[""].smooth()[1][-1] < 2.2
    assert chart.curves("eval_loss")[""].smooth()[1].tolist() == [1, 2, 3]


def test_the_x_axis_is_the_whole_run_whatever_it_counts():
    chart = filled(100, total=400)
    assert chart.x_end == 400
    chart.x = "tokens"
    assert 40_000 <= chart.x_end < 45_000
    chart.tiles()
    assert chart._plots["speed"].axes.get_xlim() == (0, chart.x_end)
    chart.x = "seconds"
    assert chart.x_end == pytest.approx(400 * 0.013, rel=0.1)


def test_the_cursor_stays_with_its_step_when_the_axis_changes():
    chart = filled(50)
    chart.cursor = 20.0
    chart.x = "tokens"
    assert chart.cursor == 2000
    chart.x = "steps"
    assert chart.cursor == 20


def test_marks_lie_at_their_step_on_every_axis():
    chart = filled(50)
    chart.mark(20, "beta 1")
    chart.x = "tokens"
    chart.tiles()
    assert [plot.marks for plot in chart._plots.values()] == [[(2000.0, "beta 1")]] * 2


# ---------------------------------------------------------------------------- read-out


def test_the_read_out_is_exact_for_every_curve():
    chart = filled(2000, metrics={"kl": 5})
    chart.add(record(2001, loss=0.5, eval_loss=0.75))
    kept = history(2000, kl=5)
    assert chart.read(1234.4) == {
        "loss": kept[1233]["loss"],
        "eval_loss": 0.75,
        "tokens/s": 100 / kept[1233]["step_seconds"],
        "kl": kept[1233]["kl"],
    }
    chart.x = "tokens"
    assert chart.read(100 * 77 + 49)["kl"] == kept[76]["kl"]


def test_the_read_out_names_runs_and_pins():
    chart = Chart(10, ["a", "b"])
    chart.add(record(1, loss=1.0), "a")
    chart.add(record(1, loss=2.0), "b")
    chart.pin("old", [record(1, loss=3.0)])
    losses = {name: y for name, y in chart.read(1).items() if name.endswith("loss")}
    assert losses == {"a, loss": 1.0, "b, loss": 2.0, "old, loss": 3.0}


@pytest.mark.parametrize("x", [float("nan"), None, "3"])
def test_a_read_out_of_nowhere_is_an_error(x):
    with pytest.raises(ValueError, match="x must be a finite number, got"):
        Chart(1).read(x)


# -------------------------------------------------------------------------------- pins


def test_a_pinned_run_is_in_every_plot_and_its_legend_until_it_is_unpinned():
    chart = filled(20, metrics={"kl": 0})
    before = chart.tiles()
    chart.pin("small lr", history(20, kl=9))
    pinned = chart.tiles()
    for name in pinned:
        assert pinned[name] != before[name]
        assert legend(chart, name) == ["this run", "small lr"]
        lines = chart._plots[name].lines
        own = next(line for line in lines if line.label == "this run")
        kept = next(line for line in lines if line.label == "small lr")
        assert (own.kept, kept.kept) == (False, True)
        assert own.colour != kept.colour
        assert own.dash != kept.dash
    chart.unpin("small lr")
    assert chart.tiles() == before


def test_pins_keep_their_looks_when_another_goes():
    chart = filled(5)
    for name in ("a", "b", "c"):
        chart.pin(name, history(5))
    chart.tiles()
    looks = {
        line.label: line.colour for line in chart._plots["loss"].lines if line.kept
    }
    chart.unpin("a")
    chart.tiles()
    after = {
        line.label: line.colour for line in chart._plots["loss"].lines if line.kept
    }
    assert after.items() < looks.items()


def test_five_pins_are_told_apart_without_colour():
    chart = filled(5)
    for number in range(5):
        chart.pin(f"run {number}", history(5))
    chart.tiles()
    lines = [line for line in chart._plots["speed"].lines if line.kept]
    assert (
        len({str(line.dash) for line in lines}) == len({x.colour for x in lines}) == 5
    )
    with pytest.raises(ValueError, match="5 are pinned; unpin one of"):
        chart.pin("one more", history(5))
    chart.pin("run 3", history(9))  # replaces one


def test_pins_are_smoothed_like_the_rest():
    chart = filled(5)
    chart.pin("old", [record(1, loss=1.0), record(2, loss=3.0)])
    chart.smoothing = 0.0
    chart.tiles()
    assert chart._plots["loss"].lines[-2].curve.smooth()[1].tolist() == [1.0, 3.0]


def test_a_pinned_run_that_was_longer_is_shown_whole():
    chart = filled(5)
    chart.pin("old", history(50))
    assert chart.x_end == 50


@pytest.mark.parametrize(
    ("name", "records", "message"),
    [("", [record(1)], "name must be another one, not empty, got ''"),
     ("old", [], "records of 'old' are empty"),
     ("old", [record(1), {"step": 2, "loss": 1, "tokens": 3}],
      r"records\[1\] of 'old' lacks 'step_seconds'")],
)  # fmt: skip
def test_a_run_that_cannot_be_pinned_is_an_error(name, records, message):
    chart = filled(3)
    before = chart.tiles()
    with pytest.raises(ValueError, match=message):
        chart.pin(name, records)
    assert chart.tiles() == before


def test_unpinning_what_is_not_pinned_is_an_error():
    chart = filled(3)
    chart.pin("small", history(3))
    with pytest.raises(ValueError, match="did you mean 'small'"):
        chart.unpin("smal")


@pytest.mark.parametrize(
    ("unit", "label", "words"),
    [
        ("nats per pair", "loss (nats per pair)", "Loss in nats per pair, against"),
        ("", "loss", "Loss, against"),
    ],
)
def test_a_loss_has_the_unit_that_it_is_said_to_have(unit, label, words):
    before = filled(3)
    before.tiles()
    for like in (None, before):  # the plots may be another run's
        chart = filled(3, metrics={"kl": 0}, loss_unit=unit, like=like)
        chart.tiles()
        assert chart._plots["loss"].axes.get_ylabel() == label
        assert chart.words()["loss"].startswith(words)
        assert chart.words()["kl"].startswith("kl, against")


# --------------------------------------------------------------------------- marks


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


def test_turned_again_and_again_a_setting_leaves_more_than_its_last_mark():
    chart = filled(100)
    for step in (50, 53, 56, 59):
        chart.mark(step, f"learning_rate {step}")
    assert chart.marks == [(53, "learning_rate 53"), (59, "learning_rate 59")]


def test_of_a_setting_turned_twice_before_a_step_the_last_value_counts():
    chart = filled(100)
    for text in ("beta 1", "alpha 2", "beta 3", "clip 4", "alpha 5"):
        chart.mark(20, text)
    assert chart.marks == [(20, "beta 3"), (20, "clip 4"), (20, "alpha 5")]


def test_the_words_of_marks_are_in_the_loss_plot_and_their_lines_everywhere():
    chart = filled(100, references={"entropy floor": 0.6611})
    chart.mark(50, "beta 1")
    chart.tiles()
    texts = {
        name: [text.get_text().strip() for text in plot.axes.texts]
        for name, plot in chart._plots.items()
    }
    assert texts == {"loss": ["beta 1"], "speed": []}
    assert len(chart._plots["speed"].axes.collections) == 1


# ------------------------------------------------------------------------ several runs


def test_several_runs_are_named_and_told_apart_without_colour():
    chart = Chart(5, ["eager", "compiled"], first_calls=True)
    for name in chart.names:
        chart.add(record(1, first_call_seconds=0.5, kl=1.0), name)
        chart.add(record(2), name)
    chart.png()
    assert legend(chart, "loss") == legend(chart, "kl") == ["eager", "compiled"]
    handles = chart._plots["loss"].axes.get_legend().get_lines()
    assert len({line.get_linestyle() for line in handles}) == 2


def test_what_first_calls_cost_is_a_bar_and_no_point_of_the_curve():
    chart = Chart(5, ["a", "b"], first_calls=True)
    before = chart.tiles()["first_calls"]
    chart.add(record(1, first_call_seconds=0.5), "a")
    chart.add(record(2, first_call_seconds=0.25), "a")
    chart.add(record(3), "a")
    assert chart.first_calls == {"a": 0.75}
    assert chart.curves("tokens/s")["a"].xs == [3]
    assert chart.tiles()["first_calls"] != before
    bars = chart._plots["first_calls"].axes
    assert [bar.get_height() for bar in bars.patches] == [0.75, 0.0]
    assert bars.patch.get_alpha() == 0  # on black, too


def test_metrics_that_are_equal_are_both_seen():
    chart = Chart(5, gauges={"p_end and more": ["given", "exact"]})
    for step in (1, 2, 3):
        chart.add(record(step, given=0.5, exact=0.5, grad_norm=1.0))
    chart.png()
    lines = chart._plots["p_end and more"].lines
    assert len({line.dash for line in lines}) == 2
    labels = [plot.label for plot in chart._plots.values()]
    assert labels[2:] == ["p_end and more", "gradient norm"]


def test_names_of_bars_do_not_run_into_each_other():
    names = ["adamw", "lion", "sgd", "adafactor", "muon", "sgd at adamw's rate"]
    chart = Chart(5, names, first_calls=True)
    for name in names:
        chart.add(record(1, first_call_seconds=0.5), name)
    chart.png()
    axes = chart._plots["first_calls"].axes
    places = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(places))
    assert min(place.y0 for place in places) >= 0
    assert axes.get_xticklabels()[-1].get_text().split() == names[-1].split()


# --------------------------------------------------------------------------- no pyplot


def test_no_figure_is_left_with_pyplot():
    code = """
import sys
from lmxlab.lab import Compare, LivePlot, Panel
from lmxlab.lab.chart import Chart
from lmxlab.training.config import TrainConfig
chart = Chart(3, ["a", "b"], first_calls=True)
chart.png(), chart.svg()
plot = LivePlot()
plot.on_train_begin(TrainConfig(max_steps=2))
plot.on_train_end([])
print("matplotlib.pyplot" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("False\n", "")
