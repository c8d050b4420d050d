"""Curricula by length and by difficulty: which rows come when, and from what."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from lmxlab.data.batching import Resumable, TokenDataset
from lmxlab.data.parity import ParityWorld
from lmxlab.data.story import StoryWorld
from lmxlab.training.curriculum import (
    difficulty_curriculum,
    length_curriculum,
    report_share,
)
from lmxlab.training.loss import next_token_loss
import mlx.core as mx
import numpy as np
import pytest

FEW = settings(max_examples=40, deadline=None)


def by_length(seed=0, **changes):
    plan = {"min_seq_len": 3, "max_seq_len": 9, "n_stages": 3, "batches_per_stage": 4}
    return length_curriculum(np.arange(40) % 11, 2, **(plan | changes), seed=seed)


def by_difficulty(seed=0, batch_size=6, seq_len=4, n_batches=20, **options):
    """Easy tokens are below 5 and hard ones above."""
    easy, hard = np.arange(30) % 5, 5 + np.arange(50) % 6
    return difficulty_curriculum(
        easy, hard, batch_size, seq_len, n_batches, seed=seed, **options
    )


def by_dataset(seed=0):
    world = ParityWorld(n_bits=6, k=2)
    return difficulty_curriculum(world.easy(), world.hard(), 4, 6, 12, seed=seed)


CURRICULA = [by_length, by_difficulty, by_dataset]
EACH = pytest.mark.parametrize("make", CURRICULA)


def equal(a, b):
    return len(a) == len(b) and all(
        x.shape == y.shape and (x == y).all() for x, y in zip(a, b, strict=True)
    )


def hard_rows(batch):
    return batch[0][:, 0] >= 5


# ------------------------------------------------------------------ by length


def test_lengths_rise_in_even_steps_from_the_shortest_to_the_longest():
    batches = length_curriculum(range(200), 2, 32, 128, n_stages=4, batches_per_stage=3)
    assert batches.lengths == (32, 64, 96, 128)
    widths = [inputs.shape for inputs, _ in batches]
    assert widths == [(2, n) for n in (32, 64, 96, 128) for _ in range(3)]


@FEW
@given(st.integers(1, 60), st.integers(0, 60), st.integers(2, 9))
def test_lengths_are_the_straight_line_rounded(low, span, n_stages):
    batches = length_curriculum(np.zeros(200, int), 1, low, low + span, n_stages, 1)
    line = np.linspace(low, low + span, n_stages)
    assert (batches.lengths[0], batches.lengths[-1]) == (low, low + span)
    assert np.abs(np.array(batches.lengths) - line).max() <= 0.5 + 1e-9
    assert list(batches.lengths) == sorted(batches.lengths)


def test_a_half_is_rounded_to_the_even_length():
    assert length_curriculum(range(20), 1, 2, 3, 3, 1).lengths == (2, 2, 3)
    assert length_curriculum(range(20), 1, 3, 4, 3, 1).lengths == (3, 4, 4)


def test_one_stage_has_the_longest_rows():
    batches = length_curriculum(range(40), 2, 4, 16, n_stages=1, batches_per_stage=2)
    assert [targets.shape for _, targets in batches] == [(2, 16)] * 2


def test_defaults_are_four_stages_of_a_hundred_from_32_to_512():
    batches = length_curriculum(range(600), 2)
    assert batches.lengths == (32, 192, 352, 512)
    assert len(batches) == 400
    assert batches.n_tokens == 2 * 100 * (32 + 192 + 352 + 512)


def test_targets_are_the_inputs_one_position_later():
    for inputs, targets in length_curriculum(range(60), 3, 4, 12, 3, 5):
        assert (targets == inputs + 1).all()
        assert inputs.dtype == targets.dtype == np.int32
        assert inputs.flags.c_contiguous


def test_every_window_of_every_stage_is_drawn_the_last_included():
    starts = {}
    for inputs, targets in length_curriculum(range(14), 50, 4, 8, 2, 20):
        starts.setdefault(inputs.shape[1], set()).update(inputs[:, 0].tolist())
        assert targets.max() <= 13
    assert starts == {4: set(range(10)), 8: set(range(6))}


def test_windows_are_drawn_uniformly():
    """Chi-squared with 9 degrees of freedom; 27.9 is its 99.9th percentile."""
    batches = length_curriculum(range(14), 100, 1, 4, 1, batches_per_stage=100)
    counts = np.bincount(np.concatenate([inputs[:, 0] for inputs, _ in batches]))
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.9


def test_a_text_of_one_window_trains_on_it():
    batches = length_curriculum([7, 8, 9], 2, 2, 2, n_stages=1, batches_per_stage=1)
    assert [batch[1].tolist() for batch in batches] == [[[8, 9]] * 2]


def test_a_text_too_short_for_the_last_stage_is_refused_at_the_first_call():
    message = r"the text has 512 tokens but the stage with rows of 512 needs 513"
    with pytest.raises(ValueError, match=message):
        length_curriculum(range(512), 4)
    length_curriculum(range(513), 4)


def test_stage_and_length_tell_what_comes_next():
    batches, seen = by_length(), []
    for _ in range(12):
        seen.append((batches.stage, batches.seq_len))
        assert next(batches)[0].shape[1] == seen[-1][1]
    assert seen == [(0, 3)] * 4 + [(1, 6)] * 4 + [(2, 9)] * 4
    assert (batches.stage, batches.seq_len) == (2, 9)


def test_buckets_round_lengths_up():
    batches = length_curriculum(range(99), 2, 5, 50, 6, 1, buckets=[64, 16, 32])
    assert batches.lengths == (16, 16, 32, 32, 64, 64)
    assert [inputs.shape[1] for inputs, _ in batches] == list(batches.lengths)
    with pytest.raises(ValueError, match=r"has 60 tokens but .* rows of 64"):
        length_curriculum(range(60), 2, 5, 50, 6, 1, buckets=[64])


@pytest.mark.parametrize("buckets", [None, [4, 9]])
def test_a_compiled_step_is_traced_once_for_each_length(buckets, trainer):
    batches = by_length(n_stages=4, buckets=buckets)
    run = trainer()
    assert len(run.train(batches)) == 16
    assert run.trace_count == len(set(batches.lengths)) == (2 if buckets else 4)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (ValueError, "min_seq_len=10 is above max_seq_len=9", {"min_seq_len": 10}),
        (ValueError, "n_stages must be at least 1, got 0", {"n_stages": 0}),
        (ValueError, "min_seq_len must be at least 1, got 0", {"min_seq_len": 0}),
        (ValueError, "batches_per_stage must be at", {"batches_per_stage": 0}),
        (ValueError, "seed must be at least 0, got -1", {"seed": -1}),
        (ValueError, "exceeds the largest bucket, 4", {"buckets": [4]}),
        (TypeError, "n_stages must be an integer, got 2.0", {"n_stages": 2.0}),
        (TypeError, "max_seq_len must be an integer, got 9.5", {"max_seq_len": 9.5}),
        (TypeError, "batches_per_stage must be an", {"batches_per_stage": 1.5}),
    ],
)
def test_bad_arguments_of_a_length_curriculum_are_refused_at_once(
    error, message, change
):
    with pytest.raises(error, match=message):
        by_length(**change)


def test_bad_tokens_and_batch_sizes_are_refused_at_once():
    with pytest.raises(ValueError, match="tokens must be 1-D"):
        length_curriculum(np.zeros((9, 9), int), 2, 2, 4)
    with pytest.raises(TypeError, match="tokens must hold integers"):
        length_curriculum(np.zeros(9), 2, 2, 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        length_curriculum(range(9), 0, 2, 4)


# ------------------------------------------------------------------ by difficulty


def test_hard_rows_take_over_in_a_straight_line():
    shares = [hard_rows(b).mean() for b in by_difficulty(batch_size=100, n_batches=20)]
    assert shares == pytest.approx([min(1, i / 10) for i in range(20)])


@FEW
@given(st.integers(1, 9), st.integers(1, 30), st.floats(0, 1), st.floats(0, 4))
def test_the_share_is_rounded_to_whole_rows_and_never_falls(rows, n, fraction, pace):
    batches = by_difficulty(
        0, rows, n_batches=n, warmup_fraction=fraction, pace=pace, with_share=True
    )
    counts = []
    for i, (inputs, _, is_hard) in enumerate(batches):
        expected = min(1, pace * i / (n * fraction)) if n * fraction else 1
        assert abs(is_hard.sum() - expected * rows) <= 0.5 + 1e-6
        assert (is_hard == (inputs[:, 0] >= 5)).all()
        assert (is_hard.dtype, is_hard.shape) == (np.float32, (rows,))
        counts.append(is_hard.sum())
    assert len(counts) == n
    assert counts == sorted(counts)
    assert (counts[0] == 0) == (n * fraction > 0)


@pytest.mark.parametrize("rows", [2, 5, 64])
def test_half_of_the_rows_of_a_warm_up_are_hard(rows):
    batches = by_difficulty(batch_size=rows, n_batches=62)
    counts = [hard_rows(next(batches)).sum() for _ in range(32)]  # batches 0 to W
    assert np.mean(counts) == pytest.approx(rows / 2, abs=0.5 / 32)


@pytest.mark.parametrize(
    ("fraction", "first_all_hard"), [(0.0, 0), (0.25, 5), (0.5, 10), (1.0, 20)]
)
def test_after_the_warm_up_all_rows_are_hard(fraction, first_all_hard):
    drawn = by_difficulty(batch_size=40, warmup_fraction=fraction)
    shares = [hard_rows(batch).mean() for batch in drawn]
    assert shares[first_all_hard:] == [1.0] * (20 - first_all_hard)
    assert all(share < 1 for share in shares[:first_all_hard])
    assert all(share == 0 for share in shares[: min(first_all_hard, 1)])


def test_easy_and_hard_rows_are_shuffled_within_the_batch():
    """Each place of a batch is hard about as often as any other."""
    places = np.zeros(8)
    for seed in range(300):
        batches = by_difficulty(seed, 8, n_batches=10, warmup_fraction=0.2)
        next(batches)
        places += hard_rows(next(batches))  # batch 1 of W = 2: half are hard
    assert places.sum() == 1200
    assert abs(places / 300 - 0.5).max() < 0.12  # 4 standard deviations


def test_arrays_of_a_batch_are_shuffled_together():
    world = ParityWorld(n_bits=8, k=3, seed=5)
    batches = difficulty_curriculum(world.easy(), world.hard(), 32, 8, n_batches=10)
    for inputs, targets, mask in batches:
        assert (targets[:, -1] == world.label(inputs)).all()
        assert (targets[:, :-1] == inputs[:, 1:]).all()
        assert mask.dtype == np.float32
        assert mask.sum() == 32


def test_every_window_of_both_texts_is_drawn_the_last_included():
    batches = difficulty_curriculum(
        np.arange(9), np.arange(100, 112), 60, 4, n_batches=30, warmup_fraction=0.5
    )
    starts = set()
    for inputs, targets in batches:
        assert (targets == inputs + 1).all()
        starts |= set(inputs[:, 0].tolist())
    assert starts == {*range(5), *range(100, 108)}


def test_rows_of_both_kinds_are_fresh_in_every_batch():
    """1,280 draws of 65,536 rows: about 12 of them repeat another."""
    world = ParityWorld()
    batches = difficulty_curriculum(world, world, 64, 16, n_batches=20)
    assert len({row.tobytes() for inputs, *_ in batches for row in inputs}) > 1240


def test_pace_multiplies_the_speed_of_the_rise():
    assert [by_difficulty().share(i) for i in (0, 5, 10)] == [0, 0.5, 1]
    assert [by_difficulty(pace=2).share(i) for i in (0, 4, 5)] == [0, 0.8, 1]
    assert [by_difficulty(pace=0.5).share(i) for i in (0, 10, 19)] == [0, 0.5, 0.95]
    assert {by_difficulty(pace=0).share(i) for i in range(20)} == {0}


def test_a_pace_set_on_the_way_neither_jumps_nor_falls():
    batches = by_difficulty(batch_size=20)
    shares = []
    for i in range(20):
        if i in (3, 6, 8):
            batches.pace = {3: 0, 6: 2, 8: 0.5}[i]
        shares.append(batches.hard_share)
        assert hard_rows(next(batches)).mean() == pytest.approx(shares[-1])
    rises = [0.1] * 3 + [0] * 3 + [0.2] * 2 + [0.05] * 6
    assert shares[:15] == pytest.approx([0, *np.cumsum(rises)])
    batches.pace = mx.array(0.25)
    assert batches.pace == 0.25
    assert batches.hard_share == 1


@pytest.mark.parametrize("pace", [-0.1, float("nan"), float("inf")])
def test_a_pace_out_of_range_is_refused_and_changes_nothing(pace):
    batches = by_difficulty(pace=2)
    with pytest.raises(ValueError, match="pace must be a finite number of at least 0"):
        batches.pace = pace
    with pytest.raises(ValueError, match="pace must be"):
        by_difficulty(pace=pace)
    assert batches.pace == 2
    with pytest.raises(TypeError, match="pace must be a number, got 'fast'"):
        batches.pace = "fast"


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan")])
def test_a_warm_up_outside_the_run_is_refused(fraction):
    with pytest.raises(ValueError, match=r"warmup_fraction must be .* in \[0, 1\]"):
        by_difficulty(warmup_fraction=fraction)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (ValueError, "batch_size must be at least 1, got 0", {"batch_size": 0}),
        (ValueError, "n_batches must be at least 1, got 0", {"n_batches": 0}),
        (ValueError, "seq_len must be at least 1, got 0", {"seq_len": 0}),
        (ValueError, "has 30 tokens but seq_len=30 needs 31", {"seq_len": 30}),
        (ValueError, "seed must be at least 0, got -1", {"seed": -1}),
        (TypeError, "n_batches must be an integer, got 2.5", {"n_batches": 2.5}),
        (TypeError, "warmup_fraction must be a number", {"warmup_fraction": "half"}),
    ],
)
def test_bad_arguments_of_a_difficulty_curriculum_are_refused_at_once(
    error, message, change
):
    with pytest.raises(error, match=message):
        by_difficulty(**change)


class Odd:
    def __init__(self, *batches):
        self.given = batches

    def batches(self, batch_size, seed):
        return iter(self.given)


@pytest.mark.parametrize(
    ("easy", "message"),
    [
        (StoryWorld(), r"rows of StoryWorld have shape \(13,\) but seq_len=6"),
        (TokenDataset(range(20), 6), "rows of easy_data and hard_data must match"),
        (Odd(), "must give tuples of arrays of 1 rows, got None"),
        (Odd([np.zeros((1, 6))]), r"must give tuples of arrays of 1 rows, got \[array"),
        (Odd((np.zeros((2, 6)),)), "must give tuples of arrays of 1 rows"),
        (np.zeros((5, 5), int), "easy_data must be 1-D"),
    ],
)
def test_data_that_do_not_fit_are_refused_at_once(easy, message):
    with pytest.raises(ValueError, match=message):
        difficulty_curriculum(easy, ParityWorld(n_bits=6, k=2), 4, 6)


# ------------------------------------------------------------------ both


@EACH
def test_the_seed_alone_decides_the_data(make):
    reference = list(make(3))
    np.random.seed(1)  # noqa: NPY002
    mx.random.seed(1)
    assert all(equal(a, b) for a, b in zip(reference, make(3), strict=True))
    others = sum(equal(a, b) for a, b in zip(reference, make(4), strict=True))
    assert others <= 1  # a few easy rows may be the same by chance
    assert not equal(reference[-1], reference[-2])


@EACH
def test_drawing_leaves_the_global_generators_alone(make):
    def state():
        _, key, position, *_ = np.random.get_state()  # noqa: NPY002
        return key.tolist(), position, mx.random.state[0].tolist()

    before = state()
    list(make())
    assert state() == before


@EACH
@pytest.mark.parametrize("drawn", [0, 1, 7, 12])
def test_resuming_through_json_continues_the_same_data(make, drawn):
    straight = make(11)
    assert isinstance(straight, Resumable)
    for _ in range(drawn):
        next(straight)
    saved = json.loads(json.dumps(straight.state()))
    resumed = make(0)
    next(resumed)
    resumed.restore(saved)
    assert resumed.state() == saved
    rest = list(resumed)
    assert len(rest) == len(straight) - drawn
    assert all(equal(a, b) for a, b in zip(straight, rest, strict=True))


def test_a_pace_that_changed_is_resumed_too():
    straight = by_difficulty(batch_size=16)
    for pace in (1, 0, 2):
        straight.pace = pace
        next(straight)
    saved = json.loads(json.dumps(straight.state()))
    resumed = by_difficulty(batch_size=16)
    resumed.restore(saved)
    assert resumed.pace == 2
    assert all(equal(a, b) for a, b in zip(straight, resumed, strict=True))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (by_length(n_stages=2), r"saved from a curriculum of \{'lengths': \[3, 9\]"),
        (by_length(batches_per_stage=5), "with the same settings"),
        (by_difficulty(), "with the same settings"),
        (TokenDataset(range(9), 2).batches(2, 0), "saved from a curriculum of None"),
        (length_curriculum(range(40), 3, 3, 9, 3, 4), "saved with batch_size=3"),
    ],
)
def test_the_state_of_another_curriculum_is_refused_and_changes_nothing(other, message):
    batches = by_length(seed=5)
    next(batches)
    before = batches.state()
    with pytest.raises(ValueError, match=message):
        batches.restore(other.state())
    assert batches.state() == before


def test_a_ramp_refuses_the_state_of_what_has_none():
    with pytest.raises(ValueError, match="with the same settings"):
        by_difficulty().restore(by_length().state())


def test_rows_of_another_length_cannot_be_resumed():
    with pytest.raises(ValueError, match="'seq_len': 5"):
        by_difficulty().restore(by_difficulty(seq_len=5).state())


@EACH
def test_dropout_does_not_change_the_data(make, trainer):
    """What the trainer is fed, with and without dropout, is the same."""

    def fed(dropout):
        seen = []

        def loss_fn(model, *batch):
            seen.append([np.array(array) for array in batch])
            return next_token_loss(model, *batch)

        run = trainer(dropout=dropout, loss_fn=loss_fn, compile_step=False)
        losses = [record["loss"] for record in run.train(make())]
        return seen, losses

    (plain, losses), (dropped, other_losses) = fed(0.0), fed(0.5)
    assert losses != other_losses
    assert all(equal(a, b) for a, b in zip(plain, dropped, strict=True))


@EACH
@pytest.mark.exact
def test_compiled_equals_eager(make, trainer, weights, same):
    runs = [trainer(compile_step=compiled) for compiled in (True, False)]
    losses = [[r["loss"] for r in run.train(make())] for run in runs]
    assert losses[0] == losses[1]
    assert same(*(weights(run.model) for run in runs))


def test_the_share_of_hard_rows_is_in_the_records(trainer):
    batches = by_difficulty(batch_size=10, with_share=True)
    run = trainer(loss_fn=report_share(), eval_interval=10)
    evaluation = list(by_difficulty(n_batches=2))  # ends without a share
    records = run.train(batches, evaluation)
    shares = [record["hard_share"] for record in records]
    assert shares == pytest.approx([min(1, i / 10) for i in range(20)])
    assert records[0]["tokens"] == 40
    assert "eval_loss" in records[-1]
    assert "eval_hard_share" not in records[-1]
    assert run.trace_count == 1


def test_a_bare_loss_reports_the_share_too(trainer):
    loss_fn = report_share(lambda model, *batch: next_token_loss(model, *batch)[0])
    run = trainer(loss_fn=loss_fn)
    assert run.train_step(next(by_difficulty(with_share=True)))["hard_share"] == 0


def test_accumulation_averages_the_share_over_micro_batches(trainer):
    batches = by_difficulty(batch_size=10, with_share=True)
    run = trainer(loss_fn=report_share(), grad_accumulation_steps=4)
    records = run.train(batches)
    assert [r["tokens"] for r in records] == [160] * 5
    means = [
        np.mean([min(1, i / 10) for i in range(k, k + 4)]) for k in range(0, 20, 4)
    ]
    assert [r["hard_share"] for r in records] == pytest.approx(means)


def test_accumulation_may_span_two_lengths(trainer):
    run = trainer(grad_accumulation_steps=3)
    records = run.train(by_length())
    assert [r["tokens"] for r in records] == [2 * 9, 2 * 15, 2 * 21, 2 * 27]
