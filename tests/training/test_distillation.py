"""The distillation loss is its formula, at every temperature, and asks one teacher."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.training.distillation import (
    distillation_diagnostics,
    distillation_loss,
    soft_target_loss,
)
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

KINDS = pytest.mark.parametrize(
    ("divergence", "b"),
    [("forward", 0.5), ("reverse", 0.5)] + [("jsd", b) for b in (0.5, 0.1, 0.9, 0, 1)],
)
TAUS = pytest.mark.parametrize("tau", [1.0, 2.0, 4.0, 10.0, 100.0, 1e3, 1e4])


class Table(nn.Module):
    """A model whose logits are its weights, whatever it reads."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def __call__(self, tokens):
        return self.logits


def drawn(shape=(3, 4, 7), seed=0, scale=3.0):
    """Student and teacher logits, tokens, targets and a mask."""
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(2, *shape)) * scale
    targets = rng.integers(shape[-1], size=shape[:-1]).astype(np.int32)
    mask = (rng.random(shape[:-1]) < 0.6).astype(np.float32)
    mask.flat[0] = 1
    return student, teacher, targets, mask


def log_softmax(z):
    z = np.asarray(z, np.longdouble)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def nats_between(student, teacher, tau, divergence, b):
    """The definition, term by term, in extended precision."""

    def kl(p, q):
        return np.where(p > 0, p * (np.log(np.where(p > 0, p, 1)) - np.log(q)), 0)

    q = np.exp(log_softmax(np.asarray(student, np.longdouble) / tau))
    p = np.exp(log_softmax(np.asarray(teacher, np.longdouble) / tau))
    if divergence == "forward" or (divergence == "jsd" and b == 0):
        terms = kl(p, q)
    elif divergence == "reverse" or b == 1:
        terms = kl(q, p)
    else:
        b = np.longdouble(b)
        m = b * p + (1 - b) * q
        terms = b * kl(p, m) + (1 - b) * kl(q, m)
    return terms.sum(axis=-1)


def soft_reference(student, teacher, tau, divergence="forward", b=0.5, mask=None):
    nats = nats_between(student, teacher, tau, divergence, b)
    return tau**2 * np.average(nats, weights=mask)


def soft_gradient(student, teacher, tau, divergence="forward", b=0.5):
    """d/dz of tau^2 mean D: tau (q - p) / N, or by central differences."""
    z = np.asarray(student, np.longdouble)
    n = z[..., 0].size
    if divergence == "forward" or (divergence == "jsd" and b == 0):
        q, p = np.exp(log_softmax(z / tau)), np.exp(log_softmax(teacher / tau))
        return tau * (q - p) / n
    slope, h = np.zeros_like(z), np.longdouble(1e-5) * tau
    for k in range(z.shape[-1]):
        step = h * (np.arange(z.shape[-1]) == k)
        above = nats_between(z + step, teacher, tau, divergence, b)
        below = nats_between(z - step, teacher, tau, divergence, b)
        slope[..., k] = tau**2 * (above - below) / (2 * h) / n
    return slope


def array(x, dtype=mx.float32):
    return mx.array(np.asarray(x, np.float64), dtype)


def value_and_gradient(student, teacher, tau, dtype=mx.float32, **options):
    """Ours: the soft loss and its gradient on the student's logits."""
    student, teacher = array(student, dtype), array(teacher, dtype)
    loss, slope = mx.value_and_grad(
        lambda z: soft_target_loss(z, teacher, tau, **options)
    )(student)
    return loss.item(), np.array(slope, np.float64)


def close(got, expected, rel):
    """Whether two arrays agree, relative to the size of the whole array."""
    scale = float(np.abs(expected).max())
    error = float(np.abs(np.asarray(got, np.longdouble) - expected).max())
    return error <= rel * scale


@pytest.fixture
def exact_exp(monkeypatch):
    """MLX computes exp of float64 to 1e-7 only; its power is good to 1e-15."""

    def exp(x):
        return mx.power(mx.array(math.e, x.dtype), x)

    monkeypatch.setattr(mx, "exp", exp)


@KINDS
@TAUS
def test_the_soft_loss_is_its_formula_in_float64(divergence, b, tau, exact_exp):
    student, teacher, _, mask = drawn()
    kind = {"divergence": divergence, "jsd_beta": b}
    loss, slope = value_and_gradient(student, teacher, tau, mx.float64, **kind)
    expected = soft_reference(student, teacher, tau, divergence, b)
    assert loss == pytest.approx(float(expected), rel=1e-9)
    assert close(slope, soft_gradient(student, teacher, tau, divergence, b), 1e-7)
    kept = array(mask)
    masked, _ = value_and_gradient(student, teacher, tau, mx.float64, mask=kept, **kind)
    expected = soft_reference(student, teacher, tau, divergence, b, mask)
    assert masked == pytest.approx(float(expected), rel=1e-9)


