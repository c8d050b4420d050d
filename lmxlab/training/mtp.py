"""Multi-token prediction: extra heads that look further ahead than the next token.

With inputs x and targets y (y[i] = x[i + 1]) of length T and the hidden states h[0] of
the base model, depth k = 1 .. D works on the positions i = 0 .. T - k - 1:

    u[k][i] = W[k] concat(RMSNorm(h[k - 1][i]), RMSNorm(Emb(y[i + k - 1])))
    h[k]    = norm(CausalBlock[k](u[k]))
    loss[k] = mean over i of -log softmax(Head(h[k][i]))[y[i + k]]
    total   = main_loss + mtp_weight * mean over k of loss[k]

The base model predicts y[i] from x[0] .. x[i]. Depth 1 is told y[i] as well and
predicts y[i + 1], depth 2 is told y[i + 1] and predicts y[i + 2]: each depth keeps the
whole causal chain and drops one position more. Embedding and output head are those of
the base model (DeepSeek-V3, arXiv:2412.19437, section 2.2; parallel heads without the
chain: Gloeckle et al. 2024, arXiv:2404.19737).

For inference the heads are dropped, or draft for :mod:`lmxlab.training.speculative`.
Left out: heads that share their block, and a head that is told several tokens at once.
"""

from typing import Any

from lmxlab.core.attention import KVCache
from lmxlab.core.block import Block, make_norm
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training.loss import Metrics, in_range, target_log_probs
import mlx.core as mx
import mlx.nn as nn


