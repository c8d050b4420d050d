"""Notebook 02: one update from k micro-batches, weighted rightly and wrongly."""

from collections.abc import Iterator
import gc
import itertools

from lmxlab.data import StoryWorld, pad_batch, story
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import target_log_probs
from lmxlab.training.memory import PeakMemory
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import numpy as np
from record import Position, Recording

from topics import column, small_model

WORLD, END = StoryWorld(), 0
ROWS, STEPS = 32, 120
STOP = story.SENTENCE_LENGTH - 1  # where the first story's full stop is the input


def documents(seed: list[int]) -> tuple[np.ndarray, ...]:
    """Draw documents of one story or three, by the toss of a coin."""
    rng = np.random.default_rng(seed)
    stories = rng.choice([1, 3], size=ROWS)
    rows = [np.append(story.sentences(count, rng), END) for count in stories]
    return pad_batch(rows, length=3 * story.SENTENCE_LENGTH)


def pieces(k: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield micro-batches, k to each batch, in the order in which they come."""
    for number in itertools.count():
        parts = (np.split(part, k) for part in documents([0, number]))
        yield from zip(*parts, strict=True)


def weighted(model, tokens, targets, mask):  # type: ignore[no-untyped-def]
    """Mean over tokens that says over how many: averages are weighted by it."""
    logits, _ = model(tokens)
    count = mask.sum()
    loss = -(target_log_probs(logits, targets) * mask).sum() / count
    p_end = mx.softmax(logits[:, STOP], axis=-1)[:, END].mean()
    return loss, {"tokens": count, "p_end": p_end}


def unweighted(*batch):  # type: ignore[no-untyped-def]
    """The same loss, which keeps its number of tokens to itself: a mean of means."""
    loss, metrics = weighted(*batch)
    return loss, {"p_end": metrics["p_end"]}


def make(k: int) -> Position:
    """Train with k micro-batches to an update, with both ways of averaging."""
    settings = {
        "grad_accumulation_steps": k,
        "learning_rate": 3e-3,
        "warmup_steps": STEPS // 4,
        "max_steps": STEPS,
    }
    chances = {}
    for label, loss_fn in {"by tokens": weighted, "mean of means": unweighted}.items():
        gc.collect()  # the run before must not be freed while this one is measured
        config, memory = TrainConfig(**settings, log_interval=0), PeakMemory()
        trainer = Trainer(small_model(), config, callbacks=[memory], loss_fn=loss_fn)
        history = trainer.train(pieces(k))
        del trainer
        chances[label] = column(history, "p_end")
    mib = max(record["peak_memory_mib"] for record in history)
    right, wrong = (p_end[1][-1] for p_end in chances.values())
    return Position(
        {"p_end": chances, "memory": {"peak": ([k], [mib])}},
        f"An update of {ROWS} documents needs {mib:.1f} MiB besides weights and "
        "moments. Weighted by tokens, the model ends a document after one story with "
        f"probability {right:.2f}; with a mean of means, {wrong:.2f}.",
        settings | {"documents in a batch": ROWS},
    )


RECORDING = Recording(
    title="Micro-batches: memory, and what a wrong average teaches",
    label="k (micro-batches to an update)",
    positions=[1, 2, 4, 8, 16, 32],
    first=2,
    axes={
        "p_end": {
            "x": "step",
            "y": "P(end after one story)",
            "references": {"the coin": 0.5},
            "limits": (0.0, 1.0),
        },
        "memory": {"y": "working memory (MiB)", "across": True, "scale": "log"},
    },
    make=make,
)
