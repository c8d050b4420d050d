"""The bench: that it measures what it says, on a few steps."""

from dataclasses import replace
import json
import os
import time

from lmxlab import bench, runtime
from lmxlab.bench import cases, effort, plain, sections, tables, timing
from lmxlab.bench.effort import FULL, QUICK
from lmxlab.bench.panel import PanelCost
from lmxlab.lab import Panel
import pytest

linux_cpu = pytest.mark.skipif(
    not runtime.preparation().applies, reason="the fast path is for Linux on a CPU"
)
TINY = replace(
    QUICK,
    bare={"story": (2, 3)},
    eager={"story": (2, 3)},
    plain={"story": (1, 2)},
    torch={"story": (1, 2), "gpt2": (1, 1)},
    blas_sizes=(64, 256),
    blas_seconds=0.02,
    plot_turns=2,
    plot_seconds=0.02,
    panel=(0.1, 2),
)


@pytest.fixture(scope="module")
def report() -> bench.Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effort, "QUICK", TINY)
        return bench.measure(quick=True, say=lambda text: None)


# ----------------------------------------------------------------------------- clocks


def test_first_calls_are_not_counted():
    calls = iter([0.05, 0.05] + [0.05, 0.0, 0.0] * 4)
    samples = timing.interleave({"slow first": lambda: time.sleep(next(calls))}, 4, 2)
    assert len(samples["slow first"]) == 8
    assert max(samples["slow first"]) < 0.05


def test_the_ratio_is_that_of_the_time_spent():
    work = {"one": lambda: time.sleep(0.002), "three": lambda: time.sleep(0.006)}
    samples = timing.interleave(work, turns=3, count=2)
    assert timing.ratio(samples, "three", "one") == pytest.approx(3, rel=0.3)


def test_turns_alternate_in_a_changing_order():
    orders = timing.orders(["a", "b"], 20)
    assert {tuple(order) for order in orders} == {("a", "b"), ("b", "a")}


def test_the_spread_is_given():
    found = timing.summary([float(i) for i in range(11)])
    assert found == {"median": 5.0, "p10": 1.0, "p90": 9.0, "samples": 11}


# ------------------------------------------------------------------------ what is timed


@pytest.mark.parametrize(
    ("name", "parameters"), [("story", 102e3), ("medium", 339e3), ("large", 820e3)]
)
def test_the_cases_have_the_sizes_they_claim(name, parameters):
    count = cases.CASES[name].model().count_parameters()
    assert count == pytest.approx(parameters, rel=0.01)


def test_the_bare_loop_does_the_same_update_as_the_library():
    bare = cases.bare_step(cases.CASES["story"])
    library = cases.trainer_step(cases.CASES["story"])
    for _ in range(6):  # the rates and the rule agree; weight decay differs a little
        loss, norm = bare()
        record = library()
        assert loss == pytest.approx(record["loss"], rel=1e-4)
        assert norm == pytest.approx(record["grad_norm"], rel=1e-3)


def test_eager_is_eager_and_compiled_is_compiled():
    eager = cases.settings(compiled=False)
    assert not eager.compile_step
    assert cases.settings().compile_step
    assert cases.settings() == replace(eager, compile_step=True)


@pytest.mark.parametrize("name", ["story", "tiny gpt", "tiny mixed"])
def test_pytorch_does_the_same_update(name):
    pytest.importorskip("torch")
    from lmxlab.bench.torch_model import torch_step

    tiny = cases.Case("", 97, 32, 2, 4, 2, 16, family="gpt")
    case = {"story": cases.CASES["story"], "tiny gpt": tiny}.get(
        name, replace(tiny, family="small", mixed=True)
    )
    ours, theirs = cases.trainer_step(case), torch_step(case)
    apart = 2e-2 if case.mixed else 1e-4
    for _ in range(6):
        assert theirs() == pytest.approx(ours()["loss"], rel=apart)


@pytest.mark.parametrize(("name", "parameters"), [("base", 26e6), ("gpt2", 124e6)])
def test_the_cases_for_a_gpu_have_the_sizes_they_claim(name, parameters):
    count = cases.GPU_CASES[name].model().count_parameters()
    assert count == pytest.approx(parameters, rel=0.02)


# ------------------------------------------------------------------------------ workers


@linux_cpu
def test_a_plain_worker_has_neither_our_blas_nor_our_kernels(monkeypatch, tmp_path):
    environment = plain.plain_environment()
    assert environment["LMXLAB_BLAS"] == "off"
    assert environment["PATH"] == plain.original_environment()["PATH"]
    assert environment["TMPDIR"] != runtime.preparation().kernel_cache
    with plain.Worker(environment) as worker:
        slow = max(worker.ask("gflops", size=256, seconds=0.05))
    assert max(timing.gflops(256, 0.05)) > 3 * slow


def test_a_worker_that_fails_says_why():
    with (
        pytest.raises(RuntimeError, match="KeyError: 'nonsense'"),
        plain.Worker(plain.original_environment()) as worker,
    ):
        worker.ask("nonsense")


# ------------------------------------------------------------------------------- report


