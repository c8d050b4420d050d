"""Each depth looks one token further, is told one token more, and sees none besides."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training.loss import next_token_loss
from lmxlab.training.mtp import MTPHead, MultiTokenPrediction, mtp_loss
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map, tree_unflatten
import numpy as np
import pytest

VOCAB = 11
SMALL = BlockConfig(d_model=8, n_heads=2)


def build(n_predict=2, block=SMALL, *, seed=0, tied=True, noise=0.0, **options):
    mx.random.seed(seed)
    base = LanguageModel(ModelConfig(block, VOCAB, 1, tie_embeddings=tied))
    mtp = MultiTokenPrediction(base, n_predict, **options)
    if noise:  # so that no norm's weight is 1
        mtp.update(
            tree_map(lambda p: p + noise * mx.random.normal(p.shape), mtp.parameters())
        )
    return mtp


def text(rows=2, length=6, seed=0):
    """Inputs and targets, (rows, length) each."""
    drawn = np.random.default_rng(seed).integers(0, VOCAB, (rows, length + 1))
    tokens = mx.array(drawn.astype(np.int32))
    return tokens[:, :-1], tokens[:, 1:]


class Recorder(nn.Module):
    """A head that keeps what went in and what came out."""

    def __init__(self, head):
        super().__init__()
        self.head = head
        self.calls = {}

    def __call__(self, h, prev_embed, mask=None):
        out = self.head(h, prev_embed, mask)
        self.calls = {"h": h, "told": prev_embed, "out": out}
        return out


def recorded(mtp, x, targets):
    """What the heads saw and said on a batch."""
    heads = mtp.heads
    mtp.heads = [Recorder(head) for head in heads]
    mtp(x, targets)
    calls, mtp.heads = [head.calls for head in mtp.heads], heads
    return calls


# ------------------------------------------------------- the formulas, written out


def reference(xp, w, x, targets, mask, n_predict, weight):
    """All losses, from the formulas, in NumPy or PyTorch (``xp``); SMALL blocks."""
    x, targets = xp.asarray(x), xp.asarray(targets)
    n_heads, eps, theta = SMALL.n_heads, SMALL.norm_eps, SMALL.rope_theta

    def rms(v, name):
        return v / xp.sqrt((v * v).mean(-1, keepdims=True) + eps) * w[f"{name}.weight"]

    def linear(v, name):
        return v @ w[f"{name}.weight"].T

    def rotated(v):
        half = v.shape[-1] // 2
        speeds = theta ** (-np.arange(half) / half)
        angles = np.arange(v.shape[1])[:, None, None] * speeds
        cos, sin = xp.asarray(np.cos(angles)), xp.asarray(np.sin(angles))
        a, b = v[..., :half], v[..., half:]
        return xp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def attention(v, name):
        rows, length, dims = v.shape
        q, k, u = (
            linear(v, f"{name}.{kind}_proj").reshape(rows, length, n_heads, -1)
            for kind in "qkv"
        )
        scores = xp.einsum("bihd,bjhd->bhij", rotated(q), rotated(k))
        weights = xp.exp(scores / (dims // n_heads) ** 0.5)
        weights = weights * xp.asarray(np.tri(length))
        weights = weights / weights.sum(-1, keepdims=True)
        mixed = xp.einsum("bhij,bjhd->bihd", weights, u).reshape(rows, length, dims)
        return linear(mixed, f"{name}.o_proj")

    def block(v, name):
        v = v + attention(rms(v, f"{name}.attention_norm"), f"{name}.attention")
        up = linear(rms(v, f"{name}.ffn_norm"), f"{name}.ffn.up_proj")
        return v + linear((up * (up > 0)) ** 2, f"{name}.ffn.down_proj")

    def loss(h, wanted, counts):
        logits = h @ w.get("model.head.weight", w["model.embed.weight"]).T
        log_probs = logits - xp.log(xp.exp(logits).sum(-1, keepdims=True))
        nats = -(log_probs * xp.asarray(np.eye(VOCAB))[wanted]).sum(-1)
        return (nats * counts).sum() / max(counts.sum(), 1)

    table, length = w["model.embed.weight"], x.shape[1]
    mask = xp.asarray(np.ones(x.shape) if mask is None else mask)
    h = rms(block(table[x], "model.blocks.0"), "model.final_norm")
    losses = {"main_loss": loss(h, targets, mask)}
    total = 0.0
    for k in range(1, n_predict + 1):
        head = f"heads.{k - 1}"
        h = rms(h[:, : length - k], f"{head}.hidden_norm")
        told = rms(table[targets[:, k - 1 : length - 1]], f"{head}.token_norm")
        h = linear(xp.concatenate([h, told], -1), f"{head}.proj")
        h = rms(block(h, f"{head}.block"), f"{head}.final_norm")
        losses[f"depth_{k}"] = loss(h, targets[:, k:], mask[:, k:])
        total = total + losses[f"depth_{k}"]
    losses["mtp_loss"] = total / n_predict
    losses["total_loss"] = losses["main_loss"] + weight * losses["mtp_loss"]
    return losses


RAGGED = np.array([[1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 1]], dtype=np.float64)
CASES = pytest.mark.parametrize(
    ("tied", "mask", "n_predict"),
    [(True, None, 2), (False, None, 1), (True, RAGGED, 3), (False, RAGGED, 2)],
)


@pytest.fixture
def float64_kernels(monkeypatch):
    """Those kernels of MLX that round to 1e-7 even in float64, written out."""

    def exp(x):
        return mx.power(mx.array(np.e, dtype=x.dtype), x)

    def rms_norm(x, weight, eps):
        return x / mx.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight

    def in_numpy(function):
        return lambda x: mx.array(function(np.array(x)), dtype=x.dtype)

    monkeypatch.setattr(mx, "exp", exp)
    monkeypatch.setattr(mx.fast, "rms_norm", rms_norm)
    for name in ("cos", "sin"):
        monkeypatch.setattr(mx, name, in_numpy(getattr(np, name)))


def in_float64(tied, mask, n_predict):
    """A model and a batch in float64; weights in NumPy; losses and gradients, ours."""
    mtp = build(n_predict, tied=tied, noise=0.3)
    mtp.set_dtype(mx.float64)
    x, targets = text()
    ours_mask = None if mask is None else mx.array(mask, dtype=mx.float64)

    def total(model):
        _, losses = model(x, targets, ours_mask)
        return losses["total_loss"], losses

    (_, losses), gradients = nn.value_and_grad(mtp, total)(mtp)
    weights = {path: np.array(p) for path, p in tree_flatten(mtp.parameters())}
    gradients = {path: np.array(g) for path, g in tree_flatten(gradients)}
    return weights, (np.array(x), np.array(targets), mask), losses, gradients


@CASES
@pytest.mark.usefixtures("float64_kernels")
def test_losses_equal_the_formulas_and_gradients_their_slopes(tied, mask, n_predict):
    weights, batch, losses, gradients = in_float64(tied, mask, n_predict)
    expected = reference(np, weights, *batch, n_predict, 0.3)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, abs=1e-12)

    assert gradients.keys() == weights.keys()
    rng, step = np.random.default_rng(0), 1e-6
    for path, gradient in gradients.items():
        way = rng.normal(size=gradient.shape)
        ends = [
            reference(
                np, weights | {path: weights[path] + s * way}, *batch, n_predict, 0.3
            )["total_loss"]
            for s in (step, -step)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert (gradient * way).sum() == pytest.approx(slope, 1e-5, 1e-6), path


@CASES
@pytest.mark.usefixtures("float64_kernels")
def test_losses_and_gradients_equal_pytorch(tied, mask, n_predict):
    torch = pytest.importorskip("torch")
    weights, batch, losses, gradients = in_float64(tied, mask, n_predict)
    theirs = {
        path: torch.tensor(value, requires_grad=True) for path, value in weights.items()
    }
    expected = reference(torch, theirs, *batch, n_predict, 0.3)
    expected["total_loss"].backward()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), abs=1e-12)
    for path, weight in theirs.items():
        np.testing.assert_allclose(gradients[path], weight.grad, atol=1e-11)


@CASES
def test_float32_agrees_to_its_rounding(tied, mask, n_predict):
    mtp = build(n_predict, tied=tied, noise=0.3)
    x, targets = text()
    _, losses = mtp(x, targets, None if mask is None else mx.array(mask, mx.float32))
    weights = {p: np.array(v, np.float64) for p, v in tree_flatten(mtp.parameters())}
    expected = reference(
        np, weights, np.array(x), np.array(targets), mask, n_predict, 0.3
    )
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, abs=1e-5)


# ------------------------------------------------------------ who sees and says what


@pytest.mark.parametrize("n_predict", [1, 2, 4])
def test_depth_k_sees_t_minus_k_positions_and_the_token_before_its_target(n_predict):
    mtp, (x, targets) = build(n_predict), text(length=6)
    _, _, before = mtp.model(x, return_hidden=True)
    for k, calls in enumerate(recorded(mtp, x, targets), start=1):
        assert calls["h"].shape == calls["out"].shape == (2, 6 - k, 8)
        assert mx.array_equal(calls["h"], before[:, : 6 - k])
        # x[i + k], the last token that depth k - 1 predicts at position i
        told = mtp.model.embed(mx.concatenate([x, targets[:, -1:]], 1)[:, k:6])
        assert mx.array_equal(calls["told"], told)
        before = calls["out"]


@settings(max_examples=30, deadline=None)
@given(j=st.integers(0, 6), seed=st.integers(0, 99))
def test_a_later_target_leaves_head_outputs_before_it_unchanged(j, seed):
    mtp, (x, targets) = build(3, seed=seed), text(length=7, seed=seed)
    other = mx.array(np.array(targets))
    other[:, j] = (other[:, j] + 1) % VOCAB
    both = zip(recorded(mtp, x, targets), recorded(mtp, x, other), strict=True)
    for k, (calls, changed) in enumerate(both, start=1):
        # Depth k is told targets[i + k - 1] at position i.
        first = max(j - k + 1, 0)
        same = (calls["out"] == changed["out"]).all(axis=(0, 2)).tolist()
        assert all(same[:first])
        assert not any(same[first : first + 1])


@settings(max_examples=30, deadline=None)
@given(j=st.integers(0, 6), seed=st.integers(0, 99))
def test_a_later_input_leaves_head_outputs_before_it_unchanged(j, seed):
    mtp, (x, targets) = build(2, seed=seed), text(length=7, seed=seed)
    other = mx.array(np.array(x))
    other[:, j] = (other[:, j] + 1) % VOCAB
    for calls, changed in zip(
        recorded(mtp, x, targets), recorded(mtp, other, targets), strict=True
    ):
        same = (calls["out"] == changed["out"]).all(axis=(0, 2)).tolist()
        assert all(same[:j])
        assert not any(same[j : j + 1])


def test_a_head_without_a_mask_is_causal_and_a_mask_replaces_that():
    head = build(noise=0.3).heads[0]
    h, told = mx.random.normal((2, 2, 5, 8))
    later = mx.array([0.0, 0.0, 0.0, 1.0, 0.0])[:, None]
    causal, everything = mx.where(mx.tri(5) > 0, 0.0, -np.inf), mx.zeros((5, 5))
    for moved in ((h + later, told), (h, told + later)):
        assert mx.array_equal(head(h, told)[:, :3], head(*moved)[:, :3])
        assert not mx.allclose(head(h, told)[:, 3:], head(*moved)[:, 3:])
        seen = head(h, told, everything)[:, :3], head(*moved, everything)[:, :3]
        assert not mx.allclose(*seen)
    assert mx.allclose(head(h, told), head(h, told, causal), atol=1e-6)


def test_a_head_with_a_cache_says_what_it_says_at_once():
    head = build(noise=0.3).heads[0]
    h, told = mx.random.normal((2, 2, 7, 8))
    cache, parts = None, []
    for cut in (slice(0, 3), slice(3, 4), slice(4, 7)):
        out, cache = head.extend(h[:, cut], told[:, cut], cache=cache)
        parts.append(out)
    assert mx.allclose(mx.concatenate(parts, axis=1), head(h, told), atol=1e-5)


class Oracle(nn.Module):
    """Knows that tokens count up by a step: reads one, says the next."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def __call__(self, h, prev_embed, mask=None):
        return 100 * mx.roll(prev_embed, self.step, axis=-1)


