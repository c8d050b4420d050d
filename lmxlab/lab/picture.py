"""Pictures that need no kernel: of a cell, of a terminal, in a file."""

from collections.abc import Sequence
import io
from itertools import pairwise
import math
from pathlib import Path
import sys

from IPython.display import Image
from lmxlab.lab.chart import TEXT, Chart
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def picture(figure: Figure, alt: str) -> Image:
    """Render a figure for a notebook cell to return.

    Args:
        figure: Drawn without pyplot; its background becomes
            transparent, and axes and labels a grey that shows on white and black.
        alt: What it shows, for those who cannot see it.

    Returns:
        A PNG that the notebook, a code host and the book can show.

    Raises:
        ValueError: If ``alt`` is empty.

    Example:
        >>> picture(Figure(figsize=(1, 1)), "an empty square").alt
        'an empty square'
    """
    if not alt.strip():
        raise ValueError("alt is empty; say in a sentence what the picture shows")
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        axes.tick_params(colors=TEXT)
        axes.spines[:].set_color(TEXT)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_color(TEXT)
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out)
    return Image(out.getvalue(), embed=True, alt=alt)


BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.,-=+*#"


def text_picture(values: Sequence[float], width: int = 60, unit: str = "") -> str:
    """Draw a curve as one line of text, from its first value to its last.

    Args:
        values: The curve. What is not finite is left out.
        width: Bars at the most; each is the mean of the values that it stands for.
        unit: Unit of the values, written at the end.

    Returns:
        First value, bars, last value; nothing if there are not two values. Bars are
        ASCII where the terminal's encoding has no others.

    Example:
        >>> text_picture([4.0, 3.0, 2.0, 1.0], unit="nats")
        '4.000 █▆▃▁ 1.000 nats'
    """
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2 or width < 1:
        return ""
    count = min(width, len(known))
    edges = [len(known) * bar // count for bar in range(count + 1)]
    means = [sum(known[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    bars = BARS if _can_print(BARS) else PLAIN_BARS
    most = (len(bars) - 1) / span if span else 0.0
    drawn = "".join(bars[round((mean - low) * most)] for mean in means)
    return f"{known[0]:.3f} {drawn} {known[-1]:.3f} {unit}".rstrip()


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def save_chart(chart: Chart, path: str | Path) -> Path:
    """Write a chart to a file.

    Args:
        chart: The chart, which is drawn as it is now.
        path: Ends in ``.png`` or ``.svg``; a file that is there is replaced.

    Returns:
        The path.

    Raises:
        ValueError: If it ends in anything else.

    Example:
        >>> import tempfile
        >>> save_chart(Chart(10), tempfile.mkdtemp() + "/run.svg").name
        'run.svg'
    """
    file = Path(path)
    if file.suffix == ".svg":
        file.write_text(chart.svg(), encoding="utf-8")
    elif file.suffix == ".png":
        file.write_bytes(chart.png())
    else:
        raise ValueError(f"path must end in .png or .svg, got {str(path)!r}")
    return file
