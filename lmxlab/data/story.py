"""The story world: a language so small that its truth can be computed.

Every story is one sentence of 14 tokens,

    {n} and {f} saw a {adj} {thing} and {n} {gave it to} {f} .

with n != f from ten names, ten adjectives, ten things and six endings of three words
(three kind, three not). That makes 10 * 9 * 10 * 10 * 6 = 54,000 stories, all equally
likely, and a story *is* its number: drawing a batch is drawing integers. Only five
positions hold a choice, so the entropy of each token given all before it is exact:

    position  0     2    5     6     9
    choices   10    9    10    10    6        every other token is certain

The entropy floor is the mean of those over the *targets* of a row: no model can reach a
lower expected loss. In the default layout a row is one story. Its input is the first 13
tokens, its target the last 13, and the first name is given, never predicted:

    (ln 9 + 2 ln 10 + ln 6) / 13 = 0.6611 nats per token

In the "stream" layout a row goes on into the next story, whose first name has to be
predicted too (ln 10 more): 0.7783 over whole stories of 14 tokens.
"""

from collections.abc import Sequence
import math
from typing import Literal, TypeAlias

from lmxlab.data.batching import (
    Batch,
    TokenArray,
    as_tokens,
    shift,
)
from lmxlab.data.tokenizer import WordTokenizer
from lmxlab.data.world import World
import numpy as np
import numpy.typing as npt

Layout: TypeAlias = Literal["sentence", "stream"]
Seed: TypeAlias = int | np.random.Generator

PAD = "<pad>"
NAMES = ("Ann", "Ben", "Eva", "Kim", "Leo", "Max", "Mia", "Sam", "Tom", "Zoe")
ADJECTIVES = (
    "big", "blue", "clean", "new", "red", "round", "shiny", "small", "soft", "warm",
)  # fmt: skip
THINGS = (
    "ball", "bell", "boat", "book", "cake", "cart", "drum", "hat", "kite", "lamp",
)  # fmt: skip
KIND_ENDINGS = (("gave", "it", "to"), ("shared", "it", "with"), ("fixed", "it", "for"))
UNKIND_ENDINGS = (("hid", "it", "from"), ("took", "it", "from"), ("broke", "it", "by"))
ENDINGS = KIND_ENDINGS + UNKIND_ENDINGS

# The padding token has ID 0, the default of pad_batch. No story contains it.
WORDS = tuple(
    dict.fromkeys(
        (PAD, *NAMES, "and", "saw", "a", *ADJECTIVES, *THINGS, *sum(ENDINGS, ()), ".")
    )
)
TOKENIZER = WordTokenizer(WORDS)
SENTENCE_LENGTH = 14
PROMPT_LENGTH = 9
"""Tokens of a story before its ending, 9, the second {n} included."""

_CHOICES = (len(NAMES), len(NAMES) - 1, len(ADJECTIVES), len(THINGS), len(ENDINGS))
N_STORIES = math.prod(_CHOICES)
"""How many stories there are, 54,000."""

_NAME_IDS = TOKENIZER.encode(" ".join(NAMES))
_ADJECTIVE_IDS = TOKENIZER.encode(" ".join(ADJECTIVES))
_THING_IDS = TOKENIZER.encode(" ".join(THINGS))
_ENDING_IDS = TOKENIZER.encode(" ".join(sum(ENDINGS, ()))).reshape(-1, 3)
_TEMPLATE = TOKENIZER.encode(
    f"{PAD} and {PAD} saw a {PAD} {PAD} and {PAD} {PAD} {PAD} {PAD} {PAD} ."
)

_ENTROPY = np.zeros(SENTENCE_LENGTH)
_ENTROPY[[0, 2, 5, 6, 9]] = np.log(_CHOICES)
ENTROPY_FLOOR = float(_ENTROPY[1:].mean())  # of the default layout


