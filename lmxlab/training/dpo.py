"""Direct preference optimization: learn from pairs, one text preferred to the other.

For a pair with the prompt x, the chosen completion y+ and the rejected y-, let

    r(y)  = beta (log pi(y|x) - log pi_ref(y|x))       the implicit reward of y
    Delta = (r(y+) - r(y-)) / beta                     the margin, in nats

with log pi(y|x) = sum_t m_t l_t, the log-probabilities of the *targets* that the mask
keeps. D is the same with means over those targets in place of sums. The loss is the
mean over pairs of one of

    sigmoid        (1 - eps) sp(-beta Delta) + eps sp(beta Delta)
    sigmoid_norm   the same with D for Delta: a longer text is not a stronger one
    ipo            (D - 1 / (2 beta))^2: a margin to aim at, not one to outgrow
    hinge          max(0, 1 - beta Delta)

where sp(z) = log(1 + e^z). With eps = 0 and the policy equal to its reference, sigmoid
is log 2. All look at the *difference* of two texts: both may become unlikely if only
the rejected one falls faster, and what they lose goes to texts that no one has judged.
``nll_weight`` adds the cross-entropy of the chosen completion, which holds it in place.

Targets: a row c of length L has L - 1 of them, and target j is c[j + 1], predicted from
c[: j + 1]. After a prompt of P tokens the completion's are P - 1 <= j < L - 1. The mask
is over targets, and the padding that it leaves out comes after the text.

Sources: Rafailov et al. 2023 (arXiv:2305.18290); IPO, Azar et al. (arXiv:2310.12036);
hinge, Zhao et al. (arXiv:2305.10425); label smoothing, Mitchell 2023, "A note on DPO
with noisy preferences"; NLL term, Pang et al. (arXiv:2404.19733).

Left out on purpose: drawing and judging fresh pairs during training, losses without a
reference, and prompts padded on the left.
"""

from typing import Literal, overload

from lmxlab.core.modes import evaluation_mode
from lmxlab.training.loss import Metrics, in_range, logits_of, target_log_probs
import mlx.core as mx
import mlx.nn as nn

LOSS_TYPES = ("sigmoid", "ipo", "hinge", "sigmoid_norm")

Knob = float | mx.array  # an array of shape () may be changed while training
PromptLengths = int | list[int] | mx.array
Pair = tuple[mx.array, mx.array]  # chosen, rejected
Maybe = mx.array | None


# fmt: off
@overload
def dpo_loss(
    model: nn.Module, ref_model: nn.Module | None, chosen: mx.array, rejected: mx.array,
    beta: Knob = 0.1, *, chosen_mask: Maybe = None, rejected_mask: Maybe = None,
    prompt_lengths: PromptLengths | None = None, ref_chosen_log_probs: Maybe = None,
    ref_rejected_log_probs: Maybe = None, loss_type: str = "sigmoid",
    label_smoothing: Knob = 0.0, nll_weight: Knob = 0.0,
    return_metrics: Literal[False] = False,
) -> mx.array: ...
@overload
def dpo_loss(
    model: nn.Module, ref_model: nn.Module | None, chosen: mx.array, rejected: mx.array,
    beta: Knob = 0.1, *, chosen_mask: Maybe = None, rejected_mask: Maybe = None,
    prompt_lengths: PromptLengths | None = None, ref_chosen_log_probs: Maybe = None,
    ref_rejected_log_probs: Maybe = None, loss_type: str = "sigmoid",
    label_smoothing: Knob = 0.0, nll_weight: Knob = 0.0, return_metrics: Literal[True],
) -> tuple[mx.array, Metrics]: ...
# fmt: on


