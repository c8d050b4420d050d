"""Rollouts: completions sampled from the policy, rewarded, and made into batches.

For each rollout n prompts are drawn, G completions of each are sampled from the model
as it is now, and every completion is rewarded:

    prompts -> completions, log-probabilities -> rewards -> advantages -> batches

With ``epochs`` or ``minibatches`` above 1 a rollout makes several updates. From the
second on the policy is no longer the one that sampled, which is what the ratio and its
clipping are for (:mod:`lmxlab.training.grpo`).

Rollout i is a function of (seed, i) and of the model. The position and what is left of
the present rollout are plain data, so a run continues bit for bit from a checkpoint.

Left out on purpose: sampling in another process, and prompts of unequal length.
"""

from collections.abc import Callable, Iterator
import math
from typing import Any, NamedTuple, TypeAlias

from lmxlab.core.modes import evaluation_mode
from lmxlab.data.batching import at_least, numbered_rng
from lmxlab.models.generate import Prompts, generate
from lmxlab.training.groups import group_advantages
from lmxlab.training.grpo import Knob, LossType, completion_logits, grpo_loss
from lmxlab.training.loss import Metrics, target_log_probs
from lmxlab.training.rewards import Rewards, reward_functions, score
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

Draw: TypeAlias = Callable[[int, np.random.Generator], npt.ArrayLike]

DTYPES = (np.int32, np.int32, *[np.float32] * 7)  # of the arrays of a batch, in order


class Rollouts(NamedTuple):
    """Sampled completions.

    Example:
        >>> sampled = Rollouts(*[mx.zeros((2, 3))] * 4)
        >>> sampled.mask.shape
        (2, 3)
    """

    prompts: mx.array
    """Token IDs (B, P)."""
    completions: mx.array
    """Token IDs (B, C)."""
    log_probs: mx.array
    """Of each completion token under the policy that sampled it, nats, (B, C)."""
    mask: mx.array
    """1 up to the stop token and including it, 0 after it, (B, C)."""


def rollout(
    model: nn.Module,
    prompts: Prompts,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    stop_token: int | None = None,
    seed: int | None = None,
    key: mx.array | None = None,
) -> Rollouts:
    """Sample one completion of each prompt, with its log-probabilities.

    Args:
        model: As in :func:`lmxlab.models.generate.generate`.
        prompts: Token IDs (B, P); repeat a prompt to have several completions of it.
        max_new_tokens: Length C of a completion, at least 1.
        temperature: Divides the logits; 0 always takes the likeliest token.
        stop_token: Ends a completion, which is filled up with it.
        seed: Number that fixes the draws; None draws differently each time.
        key: Random key that fixes the draws, instead of a seed.

    Returns:
        The rollouts. Their log-probabilities are those of logits / temperature, in
        nats, and 0 where masked (and everywhere at temperature 0: nothing is chance).

    Raises:
        TypeError: If the prompts are not integers.
        ValueError: If the prompts are not rectangular or an option is out of range.

    Example:
        >>> from lmxlab.core import ModelConfig
        >>> from lmxlab.models.base import LanguageModel
        >>> model = LanguageModel(ModelConfig(vocab_size=12))
        >>> out = rollout(model, [[1, 2], [3, 4]], 5, stop_token=0, seed=0)
        >>> out.completions.shape, out.mask.shape
        ((2, 5), (2, 5))
    """
    at_least("max_new_tokens", max_new_tokens, 1)
    tokens, log_probs = generate(
        model,
        prompts,
        max_new_tokens,
        temperature=temperature,
        stop_token=stop_token,
        seed=seed,
        key=key,
        return_log_probs=True,
        log_probs_of="sampler",
    )
    start = tokens.shape[1] - max_new_tokens
    completions = tokens[:, start:]
    if stop_token is None:
        mask = mx.ones(completions.shape)
    else:
        stops = (completions == stop_token).astype(mx.int32)
        mask = (mx.cumsum(stops, axis=1, inclusive=False) == 0).astype(mx.float32)
    return Rollouts(tokens[:, :start], completions, log_probs, mask)


