"""Rollouts are what the model says, and the same again from the same place."""

import copy
import json

from lmxlab.data.batching import Resumable
from lmxlab.training.checkpointing import load_run, save_run
from lmxlab.training.groups import group_advantages
from lmxlab.training.grpo import completion_logits
from lmxlab.training.loss import target_log_probs
from lmxlab.training.rollouts import GRPOBatches, rollout
import mlx.core as mx
import numpy as np
import pytest

POOL = np.arange(20, dtype=np.int32).reshape(10, 2) % 11
STOP = 3
NAMES = ("prompts", "completions", "old", "mask", "rewards", "advantages", "equal")
NAMES += ("temperature",)


def evens(prompt, completion):
    return sum(token % 2 == 0 for token in completion)


def brevity(prompt, completion):
    return 1 / len(completion)


def make(model, rewards=evens, prompts=POOL, **options):
    defaults = {"max_new_tokens": 5, "n_prompts": 4, "group_size": 3}
    return GRPOBatches(
        model, prompts, rewards, **(defaults | {"stop_token": STOP} | options)
    )


def equal(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x, y) for x, y in zip(a, b, strict=True)
    )


# ------------------------------------------------------------------------- rollout


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("stop", [None, STOP])
def test_log_probs_are_those_of_a_full_forward_pass(tiny, temperature, stop):
    model = tiny()
    prompts = mx.array(POOL.repeat(4, axis=0))
    out = rollout(model, prompts, 6, temperature=temperature, stop_token=stop, seed=0)
    logits = completion_logits(model, out.prompts, out.completions, temperature)
    whole = target_log_probs(logits, out.completions)
    np.testing.assert_allclose(out.log_probs, whole * out.mask, atol=1e-4)
    assert np.array_equal(out.prompts, prompts)
    assert out.completions.shape == out.mask.shape == (40, 6)


def test_the_mask_ends_with_the_stop_token(tiny):
    out = rollout(tiny(), POOL.repeat(4, axis=0), 6, stop_token=STOP, seed=0)
    lengths = set()
    for tokens, mask in zip(out.completions.tolist(), out.mask.tolist(), strict=True):
        end = tokens.index(STOP) + 1 if STOP in tokens else len(tokens)
        assert mask == [1] * end + [0] * (6 - end)
        assert set(tokens[end:]) <= {STOP}
        lengths.add(end)
    assert {1, 6} < lengths


def test_without_a_stop_token_all_counts(tiny):
    assert rollout(tiny(), POOL, 4, seed=0).mask.tolist() == [[1] * 4] * 10


def test_a_seed_or_a_key_fixes_the_draws_and_training_never_notices(tiny):
    model = tiny()
    before = np.array(mx.random.state[0])
    one, two = (rollout(model, POOL, 6, seed=1) for _ in range(2))
    key = rollout(model, POOL, 6, key=mx.random.key(1))
    assert equal(one, two)
    assert equal(one, key)
    assert not equal(one, rollout(model, POOL, 6, seed=2))
    assert np.array_equal(before, np.array(mx.random.state[0]))


def test_at_temperature_0_nothing_is_chance(tiny):
    out = rollout(tiny(), POOL, 4, temperature=0)
    assert mx.all(out.log_probs == 0).item()


def test_a_completion_has_at_least_a_token(tiny):
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1, got 0"):
        rollout(tiny(), POOL, 0)


# ------------------------------------------------------------------------- batches