def dpo_loss(
    model: nn.Module,
    ref_model: nn.Module | None,
    chosen: mx.array,
    rejected: mx.array,
    beta: Knob = 0.1,
    *,
    chosen_mask: mx.array | None = None,
    rejected_mask: mx.array | None = None,
    prompt_lengths: PromptLengths | None = None,
    ref_chosen_log_probs: mx.array | None = None,
    ref_rejected_log_probs: mx.array | None = None,
    loss_type: str = "sigmoid",
    label_smoothing: Knob = 0.0,
    nll_weight: Knob = 0.0,
    return_metrics: bool = False,
) -> mx.array | tuple[mx.array, Metrics]:
    """Mean preference loss over B pairs; the module says which.

    Without masks and prompt lengths every target counts; with both, those that both let
    through: masks are then for padding, lengths for the prompt. A text of which nothing
    counts has log-probability 0. A pair of two such texts has margin 0 and no gradient,
    and is still one of the B. Texts of one shape share a forward pass.

    Args:
        model: Maps tokens (B, T) to logits (B, T, V), or to a tuple that starts so.
        ref_model: The reference, often a ``copy.deepcopy`` of the policy from before
            this training. No gradient and no dropout. Not run, and may be None, if its
            log-probabilities are passed.
        chosen: Token IDs (B, Lc), prompt included.
        rejected: Token IDs (B, Lr), prompt included.
        beta: Greater than 0; how dear it is to leave the reference. It, label_smoothing
            and nll_weight may be arrays of shape (), to be changed while training.
        chosen_mask: 1 where a target counts, else 0, shape (B, Lc - 1).
        rejected_mask: The same for rejected, shape (B, Lr - 1).
        prompt_lengths: P in tokens, one for all or one per pair, shape (B,).
        ref_chosen_log_probs: Sums (B,) from :func:`reference_log_probs`.
        ref_rejected_log_probs: The same for rejected.
        loss_type: "sigmoid", "ipo", "hinge" or "sigmoid_norm".
        label_smoothing: The share eps of pairs taken to be swapped, in [0, 0.5); only
            in the two sigmoid losses.
        nll_weight: Weight of the chosen completion's cross-entropy; 0 is plain DPO.
        return_metrics: Whether to return metrics as well.

    Returns:
        The loss, shape (). With ``return_metrics`` also those of
        :func:`dpo_diagnostics` (of means per token in ipo and sigmoid_norm) and the
        cross-entropy ``nll`` in nats per token. All are means over pairs, ``nll`` of
        each pair's own mean: rows weight micro-batches.

    Raises:
        TypeError: If tokens or lengths are not integers, or a setting is not a number.
        ValueError: If shapes do not fit, a setting is out of range, the loss unknown,
            or neither a reference nor both its log-probabilities are given.

    Example:
        >>> model, reference = nn.Embedding(5, 5), nn.Embedding(5, 5)
        >>> _ = reference.update(model.parameters())
        >>> chosen, rejected = mx.array([[0, 1, 2]]), mx.array([[0, 1, 3]])
        >>> loss = dpo_loss(model, reference, chosen, rejected, prompt_lengths=2)
        >>> round(loss.item(), 4)  # ln 2: the policy is still its reference
        0.6931
    """
    _check_knobs(beta, loss_type, label_smoothing, nll_weight)
    pair = chosen, rejected
    masks = _masks(pair, (chosen_mask, rejected_mask), prompt_lengths)
    policy = _log_probs(model, pair, masks)
    kept = ref_chosen_log_probs, ref_rejected_log_probs
    reference = _reference(ref_model, pair, masks, kept)
    counts = [mx.maximum(mask.sum(axis=1), 1) for mask in masks]
    nll = (-policy[0] / counts[0]).mean()
    if loss_type in ("ipo", "sigmoid_norm"):
        policy = policy[0] / counts[0], policy[1] / counts[1]
        reference = reference[0] / counts[0], reference[1] / counts[1]

    margin = (policy[0] - reference[0]) - (policy[1] - reference[1])
    if loss_type == "ipo":
        losses = mx.square(margin - 1 / (2 * beta))
    elif loss_type == "hinge":
        losses = mx.maximum(0, 1 - beta * margin)
    else:
        right, wrong = _softplus(-beta * margin), _softplus(beta * margin)
        losses = (1 - label_smoothing) * right + label_smoothing * wrong
    loss = losses.mean() + nll_weight * nll
    if not return_metrics:
        return loss
    return loss, {**dpo_diagnostics(*policy, *reference, beta), "nll": nll}


def dpo_diagnostics(
    chosen_log_probs: mx.array,
    rejected_log_probs: mx.array,
    ref_chosen_log_probs: mx.array,
    ref_rejected_log_probs: mx.array,
    beta: Knob = 0.1,
) -> Metrics:
    """Say what the policy thinks of the pairs, each side of them separately.

    Accuracy and margin may rise all the while that ``chosen_log_prob`` falls.

    Args:
        chosen_log_probs: Log-probability of each chosen completion, shape (B,).
        rejected_log_probs: Log-probability of each rejected completion, shape (B,).
        ref_chosen_log_probs: Those of chosen under the reference, shape (B,).
        ref_rejected_log_probs: Those of rejected under the reference, shape (B,).
        beta: The scale of the rewards.

    Returns:
        Means over pairs, shape (): ``chosen_reward`` and ``rejected_reward``, that is
        beta (log pi - log pi_ref); ``reward_margin``, their difference; ``accuracy``,
        the share with a margin > 0; ``chosen_log_prob``, ``rejected_log_prob`` in nats.

    Example:
        >>> minus = lambda nats: mx.array([-float(nats)])
        >>> found = dpo_diagnostics(minus(6), minus(9), minus(5), minus(5), beta=0.5)
        >>> {name: value.item() for name, value in found.items()}  # both have fallen
        {'chosen_reward': -0.5, 'rejected_reward': -2.0, 'reward_margin': 1.5, \
'accuracy': 1.0, 'chosen_log_prob': -6.0, 'rejected_log_prob': -9.0}
    """
    chosen_reward = beta * (chosen_log_probs - ref_chosen_log_probs)
    rejected_reward = beta * (rejected_log_probs - ref_rejected_log_probs)
    margin = chosen_reward - rejected_reward
    return {
        "chosen_reward": chosen_reward.mean(),
        "rejected_reward": rejected_reward.mean(),
        "reward_margin": margin.mean(),
        "accuracy": (margin > 0).astype(margin.dtype).mean(),
        "chosen_log_prob": chosen_log_probs.mean(),
        "rejected_log_prob": rejected_log_probs.mean(),
    }


