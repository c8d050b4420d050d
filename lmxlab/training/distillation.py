"""Distillation: a small model learns what a larger one believes, not one word.

The teacher's logits z_T and the student's z_S give, at the temperature tau,

    p = softmax(z_T / tau)        q = softmax(z_S / tau)

    soft = tau^2 * mean of D(p, q)          D is KL(p || q) unless said otherwise
    hard = cross-entropy of softmax(z_S) on the targets
    loss = alpha * soft + (1 - alpha) * hard

The mean is over the N target positions that the mask keeps. The gradient on z_S is

    alpha (tau / N) (q - p) + (1 - alpha) (1 / N) (softmax(z_S) - onehot)

and tau^2 keeps the first part in step with the second: when tau is large, soft is near
sum (z_S - z_T)^2 / 2V with both centred, whatever tau. A high tau thus matches logits,
a low one probabilities. The other divergences are

    reverse   KL(q || p)
    jsd       b KL(p || m) + (1 - b) KL(q || m),  m = b p + (1 - b) q

where b = ``jsd_beta``; b = 0 stands for KL(p || q) and b = 1 for KL(q || p), the limits
of D / b and D / (1 - b).

Written as sum p log(p / q), a KL of nearly equal p and q is a small difference of large
numbers: float32 has no correct digit left at tau = 1000. Since p and q each sum to 1,

    KL(p || q) = sum p phi(log(q / p)),   phi(r) = e^r - 1 - r >= 0

is the same number, and a sum of terms none of which is negative: nothing cancels.

Sources: Hinton, Vinyals and Dean 2015 (arXiv:1503.02531); Agarwal et al. 2023, on the
generalised Jensen-Shannon divergence (arXiv:2306.13649).

Left out on purpose: text sampled from the student, matching of hidden states, teachers
with another vocabulary. For a teacher that is run once and kept on disk see
:mod:`lmxlab.training.teacher_cache`.
"""

import math
from typing import Literal, overload

from lmxlab.core.fields import unknown_choice
from lmxlab.core.modes import evaluation_mode
from lmxlab.training.loss import (
    Metrics,
    in_range,
    log_normalizer,
    logits_of,
    target_log_probs,
)
from lmxlab.training.teacher_cache import TopK, dense_logits
import mlx.core as mx
import mlx.nn as nn

DIVERGENCES = ("forward", "reverse", "jsd")

Knob = float | mx.array  # an array of shape () may be changed while training
Pair = tuple[mx.array, mx.array, mx.array]  # p, q and log(q / p), each (..., V)

_FAR = 80.0  # e^-80 of probability is nothing, and e^80 is still a float32
_NEAR = 0.25  # below it phi is summed as a series, which ends at 1e-13


def soft_target_loss(
    student_logits: mx.array,
    teacher_logits: mx.array,
    temperature: Knob = 4.0,
    *,
    mask: mx.array | None = None,
    divergence: str = "forward",
    jsd_beta: Knob = 0.5,
) -> mx.array:
    """Distance of the student's softened distribution from the teacher's, times tau^2.

    Args:
        student_logits: z_S, shape (..., V), finite.
        teacher_logits: z_T, shape (..., V); gets no gradient. -inf says that a token is
            impossible; ``reverse`` is then infinite, the others are not.
        temperature: tau > 0. This and jsd_beta may be arrays of shape (), so that they
            can change while training.
        mask: 1 where a position counts, else 0, shape (...). All count by default.
        divergence: "forward", "reverse" or "jsd", see the module.
        jsd_beta: b in [0, 1], for "jsd" alone. All but the numbers 0 and 1 are kept
            1e-6 from the ends: there the formula, which a live array stays with, is 0.

    Returns:
        tau^2 times the mean divergence in nats, shape (); 0 if no position counts.

    Raises:
        TypeError: If temperature or jsd_beta is not a number.
        ValueError: If shapes or vocabularies differ, temperature or jsd_beta is out of
            range, or the divergence is unknown.

    Example:
        >>> student, teacher = mx.array([[0.0, 0.0]]), mx.array([[2.0, 0.0]])
        >>> [round(soft_target_loss(student, teacher, tau).item(), 4)
        ...  for tau in (1.0, 10.0, 1000.0)]  # near sum (-1, 1)^2 / 4
        [0.3278, 0.4975, 0.5]
    """
    kind = _checked(temperature, divergence, jsd_beta)
    _check_shapes(student_logits, teacher_logits, mask=mask)
    pair = _softened(student_logits, teacher_logits, temperature)
    nats = _divergence(pair, *kind)
    return temperature * temperature * _mean(nats, mask)


