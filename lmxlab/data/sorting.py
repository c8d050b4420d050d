"""The sorting world: three digits, ``>``, and the same digits in an order.

    5 2 8 > 2 5 8 .

A row is a prompt of n digits and ``>``, an answer of n digits, and an end token. The
corpus answers each prompt, uniform over all 10^n, in one of three ways, a third each:
the digits sorted, the prompt reversed, the prompt copied. A model of this corpus knows
how to sort, and does so a third of the time (more often where two answers coincide):
enough for reinforcement learning to find it.

Everything is small enough to list. The entropy floor is exact: only the digits of the
prompt after the first, and the way to answer, are uncertain, so by the chain rule the
mean over the 2n + 1 targets of a row is

    (H(row) - H(first digit)) / (2n + 1)
        = ((n - 1) ln 10 + H(answer | prompt)) / (2n + 1)

which is 0.7796 nats per token for three digits. H(answer | prompt) is ln 3 where the
three answers differ, less where two coincide, and 0 where all do. Of the 1,000 prompts
of three digits 480 have three different answers, 510 have two and 10 have one:

    >>> from collections import Counter
    >>> from itertools import product
    >>> prompts = product(range(10), repeat=3)
    >>> Counter(len({tuple(sorted(p)), p[::-1], p}) for p in prompts)
    Counter({2: 510, 3: 480, 1: 10})

Simplified on purpose: every prompt has n digits, so no row needs padding.
"""

import math
from typing import TypeAlias

from lmxlab.data.batching import (
    Batch,
    TokenArray,
    at_least,
    numbered_rng,
    shift,
)
from lmxlab.data.tokenizer import CharTokenizer
from lmxlab.data.world import World
import numpy as np
import numpy.typing as npt

Seed: TypeAlias = int | np.random.Generator

TOKENIZER = CharTokenizer("0123456789>.")
SEPARATOR = 10
END = 11
ANSWERS = ("sorted", "reversed", "copied")
MAX_DIGITS = 5  # 100,000 prompts: enumerating them stays instant

# Seeds of rows are below 2**65: the split shares no stream with them.
_SPLIT_SEED = 2**65


def is_sorted_answer(prompt: npt.ArrayLike, completion: npt.ArrayLike) -> bool:
    """Check an answer exactly: the prompt's digits in order, then the end token.

    Args:
        prompt: Token IDs, shape (n + 1,): digits and then ``>``.
        completion: Token IDs, shape (L,), cut after the end token. IDs outside the
            vocabulary are wrong, not an error.

    Returns:
        Whether the completion is the sorted digits and the end token, nothing more.

    Raises:
        ValueError: If the prompt is not digits and then ``>``.

    Example:
        >>> prompt, right, early = map(TOKENIZER.encode, ("528>", "258.", "25."))
        >>> is_sorted_answer(prompt, right), is_sorted_answer(prompt, early)
        (True, False)
    """
    digits = _digits_of(prompt)
    return bool(np.asarray(completion).tolist() == [*sorted(digits), END])


