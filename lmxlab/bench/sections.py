"""The measurements, one function each: effort in, plain data out."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
import importlib.util
import os
import statistics
import tempfile
import time
from typing import Any

from lmxlab import runtime
from lmxlab.bench import cases, timing
from lmxlab.bench.cases import CASES, Case
from lmxlab.bench.effort import Effort
from lmxlab.bench.plain import Worker, original_environment, plain_environment

Result = dict[str, Any]

# ------------------------------------------------------------------------------- BLAS


def blas(effort: Effort) -> Result:
    """Matrix products, against the wheel's own BLAS.

    Args:
        effort: Which sizes, and for how long.

    Returns:
        Size to GFLOP/s with the lab and, where it prepares MLX, with all cores and with
        the wheel's BLAS, and the ratios to the latter.
    """
    sizes = effort.blas_sizes
    ours: dict[int, list[float]] = {size: [] for size in sizes}
    wheel: dict[int, list[float]] = {size: [] for size in sizes}
    if not _has_fast_path():
        for size in sizes:
            ours[size] = timing.gflops(size, effort.blas_seconds)
        return {
            str(size): {"gflops": timing.summary(rates)} for size, rates in ours.items()
        }
    whole: dict[int, list[float]] = {size: [] for size in sizes}
    every_core = {**os.environ, "OPENBLAS_NUM_THREADS": str(os.cpu_count() or 1)}
    with Worker(plain_environment()) as plain, Worker(every_core) as unlimited:
        for size in sizes:
            for _ in range(2):
                seconds = effort.blas_seconds / 2
                ours[size] += timing.gflops(size, seconds)
                whole[size] += unlimited.ask("gflops", size=size, seconds=seconds)
                wheel[size] += plain.ask("gflops", size=size, seconds=seconds)
    return {
        str(size): {
            "gflops": timing.summary(ours[size]),
            "gflops_all_cores": timing.summary(whole[size]),
            "gflops_wheel": timing.summary(wheel[size]),
            "ratio": statistics.median(ours[size]) / statistics.median(wheel[size]),
            "ratio_all_cores": statistics.median(whole[size])
            / statistics.median(wheel[size]),
        }
        for size in sizes
    }


def _has_fast_path() -> bool:
    return runtime.preparation().applies


# ------------------------------------------------------------------------------- step


def step_vs_bare(effort: Effort) -> Result:
    """The library's step, against the same written by hand.

    Args:
        effort: Turns and steps of each case.

    Returns:
        Case to milliseconds of both, and the ratio, library to bare loop.
    """
    return {
        name: _duel(
            {
                "bare": cases.bare_step(CASES[name]),
                "library": cases.trainer_step(CASES[name]),
            },
            over="library",
            under="bare",
            turns=turns,
            steps=steps,
        )
        for name, (turns, steps) in effort.bare.items()
    }


def compiled_vs_eager(effort: Effort) -> Result:
    """The library's step, against itself without mx.compile.

    Args:
        effort: Turns and steps of each case.

    Returns:
        Case to milliseconds of both, and the ratio, eager to compiled.
    """
    return {
        name: _duel(
            {
                "compiled": cases.trainer_step(CASES[name]),
                "eager": cases.trainer_step(CASES[name], compiled=False),
            },
            over="eager",
            under="compiled",
            turns=turns,
            steps=steps,
        )
        for name, (turns, steps) in effort.eager.items()
    }


def streams(effort: Effort) -> Result:
    """The library's step on all cores, against the same on one.

    Args:
        effort: Turns and steps of each case.

    Returns:
        Case to milliseconds of both, and the ratio, one core to all; or a ``reason``.
    """
    if runtime.cpu_streams() == 1:
        return {"reason": "there is one core, or a GPU, or LMXLAB_STREAMS=1"}
    return {
        name: _duel(
            {
                "all": cases.trainer_step(CASES[name]),
                "one": cases.on_one_core(cases.trainer_step(CASES[name])),
            },
            over="one",
            under="all",
            turns=turns,
            steps=steps,
        )
        for name, (turns, steps) in effort.eager.items()
        if name != "story"  # too small to be dealt out
    }


def _duel(
    steps_of: dict[str, timing.Step], over: str, under: str, turns: int, steps: int
) -> Result:
    samples = timing.interleave(steps_of, turns, steps)
    return _result(samples, over, under)


def _result(samples: dict[str, list[float]], over: str, under: str) -> Result:
    """Medians in milliseconds, and their ratio; the least samples are noise's floor."""
    floor = {name: timing.quantile(values, 0.1) for name, values in samples.items()}
    return {
        **{f"{k}_ms": timing.summary(v, scale=1e3) for k, v in samples.items()},
        "ratio": timing.ratio(samples, over, under),
        "ratio_p10": floor[over] / floor[under],
    }


