from drawing_rules import complaints
from lmxlab.lab.figures import data_parallel
import pytest

FALLING = [3 - step / 100 for step in range(200)]


@pytest.mark.parametrize(
    "figure",
    [
        data_parallel.one_update(),
        data_parallel.one_update(3),
        data_parallel.curves({"one": FALLING, "two": FALLING, "half": FALLING}),
        data_parallel.drift(
            {"averaged": [0.0] * 9, "alone": [n / 9 for n in range(9)]}
        ),
    ],
    ids=["two processes", "three processes", "curves", "drift"],
)
def test_nothing_is_cut_off_or_covered(figure):
    assert complaints(figure) == []


def test_each_process_has_a_row_and_there_is_one_sum():
    words = [text.get_text() for text in data_parallel.one_update(3).axes[0].texts]
    assert words.count("own gradient") == 3
    assert sum("all_sum" in word for word in words) == 1
