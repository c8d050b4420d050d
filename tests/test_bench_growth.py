"""How a step grows with size: what is measured, and what is read from it."""

import math

from lmxlab.bench import growth
import pytest


@pytest.mark.parametrize("sweep", growth.SWEEPS)
def test_every_sweep_is_measured(sweep):
    values = growth.SWEEPS[sweep][0][:2]
    found = growth.measure(sweep, values, seconds=0.05)
    assert len(found["x"]) == len(found["step_ms"]) == len(found["memory_mib"]) == 2
    assert found["x"] == sorted(found["x"])
    assert min(found["step_ms"]) > 0
    assert all(math.isfinite(found[name]) for name in ("slope", "slope_memory"))


def test_memory_falls_with_micro_batches_and_grows_with_the_batch():
    """By theory both slopes are 1, but for what does not depend on the rows."""
    parts = growth.measure("micro_batches", [1, 4], seconds=0.05)["memory_mib"]
    assert parts[1] < 0.5 * parts[0]
    rows = growth.measure("batch", [8, 32], seconds=0.05)["memory_mib"]
    assert rows[1] > 3 * rows[0]


def test_an_update_has_the_same_rows_whatever_its_parts():
    for parts in (1, 4):
        record = growth.Subject("micro_batches", parts).step()
        assert record["tokens"] == growth.ROWS * growth.BASE.seq_len


@pytest.mark.parametrize("fixed", [1.0, 30.0])
def test_the_knee_is_where_both_parts_are_equal(fixed):
    xs = [1, 2, 4, 8, 16, 32]
    line = [fixed + 2 * x for x in xs]
    assert growth.knee(xs, line, [0, 1]) == pytest.approx(fixed / 2)
    curve = [fixed + 2 * x + 0.1 * x * x for x in xs]
    found = growth.knee(xs, curve, [0, 1, 2])
    assert 2 * found + 0.1 * found**2 == pytest.approx(fixed)


def test_there_is_no_knee_where_nothing_grows_or_nothing_is_fixed():
    assert growth.knee([1, 2, 4], [5.0, 5.0, 5.0], [0, 1]) is None
    assert growth.knee([1, 2, 4], [0.9, 2.0, 4.2], [0, 1]) is None


def test_a_power_law_has_its_slope():
    assert growth.slope([3, 6, 12], [9.0, 36.0, 144.0]) == pytest.approx(2)


def test_both_theories_know_every_sweep():
    assert list(growth.MEMORY_SLOPES) == list(growth.SWEEPS)
