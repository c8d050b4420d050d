"""Parity of hidden bits: a task whose easy rows show what its hard rows hide.

A row is n bits and a label, the parity of k of them that nobody names:

    label = x[s_1] xor x[s_2] xor ... xor x[s_k]

To a language model it is a text of n + 1 tokens, 0 or 1, of which only the last can be
predicted; the mask leaves only that one in the loss. The label is certain given the
bits, so the entropy floor is 0 nats; guessing costs ln 2 on uniform bits.

Each bit is 1 with probability p, independently. With m = 1 - 2p,

    P(label = 1)                   = (1 - m^k) / 2
    cov((-1)^x[i], (-1)^label)     = m^(k-1) (1 - m^2)   if i is hidden, else 0

On uniform bits (p = 1/2) m is 0: no bit alone, nor any k - 1 together, says anything of
the label, and the gradient hardly tells one subset from another. Where ones are few
each hidden bit says something by itself. That is why easy rows help (Cornacchia and
Mossel 2023, "A mathematical model for curriculum learning for parities",
arXiv:2301.13833).

Left out: noise in the label, and inputs that are not independent bits.
"""

import math

from lmxlab.data.batching import Batch, at_least, numbered_rng
from lmxlab.data.world import World
import numpy as np
import numpy.typing as npt

# Seeds of rows are below 2**65: the hidden bits share no stream with them.
_SUBSET_SEED = 2**65


class ParityWorld(World):
    """The parity of k hidden bits among n, as a dataset of (input, target, mask).

    The model has to know where a bit stands. Rotary positions say how far two tokens
    are apart and are slow to learn it; ``position="learned"`` says it outright.

    Args:
        n_bits: Bits n in a row, which is also the length T of its input.
        k: How many of them are hidden in the label.
        ones: Probability p that a bit is 1. 0.5 makes all rows equally likely.
        seed: Decides which bits are hidden, and nothing else; integer, at least 0.

    Attributes:
        subset: The hidden positions, k of them in ascending order, from 0.
        seq_len: Input length T, n_bits.
        vocab_size: 2: a bit and a label are the tokens 0 and 1.
        entropy_floor: 0.0 nats: given the bits the label is certain.
        chance_loss: Loss in nats of a guess that knows p but not the bits, the entropy
            of the label. ln 2 on uniform bits.

    Raises:
        ValueError: If n_bits, k or the seed is too small, k exceeds n_bits, or ones is
            outside [0, 1].
        TypeError: If an argument has the wrong type.

    Example:
        >>> world = ParityWorld(seed=1)
        >>> inputs, targets, mask = next(world.batches(batch_size=32, seed=0))
        >>> inputs.shape, mask[0].astype(int).tolist()
        ((32, 16), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        >>> bool((targets[:, -1] == inputs[:, world.subset].sum(axis=1) % 2).all())
        True
    """

    def __init__(
        self, n_bits: int = 16, k: int = 4, *, ones: float = 0.5, seed: int = 0
    ) -> None:
        self.n_bits = at_least("n_bits", n_bits, 1)
        self.k = at_least("k", k, 1)
        if self.k > self.n_bits:
            raise ValueError(
                f"k={self.k} bits cannot be hidden among n_bits={self.n_bits}; "
                f"use k <= {self.n_bits}"
            )
        if isinstance(ones, bool) or not isinstance(ones, (int, float)):
            raise TypeError(f"ones must be a number, got {ones!r}")
        if not 0 <= ones <= 1:
            raise ValueError(f"ones is a probability and must be in [0, 1], got {ones}")
        self.ones = float(ones)
        self.seed = at_least("seed", seed, 0)
        positions = numbered_rng(_SUBSET_SEED, self.seed).permutation(self.n_bits)
        self.subset: list[int] = sorted(positions[: self.k].tolist())
        self.seq_len = self.n_bits
        self.vocab_size = 2
        self.entropy_floor = 0.0
        odd = (1 - (1 - 2 * self.ones) ** self.k) / 2
        self.chance_loss = -sum(p * math.log(p) for p in (odd, 1 - odd) if p > 0)

    def easy(self, ones: float = 0.1) -> "ParityWorld":
        """Return the same hidden bits with inputs in which ones are few.

        Args:
            ones: Probability that a bit is 1.

        Returns:
            A world with the same subset.

        Example:
            >>> world = ParityWorld()
            >>> world.easy().subset == world.subset, round(world.easy().chance_loss, 3)
            (True, 0.607)
        """
        return ParityWorld(self.n_bits, self.k, ones=ones, seed=self.seed)

    def hard(self) -> "ParityWorld":
        """Return the same hidden bits with uniform inputs.

        Returns:
            A world with the same subset, in which a bit is 1 with probability 0.5.

        Example:
            >>> round(ParityWorld(ones=0.1).hard().chance_loss, 4)  # ln 2
            0.6931
        """
        return self.easy(ones=0.5)

    def label(self, bits: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Return the exact label: the parity of the hidden bits.

        Args:
            bits: Zeros and ones, integers or bools, shape (..., n_bits).

        Returns:
            0 where the number of hidden ones is even and 1 where it is odd, shape
            (...), int32.

        Raises:
            ValueError: If the last axis is not n_bits long, or a value is no bit.
            TypeError: If the values are not integers.

        Example:
            >>> world = ParityWorld(n_bits=3, k=3)
            >>> world.label([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
            array([0, 1, 0, 1], dtype=int32)
        """
        array = np.asarray(bits)
        if array.ndim == 0 or array.shape[-1] != self.n_bits:
            raise ValueError(
                f"bits must have shape (..., {self.n_bits}), got {array.shape}"
            )
        if array.dtype.kind not in "iub":
            raise TypeError(f"bits must be integers, got {array.dtype}")
        if array.size and not 0 <= array.min() <= array.max() <= 1:
            raise ValueError(f"bits must be 0 or 1, got {array.min()} to {array.max()}")
        parity = array[..., self.subset].sum(axis=-1) % 2
        return np.asarray(parity, dtype=np.int32)

    def _draw(self, rng: np.random.Generator, n: int) -> Batch:
        bits = (rng.random((n, self.n_bits)) < self.ones).astype(np.int32)
        targets = np.concatenate([bits[:, 1:], self.label(bits)[:, None]], axis=1)
        mask = np.zeros(bits.shape, np.float32)
        mask[:, -1] = 1.0
        return bits, targets, mask
