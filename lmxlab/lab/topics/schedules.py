"""The exercises of notebook 03: Adam's correction, WSD, reading a rate gauge."""

from collections.abc import Sequence
import math
from typing import Any

from lmxlab.lab.exercises import Exercise, checker
from lmxlab.training.config import TrainConfig
from lmxlab.training.optimizers import create_schedule
import mlx.core as mx
import numpy as np


def _close(a: Any, b: float) -> bool:
    return math.isclose(float(a), b, rel_tol=1e-4, abs_tol=1e-6)


@checker
def check_uncorrected(answer: Any) -> str | None:
    """Grade ``uncorrected(beta1, beta2)``: Adam's first step without its correction.

    Args:
        answer: The learner's function ``uncorrected``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    for beta1, beta2 in ((0.9, 0.999), (0.9, 0.95), (0.8, 0.96)):
        got, m, v = answer(beta1, beta2), 1 - beta1, 1 - beta2
        if _close(got, m / math.sqrt(v)):
            continue
        if _close(got, 1.0):
            return "That is the step *with* the correction: always one learning rate."
        if _close(got, math.sqrt(v) / m):
            return "Upside down: m is divided by the root of v."
        if _close(got, m / v):
            return "Adam divides by the square root of v, not by v."
        if _close(got, beta1 / math.sqrt(beta2)):
            return (
                "The first gradient enters m with weight 1 - beta1, not beta1, and its "
                "square enters v with weight 1 - beta2."
            )
        right = m / math.sqrt(v)
        return f"For beta1={beta1}, beta2={beta2} expect {right:.3f}; got {got:.3f}."
    return None


UNCORRECTED = Exercise(
    title="Adam without its correction",
    difficulty="easy",
    minutes=5,
    question=(
        "Leave the bias correction out of Adam. `uncorrected(beta1, beta2)` is how "
        "many learning rates long the very first step is then, for a gradient of any "
        "size (ignore epsilon)."
    ),
    stub="def uncorrected(beta1, beta2): ...",
    check=check_uncorrected,
    hint=(
        "Begin with m = v = 0 and put one gradient g in. What is m, what is the root "
        "of v? The g cancels."
    ),
    solution="""
        def uncorrected(beta1, beta2):
            return (1 - beta1) / math.sqrt(1 - beta2)
    """,
    mistakes={
        "with* the correction": lambda beta1, beta2: 1.0,
        "upside down": lambda beta1, beta2: math.sqrt(1 - beta2) / (1 - beta1),
        "not by v": lambda beta1, beta2: (1 - beta1) / (1 - beta2),
        "with weight 1 - beta1": lambda beta1, beta2: beta1 / math.sqrt(beta2),
        "expect 3.162": lambda beta1, beta2: math.sqrt(1 - beta1) / (1 - beta2),
    },
)


def _wsd(peak: float, warmup: int, total: int, decay: int) -> list[float]:
    config = TrainConfig(
        learning_rate=peak,
        lr_schedule="wsd",
        warmup_steps=warmup,
        max_steps=total,
        decay_fraction=decay / total,
        decay_shape="linear",
    )
    schedule = create_schedule(config)
    rates: list[float] = np.array(schedule(mx.arange(total + 1))).tolist()
    return rates


@checker
def check_wsd(answer: Any) -> str | None:
    """Grade ``wsd(t, peak, warmup, total, decay)`` against the library's schedule.

    Args:
        answer: The learner's function ``wsd``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    peak, warmup, total, decay = 0.5, 10, 100, 20
    right = _wsd(peak, warmup, total, decay)
    got = [float(answer(t, peak, warmup, total, decay)) for t in range(total + 1)]
    if got[0] and _close(got[warmup], peak):
        return (
            f"Step 0 already has the rate {got[0]:.3g}: the warm-up is missing, or it "
            "does not start at 0."
        )
    if not _close(got[warmup], peak):
        return (
            f"The peak {peak} is reached at step {warmup}, when the warm-up ends; got "
            f"{got[warmup]:.3g}."
        )
    if any(not _close(a, b) for a, b in zip(got[:warmup], right, strict=False)):
        return "The warm-up rises in equal steps: peak * t / warmup."
    first = next(
        (t for t in range(warmup, total + 1) if not _close(got[t], peak)), None
    )
    if first is None:
        return "It never decays: the last `decay` steps lead down to 0."
    if first <= total - decay:
        return (
            f"It leaves the peak at step {first}; it should stay there until the last "
            f"{decay} of {total} steps."
        )
    if not _close(got[total], 0.0):
        return f"After the last step the rate is 0; got {got[total]:.3g}."
    if any(not _close(a, b) for a, b in zip(got, right, strict=True)):
        return "The decay is a straight line here, from the peak to 0."
    bare = [float(answer(t, peak, 0, total, decay)) for t in range(total + 1)]
    if any(
        not _close(a, b) for a, b in zip(bare, _wsd(peak, 0, total, decay), strict=True)
    ):
        return "With warmup=0 it starts at the peak."
    return None


