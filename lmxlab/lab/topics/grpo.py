"""The exercises of notebook 05: advantages, a verifier, and the KL from samples."""

from itertools import product
from typing import Any

from lmxlab.data.sorting import END, TOKENIZER, is_sorted_answer
from lmxlab.lab.exercises import Exercise, checker
import numpy as np


def _close(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-3, atol=1e-6)


@checker
def check_advantages(answer: Any) -> str | None:
    """Grade ``advantages(rewards)``: those of one group, a list of numbers.

    Args:
        answer: The learner's function ``advantages``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    rewards = [1.0, 0.0, 0.0, 1.0, 0.0]
    centred = np.array(rewards) - np.mean(rewards)
    got = np.asarray(answer(list(rewards)), float)
    if _close(got, centred):
        return "That is the distance to the mean: divide by the standard deviation."
    if _close(got, centred / np.std(rewards)):
        return (
            "That is divided by the population's standard deviation; a sample's sums "
            "the squares and divides by G - 1."
        )
    if _close(got, np.array(rewards) / np.std(rewards, ddof=1)):
        return "Subtract the mean first: a reward of 0 must push a completion down."
    if _close(got, -centred / np.std(rewards, ddof=1)):
        return "The sign is inverted: this would teach what was rewarded least."
    if not _close(got, centred / np.std(rewards, ddof=1)):
        return (
            f"For rewards {rewards} the mean is 0.4 and the standard deviation 0.548: "
            "the first advantage is 1.095."
        )
    try:
        with np.errstate(all="ignore"):
            equal = np.asarray(answer([0.7, 0.7, 0.7]), float)
    except ZeroDivisionError:
        return "Equal rewards divide by zero. Nobody was better: return zeros."
    if not np.isfinite(equal).all():
        return "Equal rewards give nan or inf. Nobody was better: return zeros."
    if np.shape(equal) != (3,) or (equal != 0).any():
        return (
            f"Three rewards of 0.7 give {equal.tolist()}. Nobody was better than "
            "anybody: all must be exactly 0."
        )
    return None


ADVANTAGES = Exercise(
    title="Why equal rewards teach nothing",
    difficulty="easy",
    minutes=5,
    question=(
        "Write `advantages(rewards)` for one group, a list of at least two numbers: "
        "distance to the mean, over the *sample's* standard deviation (leave out the "
        "1e-4). Equal rewards must give exactly 0 for all, also 0.7, 0.7 and 0.7: "
        "nobody was better, so nothing may be pushed."
    ),
    stub="def advantages(rewards): ...",
    check=check_advantages,
    hint=(
        "On a computer the mean of 0.7, 0.7 and 0.7 is not quite 0.7, so look whether "
        "the rewards are equal before you divide."
    ),
    solution="""
        def advantages(rewards):
            if max(rewards) == min(rewards):
                return [0.0] * len(rewards)
            mean = sum(rewards) / len(rewards)
            squares = sum((reward - mean) ** 2 for reward in rewards)
            std = (squares / (len(rewards) - 1)) ** 0.5
            return [(reward - mean) / std for reward in rewards]
    """,
    mistakes={
        "divide by the standard deviation": lambda r: [x - np.mean(r) for x in r],
        "G - 1": lambda r: (np.array(r) - np.mean(r)) / np.std(r),
        "subtract the mean": lambda r: np.array(r) / np.std(r, ddof=1),
        "sign is inverted": lambda r: (np.mean(r) - np.array(r)) / np.std(r, ddof=1),
        "first advantage is 1.095": lambda r: np.array(r) * 2 - 1,
        "divide by zero": """
            def advantages(rewards):
                mean = sum(rewards) / 3 if len(set(rewards)) == 1 else 0.4
                std = 0.0 if len(set(rewards)) == 1 else 0.3**0.5
                return [(reward - mean) / std for reward in rewards]
        """,
        "nan or inf": lambda r: (
            (np.array(r) - np.mean(r)) / (np.std(r, ddof=1) if min(r) < 0.7 else 0)
        ),
        "exactly 0": lambda r: (
            (np.array(r) - np.mean(r)) / (np.std(r, ddof=1) + 1e-8 * (min(r) > 0))
            + (min(r) > 0) * 1e-8
        ),
    },
)


# Prompt to the one answer that is right.
_RIGHT = {"501>": "015.", "411>": "114.", "900>": "009.", "258>": "258."}
_HACKS = (
    ("501>", ".", "the end token alone"),
    ("501>", "01.", "an answer that stops early"),
    ("501>", "000.", "one digit, repeated"),
    ("501>", "159.", "digits that are in order, but not the prompt's"),
    ("411>", "144.", "the right digits, not as often as the prompt has them"),
    ("501>", "501.", "a copy of the prompt"),
    ("501>", "015", "an answer without an end token"),
    ("501>", "0155", "an answer that goes on instead of ending"),
    ("501>", "01>.", "a separator in place of a digit"),
)


def _ids(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text).tolist()
    return ids


@checker
def check_verify(answer: Any) -> str | None:
    """Grade ``verify(prompt, completion)`` by hacks, then by every short answer.

    Args:
        answer: The learner's function ``verify``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    for prompt, right in _RIGHT.items():
        if float(answer(_ids(prompt), _ids(right))) != 1:
            return f"{prompt}{right} is sorted and ends: it deserves a reward of 1."
    for prompt, hack, words in _HACKS:
        if paid := float(answer(_ids(prompt), _ids(hack))):
            return f"Hacked: it pays {paid:g} for {prompt}{hack} ({words})."
    vocabulary, ids = range(TOKENIZER.vocab_size), _ids("501>")
    for length in range(5):
        for tokens in map(list, product(vocabulary, repeat=length)):
            if END in tokens[:-1]:
                continue  # nothing is sampled after an end token
            deserved, text = is_sorted_answer(ids, tokens), TOKENIZER.decode(tokens)
            if float(answer(ids[:], tokens)) != deserved:
                return (
                    "Hacked by search: of all answers of up to four tokens, "
                    f"{text!r} to 501> should be paid {deserved:d}."
                )
    return None


