"""The panel without a mouse and without sight, in JupyterLab in Chromium.

What a screen reader gets is Chromium's accessibility tree; keys are pressed for real.
The screenshots lie in tests/browser/artifacts afterwards, to be looked at.
"""

import re

import nbformat
import pytest

pytestmark = pytest.mark.browser

CELLS = [
    """\
import lmxlab
import mlx.core as mx
import mlx.nn as nn
from lmxlab.data import StoryWorld
from lmxlab.lab import Compare, Knob, Panel, Predict, Run
from lmxlab.lab.runs import RunStore
from lmxlab.training.config import TrainConfig

def experiment(learning_rate=1e-2, batch_size=8, compile_step=True, max_steps=100_000):
    mx.random.seed(0)
    model = nn.Sequential(nn.Embedding(47, 16), nn.Linear(16, 47))
    config = TrainConfig(learning_rate, max_steps=max_steps, warmup_steps=0,
                         batch_size=batch_size, compile_step=compile_step)
    return Run(model, config, StoryWorld())""",
    """\
guess = Predict("Which is faster?", ["eager", "compiled", "neither"])
guess""",
    """\
store = RunStore("off")
Panel(experiment, store=store).run(steps=3)
lab = Panel(experiment, [Knob("learning_rate"), Knob("batch_size", [8, 16]),
                         Knob("compile_step")], store=store)
lab""",
    """\
duel = Compare(experiment, {"eager": {"compile_step": False}, "compiled": {}},
               [Knob("learning_rate")])
duel""",
    """\
from lmxlab.lab.table import RunTable
table = RunTable(store)
table""",
]
INTERACTIVE = {
    "button", "checkbox", "combobox", "slider", "radio", "textbox", "spinbutton",
    "listbox", "img", "image", "radiogroup",
}  # fmt: skip
ORDER = [
    "Start", "Step", "Reset", "learning rate", "learning rate, as a number",
    "batch size", "batch size, as a number", "compile step", "x axis", "log loss",
    "smoothing", "smoothing, as a number", "read at",
    "Runs: compare, export, copy as code", "Sort by", "ascending", "CSV", "JSON", "PNG",
    "SVG", "Lay * over the plot", "Name of *, to be edited",
    "Code: Show a script that does * again",
    "Remove: Delete * and its files: click twice",
]  # fmt: skip
# How wide the ring is, and which boxes of ours, if any, cut a part of it off.
FOCUS = """() => {
    const held = document.activeElement, seen = getComputedStyle(held);
    const ring = seen.outlineStyle === "none" ? 0 : parseFloat(seen.outlineWidth);
    const away = ring + parseFloat(seen.outlineOffset);
    const place = held.getBoundingClientRect(), cut = [];
    let box = held;
    while ((box = box.parentElement)?.closest(".lmx-lab")) {
        const clips = getComputedStyle(box).overflowX !== "visible";
        const scrolls = box.scrollWidth > box.clientWidth + 1
            || box.scrollHeight > box.clientHeight + 1;
        const room = box.getBoundingClientRect();
        if (clips && !scrolls && (
            place.left - away < room.left - 0.5 || place.right + away > room.right + 0.5
            || place.top - away < room.top - 0.5
            || place.bottom + away > room.bottom + 0.5)) { cut.push(box.className); }
    }
    return {classes: held.className, ring, cut, checked: held.value};
}"""

# What dark Colab sets, in the midst of what else a light page has.
COLAB = {
    "--jp-widgets-color": "#d5d5d5", "--jp-ui-font-color1": "#d5d5d5",
    "--jp-layout-color2": "#494949", "--jp-widgets-input-background-color": "#494949",
}  # fmt: skip
# The lowest contrast of words with what lies behind them, and the words.
CONTRAST = """(root, colours) => {
    root.style.background = "#383838";
    for (const [name, value] of Object.entries(colours)) {
        document.documentElement.style.setProperty(name, value);
    }
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (box) => {
        const colour = getComputedStyle(box).backgroundColor;
        return numbers(colour)[3] === 0 ? behind(box.parentElement) : colour;
    };
    const words = [".jupyter-widget-Collapse-header", ".lmx-runs span", ".widget-label",
        ".lmx-runs button", ".lmx-view button", ".lmx-status"].join();
    return [...root.querySelectorAll(words)].map((box) => {
        const pair = [getComputedStyle(box).color, behind(box)].map(light);
        const [dark, bright] = pair.sort((one, other) => one - other);
        return [(bright + 0.05) / (dark + 0.05), box.textContent];
    }).sort((one, other) => one[0] - other[0])[0];
}"""

