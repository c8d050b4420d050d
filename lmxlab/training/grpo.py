"""Group-relative policy optimization: reinforcement learning without a critic.

A group is G completions of one prompt. The reward of each, against the mean of its
group, says whether it was better or worse than usual for this prompt:

    A_i    = (R_i - mean(R)) / (std(R) + 1e-4)
    rho_t  = exp(l_t - o_t)
    loss_t = -min(rho_t A, clip(rho_t, 1 - epsilon, 1 + epsilon_high) A) + beta k3_t
    k3_t   = exp(r_t - l_t) - (r_t - l_t) - 1

with l, o and r the log-probability of completion token t under the policy in training,
under the one that sampled, and under a fixed reference. A token that has moved far
enough in the good direction has gradient 0. k3 estimates KL(policy || reference) and is
never negative (Schulman 2020, "Approximating KL divergence"). The token losses become
one number by ``loss_type``:

    grpo     mean over rows of the mean over a row's tokens
    dapo     mean over all tokens
    dr_grpo  sum over all tokens / (rows * max_length); A is not divided by std
    gspo     as grpo, with one ratio for a row, rho = exp(mean_t(l_t - o_t))

On the very policy that sampled, rho is 1 and the advantages of a group cancel: the loss
is near 0 and its gradient is not. Watch the reward, not the loss.

Sources: GRPO, DeepSeekMath, arXiv:2402.03300; DAPO, arXiv:2503.14476; Dr. GRPO,
arXiv:2503.20783; GSPO, arXiv:2507.18071. Left out: a critic, rewards for single steps,
and prompts of unequal length in one batch.
"""

from typing import Literal, TypeAlias, overload

from lmxlab.core.fields import unknown_choice
from lmxlab.core.modes import evaluation_mode
from lmxlab.data.batching import at_least
from lmxlab.training.groups import (
    group_advantages,
    group_numbers,
    zero_variance_share,
)
from lmxlab.training.loss import (
    Metrics,
    in_range,
    log_normalizer,
    logits_of,
    target_log_probs,
)
import mlx.core as mx
import mlx.nn as nn

LossType: TypeAlias = Literal["grpo", "dapo", "dr_grpo", "gspo"]
Knob: TypeAlias = float | mx.array  # an array of shape () may change while training
Maybe: TypeAlias = mx.array | None
Arrays: TypeAlias = dict[str, mx.array | None]

LOSS_TYPES = ("grpo", "dapo", "dr_grpo", "gspo")


# fmt: off
@overload
def grpo_loss(
    model: nn.Module, ref_model: nn.Module | None, prompts: mx.array,
    completions: mx.array, rewards: mx.array, beta: Knob = 0.1, epsilon: Knob = 0.2, *,
    old_log_probs: Maybe = None, mask: Maybe = None, group_size: int | None = None,
    epsilon_high: Knob | None = None, loss_type: LossType = "grpo",
    advantages: Maybe = None, ref_log_probs: Maybe = None, temperature: Knob = 1.0,
    scale_rewards: bool | None = None, max_length: int | None = None,
    return_metrics: Literal[False] = False,
) -> mx.array: ...
@overload
def grpo_loss(
    model: nn.Module, ref_model: nn.Module | None, prompts: mx.array,
    completions: mx.array, rewards: mx.array, beta: Knob = 0.1, epsilon: Knob = 0.2, *,
    old_log_probs: Maybe = None, mask: Maybe = None, group_size: int | None = None,
    epsilon_high: Knob | None = None, loss_type: LossType = "grpo",
    advantages: Maybe = None, ref_log_probs: Maybe = None, temperature: Knob = 1.0,
    scale_rewards: bool | None = None, max_length: int | None = None,
    return_metrics: Literal[True],
) -> tuple[mx.array, Metrics]: ...
# fmt: on


