"""A Markov source of order 2: text whose next token depends on the last two alone.

The table P[a, b, c] = p(c | a, b) is drawn once, a softmax of normal numbers,

    P[a, b, :] = softmax(sharpness * g),   g ~ N(0, 1),

so a seed is a language: sharpness 0 is noise (ln V nats a token), a large one leaves
hardly a choice. All entries are positive, hence there is exactly one distribution of
pairs that the source keeps for ever,

    pi[b, c] = sum_a pi[a, b] P[a, b, c]

and the truth is known without sampling, in nats per token:

    entropy rate   h  = sum_ab pi[a, b] H(P[a, b, :])      what two tokens leave open
    after one      h1 = sum_a  pi[a]    H(pi[a, :] / pi[a])   after only one, h1 >= h

Rows are windows of a text that has been running for ever: they start in pi. Of a row's
T targets the first has one token before it and all others two or more, so no model has
a lower expected loss than

    floor = (h1 + (T - 1) h) / T

A table of V^2 rows is easy to know and slow to learn by counting: 16 symbols have 256
contexts, and 4,096 tokens show each about 16 times.
"""

from bisect import bisect_right

from lmxlab.data.batching import (
    Batch,
    TokenArray,
    as_tokens,
    at_least,
    numbered_rng,
    shift,
)
from lmxlab.data.world import World
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MAX_VOCAB = 32  # the balance of pairs is a linear system of V^2 equations
MAX_SHARPNESS = 20.0

# Members of a seed's family that no batch reaches.
_TABLE, _SAMPLE = 2**32, 2**32 + 1