HELD = "(menu) => [menu === document.activeElement, menu.value]"


@pytest.fixture
def opened(server, jupyterlab):
    """``with opened(name) as notebook``."""

    def make(name):
        nb = nbformat.v4.new_notebook()
        nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nb.cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
        nbformat.write(nb, server.root / name)
        return jupyterlab(name)

    return make


class Ears:
    """Chromium's accessibility tree, of the page or of one element."""

    def __init__(self, page):
        self.client = page.context.new_cdp_session(page)
        self.client.send("Accessibility.enable")

    def focused(self):
        """Role, name and value of what has the focus."""
        found = self.client.send(
            "Runtime.evaluate", {"expression": "document.activeElement"}
        )
        return self._of(found["result"]["objectId"])[0]

    def below(self, selector):
        """Role, name and value of each control and picture below the first match."""
        expression = f"document.querySelector({selector!r})"
        found = self.client.send("Runtime.evaluate", {"expression": expression})
        result = self.client.send(
            "Accessibility.queryAXTree", {"objectId": found["result"]["objectId"]}
        )
        return [
            self._plain(node) for node in result["nodes"] if not node.get("ignored")
        ]

    def _of(self, object_id):
        result = self.client.send(
            "Accessibility.getPartialAXTree",
            {"objectId": object_id, "fetchRelatives": False},
        )
        return [self._plain(node) for node in result["nodes"]]

    @staticmethod
    def _plain(node):
        role, name, value = (
            str(node.get(key, {}).get("value", "")) for key in ("role", "name", "value")
        )
        return role, name, value


def spoken(panel, knob):
    """What is heard of a slider's value. (CDP's tree leaves this attribute out.)"""
    handle = panel.box.locator(f'.lmx-knob-{knob} [role="slider"]')
    return handle.get_attribute("aria-valuetext")


def matches(pattern, name):
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".+"), name)


def test_every_control_has_a_name_and_its_place_in_the_order(opened):
    with opened("by_keyboard.ipynb") as notebook:
        notebook.run_all(120)
        panel, page, ears = notebook.panel(), notebook.page, Ears(notebook.page)
        panel.box.locator(".jupyter-widget-Collapse-header").press("Enter")
        panel.until(lambda p: p.box.locator(".lmx-run-row").is_visible(), "the table")
        page.wait_for_timeout(500)
        for box in (".lmx-panel", ".lmx-compare"):
            there = [node for node in ears.below(box) if node[0] in INTERACTIVE]
            assert len(there) >= 15
            assert [node for node in there if not node[1].strip()] == []
        assert spoken(panel, "learning_rate") == "1.00e-2"  # not the notch, -2
        assert spoken(panel, "batch_size") == "8"

        # Tab goes through all of it, in order, and each one shows that it is there.
        panel.box.locator(".lmx-start").focus()
        page.keyboard.press("Shift+Tab")
        for expected in ORDER:
            page.keyboard.press("Tab")
            role, name, _ = ears.focused()
            assert matches(expected, name), f"{role} {name!r} instead of {expected!r}"
            seen = page.evaluate(FOCUS)
            assert seen["ring"] >= 2, name
            assert seen["cut"] == [], name
        notebook.shoot("access_focus_ring")
        notebook.menu("Settings", "Theme", "JupyterLab Dark")

        def ring(_):
            # The theme comes some time after the click, and the menu that closes may
            # take the focus with it.
            panel.box.locator(".lmx-start").focus()
            page.keyboard.press("Tab")
            seen = page.evaluate(FOCUS)
            return "lmx" in seen["classes"] and seen["ring"] >= 2

        panel.until(ring, "a ring in the dark")
        panel.shoot("access_dark")

        # Predict: one stop for the options, and the arrows move.
        options = page.locator(".lmx-predict input")
        role, name, _ = next(
            n for n in ears.below(".lmx-predict") if n[0] == "radiogroup"
        )
        assert name == "Which is faster?"
        options.first.focus()
        page.keyboard.press("Tab")
        assert ears.focused()[0] != "radio"
        options.first.focus()
        page.keyboard.press("Space")
        for key, chosen in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1)):
            page.keyboard.press(key)
            assert [options.nth(i).is_checked() for i in range(3)] == [
                i == chosen for i in range(3)
            ]
            assert page.evaluate(FOCUS)["checked"] == str(chosen)
        assert "Cell 2" in page.locator("#jp-main-statusbar").inner_text()
        page.locator(".jp-CodeCell .cm-content").last.click()
        page.keyboard.press("Control+End")
        page.keyboard.press("Enter")
        page.keyboard.type("print('chosen:', guess.answer)")
        page.keyboard.press("Control+Enter")
        page.get_by_text("chosen: compiled").wait_for(timeout=60_000)


