from drawing_rules import complaints
from lmxlab.lab.figures.drawing import arrow, box, plot, say, sketch


def labelled():
    figure, axes = plot()
    axes.plot([0, 1], [0, 1])
    axes.set(xlabel="step", ylabel="loss (nats)")
    return figure, axes


def test_boxes_and_arrows_leave_nothing_to_complain_about():
    figure, axes = sketch()
    box(axes, 2, 4, 20, 6, "forward")
    box(axes, 40, 4, 20, 6, "backward")
    arrow(axes, (22, 7), (40, 7))
    say(axes, 31, 9, "loss")
    assert complaints(figure) == []
    assert complaints(labelled()[0]) == []


def test_words_that_leave_the_picture_are_found():
    figure, axes = sketch()
    say(axes, 83, 5, "a sentence that does not fit")
    assert complaints(figure) == ["'a sentence that does not fit' is cut off"]


def test_words_over_words_are_found():
    figure, axes = sketch()
    say(axes, 40, 5, "one")
    say(axes, 41, 5, "two")
    assert complaints(figure) == ["'one' and 'two' overlap"]


def test_small_print_is_found():
    figure, axes = sketch()
    say(axes, 40, 5, "small", size=6)
    assert complaints(figure) == ["'small' is only 6 points high"]


def test_an_axis_without_a_label_is_found():
    figure, axes = labelled()
    axes.set_xlabel("")
    assert complaints(figure) == ["an axis has ticks and no label: x"]