def stories(numbers: npt.ArrayLike) -> TokenArray:
    """Spell out the stories with these numbers.

    Args:
        numbers: Story numbers in [0, N_STORIES), shape (n,).

    Returns:
        Token IDs, shape (n, 14) int32.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> TOKENIZER.decode(stories([0])[0])
        'Ann and Ben saw a big ball and Ann gave it to Ben .'
    """
    index = np.asarray(numbers, dtype=np.int64)
    if index.size and not 0 <= index.min() <= index.max() < N_STORIES:
        raise ValueError(
            f"story numbers must be in [0, {N_STORIES}), got "
            f"{index.min()} to {index.max()}"
        )
    first, other, adjective, thing, ending = np.unravel_index(index, _CHOICES)
    friend = other + (other >= first)  # the nine names that are not the first
    rows = np.tile(_TEMPLATE, (len(index), 1))
    rows[:, 0] = rows[:, 8] = _NAME_IDS[first]
    rows[:, 2] = rows[:, 12] = _NAME_IDS[friend]
    rows[:, 5] = _ADJECTIVE_IDS[adjective]
    rows[:, 6] = _THING_IDS[thing]
    rows[:, 9:12] = _ENDING_IDS[ending]
    return rows


def sentences(n: int, seed: Seed) -> TokenArray:
    """Draw n stories, each uniform over all 54,000 and independent.

    Args:
        n: How many; 0 gives an empty array.
        seed: An integer, or a NumPy generator to draw from.

    Returns:
        Token IDs, shape (n, 14) int32. ``.ravel()`` is a stream of stories.

    Raises:
        ValueError: If n is negative.

    Example:
        >>> sentences(2, seed=0).shape
        (2, 14)
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    return stories(np.random.default_rng(seed).integers(N_STORIES, size=n))


def preference_pairs(n: int, seed: Seed) -> tuple[TokenArray, TokenArray]:
    """Draw n stories told twice, once with a kind ending and once with an unkind one.

    The first `PROMPT_LENGTH` tokens of a pair are equal. The ending differs, and the
    friend's name and the full stop after it are equal again.

    Args:
        n: How many pairs.
        seed: An integer, or a NumPy generator to draw from.

    Returns:
        ``(kind, unkind)``: chosen and rejected rows for DPO, each (n, 14) int32.

    Raises:
        ValueError: If n is negative.

    Example:
        >>> kind, unkind = preference_pairs(4, seed=0)
        >>> bool((kind[:, :9] == unkind[:, :9]).all())
        True
    """
    rng = np.random.default_rng(seed)
    kind = sentences(n, rng)
    unkind = kind.copy()
    split = len(KIND_ENDINGS)
    kind[:, 9:12] = _ENDING_IDS[rng.integers(split, size=n)]
    unkind[:, 9:12] = _ENDING_IDS[rng.integers(split, len(ENDINGS), size=n)]
    return kind, unkind


def conditional(prefix: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the true distribution of the token that follows a prefix.

    Args:
        prefix: Token IDs of stories one after the other, the last perhaps unfinished,
            shape (L,). Empty, or after a full stop, a new story begins.

    Returns:
        Probabilities over the vocabulary, shape (47,), summing to 1.

    Raises:
        ValueError: If no stream of stories starts with this prefix.

    Example:
        >>> p = conditional(TOKENIZER.encode("Ann and"))
        >>> int((p > 0).sum()), float(p[WORDS.index("Ann")])
        (9, 0.0)
    """
    ids = as_tokens(prefix, "prefix").tolist() if np.size(prefix) else []
    for i, token in enumerate(ids):
        if token not in _continuations(ids[i - i % SENTENCE_LENGTH : i]):
            raise ValueError(
                f"prefix[{i}] is {word(token)!r}, which no story has after "
                f"{' '.join(map(word, ids[:i]))!r}; pass a prefix of stories"
            )
    allowed = _continuations(ids[len(ids) - len(ids) % SENTENCE_LENGTH :])
    probabilities = np.zeros(len(WORDS))
    probabilities[allowed] = 1 / len(allowed)
    return probabilities