def test_keys_that_a_control_takes_do_not_reach_a_listener_in_the_window(opened):
    """VS Code has one, and edits the cell at Enter: the button would lose the focus."""
    with opened("listeners.ipynb") as notebook:
        notebook.run_all(120)
        panel, page = notebook.panel(), notebook.page
        page.evaluate("""() => {
            window.heard = [];
            window.addEventListener("keydown", (event) => window.heard.push(event.key));
        }""")
        for control in (".lmx-start", ".lmx-view-x select", '[role="slider"]'):
            panel.box.locator(control).first.focus()
            for key in ("Tab", "Shift+Tab", "ArrowUp", "d", "Enter"):
                page.keyboard.press(key)
        panel.until(lambda p: p.state == "running", "Start")
        heard = page.evaluate("() => window.heard")
        assert heard == ["Tab"] * 6  # which leave the control, and come back


def test_words_are_read_in_a_theme_that_sets_four_colours(opened):
    with opened("four_colours.ipynb") as notebook:
        notebook.run_all(120)
        panel = notebook.panel()
        panel.box.locator(".jupyter-widget-Collapse-header").press("Enter")
        panel.until(lambda p: p.box.locator(".lmx-run-row").is_visible(), "the table")
        panel.box.locator(".lmx-view-log_loss").click()
        panel.box.locator(".lmx-view-log_loss.mod-active").wait_for()
        notebook.page.wait_for_timeout(500)
        ratio, words = panel.box.evaluate(CONTRAST, COLAB)
        panel.shoot("access_four_colours")
        assert ratio >= 4.5, words


def test_menus_take_keys_also_of_a_table_that_stands_alone(opened):
    with opened("menus.ipynb") as notebook:
        notebook.run_all(120)
        panel, page = notebook.panel(), notebook.page
        axis = panel.box.locator(".lmx-view-x select")
        alone = page.locator(".lmx-runs:not(.lmx-panel *) .lmx-sort select")
        panel.press("start")
        panel.until(lambda p: p.state == "running", "Start")
        for menu, choices in (
            (axis, ["tokens", "seconds", "tokens"]),
            (alone, ["name", "final loss", "name"]),
        ):
            menu.focus()
            for key, chosen in zip(("Down", "Down", "Up"), choices, strict=True):
                page.keyboard.press(f"Arrow{key}")
                page.wait_for_timeout(200)  # for a kernel that takes it back
                held, value = menu.evaluate(HELD)
                assert (held, value) == (True, chosen)
            page.keyboard.press("s")  # a letter chooses, and splits no cell
            page.wait_for_timeout(200)
        assert axis.input_value() == "seconds"
        assert alone.input_value() == "seconds"
        # Opened as with a mouse, and left again with Escape.
        for key in ("Space", "Alt+ArrowDown"):
            axis.press(key)
            page.keyboard.press("ArrowUp")
            page.keyboard.press("Enter")
        panel.until(lambda p: axis.input_value() == "steps", "the open menu")
        assert panel.state == "running"


