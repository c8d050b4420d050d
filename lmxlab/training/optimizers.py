"""Learning-rate schedules and the five update rules.

``create_optimizer`` returns plain ``mlx.optimizers`` with three corrections:

* Weight decay is decoupled for every rule (Loshchilov and Hutter, arXiv:1711.05101),
  and skips biases, norms and embeddings: vectors, and what has ``embed`` in its path.
* Adam corrects its bias. MLX leaves that off, which multiplies the first step by
  ``(1 - beta1) / sqrt(1 - beta2)``: 0.45 for the betas 0.9 and 0.95 of
  :class:`~lmxlab.training.config.TrainConfig`, 3.2 for 0.9 and 0.999.
* Adafactor obeys the learning rate. MLX ignores it unless told not to.

The learning rate and the weight decay are read from arrays in a dictionary (``live``).
When that dictionary is among a compiled step's captured state, a slider moves them
without a new trace; a Python float would be frozen at the first one.
"""

from collections.abc import Callable
import math
from typing import Any

from lmxlab.core.fields import unknown_choice
from lmxlab.training.config import OPTIMIZERS, SCHEDULES, TrainConfig
from lmxlab.training.live import Live, with_config
import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_map_with_path

Schedule = Callable[[mx.array | int], mx.array]


def create_schedule(config: TrainConfig, live: Live | None = None) -> Schedule:
    """Return the learning rate as a function of the number of updates already done.

    With ``t`` updates done, ``W`` warm-up steps, ``N`` steps in all, peak ``eta`` and
    floor ``m`` (``lr_floor``, a share of the peak):

    * warm-up, while ``t < W``: ``eta * t / W``; in wsd ``eta * (m + (1 - m) * t / W)``.
      Where that starts at 0, the first update moves no weight: it only fills the
      optimizer's moments.
    * constant: ``eta``.
    * linear and cosine: ``eta * (m + (1 - m) * f(x))`` with
      ``x = min(1, (t - W) / (N - W))`` and ``f(x)`` either ``1 - x`` or
      ``0.5 * (1 + cos(pi * x))``.
    * wsd (warm-up, stable, decay): ``eta`` until the last ``D`` steps
      (``decay_fraction`` of ``N``), then ``eta * (m + (1 - m) * f(x))`` with
      ``x = min(1, (t - N + D) / D)`` and ``f(x)`` one of ``1 - x``,
      ``0.5 * (1 + cos(pi * x))``, ``1 - sqrt(x)`` (arXiv:2405.18392).

    ``W = 0`` is no warm-up; ``N <= W`` is nothing but warm-up.

    Args:
        config: The run.
        live: Where the peak is read from (key ``learning_rate``); the config's when
            left out.

    Returns:
        A function from the update count, a number or an integer array of shape (), to
        the learning rate, a float32 array of shape ().

    Raises:
        ValueError: If the config names no schedule that there is.

    Example:
        >>> schedule = create_schedule(TrainConfig(learning_rate=1.0, warmup_steps=4))
        >>> [round(schedule(t).item(), 3) for t in (0, 2, 4, 1000)]
        [0.0, 0.5, 1.0, 0.0]
    """
    warmup, total, floor = config.warmup_steps, config.max_steps, config.lr_floor
    decay = max(1, round(config.decay_fraction * total))
    peak = live if live is not None else with_config(None, config)

    def fall(x: mx.array, shape: str) -> mx.array:
        if shape == "linear":
            return 1 - x
        if shape == "cosine":
            return 0.5 * (1 + mx.cos(math.pi * x))
        return 1 - mx.sqrt(x)

    def schedule(step: mx.array | int) -> mx.array:
        t = mx.array(step).astype(mx.float32)
        share = mx.array(1.0)
        if config.lr_schedule in ("cosine", "linear"):
            x = mx.clip((t - warmup) / max(1, total - warmup), 0, 1)
            share = floor + (1 - floor) * fall(x, config.lr_schedule)
        elif config.lr_schedule == "wsd":
            x = mx.clip((t - total + decay) / decay, 0, 1)
            share = floor + (1 - floor) * fall(x, config.decay_shape)
        if warmup > 0:
            start = floor if config.lr_schedule == "wsd" else 0.0
            rise = start + (1 - start) * t / warmup
            share = mx.where(t < warmup, rise, share)
        rate: mx.array = peak["learning_rate"] * share
        return rate

    if config.lr_schedule not in SCHEDULES:
        raise unknown_choice("lr_schedule", config.lr_schedule, SCHEDULES)
    return schedule


