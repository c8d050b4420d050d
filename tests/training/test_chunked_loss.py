"""The loss in chunks is the loss, with the gradients of the loss."""

from functools import partial
import math

from lmxlab.core.config import ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training.chunked_loss import chunked_next_token_loss
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import next_token_loss
from lmxlab.training.precision import mixed_precision
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
import pytest

VOCAB = 47


def model(**config):
    mx.random.seed(0)
    return LanguageModel(ModelConfig(vocab_size=VOCAB, **config))


@pytest.fixture
def batch():
    tokens = mx.random.randint(0, VOCAB, (3, 17), key=mx.random.key(1))
    return tokens[:, :-1], tokens[:, 1:]


def loss_and_gradients(loss_fn, net, batch, factor=1.0):
    def scaled(net, *arrays):
        return factor * loss_fn(net, *arrays)[0]

    loss, grads = nn.value_and_grad(net, scaled)(net, *batch)
    return loss.item(), dict(tree_flatten(grads))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("chunk_rows", [1, 7, 16, 48, 1000])
def test_it_is_the_whole_loss(tied, masked, chunk_rows, batch):
    net = model(tie_embeddings=tied)
    if masked:
        batch += (mx.random.uniform(shape=(3, 16), key=mx.random.key(2)) > 0.4,)
    parts = partial(chunked_next_token_loss, chunk_rows=chunk_rows)
    loss, grads = loss_and_gradients(next_token_loss, net, batch, factor=3.0)
    other, others = loss_and_gradients(parts, net, batch, factor=3.0)
    assert other == pytest.approx(loss, rel=2e-6)
    for name, grad in grads.items():
        assert mx.abs(grad - others[name]).max() < 1e-5, name


def test_nothing_counts_where_all_is_masked(batch):
    loss, metrics = chunked_next_token_loss(model(), *batch, mx.zeros((3, 16)))
    assert (loss.item(), metrics["tokens"].item()) == (0.0, 0.0)


def test_columns_that_only_fill_up_have_no_part(batch):
    """With all weights 0 every token is as likely as the others: ln 47, not ln 64."""
    net = model()
    net.embed.weight = mx.zeros_like(net.embed.weight)
    loss, _ = chunked_next_token_loss(net, *batch)
    assert loss.item() == pytest.approx(math.log(VOCAB), abs=1e-6)


def test_a_run_with_it_is_the_same_run(batch):
    def losses(loss_fn, compiled):
        config = TrainConfig(
            1e-2, max_steps=20, warmup_steps=2, log_interval=0, compile_step=compiled
        )
        trainer = Trainer(model(), config, loss_fn=loss_fn)
        return [record["loss"] for record in trainer.train([batch] * 20)]

    parts = partial(chunked_next_token_loss, chunk_rows=20)
    whole = losses(next_token_loss, compiled=True)
    assert losses(parts, compiled=True) == pytest.approx(whole, abs=2e-4)
    assert losses(parts, compiled=False) == pytest.approx(whole, abs=2e-4)
    assert whole[-1] < whole[0] - 1


def test_a_chunk_of_no_rows_is_an_error(batch):
    with pytest.raises(ValueError, match="chunk_rows must be at least 1, got 0"):
        chunked_next_token_loss(model(), *batch, chunk_rows=0)


# -------------------------------------------------------------------- mixed precision


@pytest.mark.parametrize("loss_fn", [next_token_loss, chunked_next_token_loss])
def test_weights_and_moments_stay_float32(loss_fn, batch):
    net = model()
    config = TrainConfig(1e-2, max_steps=60, warmup_steps=5, log_interval=0)
    trainer = Trainer(net, config, loss_fn=mixed_precision(loss_fn))
    losses = [record["loss"] for record in trainer.train([batch] * 60)]
    state = tree_flatten([net.parameters(), trainer.optimizer.state])
    kinds = {a.dtype for _, a in state if mx.issubdtype(a.dtype, mx.floating)}
    assert kinds == {mx.float32}
    assert losses[-1] < 0.5 * losses[0]
    assert trainer.trace_count == 1


def test_gradients_are_those_of_float32_but_for_rounding(batch):
    net = model()
    _, exact = loss_and_gradients(next_token_loss, net, batch)
    _, mixed = loss_and_gradients(mixed_precision(next_token_loss), net, batch)
    for name, grad in exact.items():
        assert mixed[name].dtype == mx.float32
        error = mx.linalg.norm(mixed[name] - grad) / (mx.linalg.norm(grad) + 1e-8)
        assert error < 0.03, name
        assert mx.any(mixed[name] != grad), name


def test_small_updates_are_not_lost():
    """One ten-thousandth added to 1 a hundred times: bfloat16 would stay at 1."""
    layer = nn.Linear(1, 1, bias=False)
    layer.weight = mx.ones((1, 1))
    config = TrainConfig(
        1e-4, max_steps=100, warmup_steps=0, lr_schedule="constant", optimizer="sgd",
        beta1=0.0, weight_decay=0.0, max_grad_norm=0.0, log_interval=0,
    )  # fmt: skip

    def rising(net, x):
        return -net(x.astype(net.weight.dtype)).sum()

    trainer = Trainer(layer, config, loss_fn=mixed_precision(rising))
    trainer.train([(mx.ones((1, 1)),)] * 100)
    assert layer.weight.item() == pytest.approx(1.01, abs=1e-5)
    assert (mx.array(1.0, mx.bfloat16) + mx.array(1e-4, mx.bfloat16)).item() == 1.0


def test_an_error_in_the_loss_leaves_the_master_weights(batch):
    net = model()

    def failing(net, *arrays):
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError):
        mixed_precision(failing)(net, *batch)
    assert {a.dtype for _, a in tree_flatten(net.parameters())} == {mx.float32}


def test_another_type_is_an_error():
    with pytest.raises(ValueError, match="float16, got"):
        mixed_precision(next_token_loss, mx.float32)