class GRPOBatches(Iterator[tuple[npt.NDArray[Any], ...]]):
    """Endless batches of fresh rollouts, and the loss that suits them.

    A batch is ``(prompts, completions, log_probs, mask, rewards, advantages, equal,
    temperature)``, with ``ref_log_probs`` at the end if there is a reference: NumPy
    arrays of B rows. ``rewards`` is (B, F), one column for each function; ``equal`` is
    1 for the rows of a group whose rewards are all equal. Advantages are taken over
    whole groups, so that a batch may be split afterwards.

    If a reward function raises, that rollout is given up, and the next is a new one.

    Args:
        model: The policy. It is sampled as it is when a rollout begins.
        prompts: Token IDs (N, P) to draw from, or ``draw(n, rng)``, which returns
            (n, P) using the generator's randomness alone, e.g.
            ``SortingWorld().prompts``.
        rewards: ``reward(prompt, completion) -> number`` on lists of token IDs, the
            completion cut after its stop token; or a list of such functions, or of
            pairs (function, weight). Their weighted sum is what counts.
        max_new_tokens: Length C of a completion.
        n_prompts: Prompts in a rollout.
        group_size: Completions G of each prompt: a rollout has n_prompts * G rows.
        stop_token: Ends a completion.
        temperature: Of sampling and the loss, above 0. Set anew, it acts from the next
            rollout on.
        seed: Integer, at least 0.
        epochs: How often each rollout is gone through.
        minibatches: Batches that a rollout is cut into, each of whole groups.
        ref_model: The reference of the KL term, a fixed copy of the policy
            (``copy.deepcopy(model)``); it is run once for each rollout.
        loss_type: As in :func:`grpo_loss <lmxlab.training.grpo.grpo_loss>`.
        scale_rewards: As there.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range, minibatches does not divide n_prompts, or
            ref_model is the policy itself.

    Example:
        >>> from lmxlab.core import ModelConfig
        >>> from lmxlab.models.base import LanguageModel
        >>> from lmxlab.training.config import TrainConfig
        >>> from lmxlab.training.trainer import Trainer
        >>> model = LanguageModel(ModelConfig(vocab_size=12))
        >>> data = GRPOBatches(model, [[1, 2], [3, 4]], lambda p, c: c.count(5),
        ...     max_new_tokens=3, n_prompts=2, group_size=4)
        >>> config = TrainConfig(max_steps=2, log_interval=0)
        >>> records = Trainer(model, config, loss_fn=data.loss_fn).train(data)
        >>> records[0]["completion_length"]
        3.0
    """

    def __init__(
        self,
        model: nn.Module,
        prompts: npt.ArrayLike | Draw,
        rewards: Rewards,
        *,
        max_new_tokens: int,
        n_prompts: int = 16,
        group_size: int = 8,
        stop_token: int | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        epochs: int = 1,
        minibatches: int = 1,
        ref_model: nn.Module | None = None,
        loss_type: LossType = "grpo",
        scale_rewards: bool | None = None,
    ) -> None:
        """Nothing is sampled yet."""
        if ref_model is model:
            raise ValueError(
                "ref_model is the policy itself, and would move along with it; pass "
                "copy.deepcopy(model)"
            )
        self.model, self.ref_model = model, ref_model
        self.max_new_tokens = at_least("max_new_tokens", max_new_tokens, 1)
        self.n_prompts = at_least("n_prompts", n_prompts, 1)
        self.group_size = at_least("group_size", group_size, 1)
        self.epochs = at_least("epochs", epochs, 1)
        self.minibatches = at_least("minibatches", minibatches, 1)
        if n_prompts % minibatches:
            raise ValueError(
                f"minibatches={minibatches} must divide n_prompts={n_prompts}: a "
                "minibatch holds whole groups"
            )
        self.stop_token, self.temperature = stop_token, temperature
        self.seed = at_least("seed", seed, 0)
        self.loss_type, self.scale_rewards = loss_type, scale_rewards
        self.rewards = rewards
        _, self.reward_names, self._weights = reward_functions(rewards)
        self._draw = prompts if callable(prompts) else _drawing_from(prompts)
        self.position = 0  # rollouts done
        self.served = 0  # batches given out of the present one
        self._present: list[npt.NDArray[Any]] = []

    @property
    def temperature(self) -> float:
        """What the next rollout is sampled at."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"temperature must be above 0, got {value}")
        self._temperature = value

    def __next__(self) -> tuple[npt.NDArray[Any], ...]:
        """Return the next batch, of a new rollout where the present one is used up."""
        if not self._present or self.served == self.epochs * self.minibatches:
            self._present, self.served = self._next_rollout(), 0
        rows = self.n_prompts // self.minibatches * self.group_size
        start = self.served % self.minibatches * rows
        self.served += 1
        return tuple(array[start : start + rows] for array in self._present)

    def loss_fn(
        self,
        model: nn.Module,
        *batch: mx.array,
        beta: Knob | None = None,
        epsilon: Knob = 0.2,
        epsilon_high: Knob | None = None,
    ) -> tuple[mx.array, Metrics]:
        """Loss of one batch, for ``Trainer(model, config, loss_fn=data.loss_fn)``.

        For other knobs, or live ones, wrap it:
        ``lambda model, *batch: data.loss_fn(model, *batch, beta=live["beta"])``.

        Args:
            model: The policy.
            batch: What the iterator yields.
            beta: Weight of the KL term; 0.1 with a reference by default, else 0.
            epsilon: As in :func:`grpo_loss <lmxlab.training.grpo.grpo_loss>`.
            epsilon_high: As there.

        Returns:
            The loss, and the metrics of
            :func:`grpo_diagnostics <lmxlab.training.grpo.grpo_diagnostics>`, with
            ``reward_NAME``, the mean of each function, if there are several.
        """
        prompts, completions, old, mask, rewards, advantages, equal, *rest = batch
        temperature, *ref = rest
        if beta is None:
            beta = 0.1 if ref else 0.0
        loss, metrics = grpo_loss(
            model,
            None,
            prompts,
            completions,
            (rewards * mx.array(self._weights)).sum(axis=1),
            beta,
            epsilon,
            old_log_probs=old,
            mask=mask,
            epsilon_high=epsilon_high,
            loss_type=self.loss_type,
            advantages=advantages,
            ref_log_probs=ref[0] if ref else None,
            temperature=temperature[0],  # one for all rows
            max_length=self.max_new_tokens,
            return_metrics=True,
        )
        metrics["zero_variance_groups"] = equal.mean()
        if len(self.reward_names) > 1:
            for name, mean in zip(self.reward_names, rewards.mean(axis=0), strict=True):
                metrics[f"reward_{name}"] = mean
        return loss, metrics

    def state(self) -> dict[str, Any]:
        """Return the position and what is left to give out, as plain data.

        Returns:
            A dict that JSON can hold. Floats come back exactly.
        """
        left = self._present if self.served < self.epochs * self.minibatches else []
        return {
            **self._settings(),
            "seed": self.seed,
            "position": self.position,
            "served": self.served,
            "present": [array.tolist() for array in left],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state`; the model is restored by other means.

        Args:
            state: What :meth:`state` returned, here or in another process.

        Raises:
            ValueError: If a key is missing, or it was saved with other settings.
        """
        settings = self._settings()
        missing = {*settings, "seed", "position", "served", "present"} - state.keys()
        if missing:
            raise ValueError(
                f"state lacks {sorted(missing)}; pass the dict that state() returned"
            )
        for name, value in settings.items():
            if state[name] != value:
                raise ValueError(
                    f"state was saved with {name}={state[name]!r}, and here it is "
                    f"{value!r}; build the iterator as it was to continue the same run"
                )
        self.seed, self.position = state["seed"], state["position"]
        self.served = state["served"]
        self._present = [
            np.array(values, dtype)
            for values, dtype in zip(state["present"], DTYPES, strict=False)
        ]

    def _settings(self) -> dict[str, Any]:
        names = ("n_prompts", "group_size", "epochs", "minibatches", "max_new_tokens")
        return {name: getattr(self, name) for name in names} | {
            "rewards": list(self.reward_names),
            "reference": self.ref_model is not None,
        }

    def _next_rollout(self) -> list[npt.NDArray[Any]]:
        """Sample and reward; an interrupt before the end changes nothing."""
        rng = numbered_rng(self.seed, self.position)
        prompts = _token_rows(self._draw(self.n_prompts, rng))
        if len(prompts) != self.n_prompts:
            raise ValueError(
                f"prompts must return {self.n_prompts} rows, got {len(prompts)}"
            )
        rollouts = rollout(
            self.model,
            mx.array(prompts.repeat(self.group_size, axis=0)),
            self.max_new_tokens,
            temperature=self.temperature,
            stop_token=self.stop_token,
            seed=int(rng.integers(2**63)),
        )
        try:
            rewards = score(
                self.rewards, rollouts.prompts, rollouts.completions, rollouts.mask
            )
        except Exception:
            self.position += 1
            raise
        total = mx.array((rewards * self._weights).sum(axis=1))
        default = self.loss_type != "dr_grpo"
        scale = default if self.scale_rewards is None else self.scale_rewards
        advantages = group_advantages(total, self.group_size, scale=scale)
        by_group = np.array(total).reshape(self.n_prompts, self.group_size)
        equal = (by_group.min(axis=1) == by_group.max(axis=1)).repeat(self.group_size)
        temperatures = np.full(len(equal), self.temperature)
        batch = [*rollouts, rewards, advantages, equal, temperatures]
        if self.ref_model is not None:
            pair = rollouts.prompts, rollouts.completions
            with evaluation_mode(self.ref_model):
                logits = completion_logits(self.ref_model, *pair, self.temperature)
            batch.append(target_log_probs(logits, rollouts.completions))
        present = [
            np.array(array).astype(dtype, copy=False)
            for array, dtype in zip(batch, DTYPES, strict=False)
        ]
        self.position += 1
        return present


def _drawing_from(prompts: npt.ArrayLike) -> Draw:
    rows = _token_rows(prompts)

    def draw(n: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        # All different, as long as there are enough.
        return rows[rng.choice(len(rows), size=n, replace=n > len(rows))]

    return draw


def _token_rows(prompts: npt.ArrayLike) -> npt.NDArray[np.int32]:
    rows = np.asarray(prompts)
    if rows.ndim != 2 or 0 in rows.shape or rows.dtype.kind not in "iu":
        raise ValueError(
            "prompts must be token IDs of shape (prompts, length), all of one length, "
            f"got {rows.dtype} of shape {rows.shape}"
        )
    return rows.astype(np.int32)
