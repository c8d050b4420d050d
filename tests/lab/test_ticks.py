"""Numbers on axes."""

from lmxlab.lab.ticks import short_number
import pytest


@pytest.mark.parametrize(
    ("x", "top", "apart", "text"),
    [(0, 5, 1, "0"), (2.5, 5, 2.5, "2.5"), (0.25, 1, 0.25, "0.25"), (-2, 4, 2, "-2"),
     (7500, 7500, 2500, "7500"), (12_500, 20_000, 2500, "12.5k"), (3e6, 4e6, 1e6, "3M"),
     (1.5e-4, 2e-4, 5e-5, "1.5e-4"), (2e-4, 2e-4, 1e-4, "2e-4"),
     (-3e-5, 9e-5, 3e-5, "-3e-5"), (1000.001, 1000.002, 0.001, "1000.001")],
)  # fmt: skip
def test_ticks_are_short_and_differ(x, top, apart, text):
    assert short_number(x, top, apart) == text
