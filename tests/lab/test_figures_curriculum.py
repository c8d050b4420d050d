from drawing_rules import complaints
from lmxlab.lab.figures import curriculum
import pytest

BITS = {"easy": [0, 1] * 8, "hard": [1, 1, 0, 1] * 4}
RISING = [step / 99 for step in range(100)]
RUNS = {"curriculum": RISING, "even mixture": RISING, "hard alone": RISING}


@pytest.mark.parametrize(
    "figure",
    [
        curriculum.parity(BITS, hidden=[1, 4, 9, 15]),
        curriculum.telling({"easy": RISING[:16], "hard": RISING[:16]}, [1, 4, 9, 15]),
        curriculum.learning({name: (range(100), y) for name, y in RUNS.items()}, RUNS),
    ],
    ids=["parity", "telling", "learning"],
)
def test_nothing_is_cut_off_or_covered(figure):
    assert complaints(figure) == []


def test_the_label_is_the_parity_of_the_hidden_bits():
    words = [
        text.get_text() for text in curriculum.parity(BITS, hidden=[0, 1]).axes[0].texts
    ]
    assert [word for word in words if word.startswith("label")] == [
        "label 1",
        "label 0",
    ]
