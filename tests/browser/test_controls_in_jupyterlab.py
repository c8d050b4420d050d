"""Every other control at three positions: how plots are looked at, comparisons, kept
runs, predictions; and what the kernel then has, not only what the page shows.
"""

import json
import re

import pytest

pytestmark = pytest.mark.browser

BEGIN = """\
from functools import partial
import json
import lmxlab
from lmxlab.lab import Compare, Knob, Panel, Predict
from lmxlab.lab.runs import RunStore
from panels_of_topics import next_token
short = partial(next_token, max_steps=40)
lab = Panel(short, store=RunStore("off"))
lab"""
LOOK = """\
chart = lab._chart
print(json.dumps({
    "x": chart.x, "log_loss": chart.log_loss, "smoothing": chart.smoothing,
    "cursor": chart.cursor, "x_end": chart.x_end, "losses": lab.result.losses,
    "rates": [record["learning_rate"] for record in lab.result.history]}))"""
KEPT = """\
store = RunStore("controls_kept")
kept = Panel(short, [Knob("learning_rate")], store=store)
kept"""
RUNS = """\
print(json.dumps({
    "runs": [[r.name, r.pinned, r.summary()["loss"]] for r in store.runs()],
    "shown": [r.name for r in kept._keeper.table.runs()],
    "pinned": list(kept._chart._pins)}))"""
DUEL = """\
duel = Compare(short, {"eager": {"compile_step": False}, "compiled": {}, "slower":
               {"learning_rate": 1e-3}}, [Knob("d_model", [8, 16, 32]),
                                          Knob("weight_decay")])
duel"""
TOLD = """\
found = duel.comparison
print(json.dumps({name: {
    "losses": result.losses, "traces": result.trainer.trace_count,
    "width": result.model.embed.weight.shape[1],
    "decay": result.trainer.live["weight_decay"].item(),
    "peak": result.trainer.live["learning_rate"].item(),
} for name, result in found.results.items()}))"""
ASK = """\
guess = Predict("How much lower is the last loss?",
                {"not at all": (-9, 0), "a little": (0, 0.5), "much": (0.5, 9)})
number = Predict("How many steps?", within=0.1)
display(guess, number)"""
ANSWER = "print(json.dumps([guess.answer, number.answer]))"
REVEAL = "print(guess.reveal(0.2)); print(number.reveal(40))"
LAB, LOOKED, KEEP, RAN, COMPARED, SAID, ASKED, ANSWERED, REVEALED = range(9)


@pytest.fixture(scope="module")
def notebook(notebook_file, jupyterlab_of_module):
    cells = [BEGIN, LOOK, KEPT, RUNS, DUEL, TOLD, ASK, ANSWER, REVEAL]
    with jupyterlab_of_module(notebook_file("controls.ipynb", *cells)) as notebook:
        notebook.run_cell(LAB)
        yield notebook


def run_once(panel):
    panel.press("reset")
    panel.until(lambda p: p.state == "idle", "Reset")
    panel.press("start")
    panel.until(lambda p: p.state == "done" and p.step == 40, "the end")


def test_each_control_of_the_view_at_three_positions(notebook):
    panel = notebook.panel()
    run_once(panel)
    x, log = (panel.box.locator(f".lmx-view-{name}") for name in ("x", "log_loss"))
    reading = panel.box.locator(".lmx-reading")
    before = json.loads(notebook.run_cell(LOOKED))
    for place, axis in enumerate(("tokens", "seconds", "steps")):
        picture = panel.settled()
        x.locator("select").select_option(axis)
        log.click()
        for name, key in (("smoothing", "PageDown"), ("cursor", "PageUp")):
            handle = panel.box.locator(f'.lmx-view-{name} [role="slider"]')
            for _ in range(5 + place):
                handle.press(key)
        panel.until(lambda p, old=picture: p.picture() != old, "another picture")
        panel.until(lambda p, axis=axis: axis in reading.inner_text(), "the read-out")

        found = notebook.tells(
            LOOKED,
            lambda found, old=before, axis=axis: (
                found["x"] == axis
                and found["log_loss"] is not old["log_loss"]
                and 0 <= found["smoothing"] < old["smoothing"]
            ),
            f"{axis}, the other scale and less smoothing",
        )
        assert 0 < found["cursor"] <= found["x_end"]
        assert found["cursor"] != before["cursor"]
        words, losses = reading.inner_text(), found["losses"]
        if axis != "seconds":  # exact, of the nearest step
            assert found["x_end"] == {"tokens": 40 * 52, "steps": 40}[axis]
            step = round(40 * found["cursor"] / found["x_end"])
            near = losses[max(0, step - 2) : step + 1]
        else:
            near = losses
        said = re.search(r"(?:: |· )loss (\S+)", words)
        assert said[1] in [f"{loss:.5g}" for loss in near]
        assert f"learning_rate {found['rates'][0]:.5g}" in words
        before = found