WSD = Exercise(
    title="Warm-up, stable, decay",
    difficulty="medium",
    minutes=10,
    question=(
        "Write `wsd(t, peak, warmup, total, decay)`: a rise from 0 over `warmup` "
        "steps, the peak until the last `decay` steps, then a straight line that "
        "reaches 0 at `t = total`. (The pictures above show the library's usual decay, "
        "1 minus a square root. Yours is its `decay_shape='linear'`, and the check "
        "compares it with that.)"
    ),
    stub="def wsd(t, peak, warmup, total, decay): ...",
    check=check_wsd,
    hint=(
        "Three cases, from the left. In the decay, how many of the `decay` steps are "
        "left at `t`?"
    ),
    solution="""
        def wsd(t, peak, warmup, total, decay):
            if t < warmup:
                return peak * t / warmup
            if t < total - decay:
                return peak
            return peak * (total - t) / decay
    """,
    mistakes={
        "warm-up is missing": lambda t, peak, warmup, total, decay: (
            peak if t < total - decay else peak * (total - t) / decay
        ),
        "does not start at 0": lambda t, peak, warmup, total, decay: (
            peak * min(1, (t + 1) / warmup, (total - t) / decay)
        ),
        "when the warm-up ends": lambda t, peak, warmup, total, decay: (
            peak * min(1, t / total, (total - t) / decay)
        ),
        "equal steps": lambda t, peak, warmup, total, decay: (
            peak * min(1, (t / warmup) ** 2, (total - t) / decay)
        ),
        "never decays": lambda t, peak, warmup, total, decay: peak * min(1, t / warmup),
        "leaves the peak": lambda t, peak, warmup, total, decay: (
            peak * min(t / warmup, (total - t) / (total - warmup))
        ),
        "rate is 0": lambda t, peak, warmup, total, decay: (
            peak * min(1, t / warmup, (total - t / 2 - total / 2 + 10) / decay)
            if t <= total - decay
            else peak * (1 - (t - total + decay) / (2 * decay))
        ),
        "straight line": lambda t, peak, warmup, total, decay: (
            peak * min(1, t / warmup)
            if t <= total - decay
            else peak * ((total - t) / decay) ** 2
        ),
        "warmup=0": lambda t, peak, warmup, total, decay: (
            peak * min(1, t / (warmup or 10), (total - t) / decay)
        ),
    },
)


def _gauge(steps: int = 200, **settings: Any) -> list[float]:
    schedule = create_schedule(TrainConfig(**{"learning_rate": 0.02, **settings}))
    rates: list[float] = np.array(schedule(mx.arange(steps))).tolist()
    return rates


