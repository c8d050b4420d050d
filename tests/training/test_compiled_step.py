"""The compiled update: the eager one bit for bit, and nothing in it is frozen."""

import copy

from lmxlab.training.config import OPTIMIZERS
from lmxlab.training.loss import next_token_loss
from lmxlab.training.optimizers import create_schedule
import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_map
import numpy as np
import pytest


def losses(records):
    return [record["loss"] for record in records]


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_compiled_equals_eager_bit_for_bit(rule, trainer, rows, weights, same):
    """100 steps with dropout, a schedule, weight decay, and clipping that acts."""

    def run(compiled):
        run = trainer(
            dropout=0.2, rule=rule, warmup_steps=10, max_steps=100, weight_decay=0.1,
            max_grad_norm=0.8, learning_rate=3e-3, compile_step=compiled,
        )  # fmt: skip
        return run, run.train(rows(100))

    eager, eager_records = run(compiled=False)
    compiled, compiled_records = run(compiled=True)
    assert losses(compiled_records) == losses(eager_records)
    assert same(weights(compiled.model), weights(eager.model))
    assert (compiled.trace_count, eager.trace_count) == (1, 100)
    norms = [record["grad_norm"] for record in compiled_records]
    assert max(norms) > 0.8


def test_the_first_call_and_only_it_is_reported_by_itself(trainer, rows):
    records = trainer(max_steps=4).train(rows(4))
    assert ["first_call_seconds" in record for record in records] == [
        True,
        *[False] * 3,
    ]


REPORTS = {
    "the loss itself": lambda loss: {"nll": loss},
    "the loss, held still": lambda loss: {"nll": mx.stop_gradient(loss)},
    "the same twice": lambda loss: {"a": 2 * loss, "b": 2 * loss},
    "one array twice": lambda loss: dict.fromkeys("ab", mx.exp(loss)),
}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("report", REPORTS)
def test_a_loss_may_report_equal_numbers(report, accumulation, trainer, rows, untimed):
    """mx.compile merges what is equal: that must not lose an output."""

    def loss_fn(model, *batch):
        loss, _ = next_token_loss(model, *batch)
        return loss, REPORTS[report](loss)

    def run(compiled):
        run = trainer(
            loss_fn=loss_fn, dropout=0.2, max_steps=4, compile_step=compiled,
            grad_accumulation_steps=accumulation,
        )  # fmt: skip
        records = run.train(rows(8), rows(2, seed=1))
        return untimed(records), untimed([run.evaluate(rows(2, seed=1))])

    assert run(compiled=True) == run(compiled=False)


# ---------------------------------------------------------- the captured containers


@pytest.mark.parametrize("compiled", [True, False])
def test_the_dropout_mask_is_another_one_every_step(compiled, trainer, rows):
    run = trainer(dropout=0.5, learning_rate=0.0, max_steps=6, compile_step=compiled)
    assert len(set(losses(run.train(rows(1) * 6)))) == 6


def test_without_dropout_and_learning_rate_nothing_changes(trainer, rows):
    run = trainer(learning_rate=0.0, max_steps=6)
    assert len(set(losses(run.train(rows(1) * 6)))) == 1


@pytest.mark.parametrize("compiled", [True, False])
def test_the_recorded_learning_rate_is_the_one_that_acted(
    compiled, trainer, rows, weights
):
    """SGD without momentum or clipping moves by learning rate times gradient norm."""
    run = trainer(
        rule="sgd", beta1=0.0, max_grad_norm=0.0, weight_decay=0.0, warmup_steps=3,
        max_steps=8, compile_step=compiled,
    )  # fmt: skip
    schedule = create_schedule(run.config)
    before = weights(run.model)
    for t, record in enumerate(run.stream(rows(8))):
        after = weights(run.model)
        moved = np.sqrt(sum(((after[k] - before[k]) ** 2).sum() for k in after))
        assert record["learning_rate"] == schedule(t).item()
        expected = record["learning_rate"] * record["grad_norm"]
        assert moved == pytest.approx(expected, rel=1e-4, abs=1e-8)
        before = after
    assert run.trace_count == (1 if compiled else 8)