def grpo_loss(
    model: nn.Module,
    ref_model: nn.Module | None,
    prompts: mx.array,
    completions: mx.array,
    rewards: mx.array,
    beta: Knob = 0.1,
    epsilon: Knob = 0.2,
    *,
    old_log_probs: mx.array | None = None,
    mask: mx.array | None = None,
    group_size: int | None = None,
    epsilon_high: Knob | None = None,
    loss_type: LossType = "grpo",
    advantages: mx.array | None = None,
    ref_log_probs: mx.array | None = None,
    temperature: Knob = 1.0,
    scale_rewards: bool | None = None,
    max_length: int | None = None,
    return_metrics: bool = False,
) -> mx.array | tuple[mx.array, Metrics]:
    """Loss of a policy on completions that were sampled and rewarded.

    Args:
        model: The policy; maps tokens (B, T) to logits (B, T, V), or to a tuple that
            starts with them.
        ref_model: The reference, run without gradient and dropout. It is not run when
            beta is the number 0 or when ``ref_log_probs`` are given, and may be None.
        prompts: Token IDs (B, P), one prompt for each completion.
        completions: Token IDs (B, C), sampled after the prompts.
        rewards: Reward of each completion, shape (B,).
        beta: Weight of the KL term, at least 0.
        epsilon: How far below 1 the ratio counts, in [0, 1]; above as well, unless
            epsilon_high says otherwise.
        old_log_probs: Log-probabilities (B, C) under the policy that sampled; by
            default the present ones, taken as constants, so that the ratio is 1.
        mask: 1 where a completion token counts and 0 after the end, shape (B, C).
        group_size: Rows g*G to (g+1)*G - 1 are one group. By default a group is a run
            of equal prompts, and the whole batch when all prompts differ.
        epsilon_high: How far above 1 the ratio counts ("clip higher" of DAPO).
        loss_type: "grpo", "dapo", "dr_grpo" or "gspo"; see the module.
        advantages: Shape (B,), instead of those of the rewards, which are then only
            reported: needed where a batch does not hold whole groups.
        ref_log_probs: Log-probabilities (B, C) under the reference, computed before.
        temperature: Divides the logits, as it did when sampling; more than 0.
        scale_rewards: Whether to divide by the standard deviation of a group; by
            default yes, except in "dr_grpo".
        max_length: What "dr_grpo" divides by for each row, in tokens; C by default.
        return_metrics: Whether to return what :func:`grpo_diagnostics` reports as well,
            and for "dapo" ``tokens``, the number of tokens the loss is a mean over:
            it weights micro-batches (metrics included), which otherwise rows do.

    Returns:
        The loss, shape (); with ``return_metrics`` also the metrics.

    Raises:
        TypeError: If beta, epsilon, epsilon_high or temperature is not a number, or
            max_length is not an integer.
        ValueError: If shapes disagree, an option is out of range, group_size does not
            divide B, beta needs a reference that is missing, or groups have to be read
            from the prompts inside a compiled step.

    Example:
        On the policy that sampled, the loss is near 0 and its gradient is not:

        >>> model = nn.Embedding(4, 4)
        >>> prompts, completions = mx.zeros((2, 1), mx.int32), mx.array([[1], [2]])
        >>> def loss(model): return grpo_loss(
        ...     model, None, prompts, completions, mx.array([1.0, 0.0]), beta=0)
        >>> value, grads = nn.value_and_grad(model, loss)(model)
        >>> abs(value.item()) < 1e-6, mx.abs(grads["weight"]).max().item() > 0.1
        (True, True)
    """
    if loss_type not in LOSS_TYPES:
        raise unknown_choice("loss_type", loss_type, LOSS_TYPES)
    high = epsilon if epsilon_high is None else epsilon_high
    in_range("beta", beta, 0)
    in_range("epsilon", epsilon, 0, 1)
    in_range("epsilon_high", high, 0)
    _check_shapes(
        prompts,
        completions,
        {"rewards": rewards, "advantages": advantages},
        {"mask": mask, "old_log_probs": old_log_probs, "ref_log_probs": ref_log_probs},
    )
    if max_length is not None:
        at_least("max_length", max_length, 1)

    # Groups and advantages.
    groups = None
    if advantages is None or group_size is not None:
        groups = group_numbers(prompts, group_size)
    if advantages is None:
        scale = loss_type != "dr_grpo" if scale_rewards is None else scale_rewards
        advantages = group_advantages(rewards, groups=groups, scale=scale)
    advantages = mx.stop_gradient(advantages)

    # Log-probabilities under three policies.
    logits = completion_logits(model, prompts, completions, temperature)
    log_probs = target_log_probs(logits, completions)
    old = mx.stop_gradient(log_probs if old_log_probs is None else old_log_probs)
    ref = _reference(ref_model, ref_log_probs, prompts, completions, temperature, beta)
    weight = _weight(mask, log_probs)

    # The loss of each token, 0 where masked.
    log_ratio = _log_ratio(log_probs, old, weight, loss_type)
    token_loss = -_surrogate(log_ratio, advantages[:, None], epsilon, high)
    if ref is not None:
        token_loss = token_loss + beta * _k3(log_probs, ref, weight)

    # One number.
    token_loss, count = weight * token_loss, weight.sum(-1)
    if loss_type == "dapo":
        loss = token_loss.sum() / mx.maximum(count.sum(), 1)
    elif loss_type == "dr_grpo":
        length = max_length or completions.shape[1]
        loss = token_loss.sum() / (rewards.size * length)
    else:
        loss = (token_loss.sum(-1) / mx.maximum(count, 1)).mean()
    if not return_metrics:
        return loss
    metrics = grpo_diagnostics(
        *(logits, completions, rewards, advantages),
        mask=mask,
        old_log_probs=old,
        ref_log_probs=ref,
        groups=groups,
        epsilon=epsilon,
        epsilon_high=high,
        loss_type=loss_type,
    )
    return loss, metrics | ({"tokens": count.sum()} if loss_type == "dapo" else {})


