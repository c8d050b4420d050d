"""The live picture: loss and throughput against steps, drawn fast enough to watch.

Matplotlib draws axes and text once; a frame puts that background back and draws only
the lines. The x-range is the whole run from the start, so that progress shows. Limits
move rarely, because each move is a full redraw. Never pyplot: it keeps global figures.
"""

from dataclasses import dataclass, field
import io
import math
import time
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Record = dict[str, Any]

# Told apart by the colour-blind, and readable on white and on black.
COLOURS = ("#2b8cd6", "#d97706", "#0f9d76", "#c4568f", "#8a7a00", "#7a6ff0")
TEXT = "#7d8590"
MAX_POINTS = 400
# Places are fixed, in pixels: a layout that fits itself doubles the cost of a redraw.
WIDTH, HEIGHT = 840, 290
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 60, 14, 10, 46, 70


@dataclass
class Curve:
    """A growing line: raw values, and the smoothed line that the eye follows.

    Args:
        smoothing: Weight of the past in the exponential mean, in [0, 1).

    Example:
        >>> curve = Curve(smoothing=0.0)
        >>> curve.add(1, 4.0); curve.add(2, 2.0)
        >>> [points.tolist() for points in curve.smooth()]
        [[1.0, 2.0], [4.0, 2.0]]
    """

    smoothing: float = 0.9
    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    low: float = math.inf
    high: float = -math.inf
    _sum: float = 0.0
    _weight: float = 0.0

    def add(self, x: float, y: float) -> None:
        """Append a point; one that is not finite is left out."""
        if not math.isfinite(y):
            return
        self._sum = self.smoothing * self._sum + (1 - self.smoothing) * y
        self._weight = self.smoothing * self._weight + (1 - self.smoothing)
        self.xs.append(x)
        self.ys.append(y)
        self.means.append(self._sum / self._weight)
        self.low = min(self.low, self.means[-1])
        self.high = max(self.high, self.means[-1])

    def raw(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the points, thinned to what a picture can show, as (x, y)."""
        return _thin(self.xs), _thin(self.ys)

    def smooth(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the smoothed points, thinned, as (x, y)."""
        return _thin(self.xs), _thin(self.means)


def _thin(values: list[float]) -> NDArray[np.float64]:
    """Keep at most MAX_POINTS values, the last among them, at a constant cost."""
    stride = max(1, math.ceil((len(values) - 1) / (MAX_POINTS - 1)))
    kept = values[::stride]
    if values and (len(values) - 1) % stride:
        kept.append(values[-1])
    return np.asarray(kept, dtype=np.float64)


class Chart:
    r"""Loss and throughput of one or several runs, as PNG frames.

    Args:
        total: Steps of the whole run: the x-range.
        names: One label for each run; ``[""]`` for a single one.
        references: Horizontal lines in the loss plot, label to nats, such as an entropy
            floor.
        first_calls: Whether to draw what each run's first call cost as a bar.

    Example:
        >>> chart = Chart(total=10)
        >>> chart.add({"step": 1, "loss": 3.0, "tokens": 64, "step_seconds": 0.01})
        >>> chart.png()[:4]
        b'\x89PNG'
    """

    def __init__(
        self,
        total: int,
        names: list[str] | None = None,
        references: dict[str, float] | None = None,
        *,
        first_calls: bool = False,
    ) -> None:
        """Lay out the axes; nothing is drawn before the first frame."""
        self.total = total
        self.names = names or [""]
        self.references = references or {}
        self.loss = {name: Curve(smoothing=0.8) for name in self.names}
        self.held_out = {name: Curve(smoothing=0.0) for name in self.names}
        self.speed = {name: Curve() for name in self.names}
        self.first_calls: dict[str, float] = {}
        self.marks: list[tuple[int, str]] = []
        self.frame_seconds = 0.0
        self._figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
        self._canvas = FigureCanvasAgg(self._figure)
        self._background: Any = None
        self._lines: list[tuple[Axes, Line2D, Any]] = []
        self._legend: list[tuple[Line2D, Curve]] = []
        self._limits = ((0.0, 1.0), (0.0, 1.0))
        self._bars: Axes | None = None
        self._build(first_calls)

    # --------------------------------------------------------------------------- data

    def add(self, record: Record, name: str = "") -> None:
        """Add one step's record to the curves of a run.

        Args:
            record: With step, loss, tokens and step_seconds, and eval_loss or
                first_call_seconds when the step has them.
            name: Which run.
        """
        step = record["step"]
        if not self.loss[name].xs or ("eval_loss" in record and not self._evaluated()):
            self._background = None  # the legend has a new entry
        self.loss[name].add(step, record["loss"])
        if "eval_loss" in record:
            self.held_out[name].add(step, record["eval_loss"])
        if "first_call_seconds" in record:
            spent = self.first_calls.get(name, 0.0) + record["first_call_seconds"]
            self.first_calls[name] = spent
            self._background = None
        else:
            seconds = max(record["step_seconds"], 1e-9)
            self.speed[name].add(step, record["tokens"] / seconds)

    def _evaluated(self) -> bool:
        return all(curve.xs for curve in self.held_out.values())

    def mark(self, step: int, text: str) -> None:
        """Mark a change on the curve; the same setting moved again moves its mark."""
        setting = text.split(" ")[0]
        if self.marks and self.marks[-1][1].split(" ")[0] == setting:
            near = step - self.marks[-1][0] <= max(3, self.total // 25)
            if near:
                self.marks.pop()
        self.marks.append((step, text))
        self._background = None

    # ------------------------------------------------------------------------ drawing

    def png(self) -> bytes:
        """Draw a frame.

        Returns:
            PNG bytes with a transparent background. ``frame_seconds`` says what the
            frame cost.
        """
        started = time.perf_counter()
        self._fit()
        if self._background is None:
            self._draw_background()
        self._canvas.restore_region(self._background)
        for axes, line, points in self._lines:
            line.set_data(*points())
            axes.draw_artist(line)
        out = io.BytesIO()
        pixels = np.asarray(self._canvas.buffer_rgba())
        # Runs of equal pixels are all there is to find: quicker, and smaller too.
        run_lengths = {"compress_level": 1, "compress_type": 3}
        Image.fromarray(pixels).save(out, "PNG", **run_lengths)
        self.frame_seconds = time.perf_counter() - started
        return out.getvalue()

    def _build(self, first_calls: bool) -> None:
        self._figure.patch.set_alpha(0)
        loss, speed, *more = self._places([2, 2, 0.8] if first_calls else [1, 1])
        self._axes = loss, speed
        self._bars = more[0] if more else None
        for axes, label in ((loss, "loss (nats per token)"), (speed, "tokens / s")):
            axes.patch.set_alpha(0)
            axes.set_xlim(0, max(1, self.total))
            axes.set_xlabel("step", color=TEXT)
            axes.set_ylabel(label, color=TEXT)
            _place_labels(axes)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(6))
            axes.tick_params(colors=TEXT, labelsize=8)
            axes.grid(color=TEXT, alpha=0.18, linewidth=0.6)
            for side, spine in axes.spines.items():
                spine.set_visible(side in ("left", "bottom"))
                spine.set_color(TEXT)
        speed.yaxis.set_major_formatter(EngFormatter(sep=""))
        dashes = ("-", "--", "-.", ":")
        for index, name in enumerate(self.names):
            style = {
                "color": COLOURS[index % len(COLOURS)],
                "linestyle": dashes[index % len(dashes)]
                if len(self.names) > 1
                else "-",
            }
            for axes, curves in ((loss, self.loss), (speed, self.speed)):
                curve = curves[name]
                raw = {**style, "linestyle": "-", "alpha": 0.35, "linewidth": 0.7}
                self._add(axes, curve.raw, **raw)
                self._add(axes, curve.smooth, linewidth=1.7, label=name, **style)
                if axes is loss and name:
                    self._legend.append((self._lines[-1][1], curve))
            dots = {**style, "linestyle": "none", "marker": "o", "markersize": 4.5}
            dots["clip_on"] = False  # the last one lies on the edge
            if not name:
                dots["color"] = COLOURS[1]
            label = f"{name}, evaluation" if name else "evaluation"
            self._add(loss, self.held_out[name].raw, **dots, label=label)
            self._legend.append((self._lines[-1][1], self.held_out[name]))

    def _places(self, ratios: list[float]) -> list[Axes]:
        room = WIDTH - LEFT - RIGHT - BETWEEN * (len(ratios) - 1)
        made, x = [], float(LEFT)
        for ratio in ratios:
            wide, high = room * ratio / sum(ratios), HEIGHT - TOP - BOTTOM
            place = x / WIDTH, BOTTOM / HEIGHT, wide / WIDTH, high / HEIGHT
            made.append(self._figure.add_axes(place))
            x += wide + BETWEEN
        return made

    def _add(self, axes: Axes, points: Any, **style: Any) -> None:
        (line,) = axes.plot([], [], animated=True, **style)
        self._lines.append((axes, line, points))

    def _fit(self) -> None:
        """Move the limits when the data leaves them, in steps that are rare."""
        losses = [*self.loss.values(), *self.held_out.values()]
        shown = [curve for curve in losses if curve.xs]
        high = max((curve.high for curve in shown), default=1.0)
        # Without a floor, room for the loss to fall.
        floor = min(self.references.values(), default=0.7 * high)
        low = min([floor, *(curve.low for curve in shown)])
        fastest = max((c.high for c in self.speed.values() if c.xs), default=1.0)
        moved = []
        targets = ((low, high), (0.0, fastest))
        for (low, high), (now_low, now_high) in zip(targets, self._limits, strict=True):
            span = max(high - low, 1e-9)
            fits = now_low <= low and high <= now_high
            roomy = now_high - now_low > 3 * span
            moved.append(
                (now_low, now_high)
                if fits and not roomy
                else (max(0.0, low - 0.1 * span), high + 0.25 * span)
            )
        if tuple(moved) != self._limits or self._background is None:
            self._limits = (moved[0], moved[1])
            for axes, limits in zip(self._axes, self._limits, strict=True):
                axes.set_ylim(*limits)
            self._background = None

    def _draw_background(self) -> None:
        loss, speed = self._axes
        for artist in [*loss.texts, *loss.collections, *speed.collections]:
            artist.remove()
        for label, value in self.references.items():
            loss.hlines(
                value, 0, self.total, colors=TEXT, linestyles=":", linewidth=1.2
            )
            loss.annotate(
                f"{label} {value:.3f}", (self.total, value), (0, -2),
                textcoords="offset points", color=TEXT, fontsize=8, ha="right",
                va="top",
            )  # fmt: skip
        for step, text in self.marks:
            for axes in self._axes:
                axes.vlines(step, 0, 1, colors=TEXT, linestyles=":", linewidth=1,
                            transform=axes.get_xaxis_transform())  # fmt: skip
            below_the_legend = 0.83 if step > 0.5 * self.total else 0.98
            loss.text(
                step, below_the_legend, f" {text}", color=TEXT, fontsize=7, rotation=90,
                ha="right", va="top", transform=loss.get_xaxis_transform(),
            )  # fmt: skip
        for axes, curves in ((loss, self.loss), (speed, self.speed)):
            drawn = any(curve.xs for curve in curves.values())
            axes.tick_params(labelleft=drawn, labelbottom=drawn or self.total > 1)
        self._draw_bars()
        handles = [line for line, curve in self._legend if curve.xs]
        if handles:
            loss.legend(
                handles=handles, fontsize=8, labelcolor=TEXT, frameon=False,
                loc="upper right", handlelength=1.6,
            )  # fmt: skip
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)

    def _draw_bars(self) -> None:
        axes = self._bars
        if axes is None:
            return
        axes.cla()  # colours and all
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylabel("first call (s)", color=TEXT)
        _place_labels(axes)
        axes.tick_params(colors=TEXT, labelsize=8)
        axes.spines[["left", "bottom"]].set_color(TEXT)
        seconds = [self.first_calls.get(name, 0.0) for name in self.names]
        colours = [COLOURS[i % len(COLOURS)] for i in range(len(self.names))]
        bars = axes.bar(self.names, seconds, color=colours, width=0.6)
        labels = [f"{value:.2g}" if value else "" for value in seconds]
        axes.bar_label(bars, labels, color=TEXT, fontsize=8)
        axes.set_ylim(0, 1.15 * max([*seconds, 1e-3]))


def _place_labels(axes: Axes) -> None:
    """Put the axis labels where they need not be looked for at each redraw."""
    wide, high = axes.get_window_extent().size
    axes.xaxis.set_label_coords(0.5, -32 / high)
    axes.yaxis.set_label_coords(-44 / wide, 0.5)
