"""What each update of a run should have done, computed by hand from its knobs.

A :class:`Witness` keeps what every update started from. :func:`account` goes through
the updates around each turn of a knob and says how far they are from what the formulas
give for the knobs as they stood, and how far from what they would give had the knob
not been turned. The formulas are written out here in NumPy, in float64.
"""

import copy
import math

from lmxlab.training.loss import next_token_loss
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
import numpy as np

AFTER = 12  # updates after a turn that are looked at


class Witness:
    """Batches for a trainer, and a callback of it: keeps what each update saw."""

    def __init__(self, model, data, **others):
        self.model, self.data, self.others = model, iter(data), others
        self.fed, self.weights = [], []
        self._copy = copy.deepcopy(model)

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self.data)
        self.fed.append([np.array(array) for array in batch])
        self.weights.append(tree_flatten(self.model.parameters()))
        return batch

    def needs_weights(self, step):
        return True  # so that none is queued while a batch is drawn

    def before(self, step):
        """A copy of the model as it was before an update; the same copy each time."""
        self._copy.load_weights(self.weights[step - 1])
        return self._copy

    def after(self, step):
        """The weights after an update, path to array."""
        if step < len(self.weights):
            return dict(self.weights[step])
        return dict(tree_flatten(self.model.parameters()))


def account(topic, lab):
    """Go through a run that is held or has ended; the answer is plain data."""
    result, chart = lab.result, lab._chart
    witness, history = result.trainer.callbacks[0], result.history
    turns = collapsed(result)
    force = in_force(result.settings, turns, len(history))
    unlike, looked_at = {}, {1, len(history)}
    for index, (done, name, old, _) in enumerate(turns):
        ends = [other[0] for other in turns[index + 1 :] if other[1] == name]
        end = min([len(history), done + AFTER, *ends])
        steps = range(done + 1, end + 1)
        unturned = [*force]
        for step in steps:
            unturned[step] = {**force[step], name: old}
        unlike.setdefault(name, []).append(
            max(float(topic.gap(witness, history[n - 1], unturned)) for n in steps)
        )
        looked_at |= set(steps)
    worst = max(float(topic.gap(witness, history[n - 1], force)) for n in looked_at)
    return {
        "steps": len(history),
        "traces": result.trainer.trace_count,
        "changes": [[done, name, value] for done, name, value in result.changes],
        "marks": [text for _, text in chart.marks],
        "worst": worst,
        "unlike": unlike,
        "learning_rate": history[-1]["learning_rate"],
        "peak": force[-1].get("learning_rate"),
        "tokens": history[-1]["tokens"],
        "weights": {path: w.shape for path, w in witness.weights[0]},
        "optimizer": type(result.trainer.optimizer).__name__,
    }


def collapsed(result):
    """Turns (after which step, name, from, to); those between two steps are one."""
    values, turns = dict(result.settings), []
    for done, name, value in result.changes:
        same = [t for t in turns if t[:2] == [done, name]]
        if same:
            same[0][3] = value
        else:
            turns.append([done, name, values[name], value])
        values[name] = value
    return [turn for turn in turns if turn[2] != turn[3]]


def in_force(settings, turns, steps):
    """The settings of each update; index 0 is not used."""
    values, force = dict(settings), [None]
    for step in range(1, steps + 1):
        values = values | {name: new for done, name, _, new in turns if done < step}
        force.append(values)
    return force


# ------------------------------------------------------------------------ formulas


