"""Sampling text from a language model, token by token, with a key-value cache.

Each step feeds the newest token of every row, cuts the distribution down as asked
(temperature, top-k, top-p) and draws the next one. The draws come from a random key of
their own, so that sampling in the middle of a training run never changes that run.

Left out on purpose: padding. All prompts of a batch have the same length.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
import itertools
import math
import random
from typing import Any, Literal, TypeAlias, cast, overload

from lmxlab.core.modes import evaluation_mode
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

Prompts: TypeAlias = mx.array | npt.NDArray[Any] | Sequence[Sequence[int]]
LogProbsOf: TypeAlias = Literal["model", "sampler"]
Model: TypeAlias = Callable[..., tuple[mx.array, Any]]


@overload
def generate(
    model: nn.Module,
    prompts: Prompts,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    seed: int | None = None,
    key: mx.array | None = None,
    return_log_probs: Literal[False] = False,
    log_probs_of: LogProbsOf = "model",
) -> mx.array: ...


@overload
def generate(
    model: nn.Module,
    prompts: Prompts,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    seed: int | None = None,
    key: mx.array | None = None,
    return_log_probs: Literal[True],
    log_probs_of: LogProbsOf = "model",
) -> tuple[mx.array, mx.array]: ...


def generate(
    model: nn.Module,
    prompts: Prompts,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    seed: int | None = None,
    key: mx.array | None = None,
    return_log_probs: bool = False,
    log_probs_of: LogProbsOf = "model",
) -> mx.array | tuple[mx.array, mx.array]:
    """Continue prompts with sampled tokens.

    Args:
        model: Called as ``model(tokens, cache=...)``, gives ``(logits, cache)``. It is
            in eval mode meanwhile.
        prompts: Token IDs (B, P), all prompts of one length.
        max_new_tokens: Number n of tokens to add.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Draw from the k likeliest tokens only.
        top_p: Draw from the likeliest tokens only, as few as reach this probability
            (Holtzman et al. 2020, arXiv:1904.09751).
        stop_token: A row that has drawn it is filled with it from there on.
        seed: Number that fixes the draws; None draws differently each time.
        key: Random key that fixes the draws, instead of a seed.
        return_log_probs: Whether to return log-probabilities as well.
        log_probs_of: Whose: "model" is the distribution before temperature, top-k and
            top-p, "sampler" the one after them, from which the token was drawn.

    Returns:
        Token IDs (B, P + n), prompts included. With ``return_log_probs`` also the
        log-probability (B, n) of each new token, in nats. It is 0 where a stopped row
        is only filled up.

    Raises:
        TypeError: If the prompts are not integers.
        ValueError: If the prompts are empty or not rectangular, or an option is out of
            range, or both a seed and a key are given.

    Example:
        >>> from lmxlab.core import ModelConfig
        >>> from lmxlab.models.base import LanguageModel
        >>> model = LanguageModel(ModelConfig(vocab_size=47))
        >>> generate(model, mx.array([[1, 2], [3, 4]]), 5, seed=0).shape
        (2, 7)
    """
    if log_probs_of not in ("model", "sampler"):
        raise ValueError(
            f"log_probs_of must be 'model' or 'sampler', got {log_probs_of!r}"
        )
    prompts = _as_tokens(prompts)
    columns, log_probs = [prompts], [mx.zeros((prompts.shape[0], 0))]
    steps = _sample(
        model,
        prompts,
        max_new_tokens,
        _Sampler(temperature, top_k, top_p),
        stop_token,
        _key(seed, key),
        log_probs_of,
        ahead=1,
    )
    with evaluation_mode(model):
        for token, log_prob in steps:
            columns.append(token[:, None])
            log_probs.append(log_prob[:, None])
    rest = (prompts.shape[0], max_new_tokens - (len(columns) - 1))
    if rest[1]:  # every row has stopped
        columns.append(mx.full(rest, stop_token or 0, dtype=prompts.dtype))
        log_probs.append(mx.zeros(rest))
    tokens = mx.concatenate(columns, axis=1)
    if return_log_probs:
        return tokens, mx.concatenate(log_probs, axis=1)
    return tokens


def stream_tokens(
    model: nn.Module,
    prompts: Prompts,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_token: int | None = None,
    seed: int | None = None,
    key: mx.array | None = None,
) -> Iterator[mx.array]:
    """Yield sampled tokens as they are drawn, to show text while it grows.

    The tokens are those of :func:`generate` with the same arguments, except that the
    stream ends once every row has stopped. The model is in eval mode only while a token
    is computed: it may be trained between two of them.

    Args:
        model: Called as ``model(tokens, cache=...)``, gives ``(logits, cache)``.
        prompts: Token IDs (B, P), all prompts of one length.
        max_new_tokens: Number of tokens to draw for each row, at the most.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Draw from the k likeliest tokens only.
        top_p: Draw from the fewest likeliest tokens that reach this probability.
        stop_token: A row that has drawn it is filled with it from there on.
        seed: Number that fixes the draws; None draws differently each time.
        key: Random key that fixes the draws, instead of a seed.

    Returns:
        An iterator over token IDs (B,), one array per step.

    Raises:
        TypeError: If the prompts are not integers: at the call, not the first token.
        ValueError: If :func:`generate` would raise one: at the call as well.

    Example:
        >>> from lmxlab.core import ModelConfig
        >>> from lmxlab.models.base import LanguageModel
        >>> model = LanguageModel(ModelConfig(vocab_size=47))
        >>> [token.shape for token in stream_tokens(model, [[1, 2]], 2)]
        [(1,), (1,)]
    """
    steps = _sample(
        _evaluating(model),
        _as_tokens(prompts),
        max_new_tokens,
        _Sampler(temperature, top_k, top_p),
        stop_token,
        _key(seed, key),
    )
    return (token for token, _ in steps)


class _Sampler:
    """Draws from logits, after temperature, top-k and top-p."""

    def __init__(
        self, temperature: float, top_k: int | None, top_p: float | None
    ) -> None:
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature must be 0 or more, got {temperature}")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be 1 or more, got {top_k}")
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {top_p}")
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p

    def shaped(self, logits: mx.array) -> mx.array:
        """Logits (B, V) of the distribution to draw from."""
        if self.temperature == 0:
            best = mx.argmax(logits, axis=-1, keepdims=True)
            return mx.where(mx.arange(logits.shape[-1]) == best, 0.0, -math.inf)
        logits = logits / self.temperature
        if self.top_k is not None or self.top_p is not None:
            logits = self._cut(logits)
        return logits

    def draw(self, shaped: mx.array, key: mx.array) -> mx.array:
        """Draw one token (B,) for each row of shaped logits (B, V)."""
        if self.temperature == 0:
            return mx.argmax(shaped, axis=-1)
        return mx.random.categorical(shaped, key=key)

    def _cut(self, logits: mx.array) -> mx.array:
        """Set the logits outside the top k and the top p to -infinity."""
        # Ranks and not thresholds: of equal logits no more than k may stay.
        order = mx.argsort(-logits, axis=-1)
        ranked = mx.take_along_axis(logits, order, axis=-1)
        keep = mx.ones(ranked.shape, dtype=mx.bool_)
        if self.top_k is not None:
            keep = mx.broadcast_to(mx.arange(ranked.shape[-1]) < self.top_k, keep.shape)
        if self.top_p is not None:
            probs = mx.softmax(mx.where(keep, ranked, -math.inf), axis=-1, precise=True)
            before = mx.cumsum(probs, axis=-1, inclusive=False)
            keep = keep & (before < self.top_p)
        kept = mx.where(keep, ranked, -math.inf)
        return mx.put_along_axis(mx.zeros_like(logits), order, kept, axis=-1)


def _evaluating(model: nn.Module) -> Model:
    """Return the model as a function that is in eval mode only while it is called."""

    def call(tokens: mx.array, cache: Any) -> tuple[mx.array, Any]:
        with evaluation_mode(model):
            output: tuple[mx.array, Any] = model(tokens, cache=cache)
        return output

    return call


def _sample(
    model: Model,
    tokens: mx.array,
    max_new_tokens: int,
    sampler: _Sampler,
    stop_token: int | None,
    key: mx.array,
    log_probs_of: LogProbsOf = "model",
    ahead: int = 0,
) -> Iterator[tuple[mx.array, mx.array]]:
    """Check the count, then return the iterator over (token, log-probability).

    ``ahead`` steps are queued while the caller still has one to look at.
    """
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be 0 or more, got {max_new_tokens}")
    steps = _steps(
        model, tokens, max_new_tokens, sampler, stop_token, key, log_probs_of
    )
    return _read(steps, ahead)


def _steps(
    model: Model,
    tokens: mx.array,
    max_new_tokens: int,
    sampler: _Sampler,
    stop_token: int | None,
    key: mx.array,
    log_probs_of: LogProbsOf,
) -> Iterator[tuple[mx.array, mx.array, mx.array]]:
    """Queue step after step, without waiting: token, log-probability, all stopped."""
    cache: Any = None
    stopped = mx.zeros(tokens.shape[:1], dtype=mx.bool_)
    token = tokens
    for _ in range(max_new_tokens):
        key, draw = mx.random.split(key)
        logits, cache = model(token, cache=cache)
        logits = logits[:, -1].astype(mx.float32)
        shaped = sampler.shaped(logits)
        drawn = sampler.draw(shaped, draw)
        source = logits if log_probs_of == "model" else shaped
        log_prob = mx.take_along_axis(source, drawn[:, None], axis=-1)[:, 0]
        log_prob = log_prob - mx.logsumexp(source, axis=-1)
        if stop_token is not None:
            drawn = mx.where(stopped, stop_token, drawn)
            log_prob = mx.where(stopped, 0.0, log_prob)
            stopped = stopped | (drawn == stop_token)
        drawn, ended = drawn.astype(tokens.dtype), stopped.all()
        mx.async_eval(drawn, log_prob, ended, cache)
        yield drawn, log_prob, ended
        token = drawn[:, None]


def _read(
    steps: Iterator[tuple[mx.array, mx.array, mx.array]], ahead: int
) -> Iterator[tuple[mx.array, mx.array]]:
    """Wait for each step in turn, until every row has stopped."""
    queue: deque[tuple[mx.array, mx.array, mx.array]] = deque()
    while True:
        queue.extend(itertools.islice(steps, ahead + 1 - len(queue)))
        if not queue:
            return
        drawn, log_prob, ended = queue.popleft()
        mx.eval(drawn, log_prob, ended)
        yield drawn, log_prob
        if ended.item():
            return


def _as_tokens(prompts: Prompts) -> mx.array:
    rectangle = isinstance(prompts, (mx.array, np.ndarray))
    tokens = mx.array(cast(Any, prompts) if rectangle else list(prompts))
    if tokens.ndim != 2 or 0 in tokens.shape:
        raise ValueError(
            "prompts must have shape (batch, length), neither of them 0, "
            f"got {tokens.shape}"
        )
    if not mx.issubdtype(tokens.dtype, mx.integer):
        raise TypeError(f"prompts must be integers, got {tokens.dtype}")
    return tokens


def _key(seed: int | None, key: mx.array | None) -> mx.array:
    if key is not None:
        if seed is not None:
            raise ValueError("give a seed or a key, not both")
        return key
    # Python's generator and not MLX's: the global state of the latter is training's.
    fresh = random.SystemRandom().getrandbits(63)
    return mx.random.key(fresh if seed is None else seed)