@KINDS
@TAUS
def test_float32_agrees_with_float64_at_every_temperature(divergence, b, tau):
    student, teacher = np.float32(drawn()[:2])
    loss, slope = value_and_gradient(
        student, teacher, tau, divergence=divergence, jsd_beta=b
    )
    expected = soft_reference(student, teacher, tau, divergence, b)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert close(slope, soft_gradient(student, teacher, tau, divergence, b), 1e-5)


def test_the_textbook_sum_would_not_agree():
    """What the two tests above guard against: p (log p - log q) in float32."""
    student, teacher = np.float32(drawn()[:2])
    z_s, z_t = mx.array(student) / 1e4, mx.array(teacher) / 1e4
    log_q = z_s - mx.logsumexp(z_s, axis=-1, keepdims=True)
    log_p = z_t - mx.logsumexp(z_t, axis=-1, keepdims=True)
    naive = 1e8 * (mx.exp(log_p) * (log_p - log_q)).sum(-1).mean().item()
    assert abs(naive / soft_reference(student, teacher, 1e4) - 1) > 0.1


def test_a_high_temperature_matches_centred_logits():
    student, teacher, *_ = drawn()
    d = (student - teacher) - (student - teacher).mean(axis=-1, keepdims=True)
    expected = (d**2).sum(axis=-1).mean() / (2 * 7)
    assert soft_target_loss(array(student), array(teacher), 1e5).item() == (
        pytest.approx(expected, rel=1e-3)
    )


@pytest.mark.parametrize("tau", [1.0, 3.0, 50.0])
@KINDS
def test_torch_agrees(divergence, b, tau, exact_exp):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    student, teacher, _, mask = drawn(seed=1)
    z = torch.tensor(student, requires_grad=True)
    log_q = functional.log_softmax(z / tau, dim=-1)
    log_p = functional.log_softmax(torch.tensor(teacher) / tau, dim=-1)

    def kl(of, to):  # torch takes the second distribution first
        terms = functional.kl_div(to, of, reduction="none", log_target=True)
        weight = torch.tensor(mask, dtype=torch.float64)
        return (terms.sum(-1) * weight).sum() / weight.sum()

    if divergence == "forward" or (divergence == "jsd" and b == 0):
        loss = kl(log_p, log_q)
    elif divergence == "reverse" or b == 1:
        loss = kl(log_q, log_p)
    else:
        log_m = torch.logaddexp(log_p + math.log(b), log_q + math.log(1 - b))
        loss = b * kl(log_p, log_m) + (1 - b) * kl(log_q, log_m)
    loss = tau**2 * loss
    loss.backward()
    got, slope = value_and_gradient(
        student, teacher, tau, mx.float64,
        mask=array(mask), divergence=divergence, jsd_beta=b,
    )  # fmt: skip
    assert got == pytest.approx(loss.item(), rel=1e-10)
    assert close(slope, z.grad.numpy(), 1e-9)


shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6))


@given(shapes, st.data())
@settings(max_examples=50, deadline=None)
def test_impossible_tokens_of_the_teacher_count_nothing(shape, data):
    student, teacher, *_ = drawn(shape, data.draw(st.integers(0, 99)))
    impossible = np.array(data.draw(st.lists(
        st.booleans(), min_size=teacher.size, max_size=teacher.size,
    ))).reshape(shape)  # fmt: skip
    impossible[..., 0] = False
    teacher = np.where(impossible, -np.inf, teacher)
    tau = data.draw(st.sampled_from([0.5, 1.0, 4.0, 100.0]))
    divergence, b = data.draw(st.sampled_from([("forward", 0.5), ("jsd", 0.3)]))
    loss, slope = value_and_gradient(
        student, teacher, tau, divergence=divergence, jsd_beta=b
    )
    expected = soft_reference(student, teacher, tau, divergence, b)
    assert loss == pytest.approx(float(expected), rel=1e-4, abs=1e-5)
    assert np.isfinite(slope).all()
    expected = soft_gradient(student, teacher, tau, divergence, b)
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-4)