def reference_log_probs(
    ref_model: nn.Module,
    chosen: mx.array,
    rejected: mx.array,
    *,
    chosen_mask: mx.array | None = None,
    rejected_mask: mx.array | None = None,
    prompt_lengths: PromptLengths | None = None,
) -> tuple[mx.array, mx.array]:
    """Run the reference once, ahead of training.

    The reference never changes, so what it says of a pair can be kept with the pair and
    handed to :func:`dpo_loss` under the same masks; the model is then not needed.

    Args:
        ref_model: As in :func:`dpo_loss`; in evaluation mode meanwhile.
        chosen: As in :func:`dpo_loss`.
        rejected: As in :func:`dpo_loss`.
        chosen_mask: As in :func:`dpo_loss`.
        rejected_mask: As in :func:`dpo_loss`.
        prompt_lengths: As in :func:`dpo_loss`.

    Returns:
        Sums in nats of the chosen and of the rejected, each (B,), computed already.

    Raises:
        TypeError: As in :func:`dpo_loss`.
        ValueError: As in :func:`dpo_loss`.

    Example:
        >>> model, pair = nn.Embedding(5, 5), (mx.array([[0, 1]]), mx.array([[0, 2]]))
        >>> [sums.shape for sums in reference_log_probs(model, *pair)]
        [(1,), (1,)]
    """
    pair = chosen, rejected
    masks = _masks(pair, (chosen_mask, rejected_mask), prompt_lengths)
    log_probs = _reference(ref_model, pair, masks, (None, None))
    mx.eval(log_probs)
    return log_probs


def sequence_log_probs(
    model: nn.Module, tokens: mx.array, mask: mx.array | None = None
) -> mx.array:
    """Log-probability of each sequence: the sum over the targets that count.

    Args:
        model: Maps tokens (B, T) to logits (B, T, V), or to a tuple that starts so.
        tokens: Token IDs (B, L), L at least 2.
        mask: 1 where a target counts, else 0, shape (B, L - 1); all count without it.

    Returns:
        Nats, shape (B,). The first token has no target and no part in it.

    Raises:
        TypeError: If the tokens are not integers.
        ValueError: If a shape does not fit.

    Example:
        >>> uniform = lambda tokens: mx.zeros((*tokens.shape, 4))
        >>> tokens = mx.array([[3, 1, 2]])
        >>> sequence_log_probs(uniform, tokens)  # 2 targets, ln 4 each
        array([-2.77259], dtype=float32)
        >>> sequence_log_probs(uniform, tokens, mx.array([[0, 1]]))
        array([-1.38629], dtype=float32)
    """
    weight = _mask("tokens", tokens, mask, None)
    nats = target_log_probs(logits_of(model, tokens[:, :-1]), tokens[:, 1:])
    counted = mx.where(weight == 0, 0, nats)  # 0 * -inf would be nan
    return (counted * weight.astype(nats.dtype)).sum(axis=1)


def completion_mask(length: int, prompt_lengths: PromptLengths) -> mx.array:
    """Mark the targets that belong to the completion.

    Args:
        length: Tokens L in a row, prompt included.
        prompt_lengths: Tokens P of the prompt, one number, or one per row, shape (B,).
            A number that leaves no completion is an error. In an array, whose values a
            traced step does not know, it marks nothing.

    Returns:
        Float mask, 1 where P - 1 <= j < L - 1, shape (B, L - 1), or (1, L - 1).

    Raises:
        TypeError: If the prompt lengths are not integers.
        ValueError: If a single prompt length is not in [0, L - 1].

    Example:
        >>> completion_mask(5, [2, 4]).tolist()  # targets are tokens 1 to 4
        [[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
    """
    if isinstance(prompt_lengths, int) and not 0 <= prompt_lengths < length:
        raise ValueError(
            f"prompt_lengths={prompt_lengths} leaves no completion in rows of {length} "
            f"tokens; it must be in [0, {length - 1}]"
        )
    starts = mx.array(prompt_lengths)
    if not mx.issubdtype(starts.dtype, mx.integer):
        raise TypeError(f"prompt_lengths must be integers, got {starts.dtype}")
    tokens = mx.arange(1, length)  # target j is token j + 1
    return (tokens >= starts.reshape(-1, 1)).astype(mx.float32)