def entropy_floor(layout: Layout = "sentence", seq_len: int | None = None) -> float:
    """Return the lowest expected loss that any model can reach.

    It is the mean over a row's targets of the entropy of each given all before it,
    computed from the generator's own choice counts.

    Args:
        layout: "sentence" or "stream", as in `StoryWorld`.
        seq_len: Targets T in a row of a stream. A sentence always has 13.

    Returns:
        Nats per token.

    Raises:
        ValueError: If the layout is unknown, or seq_len does not suit it.

    Example:
        >>> round(entropy_floor(), 4), round(entropy_floor("stream", 14), 4)
        (0.6611, 0.7783)
    """
    targets = np.arange(1, _checked_seq_len(layout, seq_len) + 1) % SENTENCE_LENGTH
    return float(_ENTROPY[targets].mean())


class StoryWorld(World):
    """The story world as a dataset of (input, target) rows, with a known floor.

    Args:
        layout: "sentence": a row is one story, input its first 13 tokens, target its
            last 13. "stream": a row is a window of seq_len tokens, from the start of a
            story, of stories that follow one another.
        seq_len: Row length T in tokens for "stream". A sentence has 13.

    Raises:
        ValueError: If the layout is unknown, or seq_len does not suit it.

    Example:
        >>> world = StoryWorld()
        >>> inputs, targets = next(world.batches(batch_size=32, seed=0))
        >>> inputs.shape, world.vocab_size, round(world.entropy_floor, 4)
        ((32, 13), 47, 0.6611)
    """

    def __init__(self, layout: Layout = "sentence", seq_len: int | None = None) -> None:
        self.seq_len = _checked_seq_len(layout, seq_len)
        self.layout: Layout = layout
        self.tokenizer = TOKENIZER
        self.vocab_size = len(WORDS)
        self.entropy_floor = entropy_floor(layout, seq_len)

    def _draw(self, rng: np.random.Generator, n: int) -> Batch:
        a_row = math.ceil((self.seq_len + 1) / SENTENCE_LENGTH)
        rows = sentences(n * a_row, rng).reshape(n, -1)
        return shift(rows[:, : self.seq_len + 1])


def _continuations(story: Sequence[int]) -> list[int]:
    """IDs that may follow the start of a story; all of them equally likely."""
    match len(story):
        case 0:
            return [int(i) for i in _NAME_IDS]
        case 2:
            return [int(i) for i in _NAME_IDS if i != story[0]]
        case 5:
            return [int(i) for i in _ADJECTIVE_IDS]
        case 6:
            return [int(i) for i in _THING_IDS]
        case 8:
            return [story[0]]
        case 9:
            return [int(i) for i in _ENDING_IDS[:, 0]]
        case 10 | 11 as position:
            (ending,) = (e for e in _ENDING_IDS if e[0] == story[9])
            return [int(ending[position - 9])]
        case 12:
            return [story[2]]
        case position:
            return [int(_TEMPLATE[position])]


def _checked_seq_len(layout: Layout, seq_len: int | None) -> int:
    if layout == "sentence":
        if seq_len not in (None, SENTENCE_LENGTH - 1):
            raise ValueError(
                f'seq_len={seq_len} does not suit layout="sentence", whose rows have '
                f'{SENTENCE_LENGTH - 1} tokens; leave it out or use layout="stream"'
            )
        return SENTENCE_LENGTH - 1
    if layout == "stream":
        if seq_len is None or seq_len < 1:
            raise ValueError(
                f'layout="stream" needs seq_len, at least 1, got {seq_len}; '
                f"a multiple of {SENTENCE_LENGTH} holds whole stories"
            )
        return seq_len
    raise ValueError(f'layout must be "sentence" or "stream", got {layout!r}')


def word(token: int) -> str:
    """Return the word of an ID.

    Args:
        token: Any integer.

    Returns:
        The word, or ``<ID>`` for an ID outside the vocabulary.

    Example:
        >>> word(1), word(99)
        ('Ann', '<99>')
    """
    return WORDS[token] if 0 <= token < len(WORDS) else f"<{token}>"
