"""The exercises of notebook 04: IPO, masks, an alarm."""

import math
from typing import Any

from lmxlab.lab.exercises import Exercise, checker
import mlx.core as mx
import numpy as np


def _close(a: Any, b: float) -> bool:
    return math.isclose(float(a), b, rel_tol=1e-4, abs_tol=1e-6)


@checker
def check_ipo(answer: Any) -> str | None:
    """Grade ``ipo(margin, beta)``: the mean of (margin - 1 / (2 beta)) squared.

    Args:
        answer: The learner's function ``ipo``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    margin = mx.array([0.0, 2.0, 6.0])
    got = np.array(answer(margin, 0.25))  # aims at 2: (4 + 0 + 16) / 3
    if got.shape != ():
        return f"A loss is one number: take the mean over pairs; got shape {got.shape}."
    loss = float(got)
    if _close(loss, 20 / 3):
        return None
    if _close(loss, 20.0):
        return "That is the sum over pairs; the loss is their mean."
    if _close(loss, 4 / 3):
        return (
            "A margin beyond the target costs as well: that is what keeps IPO from "
            "pushing for ever."
        )
    if _close(loss, (16 + 4 + 4) / 3):
        return "The target is 1 / (2 beta); yours is 1 / beta."
    if _close(loss, (4 + 2.25 + 0.25) / 3):
        return "Here the margin is in nats: beta enters by the target alone."
    if _close(loss, sum(math.log1p(math.exp(-0.25 * d)) for d in (0, 2, 6)) / 3):
        return "That is the sigmoid loss of DPO."
    return f"Margins 0, 2, 6 and target 2: (4 + 0 + 16) / 3 = 6.667; got {loss:.4g}."


IPO = Exercise(
    title="A margin to aim at",
    difficulty="easy",
    minutes=4,
    question=(
        "IPO replaces $-\\ln\\sigma(\\beta\\Delta)$, which always wants more, by "
        "$(\\Delta - \\frac{1}{2\\beta})^2$. Write `ipo(margin, beta)`: the mean over "
        "an array of margins, one for each pair."
    ),
    stub="def ipo(margin, beta): ...",
    check=check_ipo,
    hint="`mx.square`, then `.mean()`. Beyond the target the loss rises again.",
    solution="""
        def ipo(margin, beta):
            return mx.square(margin - 1 / (2 * beta)).mean()
    """,
    mistakes={
        "take the mean": lambda margin, beta: mx.square(margin - 1 / (2 * beta)),
        "sum over pairs": lambda margin, beta: mx.square(margin - 1 / (2 * beta)).sum(),
        "costs as well": lambda margin, beta: mx.square(
            mx.maximum(0, 1 / (2 * beta) - margin)
        ).mean(),
        "yours is 1 / beta": lambda margin, beta: mx.square(margin - 1 / beta).mean(),
        "in nats": lambda margin, beta: mx.square(
            beta * margin - 1 / (2 * beta)
        ).mean(),
        "sigmoid loss": lambda margin, beta: mx.logaddexp(0, -beta * margin).mean(),
        "6.667; got 2": lambda margin, beta: mx.abs(margin - 1 / beta + 2).mean(),
    },
)


@checker
def check_mask(answer: Any) -> str | None:
    """Grade ``mask(length, prompts)``: which targets of each row are scored.

    Args:
        answer: The learner's function ``mask``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    got = answer(6, mx.array([3, 1]))
    found = np.array(got).astype(float)
    right = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=float)
    if found.shape == (2, 6):
        return "A row of 6 tokens has 5 targets: nothing predicts its first token."
    if found.shape != (2, 5):
        return (
            f"One row for each prompt, one column for each target; got {found.shape}."
        )
    if (found == right).all():
        return None
    if (found == 1 - right).all():
        return "Turned round: this keeps the prompts and leaves the answers out."
    if (found == right[0]).all():
        return "All rows have the first one's mask: compare with each row's own prompt."
    if (found[0] == [0, 0, 0, 1, 1]).all():
        return (
            "One target too few: target j is token j + 1, so that after a prompt of 3 "
            "tokens the first that counts is target 2."
        )
    if (found[0] == [0, 1, 1, 1, 1]).all():
        return "One target too many: target 1 is the third token of the first prompt."
    return (
        "After a prompt of 3 tokens expect [0, 0, 1, 1, 1]; got "
        f"{found[0].astype(int).tolist()}."
    )