def _softplus(x: mx.array) -> mx.array:
    # log(1 + e^x) without overflow. Both branches have the slope 1/2 at 0, where
    # training starts; max(x, 0) + log1p(e^-|x|) would have none there.
    return mx.where(x > 0, x, 0) + mx.log1p(mx.exp(mx.where(x > 0, -x, x)))


def _log_probs(model: nn.Module, pair: Pair, masks: Pair) -> Pair:
    if pair[0].shape != pair[1].shape:
        chosen = sequence_log_probs(model, pair[0], masks[0])
        return chosen, sequence_log_probs(model, pair[1], masks[1])
    tokens, mask = mx.concatenate(list(pair)), mx.concatenate(list(masks))
    chosen, rejected = mx.split(sequence_log_probs(model, tokens, mask), 2)
    return chosen, rejected


def _reference(
    ref_model: nn.Module | None, pair: Pair, masks: Pair, kept: tuple[Maybe, Maybe]
) -> Pair:
    if kept[0] is not None and kept[1] is not None:
        log_probs, rows = (kept[0], kept[1]), (len(pair[0]),)
        if any(sums.shape != rows for sums in log_probs):
            raise ValueError(
                "ref_chosen_log_probs and ref_rejected_log_probs must be one sum per "
                f"pair, shape {rows}, got {kept[0].shape} and {kept[1].shape}"
            )
    elif ref_model is None or kept[0] is not kept[1]:
        raise ValueError(
            "the reference is incomplete: pass ref_model, or both ref_chosen_log_probs "
            "and ref_rejected_log_probs, which reference_log_probs computes"
        )
    else:
        with evaluation_mode(ref_model):
            log_probs = _log_probs(ref_model, pair, masks)
    return mx.stop_gradient(log_probs[0]), mx.stop_gradient(log_probs[1])


def _masks(
    pair: Pair, masks: tuple[Maybe, Maybe], prompt_lengths: PromptLengths | None
) -> Pair:
    chosen = _mask("chosen", pair[0], masks[0], prompt_lengths)
    rejected = _mask("rejected", pair[1], masks[1], prompt_lengths)
    if len(chosen) != len(rejected):
        raise ValueError(
            "chosen and rejected must have one row per pair, got shapes "
            f"{pair[0].shape} and {pair[1].shape}"
        )
    return chosen, rejected


def _mask(
    name: str, tokens: mx.array, mask: Maybe, prompt_lengths: PromptLengths | None
) -> mx.array:
    """Check one side, and return which of its targets count, (B, L - 1)."""
    if not isinstance(tokens, mx.array) or not mx.issubdtype(tokens.dtype, mx.integer):
        kind = getattr(tokens, "dtype", type(tokens).__name__)
        raise TypeError(f"{name} must be an mx.array of integers, got {kind}")
    if tokens.ndim != 2 or tokens.shape[0] < 1 or tokens.shape[1] < 2:
        raise ValueError(
            f"{name} must have shape (B, L) with B >= 1 and L >= 2, got {tokens.shape}"
        )
    rows, length = tokens.shape
    if mask is not None and mask.shape != (rows, length - 1):
        raise ValueError(
            f"the mask of {name} is over targets, one fewer than tokens: it must "
            f"have shape {(rows, length - 1)}, got {mask.shape}"
        )
    counts = mx.ones((rows, length - 1)) if mask is None else mask.astype(mx.float32)
    if prompt_lengths is None:
        return counts
    completion = completion_mask(length, prompt_lengths)
    if len(completion) not in (1, rows):
        raise ValueError(
            f"prompt_lengths must be one number or of shape ({rows},), one for each "
            f"pair, got shape ({len(completion)},)"
        )
    return counts * completion


def _check_knobs(
    beta: Knob, loss_type: str, label_smoothing: Knob, nll_weight: Knob
) -> None:
    if loss_type not in LOSS_TYPES:
        raise ValueError(f"loss_type must be one of {LOSS_TYPES}, got {loss_type!r}")
    in_range("beta", beta, 1e-9)  # 0 teaches nothing
    in_range("label_smoothing", label_smoothing, 0, 0.5)
    in_range("nll_weight", nll_weight, 0)
    live = isinstance(label_smoothing, mx.array)
    if (live or label_smoothing > 0) and not loss_type.startswith("sigmoid"):
        raise ValueError(
            f"label_smoothing has no meaning in loss_type={loss_type!r}; leave it out, "
            "or use 'sigmoid' or 'sigmoid_norm'"
        )
    if not live and label_smoothing == 0.5:
        raise ValueError("label_smoothing must be below 0.5, got 0.5: a coin's labels")
