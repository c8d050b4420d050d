"""The live picture: plots of loss, throughput and whatever else the records bring.

A plot of its own for loss, for tokens per second, for what first calls cost, and for
every other number, whatever the topic: tiles that a panel lets flow, or one picture.
"""

from collections.abc import Collection, Mapping, Sequence
import math
import time
from typing import Any

from lmxlab.core.fields import unknown_choice
from lmxlab.lab.alt import alt_text
from lmxlab.lab.bars import Bars
from lmxlab.lab.curves import HELD_OUT, KINDS, LOSS, SPEED, Curve, History
from lmxlab.lab.gauges import checked, label_of, shown
from lmxlab.lab.horizon import Horizon
from lmxlab.lab.plot import COLOURS, HEIGHT, TEXT, Line, Plot
from lmxlab.lab.sheet import WIDTH, sheet_png, sheet_svg
from lmxlab.training.loss import UNIT

__all__ = ["COLOURS", "HEIGHT", "TEXT", "WIDTH", "Chart", "Curve"]

Record = dict[str, Any]
MAX_PINS = 5
DASHES = ("-", "--", "-.", ":")
PIN_DASHES = ((0, (4, 1.5)), (0, (1, 1)), (0, (6, 1, 1, 1)), (0, (2, 2)), (0, (9, 3)))
MARKERS = ("", "s", "^", "D", "v", "P")


