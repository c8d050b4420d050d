"""A temperature that is changed while a run goes on, and the loss that follows it."""

from lmxlab.training.grpo import completion_logits
from lmxlab.training.rollouts import GRPOBatches
import mlx.core as mx
import numpy as np
import pytest

POOL = np.arange(20, dtype=np.int32).reshape(10, 2) % 11


def make(model, **options):
    settings = {"max_new_tokens": 5, "n_prompts": 4, "group_size": 3} | options
    return GRPOBatches(
        model, POOL, lambda prompt, completion: completion[0], **settings
    )


def test_a_new_temperature_acts_from_the_next_rollout_on(tiny):
    model = tiny()
    data = make(model, epochs=2)
    first = next(data)
    data.temperature = 0.5
    again, second = next(data), next(data)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], second[1])
    assert [set(batch[7].tolist()) for batch in (again, second)] == [{1.0}, {0.5}]


@pytest.mark.parametrize("compiled", [True, False])
def test_the_loss_follows_without_a_new_trace(tiny, trainer, compiled):
    """On the policy that sampled the ratio is 1, whatever the temperature."""
    model = tiny()
    data = make(model)
    run = trainer(model, loss_fn=data.loss_fn, max_steps=6, compile_step=compiled)
    entropies = []
    for record in run.stream(data):
        assert abs(record["loss"]) < 1e-5
        entropies.append(record["entropy"])
        data.temperature = 1.0 if record["step"] < 3 else 0.3
    assert run.trace_count == (1 if compiled else 6)
    assert max(entropies[3:]) < min(entropies[:3]) - 0.1


def test_a_run_continues_with_what_was_sampled_at_another_temperature(tiny):
    model = tiny()
    data, other = make(model, epochs=2, temperature=0.7), make(model, epochs=2)
    next(data)
    other.restore(data.state())
    assert np.array_equal(next(data)[7], next(other)[7])


def test_an_array_divides_as_a_number_does(tiny):
    model, tokens = tiny(), mx.array(POOL)
    number, array = (
        completion_logits(model, tokens, tokens, value)
        for value in (0.7, mx.array(0.7))
    )
    assert mx.allclose(number, array)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_no_temperature_is_set_that_will_not_do(tiny, bad):
    data = make(tiny())
    with pytest.raises(ValueError, match="temperature must be above 0, got"):
        data.temperature = bad
    assert data.temperature == 1.0
