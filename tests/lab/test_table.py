"""The table of runs, driven by the values and clicks that a page would send."""

import math
import re

from lmxlab.lab.code import recipe
from lmxlab.lab.runs import RunStore
from lmxlab.lab.table import COLUMNS, RunTable
from lmxlab.training.config import TrainConfig
import pytest

LOSSES = {"middle": 2.0, "broken": math.nan, "best": 1.0, "worst": 3.0, "empty": None}


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path)
    for number, (name, loss) in enumerate(LOSSES.items()):
        run = store.begin("toy", {}, TrainConfig(), name=name)
        if loss is not None:
            seconds = 0.5 + number
            record = {"step": 1, "loss": loss, "tokens": 8, "step_seconds": seconds}
            run.extend([record] * (number + 1), traces=number, peak_memory=100 - number)
        run.finish("done")
    return store


def shown(table):
    """The names, from top to bottom, as the page has them."""
    return [box.children[1].value for box in table._body.children[1:]]


def row(table, name):
    (found,) = [row for row in table.rows.values() if row.name.value == name]
    return found


def words(html):
    """What is seen of a row's numbers; and what is heard besides goes before each."""
    heard = re.compile(r'<span style="position:absolute[^>]*>.*?</span>')
    return re.sub(r"<[^>]+>", " ", heard.sub("", html)).split()


# ---------------------------------------------------------------------------- sorting


@pytest.mark.parametrize(
    ("column", "up"),
    [
        ("", ["middle", "broken", "best", "worst", "empty"]),
        ("name", ["best", "broken", "empty", "middle", "worst"]),
        ("seconds", ["empty", "middle", "broken", "best", "worst"]),
        ("steps", ["empty", "middle", "broken", "best", "worst"]),
    ],
)
def test_rows_are_sorted_both_ways(store, column, up):
    table = RunTable(store)
    table.sort.value = column
    assert shown(table) == up
    table.descending.value = True
    assert shown(table) == up[::-1]
    table.descending.value = False
    assert shown(table) == up


def test_what_has_no_number_stays_at_the_end(store):
    table = RunTable(store)
    table.sort.value = "loss"
    assert shown(table) == ["best", "middle", "worst", "broken", "empty"]
    table.descending.value = True
    assert shown(table) == ["worst", "middle", "best", "broken", "empty"]


def test_every_column_can_be_sorted_by_and_says_so(store):
    table = RunTable(store)
    for key, (label, *_) in COLUMNS.items():
        table.sort.value = key
        assert f"{label} &#9650;" in table._head.value
        assert len(shown(table)) == 5


# --------------------------------------------------------------------------- contents


def test_a_row_shows_the_summary(store):
    numbers = row(RunTable(store), "best").numbers.value
    assert words(numbers) == ["done", "1.0000", "–", "3", "98", "7.5", "3", "2"]
    assert 'title="peak memory in MiB"' in numbers
    assert ">final loss </span>1.0000" in numbers  # for a screen reader


def test_nothing_is_redrawn_unless_something_changed(store):
    table = RunTable(store)
    sent = []
    for one in table.rows.values():
        one.numbers.observe(sent.append, names="value")
    table._body.observe(sent.append, names="children")
    assert table.update() is False
    assert sent == []
    run = store.begin("toy", {}, TrainConfig(), name="new")
    assert table.update() is True
    assert [change["name"] for change in sent] == ["children"]
    run.extend([{"step": 1, "loss": 0.5}])
    assert table.update() is True
    assert len(sent) == 1  # only the new row's numbers, which nobody observes
    assert "0.5000" in row(table, "new").numbers.value


def test_a_run_removed_elsewhere_leaves_the_table(store):
    table = RunTable(store)
    RunStore(store.folder).remove(store.runs()[0].id)
    assert table.update()
    assert shown(table) == ["broken", "best", "worst", "empty"]
    assert len(table.rows) == 4


def test_names_are_text_and_not_markup(store):
    table = RunTable(store, on_export=lambda kind, runs: f"<b>{runs[0].name}</b>")
    store.rename(store.runs()[0], "<img src=x>")
    table.update()
    table.exports["csv"].click()
    assert "<img" not in table.message.value + row(table, "<img src=x>").numbers.value
    assert "&lt;b&gt;" in table.message.value


def test_a_run_on_the_plot_has_the_colour_of_its_curve(store):
    table, run = RunTable(store), store.runs()[2]
    assert table.update({run.id: "#2b8cd6"}) is True
    assert "#2b8cd6" in row(table, "best").numbers.value
    assert "#2b8cd6" not in row(table, "worst").numbers.value


# ---------------------------------------------------------------------------- actions


