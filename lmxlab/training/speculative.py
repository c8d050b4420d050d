"""Self-speculative decoding: the heads draft, the base model checks, nothing changes.

Greedy decoding runs the base model once for each new token. Here each pass settles one
token or more (Leviathan et al. 2022, arXiv:2211.17192, at temperature 0; heads of the
model as the draft: DeepSeek-V3, arXiv:2412.19437, section 5.4.3):

    draft    head 1 .. head D guess the D tokens after the last settled one
    check    one pass of the base model over that token and the guesses gives its own
             choice after each of them
    settle   guesses are kept while they equal the choices; the first choice that no
             guess foresaw comes on top, free of charge

A pass that keeps a guesses so settles a + 1 tokens, each the base model's own choice.
What the draft is worth only decides how many passes are needed.

Base model and heads have key-value caches, cut back to what was settled. Drafting costs
a block for each depth besides the pass; on a tiny model, where each operation costs
about the same however small, fewer passes need not mean less time.

Left out on purpose: sampling (it needs an acceptance rule of its own) and rows decoded
together: each keeps another number of guesses, so they go one after the other.
"""

from collections.abc import Iterator, Sequence
import math
from typing import NamedTuple, cast

from lmxlab.core.attention import KVCache
from lmxlab.core.modes import evaluation_mode
from lmxlab.models.generate import generate
from lmxlab.training.callbacks import Callback
from lmxlab.training.mtp import MultiTokenPrediction
from lmxlab.training.record import Record
import mlx.core as mx


class SpeculativeResult(NamedTuple):
    """What was written, and what it took.

    Example:
        >>> result = SpeculativeResult(mx.zeros((1, 9)), 4, [3, 3], [3, 2])
        >>> result.acceptance, result.tokens_per_forward
        ([1.0, 0.6666666666666666], 2.25)
    """

    tokens: mx.array
    """Token IDs (B, P + n), prompts included."""
    forwards: int
    """Passes of the base model, all rows together, those over the prompts included.

    Plain greedy decoding of rows one by one needs n a row, or up to the stop token.
    """
    drafted: list[int]
    """For each depth, how many of its guesses were checked."""
    accepted: list[int]
    """For each depth, how many of them were kept.

    A guess is lost with the one before it, so this falls with depth.
    """

    @property
    def acceptance(self) -> list[float]:
        """Share of each depth's guesses that were kept; nan where there were none."""
        pairs = zip(self.accepted, self.drafted, strict=True)
        return [kept / made if made else math.nan for kept, made in pairs]

    @property
    def tokens_per_forward(self) -> float:
        """Tokens that a pass settles in the mean, 1 and the guesses it kept."""
        settled = self.forwards + sum(self.accepted)
        return settled / self.forwards if self.forwards else math.nan


def speculative_generate(
    mtp: MultiTokenPrediction,
    prompts: mx.array | Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    stop_token: int | None = None,
) -> SpeculativeResult:
    """Continue prompts greedily, in fewer passes of the base model.

    The tokens are those of ``generate(mtp.model, prompts, max_new_tokens,
    temperature=0, stop_token=stop_token)``, however bad the heads. One reservation: a
    pass over several tokens rounds differently from one over a single token, in the
    last bits of the logits. Two tokens that tie within those bits may change places;
    in float32 that is about 1e-6, in bfloat16 ties are common.

    Args:
        mtp: The base model and its heads, in evaluation mode meanwhile.
        prompts: Token IDs (B, P), all prompts of one length.
        max_new_tokens: Number n of tokens to add.
        stop_token: A row that has written it is filled with it from there on.

    Returns:
        The tokens, the number of passes, and the guesses made and kept at each depth.

    Raises:
        TypeError: If the prompts are not integers.
        ValueError: If the prompts are empty or not rectangular, or ``max_new_tokens``
            is negative.

    Example:
        >>> from lmxlab.core import ModelConfig
        >>> from lmxlab.models.base import LanguageModel
        >>> base = LanguageModel(ModelConfig(vocab_size=47))
        >>> mtp = MultiTokenPrediction(base, n_predict=2)
        >>> result = speculative_generate(mtp, [[1, 2], [3, 4]], 5)
        >>> plain = generate(base, [[1, 2], [3, 4]], 5, temperature=0)
        >>> bool(mx.array_equal(result.tokens, plain))
        True
    """
    tokens = generate(mtp.model, prompts, 0)  # checks them, as it would itself
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be 0 or more, got {max_new_tokens}")
    forwards, rows = 0, []
    drafted, accepted = [0] * len(mtp.heads), [0] * len(mtp.heads)
    with evaluation_mode(mtp):
        for prompt in tokens:
            row: list[int] = []
            for settled, guesses, kept in _passes(
                mtp, _ids(prompt), max_new_tokens, stop_token
            ):
                row += settled
                forwards += 1
                for depth in range(guesses):
                    drafted[depth] += 1
                    accepted[depth] += depth < kept
            rows.append(row + row[-1:] * (max_new_tokens - len(row)))  # if it stopped
    added = mx.array(rows, dtype=tokens.dtype).reshape(len(rows), max_new_tokens)
    tokens = mx.concatenate([tokens, added], axis=1)
    return SpeculativeResult(tokens, forwards, drafted, accepted)


