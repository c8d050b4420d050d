"""The GRPO loss against its formulas, written out here a second and a third time."""

from dataclasses import dataclass, replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.training.grpo import LOSS_TYPES, grpo_diagnostics, grpo_loss
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

KINDS = pytest.mark.parametrize("kind", LOSS_TYPES)


@pytest.fixture(autouse=True, scope="module")
def float64_to_its_last_digit():
    """MLX's exp of float64 is good to 1e-7 on the CPU; expm1 is good to 1e-16."""
    exp = mx.exp
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            mx, "exp", lambda x: mx.expm1(x) + 1 if x.dtype == mx.float64 else exp(x)
        )
        yield


class Table(nn.Module):
    """Logits (B, T, V) by position, whatever the tokens are."""

    def __init__(self, logits, dtype=mx.float64):
        super().__init__()
        self.logits = mx.array(logits, dtype)

    def __call__(self, tokens):
        assert tokens.shape == self.logits.shape[:2]
        return self.logits, "cache"


@dataclass
class Case:
    """All that a loss depends on, in float64."""

    logits: np.ndarray  # (B, P + C - 1, V)
    completions: np.ndarray
    advantages: np.ndarray
    old: np.ndarray
    ref: np.ndarray
    mask: np.ndarray
    prompt_length: int
    beta: float = 0.13
    low: float = 0.2
    high: float = 0.28
    temperature: float = 0.7
    max_length: int = 9

    def arguments(self, kind, dtype):
        rows = len(self.completions)
        self.options = {
            name: mx.array(value, dtype)
            for name, value in {
                "advantages": self.advantages,
                "old_log_probs": self.old,
                "ref_log_probs": self.ref,
                "mask": self.mask,
            }.items()
        }
        return (
            mx.zeros((rows, self.prompt_length), mx.int32),
            mx.array(self.completions.astype(np.int32)),
            mx.zeros(rows, dtype),
        )

    def run(self, kind, logits=None, dtype=mx.float64, **options):
        model = logits if isinstance(logits, nn.Module) else None
        if model is None:
            model = Table(self.logits if logits is None else logits, dtype)
        arrays = self.arguments(kind, dtype)
        keywords = self.options | {
            "loss_type": kind,
            "epsilon_high": self.high,
            "temperature": self.temperature,
            "max_length": self.max_length,
        }
        return grpo_loss(
            model, None, *arrays, self.beta, self.low, **(keywords | options)
        )

    def gradient(self, kind, dtype=mx.float64, **options):
        model = Table(self.logits, dtype)
        _, grads = nn.value_and_grad(
            model, lambda m: self.run(kind, m, dtype, **options)
        )(model)
        return np.array(grads["logits"])


def make_case(seed, rows=6, length=4, vocab=5, prompt_length=3):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, prompt_length + length - 1, vocab)) * 2
    completions = rng.integers(vocab, size=(rows, length))
    log_probs = log_probs_of(logits / Case.temperature, completions)
    ends = rng.integers(0, length + 1, size=rows)
    ends[0] = length
    return Case(
        logits=logits,
        completions=completions,
        advantages=rng.normal(size=rows),
        old=log_probs + rng.normal(size=log_probs.shape) * 0.4,
        ref=log_probs + rng.normal(size=log_probs.shape) * 0.4,
        mask=(np.arange(length) < ends[:, None]).astype(float),
        prompt_length=prompt_length,
    )


def log_probs_of(logits, completions):
    """l_t, token by token: position P - 1 + t predicts completion token t."""
    rows, length = completions.shape
    first = logits.shape[1] - length
    out = np.zeros((rows, length))
    for i in range(rows):
        for t in range(length):
            z = logits[i, first + t]
            out[i, t] = z[completions[i, t]] - np.log(np.exp(z).sum())
    return out


def by_formula(case, kind, logits=None):
    """The loss as the papers write it: loops, float64, nothing clever."""
    logits = case.logits if logits is None else logits
    rows, length = case.completions.shape
    new = log_probs_of(logits / case.temperature, case.completions)
    row_sums, counts = np.zeros(rows), case.mask.sum(axis=1)
    for i in range(rows):
        kept = [t for t in range(length) if case.mask[i, t]]
        for t in kept:
            over = kept if kind == "gspo" else [t]
            rho = math.exp(np.mean([new[i, s] - case.old[i, s] for s in over]))
            bounded = min(max(rho, 1 - case.low), 1 + case.high)
            a = case.advantages[i]
            d = case.ref[i, t] - new[i, t]
            row_sums[i] += -min(rho * a, bounded * a)
            row_sums[i] += case.beta * (math.exp(d) - d - 1)
    if kind == "dapo":
        return row_sums.sum() / counts.sum()
    if kind == "dr_grpo":
        return row_sums.sum() / (rows * case.max_length)
    return np.mean([s / n if n else 0.0 for s, n in zip(row_sums, counts, strict=True)])


