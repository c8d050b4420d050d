"""GRPO inside the trainer; its reference; and what is said of bad arguments."""

from lmxlab.training.grpo import LOSS_TYPES, completion_logits, grpo_loss
from lmxlab.training.loss import target_log_probs
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

KINDS = pytest.mark.parametrize("kind", LOSS_TYPES)


class Broken(nn.Module):
    def __call__(self, tokens):
        raise AssertionError("the reference was run")


def make_batch(seed=0, rows=8, group=4):
    """(prompts, completions, rewards, mask, old_log_probs) of groups of 4."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(0, 11, (rows // group, 3)).repeat(group, axis=0)
    lengths = rng.integers(1, 5, (rows, 1))
    return (
        prompts.astype(np.int32),
        rng.integers(0, 11, (rows, 4), dtype=np.int32),
        rng.random(rows, dtype=np.float32),
        (np.arange(4) < lengths).astype(np.float32),
        (np.log(1 / 11) + 0.3 * rng.normal(size=(rows, 4))).astype(np.float32),
    )


def loss_fn(kind="grpo", reference=None, beta=0.2, **options):
    def loss(model, prompts, completions, rewards, mask, old):
        return grpo_loss(
            model, reference, prompts, completions, rewards, beta() if callable(beta)
            else beta, mask=mask, old_log_probs=old, group_size=4, loss_type=kind,
            return_metrics=True, **options,
        )  # fmt: skip

    return loss


@pytest.mark.exact
@KINDS
def test_compiled_equals_eager(kind, tiny, trainer, weights, same, untimed):
    runs = []
    for compiled in (True, False):
        loss = loss_fn(kind, tiny(seed=1))
        run = trainer(compile_step=compiled, loss_fn=loss, max_steps=4)
        records = untimed(run.train([make_batch(i) for i in range(4)]))
        runs.append((records, weights(run.model), run.trace_count))
    (compiled, w1, traces), (eager, w2, _) = runs
    assert traces == 1
    assert compiled == eager
    assert same(w1, w2)
    assert compiled[-1]["kl"] > 0


@KINDS
def test_micro_batches_of_whole_groups_equal_the_joint_batch(kind, tiny, trainer):
    joint = make_batch(rows=8)
    parts = [tuple(part[i : i + 4] for part in joint) for i in (0, 4)]
    settings = {"rule": "sgd", "loss_fn": loss_fn(kind, tiny(seed=1)), "beta1": 0.5}
    one, two = trainer(**settings), trainer(**settings)
    whole, split = one.train_step(joint), two.train_step_accumulated(parts)
    assert split["loss"] == pytest.approx(whole["loss"], abs=1e-6)
    assert split["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)
    if kind == "dapo":  # weighted by tokens, and so are its metrics
        assert split["tokens"] == whole["tokens"] == joint[3].sum()
        assert split["entropy"] == pytest.approx(whole["entropy"], rel=1e-5)
    else:
        assert split["reward_mean"] == pytest.approx(whole["reward_mean"], rel=1e-5)


def test_live_knobs_act_without_a_new_trace(tiny, trainer):
    live = {"beta": mx.array(0.0), "epsilon": mx.array(0.2)}

    def loss(model, prompts, completions, rewards, mask, old):
        return grpo_loss(
            model, reference, prompts, completions, rewards, live["beta"],
            live["epsilon"], mask=mask, old_log_probs=old, group_size=4,
            return_metrics=True,
        )  # fmt: skip

    reference = tiny(seed=1)
    run = trainer(loss_fn=loss, live=live, learning_rate=0.0)
    batch = make_batch()
    free = run.train_step(batch)
    run.set_live("beta", 2.0)
    bound = run.train_step(batch)
    assert bound["loss"] - free["loss"] > free["kl"] > 0
    run.set_live("epsilon", 0.0)
    assert run.train_step(batch)["clip_share"] > bound["clip_share"]
    assert run.trace_count == 1


def test_kl_is_a_leash(tiny, trainer):
    """With a large beta alone, the policy returns to its reference."""
    reference = tiny(seed=1)

    def loss(model, prompts, completions, rewards, *_):
        return grpo_loss(
            model, reference, prompts, completions, 0 * rewards, 1.0, group_size=4,
            return_metrics=True,
        )  # fmt: skip

    records = trainer(loss_fn=loss).train([make_batch()] * 40)
    assert records[-1]["kl"] < 0.1 * records[0]["kl"]


def test_the_reference_is_not_run_when_nothing_asks_for_it(tiny):
    prompts, completions, rewards, mask, _ = map(mx.array, make_batch())
    arrays = prompts, completions, rewards
    plain, metrics = grpo_loss(
        tiny(), Broken(), *arrays, 0, group_size=4, return_metrics=True
    )
    assert "kl" not in metrics
    assert mx.isfinite(plain).item()
    with pytest.raises(AssertionError, match="was run"):
        grpo_loss(tiny(), Broken(), *arrays, mx.array(0.0), group_size=4)
    reference = tiny(seed=1)
    logits = completion_logits(reference, prompts, completions)
    known = target_log_probs(logits, completions)
    given = grpo_loss(
        tiny(), Broken(), *arrays, 0.3, group_size=4, ref_log_probs=known, mask=mask
    )
    run = grpo_loss(tiny(), reference, *arrays, 0.3, group_size=4, mask=mask)
    assert given.item() == pytest.approx(run.item(), abs=1e-6)


def test_the_reference_has_no_dropout_and_keeps_its_mode(tiny):
    prompts, completions, rewards, *_ = map(mx.array, make_batch())
    wild, calm = tiny(dropout=0.9, seed=1), tiny(seed=1)
    wild.train()
    losses = [
        grpo_loss(tiny(), ref, prompts, completions, rewards, 0.3, group_size=4).item()
        for ref in (wild, calm)
    ]
    assert losses[0] == losses[1]
    assert wild.training
    assert wild.blocks[0].dropout.training


def test_the_reference_gets_no_gradient(tiny):
    prompts, completions, rewards, *_ = map(mx.array, make_batch())
    policy, reference = tiny(), tiny(seed=1)
    grads = nn.value_and_grad(
        reference,
        lambda ref: grpo_loss(
            policy, ref, prompts, completions, rewards, 1.0, group_size=4
        ),
    )(reference)[1]
    assert mx.all(grads["embed"]["weight"] == 0).item()


def test_advantages_stand_in_for_rewards_that_are_only_reported(tiny):
    prompts, completions, rewards, *_ = map(mx.array, make_batch())
    arrays = tiny(), None, prompts, completions

    def run(rewards, **options):
        old = mx.full((8, 4), -2.0)
        return grpo_loss(
            *arrays, rewards, 0, return_metrics=True, old_log_probs=old, **options
        )

    advantages = mx.array([1.0, -1, 0, 0, 2, -2, 1, -1])
    loss, metrics = run(rewards, advantages=advantages)
    other, _ = run(rewards * 0, advantages=advantages)
    assert loss.item() == other.item() != 0
    assert metrics["reward_mean"].item() == pytest.approx(rewards.mean().item())
    assert metrics["zero_variance_groups"].item() == 0.25
    _, metrics = run(rewards, advantages=advantages, group_size=4)
    assert metrics["zero_variance_groups"].item() == 0


def test_a_token_is_predicted_from_those_before_it(tiny):
    model = tiny()
    prompts, completions, *_ = map(mx.array, make_batch())
    logits = completion_logits(model, prompts, completions)
    for t in range(4):
        before = mx.concatenate([prompts, completions[:, :t]], axis=1)
        alone = model(before)[0][:, -1]
        assert mx.allclose(logits[:, t], alone, atol=1e-5)


def test_temperature_divides_the_logits(tiny):
    prompts, completions, *_ = map(mx.array, make_batch())
    model = tiny()
    cold = completion_logits(model, prompts, completions, 0.5)
    plain = completion_logits(model, prompts, completions)
    assert mx.allclose(cold, 2 * plain)
    assert cold.shape == (8, 4, 11)


def test_without_metrics_the_loss_is_a_scalar(tiny):
    prompts, completions, rewards, *_ = map(mx.array, make_batch())
    loss = grpo_loss(tiny(), tiny(), prompts, completions, rewards)
    assert loss.shape == ()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beta": -0.1}, ValueError, "beta must be a finite number of at least 0"),
        ({"beta": "0.1"}, TypeError, "beta must be a number"),
        ({"beta": mx.zeros(2)}, TypeError, "beta must be one number"),
        ({"epsilon": 1.5}, ValueError, r"epsilon must be a finite number in \[0, 1\]"),
        ({"epsilon_high": -1}, ValueError, "epsilon_high must be a finite number"),
        ({"loss_type": "gropo"}, ValueError, "did you mean 'grpo'"),
        ({"temperature": 0}, ValueError, "temperature must be above 0, got 0"),
        ({"temperature": -1.0}, ValueError, "temperature must be a finite number"),
        ({"max_length": 0}, ValueError, "max_length must be at least 1, got 0"),
        ({"group_size": 3}, ValueError, "divides the batch of 8, got 3"),
        ({"mask": mx.ones((8, 3))}, ValueError, r"mask must have shape \(8, 4\), got"),
        ({"old_log_probs": mx.ones(8)}, ValueError, "old_log_probs must have shape"),
        ({"ref_log_probs": mx.ones(8)}, ValueError, "ref_log_probs must have shape"),
        ({"advantages": mx.ones((8, 1))}, ValueError, "advantages must have shape"),
        ({"rewards": mx.ones(7)}, ValueError, r"rewards must have shape \(8,\), got"),
        ({"prompts": mx.ones(8)}, ValueError, "prompts must have shape"),
        ({"completions": mx.zeros((8, 0))}, ValueError, "completions must have shape"),
        ({"completions": mx.zeros((7, 4))}, ValueError, "completions must have shape"),
        ({"ref_model": None}, ValueError, "pass ref_model or ref_log_probs, or beta=0"),
    ],
)
def test_bad_arguments_are_named(tiny, options, error, message):
    prompts, completions, rewards, *_ = map(mx.array, make_batch())
    arguments = {
        "model": tiny(), "ref_model": tiny(), "prompts": prompts,
        "completions": completions, "rewards": rewards,
    } | options  # fmt: skip
    with pytest.raises(error, match=message):
        grpo_loss(**arguments)


def test_groups_from_prompts_in_a_compiled_step_are_a_clear_error(tiny, trainer):
    def loss(model, prompts, completions, rewards, *_):
        return grpo_loss(model, None, prompts, completions, rewards, 0)

    run = trainer(loss_fn=loss)
    with pytest.raises(ValueError, match="pass group_size or advantages"):
        run.train_step(make_batch())
    run.loss_fn = loss_fn(beta=0)  # the model is as it was
    assert run.train_step(make_batch())["step"] == 1