class MTPHead(nn.Module):
    """One depth: hidden states and the token after each, to the next hidden states.

        h[k] = norm(CausalBlock(W concat(RMSNorm(h[k - 1]), RMSNorm(emb))))

    The norm at the end is the head's own. The paper's equations leave it out, but
    ``LanguageModel`` hands out its hidden states *after* its final norm and
    ``to_logits`` expects them so; the released DeepSeek-V3 has one in each head too.

    The block counts its positions from 0, whatever the depth: rotary positions turn by
    distances only, and absolute ones are in the hidden states already.

    Args:
        config: What the block is made of.

    Example:
        >>> head = MTPHead(BlockConfig(d_model=32))
        >>> head(mx.zeros((2, 5, 32)), mx.zeros((2, 5, 32))).shape
        (2, 5, 32)
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.hidden_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.token_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.proj = nn.Linear(2 * config.d_model, config.d_model, bias=False)
        self.block = Block(config)
        self.final_norm = make_norm(config)

    def __call__(
        self, h: mx.array, prev_embed: mx.array, mask: mx.array | None = None
    ) -> mx.array:
        """Look one token further.

        Args:
            h: Hidden states h[k - 1] of the depth before, (B, T, d_model).
            prev_embed: Embedding of the last token that this depth is told, the one
                that the depth before predicts, (B, T, d_model).
            mask: Additive attention mask that broadcasts to (B, 1, T, T). It replaces
                the causal one, which None stands for.

        Returns:
            Hidden states h[k] (B, T, d_model), ready for ``to_logits``.
        """
        return self.extend(h, prev_embed, mask)[0]

    def extend(
        self,
        h: mx.array,
        prev_embed: mx.array,
        mask: mx.array | None = None,
        cache: KVCache | None = None,
    ) -> tuple[mx.array, KVCache]:
        """Look one token further from T new positions after S earlier ones.

        Args:
            h: Hidden states h[k - 1] of the depth before, (B, T, d_model).
            prev_embed: Embedding of the last token that this depth is told, the one
                that the depth before predicts, (B, T, d_model).
            mask: Additive attention mask that broadcasts to (B, 1, T, S + T). It
                replaces the causal one, which None stands for.
            cache: Keys and values of the S earlier positions; None if S = 0.

        Returns:
            Hidden states h[k] (B, T, d_model), and the cache of all S + T positions.

        Example:
            >>> head, x = MTPHead(BlockConfig(d_model=32)), mx.zeros((2, 5, 32))
            >>> _, cache = head.extend(x, x)
            >>> _, cache = head.extend(x[:, :1], x[:, :1], cache=cache)
            >>> cache[0].shape[2]
            6
        """
        pair = [self.hidden_norm(h), self.token_norm(prev_embed)]
        mixed = self.proj(mx.concatenate(pair, axis=-1))
        mixed, cache = self.block(mixed, mask, cache)
        return self.final_norm(mixed), cache


class MultiTokenPrediction(nn.Module):
    """A language model with ``n_predict`` extra heads, and the loss of all of them.

    The base model's weights are in it once, under ``model``; the heads read the same
    embedding and output head, which so get gradients from every depth.

    Args:
        model: The base model. It is trained in place, and can be used alone at any
            time.
        n_predict: Number D of *extra* depths, at least 1: with 2 the model is trained
            on three tokens ahead of each position.
        mtp_weight: Weight of the mean loss of the depths. An array of shape () is no
            parameter: nothing trains it. For a live slider see :func:`mtp_loss`.
        block_config: What the heads' blocks are made of; None takes the base model's.

    Attributes:
        model: The base model.
        heads: One :class:`MTPHead` for each depth.

    Raises:
        TypeError: If the model is no ``LanguageModel`` or ``n_predict`` no integer.
        ValueError: If ``n_predict`` is below 1, the weight negative or not finite, or
            the heads' width not that of the model.

    Example:
        >>> base = LanguageModel(ModelConfig(vocab_size=47))
        >>> mtp = MultiTokenPrediction(base, n_predict=2)
        >>> tokens = mx.array([[1, 2, 3, 4, 5, 6]])
        >>> logits, losses = mtp(tokens[:, :-1], tokens[:, 1:])
        >>> logits.shape, sorted(losses)
        ((1, 5, 47), ['depth_1', 'depth_2', 'main_loss', 'mtp_loss', 'total_loss'])
    """

    def __init__(
        self,
        model: LanguageModel,
        n_predict: int = 2,
        mtp_weight: float | mx.array = 0.3,
        block_config: BlockConfig | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, LanguageModel):
            raise TypeError(
                f"model must be a LanguageModel, got {type(model).__name__}: the heads "
                "need its hidden states, its embedding and its output head"
            )
        if isinstance(n_predict, bool) or not isinstance(n_predict, int):
            raise TypeError(f"n_predict must be an integer, got {n_predict!r}")
        if n_predict < 1:
            raise ValueError(
                f"n_predict must be at least 1, got {n_predict}; without extra heads "
                "train the model itself, with next_token_loss"
            )
        in_range("mtp_weight", mtp_weight, 0)
        block = model.config.block if block_config is None else block_config
        if block.d_model != model.config.block.d_model:
            raise ValueError(
                f"block_config.d_model must be {model.config.block.d_model}, as in the "
                f"model whose hidden states the heads read, got {block.d_model}"
            )
        self.model = model
        self.heads = [MTPHead(block) for _ in range(n_predict)]
        # With the underscore nn.Module does not take an array for a parameter.
        self._mtp_weight = mtp_weight

    @property
    def config(self) -> ModelConfig:
        """The base model's config; the trainer checks token IDs against it."""
        return self.model.config

    @property
    def mtp_weight(self) -> float | mx.array:
        """Weight of the mean loss of the depths; fixed once built, see `mtp_loss`."""
        return self._mtp_weight

    def __call__(
        self,
        x: mx.array,
        targets: mx.array,
        mask: mx.array | None = None,
        *,
        mtp_weight: float | mx.array | None = None,
    ) -> tuple[mx.array, Metrics]:
        """Predict the next token and the D after it.

        Args:
            x: Input token IDs, shape (B, T), T greater than D.
            targets: The same text one position later, shape (B, T).
            mask: 1 where a target counts and 0 where it is padding, shape (B, T). Depth
                k predicts ``targets[:, k:]`` and counts by ``mask[:, k:]``.
            mtp_weight: Instead of the module's own, e.g. an array that a slider moves.

        Returns:
            Logits (B, T, V) of the base model, and scalar losses in nats per token:
            ``total_loss``, ``main_loss`` over T targets a row, ``depth_1`` to
            ``depth_D`` over T - k targets a row, and ``mtp_loss``, the mean of the
            depths. A loss all of whose targets are masked is 0.

        Raises:
            ValueError: If T is not greater than D, the shapes of x, targets and mask
                differ, or the weight is out of range.
        """
        weight = self._mtp_weight if mtp_weight is None else mtp_weight
        in_range("mtp_weight", weight, 0)
        _check_shapes(x, targets, mask, len(self.heads))
        logits, _, h = self.model(x, return_hidden=True)
        losses = {"main_loss": _mean_nats(logits, targets, mask)}
        for k, head in enumerate(self.heads, start=1):
            h = head(h[:, :-1], self.model.embed(targets[:, k - 1 : -1]))
            losses[f"depth_{k}"] = _mean_nats(
                self.model.to_logits(h),
                targets[:, k:],
                None if mask is None else mask[:, k:],
            )
        depths = [losses[f"depth_{k}"] for k in range(1, len(self.heads) + 1)]
        losses["mtp_loss"] = sum(depths[1:], depths[0]) / len(depths)
        losses["total_loss"] = losses["main_loss"] + weight * losses["mtp_loss"]
        return logits, losses


