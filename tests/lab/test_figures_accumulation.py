"""What the pictures of notebook 02 say, and that they can be read."""

from drawing_rules import complaints
from lmxlab.lab.figures.accumulation import (
    gradient_errors,
    memory_and_speed,
    token_weights,
    two_programs,
)
import pytest

KS = [1, 2, 4, 8, 16, 64]
MIB = [235.7, 117.0, 58.8, 29.7, 15.1, 4.2]
SPEED = [31_000.0, 32_000, 33_500, 34_000, 33_000, 21_000]
ERRORS = {
    "weighted by tokens": [2e-7, 1e-7, 1e-7, 1e-7],
    "mean of means": [6e-3, 2e-2, 4.2e-2, 5.8e-2],
    "mean of means, sorted by length": [0.9, 1.0, 1.2, 1.4],
}


def test_nothing_is_cut_off_or_lies_over_something_else():
    for figure in (
        two_programs(4),
        two_programs(16),
        token_weights((3, 9)),
        memory_and_speed(KS, MIB, SPEED),
        gradient_errors(KS[1:5], ERRORS),
    ):
        assert complaints(figure) == []


def test_the_diagram_says_what_each_program_reads_and_writes():
    words = " ".join(text.get_text() for text in two_programs(8).axes[0].texts)
    for part in ("8 times", "once", "reads", "writes", "adds n", "divide, clip"):
        assert part in words


@pytest.mark.parametrize("counts", [(3, 9), (5, 5), (1, 2, 3)])
def test_the_weights_of_all_tokens_make_up_the_whole_loss(counts):
    for axes in token_weights(counts).axes:
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(100)


def test_a_token_of_a_short_micro_batch_counts_three_times_one_of_a_long():
    right, wrong = token_weights((3, 9)).axes
    assert len({bar.get_height() for bar in right.patches}) == 1
    heights = [bar.get_height() for bar in wrong.patches]
    assert heights[0] / heights[-1] == pytest.approx(3)


def test_the_ideal_is_the_whole_batch_shared_among_k():
    ideal, measured = memory_and_speed(KS, MIB, SPEED).axes[0].lines
    assert list(ideal.get_ydata()) == pytest.approx([MIB[0] / k for k in KS])
    assert list(measured.get_ydata()) == MIB


def test_throughput_starts_at_zero_so_that_lengths_compare():
    assert memory_and_speed(KS, MIB, SPEED).axes[1].get_ylim()[0] == 0


def test_an_error_of_zero_is_drawn_and_named_as_zero():
    figure = gradient_errors([2, 4], {"exact": [0.0, 0.0]})
    assert complaints(figure) == []
    assert figure.axes[0].texts[0].get_text() == "exact: 0"


@pytest.mark.parametrize("last", [1.4, 0.4, 0.058])
def test_ends_that_lie_close_together_keep_their_words_apart(last):
    ends = {name: [*values[:3], values[3]] for name, values in ERRORS.items()}
    ends["mean of means"][3] = last
    assert complaints(gradient_errors(KS[1:5], ends)) == []


def test_lines_are_told_apart_without_colour():
    lines = gradient_errors(KS[1:5], ERRORS).axes[0].lines
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 3