def step_vs_plain(effort: Effort) -> Result:
    """The library's step, against MLX as pip installs it.

    Args:
        effort: Turns and steps of each case.

    Returns:
        Case to milliseconds of both, and the ratio, plain to library; or a ``reason``.
    """
    if not _has_fast_path():
        return {"reason": "MLX runs as pip installed it on this device"}
    results = {}
    with (
        Worker(original_environment()) as ours,
        Worker(plain_environment()) as plain,
    ):
        workers = {"library": ours, "plain": plain}
        for name, (turns, steps) in effort.plain.items():
            asked = {
                side: partial(worker.ask, "steps", case=name, count=steps)
                for side, worker in workers.items()
            }
            samples = _in_turns(asked, turns)
            results[name] = _result(samples, over="plain", under="library")
    return results


def _in_turns(
    asked: Mapping[str, Callable[[], list[float]]], turns: int
) -> dict[str, list[float]]:
    """Ask each worker for its samples, in turns."""
    samples: dict[str, list[float]] = {name: [] for name in asked}
    for order in timing.orders(list(asked), turns):
        for name in order:
            samples[name] += asked[name]()
    return samples


def step_vs_torch(effort: Effort) -> Result:
    """The library's step, against PyTorch's on the same model.

    Args:
        effort: Turns and steps of each case.

    Returns:
        Case to milliseconds of both, how far the first losses are apart, the library's
        tokens and TFLOP a second, and the ratio, PyTorch to library; on a GPU the same
        for ``torch.compile``. Or a ``reason``.
    """
    if importlib.util.find_spec("torch") is None:
        return {"reason": "not installed: torch (the extra `torch`)"}
    on_gpu = runtime.is_gpu()
    kinds = ["library", "torch", *(["torch_compile"] if on_gpu else [])]
    known = CASES | (cases.GPU_CASES if on_gpu else {})
    results = {}
    with ExitStack() as stack:
        # What lmxlab does for its own process is not done for PyTorch's.
        tuned = {"library": original_environment()}
        workers = {
            kind: stack.enter_context(Worker(tuned.get(kind, plain_environment())))
            for kind in kinds
        }
        if workers["torch"].ask("torch_is_on_gpu") != on_gpu:
            return {"reason": "PyTorch computes on another device than MLX here"}
        for name, (turns, steps) in effort.torch.items():
            if name not in known:
                continue
            first = [
                workers[kind].ask("losses", case=name, count=3, kind=kind)
                for kind in kinds[:2]
            ]
            asked = {
                kind: partial(worker.ask, "steps", case=name, count=steps, kind=kind)
                for kind, worker in workers.items()
            }
            samples = _in_turns(asked, turns)
            results[name] = {
                **_result(samples, over="torch", under="library"),
                "loss_apart": max(abs(a - b) for a, b in zip(*first, strict=True)),
                **_throughput_of(known[name], statistics.median(samples["library"])),
            }
            if on_gpu:
                ratio = timing.ratio(samples, "torch_compile", "library")
                results[name]["ratio_compile"] = ratio
    return results


def _throughput_of(case: Case, seconds: float) -> Result:
    """Tokens a second, and the model's arithmetic in TFLOP/s.

    A token costs 6 operations a parameter, and 12 n_layers d_model T in the attention
    (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
    """
    parameters = case.model().count_parameters()
    per_token = 6 * parameters + 12 * case.n_layers * case.d_model * case.seq_len
    rate = case.tokens / seconds
    return {"tokens_per_second": rate, "model_tflops": rate * per_token / 1e12}