def test_a_run_by_keyboard_alone_and_what_is_heard_of_it(opened):
    with opened("heard.ipynb") as notebook:
        notebook.run_all(120)
        panel, page, ears = notebook.panel(), notebook.page, Ears(notebook.page)
        heard = panel.box.locator(".lmx-announce .widget-html-content")
        assert heard.get_attribute("aria-live") == "polite"
        line = panel.box.locator(".lmx-status")
        assert not line.evaluate("e => !!e.closest('[aria-live], [role=status]')")
        page.evaluate(
            """(region) => {
                window.lmxHeard = [];
                new MutationObserver(() => window.lmxHeard.push(region.textContent))
                    .observe(region, {childList: true, subtree: true});
            }""",
            heard.element_handle(),
        )

        # The focus goes along: from Start, which is disabled, to Pause, and back.
        panel.box.locator(".lmx-start").focus()
        page.keyboard.press("Enter")
        panel.until(lambda p: p.state == "running", "Start", 60)
        panel.until(lambda p: ears.focused()[1].strip() == "Pause", "the focus", 20)
        panel.until(lambda p: p.step > 20, "progress", 60)
        page.keyboard.press("Enter")
        panel.until(lambda p: p.state == "paused", "Pause", 60)
        panel.until(lambda p: ears.focused()[1].strip() == "Start", "the focus", 20)
        held = panel.step
        page.keyboard.press("Tab")
        assert ears.focused()[1].strip() == "Step"
        page.keyboard.press("Space")
        panel.until(lambda p: p.step == held + 1, "Step", 60)
        assert ears.focused()[1].strip() == "Step"

        # A knob, a number typed, the view; JupyterLab's own keys stay out of it.
        cells = page.locator(".jp-Notebook .jp-Cell").count()
        for _ in range(3):
            page.keyboard.press("Tab")
        assert ears.focused()[1] == "learning rate"
        page.keyboard.press("ArrowRight")
        panel.until(lambda p: spoken(p, "learning_rate") == "1.12e-2", "heard", 20)
        page.keyboard.press("Tab")
        page.keyboard.press("Control+a")
        page.keyboard.type("0.02")
        page.keyboard.press("Enter")
        slider = '.lmx-knob-learning_rate [role="slider"]'
        panel.until(
            lambda p: (
                p.box.locator(slider).get_attribute("aria-valuetext")
                in ("2.00e-2", "1.99e-2")
            ),
            "the number",
            20,
        )
        toggle = panel.box.locator(".lmx-view-log_loss")
        toggle.focus()
        page.keyboard.press("Enter")
        panel.until(lambda p: toggle.get_attribute("aria-pressed") == "true", "log", 20)
        assert page.locator(".jp-Notebook .jp-Cell").count() == cells
        assert "Mode: Command" in page.locator("#jp-main-statusbar").inner_text()

        # The picture says its numbers, and the line is heard now and then.
        panel.box.locator(".lmx-stop").focus()
        page.keyboard.press("Space")
        panel.until(lambda p: p.state == "stopped", "Stop", 60)
        panel.until(lambda p: ears.focused()[1].strip() == "Start", "the focus", 20)
        step = panel.step
        panel.until(
            lambda p: any(
                role in ("img", "image")
                and re.search(rf"Loss in nats .* at step {step}, lowest", name)
                for role, name, _ in ears.below(".lmx-panel")
            ),
            "the picture's words",
            20,
        )
        assert panel.box.locator('[role="status"]').count() == 1  # nothing twice
        heard_so_far = "() => window.lmxHeard"
        panel.until(
            lambda p: page.evaluate(heard_so_far)[-1].startswith(
                f"stopped, step {step}"
            ),
            "the end is heard",
        )
        said = page.evaluate(heard_so_far)
        assert said[0].startswith("running")
        assert any("learning rate = " in words for words in said)
        assert len(said) < 15


def test_how_the_first_topic_looks(jupyterlab):
    with jupyterlab("01_compiled_step.ipynb") as notebook:
        notebook.run_all(300)
        panel, duel = notebook.panel(), notebook.panel(kind="compare")
        panel.box.get_by_text("Runs: compare").click()
        for theme in ("light", "dark"):
            notebook.menu("Settings", "Theme", f"JupyterLab {theme.title()}")
            for width in (1280, 800):
                tall = {"width": width, "height": 1800}
                notebook.page.set_viewport_size(tall)
                notebook.page.wait_for_timeout(500)
                for name, found in (("panel", panel), ("compare", duel)):
                    found.shoot(f"access_{theme}_{width}_{name}")
                    wider = found.box.evaluate("e => e.scrollWidth - e.clientWidth")
                    assert wider <= 0
            # Without a sideways scroll: what does something to a run.
            notebook.wide()
            panel.box.locator(".lmx-runs").scroll_into_view_if_needed()
            remove = panel.box.locator(".lmx-run-remove").first
            edge = panel.box.bounding_box()
            place = remove.bounding_box()
            assert place["x"] + place["width"] <= edge["x"] + edge["width"]