# fmt: off
@overload
def distillation_loss(
    student: nn.Module, teacher: nn.Module | None, tokens: mx.array,
    temperature: Knob = 4.0, alpha: Knob = 0.7, *, targets: mx.array | None = None,
    mask: mx.array | None = None, teacher_logits: mx.array | None = None,
    teacher_top_k: TopK | None = None, divergence: str = "forward",
    jsd_beta: Knob = 0.5, return_metrics: Literal[False] = False,
) -> mx.array: ...
@overload
def distillation_loss(
    student: nn.Module, teacher: nn.Module | None, tokens: mx.array,
    temperature: Knob = 4.0, alpha: Knob = 0.7, *, targets: mx.array | None = None,
    mask: mx.array | None = None, teacher_logits: mx.array | None = None,
    teacher_top_k: TopK | None = None, divergence: str = "forward",
    jsd_beta: Knob = 0.5, return_metrics: Literal[True],
) -> tuple[mx.array, Metrics]: ...
# fmt: on


def distillation_loss(
    student: nn.Module,
    teacher: nn.Module | None,
    tokens: mx.array,
    temperature: Knob = 4.0,
    alpha: Knob = 0.7,
    *,
    targets: mx.array | None = None,
    mask: mx.array | None = None,
    teacher_logits: mx.array | None = None,
    teacher_top_k: TopK | None = None,
    divergence: str = "forward",
    jsd_beta: Knob = 0.5,
    return_metrics: bool = False,
) -> mx.array | tuple[mx.array, Metrics]:
    """``alpha * soft + (1 - alpha) * hard`` for a batch of token rows; see the module.

    The teacher is run in evaluation mode and without a gradient. It is not run when its
    logits are given, nor when alpha is the number 0; an array alpha, which may be moved
    while training, always runs it. The teacher must stay as it is while a compiled
    step, which has read its weights, is in use.

    Args:
        student: Maps tokens (B, T) to logits (B, T, V), or to a tuple that starts so.
        teacher: The same, with the same V. None if it is not to be run.
        tokens: Token IDs. Shape (B, L) with no targets given: the inputs are all but
            the last and the targets all but the first, so T = L - 1. With targets:
            the inputs themselves, shape (B, T).
        temperature: tau > 0. This, alpha and jsd_beta may be arrays of shape ().
        alpha: Weight of the soft part, in [0, 1]. With the number 1 the targets do not
            enter the loss; with 0 it is the cross-entropy.
        targets: Token IDs (B, T), one position later than the inputs.
        mask: 1 where a target counts, else 0, shape (B, T).
        teacher_logits: What the teacher would say, shape (B, T, V).
        teacher_top_k: The same from a cache: (values, indices, tail), see
            :func:`lmxlab.training.teacher_cache.top_k_logits`.
        divergence: "forward", "reverse" or "jsd", see the module.
        jsd_beta: As in :func:`soft_target_loss`.
        return_metrics: Whether to return metrics as well.

    Returns:
        The loss, shape (). With ``return_metrics`` also the metrics of
        :func:`distillation_diagnostics`.

    Raises:
        TypeError: If temperature, alpha or jsd_beta is not a number.
        ValueError: As in :func:`soft_target_loss`, or if the teacher is missing, or
            given as logits twice.

    Example:
        >>> student, teacher = nn.Embedding(5, 5), nn.Embedding(5, 5)
        >>> tokens = mx.array([[0, 1, 2, 3]])
        >>> loss, metrics = distillation_loss(
        ...     student, teacher, tokens, 2.0, 0.5, return_metrics=True
        ... )
        >>> parts = metrics["soft_loss"] + metrics["hard_loss"]
        >>> mx.allclose(loss, parts / 2).item(), metrics["tokens"].item()
        (True, 3.0)
    """
    if targets is None:
        if tokens.ndim != 2 or tokens.shape[1] < 2:
            raise ValueError(
                "tokens must have shape (batch, length) with a length of at least 2, "
                f"one input and one target, got {tokens.shape}"
            )
        tokens, targets = tokens[:, :-1], tokens[:, 1:]
    in_range("alpha", alpha, 0, 1)
    student_logits = logits_of(student, tokens)
    if teacher_logits is not None and teacher_top_k is not None:
        raise ValueError("pass teacher_logits or teacher_top_k, not both")
    if teacher_top_k is not None:
        teacher_logits = dense_logits(*teacher_top_k, student_logits.shape[-1])
    elif teacher_logits is None and not _is_number(alpha, 0):
        if teacher is None:
            raise ValueError(
                f"teacher is None and alpha is {alpha}; pass a teacher, or its "
                "teacher_logits or teacher_top_k, or alpha=0 to do without"
            )
        with evaluation_mode(teacher):
            teacher_logits = logits_of(teacher, tokens)
    metrics = distillation_diagnostics(
        student_logits, teacher_logits, targets, temperature, alpha,
        mask=mask, divergence=divergence, jsd_beta=jsd_beta,
    )  # fmt: skip
    if _is_number(alpha, 0):
        loss = metrics["hard_loss"]
    elif _is_number(alpha, 1):
        loss = metrics["soft_loss"]
    else:
        loss = alpha * metrics["soft_loss"] + (1 - alpha) * metrics["hard_loss"]
    # What is not returned is never computed: MLX is lazy.
    return (loss, metrics) if return_metrics else loss


