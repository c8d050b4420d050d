"""What a panel shows is fresh, and where it shows it."""

import asyncio
from itertools import pairwise
import time

from lmxlab.lab import Knob, Panel, Run
from lmxlab.lab.chart import Chart
from lmxlab.training.config import TrainConfig
import mlx.core as mx
import mlx.nn as nn


def experiment(learning_rate=1e-2, width=8, max_steps=10**6):
    model = nn.Sequential(nn.Embedding(4, width), nn.Linear(width, 4))
    config = TrainConfig(learning_rate, max_steps=max_steps, warmup_steps=0)
    tokens = mx.array([[0, 1, 2, 3]])
    return Run(model, config, iter(lambda: (tokens, tokens), None))


def test_the_status_is_fresh_also_where_frames_are_dear(monkeypatch):
    def dear(chart):
        time.sleep(0.1)  # so that frames are seconds apart
        return b""

    async def main():
        lab = Panel(experiment)
        monkeypatch.setattr(Chart, "png", dear)
        changed = []
        lab.status.observe(lambda _: changed.append(time.monotonic()), names="value")
        lab.buttons["start"].click()
        begun = time.monotonic()
        while time.monotonic() < begun + 1.6:
            await asyncio.sleep(0)
        lab.buttons["stop"].click()
        await lab.wait(5)
        times = [begun, *changed]
        assert max(after - before for before, after in pairwise(times)) < 1.0
        assert len(changed) >= 4

    asyncio.run(main())


def test_a_click_shows_before_the_picture_is_drawn(monkeypatch):
    seen = []
    lab = Panel(experiment)
    lab.buttons["step"].click()
    monkeypatch.setattr(
        Chart, "png", lambda chart: seen.append(lab.status.value) or b""
    )
    lab.buttons["stop"].click()
    assert 'data-state="stopped"' in seen[0]


def test_live_and_restart_knobs_stand_under_their_own_words():
    lab = Panel(experiment, [Knob("width", [8, 16]), Knob("learning_rate")])
    groups = lab.box.children[1].children
    words = ["at once" in group.children[0].value for group in groups]
    assert words == [True, False]
    assert groups[0].children[1] is lab.controls["learning_rate"]
    assert groups[1].children[1] is lab.controls["width"]


def test_the_line_says_no_steps_before_they_are_known():
    lab = Panel(experiment)
    assert lab.status.value.endswith("><b>idle</b></div>")
