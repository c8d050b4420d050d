"""Every knob of every topic, turned by keyboard: what the model did, not the widget.

One notebook holds a panel for each topic. After the knobs were turned, a cell computes
by hand what each update should have done with the knobs as they stood (by_hand.py).
"""

import json
import math

import by_hand
from panels_of_topics import RESTARTS, STEPS, TOPICS
import pytest

pytestmark = pytest.mark.browser

NAMES = list(TOPICS)
BEGIN = """\
import lmxlab
from panels_of_topics import TOPICS, tell
labs = {}"""
PANEL = """\
labs["{0}"] = TOPICS["{0}"].panel()
display(labs["{0}"], *[pane.box for pane in [TOPICS["{0}"].pane] if pane])"""
ACCOUNT = 'tell("{0}", labs["{0}"])'
SEEN = """\
import json
seen = TOPICS["{0}"].pane.seen
print(json.dumps(max(seen.items())))"""

# The keys that take a restart knob to its next setting; in a menu as many as it takes.
KEYS = {
    "batch_size": [("ArrowRight", 1), ("ArrowRight", 1), ("ArrowLeft", 2)],
    "d_model": [("ArrowRight", 1), ("ArrowLeft", 2), ("ArrowRight", 1)],
    "compile_step": [("Space", 1)] * 3,
}
AWAY = """(box, value) => {
    const menu = box.querySelector("select");
    const options = Array.from(menu.options, (option) => option.value);
    return options.indexOf(value) - menu.selectedIndex;
}"""


class Topics:
    """The notebook's panels by name, and what its cells say of them."""

    def __init__(self, notebook):
        self.notebook = notebook
        for number in range(1 + len(NAMES)):
            notebook.run_cell(number)

    def panel(self, name):
        return self.notebook.panel(NAMES.index(name))

    def account(self, name):
        number = 1 + len(NAMES) + NAMES.index(name)
        return json.loads(self.notebook.run_cell(number))

    def seen(self, name):
        """The latest step and samples of a pane."""
        number = 1 + 2 * len(NAMES) + ["dpo", "grpo"].index(name)
        return json.loads(self.notebook.run_cell(number))


@pytest.fixture(scope="module")
def topics(notebook_file, jupyterlab_of_module):
    cells = [PANEL.format(name) for name in NAMES]
    cells += [ACCOUNT.format(name) for name in NAMES]
    cells += [SEEN.format(name) for name in ("dpo", "grpo")]
    with jupyterlab_of_module(notebook_file("topics.ipynb", BEGIN, *cells)) as notebook:
        yield Topics(notebook)


@pytest.mark.parametrize("name", NAMES)
def test_each_live_knob_at_three_positions(name, topics):
    topic, panel = TOPICS[name], topics.panel(name)
    panel.press("start")
    panel.until(lambda p: p.step > 3, "Start")
    shown = {knob: [panel.turn(knob, *turns[0])] for knob, turns in topic.live.items()}
    assert panel.state == "running"
    now = panel.step
    panel.until(lambda p: p.step > now + by_hand.AFTER, "progress")
    panel.press("pause")
    panel.until(lambda p: p.state == "paused", "Pause")
    for place in (1, 2):
        for knob, turns in topic.live.items():
            shown[knob].append(panel.turn(knob, *turns[place]))
        for _ in range(topic.steps):
            panel.one_step()
    found = topics.account(name)
    panel.box.locator(".lmx-start").scroll_into_view_if_needed()
    topics.notebook.shoot(f"knobs_{name}")

    assert found["traces"] == 1 == int(panel.data()["traces"])
    assert found["steps"] == panel.step
    # Each update is what the formula gives for the knobs as they stood...
    assert found["worst"] < topic.nothing
    for knob in topic.live:
        # ...and not what it gives for the knob where it was before.
        assert len(found["unlike"][knob]) == 3
        assert min(found["unlike"][knob]) > topic.something
        changes = [value for _, turned, value in found["changes"] if turned == knob]
        assert is_within(shown[knob], changes)
        assert len(set(shown[knob])) == 3
        words = knob.replace("_", " ")
        assert f"{words} {changes[-1]:.3g}" in found["marks"]
    if topic.pane is None:
        panel.press("stop")
        panel.until(lambda p: p.state == "stopped", "Stop")


def is_within(shown, changes):
    """Whether the values come in this order, others between them."""
    rest = iter(changes)
    return all(
        any(math.isclose(value, new, rel_tol=0.01, abs_tol=1e-9) for new in rest)
        for value in shown
    )


