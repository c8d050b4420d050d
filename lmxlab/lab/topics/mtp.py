"""The exercises of notebook 06: targets of a depth, a leak, the passes of a draft."""

from collections.abc import Callable
from typing import Any

from lmxlab.lab.exercises import Exercise, checker
import numpy as np


@checker
def check_split(answer: Any) -> str | None:
    """Grade ``split(targets, k)``: what depth k is told, and what it predicts.

    Args:
        answer: The learner's function ``split``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    y = np.arange(2 * 7).reshape(2, 7)
    for k in (1, 2, 3):
        result = answer(y, k)
        if not isinstance(result, tuple) or len(result) != 2:
            return "Return two arrays: told, wanted."
        told, wanted = map(np.asarray, result)
        right_told, right_wanted = y[:, k - 1 : -1], y[:, k:]
        if told.shape == wanted.shape and np.array_equal(told, wanted):
            return "The head is told the very token that it shall predict: a leak."
        if np.array_equal(told, right_wanted) and np.array_equal(wanted, right_told):
            return "The other way round: told is the token before wanted."
        if told.shape != wanted.shape:
            return (
                f"At depth {k} you tell {told.shape[1]} tokens a row and want "
                f"{wanted.shape[1]}: each position is told one and predicts one."
            )
        if wanted.shape[1] != 7 - k:
            return (
                f"Of 7 targets depth {k} predicts {7 - k}, and you have "
                f"{wanted.shape[1]}: each depth loses one more than the one before."
            )
        both = np.array_equal(told, right_told), np.array_equal(wanted, right_wanted)
        if not all(both):
            return (
                f"At depth {k} the first position is told target {k - 1} and predicts "
                f"target {k}, both counted from 0."
            )
    return None


SPLIT = Exercise(
    title="What a depth is told",
    difficulty="easy",
    minutes=4,
    question=(
        "Write `split(targets, k)` for rows of targets (B, T): the tokens that depth "
        "`k` is told, and those that it shall predict."
    ),
    stub="def split(targets, k): ...",
    check=check_split,
    hint="Depth 1 predicts all targets but the first, and is told the one before each.",
    solution="""
        def split(targets, k):
            return targets[:, k - 1 : -1], targets[:, k:]
    """,
    mistakes={
        "a leak": lambda y, k: (y[:, k:], y[:, k:]),
        "other way round": lambda y, k: (y[:, k:], y[:, k - 1 : -1]),
        "each position is told one": lambda y, k: (y[:, k - 1 :], y[:, k:]),
        "loses one more": lambda y, k: (y[:, k:-1], y[:, k + 1 :]),
        "of 7 targets depth 2": lambda y, k: (y[:, :-1], y[:, 1:]),
        "told target 1 and predicts": lambda y, k: (y[:, :-k], y[:, k:]),
    },
)


def _running_sum(tokens: Any) -> np.ndarray[Any, Any]:
    return np.cumsum(tokens)


def _peeks_by(distance: int) -> Callable[[Any], np.ndarray[Any, Any]]:
    """Outputs that know the past, and at one position a token of the future."""

    def predict(tokens: Any) -> np.ndarray[Any, Any]:
        outputs = np.cumsum(tokens)
        outputs[1] += 1000 * tokens[1 + distance]
        return outputs

    return predict


@checker
def check_leaks(answer: Any) -> str | None:
    """Grade ``leaks(predict, tokens)``: whether an output depends on a later token.

    Args:
        answer: The learner's function ``leaks``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    tokens = np.array([3, 1, 4, 1, 5, 9])
    given = tokens.copy()
    accused = answer(_running_sum, given)
    if not np.array_equal(given, tokens):
        return "You have changed the caller's tokens: work on a copy."
    if accused:
        return (
            "This model adds up its past and is causal, and you accuse it: output i "
            "may change with token i. Compare only the outputs before the change."
        )
    found = [bool(answer(_peeks_by(away), tokens.copy())) for away in (1, 2, 4)]
    if not any(found):
        return "Output 1 of this model depends on token 2, and you do not see it."
    if not all(found):
        return (
            "You find some leaks and not others: output 1 may depend on token 2, 3 or "
            "5. Change every token in turn, one at a time."
        )
    return None


