"""Five update rules against the papers' formulas in NumPy float64."""

from lmxlab.training.config import OPTIMIZERS, TrainConfig
from lmxlab.training.optimizers import create_optimizer, create_schedule
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
import numpy as np
import pytest

LR, DECAY, B1, B2, STEPS = 0.02, 0.3, 0.8, 0.9, 6


class Toy(nn.Module):
    """One of each kind of parameter: matrices wide and tall, embedding, bias, norm."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.wide = nn.Linear(6, 4)
        self.tall = nn.Linear(4, 8, bias=False)
        self.norm = nn.RMSNorm(4)


def flat(tree):
    return {path: np.array(value, np.float64) for path, value in tree_flatten(tree)}


def gradients(parameters):
    """A fixed stream of gradients, of another size at each step."""
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        size = (0.01, 1.0, 3.0)[step % 3]
        yield {k: size * rng.normal(size=p.shape) for k, p in parameters.items()}


def config(rule, **changes):
    settings = {
        "optimizer": rule, "learning_rate": LR, "weight_decay": DECAY, "beta1": B1,
        "beta2": B2, "warmup_steps": 2, "max_steps": STEPS, "lr_schedule": "linear",
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


def rate(t):
    return LR * t / 2 if t < 2 else LR * (1 - (t - 2) / (STEPS - 2))


def moved_by(rule, **changes):
    mx.random.seed(0)
    model = Toy()
    optimizer = create_optimizer(config(rule, **changes))
    for grads in gradients(flat(model.parameters())):
        tree = tree_unflatten([(k, mx.array(g, mx.float32)) for k, g in grads.items()])
        optimizer.update(model, tree)
    return flat(model.parameters())


def expected(single):
    """Decay matrices that are no embeddings, then ``single(path, w, g, state, t)``."""
    mx.random.seed(0)
    weights = flat(Toy().parameters())
    states = {path: {} for path in weights}
    for t, grads in enumerate(gradients(weights)):
        for path, w in weights.items():
            if path in ("wide.weight", "tall.weight"):
                w = w * (1 - rate(t) * DECAY)
            step = single(path, w, grads[path], states[path], t)
            weights[path] = w - rate(t) * step
    return weights


def adamw(path, w, g, state, t):
    m = state["m"] = B1 * state.get("m", 0) + (1 - B1) * g
    v = state["v"] = B2 * state.get("v", 0) + (1 - B2) * g * g
    return m / (1 - B1 ** (t + 1)) / (np.sqrt(v / (1 - B2 ** (t + 1))) + 1e-8)


def lion(path, w, g, state, t):
    m = state.get("m", 0)
    state["m"] = B2 * m + (1 - B2) * g
    return np.sign(B1 * m + (1 - B1) * g)


def sgd(path, w, g, state, t):
    state["v"] = B1 * state.get("v", 0) + g
    return state["v"]


def adafactor(path, w, g, state, t):
    """Shazeer and Stern, algorithms 4 and 5, without relative steps."""
    beta = 1 - (t + 1) ** -0.8
    square = g * g + 1e-30
    if g.ndim == 2:
        row = state["r"] = beta * state.get("r", 0) + (1 - beta) * square.mean(1)
        col = state["c"] = beta * state.get("c", 0) + (1 - beta) * square.mean(0)
        second = np.outer(row, col) / row.mean()
    else:
        second = state["v"] = beta * state.get("v", 0) + (1 - beta) * square
    u = g / np.sqrt(second)
    return u / max(1.0, np.sqrt((u * u).mean()))


def orthogonalized(g):
    """Five Newton-Schulz steps of Jordan et al."""
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / np.linalg.norm(x)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def muon(path, w, g, state, t):
    """Matrices by Muon at 0.2 sqrt(max(n, m)) (Liu et al. 2025), the rest by AdamW."""
    if path not in ("wide.weight", "tall.weight"):
        return adamw(path, w, g, state, t)
    v = state["v"] = B1 * state.get("v", 0) + (1 - B1) * g
    return 0.2 * np.sqrt(max(g.shape)) * orthogonalized((1 - B1) * g + B1 * v)


RULES = {
    "adamw": adamw, "lion": lion, "sgd": sgd, "adafactor": adafactor, "muon": muon,
}  # fmt: skip


def test_every_rule_has_its_reference():
    assert sorted(RULES) == sorted(OPTIMIZERS)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_rule_equals_its_formula_over_several_steps(rule):
    actual, reference = moved_by(rule), expected(RULES[rule])
    for path in reference:
        np.testing.assert_allclose(actual[path], reference[path], atol=3e-6)


def test_adamw_equals_torch():
    torch = pytest.importorskip("torch")
    mx.random.seed(0)
    start = flat(Toy().parameters())
    tensors = {k: torch.nn.Parameter(torch.tensor(w)) for k, w in start.items()}
    decayed = ["wide.weight", "tall.weight"]
    groups = [
        {"params": [tensors[k] for k in decayed], "weight_decay": DECAY},
        {"params": [tensors[k] for k in start if k not in decayed], "weight_decay": 0},
    ]
    reference = torch.optim.AdamW(groups, lr=LR, betas=(B1, B2), eps=1e-8)
    for t, grads in enumerate(gradients(start)):
        for group in reference.param_groups:
            group["lr"] = rate(t)
        for path, grad in grads.items():
            tensors[path].grad = torch.tensor(grad)
        reference.step()
    actual = moved_by("adamw")
    for path, tensor in tensors.items():
        np.testing.assert_allclose(actual[path], tensor.detach().numpy(), atol=3e-6)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_weight_decay_reaches_matrices_and_nothing_else(rule):
    """With no gradient, a matrix shrinks by the product of 1 - rate * decay."""
    mx.random.seed(0)
    model = Toy()
    model.norm.weight = mx.array([0.5, 1.0, 2.0, 3.0])
    before = flat(model.parameters())
    optimizer = create_optimizer(config(rule))
    zero = nn.utils.tree_map(mx.zeros_like, model.parameters())
    for _ in range(STEPS):
        optimizer.update(model, zero)
    after = flat(model.parameters())
    shrunk = np.prod([1 - rate(t) * DECAY for t in range(STEPS)])
    assert shrunk < 0.99
    for path in before:
        factor = shrunk if path in ("wide.weight", "tall.weight") else 1.0
        np.testing.assert_allclose(after[path], factor * before[path], rtol=1e-5)


def test_decay_reaches_the_matrices_of_our_models_and_skips_the_rest(tiny, weights):
    model = tiny()
    optimizer = create_optimizer(config("sgd", warmup_steps=0))
    before = weights(model)
    optimizer.update(model, nn.utils.tree_map(mx.zeros_like, model.parameters()))
    after = weights(model)
    same = {path for path in before if (before[path] == after[path]).all()}
    assert same == {p for p in before if "norm" in p or "embed" in p}


def test_the_first_step_of_adamw_is_one_learning_rate_long():
    """Without bias correction it would be (1 - b1) / sqrt(1 - b2) as long."""
    model = Toy()
    before = flat(model.parameters())
    settings = config("adamw", warmup_steps=0, weight_decay=0.0)
    grads = nn.utils.tree_map(lambda w: 0.1 * mx.ones_like(w), model.parameters())
    create_optimizer(settings).update(model, grads)
    for path, after in flat(model.parameters()).items():
        np.testing.assert_allclose(before[path] - after, LR, rtol=1e-4)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_every_rule_obeys_learning_rate_and_schedule(rule):
    """Doubling the rate doubles the first step; at rate 0 nothing moves."""

    def first_step(learning_rate, **changes):
        mx.random.seed(0)
        model = Toy()
        before = flat(model.parameters())
        settings = {"warmup_steps": 0, "weight_decay": 0.0} | changes
        optimizer = create_optimizer(
            config(rule, learning_rate=learning_rate, **settings)
        )
        (grads, *_) = gradients(before)
        tree = [(k, mx.array(g, mx.float32)) for k, g in grads.items()]
        optimizer.update(model, tree_unflatten(tree))
        return {k: w - before[k] for k, w in flat(model.parameters()).items()}

    once, twice = first_step(1e-2), first_step(2e-2)
    for path in once:
        assert np.abs(once[path]).max() > 1e-5
        np.testing.assert_allclose(twice[path], 2 * once[path], rtol=2e-3, atol=3e-7)
    warming = first_step(1e-2, warmup_steps=2)
    assert all((step == 0).all() for step in warming.values())


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (32, 32)])
def test_a_step_of_muon_is_orthogonal_and_of_rms_02(shape):
    model = nn.Linear(shape[1], shape[0], bias=False)
    before = np.array(model.weight, np.float64)
    settings = config("muon", warmup_steps=0, weight_decay=0.0)
    grad = mx.array(np.random.default_rng(0).normal(size=shape), mx.float32)
    create_optimizer(settings).update(model, {"weight": grad})
    step = (np.array(model.weight, np.float64) - before) / LR
    values = np.linalg.svd(step, compute_uv=False) / (0.2 * np.sqrt(max(shape)))
    assert ((values > 0.6) & (values < 1.25)).all()
    assert np.sqrt((step**2).mean()) == pytest.approx(0.2, rel=0.2)
    assert np.sum(step * np.array(grad)) < 0  # downhill


def test_muon_leaves_embeddings_vectors_and_stacks_of_matrices_to_adamw():
    model = Toy()
    model.kernel = mx.ones((2, 3, 4))
    optimizer = create_optimizer(config("muon"))
    optimizer.init(model.trainable_parameters())
    matrices, rest = (
        {path for path, _ in tree_flatten(state)} for state in optimizer.state["states"]
    )
    own = {"step", "learning_rate"}
    assert matrices - own == {"wide.weight.v", "tall.weight.v"}
    assert {path.rsplit(".", 1)[0] for path in rest - own} == {
        "embed.weight", "wide.bias", "norm.weight", "kernel",
    }  # fmt: skip


def test_live_arrays_are_read_at_every_update():
    live = {"learning_rate": mx.array(1.0), "weight_decay": mx.array(0.0)}
    settings = config("sgd", warmup_steps=0, lr_schedule="constant")
    optimizer = create_optimizer(settings, live)
    model = nn.Linear(1, 1, bias=False)
    model.weight = mx.array([[8.0]])
    zero = {"weight": mx.zeros((1, 1))}
    seen = []
    for decay, peak in [(0.0, 1.0), (0.5, 1.0), (0.5, 0.5), (0.0, 0.5)]:
        live["weight_decay"], live["learning_rate"] = mx.array(decay), mx.array(peak)
        optimizer.update(model, zero)
        seen.append(model.weight.item())
    assert seen == [8.0, 4.0, 3.0, 3.0]


@pytest.mark.parametrize(("make", "name"), [
    (create_optimizer, "optimizer"), (create_schedule, "lr_schedule"),
])  # fmt: skip
def test_an_unknown_name_is_an_error_here_too(make, name):
    """For a config that was not checked, such as one a test or a subclass made."""
    settings = TrainConfig()
    object.__setattr__(settings, name, "adamv")
    with pytest.raises(ValueError, match=f"{name} must be one of"):
        make(settings)