def distillation_diagnostics(
    student_logits: mx.array,
    teacher_logits: mx.array | None,
    targets: mx.array,
    temperature: Knob = 4.0,
    alpha: Knob = 0.7,
    *,
    mask: mx.array | None = None,
    divergence: str = "forward",
    jsd_beta: Knob = 0.5,
) -> Metrics:
    """Both parts of the loss, the teacher's own loss, and which part pulls harder.

        gradient_share = |g_soft| / (|g_soft| + |g_hard|)

    for the two parts of the gradient on z_S (see the module), each a vector over all
    unmasked positions; 0 if neither pulls.

    Args:
        student_logits: z_S, shape (B, T, V).
        teacher_logits: z_T, shape (B, T, V), or None when the teacher was not asked.
        targets: Token IDs, shape (B, T).
        temperature: tau > 0.
        alpha: Weight of the soft part, in [0, 1]; acts on gradient_share alone.
        mask: 1 where a target counts, else 0, shape (B, T).
        divergence: "forward", "reverse" or "jsd".
        jsd_beta: b in [0, 1], for "jsd" alone.

    Returns:
        ``soft_loss`` (with its tau^2), ``hard_loss`` and ``teacher_loss`` (the
        teacher's cross-entropy on the targets at temperature 1), in nats per token;
        ``gradient_share`` in [0, 1]; ``tokens``, the number of targets that count.
        Without teacher_logits soft_loss and teacher_loss are missing, the share is 0.

    Raises:
        TypeError: If temperature, alpha or jsd_beta is not a number.
        ValueError: As in :func:`soft_target_loss`; or if targets have another shape.

    Example:
        >>> uniform, targets = mx.zeros((1, 2, 4)), mx.array([[0, 3]])
        >>> metrics = distillation_diagnostics(uniform, uniform, targets)
        >>> round(metrics["teacher_loss"].item(), 4)  # ln 4
        1.3863
        >>> metrics["soft_loss"].item(), metrics["gradient_share"].item()
        (0.0, 0.0)
    """
    in_range("alpha", alpha, 0, 1)
    kind = _checked(temperature, divergence, jsd_beta)
    _check_shapes(student_logits, teacher_logits, mask=mask, targets=targets)
    tokens = mx.array(float(targets.size)) if mask is None else mask.sum()
    z = _wide(student_logits)
    metrics = {"hard_loss": _mean(-target_log_probs(z, targets), mask)}
    share = mx.array(0.0)
    if teacher_logits is not None:
        teacher_logits = mx.stop_gradient(teacher_logits)
        pair = _softened(z, teacher_logits, temperature)
        nats = _divergence(pair, *kind)
        metrics["soft_loss"] = temperature * temperature * _mean(nats, mask)
        nats = -target_log_probs(_wide(teacher_logits), targets)
        metrics["teacher_loss"] = _mean(nats, mask)

        # tau^2 of the loss, times the 1 / tau of z / tau.
        soft = _length(alpha * temperature * _slope(pair, *kind), mask)
        onehot = mx.arange(z.shape[-1]) == targets[..., None]
        probs = mx.exp(z - log_normalizer(z))
        hard = _length((1 - alpha) * (probs - onehot), mask)
        share = mx.stop_gradient(soft / mx.where(soft + hard > 0, soft + hard, 1))
    return {**metrics, "gradient_share": share, "tokens": tokens.astype(mx.float32)}


def _softened(student: mx.array, teacher: mx.array, temperature: Knob) -> Pair:
    teacher, student = mx.stop_gradient(_wide(teacher)), _wide(student)
    top = mx.stop_gradient(student.max(axis=-1, keepdims=True))
    z_p = (teacher - teacher.max(axis=-1, keepdims=True)) / temperature
    z_q = (student - top) / temperature
    log_zp, log_zq = log_normalizer(z_p), log_normalizer(z_q)
    # In this order: (z_q - log_zq) - (z_p - log_zp) would round at ln V what is near
    # 1 / tau. An error of log_zp - log_zq is common to all tokens and cancels in KL.
    log_ratio = (log_zp - log_zq) - (z_p - z_q)
    return mx.exp(z_p - log_zp), mx.exp(z_q - log_zq), log_ratio


