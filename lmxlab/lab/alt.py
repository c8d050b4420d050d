"""Words for a plot, with its numbers: what those hear who cannot see it."""

from collections.abc import Sequence

from lmxlab.lab.plot import Line

SHOWS = {"loss": "Loss", "speed": "Tokens per second"}
MOST = 6  # curves that are put into words


def alt_text(name: str, lines: Sequence[Line], unit: str = "") -> str:
    """Return what a plot shows: each curve's ends, its lowest and its highest value.

    Args:
        name: The plot's name.
        lines: The curves that it draws; those without points are left out.
        unit: Unit of the values, where the name has none.

    Returns:
        One or more sentences.

    Example:
        >>> from lmxlab.lab.curves import Curve
        >>> curve = Curve()
        >>> for step, loss in enumerate([4.0, 1.5, 2.0], start=1): curve.add(step, loss)
        >>> alt_text("loss", [Line(curve, "#2b8cd6")], "nats per token")
        'Loss in nats per token, against training so far: 4 at step 1, 2 at step 3, \
lowest 1.5, highest 4.'
    """
    drawn = [line for line in lines if line.curve]
    said = [_said(line) for line in drawn[:MOST]]
    said += [f"and {len(drawn) - MOST} more curves"] * (len(drawn) > MOST)
    shows = SHOWS.get(name, name) + f" in {unit}" * bool(unit)
    head = f"{shows}, against training so far"
    return f"{head}: {'; '.join(said)}." if said else f"{head}."


def _said(line: Line) -> str:
    curve, name = line.curve, f"{line.label}, " * bool(line.label)
    first, last, (low, high) = curve[0], curve[-1], curve.extremes()
    if len(curve) == 1:
        return f"{name}{first.value:.4g} at step {first.steps:g}"
    return (
        f"{name}{first.value:.4g} at step {first.steps:g}, {last.value:.4g} at step "
        f"{last.steps:g}, lowest {low:.4g}, highest {high:.4g}"
    )
