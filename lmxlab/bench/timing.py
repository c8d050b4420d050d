"""Honest clocks: interleaved turns, medians with their spread, no first calls.

Two things that are compared take turns of a few steps in one process, in a changing
order, so that a busy moment of the machine hits both. The first step of a turn is not
counted: it finds the other's data in the processor's caches, which it never would in a
run of its own.
"""

from collections.abc import Callable, Mapping
import random
import statistics
import time
from typing import Any

import lmxlab  # noqa: F401  (prepares MLX: it must come first)
import mlx.core as mx

Step = Callable[[], Any]
Summary = dict[str, float]


def quantile(values: list[float], share: float) -> float:
    """Return a quantile, interpolated.

    Args:
        values: At least one.
        share: 0 for the least, 1 for the greatest.

    Example:
        >>> quantile([3.0, 1.0, 2.0], 0.5), quantile([0.0, 1.0], 0.1)
        (2.0, 0.1)
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def summary(values: list[float], scale: float = 1.0) -> Summary:
    """Summarize samples: median, 10th and 90th percentile, and how many there are.

    Args:
        values: At least one.
        scale: Multiplies them, e.g. 1000 for milliseconds.

    Example:
        >>> summary([1.0, 2.0, 3.0], scale=1000)
        {'median': 2000.0, 'p10': 1200.0, 'p90': 2800.0, 'samples': 3}
    """
    low, high = quantile(values, 0.1), quantile(values, 0.9)
    return {
        "median": scale * statistics.median(values),
        "p10": scale * low,
        "p90": scale * high,
        "samples": len(values),
    }


def seconds_of(step: Step, count: int) -> list[float]:
    """Call a function several times.

    Args:
        step: Does not return before the device has finished.
        count: Calls.

    Returns:
        Seconds of each call.
    """
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return seconds


def interleave(
    steps: Mapping[str, Step], turns: int, count: int
) -> dict[str, list[float]]:
    """Time several functions in turns.

    Args:
        steps: By name. Each is called twice before anything counts.
        turns: Turns of each.
        count: Counted calls in a turn.

    Returns:
        Seconds of each counted call, by name.

    Example:
        >>> samples = interleave({"a": lambda: None, "b": lambda: None}, 3, 2)
        >>> len(samples["a"]), len(samples["b"])
        (6, 6)
    """
    for step in steps.values():
        seconds_of(step, 2)
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for order in orders(list(steps), turns):
        for name in order:
            samples[name] += seconds_of(steps[name], 1 + count)[1:]
    return samples


def orders(names: list[str], turns: int) -> list[list[str]]:
    """Return each turn's order: shuffled, and the same at every call.

    Args:
        names: What takes turns.
        turns: How many.

    Returns:
        The names in another order for each turn.

    Example:
        >>> sorted(orders(["a", "b"], 3)[0])
        ['a', 'b']
    """
    shuffler = random.Random(0)
    return [shuffler.sample(names, len(names)) for _ in range(turns)]


def ratio(samples: Mapping[str, list[float]], over: str, under: str) -> float:
    """Return the ratio of two medians.

    Args:
        samples: By name, at least one each.
        over: The name whose median is divided.
        under: The name whose median divides it.

    Returns:
        Above 1 where ``over`` has the larger median.

    Example:
        >>> ratio({"a": [2.0, 9.0, 2.0], "b": [1.0]}, "a", "b")
        2.0
    """
    return statistics.median(samples[over]) / statistics.median(samples[under])


def gflops(size: int, seconds: float) -> list[float]:
    """Measure the speed of float32 matrix products.

    Args:
        size: Rows and columns of both.
        seconds: For how long, about; at least one product is timed after the first.

    Returns:
        Billions of floating-point operations per second, of each product.
    """
    a = mx.random.normal((size, size), key=mx.random.key(0))
    b = mx.random.normal((size, size), key=mx.random.key(1))
    mx.eval(a, b)

    def product() -> None:
        mx.eval(a @ b)

    seconds_of(product, 1)
    rates: list[float] = []
    spent = 0.0
    while not rates or (spent < seconds and len(rates) < 1000):
        took = seconds_of(product, 1)[0]
        spent += took
        rates.append(2 * size**3 / took / 1e9)
    return rates