@settings(max_examples=40, deadline=None)
@given(
    step=st.integers(0, VOCAB - 1),
    starts=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=3),
    depths=st.integers(1, 4),
    more=st.integers(1, 4),
)
def test_an_oracle_has_no_loss_on_arithmetic_sequences(step, starts, depths, more):
    mtp = build(depths, BlockConfig(d_model=VOCAB, n_heads=1, position="none"))
    mtp.model.embed.weight = mx.eye(VOCAB)
    mtp.heads = [Oracle(step) for _ in range(depths)]
    count = mx.arange(depths + more + 1)
    rows = (mx.array(starts)[:, None] + step * count) % VOCAB
    losses = mtp(rows[:, :-1], rows[:, 1:])[1]
    assert losses["mtp_loss"].item() < 1e-6
    mtp.heads = [Oracle(step + 1) for _ in range(depths)]
    losses = mtp(rows[:, :-1], rows[:, 1:])[1]
    assert all(losses[f"depth_{k}"].item() > 90 for k in range(1, depths + 1))


def leaky(head):
    """The same head, with attention that sees all positions."""

    class Leaky(MTPHead):
        def __call__(self, h, prev_embed, mask=None):
            return super().__call__(h, prev_embed, mx.zeros((h.shape[1],) * 2))

    open_head = Leaky(BlockConfig(d_model=32, n_heads=4))
    open_head.update(head.parameters())
    return open_head


