"""One plot of the picture: a small figure with one pair of axes, quick to draw again.

Matplotlib draws axes and text once; a frame puts that background back and draws only
the lines. Limits move rarely, because each move is a full redraw. What a plot shows is
set as attributes, at any time: a frame finds out what it has to draw again. Never
pyplot: it keeps global figures.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
import io
import math
from typing import Any

from lmxlab.lab.curves import Curve, Points
from lmxlab.lab.marks import draw_marks, draw_references
from lmxlab.lab.ticks import set_scale
import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Lines have a contrast of 3 or more on white and on #111, where one colour serves both
# themes. The first four are told apart by the colour-blind, because they differ in
# lightness too; the others by dashes (tests/lab/test_colours.py measures it).
COLOURS = ("#2b8cd6", "#d97706", "#237d50", "#ae4b8e", "#8a7a00", "#7a6ff0")
# The best that there is: 4.3 on both. Text in HTML has the theme's own colour instead.
TEXT = "#747a84"
# Places are fixed, in pixels: a layout that fits itself doubles the cost of a redraw.
WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 10, 46
ACROSS = WIDTH - LEFT - RIGHT
LABELS = {"steps": "step", "tokens": "tokens", "seconds": "training time (s)"}
LEGEND_ROW, MOST_INSIDE = 15, 5  # pixels; rows that leave the curves room


def encode(pixels: NDArray[np.uint8]) -> bytes:
    r"""Return pixels as PNG, with 128 colours at the most.

    Args:
        pixels: Red, green, blue and opacity, shape (height, width, 4).

    Example:
        >>> encode(np.zeros((2, 2, 4), dtype=np.uint8))[:4]
        b'\x89PNG'
    """
    out = io.BytesIO()
    # A third of the bytes in half the time; the eye sees no difference.
    few = Image.fromarray(pixels).quantize(128, method=Image.Quantize.FASTOCTREE)
    # Runs of equal pixels are all there is to find: quicker, and smaller too.
    few.save(out, "PNG", compress_level=1, compress_type=3)
    return out.getvalue()


@dataclass(frozen=True)
class Line:
    """How a curve is drawn.

    Args:
        curve: The points to draw.
        colour: Colour of the line, its dots and its noise.
        label: Text in the legend, which the curve enters with its first point.
        dash: Dash pattern of the smoothed line, as matplotlib writes it.
        marker: Sign along the line that tells metrics apart without colour.
        dots: Whether to draw points only, as for evaluations.
        kept: Whether it belongs to a run kept from before: thin, without its noise.
        exact: Whether a curve without noise, such as a schedule, is left unsmoothed.

    Example:
        >>> Line(Curve(), COLOURS[0], label="loss").dash
        '-'
    """

    curve: Curve
    colour: str
    label: str = ""
    dash: Any = "-"
    marker: str = ""
    dots: bool = False
    kept: bool = False
    exact: bool = False

    @property
    def style(self) -> "Line":
        """The same line without its points: what axes and legend depend on."""
        return replace(self, curve=NO_CURVE)


NO_CURVE = Curve()


class Plot:
    r"""Curves against steps, tokens or seconds.

    Args:
        label: Text beside the y axis, with the unit; an attribute too.
        references: Horizontal lines, label to value; the legend names them.
        from_zero: Whether the y axis begins at 0.
        falls: Whether to leave room for the values to fall.
        legend_inside: Whether a short legend may lie in the upper right corner. Above
            the axes it hides nothing, but takes its room from them.

    Attributes:
        lines (list[Line]): The curves, and how each is drawn.
        x (str): What the x axis counts: ``steps``, ``tokens`` or ``seconds``.
        x_end (float): Right end of the x axis.
        log_x (bool): Whether the x axis is logarithmic.
        log_y (bool): Whether the y axis is; it stays linear, with a note, where not all
            values are positive.
        marks (list[tuple[float, str]]): Place and text of each vertical line.
        mark_texts (bool): Whether these texts are shown.
        cursor (float | None): Place of the read-out on the x axis.

    Example:
        >>> curve = Curve(); curve.add(1, 3.0)
        >>> plot = Plot("loss (nats)")
        >>> plot.lines = [Line(curve, COLOURS[0])]
        >>> plot.png()[:4]
        b'\x89PNG'
    """

    def __init__(
        self,
        label: str,
        references: dict[str, float] | None = None,
        *,
        from_zero: bool = False,
        falls: bool = False,
        legend_inside: bool = False,
    ) -> None:
        """Lay out the axes; nothing is drawn before the first frame."""
        self.label, self.references = label, references or {}
        self.lines: list[Line] = []
        self.x, self.x_end = "steps", 1.0
        self.log_x = self.log_y = self.mark_texts = False
        self.marks: list[tuple[float, str]] = []
        self.cursor: float | None = None
        self._from_zero, self._falls, self._inside = from_zero, falls, legend_inside
        self._limits: tuple[bool, float, float] = (False, 0.0, 1.0)
        self._guessed = True  # from one value
        self._cut = ""  # what is above the limits
        self._made: list[Line] = []
        self._seen: set[Line] = set()  # styles that had points, in this run or before
        self._artists: list[tuple[Line, Any, Callable[[str], Points]]] = []
        self._background: Any = None
        self._drawn: tuple[Any, Any] = (None, None)
        self._png: bytes | None = None
        self._figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
        self._figure.patch.set_alpha(0)
        self._canvas = FigureCanvasAgg(self._figure)
        self.axes = self._figure.add_axes(_place())
        self._dress()
        grey: dict[str, Any] = {"color": TEXT, "animated": True}
        (dots,) = self.axes.plot([], [], "o", ms=5, mfc="none", clip_on=False, **grey)
        self._reading = self.axes.axvline(0, linewidth=1, **grey), dots

    def png(self) -> bytes:
        """Return the plot as PNG, the same object as before if nothing has changed."""
        pixels = self.pixels()
        if self._png is None:
            self._png = encode(pixels)
        return self._png

    def pixels(self) -> NDArray[np.uint8]:
        """Return the plot as pixels (290, 420, 4), which the next frame overwrites."""
        wanted = look, _ = self._look(), self._data()
        if self._background is None or look != self._drawn[0]:
            self._draw_background()
            self._drawn = (None, None)
        elif self._made != self.lines:  # another run's curves, on the same axes
            self._make_artists()
            self._drawn = (None, None)
        if wanted != self._drawn:
            self._drawn, self._png = wanted, None
            self._canvas.restore_region(self._background)
            for artist in self._moving():
                self.axes.draw_artist(artist)
        return np.asarray(self._canvas.buffer_rgba())

    def svg(self) -> str:
        """Return the plot as an SVG document."""
        self.pixels()
        out = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": "lmxlab"}):
            self._figure.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    @property
    def is_stale(self) -> bool:
        """Whether it was drawn with other lines, such as another run's."""
        return self._background is not None and self._made != self.lines

    # --------------------------------------------------------------- what a frame shows

    def _look(self) -> Any:
        """Return all that the background depends on, up to date."""
        styles = [line.style for line in self.lines]
        self._seen |= {line.style for line in self.lines if line.curve}
        lows = [curve.extremes()[0] for curve in self._curves()] if self.log_y else []
        self._fit(self.log_y and min([*lows, *self.references.values(), 1.0]) > 0)
        log, _, top = self._limits
        high = max((curve.extremes()[1] for curve in self._curves()), default=0.0)
        said = f"cut off; highest: {high:,.{0 if high > 99 else 2}f}"
        self._cut = said if high > (10**top if log else top) else ""
        return (
            self.label, self._limits, self.x, self.x_end,
            self.log_x and self._x_start(), self.log_y,
            [(style, style in self._seen) for style in styles],
            list(self.marks), self.mark_texts, self._cut,
            dict(self.references),
        )  # fmt: skip

    def _data(self) -> Any:
        """Return all that the lines depend on."""
        return [line.curve.version for line in self.lines], self.cursor

    def _moving(self) -> list[Any]:
        """Return what a frame draws over the background, up to date."""
        for line, artist, points in self._artists:
            xs, ys = points(self.x)
            artist.set_data(xs, ys)
            if not (line.dots or line.marker) and isinstance(artist, Line2D):
                artist.set_marker("o" if len(xs) == 1 else "")  # or it is not seen
        across, dots = self._reading
        for artist in (across, dots):  # an SVG has all that is visible
            artist.set_visible(self.cursor is not None)
        if (x := self.cursor) is not None:
            near = [curve[curve.nearest_index(x, self.x)] for curve in self._curves()]
            across.set_data([x, x], [0, 1])
            dots.set_data([getattr(p, self.x) for p in near], [p.value for p in near])
        return [*(artist for _, artist, _ in self._artists), across, dots]

    def _make_artists(self) -> None:
        """Make what draws the lines, or give it the curves of another run."""
        before, self._made = self._made, list(self.lines)
        if [line.style for line in before] == [line.style for line in self.lines]:
            now = dict(zip(before, self.lines, strict=True))
            again = [(now[line], artist) for line, artist, _ in self._artists]
            self._artists = [(line, a, _points(line, a)) for line, a in again]
            return
        for _, artist, _ in self._artists:
            artist.remove()
        self._artists = []
        for line in sorted(self.lines, key=lambda line: not line.kept):
            style: dict[str, Any] = {"ls": line.dash, "lw": 1.1 if line.kept else 1.7}
            if line.marker:
                style |= {"marker": line.marker, "ms": 4.5, "markevery": (0.1, 0.25)}
            if line.dots:  # the last one lies on the edge
                size = 3.5 if line.kept else 4.5
                style = {"ls": "none", "marker": "o", "ms": size, "clip_on": False}
            elif not line.kept:
                band = self.axes.add_patch(_Band(line.colour))
                self._artists.append((line, band, _points(line, band)))
            (drawn,) = self.axes.plot([], [], color=line.colour, animated=True, **style)
            self._artists.append((line, drawn, _points(line, drawn)))

    # -------------------------------------------------------------------------- limits

    def _curves(self) -> list[Curve]:
        return [line.curve for line in self.lines if line.curve]

    def _x_start(self) -> float:
        firsts = [getattr(curve[0], self.x) for curve in self._curves()]
        return min((x for x in firsts if x > 0), default=self.x_end / 1000)

    def _fit(self, log: bool) -> None:
        """Move the limits when the data leaves them, in steps that are rare."""
        shown = [line for line in self.lines if line.curve]
        if not shown and self._background is not None and self._limits[0] == log:
            return  # as for the run before: what comes will hardly be elsewhere
        bounds = [x.curve.extremes() if x.dots else x.curve.bounds() for x in shown]
        values = [value for pair in bounds for value in pair] or [1.0]
        high = max([*values, *self.references.values()])
        if self._from_zero or (self._falls and not self.references):
            values.append(0.0 if self._from_zero else 0.7 * high)
        low = min([*values, *self.references.values()])
        a, b = (math.log10(low), math.log10(high)) if log else (low, high)
        span = b - a
        guessed = span <= 1e-6 * max(abs(a), abs(b))  # one value, as yet
        if guessed:
            span = 0.3 if log else 0.5 * abs(b) or 1.0
        was_log, bottom, top = self._limits
        late = any(getattr(x.curve[-1], self.x) > 0.2 * self.x_end for x in shown)
        # Early on they stay as for the run before, but not if one value told nothing.
        roomy = top - bottom > 3 * span and (late or self._guessed)
        fits = was_log == log and bottom <= a and b <= top and not roomy
        if not fits or self._background is None:
            least = 0.0 if low >= 0 and not log else -math.inf
            self._limits = log, max(least, a - 0.1 * span), b + 0.25 * span
            self._guessed = guessed

    # ---------------------------------------------------------------------- background

    def _draw_background(self) -> None:
        for artist in [*self.axes.texts, *self.axes.collections]:
            artist.remove()
        size = min(10.0, 290 / max(1, len(self.label)))
        words = _short(self.label, 42)
        self.axes.set_ylabel(words, color=TEXT, fontsize=max(7.0, size))
        self._arrange()
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)

    def _dress(self) -> None:
        axes = self.axes
        axes.patch.set_alpha(0)
        axes.tick_params(colors=TEXT, labelsize=8)
        axes.grid(color=TEXT, alpha=0.18, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(TEXT)
        # Labels lie where they need not be looked for at each redraw.
        axes.yaxis.set_label_coords(-44 / ACROSS, 0.5)

    def _arrange(self) -> None:
        """Bring axes, texts and legend up to date."""
        axes = self.axes
        if self._made != self.lines:
            self._make_artists()
        log, bottom, top = self._limits
        if log:
            bottom, top = 10**bottom, 10**top
        start = self._x_start() if self.log_x else 0.0
        set_scale(axes, "y", log, bottom, top)
        set_scale(axes, "x", self.log_x, start, max(self.x_end, start * 1.01))
        axes.set_xlabel(LABELS[self.x], color=TEXT)
        drawn = any(line.style in self._seen for line in self.lines)
        known = drawn or (self.x == "steps" and self.x_end > 1)
        axes.tick_params(labelleft=drawn, labelbottom=known)
        above, inside = self._draw_legend(draw_references(axes, self.references, TEXT))
        axes.set_position(_place(TOP + above * LEGEND_ROW))
        axes.xaxis.set_label_coords(0.5, -30 / axes.get_window_extent().height)
        if self.log_y and not log:
            note, corner = "log needs values > 0: linear", self.axes.transAxes
            axes.text(0.02, 0.02, note, color=TEXT, fontsize=8, transform=corner)
        if self._cut:  # in the corner that the legend leaves free
            look: dict[str, Any] = {"color": TEXT, "fontsize": 8, "va": "top"}
            look |= {"x": 0.02} if self._inside else {"x": 0.98, "ha": "right"}
            axes.text(y=0.99, s=self._cut, transform=axes.transAxes, **look)
        draw_marks(axes, self.marks, TEXT, inside if self.mark_texts else None)

    def _draw_legend(self, references: dict[str, Line2D]) -> tuple[int, int]:
        """Draw the legend; return how many rows it has above the axes, and inside."""
        if (old := self.axes.get_legend()) is not None:
            old.remove()
        latest = {line: artist for line, artist, _ in self._artists}  # not the noise
        named: dict[str, Line2D] = {}
        for line in self.lines:
            if line.label and line.style in self._seen:
                handle = named.setdefault(line.label, latest[line])
                if not (line.dots or line.marker):
                    handle.set_marker("")  # which a first point had, to be seen
        named |= references
        if not named:
            return 0, 0
        look: dict[str, Any] = {"fontsize": 8, "labelcolor": TEXT, "frameon": False}
        handles, most = list(named.values()), 44 if len(named) < 5 else 20
        labels = [_short(label, most) for label in named]
        kept = any(line.kept for line in self.lines)
        if self._inside and not kept and len(labels) <= MOST_INSIDE:
            look |= {"loc": "upper right", "handlelength": 1.6, "borderaxespad": 0.2}
            self.axes.legend(handles, labels, **look)
            return 0, len(labels)
        columns = max(1, min(3, int(ACROSS / (44 + 6.4 * max(map(len, labels))))))
        look |= {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0}
        look |= {"borderpad": 0.2, "labelspacing": 0.25, "columnspacing": 1.2}
        self.axes.legend(handles, labels, ncols=columns, handlelength=2.4, **look)
        return math.ceil(len(labels) / columns), 0


def _points(line: Line, artist: Any) -> Callable[[str], Points]:
    """Return what gives an artist its points, for a kind of x axis."""
    if isinstance(artist, _Band):
        return line.curve.band
    return line.curve.raw if line.dots else partial(line.curve.smooth, exact=line.exact)


class _Band(Polygon):
    """A line, or what lies within an outline that is closed."""

    def __init__(self, colour: str) -> None:
        super().__init__(np.zeros((1, 2)), closed=False, animated=True, color=colour)
        self.set(alpha=0.35, linewidth=0.7)

    def set_data(self, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> None:
        self.set_xy(np.column_stack((xs, ys)))
        self.set_fill(len(xs) > 1 and xs[0] == xs[-1])


def _place(top: int = TOP) -> tuple[float, float, float, float]:
    high = (HEIGHT - top - BOTTOM) / HEIGHT
    return LEFT / WIDTH, BOTTOM / HEIGHT, ACROSS / WIDTH, high


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 9]}…{text[-8:]}"
