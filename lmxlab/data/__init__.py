"""Data: token batches, tokenizers, real text, and toy worlds with a known truth.

Stands alone: the standard library and NumPy are all it imports, and every batch is a
tuple of NumPy arrays.
"""

from lmxlab.data import story
from lmxlab.data.batching import (
    Batch,
    BatchIterator,
    Dataset,
    Resumable,
    TokenArray,
    TokenDataset,
)
from lmxlab.data.judge import Verdict, judge, survey
from lmxlab.data.markov import MarkovWorld
from lmxlab.data.padding import length_bucket, pad_batch
from lmxlab.data.parity import ParityWorld
from lmxlab.data.sorting import SortingWorld, is_sorted_answer
from lmxlab.data.story import ENTROPY_FLOOR, WORDS, StoryWorld, entropy_floor
from lmxlab.data.text import load_text, python_docs, split_text
from lmxlab.data.tokenizer import (
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WordTokenizer,
)

__all__ = [
    "ENTROPY_FLOOR",
    "WORDS",
    "Batch",
    "BatchIterator",
    "ByteTokenizer",
    "CharTokenizer",
    "Dataset",
    "MarkovWorld",
    "ParityWorld",
    "Resumable",
    "SortingWorld",
    "StoryWorld",
    "TokenArray",
    "TokenDataset",
    "Tokenizer",
    "Verdict",
    "WordTokenizer",
    "entropy_floor",
    "is_sorted_answer",
    "judge",
    "length_bucket",
    "load_text",
    "pad_batch",
    "python_docs",
    "split_text",
    "story",
    "survey",
]