LEAKS = Exercise(
    title="Catch a leak without training",
    difficulty="medium",
    minutes=7,
    question=(
        "`predict(tokens)` gives one number for each position of a 1-D NumPy array. "
        "Write `leaks(predict, tokens)`: does any output depend on a *later* token?"
    ),
    stub="def leaks(predict, tokens): ...",
    check=check_leaks,
    hint=(
        "Change token i in a copy and predict again. Which outputs must not have "
        "changed?"
    ),
    solution="""
        def leaks(predict, tokens):
            before = predict(tokens)
            for i in range(1, len(tokens)):
                changed = tokens.copy()
                changed[i] += 1
                if not np.array_equal(predict(changed)[:i], before[:i]):
                    return True
            return False
    """,
    mistakes={
        "you accuse it": """
            def leaks(predict, tokens):
                changed = tokens.copy()
                changed[-1] += 1
                return not np.array_equal(predict(changed), predict(tokens))
        """,
        "not others": """
            def leaks(predict, tokens):
                changed = tokens.copy()
                changed[-1] += 1
                return not np.array_equal(predict(changed)[:-1], predict(tokens)[:-1])
        """,
        "you do not see it": lambda predict, tokens: False,
        "work on a copy": """
            def leaks(predict, tokens):
                before = predict(tokens)
                for i in range(1, len(tokens)):
                    tokens[i] += 1
                    if not np.array_equal(predict(tokens)[:i], before[:i]):
                        return True
                return False
        """,
    },
)

#: Which of the 14 tokens after a story's first name are free choices. Four are in the
#: story, the fifth is the next one's first name; all others follow from the text.
FREE = [n in (2, 5, 6, 9, 14) for n in range(1, 15)]


def fewest_passes(free: Any, heads: int) -> int:
    """Return how many passes a text takes with heads that know all but free choices.

    Args:
        free: For each token, whether it is a choice that no guess foresees.
        heads: Guesses before each pass.

    Returns:
        The passes of the base model.

    Example:
        >>> fewest_passes(FREE, 0), fewest_passes(FREE, 2)
        (14, 6)
    """
    done = passes = 0
    while done < len(free):
        guesses = list(free[done : done + heads])
        done += (guesses.index(True) if True in guesses else len(guesses)) + 1
        passes += 1
    return passes


@checker
def check_passes(answer: Any) -> str | None:
    """Grade ``passes(free, heads)``: passes of the base model for a whole text.

    Args:
        answer: The learner's function ``passes``.

    Returns:
        The grade, with the likely mistake in words if there is one.
    """
    text = FREE * 5
    got = {heads: int(answer(list(text), heads)) for heads in (0, 1, 2, 3, 4)}
    if got[0] != 70:
        return f"Without heads each pass settles one token: 70, not {got[0]}."
    if got[2] == 24:
        return (
            "70 tokens, three a pass: that is when every guess is kept. A free choice "
            "is never guessed, and the guesses behind it are lost too."
        )
    if got[2] == _without_bonus(text, 2) or got[1] == _without_bonus(text, 1):
        return (
            "A pass settles the guesses that it keeps and one token more: the model's "
            "own choice comes free of charge."
        )
    if got[4] == _with_holes(text, 4):
        return "A guess is lost with the one before it: stop at the first free choice."
    for heads, count in got.items():
        right = fewest_passes(text, heads)
        if count != right:
            return f"With {heads} heads five stories take {right} passes, not {count}."
    return None


def _without_bonus(free: list[bool], heads: int) -> int:
    """Count as if a pass with kept guesses settled no token of its own."""
    done = passes = 0
    while done < len(free):
        guesses = free[done : done + heads]
        done += max(1, guesses.index(True) if True in guesses else len(guesses))
        passes += 1
    return passes


def _with_holes(free: list[bool], heads: int) -> int:
    """Count as if guesses behind a lost one were kept."""
    done = passes = 0
    while done < len(free):
        done += 1 + free[done : done + heads].count(False)
        passes += 1
    return passes


PASSES = Exercise(
    title="The fewest passes",
    difficulty="hard",
    minutes=8,
    question=(
        "`free` says of each token of a text whether it is a free choice, which no "
        "guess foresees; perfect heads know all others. Write `passes(free, heads)`: "
        "how many passes does the text take? Try it on five stories, `FREE * 5`: with "
        "perfect heads the third would save nothing. What was measured can be lower: "
        "a model always takes the same one of equally likely words, and a head may "
        "share the habit."
    ),
    stub="def passes(free, heads): ...",
    check=check_passes,
    hint=(
        "Go through the text pass by pass. Each keeps guesses up to the first free "
        "choice, at most one for each head, and then the model adds its own token."
    ),
    solution="""
        def passes(free, heads):
            done = count = 0
            while done < len(free):
                kept = 0
                for is_free in free[done : done + heads]:
                    if is_free:
                        break
                    kept += 1
                done += kept + 1
                count += 1
            return count
    """,
    mistakes={
        "every guess is kept": lambda free, heads: -(-len(free) // (heads + 1)),
        "free of charge": _without_bonus,
        "lost with the one before": _with_holes,
        "without heads": lambda free, heads: sum(free),
        "not 31": lambda free, heads: fewest_passes(free, heads) + (heads > 1),
    },
)

EXERCISES = (SPLIT, LEAKS, PASSES)
