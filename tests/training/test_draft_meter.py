"""What the heads are worth as a draft, in the records of a run."""

from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.models.base import LanguageModel
from lmxlab.training.mtp import MultiTokenPrediction, mtp_loss
from lmxlab.training.speculative import DraftMeter, speculative_generate
import mlx.core as mx
import pytest

PROMPTS = [[1], [2], [3]]


@pytest.fixture
def mtp():
    mx.random.seed(0)
    block = BlockConfig(d_model=16, n_heads=2)
    return MultiTokenPrediction(LanguageModel(ModelConfig(block, 11, 1)), n_predict=2)


def test_evaluations_say_what_a_text_takes(mtp, rows, trainer):
    run = trainer(
        mtp, loss_fn=mtp_loss, max_steps=4, eval_interval=2,
        callbacks=[DraftMeter(mtp, PROMPTS, new_tokens=9)],
    )  # fmt: skip
    history = run.train(rows(4), rows(1, seed=1))
    names = {"eval_forwards", "eval_acceptance_1", "eval_acceptance_2"}
    assert [names <= record.keys() for record in history] == [False, True, False, True]
    last = speculative_generate(mtp, PROMPTS, 9)
    assert history[-1]["eval_forwards"] == last.forwards / 3
    assert history[-1]["eval_acceptance_1"] == last.acceptance[0]
    assert history[-1]["eval_acceptance_2"] == last.acceptance[1]


def test_measuring_leaves_the_run_as_it_is(mtp, tiny, rows, trainer, weights, same):
    def trained(meter):
        mx.random.seed(1)
        model = MultiTokenPrediction(tiny(dropout=0.2, seed=3), n_predict=1)
        callbacks = [DraftMeter(model, PROMPTS, new_tokens=5)] if meter else []
        run = trainer(
            model, loss_fn=mtp_loss, max_steps=3, eval_interval=1, callbacks=callbacks
        )
        run.train(rows(3), rows(1, seed=1))
        return weights(model)

    assert same(trained(meter=True), trained(meter=False))


def test_a_depth_that_guessed_nothing_has_no_share(mtp):
    record = {}
    DraftMeter(mtp, PROMPTS, new_tokens=1).on_eval_end(1, record)
    assert record == {"eval_forwards": 1.0}


def test_a_text_has_at_least_one_token(mtp):
    with pytest.raises(ValueError, match="new_tokens must be at least 1, got 0"):
        DraftMeter(mtp, PROMPTS, new_tokens=0)