def _gauges() -> list[tuple[str, str, Sequence[float]]]:
    """What a gauge is a picture of, what is to be said of it, and its rates."""
    plan = {"max_steps": 200, "warmup_steps": 40}
    bare = {"max_steps": 200, "warmup_steps": 0}
    return [
        ("cosine without warm-up", "no warm-up", _gauge(**bare)),
        ("cosine with warm-up", "fine", _gauge(**plan)),
        ("WSD with warm-up", "fine", _gauge(lr_schedule="wsd", **plan)),
        ("cosine that ends at 5% of its peak", "fine", _gauge(lr_floor=0.05, **plan)),
        (
            "a plan ten times as long as the run",
            "no decay",
            _gauge(max_steps=2000, warmup_steps=40),
        ),
        (
            "a run that was stopped halfway down",
            "no decay",
            _gauge(steps=120, **plan),
        ),
        (
            "a warm-up longer than the run",
            "no decay",
            _gauge(max_steps=2000, warmup_steps=1000),
        ),
        (
            "the same warm-up at a tenth of the rate",
            "fine",
            _gauge(learning_rate=0.002, **plan),
        ),
    ]


@checker
def check_diagnose(answer: Any) -> str | None:
    """Grade ``diagnose(rates)``: what a run's learning rates say of its schedule.

    Args:
        answer: The learner's function ``diagnose``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    for words, right, rates in _gauges():
        said = answer(list(rates))
        if said not in ("no warm-up", "no decay", "fine"):
            return f'Return "no warm-up", "no decay" or "fine"; got {said!r}.'
        if said != right:
            reason = {
                "no warm-up": "its first rate is its peak",
                "no decay": f"it ends at {rates[-1] / max(rates):.0%} of its peak",
                "fine": (
                    f"it starts at {rates[0] / max(rates):.0%} of its peak and ends at "
                    f"{rates[-1] / max(rates):.1%}"
                ),
            }[right]
            what = words[0].upper() + words[1:]
            return f'{what} is "{right}": {reason}. You say "{said}".'
    return None


DIAGNOSE = Exercise(
    title="Read the gauge",
    difficulty="medium",
    minutes=5,
    question=(
        "`diagnose(rates)` gets the learning rate of each step of a run. It returns "
        '`"no warm-up"` if the first is more than half of the highest, else '
        '`"no decay"` if the last is more than a tenth of the highest, else `"fine"`.'
    ),
    stub="def diagnose(rates): ...",
    check=check_diagnose,
    hint="Compare with `max(rates)`: a gauge's shape matters, not its height.",
    solution="""
        def diagnose(rates):
            peak = max(rates)
            if rates[0] > peak / 2:
                return "no warm-up"
            if rates[-1] > peak / 10:
                return "no decay"
            return "fine"
    """,
    mistakes={
        "return": lambda rates: max(rates),
        "cosine without warm-up": """
            def diagnose(rates):
                return "no decay" if rates[-1] > max(rates) / 10 else "fine"
        """,
        "5% of its peak": """
            def diagnose(rates):
                if rates[0] > max(rates) / 2:
                    return "no warm-up"
                return "fine" if rates[-1] < max(rates) / 50 else "no decay"
        """,
        "ten times as long": """
            def diagnose(rates):
                return "no warm-up" if rates[0] > max(rates) / 2 else "fine"
        """,
        "stopped halfway down": """
            def diagnose(rates):
                if rates[0] > max(rates) / 2:
                    return "no warm-up"
                return "no decay" if rates[-1] > 0.9 * max(rates) else "fine"
        """,
        "longer than the run": """
            def diagnose(rates):
                peak = max(rates)
                if rates[0] > peak / 2:
                    return "no warm-up"
                return "no decay" if peak / 10 < rates[-1] < peak else "fine"
        """,
        "a tenth of the rate": """
            def diagnose(rates):
                if rates[0] > max(rates) / 2:
                    return "no warm-up"
                if rates[-1] > max(rates) / 10 or max(rates) < 0.01:
                    return "no decay"
                return "fine"
        """,
    },
)

EXERCISES = (UNCORRECTED, WSD, DIAGNOSE)