def _kl(p: mx.array, q: mx.array, log_ratio: mx.array) -> mx.array:
    """KL(p || q) = sum p phi(r), r = log(q / p), over the last axis."""
    r = mx.minimum(log_ratio, _FAR)  # an impossible token, p = 0, has r = inf
    near = mx.abs(r) < _NEAR
    s = mx.where(near, r, 0)
    series = mx.zeros_like(s)  # phi(s) / s^2 = 1 / 2! + s / 3! + s^2 / 4! + ...
    for n in range(11, 1, -1):
        series = series * s + 1 / math.factorial(n)
    return mx.where(near, p * s * s * series, q - p - p * r).sum(axis=-1)


def _mixture(log_ratio: mx.array, b: Knob) -> tuple[mx.array, mx.array]:
    """Log(m / p) and log(m / q) for m = b p + (1 - b) q, accurate where they are 0."""
    r = mx.clip(log_ratio, -_FAR, _FAR)
    return mx.log1p((1 - b) * mx.expm1(r)), mx.log1p(b * mx.expm1(-r))


def _divergence(pair: Pair, kind: str, b: Knob) -> mx.array:
    """D(p, q) in nats, shape (...)."""
    p, q, log_ratio = pair
    if kind == "forward":
        return _kl(p, q, log_ratio)
    if kind == "reverse":
        return _kl(q, p, -log_ratio)
    m = b * p + (1 - b) * q
    m_over_p, m_over_q = _mixture(log_ratio, b)
    return b * _kl(p, m, m_over_p) + (1 - b) * _kl(q, m, m_over_q)


def _slope(pair: Pair, kind: str, b: Knob) -> mx.array:
    """Derivative of D with respect to z_S / tau, shape (..., V)."""
    p, q, log_ratio = pair
    if kind == "forward":
        return q - p
    # (1 - b) q (a - E_q[a]) with a = log(q / m); for reverse m = p, without 1 - b.
    a = log_ratio if kind == "reverse" else -(1 - b) * _mixture(log_ratio, b)[1]
    return q * (a - (q * a).sum(axis=-1, keepdims=True))


def _wide(logits: mx.array) -> mx.array:
    return logits if logits.dtype == mx.float64 else logits.astype(mx.float32)


def _mean(nats: mx.array, mask: mx.array | None) -> mx.array:
    if mask is None:
        return nats.mean()
    weight = mask.astype(nats.dtype)
    return (nats * weight).sum() / mx.maximum(weight.sum(), 1)


def _length(gradient: mx.array, mask: mx.array | None) -> mx.array:
    squares = mx.square(gradient).sum(axis=-1)
    return mx.sqrt((squares if mask is None else squares * mask).sum())


def _is_number(knob: Knob, value: int) -> bool:
    return not isinstance(knob, mx.array) and knob == value


def _checked(temperature: Knob, divergence: str, jsd_beta: Knob) -> tuple[str, Knob]:
    """Check the knobs; return what to compute, and b."""
    in_range("temperature", temperature, 0)
    if _is_number(temperature, 0):
        raise ValueError("temperature must be above 0, got 0; 1 leaves logits alone")
    in_range("jsd_beta", jsd_beta, 0, 1)
    if divergence not in DIVERGENCES:
        raise unknown_choice("divergence", divergence, DIVERGENCES)
    if divergence == "jsd" and _is_number(jsd_beta, 0):
        return "forward", 0.0
    if divergence == "jsd" and _is_number(jsd_beta, 1):
        return "reverse", 1.0
    if isinstance(jsd_beta, mx.array):
        return divergence, mx.clip(jsd_beta, 1e-6, 1 - 1e-6)
    return divergence, min(max(jsd_beta, 1e-6), 1 - 1e-6)


def _check_shapes(
    student: mx.array, teacher: mx.array | None, **others: mx.array | None
) -> None:
    if teacher is not None and student.shape[-1] != teacher.shape[-1]:
        raise ValueError(
            f"the student's vocabulary has {student.shape[-1]} tokens and the "
            f"teacher's {teacher.shape[-1]}; both must use one tokenizer"
        )
    if teacher is not None and student.shape != teacher.shape:
        raise ValueError(
            f"the student's logits have shape {student.shape} and the teacher's "
            f"{teacher.shape}; they must be about the same positions"
        )
    for name, array in others.items():
        if array is not None and array.shape != student.shape[:-1]:
            raise ValueError(
                f"{name} must have shape {student.shape[:-1]}, one number for each row "
                f"of the logits, got {array.shape}"
            )