def test_a_batch_is_groups_of_completions_and_how_they_compare(tiny):
    model = tiny()
    data = make(model, [evens, (brevity, 0.5)], ref_model=tiny(seed=1), temperature=0.8)
    *arrays, ref = next(data)
    batch = dict(zip(NAMES, arrays, strict=True))
    assert [a.dtype.kind for a in (*arrays, ref)] == list("iifffffff")
    assert batch["completions"].shape == (12, 5)
    groups = batch["prompts"].reshape(4, 3, 2)
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups[:, 0], axis=0)) == 4  # drawn without replacement
    for i, (prompt, tokens) in enumerate(
        zip(batch["prompts"].tolist(), batch["completions"].tolist(), strict=True)
    ):
        cut = tokens[: int(batch["mask"][i].sum())]
        expected = [evens(prompt, cut), brevity(prompt, cut)]
        np.testing.assert_allclose(batch["rewards"][i], expected, rtol=1e-6)
    total = mx.array(batch["rewards"] @ np.array([1, 0.5], np.float32))
    np.testing.assert_allclose(
        batch["advantages"], group_advantages(total, 3), atol=1e-5
    )
    spread = np.ptp(np.array(total).reshape(4, 3), axis=1)
    assert (batch["equal"].reshape(4, 3) == (spread == 0)[:, None]).all()
    pair = mx.array(batch["prompts"]), mx.array(batch["completions"])
    for log_probs, by in ((batch["old"], model), (ref, data.ref_model)):
        whole = target_log_probs(completion_logits(by, *pair, 0.8), pair[1])
        np.testing.assert_allclose(
            log_probs * batch["mask"], whole * batch["mask"], atol=1e-4
        )


def test_the_deviation_divides_except_in_dr_grpo(tiny):
    model = tiny()
    plain, divided, asked = (
        next(make(model, loss_type=kind, scale_rewards=scale))[5]
        for kind, scale in (("dr_grpo", None), ("grpo", None), ("dr_grpo", True))
    )
    assert np.array_equal(divided, asked)
    assert not np.allclose(plain, divided)


def test_a_rollout_depends_on_the_seed_and_its_number_alone(tiny):
    model = tiny()
    first, other, late = make(model), make(model), make(model)
    batches = [next(first) for _ in range(3)]
    mx.random.seed(99)
    assert equal(batches[0], next(other))
    late.position = 2
    assert equal(batches[2], next(late))
    assert not equal(batches[0], batches[1])
    assert not equal(batches[0], next(make(model, seed=1)))


def test_the_model_is_sampled_as_it_is_now(tiny):
    model = tiny()
    data = make(model)
    before = next(data)
    model.update(tiny(seed=5).parameters())
    data.position = 0
    after = next(data)
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1])


def test_epochs_and_minibatches_go_through_a_rollout(tiny):
    model = tiny()
    whole = next(make(model))
    data = make(model, epochs=2, minibatches=2)
    parts = [next(data) for _ in range(5)]
    for epoch in (parts[0:2], parts[2:4]):
        joined = [np.concatenate(pair) for pair in zip(*epoch, strict=True)]
        assert equal(joined, whole)
    assert data.position == 2
    assert not equal(parts[4], parts[0])


def test_prompts_may_be_drawn_by_a_function(tiny):
    data = make(tiny(), prompts=lambda n, rng: rng.integers(0, 11, (n, 3)))
    assert next(data)[0].shape == (12, 3)
    few = make(tiny(), prompts=POOL[:2])  # fewer than n_prompts: they repeat
    assert next(few)[0].shape == (12, 2)


# --------------------------------------------------------------------- continuing


def saved(data):
    return json.loads(json.dumps(data.state()))


@pytest.mark.parametrize("drawn", range(6))
@pytest.mark.parametrize("reference", [True, False])
def test_a_position_comes_back_exactly_in_the_middle_of_a_rollout(
    tiny, drawn, reference
):
    def build(seed=0):
        ref = tiny(seed=1) if reference else None
        return make(model, epochs=2, minibatches=2, ref_model=ref, seed=seed)

    model = tiny()
    data, other = build(), build(seed=7)
    assert isinstance(data, Resumable)
    next(other)
    for _ in range(drawn):
        next(data)
    other.restore(saved(data))
    for _ in range(6):
        one, two = next(data), next(other)
        assert equal(one, two)
        assert [a.dtype for a in one] == [a.dtype for a in two]


