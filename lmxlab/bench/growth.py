"""How a step's time and memory grow: with parameters, context, batch, vocabulary.

One thing grows at a time, and all its sizes take turns. A line

    seconds = a + b x        (x^2 beside x in the context, for the attention)

has two parts: what a step costs however small it is, and what each unit adds. Where
they are equal lies the knee, ``a / b``: far below it a larger size is nearly free. The
slope is that between the last two sizes, on logarithmic axes: 0 far below the knee, and
near theory's far above it. Micro-batches are the exception: the update's rows stay, so
``a`` is their arithmetic, and ``b`` the fixed cost of one more pass.
"""

from dataclasses import replace
import math
import statistics
import time
from typing import Any

from lmxlab.bench import timing
from lmxlab.bench.cases import Case, on_one_core, settings
from lmxlab.training.memory import MIB, working_memory
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import numpy as np

BASE = Case("base", vocab_size=64, d_model=64, n_layers=2, n_heads=4, batch_size=8,
            seq_len=32)  # fmt: skip
# What grows, its values, and the slope that time tends to in theory.
SWEEPS: dict[str, tuple[list[int], float]] = {
    "parameters": ([16, 32, 64, 128, 256], 1.0),
    "context": ([8, 16, 32, 64, 128, 256], 2.0),
    "batch": ([1, 2, 4, 8, 16, 32, 64], 1.0),
    "vocabulary": ([64, 256, 1024, 4096, 16384], 1.0),
    "micro_batches": ([1, 2, 4, 8, 16], 0.0),
}
# The slope that an update's memory tends to: activations, and one buffer of gradients.
MEMORY_SLOPES = {
    "parameters": 1.0,
    "context": 2.0,
    "batch": 1.0,
    "vocabulary": 1.0,
    "micro_batches": -1.0,
}
ROWS = 64  # of an update that is divided into micro-batches


class Subject:
    """A run whose updates are timed.

    Args:
        sweep: What grows.
        value: How far it has grown; the width d_model stands for the parameters.

    Example:
        >>> Subject("batch", 4).x
        4
        >>> Subject("parameters", 16).x
        7248
    """

    def __init__(self, sweep: str, value: int) -> None:
        """Build the run; nothing is computed yet."""
        field = {"parameters": "d_model", "context": "seq_len", "batch": "batch_size"}
        field |= {"vocabulary": "vocab_size", "micro_batches": "batch_size"}
        parts = value if sweep == "micro_batches" else 1
        grown = ROWS // value if sweep == "micro_batches" else value
        case = replace(BASE, **{field[sweep]: grown})  # type: ignore[arg-type]
        model = case.model()
        self.x = model.count_parameters() if sweep == "parameters" else value
        config = replace(settings(), grad_accumulation_steps=parts)
        records = Trainer(model, config).stream(case.batches())
        self._step = on_one_core(lambda: next(records))

    def step(self) -> Any:
        """Do one update, on one core whatever its size: a curve without a kink."""
        return self._step()

    def memory(self) -> int:
        """Return the bytes that an update needs beyond weights and moments."""

        def update() -> None:
            self.step()

        return working_memory(update)


def measure(
    sweep: str, values: list[int] | None = None, seconds: float = 8.0
) -> dict[str, Any]:
    """Measure one sweep.

    Args:
        sweep: A name in ``SWEEPS``.
        values: Instead of those of the sweep.
        seconds: For how long, about, after the first steps.

    Returns:
        ``x``, ``step_ms`` (medians), ``memory_mib`` (the most that an update needs
        beyond weights and moments), the ``slope`` between the last two, theory's, and
        the ``knee`` in units of x, None where time does not grow.

    Example:
        >>> found = measure("batch", [1, 2], seconds=0.1)
        >>> found["x"], len(found["step_ms"])
        ([1, 2], 2)
    """
    known, theory = SWEEPS[sweep]
    subjects = [Subject(sweep, value) for value in values or known]
    memory = []
    for subject in subjects:
        timing.seconds_of(subject.step, 2)
        mx.clear_cache()
        memory.append(subject.memory())
    samples: list[list[float]] = [[] for _ in subjects]
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        for subject, found in zip(subjects, samples, strict=True):
            found += timing.seconds_of(subject.step, 4)[1:]
    xs = [subject.x for subject in subjects]
    medians = [statistics.median(found) for found in samples]
    powers = [0, 1, 2] if sweep == "context" else [0, 1]
    return {
        "x": xs,
        "step_ms": [1e3 * median for median in medians],
        "memory_mib": [used / MIB for used in memory],
        "slope": slope(xs, medians),
        "slope_memory": slope(xs, [max(1, used) for used in memory]),
        "theory": theory,
        "knee": knee(xs, medians, powers),
    }


def section(seconds: float) -> dict[str, Any]:
    """How step time and memory grow with size.

    Args:
        seconds: For each sweep, about, after the first steps.

    Returns:
        Sweep to what :func:`measure` returns.
    """
    return {sweep: measure(sweep, seconds=seconds) for sweep in SWEEPS}


def slope(xs: list[int], ys: list[float] | list[int]) -> float:
    """Return the slope between the last two points, on logarithmic axes.

    Args:
        xs: Sizes, at least two.
        ys: Seconds or bytes, one for each.

    Returns:
        The exponent of a power law through both points.

    Example:
        >>> slope([1, 2, 4], [1.0, 1.0, 4.0])
        2.0
    """
    return math.log(ys[-1] / ys[-2]) / math.log(xs[-1] / xs[-2])


def knee(xs: list[int], ys: list[float], powers: list[int]) -> float | None:
    """Return where what grows costs as much as what does not.

    Args:
        xs: Sizes.
        ys: Seconds.
        powers: Of x, in the curve that is fitted; relative errors count.

    Returns:
        The first such x, or None if there is none up to four times the last one.

    Example:
        >>> round(knee([1, 2, 4, 8], [11.0, 12.0, 14.0, 18.0], [0, 1]), 6)
        10.0
    """
    x, y = np.asarray(xs, float), np.asarray(ys, float)
    unit = x.max()
    terms = np.stack([(x / unit) ** power / y for power in powers], axis=1)
    fixed, *growing = np.linalg.lstsq(terms, np.ones_like(y), rcond=None)[0]
    polynomial = [*reversed(growing), -fixed]
    roots = np.roots(polynomial)
    found = [r.real for r in roots if abs(r.imag) < 1e-9 and 0 < r.real <= 4]
    return float(min(found) * unit) if found and fixed > 0 else None
