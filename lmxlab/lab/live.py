"""Drawing while training runs, without slowing it down.

Frames take 0.8% of the time, which with all else that a panel does is less
than 3% of the throughput, once plots are laid out; but a frame comes every second and
a half, and there are four a second at the most.
"""

from collections.abc import Callable
from pathlib import Path
import time
from typing import Any

from IPython.display import display
import ipywidgets as widgets
from lmxlab.lab.chart import WIDTH, Chart
from lmxlab.training.callbacks import Callback
from lmxlab.training.config import TrainConfig
from lmxlab.training.loss import UNIT
from lmxlab.training.record import Record
from traitlets import Unicode


def both_plots(loss_unit: str) -> str:
    """Return a sentence: what a picture of loss and throughput shows.

    Args:
        loss_unit: What the loss is counted in; empty if that is not known.

    Example:
        >>> both_plots("nats")
        'Two plots against training steps: loss in nats, and tokens per second.'
    """
    loss = f"loss in {loss_unit}" if loss_unit else "loss"
    return f"Two plots against training steps: {loss}, and tokens per second."


class Pacer:
    """Decides when the next frame is due.

    Time for drawing is saved up, and spent by frames. A few seconds' savings are there
    from the start, because the first frames cost most and are waited for most.

    Args:
        share: Share of the time that frames may take.
        rate: Frames per second at the most.
        savings: Seconds of drawing to begin with; no more than that is saved up.
        patience: Seconds after which a frame is due in any case: a picture that stands
            still looks like a run that does.
        clock: Returns the time in seconds; by default the system's.

    Example:
        >>> pacer = Pacer(share=0.5, rate=1000.0, savings=0.0)
        >>> pacer.due(now=1.0)
        True
        >>> pacer.drew(0.2, now=1.2)
        >>> pacer.due(now=1.3), pacer.due(now=1.4)
        (False, True)
    """

    def __init__(
        self,
        share: float = 0.008,
        rate: float = 4.0,
        savings: float = 0.15,
        patience: float = 1.5,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Let the first frame be due at once."""
        self.clock = clock
        self.share = share
        self.rate = rate
        self.savings = savings
        self.patience = patience
        self._saved = savings
        self._then: float | None = None
        self._next = 0.0

    def due(self, now: float | None = None) -> bool:
        """Return whether it is time for a frame.

        Args:
            now: The time in seconds, for tests; the clock's by default.
        """
        return (self._now() if now is None else now) >= self._next

    def _now(self) -> float:
        return time.perf_counter() if self.clock is None else self.clock()

    def drew(self, seconds: float, now: float | None = None) -> None:
        """Note what a frame cost.

        Args:
            seconds: Seconds from asking for it to having sent it.
            now: The time when it was sent, for tests; the clock's by default.
        """
        now = self._now() if now is None else now
        if self._then is not None:
            earned = self.share * (now - self._then)
            self._saved = min(self.savings, self._saved + earned)
        else:  # the first frame: what it took passes from here on
            self._saved += self.share * seconds
        self._then = now
        self._saved -= seconds
        wait = min(self.patience, -self._saved / self.share)
        self._next = now + max(1 / self.rate, wait)


class _Picture(widgets.Image):  # type: ignore[misc]
    """An image with a tooltip: the ``title`` that names it to a screen reader.

    The front end (ipywidgets 8.1) reads ``description`` when it sets a tooltip. An
    Image has none, and an error would take the picture's place.
    """

    description = Unicode("").tag(sync=True)


def picture_widget(
    alt: str, kind: str = "lmx-plot", width: int = WIDTH
) -> widgets.Image:
    """Return an empty image that frames are put into.

    Args:
        alt: What it shows, for those who cannot see it.
        kind: Its CSS class.
        width: Width in pixels, where there is room.

    Returns:
        The widget.
    """
    fits = {"width": "calc(100% - 4px)", "max_width": f"{width}px"}  # with its margins
    image = _Picture(format="png", tooltip=alt, layout=fits)
    image.add_class(kind)
    return image


class LivePlot(Callback):
    """Draws loss and throughput while ``Trainer.train`` runs in a cell.

    Args:
        references: Horizontal lines in the loss plot, label to value.
        share: Share of the time that drawing may take.
        loss_unit: What the loss is counted in; empty if that is not known.

    Attributes:
        widget (ipywidgets.Image): The picture, shown when training begins.
        frames (int): Frames drawn so far.
        draw_seconds (float): Seconds that they cost in all.
        pacer (Pacer): What spaces the frames; a new one for each run.

    Example:
        >>> plot = LivePlot()
        >>> plot.on_train_begin(TrainConfig(max_steps=2))
        >>> record = {"step": 1, "loss": 3.0, "tokens": 8, "step_seconds": 0.1}
        >>> plot.on_step_end(1, record)
        >>> plot.on_train_end([])
        >>> plot.frames
        2
    """

    def __init__(
        self,
        references: dict[str, float] | None = None,
        share: float = 0.008,
        loss_unit: str = UNIT,
    ) -> None:
        """Show nothing before training begins."""
        self.references = references
        self.widget = picture_widget(both_plots(loss_unit))
        self._unit = loss_unit
        self.frames = 0
        self.draw_seconds = 0.0
        self._share = share
        self._chart: Chart | None = None
        self.pacer = Pacer(share)

    def on_train_begin(self, config: TrainConfig) -> None:
        """Start an empty picture as wide as the run."""
        look: dict[str, Any] = {"references": self.references, "loss_unit": self._unit}
        self._chart = Chart(config.max_steps, max_gauges=0, **look)
        self.pacer = Pacer(self._share)
        if in_notebook():
            display(self.widget)

    def on_step_end(self, step: int, metrics: Record) -> None:
        """Add the step, and draw if a frame is due."""
        if self._chart is not None:
            self._chart.add(metrics)
            if self.pacer.due():
                self._draw()

    def on_train_end(self, history: list[Record]) -> None:
        """Draw the last frame, whatever it costs."""
        self._draw()

    def save(self, path: str | Path) -> Path:
        """Write the picture as it is to a PNG file.

        Args:
            path: The file; one that is there is replaced.

        Returns:
            The path.

        Raises:
            ValueError: If nothing has been drawn yet.
        """
        if not self.widget.value:
            raise ValueError("there is no picture yet; train with this callback first")
        Path(path).write_bytes(self.widget.value)
        return Path(path)

    def _draw(self) -> None:
        if self._chart is None:
            return
        started = time.perf_counter()
        self.widget.value = self._chart.png()
        seconds = time.perf_counter() - started
        self.frames += 1
        self.draw_seconds += seconds
        self.pacer.drew(seconds)


def in_notebook() -> bool:
    """Whether a front end is there that can show widgets.

    Example:
        >>> in_notebook()
        False
    """
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
