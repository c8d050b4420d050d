"""Several micro-batches are one large batch, in the memory of a small one."""

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training.loss import next_token_loss
import mlx.core as mx
import numpy as np
import pytest

MODES = pytest.mark.parametrize("compiled", [True, False])


def ragged(batches, seed=0):
    """Add masks whose rows end early, each batch with another share."""
    rng = np.random.default_rng(seed)
    masked = []
    for number, (tokens, targets) in enumerate(batches):
        longest = 1 + number % tokens.shape[1]
        ends = rng.integers(1, longest + 1, size=len(tokens))
        mask = np.arange(tokens.shape[1]) < ends[:, None]
        masked.append((tokens, targets, mask.astype(np.float32)))
    return masked


def joined(batches):
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


@MODES
def test_micro_batches_equal_the_one_large_batch(compiled, trainer, rows, weights):
    """20 updates of 4 ragged micro-batches; averaging their means would be off."""
    batches = ragged(rows(80))
    windows = [batches[i : i + 4] for i in range(0, 80, 4)]
    settings = {"rule": "sgd", "learning_rate": 0.1, "max_steps": 20, "beta1": 0.5}
    small = trainer(compile_step=compiled, grad_accumulation_steps=4, **settings)
    large = trainer(compile_step=compiled, **settings)
    small_records = small.train(batches)
    large_records = large.train([joined(window) for window in windows])
    assert len(small_records) == len(large_records) == 20
    for one, other in zip(small_records, large_records, strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["loss"] == pytest.approx(other["loss"], abs=2e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], abs=2e-4)
    reference = weights(large.model)
    for path, value in weights(small.model).items():
        np.testing.assert_allclose(value, reference[path], atol=2e-5)
    assert small.trace_count == (1 if compiled else 80)


def test_compiled_equals_eager_bit_for_bit_with_dropout(trainer, rows, weights, same):
    def run(compiled):
        run = trainer(
            dropout=0.3, compile_step=compiled, grad_accumulation_steps=3, max_steps=10
        )
        records = run.train(ragged(rows(30)))
        return [record["loss"] for record in records], weights(run.model)

    (eager, eager_weights), (compiled, compiled_weights) = run(False), run(True)
    assert compiled == eager
    assert same(compiled_weights, eager_weights)


@MODES
@pytest.mark.parametrize("left", [1, 2])
def test_a_short_last_window_is_used_and_averaged_over_what_it_has(
    left, compiled, trainer, rows, weights
):
    batches = ragged(rows(3 + left))
    settings = {"rule": "sgd", "learning_rate": 0.1, "lr_schedule": "constant"}
    run = trainer(grad_accumulation_steps=3, compile_step=compiled, **settings)
    assert len(run.train(batches)) == 2
    reference = trainer(compile_step=compiled, **settings)
    reference.train([joined(batches[:3]), joined(batches[3:])])
    expected = weights(reference.model)
    for path, value in weights(run.model).items():
        np.testing.assert_allclose(value, expected[path], atol=1e-6)


def test_dropout_differs_between_micro_batches(trainer, rows):
    def loss_fn(model, tokens, targets):
        loss = next_token_loss(model, tokens, targets)[0]
        return loss, {"square": loss * loss}

    run = trainer(dropout=0.5, loss_fn=loss_fn, learning_rate=0.0)
    record = run.train_step_accumulated(rows(1) * 4)
    assert record["square"] - record["loss"] ** 2 > 1e-4  # their variance


def test_metrics_are_weighted_and_tokens_counted(trainer, rows):
    batches = ragged(rows(5))
    run = trainer(learning_rate=0.0)
    record = run.train_step_accumulated(batches)
    alone = [run.train_step(batch) for batch in batches]
    tokens = [int(mask.sum()) for *_, mask in batches]
    assert record["tokens"] == sum(tokens)
    mean = sum(n * r["loss"] for n, r in zip(tokens, alone, strict=True)) / sum(tokens)
    assert record["loss"] == pytest.approx(mean, rel=1e-5)


def test_a_loss_that_counts_no_tokens_is_weighted_by_rows(trainer, rows):
    def loss_fn(model, tokens, targets):
        return next_token_loss(model, tokens, targets)[0]

    run = trainer(loss_fn=loss_fn, learning_rate=0.0)
    batches = rows(1, (1, 5)) + rows(1, (3, 5), seed=1)
    one, three = (run.train_step(batch)["loss"] for batch in batches)
    record = run.train_step_accumulated(batches)
    assert record["loss"] == pytest.approx((one + 3 * three) / 4, rel=1e-5)
    assert record["tokens"] == 20


def test_windows_of_unequal_shapes_are_one_batch_too(trainer, rows):
    run = trainer(learning_rate=0.0)
    batches = rows(1, (2, 5)) + rows(1, (3, 7))
    short, long = (run.train_step(batch)["loss"] for batch in batches)
    record = run.train_step_accumulated(batches)
    assert record["loss"] == pytest.approx((10 * short + 21 * long) / 31, rel=1e-5)
    assert record["tokens"] == 31


@MODES
def test_a_window_of_nothing_but_padding_moves_nothing(
    compiled, trainer, rows, weights, same
):
    padding = [(*batch, np.zeros((2, 5), np.float32)) for batch in rows(2)]
    run = trainer(rule="sgd", weight_decay=0.0, compile_step=compiled)
    before = weights(run.model)
    for record in (
        run.train_step_accumulated(padding),
        run.train_step(padding[0]),
    ):
        assert (record["loss"], record["grad_norm"], record["tokens"]) == (0, 0, 0)
    assert same(weights(run.model), before)


@MODES
@pytest.mark.parametrize("kind", ["shape", "token", "nan"])
def test_a_bad_micro_batch_in_the_middle_leaves_the_model_untouched(
    kind, compiled, trainer, rows, weights, same
):
    good = [(*batch, np.ones((2, 5), np.float32)) for batch in rows(3)]
    tokens, targets, mask = good[1]
    bad = {
        "shape": (tokens, targets[:, :3], mask),
        "token": (tokens, targets + 50, mask),
        "nan": (tokens, targets, mask * np.float32(np.nan)),
    }[kind]
    run = trainer(compile_step=compiled, lr_schedule="constant")
    run.train_step_accumulated(good)
    before = weights(run.model)
    error = FloatingPointError if kind == "nan" else ValueError
    with pytest.raises(error, match=r"step 2: loss is nan|token id|shape|broadcast"):
        run.train_step_accumulated([good[0], bad, good[2]])
    assert same(weights(run.model), before)
    assert run.step == run.optimizer.state["step"].item() == len(run.history) == 1
    run.train_step_accumulated(good)
    clean = trainer(compile_step=compiled, lr_schedule="constant")
    for _ in range(2):
        clean.train_step_accumulated(good)
    assert same(weights(run.model), weights(clean.model))


def test_memory_does_not_grow_with_the_number_of_micro_batches(trainer, rows):
    mx.random.seed(0)
    model = LanguageModel(ModelConfig(BlockConfig(d_model=32), 11, n_layers=1))
    run = trainer(model)

    def peak(number):
        batches = rows(number, (8, 64))
        run.train_step_accumulated(batches)
        mx.clear_cache()
        mx.reset_peak_memory()
        run.train_step_accumulated(batches)
        return mx.get_peak_memory() - start

    start = mx.get_active_memory()
    assert peak(16) <= 1.3 * peak(4)