def test_moments_advance_in_the_compiled_update(trainer, rows):
    run = trainer(max_steps=3)
    run.train(rows(1) * 3)
    assert run.optimizer.state["step"].item() == 3


# ----------------------------------------------------------------------- live knobs


def no_gradient(model, tokens, targets):
    return (model(tokens)[0] * 0).sum()


def test_a_live_learning_rate_acts_without_a_trace(trainer, rows, weights, same):
    run = trainer(max_steps=10)
    (batch,) = rows(1)
    assert run.train_step(batch)["learning_rate"] == pytest.approx(1e-2)
    run.set_live("learning_rate", 0.0)
    before = weights(run.model)
    assert run.train_step(batch)["learning_rate"] == 0.0
    assert same(weights(run.model), before)
    run.set_live("learning_rate", 0.5)
    assert run.train_step(batch)["learning_rate"] > 0.4
    assert not same(weights(run.model), before)
    assert run.trace_count == 1


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_live_weight_decay_acts_without_a_trace(rule, trainer, rows, weights):
    """With no gradient, decay alone moves a matrix: by 1 - rate * decay."""
    run = trainer(
        rule=rule, lr_schedule="constant", learning_rate=0.1, weight_decay=0.0,
        loss_fn=no_gradient,
    )  # fmt: skip
    (batch,) = rows(1)
    path = "blocks.0.ffn.up_proj.weight"
    start = weights(run.model)[path]
    run.train_step(batch)
    assert (weights(run.model)[path] == start).all()
    run.set_live("weight_decay", 0.5)
    run.train_step(batch)
    np.testing.assert_allclose(weights(run.model)[path], start * 0.95, rtol=1e-6)
    assert run.trace_count == 1


def test_a_live_clip_acts_without_a_trace(trainer, rows, weights):
    """SGD of rate 1 moves by exactly the length that the clip allows."""
    run = trainer(
        rule="sgd", beta1=0.0, learning_rate=1.0, weight_decay=0.0, max_grad_norm=0.0,
        lr_schedule="constant",
    )  # fmt: skip
    (batch,) = rows(1)
    for limit in (0.25, 0.0, 0.01):
        run.set_live("max_grad_norm", limit)
        before = weights(run.model)
        norm = run.train_step(batch)["grad_norm"]
        after = weights(run.model)
        moved = np.sqrt(sum(((after[k] - before[k]) ** 2).sum() for k in after))
        assert norm > 0.3
        assert moved == pytest.approx(limit or norm, rel=1e-3)
    assert run.trace_count == 1


def test_a_live_knob_of_ones_own_acts_without_a_trace(trainer, rows):
    live = {"factor": mx.array(1.0)}

    def loss_fn(model, tokens, targets):
        return live["factor"] * next_token_loss(model, tokens, targets)[0]

    run = trainer(loss_fn=loss_fn, live=live, learning_rate=0.0)
    (batch,) = rows(1)
    once = run.train_step(batch)["loss"]
    run.set_live("factor", 2.0)
    assert run.train_step(batch)["loss"] == pytest.approx(2 * once)
    assert run.evaluate([batch])["eval_loss"] == pytest.approx(2 * once)
    run.set_live("factor", 3)
    assert run.evaluate([batch])["eval_loss"] == pytest.approx(3 * once)
    assert run.trace_count == 1


def test_a_new_trainer_does_not_inherit_the_knobs_of_an_earlier_one(trainer):
    live = {"beta": mx.array(0.5)}
    trainer(live=live, learning_rate=0.5)
    run = trainer(live=live, learning_rate=0.25)
    assert run.live["learning_rate"].item() == 0.25
    assert run.live["beta"].item() == 0.5


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("warmup_steps", 5, ValueError, "not a live setting.*learning_rate"),
        ("learning_rat", 0.1, ValueError, "not a live setting"),
        ("learning_rate", -1.0, ValueError, "learning_rate must be in"),
        ("max_grad_norm", float("nan"), ValueError, "must be a finite number"),
        ("weight_decay", float("inf"), ValueError, "must be a finite number"),
        ("learning_rate", "fast", TypeError, "real number"),
    ],
)
def test_a_bad_live_value_says_so_and_changes_nothing(
    name, value, error, message, trainer
):
    run = trainer()
    before = {key: knob.item() for key, knob in run.live.items()}
    with pytest.raises(error, match=message):
        run.set_live(name, value)
    assert {key: knob.item() for key, knob in run.live.items()} == before


