"""Cross-entropy without the logits of a whole batch, for large vocabularies.

With 16 texts of 1,024 tokens and 50,257 different tokens the logits are 3.3 GB in
float32, and a step holds several arrays of that size. Here the head and the loss are
computed for some rows at a time, and the gradient of those rows at once:

    d loss / d logits = (softmax(logits) - onehot(target)) weight / sum of weights

so that nothing of the size of the logits is kept for the backward pass (as in Wijmans
et al. 2024, arXiv:2411.09009). Same loss and same gradients as
:func:`~lmxlab.training.loss.next_token_loss`, to rounding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from lmxlab.models.base import LanguageModel
from lmxlab.training.loss import Metrics
import mlx.core as mx

ALIGNMENT = 64  # an odd number of columns halves the speed of a GPU's matrix product


def chunked_next_token_loss(
    model: LanguageModel,
    tokens: mx.array,
    targets: mx.array,
    mask: mx.array | None = None,
    *,
    chunk_rows: int = 4096,
) -> tuple[mx.array, Metrics]:
    """Mean cross-entropy of the next token, a chunk of rows at a time.

    Args:
        model: A model whose head has no bias.
        tokens: Input token IDs, shape (B, T).
        targets: The same text one position later, shape (B, T).
        mask: 1 where a target counts and 0 where it is padding, shape (B, T).
        chunk_rows: Of the B x T rows, how many are computed together.

    Returns:
        The loss in nats per token, shape (), and the metric ``tokens``: how many
        targets it is a mean over. Only first derivatives are defined.

    Raises:
        ValueError: If ``chunk_rows`` is not positive.

    Example:
        >>> from lmxlab.core.config import ModelConfig
        >>> from lmxlab.training.loss import next_token_loss
        >>> model = LanguageModel(ModelConfig(vocab_size=47))
        >>> tokens = mx.array([[1, 2, 3, 4]])
        >>> whole, _ = next_token_loss(model, tokens, tokens)
        >>> parts, _ = chunked_next_token_loss(model, tokens, tokens, chunk_rows=3)
        >>> abs(whole.item() - parts.item()) < 1e-6
        True
    """
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows must be at least 1, got {chunk_rows}")
    hidden = model(tokens, return_hidden=True)[2]
    tied = model.config.tie_embeddings
    head = model.embed.weight if tied else model.head.weight
    rows = hidden.reshape(-1, hidden.shape[-1])
    weight = mx.ones(targets.shape) if mask is None else mask.astype(mx.float32)
    count = weight.sum()
    share = (weight / mx.maximum(count, 1)).reshape(-1)
    loss = _loss_of_rows(chunk_rows)(rows, head, targets.reshape(-1), share)[0]
    return loss, {"tokens": count}


def _loss_of_rows(chunk_rows: int) -> Callable[..., list[mx.array]]:
    """Return the loss whose outputs are its gradients too."""
    function: Any = mx.custom_function(partial(_loss_and_gradients, chunk_rows))

    def scaled(
        primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]
    ) -> tuple[mx.array, ...]:
        rows, head, targets, share = primals
        _, d_rows, d_head = outputs
        by = cotangents[0]
        return (
            d_rows * by.astype(rows.dtype),
            (d_head * by).astype(head.dtype),
            mx.zeros_like(targets),
            mx.zeros_like(share),
        )

    function.vjp(scaled)
    loss: Callable[..., list[mx.array]] = function
    return loss


def _loss_and_gradients(
    chunk_rows: int, rows: mx.array, head: mx.array, targets: mx.array, share: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    vocab = head.shape[0]
    missing = -vocab % ALIGNMENT
    wide = mx.pad(head, [(0, missing), (0, 0)])
    columns = mx.arange(vocab + missing)
    loss = mx.array(0.0)
    d_head = mx.zeros(wide.shape)
    d_rows = []
    for start in range(0, len(rows), chunk_rows):
        stop = start + chunk_rows
        chunk, target, weight = (a[start:stop] for a in (rows, targets, share))
        logits = chunk @ wide.T
        logits = mx.where(columns < vocab, logits.astype(mx.float32), -mx.inf)
        normalizer = mx.logsumexp(logits, axis=-1)
        chosen = mx.take_along_axis(logits, target[:, None], axis=-1).squeeze(-1)
        loss = loss + ((normalizer - chosen) * weight).sum()
        probabilities = mx.exp(logits - normalizer[:, None])
        wrong = probabilities - (columns == target[:, None])
        d_logits = (wrong * weight[:, None]).astype(rows.dtype)
        d_rows.append(d_logits @ wide)
        d_head = d_head + d_logits.T @ chunk
    return loss, mx.concatenate(d_rows), d_head[:vocab]