def test_each_restart_knob_at_three_positions(topics):
    panel = topics.panel("next_token")
    panel.press("reset")
    panel.until(lambda p: p.state == "idle", "Reset")
    compiled = True
    for place, settings in enumerate(RESTARTS):
        panel.one_step()
        before = topics.account("next_token")
        for name, value in settings.items():
            box = panel.box.locator(f".lmx-knob-{name}")
            if name in KEYS:
                key, times = KEYS[name][place]
            else:
                down = box.evaluate(AWAY, value)
                key, times = "ArrowDown" if down > 0 else "ArrowUp", abs(down)
            for _ in range(times):
                box.locator("[role=slider], input, select").press(key)
            words = name.replace("_", " ")
            said = f"{words} = {value} takes effect at Reset."
            panel.until(lambda p, said=said: said in p.says(), said)
        panel.one_step()
        still = topics.account("next_token")
        for what in ("tokens", "weights", "optimizer"):
            assert still[what] == before[what]
        assert still["traces"] == (1 if compiled else 2)
        compiled = settings["compile_step"]

        panel.press("reset")
        panel.until(lambda p: (p.state, p.step) == ("idle", 0), "Reset")
        panel.press("start")
        panel.until(lambda p: p.step > 100, "progress")
        panel.press("pause")
        panel.until(lambda p: p.state == "paused", "Pause")
        panel.one_step()
        found, step = topics.account("next_token"), panel.step
        assert found["worst"] < TOPICS["next_token"].nothing  # the rule's first update
        assert found["changes"] == []
        assert found["traces"] == (1 if settings["compile_step"] else step)
        assert found["tokens"] == 13 * settings["batch_size"]
        assert found["weights"]["embed.weight"] == [47, settings["d_model"]]
        assert found["optimizer"].strip("_").lower() in settings["optimizer"]
        rates = by_hand.rates(found["peak"], step - 1, STEPS)
        expected = rates[settings["lr_schedule"]]
        assert found["learning_rate"] == pytest.approx(expected, rel=1e-6)
        panel.press("reset")
        panel.until(lambda p: (p.state, p.step) == ("idle", 0), "Reset")


@pytest.mark.parametrize("name", ["dpo", "grpo"])
def test_samples_are_renewed_and_say_what_the_judge_says(name, topics):
    panel = topics.panel(name)
    pane = topics.notebook.page.locator(".lmx-samples").nth(["dpo", "grpo"].index(name))
    body = pane.locator("[data-step]")

    def step():
        return int(body.get_attribute("data-step"))

    panel.press("reset")
    panel.until(lambda p: p.state == "idle", "Reset")
    panel.press("start")
    panel.until(lambda p: p.step > 0, "Start")
    seen = [step()]
    for _ in range(3):
        panel.until(lambda p: step() > seen[-1], "new samples")
        seen.append(step())
    panel.press("stop")
    panel.until(lambda p: p.state == "stopped", "Stop")
    panel.until(lambda p: step() == p.step, "the last samples")

    at, written = topics.seen(name)
    assert at == step() == panel.step
    groups = written.items() if name == "grpo" else [(None, written)]
    rows = iter(pane.locator(".lmx-sample").all())
    for prompt, pairs in groups:
        mean = sum(verdict for _, verdict in pairs) / len(pairs)
        for text, verdict in pairs:
            row = next(rows)
            sign, kind = {
                True: ("✓", "right"),
                False: ("✗", "wrong"),
                "above": ("▲", "above"),
                "below": ("▼", "below"),
                "mean": ("=", "mean"),
            }[verdict if prompt is None else against(verdict, mean)]
            reward = "" if prompt is None else f" ({verdict:.3g})"
            assert row.text_content() == f"{sign} {text}{reward}"
            assert row.get_attribute("data-verdict") == kind
            assert row.get_by_role("img").get_attribute("aria-label")
            if prompt is not None:  # what the model wrote is judged as in training
                right = sorted(prompt[:-1])
                hits = sum(a == b for a, b in zip(right, text, strict=False))
                assert verdict == pytest.approx(hits / len(right))
    assert next(rows, None) is None
    legend = pane.locator(".lmx-legend").text_content()
    signs = "✓✗" if name == "dpo" else "▲=▼"
    assert all(sign in legend for sign in signs)
    for theme in ("dark", "light"):
        topics.notebook.menu("Settings", "Theme", f"JupyterLab {theme.title()}")
        panel.shoot(f"samples_{name}_{theme}", pane)


def against(verdict, mean):
    if math.isclose(verdict, mean, abs_tol=1e-9):
        return "mean"
    return "above" if verdict > mean else "below"