MASK = Exercise(
    title="Prompts of many lengths",
    difficulty="medium",
    minutes=5,
    question=(
        "Our prompts are all equally long; yours will not be. Write "
        "`mask(length, prompts)` for rows of `length` tokens and prompt lengths in an "
        "array (B,): a mask (B, length - 1) with 1, or True, where a target is scored."
    ),
    stub="def mask(length, prompts): ...",
    check=check_mask,
    hint=(
        "`score` compares token numbers with one prompt length. An array of shape "
        "(B, 1) compares with each of its own."
    ),
    solution="""
        def mask(length, prompts):
            return mx.arange(1, length) >= prompts[:, None]
    """,
    mistakes={
        "has 5 targets": lambda length, prompts: mx.arange(length) >= prompts[:, None],
        "one row for each prompt": lambda length, prompts: (
            mx.arange(1, length) >= prompts[0]
        ),
        "turned round": lambda length, prompts: mx.arange(1, length) < prompts[:, None],
        "first one's mask": lambda length, prompts: mx.stack(
            [mx.arange(1, length) >= prompts[0]] * len(prompts)
        ),
        "too few": lambda length, prompts: mx.arange(1, length) > prompts[:, None],
        "too many": lambda length, prompts: (
            mx.arange(2, length + 1) >= prompts[:, None]
        ),
        "got [1, 1, 1, 1, 1]": lambda length, prompts: mx.ones(
            (len(prompts), length - 1)
        ),
    },
)


@checker
def check_alarm(answer: Any) -> str | None:
    """Grade ``alarm(accuracy, chosen)``: the first bad step from 1, or 0 for none.

    Args:
        answer: The learner's function ``alarm``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    accuracy = [0.0, 0.9, 1.0, 1.0, 1.0, 1.0]
    fallen = [-2.0, -3.5, -2.5, -2.9, -3.1, -4.0]
    good = [-2.0, -1.8, -1.5, -1.3, -1.2, -1.1]
    late = [-9.0, -8.0, -7.0, -7.5, -8.0, -9.5]
    got = int(answer(accuracy, fallen))
    if got == 3:
        return (
            "At step 3 the chosen have fallen by only half a nat: the alarm is for "
            "more than 1 nat below the first value."
            if int(answer(accuracy, good)) != 3
            else "At step 3 accuracy is high, but look at the chosen as well."
        )
    if got == 2:
        return "At step 2 accuracy is only 0.9: such a run does not look perfect yet."
    if got == 4:
        return "Steps count from 1, as in the records: list[4] is step 5."
    if got == 6:
        return "Step 6 is bad too, but give the first such step."
    if got != 5:
        return f"The first step with accuracy 1 and the chosen at -3.1 is 5; got {got}."
    if int(answer(accuracy, late)) != 0:
        return (
            "A run whose chosen stay within 1 nat of their first value, -9, needs no "
            "alarm: compare with the first value, not with a fixed number."
        )
    if int(answer(accuracy, good)) != 0:
        return "Where all is well the answer is 0."
    return None


ALARM = Exercise(
    title="An alarm",
    difficulty="medium",
    minutes=6,
    question=(
        "Write `alarm(accuracy, chosen)` for two lists, one number a step: the first "
        "step, counted from 1, at which accuracy is at least 0.95 although the chosen "
        "log-probability lies more than 1 nat below its *first* value; 0 if there is "
        "none. Then try it on the control: the records in `control.history` have "
        '`"accuracy"` and `"chosen_log_prob"`.'
    ),
    stub="def alarm(accuracy, chosen): ...",
    check=check_alarm,
    hint="`enumerate(zip(accuracy, chosen), start=1)` gives step and values.",
    solution="""
        def alarm(accuracy, chosen):
            for step, (share, nats) in enumerate(zip(accuracy, chosen), start=1):
                if share >= 0.95 and nats < chosen[0] - 1:
                    return step
            return 0
    """,
    mistakes={
        "look at the chosen": lambda accuracy, chosen: next(
            step for step, share in enumerate(accuracy, 1) if share >= 0.95
        ),
        "half a nat": """
            def alarm(accuracy, chosen):
                for step, (share, nats) in enumerate(zip(accuracy, chosen), start=1):
                    if share >= 0.95 and nats < chosen[0]:
                        return step
                return 0
        """,
        "only 0.9": """
            def alarm(accuracy, chosen):
                for step, nats in enumerate(chosen, start=1):
                    if nats < chosen[0] - 1:
                        return step
                return 0
        """,
        "count from 1": """
            def alarm(accuracy, chosen):
                for step, (share, nats) in enumerate(zip(accuracy, chosen)):
                    if share >= 0.95 and nats < chosen[0] - 1:
                        return step
                return 0
        """,
        "first such step": """
            def alarm(accuracy, chosen):
                found = 0
                for step, (share, nats) in enumerate(zip(accuracy, chosen), start=1):
                    if share >= 0.95 and nats < chosen[0] - 1:
                        found = step
                return found
        """,
        "not with a fixed number": """
            def alarm(accuracy, chosen):
                for step, (share, nats) in enumerate(zip(accuracy, chosen), start=1):
                    if share >= 0.95 and nats < -3:
                        return step
                return 0
        """,
        "the answer is 0": """
            def alarm(accuracy, chosen):
                if chosen[-1] > chosen[0]:
                    return len(chosen)
                for step, (share, nats) in enumerate(zip(accuracy, chosen), start=1):
                    if share >= 0.95 and nats < chosen[0] - 1:
                        return step
                return 0
        """,
        "got -1": lambda accuracy, chosen: -1,
    },
)

EXERCISES = (IPO, MASK, ALARM)
