"""The process behind :class:`lmxlab.bench.plain.Worker`.

Reads lines ``["question", {arguments}]`` from its input and prints one line of JSON for
each. It ends with its input.
"""

from collections.abc import Callable
import json
from pathlib import Path
import sys
import time
from typing import Any

import lmxlab
from lmxlab.bench import cases, timing
from lmxlab.bench.parts import measure as parts

ALL = cases.CASES | cases.GPU_CASES
_steps: dict[tuple[str, str], timing.Step] = {}


def gflops(size: int, seconds: float) -> list[float]:
    """Measure matrix products, by :func:`lmxlab.bench.timing.gflops`.

    Args:
        size: Rows and columns of both.
        seconds: For how long, about.

    Returns:
        Billions of floating-point operations per second, of each product.
    """
    return timing.gflops(size, seconds)


def steps(case: str, count: int, kind: str = "library") -> list[float]:
    """Train for ``count`` steps.

    Args:
        case: A name in ``cases.CASES`` or ``cases.GPU_CASES``.
        count: Steps; the first call of a case does one more, which is not counted.
        kind: ``library``, ``torch`` or ``torch_compile``.

    Returns:
        Seconds of each step.
    """
    if (kind, case) not in _steps:
        _steps[kind, case] = _build(case, kind)
        timing.seconds_of(_steps[kind, case], 1)
    return timing.seconds_of(_steps[kind, case], count)


def losses(case: str, count: int, kind: str = "library") -> list[float]:
    """Train a model of its own, and return its first losses.

    Args:
        case: A name in ``cases.CASES`` or ``cases.GPU_CASES``.
        count: Updates.
        kind: ``library``, ``torch`` or ``torch_compile``.

    Returns:
        The loss of each update, in nats.
    """
    step = _build(case, kind)
    found = [step() for _ in range(count)]
    return [x["loss"] if isinstance(x, dict) else x for x in found]


def _build(case: str, kind: str) -> timing.Step:
    if kind == "library":
        return cases.trainer_step(ALL[case])
    from lmxlab.bench.torch_model import torch_step

    return torch_step(ALL[case], compiled=kind == "torch_compile")


def torch_is_on_gpu() -> bool:
    """Return whether PyTorch computes on a GPU."""
    from lmxlab.bench import torch_model

    return torch_model.device() != torch_model.CPU


def first_step(case: str) -> dict[str, Any]:
    """Build a trainer and time its first step, and the second for comparison.

    Args:
        case: A name in ``cases.CASES``.

    Returns:
        Seconds of both, and how many kernels are in the cache afterwards (None where
        MLX builds none as files).
    """
    started = time.perf_counter()
    step = cases.trainer_step(cases.CASES[case])
    built = time.perf_counter() - started
    first, second = timing.seconds_of(step, 2)
    cache = lmxlab.runtime.preparation().kernel_cache
    kernels = None if cache is None else len(list(Path(cache, "mlx").rglob("*.so")))
    return {"build": built, "first": first, "second": second, "kernels": kernels}


QUESTIONS: dict[str, Callable[..., Any]] = {
    "gflops": gflops,
    "steps": steps,
    "losses": losses,
    "torch_is_on_gpu": torch_is_on_gpu,
    "first_step": first_step,
    "parts": parts,
}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        question, arguments = json.loads(line)
        print(json.dumps(QUESTIONS[question](**arguments)), flush=True)


if __name__ == "__main__":
    main()