def mtp_loss(
    model: MultiTokenPrediction,
    tokens: mx.array,
    targets: mx.array,
    mask: mx.array | None = None,
    *,
    mtp_weight: float | mx.array | None = None,
) -> tuple[mx.array, Metrics]:
    """Total loss of a model with extra heads, for the trainer.

    A slider moves the weight of a running model through the trainer's live arrays::

        live = {"mtp_weight": mx.array(0.3)}
        loss_fn = lambda *args: mtp_loss(*args, mtp_weight=live["mtp_weight"])
        trainer = Trainer(mtp, config, loss_fn=loss_fn, live=live)

    With gradient accumulation micro-batches are weighted by the targets of the main
    loss. That is exact for the main loss; for the depths too when all micro-batches are
    unmasked and of one length, and else nearly so.

    Args:
        model: The base model and its heads.
        tokens: Input token IDs, shape (B, T).
        targets: The same text one position later, shape (B, T).
        mask: 1 where a target counts and 0 where it is padding, shape (B, T).
        mtp_weight: Weight of the mean loss of the depths; None takes the model's.

    Returns:
        The total loss, shape (), and the metrics ``main_loss``, ``mtp_loss``,
        ``depth_1`` to ``depth_D`` (nats per token) and ``tokens``, the number of
        targets that the main loss is a mean over.

    Raises:
        ValueError: If rows are not longer than D tokens, the shapes of tokens, targets
            and mask differ, or the weight is out of range.

    Example:
        >>> base = LanguageModel(ModelConfig(vocab_size=47))
        >>> mtp = MultiTokenPrediction(base, n_predict=1, mtp_weight=0.0)
        >>> tokens = mx.array([[1, 2, 3, 4]])
        >>> loss, metrics = mtp_loss(mtp, tokens[:, :-1], tokens[:, 1:])
        >>> loss.item() == metrics["main_loss"].item(), metrics["tokens"].item()
        (True, 3.0)
    """
    _, losses = model(tokens, targets, mask, mtp_weight=mtp_weight)
    total = losses.pop("total_loss")
    count = mx.array(float(targets.size)) if mask is None else _weights(mask).sum()
    return total, {**losses, "tokens": count}


def _mean_nats(logits: mx.array, targets: mx.array, mask: mx.array | None) -> mx.array:
    if logits.dtype != mx.float64:
        logits = logits.astype(mx.float32)
    nats = -target_log_probs(logits, targets)
    if mask is None:
        return nats.mean()
    weight = _weights(mask)
    return (nats * weight).sum() / mx.maximum(weight.sum(), 1)


def _weights(mask: mx.array) -> mx.array:
    return mask if mask.dtype == mx.float64 else mask.astype(mx.float32)


def _check_shapes(x: Any, targets: Any, mask: Any, depths: int) -> None:
    for name, array in (("targets", targets), ("mask", mask)):
        if array is not None and array.shape != x.shape:
            raise ValueError(
                f"{name} must have the shape {x.shape} of the input, got {array.shape}"
            )
    if x.ndim == 2 and x.shape[1] <= depths:
        raise ValueError(
            f"rows of {x.shape[1]} tokens are too short for n_predict={depths}: depth "
            f"k leaves T - k positions; pass rows of at least {depths + 1}, or fewer "
            "depths"
        )