class SortingWorld(World):
    """The sorting world as a dataset of (input, target) rows, with a known floor.

    The corpus draws from all prompts. A fifth of them, the same ones always, are held
    out of :meth:`prompts`: reinforcement learning never sees them rewarded.

    Args:
        n_digits: Digits n in a prompt, from 2 to 5.

    Raises:
        ValueError: If n_digits is out of range.

    Example:
        >>> world = SortingWorld()
        >>> inputs, targets = next(world.batches(batch_size=32, seed=0))
        >>> inputs.shape, world.vocab_size, round(world.entropy_floor, 4)
        ((32, 7), 12, 0.7796)
    """

    def __init__(self, n_digits: int = 3) -> None:
        self.n_digits = at_least("n_digits", n_digits, 2)
        if self.n_digits > MAX_DIGITS:
            raise ValueError(f"n_digits must be at most {MAX_DIGITS}, got {n_digits}")
        self.tokenizer = TOKENIZER
        self.vocab_size = TOKENIZER.vocab_size
        self.end_token = END
        self.prompt_length = self.n_digits + 1
        self.answer_length = self.n_digits + 1
        self.seq_len = 2 * self.n_digits + 1
        self.entropy_floor = self._entropy_floor()
        order = numbered_rng(_SPLIT_SEED, self.n_digits).permutation(10**self.n_digits)
        self._held_out, self._to_train = np.split(order, [len(order) // 5])

    def prompts(self, n: int, seed: Seed) -> TokenArray:
        """Draw prompts to learn from; none of them is held out.

        Args:
            n: How many; they differ from each other unless there are too few.
            seed: An integer, or a NumPy generator to draw from.

        Returns:
            Token IDs, shape (n, n_digits + 1) int32, each row ending in ``>``.

        Raises:
            ValueError: If n is below 1.

        Example:
            >>> SortingWorld().prompts(2, seed=0).shape
            (2, 4)
        """
        at_least("n", n, 1)
        pool = self._to_train
        rng = np.random.default_rng(seed)
        return self._spelled(rng.choice(pool, size=n, replace=n > len(pool)))

    def held_out_prompts(self, n: int | None = None) -> TokenArray:
        """Return prompts that :meth:`prompts` never draws, always the same ones.

        Args:
            n: How many; all of them (a fifth of 10^n_digits) when left out.

        Returns:
            Token IDs, shape (n, n_digits + 1) int32, all different.

        Raises:
            ValueError: If n is below 1 or there are not that many.
        """
        count = len(self._held_out) if n is None else at_least("n", n, 1)
        if count > len(self._held_out):
            raise ValueError(
                f"n={n} is more than the {len(self._held_out)} prompts that are held "
                "out; ask for fewer, or use more digits"
            )
        return self._spelled(self._held_out[:count])

    def encode(self, text: str) -> TokenArray:
        """Return the token IDs of a text.

        Args:
            text: Digits, ``>`` and ``.``, such as ``"528>258."``.

        Returns:
            IDs, shape (N,) int32, one for each character.

        Raises:
            ValueError: At the first other character.
        """
        return TOKENIZER.encode(text)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of token IDs.

        Args:
            ids: IDs in [0, 12), shape (N,).

        Returns:
            The text, of N characters.

        Raises:
            ValueError: If an ID is out of range or ids is not 1-D.
            TypeError: If ids are not integers.
        """
        return TOKENIZER.decode(ids)

    def _spelled(self, numbers: npt.NDArray[np.int64]) -> TokenArray:
        """Prompts (n, n_digits + 1) of the numbers that their digits write."""
        powers = 10 ** np.arange(self.n_digits)[::-1]
        digits = numbers[:, None] // powers % 10
        return np.pad(digits, ((0, 0), (0, 1)), constant_values=SEPARATOR).astype(
            np.int32
        )

    def _answers(self, prompts: TokenArray) -> TokenArray:
        """All answers (n, 3, n_digits) to prompts, in the order of ``ANSWERS``."""
        digits = prompts[:, :-1]
        return np.stack([np.sort(digits, axis=1), digits[:, ::-1], digits], axis=1)

    def _draw(self, rng: np.random.Generator, n: int) -> Batch:
        prompts = self._spelled(rng.integers(10**self.n_digits, size=n))
        ways = rng.integers(len(ANSWERS), size=n)
        answers = self._answers(prompts)[np.arange(n), ways]
        end = np.full((n, 1), END, np.int32)
        return shift(np.concatenate([prompts, answers, end], axis=1))

    def _entropy_floor(self) -> float:
        everything = self._spelled(np.arange(10**self.n_digits))
        ways = self._answers(everything)
        # How many of the three answers are equal to each: its probability times 3.
        equal = (ways[:, :, None] == ways[:, None]).all(axis=-1).sum(axis=-1)
        answer = float(-np.log(equal / len(ANSWERS)).mean())
        return ((self.n_digits - 1) * math.log(10) + answer) / self.seq_len


def _digits_of(prompt: npt.ArrayLike) -> list[int]:
    ids: list[int] = np.asarray(prompt).tolist()
    if len(ids) < 2 or ids[-1] != SEPARATOR or not all(0 <= i < 10 for i in ids[:-1]):
        raise ValueError(
            f"prompt must be digits and then {SEPARATOR} (the token '>'), got {ids}; "
            "take it from SortingWorld.prompts"
        )
    return ids[:-1]
