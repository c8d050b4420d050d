"""The pictures of notebook 01: what a recording saves, and what it captures."""

from lmxlab.lab.figures.drawing import arrow, box, say, sketch
from lmxlab.lab.plot import COLOURS
from matplotlib.figure import Figure

PYTHON, OPERATION = COLOURS[1], COLOURS[0]


def recording(operations: int = 5, fused: int = 2, steps: int = 4) -> Figure:
    """Draw eager and compiled steps as time lines of Python and operations.

    Args:
        operations: Number of operations of one eager step.
        fused: Number of operations of one compiled step.
        steps: How many steps to draw.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> words = [text.get_text() for text in recording().axes[0].texts]
        >>> words.count("Python"), words.count("trace")
        (4, 1)
    """
    figure, axes = sketch(84, 20)
    for name, y in (("eager", 12.0), ("compiled", 5.0)):
        say(axes, 9, y + 1.8, name, align="right", bold=True)
        x = 10.5
        for step in range(steps):
            if name == "eager" or step == 0:
                words = "Python" if name == "eager" else "trace"
                box(axes, x, y, 6.4, 3.6, words, colour=PYTHON, fill=0.15)
                x += 6.8
            wide, count = (1.5, operations) if name == "eager" else (2.6, fused)
            for _ in range(count):
                box(axes, x, y, wide, 3.6, colour=OPERATION, fill=0.6)
                x += wide + 0.35
            x += 0.9
    arrow(axes, (10.5, 2.2), (82, 2.2))
    say(axes, 46, 0.9, f"time for {steps} steps; plain boxes are operations")
    return figure


def captured() -> Figure:
    """Draw the three containers that a compiled step reads and writes.

    Returns:
        The figure; :func:`lmxlab.lab.picture` shows it.

    Example:
        >>> any("random" in text.get_text() for text in captured().axes[0].texts)
        True
    """
    figure, axes = sketch(84, 24)
    parts = [
        ("model.state", "weights"),
        ("optimizer.state", "moments, step, learning rate"),
        ("mx.random.state", "key for dropout and sampling"),
    ]
    box(axes, 36, 3, 14, 18, "the step,\nrecorded once", colour=OPERATION, fill=0.15)
    for number, (name, words) in enumerate(parts):
        y = 16 - 6.5 * number
        for x in (1, 58):
            box(axes, x, y, 25, 5, f"{name}\n{words}", colour=COLOURS[2])
        arrow(axes, (26, y + 2.5), (36, y + 2.5))
        arrow(axes, (50, y + 2.5), (58, y + 2.5))
    say(axes, 31, 22.6, "inputs=state")
    say(axes, 54, 22.6, "outputs=state")
    return figure