def test_a_report_is_plain_data_and_complete(report):
    assert json.loads(json.dumps(report)) == report
    assert set(sections.SECTIONS) < set(report)
    assert {"device", "mlx", "load_before", "load_after"} <= set(report["machine"])
    assert report["step_vs_bare"]["story"]["library_ms"]["samples"] == 6
    for name, found in (("live_plot", report["live_plot"]), ("panel", report["panel"])):
        assert found.keys() >= {"ratio"} or found["reason"], name


@linux_cpu
def test_the_fast_path_shows_in_the_report(report):
    assert report["blas"]["256"]["ratio"] > 3
    assert report["step_vs_plain"]["story"]["ratio"] > 1
    assert report["first_call"]["warm"]["kernels"] > 0


def test_without_the_lab_the_live_plot_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(sections.importlib.util, "find_spec", lambda name: None)
    assert "ipywidgets" in sections.live_plot(TINY)["reason"]
    assert "ipywidgets" in sections.panel(TINY)["reason"]


def test_a_large_step_is_measured_on_all_cores_and_on_one(monkeypatch):
    monkeypatch.delenv("LMXLAB_STREAMS", raising=False)
    monkeypatch.setattr(runtime, "cpu_streams", lambda: 1)
    assert "one core" in sections.streams(TINY)["reason"]
    asked = []

    def cores():
        asked.append(os.environ.get("LMXLAB_STREAMS", ""))
        return 1 if asked[-1] == "1" else 2

    monkeypatch.setattr(runtime, "cpu_streams", cores)
    found = sections.streams(replace(TINY, eager={"story": (1, 1), "medium": (1, 1)}))
    assert list(found) == ["medium"]
    assert found["medium"]["ratio"] > 0
    assert sorted(asked[1:]) == ["", "1"]  # as each of the two was traced
    assert "LMXLAB_STREAMS" not in os.environ


def test_the_panel_that_is_measured_has_everything_on(tmp_path, monkeypatch):
    seen = []
    draw = Panel._draw

    def looked_at(lab):
        draw(lab)
        pinned = [run.name for run in lab._keeper.pinned()]
        seen.append((lab.state, set(lab.pictures), pinned, lab._chart.cursor))

    monkeypatch.setattr(Panel, "_draw", looked_at)
    found = PanelCost(cases.CASES["story"], str(tmp_path)).compare(0.9, blocks=2)
    state, plots, pinned, cursor = seen[-2]
    gauges = {"kl", "entropy", "reward", "grad_norm", "learning_rate"}
    assert (state, seen[-1][0]) == ("running", "stopped")
    assert plots == {"loss", "speed"} | gauges
    assert len(pinned) == 1
    assert cursor > 0
    histories = [f.read_text().splitlines() for f in tmp_path.glob("*/history.jsonl")]
    kept, measured = sorted(histories, key=len)
    assert len(kept) == 60
    assert 10 < found["steps"] < len(measured)
    assert found["throughput_least"] <= found["throughput"]
    assert found["throughput"] <= found["throughput_greatest"]
    assert 0.3 < found["ratio"] < 1.1  # another process may have had the core
    assert 0 < found["frames_per_second"] <= 5  # one comes every second and a half


@linux_cpu
def test_a_cold_start_builds_the_kernels_that_a_warm_one_finds(monkeypatch):
    asked = []

    def first_step(environment):
        asked.append(environment.get("LMXLAB_CACHE"))
        return {"first": 1.0}

    monkeypatch.setattr(sections, "_first_step", first_step)
    found = sections.first_call(FULL)
    assert found.keys() == {"cold", "warm"}
    assert asked[0] == asked[1] is not None


def test_the_text_shows_every_section_and_whether_a_budget_is_kept(report):
    text = tables.render(report)
    assert all(f"\n{name}\n" in text for name in sections.SECTIONS)
    kept = {"step_vs_bare": {"story": {"ratio": 1.01}}}
    broken = {"step_vs_bare": {"story": {"ratio": 1.5}}}
    assert "NOT KEPT" not in tables.render(_only(report, kept))
    assert "at most 1.02, NOT KEPT" in tables.render(_only(report, broken))


def test_what_is_far_off_is_named_and_what_is_a_little_off_is_not(report):
    ratios = {
        "step_vs_bare": {"story": {"ratio": 1.1}, "medium": {"ratio": 9.0}},
        "compiled_vs_eager": {"story": {"ratio": 1.0}},
        "live_plot": {"ratio": 0.5},
        "panel": {"reason": "not installed"},
    }
    assert tables.regressions(_only(report, ratios)) == [
        "compiled_vs_eager.story.ratio is 1.00; it must be at least 1.2",
        "live_plot.ratio is 0.50; it must be at least 0.85",
    ]


def test_a_comparison_names_what_differs_between_the_machines(report):
    other = {**report, "machine": {**report["machine"], "cores": 999}}
    text = tables.compare(other, report)
    assert "cores differs: 999" in text
    assert "step_vs_bare.story.ratio" in text
    same = tables.compare(report, report).splitlines()[1:]
    assert {line.split()[-1] for line in same} == {"1.000"}


def _only(report: bench.Report, results: dict) -> bench.Report:
    kept = ("machine", "quick", "seconds")
    return {**{key: report[key] for key in kept}, **results}