class Chart:
    r"""Loss, throughput and gauges of one or several runs, as PNG frames.

    Args:
        total: Steps of the whole run: the axis of steps ends there.
        names: One label for each run; ``[""]`` for a single one.
        references: Horizontal lines in the loss plot, label to value, such as an
            entropy floor.
        first_calls: Whether to draw what each run's first call cost as a bar.
        gauges: Title, with its unit, to the metrics that share a plot. These come
            first; every other metric has a plot of its own, in alphabetical order.
        max_gauges: How many of these plots are shown at the most.
        seconds: Training seconds that each run has, if that is its budget; the axis of
            seconds ends there.
        free_first_calls: Whether first calls take no time on the axis of seconds.
        loss_unit: What the loss is counted in; empty if that is not known.
        like: A chart that is not drawn any more: its plots, laid out, are used again.

    Attributes:
        marks (list[tuple[int, str]]): Step and text of each change.
        log_x (bool): Whether the x axis is logarithmic.
        frame_seconds (float): What the last frame cost.

    Raises:
        ValueError: If ``gauges`` holds no lists, or ``max_gauges`` is negative.

    Example:
        >>> chart = Chart(total=10)
        >>> chart.add({"step": 1, "loss": 3.0, "tokens": 64, "step_seconds": 0.01})
        >>> chart.png()[:4]
        b'\x89PNG'
        >>> chart.x = "tokens"
        >>> chart.read(60)
        {'loss': 3.0, 'tokens/s': 6400.0}
    """

    def __init__(
        self,
        total: int,
        names: list[str] | None = None,
        references: dict[str, float] | None = None,
        *,
        first_calls: bool = False,
        gauges: Mapping[str, Sequence[str]] | None = None,
        max_gauges: int = 6,
        seconds: float | None = None,
        free_first_calls: bool = False,
        loss_unit: str = UNIT,
        like: "Chart | None" = None,
    ) -> None:
        """Start without data; plots are built when they are first drawn."""
        self.total = total
        self.names = names or [""]
        self.references = references or {}
        self.gauges = checked(gauges or {})
        self.max_gauges, self.loss_unit = max_gauges, loss_unit
        if max_gauges < 0:
            raise ValueError(f"max_gauges must be at least 0, got {max_gauges}")
        self.marks: list[tuple[int, str]] = []
        self._move_began = 0
        self.frame_seconds = 0.0
        self._smoothing = 0.8
        self._runs = {
            name: History(self._smoothing, free_first_calls=free_first_calls)
            for name in self.names
        }
        self._pins: dict[str, tuple[int, History]] = {}
        self._horizon = Horizon(total, seconds)
        self._x = "steps"
        self._cursor: float | None = None
        self._log_loss, self.log_x, self._shows_first_calls = False, False, first_calls
        self._base: dict[str, Plot] = {}
        self._plots: dict[str, Plot] = {}
        self._cast: Any = None
        self._spare: dict[str, Plot] = {} if like is None else like._spare | like._plots

    # --------------------------------------------------------------------------- data

    def curves(self, metric: str) -> dict[str, Curve]:
        """Return the curve of one metric for each run, by the run's label.

        Args:
            metric: One that every run has: ``loss``, ``eval_loss`` or ``tokens/s``.
        """
        return {name: run.curves[metric] for name, run in self._runs.items()}

    @property
    def first_calls(self) -> dict[str, float]:
        """Seconds that each run's first calls took in all, by the run's label."""
        spent = {name: run.first_call_seconds for name, run in self._runs.items()}
        return {name: value for name, value in spent.items() if value is not None}

    def add(self, record: Record, name: str = "") -> None:
        """Add one step's record to the curves of a run.

        Args:
            record: Has ``step``, ``loss``, ``tokens`` and ``step_seconds``; may have
                ``eval_loss``, ``first_call_seconds`` and any other numbers.
            name: The run's label, one of ``names``.
        """
        self._runs[name].add(record)

    def mark(self, step: int, text: str) -> None:
        """Mark where a setting was changed.

        A change of the same setting at the same step replaces its mark; so does one
        soon after a move began that has the last mark: a dragged slider leaves one.

        Args:
            step: Updates done before the change acts.
            text: The setting's name, a space and its new value.
        """
        name, near = text.rpartition(" ")[0], max(3, self.total // 25)
        moving, final = False, len(self.marks) - 1
        for place, (before, words) in reversed(list(enumerate(self.marks))):
            soon = place == final and step - self._move_began <= near
            if words.rpartition(" ")[0] == name and (before == step or soon):
                moving |= soon
                del self.marks[place]
        if not moving:
            self._move_began = step
        self.marks.append((step, text))

    def pin(self, name: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Draw an earlier run over the present ones, until :meth:`unpin`.

        Args:
            name: Its label in the legend; a pinned run of that name is replaced.
            records: Its history, one record for each step.

        Raises:
            ValueError: If there is no name, no record, a record without its step, loss,
                tokens or step_seconds, or no place for one more.
        """
        if not name or name in self.names:
            raise ValueError(f"name must be another one, not empty, got {name!r}")
        if not records:
            raise ValueError(f"records of {name!r} are empty; pin a run that has steps")
        for number, record in enumerate(records):
            for key in {"step", LOSS, "tokens", "step_seconds"} - record.keys():
                where = f"records[{number}] of {name!r} lacks {key!r}"
                raise ValueError(f"{where}; pin a trainer's history as it is")
        others = {slot for pinned, (slot, _) in self._pins.items() if pinned != name}
        free = sorted(set(range(MAX_PINS)) - others)
        if not free:
            raise ValueError(
                f"{MAX_PINS} are pinned; unpin one of {[*self._pins]} first"
            )
        slot = self._pins.get(name, (free[0],))[0]
        self._pins[name] = slot, History(self._smoothing, records)

    def unpin(self, name: str) -> None:
        """Take a pinned run out of the picture.

        Args:
            name: The name that it was pinned under.

        Raises:
            ValueError: If no run of that name is pinned.
        """
        if name not in self._pins:
            raise unknown_choice("name", name, list(self._pins) or ["(none is pinned)"])
        del self._pins[name]

    def read(self, x: float) -> dict[str, float]:
        """Return the exact values nearest to a place on the x axis.

        Args:
            x: The place, in steps, tokens or seconds as the axis counts.

        Returns:
            Metric to value; for a run with a name the key is ``NAME, metric``.
        """
        values, x = {}, _finite("x", x)
        for name, run in self._everyone():
            for metric, curve in run.curves.items():
                if (point := curve.nearest(x, self._x)) is not None:
                    values[f"{name}, {metric}" if name else metric] = point.value
        return values

    def _everyone(self) -> list[tuple[str, History]]:
        return [*self._runs.items(), *((n, run) for n, (_, run) in self._pins.items())]

    # ------------------------------------------------------------------------ settings

    @property
    def x(self) -> str:
        """What the x axis counts: steps, tokens or seconds. The cursor goes along."""
        return self._x

    @x.setter
    def x(self, kind: str) -> None:
        if kind not in KINDS:
            raise unknown_choice("x", str(kind), KINDS)
        if self._cursor is not None:
            found = (run.curves[LOSS] for _, run in self._everyone())
            points = [curve.nearest(self._cursor, self._x) for curve in found if curve]
            self._cursor = getattr(points[0], kind) if points else None
        self._x = kind

    @property
    def x_end(self) -> float:
        """Where the x axis ends, in its units: as far as the whole run will go."""
        kept = [run.curves[LOSS] for _, run in self._pins.values()]
        return self._horizon.of(self._x, list(self.curves(LOSS).values()), kept)

    @property
    def log_loss(self) -> bool:
        """Whether the loss axis is logarithmic."""
        return self._log_loss

    @log_loss.setter
    def log_loss(self, log: bool) -> None:
        if not isinstance(log, bool):
            raise ValueError(f"log_loss must be True or False, got {log!r}")
        self._log_loss = log

    @property
    def smoothing(self) -> float:
        """Weight of the past in the smoothed lines, from 0 (none) to 0.99."""
        return self._smoothing

    @smoothing.setter
    def smoothing(self, weight: float) -> None:
        if not 0 <= _finite("smoothing", weight) <= 0.99:
            raise ValueError(f"smoothing must be in [0, 0.99], got {weight}")
        self._smoothing = weight
        for _, run in self._everyone():
            run.smooth(weight)

    @property
    def cursor(self) -> float | None:
        """Where a line marks the read-out, in units of x; None for no line."""
        return self._cursor

    @cursor.setter
    def cursor(self, x: float | None) -> None:
        self._cursor = None if x is None else _finite("cursor", x)

    # ------------------------------------------------------------------------- drawing

    def plots(self) -> list[str]:
        """Return the names of the plots, in order."""
        return list(self._refreshed())

    def words(self) -> dict[str, str]:
        """Return what each plot shows, in sentences with numbers, by plot name."""
        return {
            name: plot.words()
            if isinstance(plot, Bars)
            else alt_text(name, plot.lines, self.loss_unit * (name == "loss"))
            for name, plot in self._refreshed().items()
        }

    def tiles(self, only: Collection[str] | None = None) -> dict[str, bytes]:
        """Draw a frame as one picture for each plot.

        Args:
            only: Names of the plots to draw, besides those that were drawn with other
                lines, such as another run's; by default all.

        Returns:
            Name to PNG: ``loss``, ``speed``, ``first_calls`` if wanted, then gauges by
            title. One that has not changed is the same object as before.
        """
        started, plots = time.perf_counter(), self._refreshed()
        due = plots if only is None else only
        wanted = {name: p for name, p in plots.items() if name in due or p.is_stale}
        drawn = {name: plot.png() for name, plot in wanted.items()}
        self.frame_seconds = time.perf_counter() - started
        return drawn

    def png(self) -> bytes:
        """Draw a frame as one PNG, two plots a row."""
        started = time.perf_counter()
        drawn = sheet_png(list(self._refreshed().values()))
        self.frame_seconds = time.perf_counter() - started
        return drawn

    def svg(self) -> str:
        """Draw the same picture as an SVG document."""
        return sheet_svg(list(self._refreshed().values()))

    def _refreshed(self) -> dict[str, Plot]:
        """Return the plots, told all that they have to show."""
        if not self._base:
            self._build()
        cast = [(name, run, len(run.curves)) for name, run in self._everyone()]
        if cast != self._cast:
            self._cast, self._plots = cast, self._assigned()
        end = self.x_end
        marks = [(self._place_of(step), text) for step, text in self.marks]
        for plot in self._plots.values():
            plot.x, plot.x_end, plot.log_x = self._x, end, self.log_x
            plot.cursor, plot.marks = self._cursor, marks
            if isinstance(plot, Bars):
                plot.values = dict.fromkeys(self.names, 0.0) | self.first_calls
        self._plots["loss"].log_y = self._log_loss
        return self._plots

    def _place_of(self, step: int) -> float:
        point = max(self.curves(LOSS).values(), key=len).nearest(step)
        return step if point is None or self._x == "steps" else getattr(point, self._x)

    def _plot(self, name: str, text: str, **how: Any) -> Plot:
        return self._plots.get(name) or self._spare.pop(name, None) or Plot(text, **how)

    def _build(self) -> None:
        """Make the plots that are always there."""
        label = f"loss ({self.loss_unit})" if self.loss_unit else "loss"
        loss = self._plot("loss", label, falls=True, legend_inside=True)
        loss.label, loss.references, loss.mark_texts = label, self.references, True
        speed = self._plot("speed", "tokens / s", from_zero=True)
        self._base = {"loss": loss, "speed": speed}
        if self._shows_first_calls:
            self._base["first_calls"] = Bars("first call (s)")

    def _assigned(self) -> dict[str, Plot]:
        """Return the plots to be shown, with their lines."""
        plots = dict(self._base)
        for name, metric in (("loss", LOSS), ("speed", SPEED)):
            plots[name].lines = self._lines([metric], gauge=False)
        metrics = {name for _, run in self._everyone() for name in run.curves}
        kept = {name for _, run in self._pins.values() for name in run.curves}
        for run in self._runs.values():
            run.expect(kept)  # as it did: plots are laid out once
        metrics -= {LOSS, HELD_OUT, SPEED}
        for title, group in shown(self.gauges, metrics, self.max_gauges):
            while title in plots:
                title += " (metric)"
            plots[title] = self._plot(title, label_of(title, self.gauges))
            plots[title].lines = self._lines(group, gauge=True)
        return plots

    def _lines(self, metrics: list[str], gauge: bool) -> list[Line]:
        """Colour and dash say which run or, if metrics share a plot, which metric."""
        several, shared, pins = len(self.names) > 1, len(metrics) > 1, self._pins
        lines = []
        for number, (name, run) in enumerate(self._everyone()):
            kept = name in pins
            slot = pins[name][0] if kept else number
            own = name or ("this run" if pins and not shared else "")
            for index, metric in enumerate(metrics):
                hue = index if shared else slot + kept * max(2, len(self.names))
                dash = PIN_DASHES[slot] if kept else DASHES[[index, slot][several] % 4]
                style: dict[str, Any] = {"colour": COLOURS[hue % len(COLOURS)]}
                which = metric.replace("_", " ") if shared else ""
                label = own if kept else ", ".join(filter(None, [own, which]))
                label = "" if metric == SPEED and not pins else label  # as beside it
                style["marker"] = MARKERS[index % len(MARKERS) * shared]
                style |= {"kept": kept, "exact": gauge}
                if (curve := run.curves.get(metric)) is not None:
                    lines.append(Line(curve, label=label, dash=dash, **style))
                if (dots := run.curves.get(f"eval_{metric}")) is not None:
                    if not (name or shared):
                        style["colour"] = COLOURS[1]
                    words = [] if kept else [name, which, "evaluation"]
                    label = ", ".join(filter(None, words))
                    lines.append(Line(dots, label=label, dots=True, **style))
        return lines


def _finite(name: str, value: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return value
