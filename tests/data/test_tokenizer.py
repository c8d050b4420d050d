"""Round trips where the alphabet allows them, and errors that say where."""

from hypothesis import given
from hypothesis import strategies as st
from lmxlab.data import ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
import mlx.core as mx
import numpy as np
import pytest

ALL = [WordTokenizer(["b", "a"]), CharTokenizer("ba"), ByteTokenizer()]
any_text = st.text(min_size=1)


@pytest.mark.parametrize("tokenizer", ALL)
def test_all_tokenizers_share_one_protocol(tokenizer):
    assert isinstance(tokenizer, Tokenizer)
    assert len(tokenizer.vocab) == len(set(tokenizer.vocab)) == tokenizer.vocab_size
    ids = tokenizer.encode("a")
    assert ids.dtype == np.int32
    assert tokenizer.decode(mx.array(ids)) == "a"
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode(tokenizer.encode("")) == ""
    assert tokenizer.decode([]) == ""


@given(st.lists(st.sampled_from(["the", "cat", "sat", "."])))
def test_words_come_back_with_single_spaces(words):
    tokenizer = WordTokenizer(["the", "cat", "sat", "."])
    ids = tokenizer.encode(" \n".join(words))
    assert tokenizer.decode(ids) == " ".join(words)


@given(any_text)
def test_characters_come_back(text):
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text)
    assert tokenizer.vocab == sorted(set(text))


@given(st.permutations("abcde"))
def test_an_alphabet_keeps_the_order_it_was_given(alphabet):
    tokenizer = CharTokenizer(alphabet)
    assert tokenizer.encode("".join(alphabet)).tolist() == [0, 1, 2, 3, 4]
    assert CharTokenizer(tokenizer.vocab).encode("cab").tolist() == [
        alphabet.index(char) for char in "cab"
    ]


@given(any_text)
def test_bytes_come_back(text):
    ids = ByteTokenizer().encode(text)
    assert bytes(ids.tolist()) == text.encode()
    assert ByteTokenizer().decode(ids) == text


def test_bytes_that_are_not_utf8_can_still_be_shown():
    assert ByteTokenizer().decode([0xFF, 65]) == "\ufffdA"


def test_unknown_words_and_characters_are_named_with_their_place():
    with pytest.raises(ValueError, match=r"unknown word 'dog', word 1 of"):
        WordTokenizer(["cat"]).encode("cat dog")
    for stranger in ("a", "m", "z", "\U0001f600", "\ud800"):
        with pytest.raises(ValueError, match=r"unknown character .* at position 2"):
            CharTokenizer("bn").encode("bn" + stranger)


@pytest.mark.parametrize("tokenizer", ALL)
def test_ids_outside_the_vocabulary_are_refused(tokenizer):
    size = tokenizer.vocab_size
    for bad in (-1, size):
        message = rf"ids\[1\] is {bad}, outside the vocabulary of {size}"
        with pytest.raises(ValueError, match=message):
            tokenizer.decode([0, bad])
    with pytest.raises(ValueError, match=r"1-D, got shape \(1, 1\)"):
        tokenizer.decode([[0]])
    with pytest.raises(TypeError, match="integers, got float64"):
        tokenizer.decode([0.5])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: WordTokenizer([]), "words is empty"),
        (lambda: WordTokenizer(["a", "a"]), "words holds 'a' twice"),
        (lambda: WordTokenizer(["a b"]), "words holds 'a b'"),
        (lambda: WordTokenizer([""]), "words holds ''"),
        (lambda: CharTokenizer(""), "alphabet is empty"),
        (lambda: CharTokenizer("aba"), "alphabet holds 'a' twice"),
        (lambda: CharTokenizer(["ab"]), "alphabet holds 'ab'"),
        (lambda: CharTokenizer.from_text(""), "text is empty"),
    ],
)
def test_vocabularies_that_cannot_work_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_vocabulary_handed_out_is_a_copy():
    tokenizer = WordTokenizer(["a", "b"])
    tokenizer.vocab.clear()
    assert tokenizer.encode("b").tolist() == [1]