@pytest.mark.parametrize("stop", [2, 4])
def test_a_run_continues_from_a_checkpoint_bit_for_bit(
    tiny, trainer, weights, same, tmp_path, stop
):
    """In the middle of a rollout, and between two of them."""

    def start(model, updates):
        data = make(model, epochs=2, minibatches=2, ref_model=tiny(seed=1))
        return trainer(model, loss_fn=data.loss_fn, max_steps=updates), data

    whole, data = start(tiny(), 7)
    records = whole.train(data)
    first, data = start(tiny(), 7)
    stream = first.stream(data)
    for _ in range(stop):
        next(stream)
    save_run(tmp_path / "c", first)
    second, data = start(tiny(seed=3), 7)
    load_run(tmp_path / "c", second)
    for one, other in zip(records[stop:], second.train(data), strict=True):
        assert (one["loss"], one["kl"]) == (other["loss"], other["kl"])
    assert same(weights(second.model), weights(whole.model))


def test_a_state_of_other_settings_is_refused(tiny):
    data = make(tiny())
    with pytest.raises(ValueError, match=r"saved with group_size=2, and here it is 3"):
        data.restore(make(tiny(), group_size=2).state())
    with pytest.raises(ValueError, match="reference"):
        data.restore(make(tiny(), ref_model=tiny()).state())
    with pytest.raises(ValueError, match=r"state lacks \['position'\]"):
        data.restore({k: v for k, v in data.state().items() if k != "position"})


