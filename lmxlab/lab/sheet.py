"""Several plots as one picture, two a row: PNG for a cell, SVG for a page of print."""

from collections.abc import Sequence
import math
import re

from lmxlab.lab.plot import HEIGHT, Plot, encode
from lmxlab.lab.plot import WIDTH as PLOT_WIDTH
import numpy as np
from numpy.typing import NDArray

WIDTH = 2 * PLOT_WIDTH


def sheet_png(plots: Sequence[Plot]) -> bytes:
    r"""Draw plots as one PNG, 840 pixels wide and 290 high for each row.

    Args:
        plots: The plots, in reading order.

    Example:
        >>> sheet_png([Plot("loss"), Plot("tokens / s")])[:4]
        b'\x89PNG'
    """
    pixels: NDArray[np.uint8] = np.zeros((_height(plots), WIDTH, 4), np.uint8)
    for index, plot in enumerate(plots):
        y, x = index // 2 * HEIGHT, index % 2 * PLOT_WIDTH
        pixels[y : y + HEIGHT, x : x + PLOT_WIDTH] = plot.pixels()
    return encode(pixels)


def sheet_svg(plots: Sequence[Plot]) -> str:
    """Draw plots as one SVG document, of the same size as the PNG.

    Args:
        plots: The plots, in reading order.

    Example:
        >>> sheet_svg([Plot("loss")])[-6:]
        '</svg>'
    """
    parts = []
    for index, plot in enumerate(plots):
        text = plot.svg().partition("<svg")[2]
        x, y = index % 2 * PLOT_WIDTH, index // 2 * HEIGHT
        place = f'x="{x}" y="{y}" width="{PLOT_WIDTH}" height="{HEIGHT}"'
        text = re.sub(r'width="\S+pt" height="\S+pt"', place, text, count=1)
        parts.append(f"<svg{text}")
    high = _height(plots)
    size = f'width="{WIDTH}" height="{high}" viewBox="0 0 {WIDTH} {high}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, *parts, "</svg>"])


def _height(plots: Sequence[Plot]) -> int:
    return max(1, math.ceil(len(plots) / 2)) * HEIGHT