def test_overlay_and_name_reach_the_store_and_the_listener(store):
    told = []
    table = RunTable(
        store,
        on_pin=lambda run, pinned: told.append((run.name, pinned)),
        on_rename=lambda run, name: told.append((run.id, name)),
    )
    row(table, "best").pin.value = True
    row(table, "best").name.value = "winner"
    winner = store.runs()[2]
    assert told == [("best", True), (winner.id, "winner")]
    found = RunStore(store.folder).runs()[2]
    assert (found.name, found.pinned) == ("winner", True)
    row(table, "winner").pin.value = False
    assert not RunStore(store.folder).runs()[2].pinned


def test_what_changed_elsewhere_is_shown_and_not_told(store):
    told = []
    table = RunTable(store, on_pin=told.append, on_rename=told.append)
    store.pin(store.runs()[0])
    store.rename(store.runs()[0], "other")
    table.update()
    assert row(table, "other").pin.value is True
    assert told == []


def test_an_empty_name_is_refused_in_words(store):
    table = RunTable(store)
    row(table, "best").name.value = " "
    assert "name is empty" in table.message.value
    assert 'role="alert"' in table.message.value
    assert shown(table)[2] == "best"


def test_removing_takes_two_clicks(store):
    told = []
    table = RunTable(store, on_remove=lambda run: told.append(run.name))
    button = row(table, "worst").remove
    button.click()
    assert (button.description, len(store.runs()), told) == ("Sure?", 5, [])
    row(table, "best").pin.value = True  # something else: no longer meant
    assert button.description == "Remove"
    button.click()
    table.update()
    assert button.description == "Sure?"
    button.click()
    assert told == ["worst"]
    assert shown(table) == ["middle", "broken", "best", "empty"]
    assert len(RunStore(store.folder).runs()) == 4


def test_exports_get_the_overlaid_runs_or_all(store):
    asked = []

    def export(kind, runs):
        asked.append((kind, [run.name for run in runs]))
        if kind == "svg":
            raise OSError("the disk is full")
        return f"written as {kind}"

    table = RunTable(store, on_export=export)
    table.sort.value = "name"
    table.exports["csv"].click()
    assert "written as csv" in table.message.value
    for name in ("worst", "best"):
        row(table, name).pin.value = True
    for kind in ("json", "png", "svg"):
        table.exports[kind].click()
    assert asked == [
        ("csv", ["best", "broken", "empty", "middle", "worst"]),
        ("json", ["best", "worst"]),
        ("png", ["best", "worst"]),
        ("svg", ["best", "worst"]),
    ]
    assert "SVG was not written: the disk is full" in table.message.value
    with pytest.raises(ValueError, match="'gif' is none of csv, json, png, svg"):
        RunTable(store, exports=["gif"])


def test_the_code_of_a_run_is_shown_to_be_copied(store):
    def experiment(width=8):
        return width

    made = recipe(experiment, {"width": 9})
    store.begin("experiment", {}, TrainConfig(), name="coded", recipe=made)
    table = RunTable(store)
    assert table.code.layout.display == "none"
    row(table, "best").code.click()
    assert "without the experiment" in table.message.value
    row(table, "coded").code.click()
    assert "run(width=9)" in table.code.value
    assert table.code.layout.display is None


def test_code_may_come_from_elsewhere(store):
    table = RunTable(store, on_code=lambda run: f"# {run.name}")
    row(table, "best").code.click()
    assert table.code.value == "# best"


def test_a_list_of_runs_will_do(store):
    told = []
    table = RunTable(store.runs()[::2], on_pin=lambda run, on: told.append(run.name))
    assert shown(table) == ["middle", "best", "empty"]
    row(table, "best").pin.value = True
    assert told == ["best"]


# ----------------------------------------------------------------------------- the page


def test_every_control_has_its_class_and_its_words(store):
    table = RunTable(store, on_export=lambda *_: None)
    one = row(table, "best")
    classes = {
        table.box: "lmx-runs", table.sort: "lmx-sort", one.box: "lmx-run-row",
        one.pin: "lmx-run-pin", one.remove: "lmx-run-remove", one.code: "lmx-run-code",
    }  # fmt: skip
    for widget, name in classes.items():
        assert name in widget._dom_classes
    for control in (one.pin, one.name, one.code, one.remove):
        assert "best" in control.tooltip
    for control in (table.sort, table.descending, *table.exports.values(), table.code):
        assert control.tooltip
    one.name.value = "renamed"
    assert "renamed" in one.remove.tooltip


def test_a_narrow_page_scrolls(store):
    table = RunTable(store)
    scrolled = table.box.children[2]
    assert scrolled.layout.overflow == "auto"
    assert table._body.layout.min_width == "max-content"
    assert all(b.layout.flex == "0 0 auto" for b in row(table, "best").box.children)


def test_it_reads_as_plain_text(store):
    table = RunTable(store)
    assert "best (done) | final loss 1.0000 | tokens/s 3" in repr(table)
    assert repr(RunTable([])) == "no runs yet"
    assert table._repr_mimebundle_()["text/plain"] == repr(table)