def test_reverse_kl_of_an_impossible_token_is_infinite():
    loss = soft_target_loss(
        mx.zeros((1, 2)), mx.array([[0.0, -math.inf]]), divergence="reverse"
    )
    assert loss.item() == math.inf


@KINDS
@pytest.mark.parametrize("gap", [30.0, 300.0, 30_000.0])
def test_huge_logits_stay_finite(divergence, b, gap):
    student, teacher = np.array([[[0.0, gap]]]), np.array([[[gap, 0.0]]])
    loss, slope = value_and_gradient(
        student, teacher, 1.0, divergence=divergence, jsd_beta=b
    )
    bound = -b * math.log(b) - (1 - b) * math.log(1 - b) if 0 < b < 1 else 0
    expected = gap if divergence != "jsd" or not bound else bound
    assert loss == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(slope).all()


@given(shapes, st.integers(0, 99), st.sampled_from([0.5, 4.0, 1e3]))
@settings(max_examples=25, deadline=None)
def test_it_is_never_negative_and_0_for_a_perfect_student(shape, seed, tau):
    student, teacher, *_ = drawn(shape, seed)
    for divergence in ("forward", "reverse", "jsd"):
        loss, _ = value_and_gradient(student, teacher, tau, divergence=divergence)
        assert loss >= 0
        shifted = teacher + 2  # the same distribution
        loss, slope = value_and_gradient(shifted, teacher, tau, divergence=divergence)
        assert loss == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(slope, 0, atol=1e-4 * tau)


def test_a_vocabulary_of_one_word_has_nothing_to_teach():
    for divergence in ("forward", "reverse", "jsd"):
        loss, slope = value_and_gradient(
            np.ones((2, 3, 1)), np.zeros((2, 3, 1)), 2.0, divergence=divergence
        )
        assert loss == 0
        assert (slope == 0).all()


def test_jensen_shannon_leads_from_one_kl_to_the_other():
    student, teacher = map(array, drawn()[:2])

    def jsd(b, a=student, c=teacher):
        return soft_target_loss(a, c, 2.0, divergence="jsd", jsd_beta=b).item()

    forward = soft_target_loss(student, teacher, 2.0).item()
    reverse = soft_target_loss(student, teacher, 2.0, divergence="reverse").item()
    assert jsd(0) == forward
    assert jsd(1) == reverse
    assert jsd(1e-4) / 1e-4 == pytest.approx(forward, rel=1e-2)
    assert jsd(1 - 1e-4) / 1e-4 == pytest.approx(reverse, rel=1e-2)
    assert jsd(0.3) == pytest.approx(jsd(0.7, teacher, student), rel=1e-5)


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0, 1e-9])
def test_a_live_beta_is_finite_to_its_ends(b):
    student, teacher = np.array([[[0.0, 300.0]]]), np.array([[[0.0, -np.inf]]])
    for beta in (mx.array(b), b) if 0 < b < 1 else (mx.array(b),):
        loss, slope = value_and_gradient(
            student, teacher, 1.0, divergence="jsd", jsd_beta=beta
        )
        assert math.isfinite(loss)
        assert np.isfinite(slope).all()
        inside = min(max(b, 1e-6), 1 - 1e-6)
        expected = soft_reference(student, teacher, 1.0, "jsd", inside)
        assert loss == pytest.approx(float(expected), rel=0.1)


def test_live_knobs_equal_numbers():
    student, teacher, targets, _ = drawn()
    args = array(student), array(teacher), mx.array(targets)
    numbers = distillation_diagnostics(*args, 3.0, 0.4, divergence="jsd", jsd_beta=0.2)
    arrays = distillation_diagnostics(
        *args, mx.array(3.0), mx.array(0.4), divergence="jsd", jsd_beta=mx.array(0.2)
    )
    for name, value in numbers.items():
        assert arrays[name].item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "temperature must be above 0, got 0", {"temperature": 0}),
        (ValueError, "temperature .* got -1", {"temperature": -1.0}),
        (ValueError, "temperature .* got nan", {"temperature": math.nan}),
        (TypeError, "temperature must be a number", {"temperature": "hot"}),
        (TypeError, "temperature must be one number", {"temperature": mx.ones((2,))}),
        (ValueError, "alpha .* got 1.1", {"alpha": 1.1}),
        (ValueError, "alpha .* got -0.1", {"alpha": -0.1}),
        (ValueError, "jsd_beta .* got 2", {"jsd_beta": 2}),
        (ValueError, "divergence must be one of .* 'jsd'", {"divergence": "jds"}),
        (ValueError, "vocabulary has 7 .* 9", {"teacher_logits": mx.zeros((3, 4, 9))}),
        (ValueError, "same positions", {"teacher_logits": mx.zeros((3, 5, 7))}),
        (ValueError, r"mask must have shape \(3, 4\)", {"mask": mx.ones((3, 5))}),
        (ValueError, "targets must have", {"targets": mx.zeros((3, 3), mx.int32)}),
    ],
)
def test_bad_input_is_named(error, message, options):
    student, teacher, targets, _ = drawn()
    usual = {"targets": mx.array(targets), "teacher_logits": array(teacher)}
    with pytest.raises(error, match=message):
        distillation_loss(
            Table(array(student)), None, mx.array(targets), **(usual | options)
        )
    if options.keys() & {"alpha", "targets"}:
        return
    with pytest.raises(error, match=message):
        soft_target_loss(
            array(student), **({"teacher_logits": array(teacher)} | options)
        )