class MarkovWorld(World):
    """An order-2 Markov source as a dataset of (input, target) rows, with its truth.

    Args:
        seed: Which language: the table is drawn from it. Integer of at least 0.
        vocab_size: Symbols V, in [2, 32].
        seq_len: Targets T in a row.
        sharpness: Standard deviation of the table's logits, in [0, 20].

    Attributes:
        table: p(c | a, b), shape (V, V, V).
        pairs: Share pi[a, b] of each pair of neighbours, shape (V, V).
        entropy_rate: h, nats per token.
        entropy_floor: Lowest expected loss on rows of ``seq_len``, nats per token.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If an argument is out of range.

    Example:
        >>> world = MarkovWorld()
        >>> inputs, targets = next(world.batches(batch_size=8, seed=0))
        >>> inputs.shape, world.vocab_size, round(world.entropy_rate, 3)
        ((8, 32), 16, 1.691)
        >>> round(MarkovWorld(sharpness=0.0).entropy_floor, 3)  # ln 16
        2.773
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        vocab_size: int = 16,
        seq_len: int = 32,
        sharpness: float = 2.0,
    ) -> None:
        self.vocab_size = at_least("vocab_size", vocab_size, 2)
        if self.vocab_size > MAX_VOCAB:
            raise ValueError(
                f"vocab_size must be at most {MAX_VOCAB}, got {vocab_size}"
            )
        if not 0 <= sharpness <= MAX_SHARPNESS:
            raise ValueError(
                f"sharpness must be in [0, {MAX_SHARPNESS:g}], got {sharpness}"
            )
        self.seed = at_least("seed", seed, 0)
        self.seq_len = at_least("seq_len", seq_len, 1)
        self.sharpness = sharpness

        g = numbered_rng(self.seed, _TABLE).normal(size=(self.vocab_size,) * 3)
        weights = np.exp(sharpness * (g - g.max(axis=-1, keepdims=True)))
        self.table: Floats = weights / weights.sum(axis=-1, keepdims=True)
        self.pairs: Floats = stationary_pairs(self.table)
        self._first: Floats = self.pairs.sum(axis=1)
        self._second: Floats = self.pairs / self._first[:, None]
        self.entropy_rate = float((self.pairs * _entropy(self.table)).sum())
        self.entropy_floor = self.floor(self.seq_len)

        # Where the symbols end on the line from 0 to 1; the last one takes the rest.
        self._bounds = np.cumsum(self.table, axis=-1)[..., :-1]
        self._pair_bounds = np.cumsum(self.pairs.ravel())[:-1]

    def floor(self, seq_len: int) -> float:
        """Return the lowest expected loss on rows of another length.

        Args:
            seq_len: Targets T in a row.

        Returns:
            ``(h1 + (T - 1) h) / T`` in nats per token.

        Raises:
            ValueError: If seq_len < 1.

        Example:
            >>> world = MarkovWorld()
            >>> world.floor(1) > world.floor(32) > world.entropy_rate
            True
        """
        length = at_least("seq_len", seq_len, 1)
        after_one = float((self._first * _entropy(self._second)).sum())
        return (after_one + (length - 1) * self.entropy_rate) / length

    def sample(self, n_tokens: int, seed: int) -> TokenArray:
        """Draw one text, such as the small corpus that a student gets.

        Args:
            n_tokens: Its length.
            seed: Integer of at least 0; shares no randomness with ``batches``.

        Returns:
            Token IDs, shape (n_tokens,) int32.

        Raises:
            ValueError: If n_tokens < 2 or the seed is negative.

        Example:
            >>> MarkovWorld().sample(4096, seed=0).shape
            (4096,)
        """
        rng = numbered_rng(at_least("seed", seed, 0), _SAMPLE)
        uniform = rng.random(at_least("n_tokens", n_tokens, 2) - 1).tolist()
        bounds = self._bounds.tolist()
        start = int(np.searchsorted(self._pair_bounds, uniform[0], side="right"))
        a, b = divmod(start, self.vocab_size)
        text = [a, b]
        for u in uniform[1:]:
            a, b = b, bisect_right(bounds[a][b], u)
            text.append(b)
        return np.array(text, dtype=np.int32)

    def next_probs(self, inputs: npt.ArrayLike) -> Floats:
        """Return the true distribution after each token of some rows.

        Args:
            inputs: Token IDs, shape (B, T).

        Returns:
            p(next | the row so far), shape (B, T, V). A model's excess loss over the
            floor is its mean KL divergence from these.

        Raises:
            ValueError: If a token is not a symbol, or the shape is another.

        Example:
            >>> world = MarkovWorld()
            >>> probs = world.next_probs([[3, 5, 7]])
            >>> probs.shape, bool((probs[0, 2] == world.table[5, 7]).all())
            ((1, 3, 16), True)
        """
        rows = np.asarray(inputs)
        if rows.ndim != 2 or 0 in rows.shape:
            raise ValueError(f"inputs must have shape (B, T), got {rows.shape}")
        ids = as_tokens(rows.ravel(), "inputs").reshape(rows.shape)
        if ids.max() >= self.vocab_size:
            raise ValueError(
                f"inputs hold {ids.max()}, but the symbols are 0 to "
                f"{self.vocab_size - 1}"
            )
        first = self._second[ids[:, :1]]
        return np.concatenate([first, self.table[ids[:, :-1], ids[:, 1:]]], axis=1)

    def conditional(self, prefix: npt.ArrayLike) -> Floats:
        """Return the true distribution of the token that follows a prefix.

        Args:
            prefix: Token IDs from somewhere in a text, shape (L,); may be empty.

        Returns:
            Probabilities, shape (V,), summing to 1.

        Raises:
            ValueError: If a token is not a symbol.

        Example:
            >>> world = MarkovWorld(vocab_size=2, sharpness=0.0)
            >>> world.conditional([]), world.conditional([0, 1])
            (array([0.5, 0.5]), array([0.5, 0.5]))
        """
        if np.size(prefix) == 0:
            return self._first.copy()
        after: Floats = self.next_probs(as_tokens(prefix, "prefix")[None])[0, -1]
        return after

    def _draw(self, rng: np.random.Generator, n: int) -> Batch:
        uniform = rng.random((self.seq_len, n))
        rows = np.empty((n, self.seq_len + 1), dtype=np.int32)
        start = np.searchsorted(self._pair_bounds, uniform[0], side="right")
        rows[:, 0], rows[:, 1] = np.divmod(start, self.vocab_size)
        for t in range(1, self.seq_len):
            bounds = self._bounds[rows[:, t - 1], rows[:, t]]
            rows[:, t + 1] = (bounds <= uniform[t][:, None]).sum(axis=1)
        return shift(rows)


def stationary_pairs(table: Floats) -> Floats:
    """Solve ``pi[b, c] = sum_a pi[a, b] P[a, b, c]``, sum pi = 1.

    Args:
        table: P, shape (V, V, V), positive, each ``table[a, b]`` summing to 1.

    Returns:
        pi, shape (V, V), float64. Its two marginals are equal.

    Example:
        >>> stationary_pairs(np.full((2, 2, 2), 0.5))
        array([[0.25, 0.25],
               [0.25, 0.25]])
    """
    size = len(table)
    # Row (b, c), column (a, b): one step of the chain of pairs.
    step = np.zeros((size, size, size, size))
    b = np.arange(size)
    step[b, :, :, b] = table.transpose(1, 2, 0)
    equations = step.reshape(size**2, size**2) - np.eye(size**2)
    equations[-1] = 1.0  # one equation follows from the others: sum pi = 1 replaces it
    answer = np.linalg.solve(equations, np.eye(size**2)[-1])
    pairs = np.maximum(answer, 0.0).reshape(size, size)  # rounding may leave -1e-18
    return np.asarray(pairs / pairs.sum())


def _entropy(probs: Floats) -> Floats:
    """Entropy in nats over the last axis; 0 log 0 = 0."""
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return np.asarray(-(probs * logs).sum(axis=-1))
