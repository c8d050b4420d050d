"""The student learns from the teacher: in the trainer, and better than without it."""

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.data.batching import TokenDataset
from lmxlab.data.markov import MarkovWorld
from lmxlab.models.base import LanguageModel
from lmxlab.training.config import TrainConfig
from lmxlab.training.distillation import distillation_loss
from lmxlab.training.loss import log_normalizer, next_token_loss
from lmxlab.training.teacher_cache import (
    Passes,
    read_teacher_cache,
    top_k_logits,
    write_teacher_cache,
)
from lmxlab.training.trainer import Trainer
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
import numpy as np
import pytest

MODES = pytest.mark.parametrize("compiled", [True, False])


class Counted(nn.Module):
    """A teacher that counts how often it is asked, and in which mode."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self._asked = []

    def __call__(self, tokens):
        self._asked.append(self.training)
        return self.model(tokens)


def with_metrics(teacher, tau=2.0, alpha=0.5, **options):
    """A loss for the trainer."""

    def loss_fn(model, inputs, targets, *mask):
        return distillation_loss(
            model, teacher, inputs, tau, alpha, targets=targets,
            mask=mask[0] if mask else None, return_metrics=True, **options,
        )  # fmt: skip

    return loss_fn


# ------------------------------------------------------------------------- the teacher


def test_the_teacher_is_asked_in_evaluation_mode_and_put_back(tiny, rows):
    teacher, student = Counted(tiny(dropout=0.5, seed=1)), tiny()
    teacher.model.blocks[0].eval()  # one part that was already there
    before = [module.training for module in teacher.modules()]
    inputs, targets = map(mx.array, rows(1)[0])
    losses = {
        distillation_loss(student, teacher, inputs, targets=targets).item()
        for _ in range(4)
    }
    assert len(losses) == 1  # no dropout
    assert teacher._asked == [False] * 4
    assert [module.training for module in teacher.modules()] == before
    assert len(set(before)) == 2


def test_a_failing_teacher_is_put_back_too(tiny):
    teacher = Counted(tiny(dropout=0.5))
    with pytest.raises(TypeError, match="tokens must be integers"):
        distillation_loss(lambda tokens: mx.zeros((1, 2, 11)), teacher, mx.ones((1, 3)))
    assert all(module.training for module in teacher.modules())


def test_the_teacher_gets_no_gradient(tiny, rows):
    inputs, targets = map(mx.array, rows(1)[0])
    pair = nn.Module()
    pair.student, pair.teacher = tiny(seed=0), tiny(seed=1)

    def loss_fn(pair):
        return distillation_loss(pair.student, pair.teacher, inputs, targets=targets)

    _, grads = nn.value_and_grad(pair, loss_fn)(pair)
    assert all((g == 0).all() for _, g in tree_flatten(grads["teacher"]))
    assert any((g != 0).any() for _, g in tree_flatten(grads["student"]))


def test_a_teacher_whose_word_is_not_needed_is_not_asked(tiny, rows):
    teacher, student = Counted(tiny(seed=1)), tiny()
    inputs, targets = map(mx.array, rows(1)[0])

    def loss(alpha, **options):
        return distillation_loss(
            student, teacher, inputs, 2.0, alpha, targets=targets, **options
        ).item()

    assert loss(0) == loss(0.0) == next_token_loss(student, inputs, targets)[0].item()
    logits = teacher.model(inputs)[0]
    kept = tuple(map(mx.array, top_k_logits(np.array(logits), 11)))
    cached = loss(0.5, teacher_logits=logits), loss(0.5, teacher_top_k=kept)
    assert teacher._asked == []
    assert cached == pytest.approx((loss(0.5), loss(0.5)), rel=1e-6)
    assert loss(mx.array(0.0)) == pytest.approx(loss(0), rel=1e-6)  # live: asked
    assert len(teacher._asked) == 3


def test_without_a_teacher_its_logits_or_alpha_0_are_needed(tiny):
    tokens = mx.array([[0, 1, 2]])
    with pytest.raises(ValueError, match=r"teacher is None and alpha is 0\.7; pass"):
        distillation_loss(tiny(), None, tokens)
    logits = mx.zeros((1, 2, 11))
    kept = tuple(map(mx.array, top_k_logits(np.zeros((1, 2, 11)), 2)))
    with pytest.raises(ValueError, match="not both"):
        distillation_loss(
            tiny(), None, tokens, teacher_logits=logits, teacher_top_k=kept
        )
    assert distillation_loss(tiny(), None, tokens, alpha=0).item() > 0


def test_with_alpha_1_the_targets_do_not_matter(tiny, rows):
    student, teacher = tiny(), tiny(seed=1)
    inputs, targets = map(mx.array, rows(1)[0])

    def loss_and_grads(targets):
        loss, grads = nn.value_and_grad(student, with_metrics(teacher, alpha=1))(
            student, inputs, targets
        )
        return loss[0], [g for _, g in tree_flatten(grads)]

    (loss, grads), (other, others) = map(loss_and_grads, (targets, (targets + 1) % 11))
    assert loss.item() == other.item()
    assert all((g == o).all() for g, o in zip(grads, others, strict=True))


def test_whole_rows_are_shifted_by_one(tiny):
    student, teacher = tiny(), tiny(seed=1)
    tokens = mx.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    mask = mx.array([[1, 0, 1], [1, 1, 1]])
    whole = distillation_loss(student, teacher, tokens, mask=mask)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    parts = distillation_loss(student, teacher, inputs, targets=targets, mask=mask)
    assert whole.item() == parts.item()
    with pytest.raises(ValueError, match=r"length of at least 2.*\(2, 1\)"):
        distillation_loss(student, teacher, tokens[:, :1])


def test_masked_positions_and_what_stands_there_do_not_count(tiny, rows):
    student, teacher = tiny(), tiny(seed=1)
    inputs, targets = map(mx.array, rows(1)[0])
    mask = mx.array([[1, 1, 1, 0, 0]] * 2)
    padded = with_metrics(teacher)(student, inputs, targets, mask)
    short = with_metrics(teacher)(student, inputs[:, :3], targets[:, :3])
    assert padded[0].item() == pytest.approx(short[0].item(), rel=1e-6)
    for name, value in short[1].items():
        assert padded[1][name].item() == pytest.approx(value.item(), rel=1e-5)
    loss, metrics = with_metrics(teacher)(student, inputs, targets, 0 * mask)
    assert {v.item() for v in (loss, *metrics.values())} == {0}


# ------------------------------------------------------------------------- the trainer


@pytest.mark.parametrize("divergence", ["forward", "reverse", "jsd"])
def test_compiled_equals_eager(divergence, tiny, rows, trainer):
    def losses(compiled):
        loss_fn = with_metrics(tiny(dropout=0.5, seed=1), divergence=divergence)
        run = trainer(tiny(dropout=0.1), loss_fn=loss_fn, compile_step=compiled)
        records = run.train(rows(20))
        return np.array([[r["loss"], r["gradient_share"]] for r in records])

    np.testing.assert_allclose(losses(True), losses(False), rtol=1e-4)


@MODES
def test_micro_batches_equal_the_one_large_batch(
    compiled, tiny, rows, trainer, weights
):
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], np.float32)
    batches = [(*batch, mask) for batch in rows(2)] + [
        (*batch, 1 - mask) for batch in rows(1, seed=1)
    ]
    settings = {"rule": "sgd", "learning_rate": 0.1, "compile_step": compiled}
    small, large = (
        trainer(tiny(), loss_fn=with_metrics(tiny(seed=1)), **settings)
        for _ in range(2)
    )
    one = small.train_step_accumulated(batches)
    other = large.train_step(tuple(map(np.concatenate, zip(*batches, strict=True))))
    assert one["tokens"] == other["tokens"] == 17
    for name in ("loss", "grad_norm", "soft_loss", "hard_loss", "teacher_loss"):
        assert one[name] == pytest.approx(other[name], rel=1e-5)
    expected = weights(large.model)
    for path, value in weights(small.model).items():
        np.testing.assert_allclose(value, expected[path], atol=1e-6)


def test_live_knobs_act_without_a_new_trace(tiny, rows, trainer):
    live = {name: mx.array(0.5) for name in ("temperature", "alpha", "jsd_beta")}
    teacher = tiny(seed=1)

    def loss_fn(model, inputs, targets):
        return distillation_loss(
            model, teacher, inputs, live["temperature"], live["alpha"],
            targets=targets, divergence="jsd", jsd_beta=live["jsd_beta"],
            return_metrics=True,
        )  # fmt: skip

    run = trainer(tiny(), loss_fn=loss_fn, live=live, learning_rate=0.0)
    batch = rows(1)[0]
    seen = [run.train_step(batch)["loss"]]
    for name, value in (("temperature", 4.0), ("jsd_beta", 0.1), ("alpha", 0.9)):
        run.set_live(name, value)
        record = run.train_step(batch)
        seen.append(record["loss"])
        parts = (
            live["alpha"].item() * record["soft_loss"],
            (1 - live["alpha"].item()) * record["hard_loss"],
        )
        assert record["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert len(set(seen)) == 4
    assert run.trace_count == 1


# ----------------------------------------------------------------------- the toy world

SEED = 0
CORPUS, STEPS, BATCH = 4096, 200, 16
WORLD = MarkovWorld()


def language_model(d_model, seed):
    mx.random.seed(seed)
    return LanguageModel(ModelConfig(BlockConfig(d_model=d_model), 16, n_layers=2))


def excess(model):
    """Nats per token above the truth, on fresh rows in evaluation mode."""
    model.eval()
    gaps = []
    for inputs, _ in WORLD.eval_batches(64):
        logits = model(mx.array(inputs))[0]
        log_q = np.array(logits - log_normalizer(logits))
        p = WORLD.next_probs(inputs)
        gaps.append((p * (np.log(p) - log_q)).sum(axis=-1).mean())
    model.train()
    return float(np.mean(gaps))


def trained(model, loss_fn, data, **config):
    settings = TrainConfig(
        warmup_steps=50, learning_rate=5e-3, log_interval=0, **config
    )
    Trainer(model, settings, loss_fn=loss_fn).train(data)
    return excess(model)


def student(loss_fn, data):
    sizes = {"max_steps": STEPS, "batch_size": BATCH, "seed": SEED}
    return trained(language_model(32, SEED), loss_fn, data, **sizes)


def corpus():
    return TokenDataset(WORLD.sample(CORPUS, SEED), WORLD.seq_len)


@pytest.fixture(scope="module")
def teacher():
    """99,648 parameters, and 200 * 32 * 32 = 204,800 tokens."""
    model = language_model(64, seed=0)
    gap = trained(model, None, WORLD, max_steps=200, batch_size=32)
    assert gap < 0.3
    return model


@pytest.mark.slow
def test_a_student_with_a_teacher_comes_close_and_one_without_overfits(teacher):
    def distilled(model, inputs, targets):
        return distillation_loss(model, teacher, inputs, 2.0, 0.9, targets=targets)

    alone = student(next_token_loss, corpus())
    taught = student(distilled, corpus())
    print(f"alone {alone:.3f}, taught {taught:.3f} nats of excess")
    assert alone > 0.7
    assert taught < 0.5


@pytest.mark.slow
def test_a_cached_teacher_teaches_as_well(teacher, tmp_path):
    """Each window of the corpus once on disk, 8 of 16 tokens at each position."""
    data = corpus()
    order = np.random.default_rng(0).permutation(data.n_windows)
    batches = [data.windows(part) for part in order.reshape(-1, BATCH)]
    path = write_teacher_cache(tmp_path / "teacher.safetensors", teacher, batches, k=8)

    def cached(model, inputs, targets, *top_k):
        return distillation_loss(
            model, None, inputs, 2.0, 0.9, targets=targets, teacher_top_k=top_k
        )

    taught = student(cached, Passes(read_teacher_cache(path, batches, 16), SEED))
    print(f"cached, k = 8: {taught:.3f} nats of excess")
    assert taught < 0.5