@pytest.mark.parametrize("seed", [0, 1])
def test_random_tokens_stay_unpredictable_unless_the_head_sees_later_ones(
    seed, rows, trainer
):
    """100 updates on i.i.d. uniform tokens, then fresh ones: ln V is the floor."""

    def held_out(spoil):
        mtp = build(2, BlockConfig(d_model=32, n_heads=4), seed=seed)
        mtp.heads = [spoil(head) for head in mtp.heads]
        run = trainer(mtp, loss_fn=mtp_loss, max_steps=100, learning_rate=5e-3)
        run.train(rows(100, (16, 12), seed=seed))
        return run.evaluate(rows(4, (32, 12), seed=seed + 100))

    honest = held_out(lambda head: head)
    for name in ("main_loss", "depth_1", "depth_2"):
        assert np.log(VOCAB) - 0.01 < honest[f"eval_{name}"] < np.log(VOCAB) + 0.3
    assert held_out(leaky)["eval_mtp_loss"] < np.log(VOCAB) - 0.5


# --------------------------------------------------------------------- sums and masks


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_total_is_main_plus_weight_times_the_mean_over_depths(data):
    depths = data.draw(st.integers(1, 3))
    shape = data.draw(st.integers(1, 3)), depths + data.draw(st.integers(1, 3))
    weight = data.draw(st.floats(0, 2))
    bits = st.lists(st.booleans(), min_size=shape[1], max_size=shape[1])
    mask = mx.array(data.draw(st.lists(bits, min_size=shape[0], max_size=shape[0])))
    mtp, (x, targets) = build(depths), text(*shape)
    logits, losses = mtp(x, targets, mask, mtp_weight=weight)
    each = [losses[f"depth_{k}"].item() for k in range(1, depths + 1)]
    assert losses["mtp_loss"].item() == pytest.approx(np.mean(each), abs=1e-5)
    total = losses["main_loss"].item() + weight * np.mean(each)
    assert losses["total_loss"].item() == pytest.approx(total, abs=1e-5)
    assert len(losses) == depths + 3
    for k, loss in enumerate(each, start=1):
        if not mask[:, k:].any():
            assert loss == 0

    assert mx.array_equal(logits, mtp.model(x)[0])
    main, counted = next_token_loss(mtp.model, x, targets, mask)
    assert losses["main_loss"].item() == pytest.approx(main.item(), abs=1e-6)
    loss, metrics = mtp_loss(mtp, x, targets, mask, mtp_weight=weight)
    assert loss.item() == losses["total_loss"].item()
    assert metrics["tokens"].item() == counted["tokens"].item()
    assert metrics.keys() == losses.keys() - {"total_loss"} | {"tokens"}


