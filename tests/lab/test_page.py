"""What the page is told: the line, what is heard, words for pictures."""

import re

from lmxlab.lab.alt import alt_text
from lmxlab.lab.chart import Chart
from lmxlab.lab.curves import Curve
from lmxlab.lab.page import page_widget
from lmxlab.lab.plot import Line
from lmxlab.lab.predict import Predict
from lmxlab.lab.status import Announcer, status_line
import pytest


def line(values, label=""):
    curve = Curve()
    for step, value in enumerate(values, start=1):
        curve.add(step, value)
    return Line(curve, "#2b8cd6", label=label)


@pytest.mark.parametrize("state", ["idle", "paused", "stopped", "done", "failed"])
def test_a_clock_counts_only_while_it_runs(state):
    assert "lmx-since" in status_line("running", {"step": 0}, {})
    assert "lmx-since" not in status_line(state, {"step": 0}, {})


def test_the_line_is_text_and_not_markup():
    shown = status_line("idle", {"step": 0, "loss": '"><b'}, {"<i>": "&"})
    assert "&quot;&gt;&lt;b" in shown
    assert "&lt;i&gt; &amp;" in shown


def test_a_state_is_heard_at_once_and_numbers_now_and_then():
    now = [0.0]
    ear = Announcer(clock=lambda: now[0])
    heard = []
    for step in range(1, 1001):
        now[0] += 0.002  # all over in two seconds
        heard.append(ear.words("running", step, 1000, "loss 2"))
    heard.append(ear.words("done", 1000, 1000, "loss 1"))
    assert list(filter(None, heard)) == [
        "running, step 1 of 1000, loss 2",
        "done, step 1000 of 1000, loss 1",
    ]


def test_nothing_is_heard_of_what_has_not_changed():
    ear = Announcer()
    assert ear.words("idle", 0, 0, "") is None
    assert ear.words("paused", 3, 0, "") == "paused"
    assert ear.words("paused", 4, 0, "loss 1") is None


def test_a_picture_says_ends_and_extremes_of_each_curve():
    lines = [line([4, 1, 2], "eager"), line([3.5], "compiled"), line([])]
    assert alt_text("kl", lines) == (
        "kl, against training so far: eager, 4 at step 1, 2 at step 3, lowest 1, "
        "highest 4; compiled, 3.5 at step 1."
    )
    many = alt_text("kl", [line([1, 2], str(n)) for n in range(9)])
    assert many.endswith("; and 3 more curves.")


def test_every_tile_has_words_also_the_bars():
    chart = Chart(9, ["a", "b"], first_calls=True)
    record = {"step": 1, "loss": 2.0, "tokens": 8, "step_seconds": 0.5}
    chart.add({**record, "first_call_seconds": 0.5, "kl": 0.1}, "a")
    words = chart.words()
    assert list(words) == list(chart.tiles()) == ["loss", "speed", "first_calls", "kl"]
    assert words["first_calls"] == "first call (s): a 0.5, b 0."
    assert words["loss"].endswith(": a, 2 at step 1.")


def test_a_box_is_looked_after_by_its_own_page_widget():
    guess = Predict("Which?", ["eager", "compiled"])
    assert "lmx-lab" in guess.box._dom_classes
    assert any("lmx-page" in child._dom_classes for child in guess.box.children)


def test_the_script_is_one_attribute_and_the_style_is_css():
    value = page_widget().value
    attribute, style = re.fullmatch(
        r'<style onload="([^"]*)">(.*)</style>', value, re.DOTALL
    ).groups()
    assert "&quot;.lmx-lab&quot;" in attribute
    assert style.count("{") == style.count("}")
