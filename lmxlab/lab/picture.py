"""A drawing as an output that needs no kernel, in both themes, with words for it."""

import io

from IPython.display import Image
from lmxlab.lab.chart import TEXT
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