def test_the_rate_of_ones_own_optimizer_is_set_there(trainer, rows):
    run = trainer(optimizer=optim.SGD(0.1))
    with pytest.raises(ValueError, match="belongs to the optimizer that you passed"):
        run.set_live("learning_rate", 0.2)
    run.set_live("max_grad_norm", 0.5)
    (batch,) = rows(1)
    assert run.train_step(batch)["learning_rate"] == pytest.approx(0.1)
    run.optimizer.learning_rate = 0.2
    assert run.train_step(batch)["learning_rate"] == pytest.approx(0.2)
    assert run.trace_count == 1


# ----------------------------------------------------------------------- randomness


def test_two_trainers_and_a_drawing_cell_do_not_disturb_each_other(trainer, rows):
    def alone(seed):
        run = trainer(dropout=0.5, seed=seed, max_steps=8)
        return losses(run.train(rows(8)))

    expected = alone(1), alone(2)
    streams = [
        trainer(dropout=0.5, seed=seed, max_steps=8).stream(rows(8)) for seed in (1, 2)
    ]
    seen = [], []
    for step in range(8):
        for which, stream in enumerate(streams):
            seen[which].append(next(stream)["loss"])
            mx.eval(mx.random.normal((3,)))
        if step == 4:
            mx.random.seed(0)
    assert seen == expected


def test_one_seed_one_run_another_seed_another(trainer, rows):
    def run(seed):
        return losses(trainer(dropout=0.5, seed=seed, max_steps=5).train(rows(5)))

    assert run(3) == run(3) != run(4)


# ------------------------------------------------------------- changes after tracing


def to_eval(run):
    run.model.eval()


def freeze_a_block(run):
    run.model.blocks[0].freeze()


def zero_the_moments(run):
    run.optimizer.state = tree_map(mx.zeros_like, run.optimizer.state)


@pytest.mark.parametrize("change", [to_eval, freeze_a_block, zero_the_moments])
def test_a_change_after_tracing_acts(change, trainer, rows, weights, same):
    def run(compiled, change):
        run = trainer(dropout=0.3, compile_step=compiled, lr_schedule="constant")
        batches = rows(6)
        for batch in batches[:3]:
            run.train_step(batch)
        change(run)
        for batch in batches[3:]:
            run.train_step(batch)
        return weights(run.model)

    changed = run(True, change)
    assert same(changed, run(False, change))
    assert not same(changed, run(True, lambda run: None))


@pytest.mark.parametrize(
    ("rule", "name", "value"),
    [
        (lambda: optim.SGD(0.1, momentum=0.9), "momentum", 0.1),
        (lambda: optim.AdamW(0.01), "weight_decay", 5.0),
        (lambda: optim.Adam(0.01), "betas", [0.1, 0.2]),
        (lambda: optim.SGD(0.1, momentum=0.9), "nesterov", True),
    ],
)
def test_a_changed_attribute_of_ones_own_optimizer_acts(
    rule, name, value, trainer, rows, weights, same
):
    def run(compiled, changed):
        run = trainer(optimizer=rule(), compile_step=compiled)
        for step, batch in enumerate(rows(4)):
            if step == 2 and changed:
                setattr(run.optimizer, name, value)
            run.train_step(batch)
        return weights(run.model)

    assert same(run(True, True), run(False, True))
    assert not same(run(True, True), run(True, False))


def test_evaluation_mode_switches_dropout_off_and_back_on_without_a_new_trace(
    trainer, rows
):
    run = trainer(dropout=0.5, learning_rate=0.0)
    batches = rows(1) * 3
    first = {run.train_step(batch)["loss"] for batch in batches}
    run.model.eval()
    quiet = {run.train_step(batch)["loss"] for batch in batches}
    assert (len(first), len(quiet), run.trace_count) == (3, 1, 2)
    run.model.train()
    assert len({run.train_step(batch)["loss"] for batch in batches} - first) == 3
    assert run.trace_count == 2


