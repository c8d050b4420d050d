"""Curricula: short rows before long ones, easy rows before hard ones.

A curriculum (Bengio et al. 2009, "Curriculum learning", ICML) changes which rows a
model sees as training goes on, and nothing else: it is an iterator of batches, for the
same trainer and the same loss. By length, stage s of S has rows of

    T_s = min + (max - min) s / (S - 1)    tokens, rounded,    s = 0 .. S - 1

and by difficulty the share of hard rows in batch i of N rises in a straight line,

    share(i) = min(1, pace * i / W)        W = warmup_fraction * N

to 1, where it stays. Batch i is a function of the seed, of i and of that share, drawn
from a generator of its own, so dropout never changes the data.

To be fair, compare with hard rows alone, and with an even mixture, for as many batches;
lengths differ in tokens too (`LengthCurriculum.n_tokens`). Often the mixture does as
well. Left out: curricula that look at the model (self-paced learning), and measures of
difficulty: what is easy is for you to say.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lmxlab.data.batching import Batch, Dataset, TokenDataset, as_tokens, at_least
from lmxlab.data.padding import length_bucket
from lmxlab.training.loss import LossFn, in_range, next_token_loss
from lmxlab.training.planned import Plan, PlannedBatches
import mlx.core as mx
import numpy as np
import numpy.typing as npt


def length_curriculum(
    tokens: npt.ArrayLike,
    batch_size: int,
    min_seq_len: int = 32,
    max_seq_len: int = 512,
    n_stages: int = 4,
    batches_per_stage: int = 100,
    *,
    seed: int = 0,
    buckets: Sequence[int] | None = None,
) -> "LengthCurriculum":
    """Return batches of windows whose length grows by stages.

    A compiled step is traced once for each length, ``n_stages`` times at most.

    Args:
        tokens: Token IDs of the text, shape (N,), integers in [0, 2**31).
        batch_size: Rows B in each batch.
        min_seq_len: Length of a row in the first stage, in tokens.
        max_seq_len: Length of a row in the last stage, and the only one if there is
            one stage. Those between are spaced evenly and rounded to the nearest
            integer, a half to the even one.
        n_stages: How many stages.
        batches_per_stage: Batches in each. The iterator ends after the last stage.
        seed: Integer in [0, 2**63); the same seed gives the same batches.
        buckets: If given, each length is rounded up to one of these, so that stages
            may share a trace; the last may then be longer than ``max_seq_len``.

    Returns:
        A resumable iterator of (input, target), the same text one position apart, each
        (B, T) int32. Windows are drawn uniformly, with replacement, the last included.

    Raises:
        ValueError: If the text is too short for a stage, min_seq_len is above
            max_seq_len, a number is below 1, no bucket is large enough, or the tokens
            or the seed are out of range. At this call, not when the stage comes.
        TypeError: If an argument is not an integer, or not made of integers.

    Example:
        >>> batches = length_curriculum(range(100), 8, 4, 16, 3, batches_per_stage=2)
        >>> batches.lengths, len(batches)
        ((4, 10, 16), 6)
        >>> [inputs.shape for inputs, targets in batches]
        [(8, 4), (8, 4), (8, 10), (8, 10), (8, 16), (8, 16)]
    """
    text = as_tokens(tokens, "tokens")
    low = at_least("min_seq_len", min_seq_len, 1)
    high = at_least("max_seq_len", max_seq_len, 1)
    last = at_least("n_stages", n_stages, 1) - 1
    if low > high:
        raise ValueError(f"min_seq_len={low} is above max_seq_len={high}; swap them")
    lengths = [round(low + (high - low) * s / last) for s in range(last)] + [high]
    if buckets is not None:
        lengths = [length_bucket(length, buckets) for length in lengths]
    longest = max(lengths)
    if len(text) <= longest:
        raise ValueError(
            f"the text has {len(text)} tokens but the stage with rows of {longest} "
            f"needs {longest + 1} (one more, for the last target); use a longer text "
            f"or max_seq_len <= {len(text) - 1}"
        )
    stages = [TokenDataset(text, length) for length in lengths]
    return LengthCurriculum(stages, batch_size, batches_per_stage, seed)


def difficulty_curriculum(
    easy_data: npt.ArrayLike | Dataset,
    hard_data: npt.ArrayLike | Dataset,
    batch_size: int,
    seq_len: int,
    n_batches: int = 200,
    warmup_fraction: float = 0.5,
    *,
    seed: int = 0,
    pace: float = 1.0,
    with_share: bool = False,
) -> "DifficultyCurriculum":
    """Return batches in which hard rows take over from easy ones.

    The first batch is all easy; from batch ``n_batches * warmup_fraction`` on all are
    hard, so with 0 from the start. In between, ``share(i) * batch_size`` rows are hard,
    rounded to the nearest integer (a half to the even one): their number never falls,
    and is rounded up as often as down. Rows are shuffled within the batch.

    Args:
        easy_data: Token IDs, shape (N,), from which windows of ``seq_len + 1`` are
            drawn uniformly; or a dataset with ``batches(batch_size, seed)``. A dataset
            is asked afresh for the rows of each batch, with a seed drawn for it.
        hard_data: The same for hard rows; batches need the same number of arrays.
        batch_size: Rows B in each batch.
        seq_len: Length T of a row, in tokens.
        n_batches: Batches N, after which the iterator ends. With gradient accumulation
            these are micro-batches.
        warmup_fraction: Share of the run, in [0, 1], over which hard rows take over.
        seed: Integer in [0, 2**63); the same seed gives the same batches.
        pace: Multiplies the speed at which the share rises, 0 or more; it may be set
            while training goes on.
        with_share: Whether a batch ends with one more array, (B,) float32, 1 for a hard
            row and 0 for an easy one. Give the loss to `report_share`, which puts the
            mean of it into the records.

    Returns:
        A resumable iterator of (input, target), each (B, T) int32, or of what the
        datasets' batches hold.

    Raises:
        ValueError: If warmup_fraction or pace is out of range, a number is below 1, a
            text is too short, or rows are not of seq_len tokens or do not match.
        TypeError: If an argument has the wrong type.

    Example:
        >>> easy, hard = np.zeros(50, int), np.ones(50, int)
        >>> batches = difficulty_curriculum(easy, hard, 4, seq_len=8, n_batches=9)
        >>> [int(inputs[:, 0].sum()) for inputs, targets in batches]
        [0, 1, 2, 3, 4, 4, 4, 4, 4]
    """
    plan = {
        "seq_len": at_least("seq_len", seq_len, 1),
        "n_batches": at_least("n_batches", n_batches, 1),
        "warmup_fraction": _number("warmup_fraction", warmup_fraction, 1),
    }
    easy = _as_dataset("easy_data", easy_data, seq_len)
    hard = _as_dataset("hard_data", hard_data, seq_len)
    rows = {"easy_data": _layout(easy, seq_len), "hard_data": _layout(hard, seq_len)}
    if rows["easy_data"] != rows["hard_data"]:
        raise ValueError(f"rows of easy_data and hard_data must match, got {rows}")
    return DifficultyCurriculum((easy, hard), batch_size, seed, plan, pace, with_share)


def report_share(loss_fn: LossFn = next_token_loss) -> LossFn:
    """Let a loss report the share of hard rows, which then is in every record.

    Args:
        loss_fn: ``loss_fn(model, *batch)``, a loss for the trainer.

    Returns:
        A loss that takes one more array, the (B,) that ``with_share=True`` adds to a
        batch, and reports its mean as the metric ``hard_share``. A batch that does not
        end with an array of one axis, such as one for evaluation, is handed on.

    Example:
        >>> model = lambda tokens: mx.zeros((*tokens.shape, 4))
        >>> tokens = mx.zeros((2, 3), mx.int32)
        >>> loss, metrics = report_share()(model, tokens, tokens, mx.array([0.0, 1.0]))
        >>> metrics["hard_share"].item(), metrics["tokens"].item()
        (0.5, 6.0)
    """

    def reporting(model: Any, *batch: mx.array) -> Any:
        if batch[-1].ndim != 1:
            return loss_fn(model, *batch)
        result = loss_fn(model, *batch[:-1])
        loss, metrics = result if isinstance(result, tuple) else (result, {})
        return loss, {**metrics, "hard_share": batch[-1].mean()}

    return reporting


class LengthCurriculum(PlannedBatches):
    """Batches of windows that get longer; :func:`length_curriculum` makes it.

    Its position is saved and found again by ``state`` and ``restore``, see
    :class:`~lmxlab.training.planned.PlannedBatches`.

    Args:
        stages: The windows of each stage.
        batch_size: Rows in each batch.
        repeats: Batches in each stage.
        seed: Integer in [0, 2**63).

    Attributes:
        lengths: Length of a row in each stage, in tokens.
        batches_per_stage: Batches in each stage.
        n_batches: Batches in all, which is also the iterator's ``len``.
        n_tokens: Targets in all of them.
        position: Number of the next batch, from 0, which is how many were drawn.

    Example:
        >>> batches = length_curriculum(range(100), 8, 4, 16, 3, batches_per_stage=2)
        >>> _ = [next(batches) for _ in range(4)]
        >>> batches.position, batches.stage, batches.seq_len
        (4, 2, 16)
    """

    def __init__(
        self, stages: Sequence[TokenDataset], batch_size: int, repeats: int, seed: int
    ) -> None:
        self._stages = stages
        self.batches_per_stage = at_least("batches_per_stage", repeats, 1)
        self.lengths = tuple(stage.seq_len for stage in stages)
        plan = {"lengths": list(self.lengths), "batches_per_stage": repeats}
        super().__init__(self._batch, batch_size, seed, len(stages) * repeats, plan)
        self.n_tokens = self.batch_size * repeats * sum(self.lengths)

    @property
    def stage(self) -> int:
        """Number of the stage, from 0, that the next batch belongs to."""
        return min(self.position // self.batches_per_stage, len(self._stages) - 1)

    @property
    def seq_len(self) -> int:
        """Length of a row in that stage, in tokens."""
        return self.lengths[self.stage]

    def _batch(self, rng: np.random.Generator, n: int) -> Batch:
        windows = self._stages[self.stage]
        return windows.windows(rng.integers(windows.n_windows, size=n))


class _Ramp(NamedTuple):
    """Progress ``done`` at batch ``since``, and ``pace`` for each batch from there."""

    pace: float
    since: int
    done: float

    def progress(self, i: int) -> float:
        return self.done + self.pace * (i - self.since)


class DifficultyCurriculum(PlannedBatches):
    """Batches in which hard rows take over; :func:`difficulty_curriculum` makes it.

    Args:
        data: The easy and the hard rows.
        batch_size: Rows in each batch.
        seed: Integer in [0, 2**63).
        plan: ``seq_len``, ``n_batches`` and ``warmup_fraction``.
        pace: Multiplies the speed at which the share rises, 0 or more.
        with_share: Whether a batch ends with an array that marks the hard rows.

    Attributes:
        n_batches: Batches in all, which is also the iterator's ``len``.
        position: Number of the next batch, from 0, which is how many were drawn.
        warmup_batches: Batches W over which the share rises from 0 to 1, at pace 1.

    Example:
        >>> batches = difficulty_curriculum(range(50), range(50), 8, 4, n_batches=100)
        >>> batches.share(0), batches.share(25), batches.share(99)
        (0.0, 0.5, 1.0)
        >>> batches.pace = 2
        >>> batches.share(10)
        0.4
    """

    def __init__(
        self, data: tuple[Dataset, Dataset], batch_size: int, seed: int, plan: Plan,
        pace: float, with_share: bool,
    ) -> None:  # fmt: skip
        super().__init__(self._batch, batch_size, seed, plan["n_batches"], plan)
        self._data, self._with_share = data, with_share
        self.warmup_batches: float = plan["n_batches"] * plan["warmup_fraction"]
        self._ramp = _Ramp(_number("pace", pace), 0, 0.0)

    @property
    def pace(self) -> float:
        """How fast the share rises; a new value makes it neither jump nor fall."""
        return self._ramp.pace

    @pace.setter
    def pace(self, value: float) -> None:
        done = self._ramp.progress(self.position)
        self._ramp = _Ramp(_number("pace", value), self.position, done)

    @property
    def hard_share(self) -> float:
        """Planned share of hard rows in the next batch, in [0, 1]."""
        return self.share(self.position)

    def share(self, i: int) -> float:
        """Return the planned share of hard rows in batch i, before it is rounded.

        Args:
            i: Number of a batch, from 0; for a batch to come, at the present pace.

        Returns:
            ``min(1, pace * i / W)``, or 1 without a warm-up.
        """
        if not self.warmup_batches:
            return 1.0
        return max(0.0, min(1.0, self._ramp.progress(i) / self.warmup_batches))

    def state(self) -> dict[str, Any]:
        """Return all it takes to continue, as plain data that JSON can hold.

        Returns:
            ``seed``, ``batch_size``, ``position``, ``plan``, and the ``ramp``, which
            says how far the share has risen and at which pace.
        """
        return {**super().state(), "ramp": list(self._ramp)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`; the saved seed and pace replace ours.

        Args:
            state: What :meth:`state` returned, here or in another process.

        Raises:
            ValueError: If it belongs to another plan. Nothing has changed.
        """
        ramp: Any = state.get("ramp")  # another plan's state has none
        super().restore(state)
        self._ramp = _Ramp(*ramp)

    def _batch(self, rng: np.random.Generator, n: int) -> Batch:
        n_hard = round(self.hard_share * n)
        seeds, order = rng.integers(2**63, size=2).tolist(), rng.permutation(n)
        drawn = [
            (*_rows(self._data[is_hard], m, seeds[is_hard]), np.full(m, is_hard, "f4"))
            for is_hard, m in enumerate((n - n_hard, n_hard))
            if m
        ]
        batch = tuple(np.concatenate(p)[order] for p in zip(*drawn, strict=True))
        return batch if self._with_share else batch[:-1]