def differences(function, at, step=1e-6):
    grad = np.zeros_like(at)
    for index in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[index] += step
        down[index] -= step
        grad[index] = (function(up) - function(down)) / (2 * step)
    return grad


@KINDS
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 6),
    length=st.integers(1, 5),
    vocab=st.integers(1, 6),
    prompt_length=st.integers(1, 4),
)
def test_the_loss_is_that_of_the_formula(
    kind, seed, rows, length, vocab, prompt_length
):
    case = make_case(seed, rows, length, vocab, prompt_length)
    expected = by_formula(case, kind)
    assert case.run(kind).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    single = case.run(kind, dtype=mx.float32)
    assert single.dtype == mx.float32
    assert single.item() == pytest.approx(expected, rel=2e-5, abs=2e-5)


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_formula(kind, seed):
    case = make_case(seed, rows=4, length=3, vocab=3, prompt_length=2)
    expected = differences(lambda z: by_formula(case, kind, z), case.logits)
    np.testing.assert_allclose(case.gradient(kind), expected, atol=1e-8)
    np.testing.assert_allclose(case.gradient(kind, mx.float32), expected, atol=1e-5)


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_those_of_torch(kind, seed):
    torch = pytest.importorskip("torch")
    case = make_case(seed, rows=8, length=6, vocab=7)
    logits = torch.tensor(case.logits, requires_grad=True)
    old, ref, mask = (torch.tensor(x) for x in (case.old, case.ref, case.mask))
    kept = logits[:, case.prompt_length - 1 :] / case.temperature
    chosen = torch.tensor(case.completions)[..., None]
    new = torch.log_softmax(kept, -1).gather(-1, chosen)[..., 0]
    counts = mask.sum(1).clamp(min=1)
    log_ratio = new - old
    if kind == "gspo":
        log_ratio = ((log_ratio * mask).sum(1) / counts)[:, None].expand_as(mask)
    rho, a = log_ratio.exp(), torch.tensor(case.advantages)[:, None]
    bounded = rho.clamp(1 - case.low, 1 + case.high)
    per_token = -torch.minimum(rho * a, bounded * a)
    per_token = per_token + case.beta * (torch.exp(ref - new) - (ref - new) - 1)
    total = (per_token * mask).sum(1)
    loss = {
        "grpo": (total / counts).mean(),
        "gspo": (total / counts).mean(),
        "dapo": total.sum() / mask.sum(),
        "dr_grpo": total.sum() / (len(total) * case.max_length),
    }[kind]
    loss.backward()
    assert case.run(kind).item() == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(case.gradient(kind), logits.grad.numpy(), atol=1e-13)


@KINDS
def test_prompts_and_masked_tokens_never_enter(kind):
    case = make_case(1)
    gradient = case.gradient(kind)
    assert (gradient[:, : case.prompt_length - 1] == 0).all()
    kept = np.abs(gradient[:, case.prompt_length - 1 :]).sum(-1) > 0
    assert (kept <= (case.mask > 0)).all()
    assert kept[0].sum() > 0
    # Nor does what was said of masked tokens, however wild.
    gone = case.mask == 0
    wild = replace(
        case,
        old=np.where(gone, -np.inf, case.old),
        ref=np.where(gone, np.nan, case.ref),
    )
    assert wild.run(kind).item() == case.run(kind).item()
    np.testing.assert_array_equal(wild.gradient(kind), gradient)


@KINDS
def test_no_old_policy_means_the_present_one(kind):
    case = make_case(2)
    now = log_probs_of(case.logits / case.temperature, case.completions)
    case = replace(case, old=now)
    assert case.run(kind, old_log_probs=None).item() == pytest.approx(
        case.run(kind).item(), abs=1e-14
    )
    np.testing.assert_allclose(
        case.gradient(kind, old_log_probs=None), case.gradient(kind), atol=1e-14
    )