VERIFIER = Exercise(
    title="A verifier that cannot be hacked",
    difficulty="hard",
    minutes=8,
    question=(
        "Write `verify(prompt, completion)` on lists of token IDs. A digit is its own "
        "ID; a prompt is digits and then `>`; the end token `.` is `END`. It returns "
        "1.0 for the sorted digits and the end token, and 0.0 for everything else that "
        "a model could write, cut-off and empty answers too. The check tries known "
        "hacks, and then *every* answer of up to four tokens."
    ),
    stub="def verify(prompt, completion): ...",
    check=check_verify,
    hint=(
        "Do not list what is forbidden. There is exactly one right answer: build it, "
        "and compare the whole."
    ),
    solution="""
        def verify(prompt, completion):
            return float(completion == [*sorted(prompt[:-1]), END])
    """,
    mistakes={
        "one digit, repeated": """
            def verify(prompt, completion):
                digits = completion[:-1]
                ends = len(completion) == len(prompt) and completion[-1] == END
                return float(ends and digits == sorted(digits))
        """,
        "the end token alone": """
            def verify(prompt, completion):
                *digits, end = completion
                return float(end == END and digits == sorted(digits))
        """,
        "stops early": """
            def verify(prompt, completion):
                *digits, end = completion or [0]
                ends = digits and end == END
                return float(bool(ends) and digits == sorted(digits))
        """,
        "not as often": """
            def verify(prompt, completion):
                *digits, end = completion
                ordered = len(digits) == 3 and digits == sorted(digits)
                return float(ordered and end == END and set(digits) == set(prompt[:-1]))
        """,
        "not the prompt's": """
            def verify(prompt, completion):
                *digits, end = completion
                ordered = len(digits) == 3 and digits == sorted(digits)
                alike = len(set(digits)) == len(set(prompt[:-1]))
                return float(ordered and end == END and alike)
        """,
        "a copy of the prompt": """
            def verify(prompt, completion):
                return float(sorted(completion[:-1]) == sorted(prompt[:-1]))
        """,
        "without an end token": """
            def verify(prompt, completion):
                return float(completion[:3] == sorted(prompt[:-1]))
        """,
        "goes on": """
            def verify(prompt, completion):
                whole = len(completion) == 4
                return float(whole and completion[:3] == sorted(prompt[:-1]))
        """,
        "deserves a reward": lambda prompt, completion: 0.0,
        "hacked by search": """
            def verify(prompt, completion):
                right = completion == [*sorted(prompt[:-1]), END]
                return float(right or completion == [7, 3])
        """,
        "IndexError": """
            def verify(prompt, completion):
                digits = completion[:-1]
                return float(completion[-1] == END and digits == sorted(prompt[:-1]))
        """,
    },
)


@checker
def check_k3(answer: Any) -> str | None:
    """Grade ``k3(now, ref)``: of log-probabilities, the estimate for each token.

    Args:
        answer: The learner's function ``k3``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    policy, reference = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    now, ref = np.log(policy), np.log(reference)
    difference = ref - now
    right = np.exp(difference) - difference - 1
    got = np.asarray(answer(now, ref), float)
    if _close(got, -difference):
        return (
            "That is k1, now - ref: right on average, but below 0 for a token that the "
            "reference prefers, and noisy."
        )
    if _close(got, difference**2 / 2):
        return "That is k2, half the square: never negative, and biased."
    if _close(got, np.exp(-difference) + difference - 1):
        return (
            "The sign of the difference is inverted: it is log ref - log now. Samples "
            "come from the policy, so this does not average to its KL."
        )
    if _close(got, right + 1):
        return "Where the two policies agree the KL is 0: subtract 1."
    if not _close(got, right):
        return (
            "A token with probability 0.5 now and 0.2 in the reference: the difference "
            f"is ln 0.4, and k3 is 0.4 - ln 0.4 - 1 = {right[0]:.4f}."
        )
    return None


K3 = Exercise(
    title="Estimate the KL from samples",
    difficulty="medium",
    minutes=5,
    question=(
        "Write `k3(now, ref)`: from the log-probabilities of sampled tokens under the "
        "policy and under the reference (NumPy arrays), one estimate for each token. "
        "It is never negative, and its mean over the policy's samples is "
        "KL(policy || reference)."
    ),
    stub="def k3(now, ref): ...",
    check=check_k3,
    hint="Look at the equation: $r_t$, the reference's log-probability, comes first.",
    solution="""
        def k3(now, ref):
            difference = ref - now
            return np.exp(difference) - difference - 1
    """,
    mistakes={
        "k1": lambda now, ref: now - ref,
        "k2": lambda now, ref: (now - ref) ** 2 / 2,
        "inverted": lambda now, ref: np.exp(now - ref) - (now - ref) - 1,
        "subtract 1": lambda now, ref: np.exp(ref - now) - (ref - now),
        "ln 0.4": lambda now, ref: np.exp(ref - now) - 1,
    },
)

EXERCISES = (ADVANTAGES, VERIFIER, K3)
