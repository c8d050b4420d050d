"""Settings side by side: what is equal, what is faster, and from which step on."""

import asyncio
import math
from types import SimpleNamespace

from lmxlab.lab import Compare, Comparison, Knob, Result, Run
from lmxlab.lab.chart import Chart
from lmxlab.lab.compare import Timing
from lmxlab.training.config import TrainConfig
import mlx.core as mx
import mlx.nn as nn
import pytest

PAIR = {"eager": {"compile_step": False}, "compiled": {}}


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Frames cost most of the time, and these tests are about the rest."""
    monkeypatch.setattr(Chart, "png", lambda chart: b"")
    monkeypatch.setattr(Chart, "_build", lambda *_: None)


class Watch:
    """A callback that counts endings, and may raise at a step."""

    def __init__(self):
        self.begun = self.ended = self.raise_at = 0

    def on_train_begin(self, config):
        self.begun += 1

    def on_step_end(self, step, metrics):
        if step == self.raise_at:
            raise OSError("disk full")

    def on_train_end(self, history):
        self.ended += 1


def toy(steps=12, callbacks=()):
    def experiment(learning_rate=1e-2, compile_step=True, width=4):
        mx.random.seed(0)
        model = nn.Sequential(
            nn.Embedding(8, width), nn.Dropout(0.1), nn.Linear(width, 8)
        )
        config = TrainConfig(
            learning_rate, max_steps=steps, warmup_steps=0, compile_step=compile_step
        )
        tokens = mx.arange(8).reshape(2, 4)
        return Run(model, config, [(tokens, tokens)] * steps, callbacks=callbacks)

    return experiment


def duel(steps=12, variants=PAIR, callbacks=(), **kwargs):
    return Compare(toy(steps, callbacks), variants, **kwargs)


def ran(step_ms, first_ms, tokens=10, traces=1):
    """A run as if it had taken so long: a first call, then timed steps."""
    first = {"step_seconds": first_ms / 1e3, "first_call_seconds": first_ms / 1e3}
    history = [first, *({"step_seconds": ms / 1e3} for ms in step_ms)]
    for step, record in enumerate(history, start=1):
        record |= {"step": step, "loss": 1 / step, "tokens": tokens}
    return Result(SimpleNamespace(history=history, trace_count=traces), {})


def timed(slow, fast):
    """A comparison of (ms a step, ms of the first call) twice."""
    named = {"slow": slow, "fast": fast}
    return Comparison(
        {name: ran([step] * 5, first) for name, (step, first) in named.items()}
    )


# -------------------------------------------------------------------------- training


@pytest.mark.exact
def test_eager_and_compiled_train_the_same_bit_for_bit():
    outcome = duel().run()
    eager, compiled = outcome.results.values()
    assert len(eager.losses) == 12
    assert eager.losses == compiled.losses
    assert outcome.largest_difference == 0
    assert "equal, bit for bit, at every step" in outcome.summary()


def test_python_enters_the_compiled_step_once():
    timings = duel().run().timings
    assert (timings["eager"].entered, timings["compiled"].entered) == (12, 1)


def test_each_trains_as_it_would_alone():
    variants = {"slow": {"learning_rate": 1e-3}, "fast": {"learning_rate": 0.1}}
    together = duel(variants=variants).run()
    for name, settings in variants.items():
        alone = Compare(toy(), {"one": settings, "other": {}}).run()
        assert together.results[name].losses == alone.results["one"].losses
    assert together.largest_difference > 0
    assert "The losses differ by up to" in together.summary()


def test_turns_go_there_and_back():
    lab, seen = duel(turn=2), ""
    for _ in range(12):
        lab.buttons["step"].click()
        seen += lab._last["variant"][0]
    assert seen == "eecc" + "ccee" + "eecc"


@pytest.mark.parametrize("steps", [3, 5, 7, 10, 12])
def test_run_does_so_many_steps_of_each(steps):
    lab = duel()
    outcome = lab.run(steps=steps)
    assert [len(r.history) for r in outcome.results.values()] == [steps, steps]
    assert len(lab.run().results["eager"].history) == 12


def test_one_may_have_less_data_than_the_other():
    def experiment(steps=4):
        return toy(steps)()

    outcome = Compare(experiment, {"long": {"steps": 9}, "short": {}}).run()
    assert [len(r.history) for r in outcome.results.values()] == [9, 4]


def test_a_stopped_comparison_closes_every_run():
    watch = Watch()
    lab = duel(callbacks=[watch], turn=1)
    for name in ("step", "step", "step", "stop"):
        lab.buttons[name].click()
    assert lab.state == "stopped"
    assert (watch.begun, watch.ended) == (2, 2)


def test_an_error_in_one_closes_every_run():
    watch = Watch()
    watch.raise_at = 3
    lab = duel(callbacks=[watch], turn=1)
    with pytest.raises(OSError, match="disk full"):
        lab.run()
    assert (lab.state, watch.begun, watch.ended) == ("failed", 2, 2)
    assert 'role="alert"' in lab.message.value
    watch.raise_at = 0
    lab.buttons["start"].click()
    assert lab.state == "done"


def test_a_comparison_on_the_loop():
    async def story():
        lab = duel()
        lab.buttons["start"].click()
        outcome = await lab.wait()
        assert outcome is lab.comparison
        assert 'data-state="done" data-step="12"' in lab.status.value
        assert 'data-traces="13"' in lab.status.value
        assert outcome.summary()[:20] in lab.message.value
        lab.buttons["reset"].click()
        for _ in range(9):
            await asyncio.sleep(0)
        assert (lab.state, lab.comparison) == ("idle", None)

    asyncio.run(story())


def test_the_shared_knobs_take_effect_at_reset():
    lab = duel(knobs=[Knob("learning_rate"), Knob("width", [4, 8])])
    lab.buttons["step"].click()
    lab.controls["learning_rate"].value = 0.05
    assert "takes effect at Reset" in lab.message.value
    lab.buttons["step"].click()
    assert lab._last["learning_rate"] < 0.011
    outcome = lab.run(steps=3, width=8)
    for result in outcome.results.values():
        assert result.history[0]["learning_rate"] == pytest.approx(0.05)
        assert result.model.layers[0].weight.shape == (8, 8)


# -------------------------------------------------------------------------- refusals


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="variants must be two or more, got 1"):
        Compare(toy(), {"one": {}})
    with pytest.raises(ValueError, match="'depth' is not a parameter"):
        Compare(toy(), {"one": {}, "other": {"depth": 2}})
    with pytest.raises(ValueError, match="turn must be at least 1"):
        duel(turn=0)
    with pytest.raises(ValueError, match="steps must be at least 3, got 2"):
        duel().run(steps=2)
    with pytest.raises(ValueError, match="'depth' is not a setting"):
        duel().run(depth=2)


def test_an_experiment_must_return_a_run():
    lab = Compare(lambda width=1: None, {"one": {}, "other": {"width": 2}})
    with pytest.raises(TypeError, match="must return a Run, got NoneType"):
        lab.run()


def test_too_few_steps_have_no_timing():
    with pytest.raises(ValueError, match="fast: 1 timed steps are too few"):
        Timing.of("fast", ran([1.0], 5.0))


# --------------------------------------------------------------------------- numbers


def test_a_timing_leaves_first_calls_out():
    timing = Timing.of("fast", ran([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 500, traces=3))
    assert timing.step_ms == pytest.approx(6)
    assert (timing.low_ms, timing.high_ms) == pytest.approx((2, 10))
    assert timing.tokens_per_second == pytest.approx(10 / 6e-3)
    assert timing.first_call_seconds == pytest.approx(0.5)
    assert timing.entered == 3


@pytest.mark.parametrize(
    ("slow", "fast", "steps"),
    [
        ((12, 500), (4, 4500), 500),  # 4 s dearer at first, 8 ms cheaper a step
        ((12, 500), (4, 500), 0),  # no dearer
        ((12, 500), (4, 100), 0),
        ((4, 500), (12, 100), 0),  # cheaper at first, if dearer a step
        ((4, 500), (12, 4500), math.inf),  # dearer both ways
        ((4, 500), (4, 4500), math.inf),
    ],
)
def test_break_even_is_cost_over_gain(slow, fast, steps):
    assert timed(slow, fast).break_even("slow", "fast") == pytest.approx(steps)


def test_speedup_is_the_ratio_of_the_medians():
    outcome = timed((12, 500), (4, 4500))
    assert outcome.speedup("slow", "fast") == pytest.approx(3)
    assert outcome.speedup("fast", "slow") == pytest.approx(1 / 3)


def test_the_largest_difference_is_over_all_steps():
    outcome = timed((12, 500), (4, 4500))
    outcome.results["fast"].history[2]["loss"] += 0.25
    assert outcome.largest_difference == pytest.approx(0.25)
    assert "The losses differ by up to 0.25 nats." in outcome.summary()


@pytest.mark.parametrize(
    ("slow", "fast", "words"),
    [
        ((12, 500), (4, 4500), "has earned back its first call by step 500."),
        ((12, 500), (4, 100), "and its first call was no dearer."),
        ((4, 500), (12, 4500), "its first call is never earned back."),
    ],
)
def test_the_summary_says_from_which_step_on(slow, fast, words):
    summary = timed(slow, fast).summary()
    assert summary.startswith("The losses are equal, bit for bit, at every step. fast ")
    assert summary.endswith(words)


def test_the_summary_says_how_much_faster():
    summary = timed((12, 500), (4, 4500)).summary()
    assert "0.33 of the time of slow a step (3.00 times the throughput)" in summary


def test_the_table_has_a_row_for_each():
    outcome = timed((12, 500), (4, 4500))
    assert outcome.table().splitlines()[2:] == [
        "| slow | 12.00 ms (12.00 to 12.00) | 833 | 0.50 s | 1 times |",
        "| fast | 4.00 ms (4.00 to 4.00) | 2,500 | 4.50 s | 1 times |",
    ]
    assert outcome._repr_markdown_() == f"{outcome.table()}\n{outcome.summary()}"


def test_what_a_comparison_says_before_and_after(capsys):
    lab = duel()
    assert repr(lab) == (
        "Compare (idle). eager against compiled: press Start, or call .run()."
    )
    outcome = lab.run()
    assert lab.describe() == f"eager against compiled: {outcome.summary()}"
    assert capsys.readouterr().out == lab.describe() + "\n"