@pytest.mark.parametrize("rule", ["adamw", "muon"])
@pytest.mark.parametrize("compiled", [True, False])
def test_frozen_weights_do_not_move_and_move_again_when_unfrozen(
    rule, compiled, trainer, tiny, rows, weights
):
    model = tiny()
    model.embed.freeze()  # before the optimizer has seen it
    run = trainer(model, rule=rule, compile_step=compiled, weight_decay=0.5)

    def moved():
        before = weights(model)
        run.train_step(rows(1)[0])
        after = weights(model)
        return {path for path in after if (before[path] != after[path]).any()}

    rest = set(weights(model)) - {"embed.weight"}
    assert moved() == rest
    model.embed.unfreeze()
    assert moved() == rest | {"embed.weight"}
    model.blocks[0].freeze()
    assert moved() == {"embed.weight", "final_norm.weight"}


def test_each_shape_of_batch_is_traced_once(trainer, rows):
    run = trainer()
    counts = []
    for shape in [(2, 5), (2, 7), (2, 5), (3, 5), (2, 7)]:
        run.train_step(rows(1, shape)[0])
        counts.append(run.trace_count)
    assert counts == [1, 2, 2, 3, 3]


# ----------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("compiled", [True, False])
def test_evaluation_changes_neither_weights_nor_randomness(
    compiled, trainer, rows, weights, same
):
    batches = rows(6)
    plain = trainer(dropout=0.5, max_steps=6, compile_step=compiled)
    plain.train(batches)
    run = trainer(dropout=0.5, max_steps=6, compile_step=compiled)
    for batch in batches:
        run.train_step(batch)
        before = weights(run.model)
        run.evaluate(batches)
        assert same(weights(run.model), before)
    assert losses(run.history) == losses(plain.history)
    assert run.optimizer.state["step"].item() == 6


def test_evaluation_restores_the_mode_of_each_module(trainer, rows):
    run = trainer(dropout=0.5)
    run.model.blocks[0].eval()
    before = [module.training for module in run.model.modules()]
    run.evaluate(rows(1))
    assert [module.training for module in run.model.modules()] == before
    assert set(before) == {True, False}
    with pytest.raises(ValueError, match=r"broadcast|shape"):
        run.evaluate([(rows(1)[0][0], rows(1, (2, 9))[0][1])])
    assert [module.training for module in run.model.modules()] == before


def test_an_evaluation_that_fails_leaves_the_weights(trainer, rows, weights, same):
    run = trainer()
    before = weights(run.model)
    with pytest.raises(ValueError, match=r"broadcast|shape"):
        run.evaluate([(rows(1)[0][0], rows(1, (2, 9))[0][1])])
    assert same(weights(run.model), before)
    assert run.train_step(rows(1)[0])["loss"] < 4


def test_evaluation_uses_no_dropout(trainer, rows):
    run = trainer(dropout=0.5)
    assert run.evaluate(rows(2)) == run.evaluate(rows(2))
    assert run.evaluate(rows(2)) == trainer(dropout=0.0).evaluate(rows(2))


def test_a_reference_may_share_its_arrays_with_the_model(trainer, rows, weights, same):
    """As copy.deepcopy does; it stays what it was, in whatever is traced when."""

    def loss_fn(model, tokens, targets):
        old, new = (next_token_loss(m, tokens, targets)[0] for m in (reference, model))
        return new, {"old": mx.stop_gradient(old)}

    run = trainer(loss_fn=loss_fn, learning_rate=0.1)
    reference = copy.deepcopy(run.model)
    before = weights(reference)
    first, *_, last = run.train(rows(1) * 5)
    assert first["old"] == last["old"] == first["loss"] > last["loss"]
    assert run.evaluate(rows(1))["eval_old"] == pytest.approx(first["old"])
    assert run.train_step_accumulated(rows(2))["loss"] > 0  # traced late
    assert same(weights(reference), before)
