"""The DPO losses: their values and gradients, what they ignore, and how they train."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training.dpo import (
    LOSS_TYPES,
    completion_mask,
    dpo_diagnostics,
    dpo_loss,
    reference_log_probs,
    sequence_log_probs,
)
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
import numpy as np
import pytest

KINDS = pytest.mark.parametrize("kind", LOSS_TYPES)
EPS = {"sigmoid": 0.2, "sigmoid_norm": 0.1, "ipo": 0.0, "hinge": 0.0}


def bigram(weight, dtype=mx.float64):
    """A model whose logits after token i are row i of the weight."""
    model = nn.Embedding(*weight.shape)
    model.weight = mx.array(weight, dtype)
    return model


def numpy_sums(weight, tokens, mask):
    top = weight.max(-1, keepdims=True)
    log_p = weight - top - np.log(np.exp(weight - top).sum(-1, keepdims=True))
    return (mask * log_p[tokens[:, :-1], tokens[:, 1:]]).sum(1)


def numpy_loss(weight, reference, pair, masks, beta, kind, eps, nll_weight):
    policy = [numpy_sums(weight, *side) for side in zip(pair, masks, strict=True)]
    fixed = [numpy_sums(reference, *side) for side in zip(pair, masks, strict=True)]
    n = [np.maximum(mask.sum(1), 1) for mask in masks]
    nll = (-policy[0] / n[0]).mean()
    chosen, rejected = (policy[i] - fixed[i] for i in (0, 1))
    if kind in ("ipo", "sigmoid_norm"):
        chosen, rejected = chosen / n[0], rejected / n[1]
    x = beta * (chosen - rejected)
    losses = {
        "ipo": (x / beta - 1 / (2 * beta)) ** 2,
        "hinge": np.clip(1 - x, 0, None),
    }.get(kind, (1 - eps) * np.logaddexp(0, -x) + eps * np.logaddexp(0, x))
    return losses.mean() + nll_weight * nll


def tables(seed, vocab):
    rng = np.random.default_rng(seed)
    return rng, 2 * rng.normal(size=(vocab, vocab)), rng.normal(size=(vocab, vocab))


def loss_and_grad(model, reference, pair, **options):
    """The loss as a number, and its gradient on the weight as NumPy."""

    def loss(model):
        return dpo_loss(model, reference, *map(mx.array, pair), **options)

    with pytest.MonkeyPatch.context() as patch:
        if model.weight.dtype == mx.float64:
            # MLX's own float64 exp is only as exact as float32 (1e-7, MLX 0.32.4).
            e = mx.array(math.e, mx.float64)
            patch.setattr(mx, "exp", lambda x: mx.power(e, x))
        value, grads = nn.value_and_grad(model, loss)(model)
    return value.item(), np.array(grads["weight"])


def transformer(seed=0, dropout=0.0):
    mx.random.seed(seed)
    block = BlockConfig(d_model=16, n_heads=2, dropout=dropout)
    return LanguageModel(ModelConfig(block, vocab_size=11, n_layers=1))


def tokens(rows, length, seed=0, vocab=11):
    rng = np.random.default_rng(seed)
    return rng.integers(vocab, size=(rows, length)).astype(np.int32)


def pairs(n=1, rows=3, length=6):
    return [(tokens(rows, length, i), tokens(rows, length, 99 + i)) for i in range(n)]


# ----------------------------------------------------------------- values and gradients


@KINDS
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 4),
    lengths=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    vocab=st.integers(1, 5),
    keep=st.sampled_from([0.0, 0.5, 1.0]),
    beta=st.floats(0.05, 2),
    nll_weight=st.sampled_from([0.0, 0.7]),
)
def test_values_and_gradients_are_those_of_the_formula(
    kind, seed, rows, lengths, vocab, keep, beta, nll_weight
):
    rng, weight, reference = tables(seed, vocab)
    pair = [rng.integers(vocab, size=(rows, n)) for n in lengths]
    masks = [(rng.random((rows, n - 1)) < keep).astype(float) for n in lengths]
    formula = pair, masks, beta, kind, EPS[kind], nll_weight
    options = {
        "chosen_mask": mx.array(masks[0]),
        "rejected_mask": mx.array(masks[1]),
        "loss_type": kind,
        "label_smoothing": EPS[kind],
        "nll_weight": nll_weight,
    }
    expected = numpy_loss(weight, reference, *formula)
    value, grad = loss_and_grad(
        bigram(weight), bigram(reference), pair, beta=beta, **options
    )
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)
    direction = rng.normal(size=weight.shape)
    slopes = [
        numpy_loss(weight + h * direction, reference, *formula) - expected
        for h in (1e-6, -1e-6)
    ]
    if kind != "hinge" or abs(slopes[0] + slopes[1]) < 1e-9:  # not across its kink
        slope = (slopes[0] - slopes[1]) / 2e-6
        assert (grad * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-7)
    single = bigram(weight, mx.float32), bigram(reference, mx.float32)
    value, _ = loss_and_grad(*single, pair, beta=beta, **options)
    assert value == pytest.approx(expected, rel=2e-5, abs=1e-5)


@KINDS
@pytest.mark.parametrize("same", [True, False], ids=["at the reference", "away"])
def test_values_and_gradients_are_those_of_pytorch(kind, same):
    torch = pytest.importorskip("torch")
    _, weight, reference = tables(1, 7)
    weight = reference if same else weight
    pair, starts = (tokens(5, 6, 1, 7), tokens(5, 8, 2, 7)), np.array([1, 2, 3, 4, 5])
    beta, eps = 0.3, EPS[kind]
    value, grad = loss_and_grad(
        bigram(weight),
        bigram(reference),
        pair,
        beta=beta,
        prompt_lengths=mx.array(starts),
        loss_type=kind,
        label_smoothing=eps,
        nll_weight=0.5,
    )

    table = torch.tensor(weight, requires_grad=True)

    def log_probs(table, rows):
        rows = torch.tensor(rows).long()
        log_p = torch.log_softmax(table[rows[:, :-1]], -1)
        log_p = log_p.gather(-1, rows[:, 1:, None])[..., 0]
        place = torch.arange(1, rows.shape[1])
        return log_p.masked_fill(place < torch.tensor(starts)[:, None], 0).sum(1)

    ratios = [log_probs(table, s) - log_probs(torch.tensor(reference), s) for s in pair]
    n = [torch.tensor(side.shape[1] - starts) for side in pair]
    nll = -(log_probs(table, pair[0]) / n[0]).mean()
    mean = kind in ("ipo", "sigmoid_norm")
    chosen, rejected = (r / k if mean else r for r, k in zip(ratios, n, strict=True))
    margin = chosen - rejected
    if kind == "ipo":
        losses = (margin - 1 / (2 * beta)) ** 2
    elif kind == "hinge":
        losses = torch.relu(1 - beta * margin)
    else:
        sigmoid = torch.nn.functional.logsigmoid
        losses = -(1 - eps) * sigmoid(beta * margin) - eps * sigmoid(-beta * margin)
    loss = losses.mean() + 0.5 * nll
    loss.backward()
    assert value == pytest.approx(loss.item(), abs=1e-13)
    np.testing.assert_allclose(grad, table.grad.numpy(), atol=1e-13)
    assert np.abs(grad).max() > 1e-3


def test_a_policy_equal_to_its_reference_has_loss_log_2():
    model, pair = transformer(), map(mx.array, pairs()[0])
    loss, metrics = dpo_loss(model, transformer(), *pair, return_metrics=True)
    assert loss.item() == np.log(np.float32(2))
    assert metrics["reward_margin"].item() == metrics["accuracy"].item() == 0


@KINDS
@pytest.mark.parametrize("side", [1, -1])
def test_huge_margins_give_finite_losses_and_gradients(kind, side):
    weight = np.array([[0, side * 1e4], [0, 0]])
    pair = np.array([[0, 1]]), np.array([[0, 0]])
    model, reference = bigram(weight, mx.float32), bigram(0 * weight, mx.float32)
    value, grad = loss_and_grad(model, reference, pair, beta=1.0, loss_type=kind)
    margin = side * 1e4
    slopes = {"ipo": 2 * (margin - 0.5)}.get(kind, 0.0 if side > 0 else -1.0)
    assert math.isfinite(value)
    np.testing.assert_allclose(grad, [[-slopes, slopes], [0, 0]], rtol=1e-6)


def test_swapping_a_pair_turns_its_margin_round():
    _, weight, reference = tables(2, 5)
    pair = tokens(4, 5, 1, 5), tokens(4, 7, 2, 5)
    ratios = [
        numpy_sums(weight, side, 1) - numpy_sums(reference, side, 1) for side in pair
    ]
    margin = (ratios[0] - ratios[1]).mean()
    mean_margin = (ratios[0] / 4 - ratios[1] / 6).mean()

    def both(**options):
        models = bigram(weight), bigram(reference)
        sides = pair, pair[::-1]
        return [loss_and_grad(*models, side, **options)[0] for side in sides]

    kept, swapped = both(beta=0.4)
    assert kept - swapped == pytest.approx(-0.4 * margin, abs=1e-12)
    mixed = both(beta=0.4, label_smoothing=0.3)[0]
    assert mixed == pytest.approx(0.7 * kept + 0.3 * swapped, abs=1e-12)
    kept, swapped = both(loss_type="ipo", beta=0.4)
    assert kept - swapped == pytest.approx(-2 / 0.4 * mean_margin, abs=1e-12)
    assert sum(both(loss_type="hinge", beta=1e-3)) == pytest.approx(2, abs=1e-12)


def test_ipo_is_least_where_the_margin_is_half_of_1_over_beta():
    pair = np.array([[0, 1]]), np.array([[0, 0]])  # their margin is logit 1 - logit 0
    options = {"beta": 0.25, "loss_type": "ipo"}
    losses = {}
    for margin in (1.9, 2.0, 2.1):
        model, reference = (bigram(np.array([[0, m], [0, 0]])) for m in (margin, 0))
        losses[margin], grad = loss_and_grad(model, reference, pair, **options)
        assert grad[0, 1] == pytest.approx(2 * (margin - 2), abs=1e-12)
    assert losses[2.0] == pytest.approx(0, abs=1e-24)
    assert losses[1.9] == pytest.approx(losses[2.1]) == pytest.approx(0.01)


def test_a_text_said_twice_weighs_the_same_only_when_length_is_divided_out():
    _, weight, reference = tables(3, 4)
    models = bigram(weight), bigram(reference)
    once = np.array([[0, 1, 2, 0]]), np.array([[0, 3, 1, 0]])
    twice = [np.concatenate([side, side[:, 1:]], axis=1) for side in once]
    for kind, equal in (("sigmoid_norm", True), ("ipo", True), ("sigmoid", False)):
        values = [loss_and_grad(*models, p, loss_type=kind)[0] for p in (once, twice)]
        assert (abs(values[0] - values[1]) < 1e-12) == equal


# ------------------------------------------------------------- what must change nothing


@KINDS
def test_prompts_and_padding_change_neither_the_loss_nor_the_gradient(kind):
    """Every input token is another one, so each row of the weight is one position."""
    rng, weight, reference = tables(4, 40)
    pair = np.arange(18).reshape(3, 6), np.arange(18, 36).reshape(3, 6)
    starts, ends = np.array([2, 1, 4]), np.array([5, 6, 5])
    place = np.arange(1, 6)
    padding = mx.array(place < ends[:, None])
    options = {"chosen_mask": padding, "rejected_mask": padding}
    options |= {"prompt_lengths": mx.array(starts), "loss_type": kind}
    options |= {"nll_weight": 0.5, "beta": 0.05}
    value, grad = loss_and_grad(bigram(weight), bigram(reference), pair, **options)
    outside = (place < starts[:, None]) | (place >= ends[:, None])  # over targets
    for side in pair:
        inputs = side[:, :-1]
        assert (grad[inputs[outside]] == 0).all()
        assert (np.abs(grad[inputs[~outside]]).max(axis=1) > 0).all()
        weight[inputs[outside]] = rng.normal(size=(outside.sum(), 40))
        side[0, 5:], side[2, 5:] = 38, 39
    again, other = loss_and_grad(bigram(weight), bigram(reference), pair, **options)
    assert again == value
    np.testing.assert_array_equal(other, grad)


@KINDS
def test_a_pair_without_targets_has_margin_0_and_no_gradient(kind):
    """Even if its texts are impossible under both models."""
    weight = np.array([[-np.inf, 0.0], [0.0, 1.0]])
    pair = np.array([[0, 0, 0]]), np.array([[1, 0, 0]])
    none = mx.zeros((1, 2))
    options = {"loss_type": kind, "chosen_mask": none, "rejected_mask": none}
    models = bigram(weight), bigram(weight)
    value, grad = loss_and_grad(*models, pair, beta=0.5, nll_weight=2.0, **options)
    at_0 = {"ipo": 1.0, "hinge": 1.0}.get(kind, math.log(2))
    assert value == pytest.approx(at_0, abs=1e-15)
    np.testing.assert_array_equal(grad, 0)


def test_the_reference_gets_no_gradient_even_if_it_is_the_policy():
    pair, reference = pairs()[0], transformer(1)
    both = nn.Sequential(transformer(0), reference)

    def loss(both):
        return dpo_loss(*both.layers, *map(mx.array, pair))

    grads = nn.value_and_grad(both, loss)(both)[1]["layers"]
    assert max(mx.abs(g).max().item() for _, g in tree_flatten(grads[0])) > 1e-3
    assert all((g == 0).all().item() for _, g in tree_flatten(grads[1]))

    _, weight, _ = tables(5, 11)
    model = bigram(weight)
    np.testing.assert_array_equal(
        loss_and_grad(model, model, pair)[1],
        loss_and_grad(model, bigram(weight), pair)[1],
    )


def test_the_reference_has_no_dropout_and_keeps_its_modes():
    pair = [mx.array(side) for side in pairs()[0]]
    dropping, plain = transformer(1, dropout=0.5), transformer(1)
    policy = transformer(0)
    dropping.blocks[0].eval()
    modes = [module.training for module in dropping.modules()]
    expected = dpo_loss(policy, plain, *pair).item()
    assert dpo_loss(policy, dropping, *pair).item() == expected
    kept = reference_log_probs(dropping, *pair), reference_log_probs(plain, *pair)
    assert all((a == b).all().item() for a, b in zip(*kept, strict=True))
    assert [module.training for module in dropping.modules()] == modes
    assert len({dpo_loss(dropping, plain, *pair).item() for _ in range(3)}) == 3


@KINDS
@pytest.mark.parametrize("lengths", [(6, 6), (5, 8)])
def test_the_reference_can_be_run_ahead_of_training(kind, lengths):
    pair = [mx.array(tokens(3, n, n)) for n in lengths]
    masks = {"chosen_mask": mx.array(tokens(3, lengths[0] - 1, 7, 2))}
    masks |= {"prompt_lengths": mx.array([2, 3, 1])}
    policy, reference = transformer(0), transformer(1)
    chosen, rejected = reference_log_probs(reference, *pair, **masks)
    kept = {"ref_chosen_log_probs": chosen, "ref_rejected_log_probs": rejected}
    options = {"loss_type": kind, "return_metrics": True, **masks}
    ahead = dpo_loss(policy, None, *pair, **kept, **options)
    running = dpo_loss(policy, reference, *pair, **options)
    assert ahead[0].item() == running[0].item()
    assert {k: v.item() for k, v in ahead[1].items()} == {
        k: v.item() for k, v in running[1].items()
    }


def test_texts_of_one_shape_share_a_forward_pass_with_the_values_of_two():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.calls = transformer(), 0

        def __call__(self, tokens):
            self.calls += 1
            return self.inner(tokens)

    model, reference = Counting(), transformer(1)
    chosen, rejected = (mx.array(side) for side in pairs()[0])
    longer = mx.concatenate([rejected, rejected[:, :2]], axis=1)  # two of padding
    mask = mx.broadcast_to(mx.arange(1, 8) < 6, (3, 7))
    shared = dpo_loss(model, reference, chosen, rejected).item()
    assert model.calls == 1
    apart = dpo_loss(model, reference, chosen, longer, rejected_mask=mask).item()
    assert model.calls == 3
    assert shared == pytest.approx(apart, abs=1e-6)


# --------------------------------------------------------------------- parts and checks


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.lists(st.integers(0, 10), min_size=1, max_size=4))
def test_the_mask_marks_the_targets_from_the_last_token_of_the_prompt_on(
    length, prompts
):
    expected = [[float(p - 1 <= j) for j in range(length - 1)] for p in prompts]
    for given_as in (prompts, mx.array(prompts), mx.array(prompts, mx.uint32)):
        assert completion_mask(length, given_as).tolist() == expected
    if prompts[0] < length:
        assert completion_mask(length, prompts[0]).tolist() == expected[:1]


def test_log_probs_are_sums_over_the_targets_that_count():
    rng, weight, _ = tables(6, 5)
    rows, mask = tokens(4, 6, 0, 5), rng.integers(2, size=(4, 5))
    for counts, kept in ((np.ones((4, 5)), None), (mask, mx.array(mask))):
        found = sequence_log_probs(bigram(weight), mx.array(rows), kept)
        expected = numpy_sums(weight, rows, counts)
        np.testing.assert_allclose(np.array(found), expected, atol=1e-13)


def test_metrics_report_each_side_and_the_cross_entropy_of_the_chosen():
    sides = [np.array(v) for v in ([-1.0, -4], [-3.0, -1], [-2.0, -2], [-2.0, -2])]
    found = dpo_diagnostics(*map(mx.array, sides), beta=0.5)
    assert {name: value.item() for name, value in found.items()} == {
        "chosen_reward": -0.25,
        "rejected_reward": 0.0,
        "reward_margin": -0.25,
        "accuracy": 0.5,
        "chosen_log_prob": -2.5,
        "rejected_log_prob": -2.0,
    }
    _, weight, reference = tables(7, 11)
    models, pair = (bigram(weight), bigram(reference)), pairs()[0]
    chosen, rejected = (numpy_sums(weight, side, np.ones((3, 5))) for side in pair)
    for kind, n in (("sigmoid", 1), ("hinge", 1), ("ipo", 5), ("sigmoid_norm", 5)):
        arrays = map(mx.array, pair)
        _, found = dpo_loss(*models, *arrays, loss_type=kind, return_metrics=True)
        assert found["chosen_log_prob"].item() == pytest.approx(chosen.mean() / n)
        assert found["rejected_log_prob"].item() == pytest.approx(rejected.mean() / n)
        assert found["nll"].item() == pytest.approx(-chosen.mean() / 5)


ROWS = mx.array([[1, 2, 3], [4, 5, 6]])
SUMS = mx.zeros(2)
BAD = [
    ({"beta": 0}, r"beta must be a finite number of at least"),
    ({"beta": math.nan}, r"beta must be a finite number"),
    ({"nll_weight": -1}, r"nll_weight .* got -1"),
    ({"label_smoothing": 0.5}, r"label_smoothing must be below 0.5"),
    ({"label_smoothing": 0.1, "loss_type": "ipo"}, r"no meaning in loss_type='ipo'"),
    ({"label_smoothing": mx.array(0.0), "loss_type": "hinge"}, r"no meaning"),
    ({"loss_type": "sigmod"}, r"loss_type must be one of .*'sigmod'"),
    ({"ref_model": None}, r"pass ref_model, or both"),
    ({"ref_chosen_log_probs": SUMS}, r"or both ref_chosen_log_probs"),
    ({"ref_model": None, "ref_rejected_log_probs": SUMS}, r"or both"),
    (
        {"ref_chosen_log_probs": SUMS, "ref_rejected_log_probs": SUMS[:, None]},
        r"one sum per pair, shape \(2,\), got \(2,\) and \(2, 1\)",
    ),
    ({"chosen": ROWS[:1]}, r"one row per pair, got shapes \(1, 3\)"),
    ({"chosen": ROWS[0]}, r"chosen must have shape \(B, L\) .* got \(3,\)"),
    ({"rejected": ROWS[:, :1]}, r"rejected must have shape .* L >= 2"),
    ({"rejected": ROWS * 1.0}, r"rejected must be an mx.array of integers"),
    ({"chosen": np.array(ROWS)}, r"chosen must be an mx.array of integers"),
    ({"chosen_mask": mx.ones((2, 3))}, r"mask of chosen .* \(2, 2\), got \(2, 3\)"),
    ({"prompt_lengths": 3}, r"prompt_lengths=3 leaves no completion in rows of 3"),
    ({"prompt_lengths": mx.array([1, 1, 1])}, r"one number or of shape \(2,\)"),
    ({"prompt_lengths": mx.array([1.0, 2.0])}, r"prompt_lengths must be integers"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_arguments_are_named(bad, message):
    model = bigram(np.zeros((7, 7)))
    good = {"model": model, "ref_model": model, "chosen": ROWS, "rejected": ROWS}
    with pytest.raises((TypeError, ValueError), match=message):
        dpo_loss(**(good | bad))


# ------------------------------------------------------------------- inside the trainer


def preferring(reference, **options):
    def loss_fn(model, *pair):
        return dpo_loss(model, reference, *pair, return_metrics=True, **options)

    return loss_fn


@pytest.mark.exact
def test_compiled_equals_eager_with_dropout_in_the_policy(trainer, weights, same):
    def run(compiled):
        loss_fn = preferring(transformer(1, dropout=0.5), nll_weight=1.0)
        run = trainer(dropout=0.3, compile_step=compiled, loss_fn=loss_fn, max_steps=8)
        return [r["loss"] for r in run.train(pairs(8))], weights(run.model)

    (eager, eager_weights), (compiled, compiled_weights) = run(False), run(True)
    assert compiled == eager
    assert same(compiled_weights, eager_weights)


def test_micro_batches_equal_the_one_large_batch(trainer, weights):
    """Pairs are the unit: long and short ones weigh the same."""
    long, short = pairs(1, rows=1, length=9)[0], pairs(1, rows=3, length=4)[0]
    wide = [np.pad(side, ((0, 0), (0, 5))) for side in short]
    whole = [np.concatenate(sides) for sides in zip(long, wide, strict=True)]
    mask = (np.arange(8) < np.array([8, 3, 3, 3])[:, None]).astype(np.float32)
    reference = transformer(1)

    def loss_fn(model, *pair):
        mask = pair[2] if len(pair) == 3 else None
        return dpo_loss(
            model, reference, *pair[:2], chosen_mask=mask, rejected_mask=mask,
            loss_type="sigmoid_norm", nll_weight=1.0, return_metrics=True,
        )  # fmt: skip

    runs = [trainer(rule="sgd", learning_rate=0.1, loss_fn=loss_fn) for _ in range(2)]
    record = runs[0].train_step_accumulated([long, short])
    expected = runs[1].train_step((*whole, mask))
    for name in ("loss", "nll", "reward_margin", "accuracy"):
        assert record[name] == pytest.approx(expected[name], abs=1e-6)
    large = weights(runs[1].model)
    for path, value in weights(runs[0].model).items():
        np.testing.assert_allclose(value, large[path], atol=1e-6)


def test_live_knobs_act_without_a_new_trace(trainer):
    live = {name: mx.array(0.1) for name in ("beta", "eps", "weight")}
    reference = transformer(1)

    def loss_fn(model, *pair):
        return dpo_loss(
            model, reference, *pair, live["beta"], label_smoothing=live["eps"],
            nll_weight=live["weight"], return_metrics=True,
        )  # fmt: skip

    run = trainer(loss_fn=loss_fn, live=live, learning_rate=0.0)
    batch = pairs()[0]
    records = [run.train_step(batch)]
    for name, value in (("beta", 0.2), ("eps", 0.3), ("weight", 0.0)):
        run.set_live(name, value)
        records.append(run.train_step(batch))
    assert len({record["loss"] for record in records}) == 4
    ratio = records[1]["reward_margin"] / records[0]["reward_margin"]
    assert ratio == pytest.approx(2, rel=1e-5)
    assert run.trace_count == 1


def test_kept_log_probs_train_like_the_reference_itself(trainer, weights):
    reference, batches = transformer(1), pairs(6)

    def loss_fn(model, chosen, rejected, ref_chosen, ref_rejected):
        kept = {
            "ref_chosen_log_probs": ref_chosen,
            "ref_rejected_log_probs": ref_rejected,
        }
        return dpo_loss(model, None, chosen, rejected, **kept)

    ahead = [
        (*pair, *map(np.array, reference_log_probs(reference, *map(mx.array, pair))))
        for pair in batches
    ]
    run = trainer(loss_fn=loss_fn)
    other = trainer(loss_fn=preferring(reference))
    run.train(ahead)
    other.train(batches)
    expected = weights(other.model)
    for path, value in weights(run.model).items():
        np.testing.assert_allclose(value, expected[path], atol=1e-5)