def test_on_policy_the_loss_is_near_0_and_the_gradient_is_a_policy_gradient():
    case = make_case(3, rows=4, length=3)
    case = replace(
        case, advantages=np.array([1.0, -1, 0.5, -0.5]), mask=np.ones((4, 3)), beta=0
    )
    assert abs(case.run("grpo", old_log_probs=None).item()) < 1e-15

    def minus_advantage_times_log_prob(logits):
        new = log_probs_of(logits / case.temperature, case.completions)
        return -(case.advantages[:, None] * new).mean()

    expected = differences(minus_advantage_times_log_prob, case.logits)
    gradient = case.gradient("grpo", old_log_probs=None)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)
    assert np.abs(gradient).max() > 0.05


def one_token(log_ratio, advantage, low=0.2, high=0.2, dtype=mx.float32):
    """Value and gradient of a single token whose log-ratio is given."""
    new = math.log(0.5)
    case = Case(
        logits=np.zeros((1, 1, 2)),
        completions=np.zeros((1, 1), int),
        advantages=np.array([advantage]),
        old=np.array([[new - log_ratio]]),
        ref=np.zeros((1, 1)),
        mask=np.ones((1, 1)),
        prompt_length=1,
        beta=0,
        low=low,
        high=high,
        temperature=1.0,
    )
    value = case.run("grpo", dtype=dtype).item()
    return value, np.abs(case.gradient("grpo", dtype)).max()


@pytest.mark.parametrize(
    ("ratio", "advantage", "high", "value", "moves"),
    [
        (1.1, 1.0, 0.2, -1.1, True),
        (1.3, 1.0, 0.2, -1.2, False),  # far enough in the good direction
        (1.3, 1.0, 0.4, -1.3, True),  # clip higher
        (1.5, 1.0, 0.4, -1.4, False),
        (0.5, 1.0, 0.2, -0.5, True),  # went the wrong way: must come back
        (0.7, -1.0, 0.2, 0.8, False),
        (0.7, -1.0, 0.4, 0.8, False),  # epsilon_high does not move the lower bound
        (1.7, -1.0, 0.2, 1.7, True),
    ],
)
def test_clipping_stops_the_gradient_on_the_good_side_only(
    ratio, advantage, high, value, moves
):
    got, slope = one_token(math.log(ratio), advantage, high=high, dtype=mx.float64)
    assert got == pytest.approx(value)
    assert (slope > 0) == moves


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "value"),
    [(200, 1.0, -1.2), (1e30, 2.0, -2.4), (-200, -1.0, 0.8), (200, 0.0, 0.0),
     (-200, 1.0, 0.0)],
)  # fmt: skip
def test_a_huge_ratio_is_finite_where_it_does_not_count(log_ratio, advantage, value):
    got, slope = one_token(log_ratio, advantage)
    assert got == pytest.approx(value, abs=1e-6)
    assert slope == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=8), st.booleans())
def test_the_kl_estimate_is_never_negative(differences_, tiny):
    d = np.array([differences_], np.float32) * (1e-6 if tiny else 1)
    logits = mx.zeros((1, d.size, 2))
    ids = mx.zeros((1, d.size), mx.int32)
    now = mx.full(d.shape, math.log(0.5))
    for i in range(d.size):
        mask = mx.zeros(d.shape)
        mask[0, i] = 1
        metrics = grpo_diagnostics(
            logits, ids, mx.zeros(1), mx.zeros(1), mask=mask,
            ref_log_probs=now + mx.array(d),
        )  # fmt: skip
        assert metrics["kl"].item() >= 0


def test_the_kl_is_that_of_the_policy_from_the_reference():
    """Over all tokens, weighted by the policy, k3 is KL(policy || reference)."""
    policy = np.array([3.0, 0, 0, 0, 0])
    reference = np.array([0.0, 0, 0, 0, -3])
    p, q = (np.exp(z) / np.exp(z).sum() for z in (policy, reference))
    losses = []
    for token in range(5):
        models = (Table(z.reshape(1, 1, 5)) for z in (policy, reference))
        ids = mx.array([[token]])
        losses.append(
            grpo_loss(*models, ids, ids, mx.zeros(1, mx.float64), beta=0.3).item()
        )
    forward, backward = (p * np.log(p / q)).sum(), (q * np.log(q / p)).sum()
    assert p @ losses == pytest.approx(0.3 * forward, rel=1e-12)
    assert abs(forward - backward) > 0.1