def grpo_diagnostics(
    logits: mx.array,
    completions: mx.array,
    rewards: mx.array,
    advantages: mx.array,
    *,
    mask: mx.array | None = None,
    old_log_probs: mx.array | None = None,
    ref_log_probs: mx.array | None = None,
    groups: mx.array | None = None,
    epsilon: Knob = 0.2,
    epsilon_high: Knob | None = None,
    loss_type: LossType = "grpo",
) -> Metrics:
    """What to watch while a policy learns from rewards.

    Args:
        logits: Logits of the completions (B, C, V), from :func:`completion_logits`.
        completions: Token IDs (B, C).
        rewards: Reward of each completion, shape (B,).
        advantages: Advantage of each completion, shape (B,).
        mask: As in :func:`grpo_loss`; all 1 by default.
        old_log_probs: Log-probabilities (B, C) under the policy that sampled; by
            default those of the logits.
        ref_log_probs: Log-probabilities (B, C) under the reference, if there is one.
        groups: Number of each row's group, shape (B,), if known.
        epsilon: As in :func:`grpo_loss`.
        epsilon_high: As in :func:`grpo_loss`.
        loss_type: As in :func:`grpo_loss`.

    Returns:
        Scalars without gradient; tokens are those that the mask keeps:

        * ``reward_mean`` and ``reward_std`` (population), over the batch
        * ``zero_variance_groups``: share of groups whose rewards are all equal, from
          which nothing is learned; without ``groups``, of rows of advantage 0
        * ``clip_share``: share of tokens whose gradient is clipped away
        * ``entropy``, in nats per token, and ``completion_length``, in tokens: means
        * ``kl``, with a reference: mean of k3, in nats per token

    Example:
        >>> metrics = grpo_diagnostics(mx.zeros((2, 1, 4)), mx.array([[1], [2]]),
        ...     mx.array([1.0, 0.0]), mx.array([1.0, -1.0]))
        >>> round(metrics["entropy"].item(), 4), metrics["clip_share"].item()  # ln 4
        (1.3863, 0.0)
    """
    log_probs = target_log_probs(logits, completions)
    old = log_probs if old_log_probs is None else old_log_probs
    high = epsilon if epsilon_high is None else epsilon_high
    weight = _weight(mask, log_probs)
    tokens = mx.maximum(weight.sum(), 1)
    log_ratio = _log_ratio(log_probs, old, weight, loss_type)
    clipped = _clipped(log_ratio, advantages[:, None], epsilon, high)
    log_softmax = logits - log_normalizer(logits)
    # The floor turns 0 * -inf into 0.
    entropy = -(mx.exp(log_softmax) * mx.maximum(log_softmax, -1e9)).sum(-1)
    if groups is None:
        no_variance = (advantages == 0).astype(weight.dtype).mean()
    else:
        no_variance = zero_variance_share(rewards, groups)
    metrics = {
        "reward_mean": rewards.mean(),
        "reward_std": mx.sqrt(mx.square(rewards - rewards.mean()).mean()),
        "zero_variance_groups": no_variance,
        "clip_share": (weight * clipped).sum() / tokens,
        "entropy": (weight * entropy).sum() / tokens,
        "completion_length": weight.sum(-1).mean(),
    }
    if ref_log_probs is not None:
        metrics["kl"] = (weight * _k3(log_probs, ref_log_probs, weight)).sum() / tokens
    return {name: mx.stop_gradient(value) for name, value in metrics.items()}