# -------------------------------------------------------------------------- live plot


def live_plot(effort: Effort) -> Result:
    """Throughput with the live plot, against without.

    Args:
        effort: Turns, and seconds of a turn.

    Returns:
        Tokens a second of both, their ratio, frames, and drawing's share of the time;
        or a ``reason``.
    """
    if missing := _missing():
        return missing
    from lmxlab.lab.live import LivePlot, Pacer

    case = CASES["story"]
    plot = LivePlot()
    steps = {
        "without": cases.trainer_step(case),
        "with": cases.trainer_step(case, callbacks=[plot]),
    }
    for step in steps.values():  # first calls, imports
        timing.seconds_of(step, 2)
    # Time in which the other one trains must not save up for frames.
    passed, started = 0.0, time.perf_counter()
    plot.pacer = Pacer(
        savings=0.0, clock=lambda: passed + time.perf_counter() - started
    )
    drawn, spent = plot.frames, plot.draw_seconds
    rates: dict[str, list[float]] = {"without": [], "with": []}
    for order in timing.orders(list(steps), effort.plot_turns):
        for name in order:
            started = time.perf_counter()
            rates[name].append(_throughput(steps[name], case, effort.plot_seconds))
            passed += time.perf_counter() - started if name == "with" else 0.0
    return {
        **{f"{k}_tokens_per_second": timing.summary(v) for k, v in rates.items()},
        "ratio": timing.ratio(rates, "with", "without"),
        "frames": plot.frames - drawn,
        "draw_share": (plot.draw_seconds - spent) / passed,
    }


def _missing() -> Result:
    """Say what the lab needs and is not there; empty if all is."""
    needed = ("IPython", "ipywidgets", "matplotlib")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if not absent:
        return {}
    return {"reason": f"not installed: {', '.join(absent)} (the extra `lab`)"}


def _throughput(step: Callable[[], Any], case: Case, seconds: float) -> float:
    started, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        step()
        steps += 1
    return case.tokens * steps / spent


# ------------------------------------------------------------------------------ panel


def panel(effort: Effort) -> Result:
    """Throughput in a panel with everything on, against a bare loop.

    Args:
        effort: Seconds of a block, and blocks.

    Returns:
        What :meth:`lmxlab.bench.panel.PanelCost.compare` returns, or a ``reason``.
    """
    if missing := _missing():
        return missing
    from lmxlab.bench.panel import PanelCost

    with tempfile.TemporaryDirectory() as folder:
        return PanelCost(CASES["story"], folder).compare(*effort.panel)


# ------------------------------------------------------------------------- first call


def first_call(effort: Effort) -> Result:
    """What the first step costs, with an empty and a full kernel cache.

    Args:
        effort: Whether to build all kernels afresh.

    Returns:
        ``cold`` and ``warm``: seconds of the first step and of the second, and kernels.
    """
    why_not = ""
    if not _has_fast_path():
        why_not = "this device keeps no kernels as files"
    elif not effort.cold:
        why_not = "left out by --quick"
    if why_not:
        warm = _first_step(original_environment())
        return {"cold": {"reason": why_not}, "warm": warm}
    with tempfile.TemporaryDirectory() as folder:  # of mode 0700, as it must be
        environment = {**original_environment(), "LMXLAB_CACHE": folder}
        cold = _first_step(environment)
        return {"cold": cold, "warm": _first_step(environment)}


def _first_step(environment: dict[str, str]) -> Result:
    with Worker(environment) as worker:
        answer: Result = worker.ask("first_step", case="story")
    return answer


SECTIONS: dict[str, Callable[[Effort], Result]] = {
    "blas": blas,
    "step_vs_bare": step_vs_bare,
    "compiled_vs_eager": compiled_vs_eager,
    "streams": streams,
    "step_vs_plain": step_vs_plain,
    "step_vs_torch": step_vs_torch,
    "live_plot": live_plot,
    "panel": panel,
    "first_call": first_call,
}
