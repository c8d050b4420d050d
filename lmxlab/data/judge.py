"""The oracle of the story world: is a sample a story, the right one, a kind one?

The oracle parses words and shares nothing with the generator but the word lists, so
that each checks the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lmxlab.data.story import (
    ADJECTIVES,
    ENDINGS,
    KIND_ENDINGS,
    NAMES,
    THINGS,
    word,
)
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Verdict:
    """What the oracle says of one sample.

    Attributes:
        grammatical: The sample is one sentence of the template, whoever the names are.
        right_names: It is grammatical, and the two names differ and come back in order.
        kind: Whether the ending is kind; None when the sample is not grammatical.

    Example:
        >>> judge("Ann and Ben saw a red hat and Ben hid it from Ann .")
        Verdict(grammatical=True, right_names=False, kind=False)
    """

    grammatical: bool
    right_names: bool
    kind: bool | None


def judge(sample: str | npt.ArrayLike) -> Verdict:
    """Judge one sample; whatever a model may produce has a verdict.

    Args:
        sample: Text, or token IDs of shape (L,). IDs outside the vocabulary are
            ungrammatical, not an error. Cut a longer sample after its full stop.

    Returns:
        The verdict.

    Raises:
        ValueError: If IDs have more than one dimension; see `survey`.

    Example:
        >>> judge("Ann and Ben saw a red hat and Ann gave it to Ben .")
        Verdict(grammatical=True, right_names=True, kind=True)
        >>> judge("Ann and Ann and")
        Verdict(grammatical=False, right_names=False, kind=None)
    """
    words = sample.split() if isinstance(sample, str) else _words(sample)
    match words:
        case [n, "and", f, "saw", "a", adjective, thing, "and", n2, *ending, f2, "."]:
            grammatical = (
                {n, f, n2, f2} <= set(NAMES)
                and adjective in ADJECTIVES
                and thing in THINGS
                and tuple(ending) in ENDINGS
            )
            if grammatical:
                right_names = n != f and (n, f) == (n2, f2)
                return Verdict(True, right_names, tuple(ending) in KIND_ENDINGS)
    return Verdict(grammatical=False, right_names=False, kind=None)


def survey(samples: Iterable[str | npt.ArrayLike]) -> dict[str, float]:
    """Judge many samples and return the share of each virtue among all of them.

    Args:
        samples: Texts or rows of token IDs; an array of shape (n, L) will do.

    Returns:
        Shares in [0, 1] under "grammatical", "right_names" and "kind".

    Raises:
        ValueError: If there are no samples.

    Example:
        >>> from lmxlab.data.story import sentences
        >>> survey(sentences(10, seed=0))["right_names"]
        1.0
    """
    verdicts = [judge(sample) for sample in samples]
    if not verdicts:
        raise ValueError("samples is empty; pass at least one sample to judge")
    return {
        "grammatical": sum(v.grammatical for v in verdicts) / len(verdicts),
        "right_names": sum(v.right_names for v in verdicts) / len(verdicts),
        "kind": sum(v.kind is True for v in verdicts) / len(verdicts),
    }


def _words(ids: npt.ArrayLike) -> list[str]:
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(
            f"a sample must be 1-D, got shape {array.shape}; use survey for many"
        )
    return [word(int(i)) for i in array]