class DraftMeter(Callback):
    """Measures at each evaluation of a run what its heads are worth as a draft.

    The evaluation's record gets ``eval_forwards``, the passes of the base model that a
    text takes in the mean, and ``eval_acceptance_1`` to ``eval_acceptance_D``, the
    share of each depth's guesses that were kept. A depth that guessed nothing, as in
    texts of one token, has no share.

    Args:
        mtp: The model that is trained.
        prompts: As for :func:`speculative_generate`; a few will do.
        new_tokens: Length of a text, without its prompt.

    Raises:
        ValueError: If ``new_tokens`` is below 1.

    Example:
        >>> from lmxlab.core import ModelConfig
        >>> from lmxlab.models.base import LanguageModel
        >>> mtp = MultiTokenPrediction(LanguageModel(ModelConfig(vocab_size=47)), 1)
        >>> record = {"eval_loss": 4.1}
        >>> DraftMeter(mtp, [[1]], new_tokens=4).on_eval_end(50, record)
        >>> sorted(record)
        ['eval_acceptance_1', 'eval_forwards', 'eval_loss']
    """

    def __init__(
        self,
        mtp: MultiTokenPrediction,
        prompts: mx.array | Sequence[Sequence[int]],
        new_tokens: int,
    ) -> None:
        """Nothing is measured yet."""
        if new_tokens < 1:
            raise ValueError(f"new_tokens must be at least 1, got {new_tokens}")
        self.mtp = mtp
        self.prompts = prompts
        self.new_tokens = new_tokens

    def on_eval_end(self, step: int, metrics: Record) -> None:
        """Write the texts, and add to the record what it took.

        Args:
            step: Number of the update; not looked at.
            metrics: The record of the evaluation, changed in place.
        """
        result = speculative_generate(self.mtp, self.prompts, self.new_tokens)
        metrics["eval_forwards"] = result.forwards / result.tokens.shape[0]
        for depth, share in enumerate(result.acceptance, start=1):
            if not math.isnan(share):
                metrics[f"eval_acceptance_{depth}"] = share


def _passes(
    mtp: MultiTokenPrediction,
    prompt: list[int],
    max_new_tokens: int,
    stop_token: int | None,
) -> Iterator[tuple[list[int], int, int]]:
    """Run the base model until the text is whole.

    Yields:
        For each pass the tokens that it settled, the guesses that it checked, and how
        many of them it kept.
    """
    text, end = prompt, len(prompt) + max_new_tokens
    cache: list[KVCache] | None = None
    unread, draft = mx.array(prompt), _Draft(mtp)
    guesses = unread[:0]
    while len(text) < end:
        logits, cache, hidden = mtp.model(unread[None], cache, return_hidden=True)
        choices = _greedy(logits[0, -1 - guesses.size :])
        mx.eval(choices, guesses, hidden, cache)

        wanted, guessed = _ids(choices), _until(stop_token, _ids(guesses))
        kept = 0
        while kept < len(guessed) and guessed[kept] == wanted[kept]:
            kept += 1
        settled = _until(stop_token, wanted[: kept + 1])
        yield settled, len(guessed), kept
        if settled[-1] == stop_token:
            return

        # What the pass read: the text before, and those guesses that were kept.
        lost = guesses.size - kept
        cache = [_cut(layer, len(text) + kept) for layer in cache]
        hidden = hidden[:, : hidden.shape[1] - lost]
        text = text + settled
        # A pass settles one token by itself, so the last one needs no guess.
        guesses = draft(hidden, text, min(len(mtp.heads), end - len(text) - 1))
        unread = mx.concatenate([mx.array(text[-1:]), guesses])


class _Draft:
    """The chain of heads, with what they know of the text so far.

    A cache entry of head k at position i was made from token i + k. It stays when that
    token is settled; the last D - 1 positions are computed again, as guesses.
    """

    def __init__(self, mtp: MultiTokenPrediction) -> None:
        self.mtp = mtp
        self.caches: list[KVCache | None] = [None] * len(mtp.heads)
        self.hidden: mx.array | None = None  # of the base, where the caches end

    def __call__(self, hidden: mx.array, text: list[int], count: int) -> mx.array:
        """Guess the ``count`` tokens after the text.

        Args:
            hidden: The base model's hidden states at positions not given before, up to
                the last but one of the text, (1, N, d_model).
            text: All settled tokens; the base model has read all but the last.
            count: At most one for each head, and never more than the time before.

        Returns:
            Guesses, shape (count,), not evaluated yet.
        """
        model = self.mtp.model
        if self.hidden is not None:
            hidden = mx.concatenate([self.hidden, hidden], axis=1)
        read = len(text) - 1
        start, keep = read - hidden.shape[1], max(0, read - len(self.caches) + 1)
        h, tokens = hidden, mx.array(text)
        for k, head in enumerate(self.mtp.heads[:count], start=1):
            told = model.embed(tokens[None, start + k :])
            h, cache = head.extend(h, told, cache=self.caches[k - 1])
            self.caches[k - 1] = _cut(cache, keep)
            guess = _greedy(model.to_logits(h[0, -1:]))
            tokens = mx.concatenate([tokens, guess])
        self.hidden = hidden[:, keep - start :]
        return tokens[len(text) :]


def _greedy(logits: mx.array) -> mx.array:
    return mx.argmax(logits.astype(mx.float32), axis=-1).astype(mx.int32)


def _ids(tokens: mx.array) -> list[int]:
    return cast(list[int], tokens.tolist())


def _cut(cache: KVCache, length: int) -> KVCache:
    return cache[0][:, :, :length], cache[1][:, :, :length]


def _until(stop_token: int | None, tokens: list[int]) -> list[int]:
    if stop_token is not None and stop_token in tokens:
        return tokens[: tokens.index(stop_token) + 1]
    return tokens
