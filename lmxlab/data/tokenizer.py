"""Three tokenizers of a few lines each: words, characters, bytes.

Each maps text to int32 IDs and back, and holds nothing but ``vocab``, the list whose
index is the ID: store that list, and you have stored the tokenizer. Learned subwords
(BPE) are left out; a lab whose models train in seconds does not need them.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from lmxlab.data.batching import TokenArray
import numpy as np
import numpy.typing as npt


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer offers.

    Example:
        >>> all(isinstance(t, Tokenizer) for t in (ByteTokenizer(), CharTokenizer("a")))
        True
    """

    @property
    def vocab(self) -> list[str]:
        """One printable string for each ID, in order."""
        ...

    @property
    def vocab_size(self) -> int:
        """The number of IDs."""
        ...

    def encode(self, text: str) -> TokenArray:
        """Return the IDs of a text.

        Args:
            text: What to encode.

        Returns:
            IDs, shape (N,) int32.
        """
        ...

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of IDs.

        Args:
            ids: IDs in [0, vocab_size), shape (N,).

        Returns:
            The text.
        """
        ...


class WordTokenizer:
    """One ID for each whitespace-separated word of a closed vocabulary.

    Decoding joins words with one space, so the round trip is exact for text that is
    spaced that way.

    Args:
        words: The vocabulary; a word's position is its ID.

    Raises:
        ValueError: If there are no words, one repeats, or one is empty or holds space.

    Example:
        >>> words = WordTokenizer(["the", "cat", "sat"])
        >>> words.encode("the cat sat")
        array([0, 1, 2], dtype=int32)
        >>> words.decode([1, 2])
        'cat sat'
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._vocab = _unique(words, "words")
        for word in self._vocab:
            if word.split() != [word]:
                raise ValueError(
                    f"words holds {word!r}; a word is not empty and has no whitespace"
                )
        self._id_of = {word: i for i, word in enumerate(self._vocab)}

    @property
    def vocab(self) -> list[str]:
        """The words, in the order of their IDs."""
        return list(self._vocab)

    @property
    def vocab_size(self) -> int:
        """The number of words."""
        return len(self._vocab)

    def encode(self, text: str) -> TokenArray:
        """Return the ID of each word.

        Args:
            text: Words of the vocabulary, separated by any whitespace.

        Returns:
            IDs, shape (N,) int32.

        Raises:
            ValueError: At the first word that is not in the vocabulary.
        """
        words = text.split()
        for position, word in enumerate(words):
            if word not in self._id_of:
                raise ValueError(
                    f"unknown word {word!r}, word {position} of the text (from 0); "
                    f"the vocabulary has {self.vocab_size} words: see .vocab"
                )
        return np.array([self._id_of[word] for word in words], dtype=np.int32)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the words of these IDs, joined by one space.

        Args:
            ids: IDs in [0, vocab_size), shape (N,).

        Returns:
            The text.

        Raises:
            ValueError: If an ID is out of range or ids is not 1-D.
            TypeError: If ids are not integers.
        """
        return " ".join(self._vocab[i] for i in _checked_ids(ids, self.vocab_size))


class CharTokenizer:
    """One ID for each character of an alphabet.

    Args:
        alphabet: The characters; a character's position is its ID.

    Raises:
        ValueError: If the alphabet is empty, a character repeats, or an item is not
            exactly one character.

    Example:
        >>> chars = CharTokenizer.from_text("hello")
        >>> chars.vocab
        ['e', 'h', 'l', 'o']
        >>> chars.decode(chars.encode("hole"))
        'hole'
    """

    def __init__(self, alphabet: Iterable[str]) -> None:
        self._vocab = _unique(alphabet, "alphabet")
        for char in self._vocab:
            if len(char) != 1:
                raise ValueError(f"alphabet holds {char!r}; pass single characters")
        points = np.array([ord(char) for char in self._vocab], dtype=np.int64)
        self._ids_by_point = points.argsort().astype(np.int32)
        self._points = points[self._ids_by_point]

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """Return the tokenizer of exactly the characters in text, sorted.

        Args:
            text: Any text; pass the whole corpus, evaluation part included.

        Returns:
            A tokenizer whose round trip on this text is exact.

        Raises:
            ValueError: If text is empty.
        """
        if not text:
            raise ValueError("text is empty; pass the text to take characters from")
        return cls(sorted(set(text)))

    @property
    def vocab(self) -> list[str]:
        """The characters, in the order of their IDs."""
        return list(self._vocab)

    @property
    def vocab_size(self) -> int:
        """The number of characters."""
        return len(self._vocab)

    def encode(self, text: str) -> TokenArray:
        """Return the ID of each character.

        Args:
            text: Characters of the alphabet.

        Returns:
            IDs, shape (N,) int32.

        Raises:
            ValueError: At the first character that is not in the alphabet.
        """
        # A lone surrogate is a legal str: look it up, and report it, like any other.
        encoded = text.encode("utf-32-le", "surrogatepass")
        points = np.frombuffer(encoded, dtype="<u4")
        found = np.searchsorted(self._points, points).clip(max=self.vocab_size - 1)
        unknown = np.flatnonzero(self._points[found] != points)
        if unknown.size:
            at = int(unknown[0])
            raise ValueError(
                f"unknown character {text[at]!r} at position {at} of the text; the "
                f"alphabet has {self.vocab_size} characters: see .vocab, or build it "
                f"with from_text from a text that has them all"
            )
        ids: TokenArray = self._ids_by_point[found]
        return ids

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the characters of these IDs.

        Args:
            ids: IDs in [0, vocab_size), shape (N,).

        Returns:
            The text.

        Raises:
            ValueError: If an ID is out of range or ids is not 1-D.
            TypeError: If ids are not integers.
        """
        return "".join(self._vocab[i] for i in _checked_ids(ids, self.vocab_size))