def closed_form(student, teacher, targets, mask, tau, alpha):
    """The gradient of FORMULAS: alpha (tau/N)(q - p) + (1 - alpha)(softmax - 1)/N."""
    q, p = np.exp(log_softmax(student / tau)), np.exp(log_softmax(teacher / tau))
    onehot = np.eye(student.shape[-1])[targets]
    soft = alpha * tau * (q - p) * mask[..., None] / mask.sum()
    hard = (1 - alpha) * (np.exp(log_softmax(student)) - onehot)
    return soft, hard * mask[..., None] / mask.sum()


@pytest.mark.parametrize("alpha", [0, 0.3, 1.0, mx.array(0.3)])
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_the_whole_loss_and_its_gradient_are_the_formula(tau, alpha, exact_exp):
    student, teacher, targets, mask = drawn(seed=2)
    model = Table(array(student, mx.float64))
    given_teacher = Table(array(teacher, mx.float64))

    def loss_fn(model):
        return distillation_loss(
            model, given_teacher, mx.array(targets), tau, alpha,
            targets=mx.array(targets), mask=array(mask), return_metrics=True,
        )  # fmt: skip

    (loss, metrics), grads = nn.value_and_grad(model, loss_fn)(model)
    a = alpha.item() if isinstance(alpha, mx.array) else alpha
    log_q = log_softmax(student)
    nats = -np.take_along_axis(log_q, targets[..., None], axis=-1)[..., 0]
    hard = np.average(nats, weights=mask)
    soft = soft_reference(student, teacher, tau, mask=mask)
    tight = 1e-7 if isinstance(alpha, mx.array) else 1e-10  # a float32 array
    assert loss.item() == pytest.approx(float(a * soft + (1 - a) * hard), rel=tight)
    assert metrics["hard_loss"].item() == pytest.approx(float(hard), rel=1e-9)
    g_soft, g_hard = closed_form(student, teacher, targets, mask, tau, a)
    assert close(grads["logits"], g_soft + g_hard, tight)
    if a == 0:
        assert "soft_loss" not in metrics
        assert metrics["gradient_share"].item() == 0
        return
    assert metrics["soft_loss"].item() == pytest.approx(float(soft), rel=1e-9)
    share = np.linalg.norm(g_soft.astype(float)) / (
        np.linalg.norm(g_soft.astype(float)) + np.linalg.norm(g_hard.astype(float))
    )
    assert metrics["gradient_share"].item() == pytest.approx(share, rel=1e-6)
    teacher_nats = -np.take_along_axis(log_softmax(teacher), targets[..., None], -1)
    expected = np.average(teacher_nats[..., 0], weights=mask)
    assert metrics["teacher_loss"].item() == pytest.approx(float(expected), rel=1e-9)
    assert metrics["tokens"].item() == mask.sum()


@KINDS
def test_the_gradient_share_is_that_of_the_gradients(divergence, b):
    student, teacher, targets, mask = drawn(seed=3)
    args = array(teacher), mx.array(targets), 3.0, 0.6
    options = {"mask": array(mask), "divergence": divergence, "jsd_beta": b}

    def part(name, weight):
        slope = mx.grad(lambda z: distillation_diagnostics(z, *args, **options)[name])(
            array(student)
        )
        return weight * np.linalg.norm(np.array(slope))

    soft, hard = part("soft_loss", 0.6), part("hard_loss", 0.4)
    share = distillation_diagnostics(array(student), *args, **options)["gradient_share"]
    assert share.item() == pytest.approx(soft / (soft + hard), rel=1e-4)
