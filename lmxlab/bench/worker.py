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

_steps: dict[str, timing.Step] = {}


def gflops(size: int, seconds: float) -> list[float]:
    """Measure matrix products for about ``seconds`` seconds; see ``timing.gflops``."""
    return timing.gflops(size, seconds)


def steps(case: str, count: int) -> list[float]:
    """Train for ``count`` steps.

    Args:
        case: A name in ``cases.CASES``.
        count: Steps; the first call of a case does one more, which is not counted.

    Returns:
        Seconds of each step.
    """
    if case not in _steps:
        _steps[case] = cases.trainer_step(cases.CASES[case])
        timing.seconds_of(_steps[case], 1)
    return timing.seconds_of(_steps[case], count)


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
    "first_step": first_step,
}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        question, arguments = json.loads(line)
        print(json.dumps(QUESTIONS[question](**arguments)), flush=True)


if __name__ == "__main__":
    main()