class ByteTokenizer:
    """One ID for each byte of UTF-8: 256 IDs, every text, nothing unknown.

    Example:
        >>> ByteTokenizer().encode("aé")
        array([ 97, 195, 169], dtype=int32)
        >>> ByteTokenizer().decode([97, 195, 169])
        'aé'
    """

    @property
    def vocab(self) -> list[str]:
        """Printable ASCII as itself, any other byte as ``<0xNN>``."""
        return [chr(i) if 32 <= i < 127 else f"<0x{i:02X}>" for i in range(256)]

    @property
    def vocab_size(self) -> int:
        """Always 256."""
        return 256

    def encode(self, text: str) -> TokenArray:
        """Return the UTF-8 bytes of text.

        Args:
            text: Any text that UTF-8 can hold.

        Returns:
            IDs in [0, 256), shape (N,) int32; N is at least the number of characters.

        Raises:
            ValueError: If text holds a lone surrogate, which has no UTF-8.
        """
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int32)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of these bytes.

        A model may sample bytes that are not UTF-8: those become U+FFFD, as in a
        terminal, because a sample must be shown whatever it is.

        Args:
            ids: IDs in [0, 256), shape (N,).

        Returns:
            The text.

        Raises:
            ValueError: If an ID is out of range or ids is not 1-D.
            TypeError: If ids are not integers.
        """
        return bytes(_checked_ids(ids, 256)).decode("utf-8", errors="replace")


def _unique(items: Iterable[str], name: str) -> list[str]:
    vocab = list(items)
    if not vocab:
        raise ValueError(f"{name} is empty; a vocabulary needs at least one entry")
    seen: set[str] = set()
    for item in vocab:
        if item in seen:
            raise ValueError(f"{name} holds {item!r} twice; remove one of them")
        seen.add(item)
    return vocab


def _checked_ids(ids: npt.ArrayLike, vocab_size: int) -> list[int]:
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(
            f"ids must be 1-D, got shape {array.shape}; decode one row at a time"
        )
    if array.size == 0:
        return []
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"ids must be integers, got {array.dtype}")
    outside = np.flatnonzero((array < 0) | (array >= vocab_size))
    if outside.size:
        at = int(outside[0])
        raise ValueError(
            f"ids[{at}] is {int(array[at])}, outside the vocabulary of {vocab_size}; "
            f"the model's vocab_size and the tokenizer's must agree"
        )
    return [int(i) for i in array]