def _as_dataset(name: str, data: Any, seq_len: int) -> Dataset:
    is_ready = isinstance(data, Dataset)
    return data if is_ready else TokenDataset(as_tokens(data, name), seq_len)


def _rows(data: Dataset, n: int, seed: int) -> Batch:
    batch = next(iter(data.batches(n, seed)), None)
    if not isinstance(batch, tuple) or any(len(array) != n for array in batch):
        raise ValueError(
            f"{type(data).__name__}.batches({n}, seed) must give tuples of arrays of "
            f"{n} rows, got {batch!r}"
        )
    return batch


def _layout(data: Dataset, seq_len: int) -> list[str]:
    """Draw one row of a dataset, to learn what its batches hold."""
    arrays = _rows(data, 1, 0)
    if arrays[0].ndim != 2 or arrays[0].shape[1] != seq_len:
        raise ValueError(
            f"rows of {type(data).__name__} have shape {arrays[0].shape[1:]} but "
            f"seq_len={seq_len}; the two must agree"
        )
    return [f"{array.dtype} {array.shape[1:]}" for array in arrays]


def _number(name: str, value: float, high: float = float("inf")) -> float:
    """Check a number that the host reads: an array's value counts too."""
    number = value.item() if isinstance(value, mx.array) else value
    in_range(name, number, 0, high)
    return float(number)