def create_optimizer(config: TrainConfig, live: Live | None = None) -> optim.Optimizer:
    """Return the update rule that the config names, on its schedule.

    * ``adamw``: torch.optim.AdamW's rule, betas from the config.
    * ``lion``: arXiv:2302.06675. ``sgd``: with momentum ``beta1``.
    * ``adafactor``: arXiv:1804.04235, second moments factored, with the learning rate
      as given (no relative steps, no scaling by the parameter).
    * ``muon``: momentum ``beta1``, orthogonalized (kellerjordan.github.io/posts/muon),
      for matrices; AdamW for embeddings and vectors. The update is scaled to AdamW's
      usual size, 0.2 RMS (arXiv:2502.16982, equation 4), so both share one rate.

    Args:
        config: The run.
        live: Arrays named ``learning_rate`` (the peak) and ``weight_decay`` to read
            instead of the config's constants. Share it with a compiled step.

    Returns:
        An ``mlx.optimizers.Optimizer``.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> optimizer = create_optimizer(TrainConfig(optimizer="lion", warmup_steps=0))
        >>> round(optimizer.learning_rate.item(), 6)
        0.0003
    """
    live = live if live is not None else with_config(None, config)
    schedule = create_schedule(config, live)
    b1, b2 = config.beta1, config.beta2

    def adam() -> optim.Optimizer:
        return _Adam(schedule, betas=[b1, b2], bias_correction=True)

    rules: dict[str, Callable[[], optim.Optimizer]] = {
        "adamw": adam,
        "lion": lambda: _Lion(schedule, betas=[b1, b2]),
        "sgd": lambda: _SGD(schedule, momentum=b1),
        "adafactor": lambda: _Adafactor(
            schedule, relative_step=False, scale_parameter=False
        ),
        "muon": lambda: optim.MultiOptimizer(
            [
                _Muon(schedule, momentum=b1, weight_decay=0.0),
                adam(),
            ],
            [lambda path, weight: _decays(path, weight) and weight.ndim == 2],
        ),
    }
    if config.optimizer not in rules:
        raise unknown_choice("optimizer", config.optimizer, OPTIMIZERS)
    optimizer = rules[config.optimizer]()
    for rule in getattr(optimizer, "optimizers", [optimizer]):
        rule.live = live
    return optimizer


def _decays(path: str, parameter: mx.array) -> bool:
    """Whether a parameter is a weight matrix, and not an embedding."""
    return parameter.ndim >= 2 and "embed" not in path.lower()


class _Decoupled(optim.Optimizer):
    """``w <- w - lr * weight_decay * w`` on matrices, before the rule itself."""

    live: Live

    def apply_gradients(self, gradients: Any, parameters: Any) -> Any:
        rate = self._schedulers["learning_rate"](self.step)
        keep = 1 - rate * self.live["weight_decay"]

        def shrink(path: str, _: mx.array, weight: mx.array) -> mx.array:
            if not _decays(path, weight):
                return weight
            shrunk: mx.array = weight * keep.astype(weight.dtype)
            return shrunk

        decayed = tree_map_with_path(shrink, gradients, parameters)
        return super().apply_gradients(gradients, decayed)


class _Adam(_Decoupled, optim.Adam):
    pass


class _Lion(_Decoupled, optim.Lion):
    pass


class _SGD(_Decoupled, optim.SGD):
    pass


class _Adafactor(_Decoupled, optim.Adafactor):
    pass


class _Muon(_Decoupled, optim.Muon):
    def apply_single(self, gradient: Any, parameter: Any, state: Any) -> Any:
        # From 0, so that the step alone comes out, not rounded to the weight's digits.
        step = super().apply_single(gradient, mx.zeros_like(parameter), state)
        # MLX's step has RMS sqrt(1 / columns); scale it to 0.2.
        return parameter + step * (0.2 * math.sqrt(parameter.shape[-1]))