@KINDS
def test_at_the_reference_the_kl_has_no_gradient(kind):
    case = make_case(4)
    now = log_probs_of(case.logits / case.temperature, case.completions)
    case = replace(case, ref=now, advantages=np.zeros(6), beta=1.0)
    assert case.run(kind).item() == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(case.gradient(kind), 0, atol=1e-15)


@KINDS
def test_equal_rewards_teach_exactly_nothing(kind):
    model = Table(make_case(5).logits, mx.float32)
    ids = mx.zeros((6, 3), mx.int32), mx.zeros((6, 4), mx.int32)

    def loss(model):
        # 0.1 + 0.1 + 0.1 is not 0.3: the mean is off by a rounding.
        return grpo_loss(
            model, None, *ids, mx.full(6, 0.1), 0, group_size=3, loss_type=kind
        )

    value, grads = nn.value_and_grad(model, loss)(model)
    assert value.item() == 0
    assert mx.all(grads["logits"] == 0).item()


@KINDS
def test_nothing_kept_is_no_loss(kind):
    case = replace(make_case(6), mask=np.zeros((6, 4)))
    assert case.run(kind).item() == 0
    assert (case.gradient(kind) == 0).all()


@KINDS
def test_huge_and_forbidden_logits_stay_finite(kind):
    case = make_case(7, vocab=6)
    case.logits[..., 0] = -np.inf
    case.logits[..., 1] = 1e4
    case = replace(case, completions=np.ones((6, 4), int), old=np.zeros((6, 4)))
    loss, metrics = case.run(kind, dtype=mx.float32, return_metrics=True)
    assert math.isfinite(loss.item())
    assert all(math.isfinite(value.item()) for value in metrics.values())
    assert metrics["entropy"].item() == 0
    assert np.isfinite(case.gradient(kind, mx.float32)).all()


def test_constants_of_the_loss_get_no_gradient():
    case = make_case(8)
    prompts, completions, rewards = case.arguments("grpo", mx.float64)
    model, reference = Table(case.logits), Table(case.logits[::-1].copy())

    def loss(constants):
        reference.update({"logits": constants.pop("logits")})
        rest = {"beta": 0.5, "temperature": 0.7, "mask": case.options["mask"]}
        return grpo_loss(model, reference, prompts, completions, rewards, **rest,
                         **constants)  # fmt: skip

    constants = {n: case.options[n] for n in ("advantages", "old_log_probs")}
    grads = mx.grad(loss)(constants | {"logits": mx.array(case.logits * 0.5)})
    assert all(mx.all(grad == 0).item() for grad in grads.values())


def test_diagnostics_are_what_they_say():
    case = make_case(9)
    kept = case.logits[:, case.prompt_length - 1 :] / case.temperature
    rewards = np.array([1.0, 0, 0.5, 2, 2, 2])
    new = log_probs_of(kept, case.completions)
    p = np.exp(kept) / np.exp(kept).sum(-1, keepdims=True)
    m, tokens = case.mask, case.mask.sum()
    rho, a, d = np.exp(new - case.old), case.advantages[:, None], case.ref - new
    clipped = ((a > 0) & (rho > 1.28)) | ((a < 0) & (rho < 0.8))
    expected = {
        "reward_mean": rewards.mean(),
        "reward_std": rewards.std(),
        "zero_variance_groups": 0.5,
        "clip_share": (m * clipped).sum() / tokens,
        "entropy": (m * -(p * np.log(p)).sum(-1)).sum() / tokens,
        "completion_length": m.sum(1).mean(),
        "kl": (m * (np.exp(d) - d - 1)).sum() / tokens,
        "tokens": tokens,
    }
    prompts, completions, _ = case.arguments("dapo", mx.float64)
    common = {
        "return_metrics": True, "epsilon_high": 0.28, "temperature": 0.7,
        "group_size": 3, "loss_type": "dapo",
    } | case.options  # fmt: skip
    _, metrics = grpo_loss(
        Table(case.logits), None, prompts, completions, mx.array(rewards, mx.float64),
        **common,
    )  # fmt: skip
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert metrics[name].item() == pytest.approx(value, rel=1e-12), name
    assert 0 < expected["clip_share"] < 1