def test_each_control_of_the_table_of_runs(notebook, server):
    notebook.run_cell(KEEP)
    panel = notebook.panel(1)
    for key, times in (("PageDown", 2), ("PageDown", 2), ("PageUp", 3)):
        panel.slide("learning_rate", key, times)
        run_once(panel)
    panel.box.get_by_text("Runs: compare").click()
    rows = panel.box.locator(".lmx-run-row")
    panel.until(lambda p: rows.count() == 3, "three rows")

    def look(condition, what):
        return notebook.tells(RAN, condition, what)

    def names():
        return [
            rows.nth(n).locator(".lmx-run-name input").input_value() for n in (0, 1, 2)
        ]

    for n, name in enumerate(("one", "two", "three")):
        field = rows.nth(n).locator(".lmx-run-name input")
        field.fill(name)
        field.press("Enter")
        panel.until(lambda p, n=n, name=name: names()[n] == name, "the name")
    look(
        lambda found: [r[0] for r in found["runs"]] == ["one", "two", "three"], "names"
    )

    for n in (0, 1, 2):
        before = panel.settled()
        rows.nth(n).locator(".lmx-run-pin input").check()
        if n < 2:  # the last run is the one on the plot
            panel.until(lambda p, old=before: p.picture() != old, "an overlay")
    found = look(lambda f: all(r[1] for r in f["runs"]), "three are to be overlaid")
    assert found["pinned"] == ["one", "two"]
    rows.nth(1).locator(".lmx-run-pin input").uncheck()
    look(lambda found: found["pinned"] == ["one"], "one overlay less")

    sort = panel.box.locator(".lmx-sort select")
    direction = panel.box.locator(".lmx-sort-direction")
    columns = {"final loss": 2, "name": 0, "when it began": None}
    for words, key in columns.items():
        sort.select_option(label=words)
        for _ in range(2):
            before = direction.inner_text()
            direction.click()
            panel.until(lambda p, old=before: direction.inner_text() != old, "it turns")
            down = "descending" in direction.inner_text()

            def ordered(found, key=key, down=down):
                order = found["runs"]
                if key is not None:
                    order = sorted(order, key=lambda run: run[key])
                return found["shown"] == [run[0] for run in order][:: -1 if down else 1]

            found = look(ordered, f"by {words}")
            panel.until(lambda p, shown=found["shown"]: names() == shown, "the rows")

    folder = server.root / "controls_kept"
    for kind in ("csv", "json", "png", "svg"):
        panel.box.locator(f".lmx-export-{kind}").click()
        panel.until(lambda p, k=kind: [*folder.glob(f"*.{k}")], f"the {kind} file")
    (exported,) = folder.glob("*.json")
    assert "two" not in exported.read_text()  # only what is overlaid
    assert "three" in exported.read_text()

    remove = rows.nth(names().index("two")).locator(".lmx-run-remove")
    remove.click()
    assert rows.count() == 3
    remove.click()
    panel.until(lambda p: rows.count() == 2, "two rows")
    look(lambda found: [r[0] for r in found["runs"]] == ["one", "three"], "one is gone")


def test_every_button_and_knob_of_a_comparison(notebook):
    notebook.run_cell(COMPARED)
    duel = notebook.panel(kind="compare")
    keys = [("ArrowLeft", "Home"), ("ArrowRight", "End"), ("ArrowRight", "PageDown")]
    widths, decays = [8, 16, 32], []
    for width, (key, other) in zip(widths, keys, strict=True):
        duel.press("step")
        duel.until(lambda p: (p.state, p.step) == ("paused", 1), "Step")
        duel.slide("d_model", key, 1)
        duel.until(lambda p: "takes effect at Reset" in p.says(), "it says so")
        duel.slide("weight_decay", other, 1)
        duel.until(lambda p: "weight decay" in p.says(), "it says so")
        decays.append(duel.shown("weight_decay"))
        duel.press("start")
        duel.until(lambda p: p.step > 2, "Start")
        # The run may end before the click, which then does nothing.
        duel.box.locator(".lmx-stop").evaluate("button => button.click()")
        duel.until(lambda p: p.state in ("stopped", "done"), "Stop")
        duel.press("reset")
        duel.until(lambda p: (p.state, p.step) == ("idle", 0), "Reset")
        duel.press("start")
        duel.until(lambda p: p.state == "done", "the end")
        found = json.loads(notebook.run_cell(SAID))
        assert list(found) == ["eager", "compiled", "slower"]
        assert all(len(run["losses"]) == 40 for run in found.values())
        assert {run["width"] for run in found.values()} == {width}
        for run in found.values():
            assert run["decay"] == pytest.approx(decays[-1], rel=0.01)
        assert found["eager"]["losses"] == pytest.approx(
            found["compiled"]["losses"], rel=1e-4
        )
        assert found["slower"]["losses"] != found["compiled"]["losses"]
        assert [run["traces"] for run in found.values()] == [40, 1, 1]
        table = duel.box.locator(".lmx-table").inner_text()
        assert all(name in table for name in found)
        duel.press("reset")
        duel.until(lambda p: (p.state, p.step) == ("idle", 0), "Reset")
    assert len(set(decays)) == 3


def test_a_prediction_is_kept_changed_and_then_compared(notebook):
    notebook.run_cell(ASKED)
    options = notebook.page.locator(".lmx-predict input[type=radio]")
    number = notebook.page.locator(".lmx-predict input[type=text]")
    for n, written in enumerate(("10", "20.5", "44")):
        options.nth(n).click()
        number.fill(written)
        number.press("Tab")
        wanted = [["not at all", "a little", "much"][n], float(written)]
        notebook.tells(ANSWERED, lambda found, w=wanted: found == w, f"{wanted}")
    said = notebook.run_cell(REVEALED)
    assert "✗ Not this time. You predicted: much. The run says: a little" in said
    assert "✓ Right. You predicted: 44. The run says: 40 (10% off)" in said
    verdicts = notebook.page.locator(".lmx-verdict")
    assert [v.get_attribute("data-verdict") for v in verdicts.all()[:2]] == [
        "wrong",
        "right",
    ]
    assert options.first.is_disabled()
    assert number.is_disabled()