def test_padding_changes_no_loss():
    mtp, (x, targets) = build(2), text(2, 8)
    pad = mx.array([[0, 0, 0]] * 2)
    mask = mx.array([[1] * 8 + [0] * 3] * 2)
    longer = mx.concatenate([x, pad], 1), mx.concatenate([targets, pad], 1)
    bare, padded = mtp(x, targets)[1], mtp(*longer, mask)[1]
    for name, loss in bare.items():
        assert padded[name].item() == pytest.approx(loss.item(), abs=1e-5)


def test_losses_of_a_bfloat16_model_are_float32():
    mtp = build(1)
    mtp.set_dtype(mx.bfloat16)
    _, losses = mtp(*text())
    assert {loss.dtype for loss in losses.values()} == {mx.float32}


# ------------------------------------------------------------------------- the module


@pytest.mark.parametrize("tied", [True, False])
def test_the_base_models_weights_are_there_once_and_learn_from_every_depth(tied):
    mtp = build(2, tied=tied)
    paths = [path for path, _ in tree_flatten(mtp.parameters())]
    base = [f"model.{path}" for path, _ in tree_flatten(mtp.model.parameters())]
    assert [p for p in paths if not p.startswith("heads.")] == base
    assert len(mtp.heads) == 2
    # Weight decay takes what has "embed" in its path for an embedding.
    assert not any("embed" in path for path in paths if path.startswith("heads."))

    def depth(k):
        return lambda model: model(*text())[1][f"depth_{k}"]

    for k in (1, 2):
        gradients = dict(tree_flatten(nn.value_and_grad(mtp, depth(k))(mtp)[1]))
        for path in ("model.embed.weight", "model.blocks.0.ffn.up_proj.weight"):
            assert gradients[path].abs().max() > 0
        if not tied:
            assert gradients["model.head.weight"].abs().max() > 0
        beyond = gradients["heads.1.proj.weight"].abs().max().item()
        assert (beyond > 0) == (k == 2)