# ------------------------------------------------------------------------ training


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo", "gspo"])
def test_it_trains_as_it_is(kind, compiled, tiny, trainer):
    model = tiny()
    data = make(model, loss_type=kind, ref_model=copy.deepcopy(model))
    run = trainer(model, loss_fn=data.loss_fn, max_steps=4, compile_step=compiled)
    records = run.train(data)
    assert run.trace_count == (1 if compiled else 4)
    assert records[0]["clip_share"] == 0
    assert records[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert records[-1]["kl"] > 0
    assert 1 <= records[0]["completion_length"] <= 5
    assert all(record["grad_norm"] > 0 for record in records)


def test_it_learns_on_a_device_that_lags_by_a_step(tiny, trainer):
    model = tiny()
    data = make(model, n_prompts=8, group_size=8, ref_model=copy.deepcopy(model))
    run = trainer(model, loss_fn=data.loss_fn, max_steps=30)
    run.lag = 1
    records = run.train(data)
    assert records[-1]["reward_mean"] > records[0]["reward_mean"] + 0.5
    # Sampled from the model as it was after the update before: the ratio is 1.
    assert all(record["clip_share"] == 0 for record in records)


def test_later_epochs_are_off_policy(tiny, trainer):
    model = tiny()
    data = make(model, epochs=8)
    records = trainer(model, loss_fn=data.loss_fn, max_steps=8).train(data)
    assert len({record["reward_mean"] for record in records}) == 1
    assert records[0]["clip_share"] == 0 < records[-1]["clip_share"]


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo", "gspo"])
def test_minibatches_accumulate_to_the_whole_rollout(
    kind, tiny, trainer, weights, same
):
    one, two = tiny(), tiny()
    settings = {"rule": "sgd", "max_steps": 2, "beta1": 0.0}
    whole, parts = (
        make(model, loss_type=kind, minibatches=n) for model, n in ((one, 1), (two, 4))
    )
    joint = trainer(one, loss_fn=whole.loss_fn, **settings).train(whole)
    run = trainer(two, loss_fn=parts.loss_fn, grad_accumulation_steps=4, **settings)
    split = run.train(parts)
    assert run.trace_count == 1
    for a, b in zip(joint, split, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    first, second = weights(one), weights(two)
    assert all(np.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_each_reward_is_reported(tiny, trainer):
    model = tiny()
    data = make(model, [evens, (brevity, -2.0)])
    record = trainer(model, loss_fn=data.loss_fn, max_steps=1).train(data)[0]
    expected = record["reward_evens"] - 2 * record["reward_brevity"]
    assert record["reward_mean"] == pytest.approx(expected, abs=1e-5)
    assert "kl" not in record


def test_groups_without_variance_are_counted_even_when_split(tiny):
    data = make(tiny(), lambda p, c: float(p == [0, 1] and len(c) % 2), minibatches=4)
    shares = []
    for _ in range(8):
        batch = next(data)
        _, metrics = data.loss_fn(data.model, *map(mx.array, batch))
        shares.append(metrics["zero_variance_groups"].item())
        assert shares[-1] == float(np.ptp(batch[4]) == 0)
        if shares[-1]:
            assert (batch[5] == 0).all()
    assert 0 in shares
    assert 1 in shares


def test_a_live_beta_is_a_wrapper_away(tiny, trainer):
    model = tiny()
    data = make(model, ref_model=tiny(seed=1))
    live = {"beta": mx.array(0.0)}
    run = trainer(
        model,
        loss_fn=lambda m, *batch: data.loss_fn(m, *batch, beta=live["beta"]),
        live=live,
        max_steps=2,
        learning_rate=0.0,
    )
    stream = run.stream(data)
    assert next(stream)["loss"] == pytest.approx(0, abs=1e-5)
    run.set_live("beta", 3.0)
    record = next(stream)
    assert record["loss"] == pytest.approx(3 * record["kl"], rel=0.3)
    assert run.trace_count == 1


def test_a_reward_that_fails_stops_nothing_for_good(tiny, trainer, weights, same):
    calls = []

    def fragile(prompt, completion):
        calls.append(completion)
        if len(calls) == 20:  # in the second rollout
            raise KeyError("oops")
        return evens(prompt, completion)

    model = tiny()
    data = make(model, fragile)
    run = trainer(model, loss_fn=data.loss_fn, max_steps=3, lr_schedule="constant")
    with pytest.raises(KeyError, match="oops") as caught:
        run.train(data)
    assert any("'fragile', sample 7: prompt" in n for n in caught.value.__notes__)
    assert (run.step, len(run.history)) == (1, 1)
    records = run.train(data)
    assert [record["step"] for record in records] == [2, 3]
    assert data.position == 4  # the second was given up
    assert run.trace_count == 1


def test_an_interrupted_rollout_is_made_again(tiny):
    interrupts = [KeyboardInterrupt()]

    def reward(prompt, completion):
        if interrupts:
            raise interrupts.pop()
        return evens(prompt, completion)

    model = tiny()
    data = make(model, reward)
    with pytest.raises(KeyboardInterrupt):
        next(data)
    assert equal(next(data), next(make(model)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0}, ValueError, "temperature must be above 0, got 0"),
        ({"minibatches": 3}, ValueError, "minibatches=3 must divide n_prompts=4"),
        ({"group_size": 0}, ValueError, "group_size must be at least 1, got 0"),
        ({"max_new_tokens": 1.5}, TypeError, "max_new_tokens must be an integer"),
        ({"prompts": [[0.5]]}, ValueError, "prompts must be token IDs of shape"),
        ({"prompts": [1, 2]}, ValueError, "prompts must be token IDs of shape"),
        ({"rewards": []}, ValueError, "rewards is empty"),
    ],
)
def test_bad_arguments_are_named(tiny, options, error, message):
    with pytest.raises(error, match=message):
        make(tiny(), **options)


def test_a_reference_must_not_be_the_policy(tiny):
    model = tiny()
    with pytest.raises(ValueError, match="would move along with it"):
        make(model, ref_model=model)


def test_a_function_must_draw_as_many_prompts_as_asked(tiny):
    with pytest.raises(ValueError, match="prompts must return 4 rows, got 3"):
        next(make(tiny(), prompts=lambda n, rng: POOL[:3]))
