"""One plot: what it shows, and that it draws only what has changed."""

import io

from lmxlab.lab.curves import Curve
from lmxlab.lab.plot import ACROSS, COLOURS, HEIGHT, WIDTH, Line, Plot, encode
import numpy as np
from PIL import Image
import pytest


def curve(values, smoothing=0.0):
    made = Curve(smoothing)
    for index, y in enumerate(values):
        made.add(index + 1, y, 64 * (index + 1), 0.5 * (index + 1))
    return made


def plot(*curves, label="loss (nats)", x_end=100.0, log_y=False, **kwargs):
    made = Plot(label, **kwargs)
    made.lines = [
        Line(c, COLOURS[i % 6], label=f"run {i}", exact=True)
        for i, c in enumerate(curves)
    ]
    made.x_end, made.log_y = x_end, log_y
    return made


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def redraws(made, monkeypatch):
    """Count full redraws from now on."""
    counted, draw = [], made._draw_background
    monkeypatch.setattr(
        made, "_draw_background", lambda: (counted.append(1), draw())[1]
    )
    return counted


def texts(made):
    return [text.get_text().strip() for text in made.axes.texts]


def columns(image, colour):
    """Return in which columns pixels have a colour, whatever their opacity."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    near = (np.abs(image[..., :3].astype(int) - rgb) < 8).all(-1) & (image[..., 3] > 40)
    return np.flatnonzero(near.any(axis=0))


# -------------------------------------------------------------------------------- PNG


def test_few_colours_are_near_the_ones_that_were_drawn():
    drawn = plot(curve([3.0, 2.0, 1.5]))
    made = drawn.pixels().astype(int)
    shown = pixels(drawn.png()).astype(int)
    assert (made[..., 3] == 0)[shown[..., 3] == 0].all()
    seen = made[..., 3] > 0
    assert np.abs(shown - made).max() < 40
    assert np.abs(shown - made)[seen].mean() < 4


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
def test_a_png_has_the_size_of_what_was_encoded(shape):
    made = np.full((*shape, 4), 255, np.uint8)
    assert (pixels(encode(made)) == made).all()


def test_a_picture_is_small_transparent_and_not_empty():
    image = pixels(plot(curve([3.0, 2.0, 1.5])).png())
    assert image.shape == (HEIGHT, WIDTH, 4)
    assert image[0, 0, 3] == 0
    assert 0.01 < (image[..., 3] > 0).mean() < 0.3


# ----------------------------------------------------------------------- what changes


def test_an_unchanged_plot_is_the_same_object():
    made = plot(curve([3.0, 2.0]))
    assert made.png() is made.png()


def test_a_new_point_draws_lines_and_not_the_background(monkeypatch):
    data = curve([3.0, 2.0, 1.0])
    made = plot(data)
    before = made.png()
    counted = redraws(made, monkeypatch)
    data.add(4, 2.5)
    assert made.png() != before
    assert counted == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("x", "tokens"), ("x_end", 200.0), ("log_x", True), ("log_y", True),
     ("marks", [(2.0, "beta 1")]), ("references", {"floor": 0.5})],
)  # fmt: skip
def test_a_setting_takes_effect_at_the_next_frame(name, value):
    made = plot(curve([3.0, 2.0, 1.0]))
    before = made.png()
    setattr(made, name, value)
    assert made.png() != before


def test_blitted_and_redrawn_frames_are_the_same():
    data = curve([3.0, 2.0, 1.0])
    made = plot(data)
    made.png()
    for step in range(4, 20):
        data.add(step, 1.1 + step % 3 / 2)
    blitted = pixels(made.png())
    made._background = None
    assert np.abs(pixels(made.png()).astype(int) - blitted).max() <= 2


def test_a_falling_curve_moves_the_limits_rarely(monkeypatch):
    data = Curve(0.8)
    made = plot(data, x_end=600.0, falls=True)
    counted = redraws(made, monkeypatch)
    for step in range(1, 601):
        data.add(step, 0.66 + 3.3 * 0.98**step)
        if step < 20 or step % 30 == 0:
            made.png()
    assert len(counted) <= 8


def test_an_svg_leaves_the_next_frame_as_it_was_and_shows_no_cursor():
    made = plot(curve([3.0, 2.0, 1.0]))
    before = made.png()
    plain = made.svg()
    assert plain.count("<svg") == 1
    made.cursor = 2.0
    assert made.svg() != plain
    made.cursor = None
    assert made.svg() == plain
    assert made.png() == before


# ------------------------------------------------------------------------------ limits


@pytest.mark.parametrize(
    "values", [[5.0, 1.0, 9.0], [-3.0, -8.0], [0.0, 0.0], [3e-4] * 5]
)
def test_the_limits_hold_the_data(values):
    made = plot(curve(values))
    made.png()
    low, high = made.axes.get_ylim()
    assert low <= min(values) <= max(values) < high
    assert high - low < 4 * max(max(values) - min(values), abs(max(values)), 0.5)


def test_the_limits_hold_the_references():
    made = plot(curve([3.0, 2.0]), references={"floor": 0.5, "chance": 6.0})
    made.png()
    low, high = made.axes.get_ylim()
    assert low < 0.5 < 6.0 < high


def test_references_may_be_numbers_of_numpy():
    made = plot(curve([3.0, 2.0]), references={"floor": np.float64(0.5)})
    assert made.png()[:4] == b"\x89PNG"


@pytest.mark.parametrize("log", [False, True])
def test_a_spike_that_is_cut_off_is_said_with_its_height(log):
    values = [0.5 + (step % 3) / 10 for step in range(200)]
    made = plot(curve(values, smoothing=0.9), log_y=log)
    made.png()
    assert texts(made) == []
    values[50] = 1273.4
    made = plot(curve(values, smoothing=0.9), log_y=log)
    made.png()
    assert made.axes.get_ylim()[1] < 1273
    assert texts(made) == ["cut off; highest: 1,273"]


def test_values_that_are_not_negative_have_no_negative_axis():
    made = plot(curve([0.01, 9.0]))
    made.png()
    assert made.axes.get_ylim()[0] == 0


def test_a_single_outlier_does_not_flatten_the_rest():
    values = [2 + step % 2 for step in range(200)]
    values[100] = 1e6
    made = plot(curve(values, smoothing=0.9))
    made.png()
    assert made.axes.get_ylim()[1] < 2e5


def test_a_single_step_is_seen():
    made = plot(curve([2.0]))
    empty = np.array(plot(curve([])).pixels())
    one = np.array(made.pixels())
    assert (one != empty).any(axis=2)[20:200, 60:90].sum() > 10
    markers = [line.get_marker() for line in made.axes.lines if len(line.get_xdata())]
    assert "o" in markers
    made = plot(curve([2.0, 3.0]))
    made.png()
    smooth = [artist for line, artist, _ in made._artists if artist in made.axes.lines]
    assert [artist.get_marker() for artist in smooth] == [""]


def test_a_dot_is_never_left_out():
    dots = curve([1.0] * 300 + [50.0] + [1.0] * 99)
    made = Plot("accuracy")
    made.lines = [Line(dots, COLOURS[0], dots=True)]
    made.png()
    assert made.axes.get_ylim()[1] > 50


# -------------------------------------------------------------------------- logarithms


def test_a_log_axis_shows_equal_ratios_as_equal_heights():
    made = plot(curve([100.0, 10.0, 1.0]))
    made.log_y = True
    made.png()
    heights = [made.axes.transData.transform((1, y))[1] for y in (100, 10, 1)]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2])
    assert texts(made) == []


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_value_that_is_not_positive_keeps_the_axis_linear_and_says_so(value):
    data = curve([100.0, 10.0])
    made = plot(data)
    made.log_y = True
    made.png()
    data.add(3, value)
    made.png()
    assert made.axes.get_yscale() == "linear"
    assert texts(made) == ["log needs values > 0: linear"]


def test_log_and_linear_take_turns():
    made = plot(curve([4.0, 3.0, 2.0]))
    linear = made.png()
    for log in (True, False):
        made.log_y = made.log_x = log
        drawn = made.png()
        assert (
            (made.axes.get_yscale() == "log")
            is (made.axes.get_xscale() == "log")
            is log
        )
    assert drawn == linear


def test_a_log_axis_of_less_than_a_decade_has_more_than_two_numbers():
    made = plot(curve([4.0, 3.0, 1.5]))
    made.log_y = True
    made.png()
    low, high = made.axes.get_ylim()
    assert sum(low <= tick <= high for tick in made.axes.get_yticks()) >= 3


# -------------------------------------------------------------------- axes and numbers


@pytest.mark.parametrize(
    ("x", "label"),
    [("steps", "step"), ("tokens", "tokens"), ("seconds", "training time (s)")],
)
def test_every_axis_says_its_unit(x, label):
    made = plot(curve([3.0, 2.0]))
    made.x = x
    made.png()
    assert made.axes.get_xlabel() == label
    assert made.axes.get_ylabel() == "loss (nats)"


def test_the_x_axis_says_where_a_point_lies():
    made = plot(curve([3.0] * 50), x_end=100.0)
    assert columns(pixels(made.png()), COLOURS[0]).max() == pytest.approx(
        60 + ACROSS / 2, abs=3
    )
    made.x, made.x_end = "tokens", 64 * 50.0
    assert columns(pixels(made.png()), COLOURS[0]).max() >= 60 + ACROSS - 3


def test_a_plot_without_data_has_no_numbers_on_it():
    made = plot(Curve(), x_end=1.0)
    empty = (pixels(made.png())[..., 3] > 0).sum()
    made.lines[0].curve.add(1, 3.0)
    assert (pixels(made.png())[..., 3] > 0).sum() > empty + 150


@pytest.mark.parametrize("scale", [1e-7, -1e-7, 2e-4, -2e-4, 1.0, 900.0, -3e5, 8e7])
def test_numbers_do_not_reach_the_label(scale):
    made = plot(curve([scale, 0.1 * scale, 0.93 * scale]))
    made.png()
    label = made.axes.yaxis.label.get_window_extent()
    ticks = [tick.label1 for tick in made.axes.yaxis.get_major_ticks()]
    assert all(text.get_window_extent().x0 >= label.x1 - 1 for text in ticks)
    assert label.x0 >= 0


@pytest.mark.parametrize("label", ["kl", "log-probability (nats)", "a" * 80])
def test_a_label_fits(label):
    made = plot(curve([1.0]), label=label)
    made.png()
    place = made.axes.yaxis.label.get_window_extent()
    assert place.y0 >= 0
    assert place.y1 <= HEIGHT


# --------------------------------------------------------- references, marks, cursor


@pytest.mark.parametrize("inside", [True, False])
def test_references_are_named_in_the_legend_with_their_value(inside):
    levels = {"entropy floor": 0.6611, "chance": 0.69}
    made = plot(legend_inside=inside, references=levels)
    made.png()
    assert legend(made) == ["chance 0.690", "entropy floor 0.661"]  # before a curve
    made.lines = plot(curve([4.0])).lines
    made.png()
    assert legend(made) == ["run 0", "chance 0.690", "entropy floor 0.661"]
    assert texts(made) == []  # nothing is written where curves run


def test_a_curve_along_its_reference_leaves_the_name_readable():
    """As a loss that hovers about that of guessing does, from the first step on."""
    values = [0.69 + 0.02 * (-1) ** step for step in range(100)]
    made = plot(curve(values), legend_inside=True, references={"guessing": 0.693})
    made.png()
    place = made.axes.get_legend().get_window_extent()
    highest = made.axes.transData.transform((0, max(values)))[1]
    assert place.y0 > highest


def test_marks_do_not_pile_up_from_redraw_to_redraw():
    made = plot(curve([4.0]))
    made.mark_texts = True
    for number in (1, 2, 3):
        made.marks = [(20.0 * i, f"beta {i}") for i in range(1, number + 1)]
        made.png()
    assert len(texts(made)) == len(made.axes.collections) == 3


MARKS = {
    "at one step": [(50.0, f"knob_{number} 0.{number}") for number in range(5)],
    "close": [(50.0 + number / 2, f"knob_{number} 0.1") for number in range(5)],
    "at the start": [(0.0, "beta 0.1"), (0.0, "alpha 2"), (2.0, "clip 3")],
    "at the end": [(99.0, "learning_rate 0.003"), (99.9, "beta 2"), (99.9, "clip 3")],
    "far apart": [(10.0, "beta 1"), (60.0, "beta 2")],
    "many": [(3.3 * number, f"learning_rate {number}") for number in range(31)],
}


@pytest.mark.parametrize("references", [{}, {"floor": 0.66}])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
def test_texts_of_marks_can_all_be_read(marks, inside, references):
    made = plot(curve([4.0]), legend_inside=inside, references=references)
    made.mark_texts, made.marks = True, marks
    made.png()
    assert texts(made) == [text for _, text in marks]
    lines = len({x for x, _ in marks}) + len(references)
    assert len(made.axes.collections) == lines
    area = made.axes.get_window_extent()
    shown = [text.get_window_extent() for text in made.axes.texts]
    for place in shown:
        assert min(place.x0 - area.x0, place.y0 - area.y0) > -1
        assert min(area.x1 - place.x1, area.y1 - place.y1) > -1
    if made.axes.get_legend() is not None:
        shown.append(made.axes.get_legend().get_window_extent())
    pairs = [(a, b) for a in shown for b in shown if a is not b]
    assert not any(a.overlaps(b) for a, b in pairs)


@pytest.mark.parametrize("name", ["at one step", "close", "at the start", "at the end"])
def test_no_line_goes_through_the_text_of_a_mark_where_there_is_room(name):
    made = plot(curve([4.0]))
    made.mark_texts, made.marks = True, MARKS[name]
    made.png()
    lines = [made.axes.transData.transform((x, 0.0))[0] for x, _ in made.marks]
    shown = [text.get_window_extent() for text in made.axes.texts]
    assert not any(text.x0 + 1 < x < text.x1 - 1 for x in lines for text in shown)


def test_the_text_of_a_mark_alone_ends_at_its_line():
    made = plot(curve([4.0]))
    made.mark_texts, made.marks = True, [(50.0, "beta 1")]
    made.png()
    (text,) = made.axes.texts
    line = made.axes.transData.transform((50.0, 0.0))[0]
    assert line - 4 < text.get_window_extent().x1 <= line


def test_more_marks_than_there_is_room_for_leave_out_the_oldest():
    made = plot(curve([4.0]))
    made.mark_texts = True
    made.marks = [(float(number), f"beta {number}") for number in range(100)]
    made.png()
    assert 25 < len(texts(made)) < 35
    assert texts(made)[-1] == "beta 99"
    assert len(made.axes.collections) == 100


def test_a_cursor_is_a_line_that_costs_no_redraw(monkeypatch):
    made = plot(curve([4.0, 3.0, 2.0]))
    before = pixels(made.png())
    counted = redraws(made, monkeypatch)
    made.cursor = 50.0
    changed = np.flatnonzero((pixels(made.png()) != before).any(axis=(0, 2)))
    assert 60 + ACROSS / 2 in changed + 1
    assert counted == []
    made.cursor = None
    assert (pixels(made.png()) == before).all()


# -------------------------------------------------------------------------- the legend


def legend(made):
    found = made.axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def test_a_curve_enters_the_legend_with_its_first_point():
    data = Curve()
    made = plot(curve([3.0]), data)
    made.png()
    assert legend(made) == ["run 0"]
    data.add(1, 2.0)
    made.png()
    assert legend(made) == ["run 0", "run 1"]


def test_a_single_point_is_no_dot_in_the_legend():
    """Dots are evaluations; a line's first point is drawn as one only to be seen."""
    made = plot(curve([3.0]))
    for _ in range(2):
        made.png()
        made.label += "!"  # draws the legend anew, after a frame with that point
    (handle,) = made.axes.get_legend().get_lines()
    assert handle.get_marker() in ("", "None")


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("inside", [True, False])
def test_a_legend_above_hides_nothing_and_fits(count, inside):
    made = plot(*(curve([3.0]) for _ in range(count)), legend_inside=inside)
    made.lines = [
        Line(line.curve, line.colour, f"a rather long name for a run {i}", kept=inside)
        for i, line in enumerate(made.lines)
    ]
    made.png()
    place = made.axes.get_legend().get_window_extent()
    assert place.y0 >= made.axes.get_window_extent().y1 - 1
    assert place.y1 <= HEIGHT
    assert place.x1 <= WIDTH
    assert len(legend(made)) == count