def log_softmax(logits):
    z = np.array(logits, np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def log_probs(model, inputs, targets, temperature=1.0):
    """Of each target, shape (B, T)."""
    logits = np.array(model(mx.array(inputs))[0], np.float64) / temperature
    return np.take_along_axis(log_softmax(logits), targets[..., None], -1)[..., 0]


def plain(witness, record, force):
    """Share of an update that is not what clip, decay, rate and rule make of it."""
    step = record["step"]
    settings = force[step]
    if step > 1 and settings["optimizer"] != "sgd":
        return 0.0  # the first update alone has no memory of others
    model = witness.before(step)
    batch = [mx.array(array) for array in witness.fed[step - 1]]
    loss_fn = nn.value_and_grad(model, lambda *args: next_token_loss(*args)[0])
    _, grads = loss_fn(model, *batch)
    grads = {path: np.array(g, np.float64) for path, g in tree_flatten(grads)}
    norm = math.sqrt(sum((g**2).sum() for g in grads.values()))
    limit = settings["max_grad_norm"]
    scale = min(1.0, limit / norm) if limit > 0 else 1.0
    rate = settings["learning_rate"]
    after = witness.after(step)
    missed = moved = 0.0
    for path, weight in witness.weights[step - 1]:
        w, g = np.array(weight, np.float64), scale * grads[path]
        decays = w.ndim >= 2 and "embed" not in path
        expected = w * (1 - rate * settings["weight_decay"] * decays)
        expected = expected - rate * direction(settings["optimizer"], g)
        seen = np.array(after[path], np.float64)
        missed += ((seen - expected) ** 2).sum()
        moved += ((seen - w) ** 2).sum()
    return math.sqrt(missed / moved)


def direction(rule, gradient):
    """The first update of a rule, for a learning rate of 1."""
    if rule == "sgd":
        return gradient
    if rule == "lion":
        return np.sign(gradient)
    return gradient / (np.abs(gradient) + 1e-8)  # adamw, its bias corrected


def rates(learning_rate, done, steps):
    """What each schedule makes of a learning rate after some of its steps."""
    x = done / steps
    return {
        "constant": learning_rate,
        "linear": learning_rate * (1 - x),
        "cosine": learning_rate * (1 + math.cos(math.pi * x)) / 2,
    }


def dpo(witness, record, force):
    """Nats between the loss and -log sigmoid(beta margin), smoothed, plus nll."""
    step = record["step"]
    settings, pair = force[step], witness.fed[step - 1]
    mask = np.arange(1, pair[0].shape[1]) >= witness.others["prompt_length"]

    def sums(model):
        rows = [log_probs(model, t[:, :-1], t[:, 1:]) * mask for t in pair]
        return [row.sum(axis=1) for row in rows]

    chosen, rejected = sums(witness.before(step))
    right, wrong = sums(witness.others["reference"])
    logit = settings["beta"] * ((chosen - right) - (rejected - wrong))
    eps = settings["label_smoothing"]
    preference = (1 - eps) * np.logaddexp(0, -logit) + eps * np.logaddexp(0, logit)
    nll = -chosen / mask.sum()
    return abs(record["loss"] - (preference + settings["nll_weight"] * nll).mean())


def grpo(witness, record, force):
    """Nats between the loss and the formula, or between the sampler and the model."""
    step = record["step"]
    settings = force[step]
    prompts, ends, old, mask, _, advantages, *_, ref = witness.fed[step - 1]
    fresh = (step - 1) % witness.others["epochs"] == 0
    first = step - (step - 1) % witness.others["epochs"]  # update of this rollout
    sampled_at = force[first]["sampling_temperature"]
    tokens = np.concatenate([prompts, ends], axis=1)
    logits = np.array(
        witness.before(step)(mx.array(tokens[:, :-1]))[0], np.float64
    )[:, prompts.shape[1] - 1 :]  # fmt: skip
    heated = log_softmax(logits / sampled_at)
    now = np.take_along_axis(heated, ends[..., None], -1)[..., 0]
    sampled = np.abs((now - old) * mask).max() if fresh else 0.0
    ratio, gain = np.exp((now - old) * mask), advantages[:, None]
    bound = settings["epsilon"]
    clipped = np.clip(ratio, 1 - bound, 1 + bound)
    k3 = np.exp(ref - now) - (ref - now) - 1
    each = -np.minimum(ratio * gain, clipped * gain) + settings["kl_weight"] * k3
    loss = ((each * mask).sum(axis=1) / mask.sum(axis=1)).mean()
    return max(sampled, abs(record["loss"] - loss))


def mtp(witness, record, force):
    """Nats between the loss and that of the model plus the weighted heads."""
    step = record["step"]
    batch = [mx.array(array) for array in witness.fed[step - 1]]
    _, losses = witness.before(step)(*batch, mtp_weight=0.0)
    heads = [losses[name].item() for name in ("depth_1", "depth_2")]
    weight = force[step]["mtp_weight"]
    return abs(record["loss"] - (losses["main_loss"].item() + weight * sum(heads) / 2))


def distillation(witness, record, force):
    """Nats between the loss and alpha tau^2 KL(p || q) + (1 - alpha) cross-entropy."""
    step = record["step"]
    inputs, targets = witness.fed[step - 1]
    tau, alpha = force[step]["temperature"], force[step]["alpha"]
    z_s = np.array(witness.before(step)(mx.array(inputs))[0], np.float64)
    z_t = np.array(witness.others["teacher"](mx.array(inputs))[0], np.float64)
    p, q = log_softmax(z_t / tau), log_softmax(z_s / tau)
    soft = tau**2 * (np.exp(p) * (p - q)).sum(axis=-1).mean()
    hard = -np.take_along_axis(log_softmax(z_s), targets[..., None], -1).mean()
    return abs(record["loss"] - (alpha * soft + (1 - alpha) * hard))


def curriculum(witness, record, force):
    """Rows by which the hard ones are too many or too few, but for rounding."""
    step = record["step"]
    rows = witness.fed[step - 1][0]
    progress = sum(settings["pace"] for settings in force[1:step])
    planned = min(1.0, progress / witness.others["warmup"]) * len(rows)
    hard = rows[:, 0].sum()  # easy rows are made of 0, hard ones of 1
    assert record["hard_share"] * len(rows) == hard, "the record misreports its batch"
    return float(max(0.0, abs(hard - planned) - 0.5))
