"""Where the time of a training step goes: its operations, each by itself.

An operation runs forward and backward at the step's own shapes, on one core, as many
times as the step runs it. What the step takes besides is the rest: sums of residuals,
the loss's bookkeeping, Python, and that operations find each other's data, or do not,
in the processor's caches.
"""

from collections.abc import Callable
from contextlib import ExitStack
import math
import statistics
from typing import Any, cast

from lmxlab import runtime
from lmxlab.bench import cases, timing
from lmxlab.bench.cases import Case
from lmxlab.bench.plain import Worker, original_environment, plain_environment
from lmxlab.core.activations import relu2
from lmxlab.core.attention import Attention, attend, causal_mask
from lmxlab.core.rotary import rotate
from lmxlab.training.loss import target_log_probs
from lmxlab.training.trainer import Trainer
import mlx.core as mx

Function = Callable[..., mx.array]
REPEATS = {"story": 10, "medium": 5, "large": 2}  # of an operation, in a turn
TURNS = {"library_ms": 8, "plain_ms": 2}


class Parts:
    """The operations of a step of the small family.

    Args:
        case: Whose step.

    Attributes:
        calls: Operation to what runs it once, forward and backward.
        times: Operation to how often the step does so.

    Example:
        >>> parts = Parts(cases.CASES["story"])
        >>> parts.times["feed-forward: matrix products"], parts.times["norms"]
        (2, 5)
    """

    def __init__(self, case: Case) -> None:
        self.calls: dict[str, timing.Step] = {}
        self.times: dict[str, int] = {}
        model = case.model()
        attention, ffn = model.blocks[0].attention, model.blocks[0].ffn
        layers, width = case.n_layers, case.d_model
        x = _normal(case.tokens, width)
        norm = model.final_norm
        tokens = mx.array(next(case.batches())[0])
        weights = [attention.q_proj, attention.k_proj, attention.v_proj]
        maps = [part.weight for part in (*weights, attention.o_proj)]
        up, down = ffn.up_proj.weight, ffn.down_proj.weight
        hidden = _normal(case.tokens, up.shape[0])
        rows = [_normal(case.batch_size, case.seq_len, w.shape[0]) for w in maps[:3]]
        logits = _normal(case.batch_size, case.seq_len, case.vocab_size)

        self._add("attention: matrix products", layers, _products, x, *maps)
        self._add("attention: everything else", layers, _middle(attention), *rows)
        self._add("feed-forward: matrix products", layers, _two_products, x, up, down)
        self._add("feed-forward: squared ReLU", layers, relu2, hidden)
        self._add(
            "norms",
            2 * layers + 1,
            lambda x, weight: mx.fast.rms_norm(x, weight, norm.eps),
            *(x, norm.weight),
        )
        self._add("embedding", 1, lambda weight: weight[tokens], model.embed.weight)
        self._add("head", 1, lambda x, w: x @ w.T, x, model.embed.weight)
        self._add("loss", 1, lambda x: target_log_probs(x, tokens).mean(), logits)
        self.calls["clipping and AdamW"] = _update(case)
        self.times["clipping and AdamW"] = 1

    def _add(
        self, name: str, times: int, function: Function, *inputs: mx.array
    ) -> None:
        upstream = _normal(*function(*inputs).shape)

        @mx.compile
        def both_ways(*inputs: mx.array) -> Any:
            return mx.vjp(function, list(inputs), [upstream])

        self.calls[name] = lambda: mx.eval(both_ways(*inputs))
        self.times[name] = times


def measure(case: str, turns: int) -> dict[str, float]:
    """Time a step and its operations, in turns, on one core.

    Args:
        case: A name in ``cases.CASES``.
        turns: Of each.

    Returns:
        Operation to milliseconds of a step, all its calls together; ``the rest``; and
        ``step``, their sum.

    Example:
        >>> found = measure("story", turns=1)
        >>> sum(found.values()) == 2 * found["step"]
        True
    """
    parts = Parts(cases.CASES[case])
    whole = cases.on_one_core(cases.trainer_step(cases.CASES[case]))
    calls = parts.calls | {"step": whole}
    samples = timing.interleave(calls, turns, REPEATS[case])
    medians = {name: 1e3 * statistics.median(found) for name, found in samples.items()}
    spent = {name: times * medians[name] for name, times in parts.times.items()}
    step = medians["step"]
    rest = step - math.fsum(spent.values())
    return {**spent, "the rest": rest, "step": math.fsum([*spent.values(), rest])}


def section(*, quick: bool = False) -> dict[str, Any]:
    """Where the time of a step goes, here and in MLX as pip installs it.

    Args:
        quick: The smallest case only, and fewer turns.

    Returns:
        Case to operation to its milliseconds: ``library_ms`` and, where the lab
        prepares MLX, ``plain_ms`` in MLX as pip installs it.
    """
    environments = {"library_ms": original_environment()}
    if runtime.preparation().applies:
        environments["plain_ms"] = plain_environment()
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        workers = {
            side: stack.enter_context(Worker(environment))
            for side, environment in environments.items()
        }
        for case in list(REPEATS)[: 1 if quick else None]:
            found = {
                side: worker.ask("parts", case=case, turns=2 if quick else TURNS[side])
                for side, worker in workers.items()
            }
            results[case] = {
                name: {side: found[side][name] for side in found}
                for name in found["library_ms"]
            }
    return results


def _normal(*shape: int) -> mx.array:
    x = mx.random.normal(shape)
    mx.eval(x)
    return x


def _products(x: mx.array, *maps: mx.array) -> mx.array:
    q, k, v, o = (weight.T for weight in maps)
    return mx.concatenate([x @ q, x @ k, x @ v, x @ o], axis=-1)


def _two_products(x: mx.array, up: mx.array, down: mx.array) -> mx.array:
    return (x @ up.T) @ down.T


def _middle(attention: Attention) -> Function:
    """Return what is between the projections: heads, rotation, softmax, values."""

    def mixed(*rows: mx.array) -> mx.array:
        heads = [attention.n_heads, attention.n_kv_heads, attention.n_kv_heads]
        q, k, v = map(attention._heads, rows, heads)
        mask = causal_mask(q.shape[2])
        theta = cast(float, attention.rope_theta)  # as all models of the bench have
        q, k = rotate(q, theta), rotate(k, theta)
        out = attend(q, k, v, mask)
        return out.transpose(0, 2, 1, 3).reshape(rows[0].shape)

    return mixed


def _update(case: Case) -> timing.Step:
    """Return what turns gradients into weights: the norm, the clipping, the rule."""
    trainer = Trainer(case.model(), cases.settings())
    state = [trainer.model.state, trainer.optimizer.state, trainer.live]
    grads = trainer.model.trainable_parameters()  # of their shapes, and that size
    mx.eval(grads)

    def update(grads: Any) -> Any:
        return trainer._apply({}, grads, mx.array(1.0))

    compiled = mx.compile(update, inputs=state, outputs=state)
    return lambda: mx.eval(compiled(grads), state)