@pytest.mark.parametrize(("count", "inside"), [(1, True), (5, True), (6, False)])
def test_a_short_legend_may_lie_inside(count, inside):
    made = plot(*[curve([3.0])] * count, legend_inside=True)
    made.png()
    top = made.axes.get_legend().get_window_extent().y1
    assert inside == (top < made.axes.bbox.y1)


# ------------------------------------------------------------------------------- lines


def test_a_kept_run_is_thinner_and_without_its_noise():
    made = plot(curve([3.0, 2.0]))
    own = Line(curve([3.0, 2.0]), COLOURS[0])
    kept = Line(own.curve, COLOURS[1], dash="--", kept=True)
    made.lines = [own, kept]
    made.png()
    drawn = {
        line: [a for of, a, _ in made._artists if of is line] for line in (own, kept)
    }
    assert (len(drawn[own]), len(drawn[kept])) == (2, 1)
    assert drawn[kept][0].get_linewidth() < drawn[own][1].get_linewidth()


def test_a_schedule_is_not_smoothed():
    schedule = curve([step / 50 for step in range(50)], smoothing=0.95)
    noisy = curve([step % 2 for step in range(50)], smoothing=0.95)
    made = plot(schedule, noisy)
    made.png()
    first, second = (made._artists[i][1].get_ydata() for i in (1, 3))
    assert first.tolist() == schedule.ys
    assert second.tolist() != noisy.ys


def test_a_first_value_of_0_does_not_set_the_scale():
    """A learning rate starts at 0 and rises to 0.003: not a flat line below 0.25."""
    values = curve([0.0])
    drawn = plot(values)
    drawn.png()
    values.add(2, 0.001)
    drawn.png()
    assert drawn.axes.get_ylim()[1] < 0.002