def test_a_weight_that_is_an_array_is_no_parameter():
    mtp, plain = build(2, mtp_weight=mx.array(0.5)), build(2, mtp_weight=0.5)
    assert mtp.parameters().keys() == mtp.trainable_parameters().keys()
    assert not any("weight" in name for name in mtp.parameters())
    assert mtp(*text())[1]["total_loss"] == plain(*text())[1]["total_loss"]
    assert mtp.mtp_weight.item() == plain.mtp_weight == 0.5
    with pytest.raises(AttributeError):
        plain.mtp_weight = 0.7  # a compiled step would not notice


@pytest.mark.parametrize(
    "block",
    [
        BlockConfig(attention="gqa", d_model=8, n_heads=4, n_kv_heads=2, ffn="swiglu"),
        BlockConfig(d_model=8, n_heads=2, norm="layer_norm", bias=True, ffn="gelu"),
        BlockConfig(d_model=8, n_heads=2, position="learned", pre_norm=False),
    ],
)
def test_heads_are_made_of_the_base_models_block_or_of_another(block):
    alike, other = build(1, block), build(1, SMALL, block_config=block)
    shapes = [
        {path: p.shape for path, p in tree_flatten(mtp.heads[0].parameters())}
        for mtp in (alike, other)
    ]
    assert shapes[0] == shapes[1]
    for mtp in (alike, other):
        assert mx.isfinite(mtp(*text())[1]["total_loss"])


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"3 tokens are too short for n_predict=3.*at least 4",
         lambda: build(3)(*text(length=3))),
        (ValueError, r"n_predict must be at least 1, got 0.*next_token_loss",
         lambda: build(0)),
        (TypeError, r"n_predict must be an integer, got 1\.5", lambda: build(1.5)),
        (TypeError, r"n_predict must be an integer, got True", lambda: build(True)),
        (ValueError, r"mtp_weight must be .* of at least 0, got -1",
         lambda: build(mtp_weight=-1)),
        (ValueError, r"mtp_weight must be .*, got nan",
         lambda: build()(*text(), mtp_weight=float("nan"))),
        (TypeError, r"mtp_weight must be one number",
         lambda: build(mtp_weight=mx.ones(2))),
        (ValueError, r"block_config\.d_model must be 8.*got 16",
         lambda: build(block_config=replace(SMALL, d_model=16))),
        (TypeError, r"model must be a LanguageModel, got Linear",
         lambda: MultiTokenPrediction(nn.Linear(2, 2))),
        (ValueError, r"targets must have the shape \(2, 6\) of the input, got \(2, 5\)",
         lambda: build()(text()[0], text()[1][:, 1:])),
        (ValueError, r"mask must have the shape \(2, 6\) of the input, got \(2, 1\)",
         lambda: build()(*text(), mx.ones((2, 1)))),
        (ValueError, r"tokens must have shape",
         lambda: build()(mx.array([1, 2]), mx.array([1, 2]))),
    ],
)  # fmt: skip
def test_what_cannot_work_is_an_error_that_says_why(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_a_row_of_depths_plus_one_tokens_is_long_enough():
    _, losses = build(3)(*text(1, 4))
    assert all(mx.isfinite(loss) for loss in losses.values())


# ------------------------------------------------------------------- with the trainer


@pytest.mark.exact
def test_compiled_equals_eager_bit_for_bit(rows, trainer, weights, same):
    def run(compiled):
        mtp = build(2, replace(SMALL, dropout=0.2))
        run = trainer(mtp, loss_fn=mtp_loss, compile_step=compiled, max_steps=10)
        records = run.train(rows(10))
        assert run.trace_count == (1 if compiled else 10)
        return [record["loss"] for record in records], weights(mtp)

    (eager, eager_weights), (compiled, compiled_weights) = run(False), run(True)
    assert eager == compiled
    assert same(eager_weights, compiled_weights)


def test_a_live_weight_acts_without_a_new_trace(rows, trainer):
    live = {"mtp_weight": mx.array(0.0)}
    run = trainer(
        build(2),
        loss_fn=lambda *args: mtp_loss(*args, mtp_weight=live["mtp_weight"]),
        live=live,
        learning_rate=0.0,
    )
    for weight in (0.0, 0.3, 2.0):
        run.set_live("mtp_weight", weight)
        record = run.train_step(rows(1)[0])
        expected = record["main_loss"] + weight * record["mtp_loss"]
        assert record["loss"] == pytest.approx(expected, rel=1e-5)
    assert run.trace_count == 1


def test_micro_batches_equal_the_one_large_batch(rows, trainer, weights):
    batches = rows(4)
    joined = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    settings = {"loss_fn": mtp_loss, "rule": "sgd", "lr_schedule": "constant"}
    small = trainer(build(2), grad_accumulation_steps=4, **settings)
    large = trainer(build(2), **settings)
    (one,), (other,) = small.train(batches), large.train([joined])
    for name in ("loss", "main_loss", "mtp_loss", "depth_1", "depth_2", "tokens"):
        assert one[name] == pytest.approx(other[name], rel=1e-5)
    expected = weights(large.model)
    for path, value in weights(small.model).items():
        np.testing.assert_allclose(value, expected[path], atol=1e-6)


def test_a_batch_of_nothing_but_padding_moves_nothing(rows, trainer, weights, same):
    mtp = build(2)
    run = trainer(mtp, loss_fn=mtp_loss, rule="sgd", weight_decay=0.0)
    before = weights(mtp)
    record = run.train_step((*rows(1)[0], np.zeros((2, 5), np.float32)))
    assert record["loss"] == record["grad_norm"] == record["tokens"] == 0
    assert same(weights(mtp), before)


def test_the_trainer_checks_ids_against_the_base_models_vocabulary(rows, trainer):
    x, targets = rows(1)[0]
    run = trainer(build(1), loss_fn=mtp_loss)
    with pytest.raises(ValueError, match="outside the model's vocabulary of 11"):
        run.train_step((x, targets + VOCAB))


def test_training_the_whole_trains_the_base_model_itself(rows, trainer):
    mtp = build(1)
    base, x = mtp.model, mx.array(rows(1)[0][0])
    before = base(x)[0]
    trainer(mtp, loss_fn=mtp_loss, max_steps=30).train(rows(1) * 30)
    assert not mx.allclose(base(x)[0], before)
    saved = tree_unflatten(tree_flatten(mtp.model.parameters()))
    alone = LanguageModel(base.config)
    alone.update(saved)
    assert mx.array_equal(alone(x)[0], base(x)[0])