def completion_logits(
    model: nn.Module, prompts: mx.array, completions: mx.array, temperature: Knob = 1.0
) -> mx.array:
    """Logits of the completion tokens, divided by the temperature.

    Args:
        model: Maps tokens (B, T) to logits (B, T, V), or to a tuple that starts so.
        prompts: Token IDs (B, P).
        completions: Token IDs (B, C).
        temperature: More than 0.

    Returns:
        Shape (B, C, V): those at position t predict ``completions[:, t]``.

    Raises:
        ValueError: If the temperature is not a finite number above 0.

    Example:
        >>> tokens = mx.zeros((2, 3), mx.int32)
        >>> completion_logits(nn.Embedding(5, 5), tokens, tokens).shape
        (2, 3, 5)
    """
    in_range("temperature", temperature, 0)
    live = isinstance(temperature, mx.array)  # a traced step does not know its value
    if not live and temperature == 0:
        raise ValueError(
            "temperature must be above 0, got 0: a policy that always takes its "
            "likeliest token has no log-probabilities to learn from"
        )
    tokens = mx.concatenate([prompts, completions], axis=1)
    # Position j predicts token j + 1, so the first completion token is at P - 1.
    logits = logits_of(model, tokens[:, :-1])[:, prompts.shape[1] - 1 :]
    return logits / temperature if live or temperature != 1 else logits


def _log_ratio(
    log_probs: mx.array, old: mx.array, weight: mx.array, loss_type: LossType
) -> mx.array:
    """Log of rho (B, C): of each token, or in gspo the same for all of a row."""
    log_ratio = mx.where(weight > 0, log_probs - old, 0)
    if loss_type != "gspo":
        return log_ratio
    of_row = log_ratio.sum(-1) / mx.maximum(weight.sum(-1), 1)
    return mx.broadcast_to(of_row[:, None], log_ratio.shape)


def _clipped(
    log_ratio: mx.array, advantage: mx.array, low: Knob, high: Knob
) -> mx.array:
    """Whether rho is past the bound on the side that the advantage favours."""
    ratio = mx.exp(mx.stop_gradient(log_ratio))
    too_high = (advantage > 0) & (ratio > 1 + high)
    return too_high | ((advantage < 0) & (ratio < 1 - low))


def _surrogate(
    log_ratio: mx.array, advantage: mx.array, low: Knob, high: Knob
) -> mx.array:
    """min(rho A, clip(rho) A), with no inf * 0 from a rho that does not count."""
    clipped = _clipped(log_ratio, advantage, low, high)
    bounded = mx.clip(mx.exp(mx.stop_gradient(log_ratio)), 1 - low, 1 + high)
    ratio = mx.exp(mx.where(clipped | (advantage == 0), 0, log_ratio))
    return mx.where(clipped, bounded, ratio) * advantage


def _k3(log_probs: mx.array, ref: mx.array, weight: mx.array) -> mx.array:
    difference = mx.where(weight > 0, ref - log_probs, 0)
    return mx.expm1(difference) - difference


def _reference(
    ref_model: nn.Module | None,
    ref_log_probs: mx.array | None,
    prompts: mx.array,
    completions: mx.array,
    temperature: Knob,
    beta: Knob,
) -> mx.array | None:
    """Log-probabilities (B, C) under the reference, or None if none is asked for."""
    if ref_log_probs is not None:
        return mx.stop_gradient(ref_log_probs)
    if not isinstance(beta, mx.array) and beta == 0:
        return None
    if ref_model is None:
        raise ValueError(
            f"beta={beta} weighs the KL to a reference, and ref_model is None; pass "
            "ref_model or ref_log_probs, or beta=0"
        )
    with evaluation_mode(ref_model):
        logits = completion_logits(ref_model, prompts, completions, temperature)
    return mx.stop_gradient(target_log_probs(logits, completions))


def _weight(mask: mx.array | None, like: mx.array) -> mx.array:
    return mx.ones_like(like) if mask is None else mask.astype(like.dtype)


def _check_shapes(
    prompts: mx.array, completions: mx.array, of_rows: Arrays, of_tokens: Arrays
) -> None:
    for name, tokens in (("prompts", prompts), ("completions", completions)):
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise ValueError(
                f"{name} must have shape (batch, length), neither of them 0, "
                f"got {tokens.shape}"
            )
    rows, length = prompts.shape[0], completions.shape[1]
    of_tokens = {"completions": completions, **of_tokens}
    for arrays, shape in ((of_rows, (rows,)), (of_tokens, (rows, length))):
        for name, array in arrays.items():
            if array is not None and array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
