"""Measures what the lab promises about speed, on this machine, in a few minutes.

    blas               matrix products, against the wheel's own BLAS
    step_vs_bare       the library's step, against the same written by hand
    compiled_vs_eager  the library's step, against itself without mx.compile
    streams            a large step on all cores, against on one
    step_vs_plain      the library's step, against MLX as pip installs it
    step_vs_torch      the library's step, against PyTorch (the extra torch)
    live_plot          throughput with the live plot, against without
    panel              throughput in a panel with everything on, against a bare loop
    first_call         what the first step costs, with an empty and a full kernel cache
    rollouts           batched sampling, against mlx-lm's (the extra hub)
    growth             time and memory against size (with --growth)
    parts              a step's operations, each by itself (with --parts)

Every number is a median with its spread. What is compared took turns (see
:mod:`lmxlab.bench.timing`), so ratios hold on a busy machine too; milliseconds do not.
Left out on purpose: memory, except for how it grows.
"""

from collections.abc import Callable
from datetime import UTC, datetime
import importlib.metadata
import os
from pathlib import Path
import platform
import time
from typing import Any

import lmxlab
from lmxlab import runtime

Report = dict[str, Any]


def measure(
    *,
    quick: bool = False,
    growth: bool = False,
    parts: bool = False,
    say: Callable[[str], None] = print,
) -> Report:
    """Measure everything.

    Args:
        quick: Fewer samples, and no cold start: a minute or two instead of about five.
        growth: Whether to measure how time and memory grow with size too.
        parts: Whether to measure the operations of a step too.
        say: Told what comes next.

    Returns:
        The machine and one entry for each measurement, all plain data. A measurement
        that this machine cannot make is ``{"reason": ...}``.
    """
    from lmxlab.bench import rollouts, sections
    from lmxlab.bench.effort import FULL, QUICK

    started = time.perf_counter()
    report: Report = {"machine": machine(), "quick": quick}
    effort = QUICK if quick else FULL
    for name, section in sections.SECTIONS.items():
        say(f"{name}: {_purpose(section)}")
        report[name] = section(effort)
    say(f"rollouts: {_purpose(rollouts.section)}")
    report["rollouts"] = rollouts.section(quick=quick)
    if growth:
        from lmxlab.bench import growth as sizes

        say(f"growth: {_purpose(sizes.section)}")
        report["growth"] = sizes.section(seconds=2.0 if quick else 12.0)
    if parts:
        from lmxlab.bench import parts as operations

        say(f"parts: {_purpose(operations.section)}")
        report["parts"] = operations.section(quick=quick)
    report["machine"]["load_after"] = list(os.getloadavg())
    report["seconds"] = time.perf_counter() - started
    return report


def _purpose(section: Callable[..., Any]) -> str:
    """Return the first sentence of what a section is for."""
    return (section.__doc__ or "").splitlines()[0].rstrip(".")


def machine() -> dict[str, Any]:
    """Describe this machine: numbers of two machines are not to be compared.

    Example:
        >>> machine()["cores"] >= 1
        True
    """
    prepared = runtime.preparation()
    return {
        "device": runtime.device_name(),
        "cores": os.cpu_count(),
        "load_before": list(os.getloadavg()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "lmxlab": lmxlab.__version__,
        "mlx": importlib.metadata.version("mlx"),
        "blas": Path(prepared.blas).name if prepared.blas else None,
        "blas_threads": prepared.blas_threads,
        "compiler": prepared.compiler,
        "notes": list(prepared.notes),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
