"""Buttons, sliders, a status line and a picture around a :class:`.Driver`."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
import html
import time
from typing import Any
import weakref

from IPython.display import Image, display
import ipywidgets as widgets
from lmxlab.lab.alt import alt_text
from lmxlab.lab.chart import COLOURS, WIDTH, Chart
from lmxlab.lab.driver import ACTIVE, Driver
from lmxlab.lab.elsewhere import Shown, advice
from lmxlab.lab.knobs import Knob, defaults
from lmxlab.lab.live import Pacer, in_notebook, picture_widget
from lmxlab.lab.page import page_widget
from lmxlab.lab.status import Announcer, silence, status_line
from lmxlab.lab.view import View

BUTTONS = {
    "start": ("Start", "play", "Start a run, or go on with a paused one"),
    "pause": ("Pause", "pause", "Hold the run; Start goes on"),
    "step": ("Step", "step-forward", "Do one training step, then hold"),
    "stop": ("Stop", "stop", "End the run"),
    "reset": ("Reset", "refresh", "End the run and begin again with a new model"),
}
WRONG, MESSAGE = COLOURS[1], "line-height:1.4;white-space:pre-line"
WHOLE_FRAMES = 2  # of a run: its axes, and what there is in each soon after
# Cell to the execution that made panels in it, and the panels.
_by_cell: "dict[str, tuple[int, weakref.WeakSet[Controls]]]" = {}


class Controls(Shown, Driver):
    """What every panel shows: buttons, knobs, progress, status and picture.

    Args:
        experiment: A function whose parameters, all with defaults, are the settings.
        knobs: The settings that the learner may turn.
        needed: Further names that must be settings.

    Attributes:
        settings (dict[str, Any]): Name to present value.
        total (int): Steps of the whole run; 0 until it is known.

    Raises:
        ValueError: If a knob is not a setting, or cannot show its default.
    """

    _chart: Chart  # a subclass makes one for each run, the first before this __init__

    def __init__(
        self,
        experiment: Callable[..., Any],
        knobs: Sequence[Knob],
        needed: Sequence[str] = (),
    ) -> None:
        """Build the widgets; the experiment is not called before Start."""
        super().__init__()
        self.experiment = experiment
        self.knobs = {knob.name: knob for knob in knobs}
        self.settings = defaults(experiment, [*self.knobs, *needed])
        self.total = 0
        self.buttons = {name: self._button(name) for name in BUTTONS}
        self.progress = widgets.FloatProgress(
            value=0.0, max=1.0, layout={"width": "240px", "height": "14px"}
        )
        self.status = widgets.HTML()
        self.status.add_class("lmx-line")
        self.message = widgets.HTML()
        self.announced = widgets.HTML()
        self.announced.add_class("lmx-announce")
        self._announcer = Announcer()
        self._words_pacer = Pacer(share=0.002, rate=0.2, savings=0.0)
        self._presses = 0
        self.view = View(lambda *turned: self.press("do", self._look, *turned))
        self.pictures = {"loss": _tile("loss")}
        self.gallery = widgets.Box(
            list(self.pictures.values()), layout={"flex_flow": "row wrap"}
        )
        self.gallery.add_class("lmx-plots")
        self._moving = False
        self._rotation = self._gauge = 0
        self.controls = {
            name: knob.widget(self.settings[name], self._on_change(name))
            for name, knob in self.knobs.items()
        }
        self.box = self._layout()
        _replace_panel_of_this_cell(self)
        self._refresh()
        self._draw()

    def _png(self) -> bytes:
        return self._chart.png()

    @abstractmethod
    def describe(self) -> str:
        """Return a line or two of plain text that say where the run stands."""

    def _change_live(self, name: str, value: Any) -> None:
        """Let a live knob act on the running model.

        Raises:
            ValueError: If the value will not do; the run goes on as it was.
        """
        raise ValueError(f"{name} takes effect at Reset")

    def _numbers(self) -> dict[str, str]:
        """Return what the status line says, name to text."""
        return {}

    def _data(self) -> dict[str, Any]:
        """Return more data attributes of the status line."""
        return {}

    # -------------------------------------------------------------------- synchronous

    def _run_now(self, settings: dict[str, Any], enough: Callable[[], bool]) -> None:
        """Run in this cell until the end, or until there is enough."""
        unknown = sorted(set(settings) - set(self.settings))
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is not a setting of this experiment; these are: "
                f"{', '.join(self.settings)}"
            )
        self.halt()
        self._reset()
        self._task = None
        before = dict(self.settings)
        self._turn_all(settings)
        try:
            self.drain(enough)
        except Exception:
            if not self._last:  # not one step: the settings may be at fault
                self._turn_all(before)
            raise
        finally:  # what no knob shows must not stay behind, unseen, for the next Start
            hidden = before.keys() - self.controls.keys()
            self.settings |= {name: before[name] for name in hidden}

    def _turn_all(self, settings: dict[str, Any]) -> None:
        for name, value in settings.items():
            self.settings[name] = value
            if name in self.controls:
                self._turn_to(name, value)

    def show(self) -> None:
        """Display the run as it stands: a picture that needs no kernel, and words."""
        if in_notebook():
            alt = " ".join(self._chart.words().values())
            display(Image(self._png(), embed=True, alt=alt))
        print(self.describe())

    # ------------------------------------------------------------------------- knobs

    def _on_change(self, name: str) -> Callable[[Any], None]:
        return lambda value: None if self._moving else self.press("change", name, value)

    def _change(self, name: str, value: Any) -> None:
        before, self.settings[name] = self.settings[name], value
        if value == before or self.state not in ACTIVE:
            return
        if not self.knobs[name].is_live:
            self.say(f"{self.knobs[name].words} = {value} takes effect at Reset.")
            return
        try:
            self._change_live(name, value)
        except (TypeError, ValueError):
            self.settings[name] = before
            self._turn_to(name, before)
            raise

    def _turn_to(self, name: str, value: Any) -> None:
        """Let a knob show a value that nobody asked for by turning it."""
        self._moving = True
        try:
            self.knobs[name].move(self.controls[name], value)
        finally:
            self._moving = False

    # ------------------------------------------------------------------- what it shows

    def _layout(self) -> widgets.VBox:
        row = {"flex_flow": "row wrap", "align_items": "center"}
        buttons = widgets.Box(list(self.buttons.values()), layout=row)
        buttons.add_class("lmx-buttons")
        silent = widgets.HTML(silence(advice()))
        silent.add_class("lmx-silence")
        groups = []
        for live, words in ((True, "at once"), (False, "at Reset")):
            members = [
                control
                for name, control in self.controls.items()
                if self.knobs[name].is_live is live
            ]
            if members:
                caption = widgets.HTML(f"<small>These act <b>{words}</b>:</small>")
                fits = {"max_width": "100%"}
                groups.append(widgets.VBox([caption, *members], layout=fits))
        parts = [
            buttons,
            widgets.Box(groups, layout={**row, "align_items": "flex-start"}),
            widgets.Box([self.progress, self.status], layout=row),
            self.message,
            silent,
            *self._above(),
            self.view.box,
            self.gallery,
            *self._more(),
            self.announced,
            page_widget(),
        ]
        box = widgets.VBox(parts)
        box.add_class("lmx-lab")
        box.add_class(f"lmx-{type(self).__name__.lower()}")
        return box

    def _reset(self) -> None:
        super()._reset()
        self.message.value = ""

    def _above(self) -> list[widgets.Widget]:
        """Return what else belongs above the plots."""
        return []

    def _more(self) -> list[widgets.Widget]:
        """Return what else belongs below the plots."""
        return []

    def _draw(self) -> None:
        plots = self._chart.plots()
        for name, png in self._chart.tiles(self._due_now(plots)).items():
            if name not in self.pictures:
                self.pictures[name] = _tile(name)
            if self.pictures[name].value is not png:  # an unchanged tile stays
                self.pictures[name].value = png
        shown = tuple(self.pictures[name] for name in plots if name in self.pictures)
        if self.gallery.children != shown:
            self.gallery.children = shown
        self._say_pictures()
        if self._chart.cursor is not None:
            self._read()

    def _say_pictures(self) -> None:
        """Let the pictures' words say what they show; while it runs, now and then."""
        if self.state == "running" and not self._words_pacer.due():
            return
        started = time.perf_counter()
        for name, words in self._chart.words().items():
            if name in self.pictures:  # a trait that stays as it is sends nothing
                self.pictures[name].tooltip = words
        self._words_pacer.drew(time.perf_counter() - started)

    def _due_now(self, plots: list[str]) -> list[str]:
        """While it runs, a frame renews one plot: of six, the loss two, speed one."""
        is_whole = all(name in self.pictures for name in plots)
        if self.state != "running" or not is_whole or len(plots) < 2:
            return plots
        (loss, *others), place = plots, self._rotation % 6
        self._rotation += 1
        if self._rotation <= 0:
            return plots
        if place in (0, 3):
            return [loss]
        if place == 1 or len(others) == 1:
            return [others[0]]
        self._gauge += 1
        return [others[1 + self._gauge % (len(others) - 1)]]

    # ------------------------------------------------------------------- how it is seen

    def _new_chart(self, *args: Any, **kwargs: Any) -> Chart:
        """Make a chart that is looked at as the one before was."""
        chart = Chart(*args, like=self._chart, **kwargs)
        self._rotation = -WHOLE_FRAMES
        for name in ("x", "log_loss", "smoothing"):
            setattr(chart, name, self.view.controls[name].value)
        self.view.controls["cursor"].value = 0.0
        self.view.read("", {})
        return chart

    def _look(self, name: str, value: Any) -> None:
        if name != "cursor":
            setattr(self._chart, name, value)
        share = self.view.controls["cursor"].value
        self._chart.cursor = share * self._chart.x_end if share else None
        self._read()
        self._draw()
        if self.view.text:
            self.announce(self.view.text)

    def _read(self) -> None:
        at = self._chart.cursor
        values = {} if at is None else self._chart.read(at)
        self.view.read(f"{self._chart.x} {at or 0:,.4g}", values)

    def __repr__(self) -> str:
        """Say what this is, for front ends without widgets."""
        return f"{type(self).__name__} ({self.state}). {self.describe()}"

    def _button(self, name: str) -> widgets.Button:
        words, icon, tooltip = BUTTONS[name]
        button = widgets.Button(
            description=words, icon=icon, tooltip=tooltip, layout={"width": "92px"}
        )
        button.add_class(f"lmx-{name}")
        button.on_click(lambda _: self._clicked(name))
        return button

    def _clicked(self, name: str) -> None:
        self._presses += 1
        self.press(name)

    def announce(self, text: str) -> None:
        """Let a screen reader hear a sentence, when it has finished the last one.

        Args:
            text: Plain text.
        """
        self.announced.value = html.escape(text)

    def say(self, text: str, role: str = "status") -> None:
        """Show a sentence under the buttons.

        Args:
            text: Plain text.
            role: ``status``, or ``alert`` for an error.
        """
        # An alert is heard at once, by its role; all else by the page's own region.
        alert = role == "alert"
        sign = f'<b style="color:{WRONG}">&#9888;</b> ' if alert else ""
        self.message.value = (
            f'<div class="lmx-message" role="{role}" style="{MESSAGE}">{sign}'
            f"{html.escape(text)}</div>"
        )
        if not alert:
            self.announce(text)

    def _refresh(self) -> None:
        """Bring buttons, progress and status line up to the kernel's truth."""
        state, step = self.state, self._last.get("step", 0)
        allowed = {
            "start": state != "running",
            "pause": state == "running",
            "step": state != "running",
            "stop": state in ACTIVE,
            "reset": True,
        }
        # Enabled first: one that disables itself hands its focus on to another.
        for name in sorted(BUTTONS, key=lambda name: not allowed[name]):
            button = self.buttons[name]
            if button.disabled is allowed[name]:
                button.disabled = not allowed[name]
        self.progress.value = min(1.0, step / max(1, self.total))
        numbers = self._numbers()
        if state in ACTIVE and step > 1:  # the first call says nothing about the rest
            left = self._busy / step * max(0, self.total - step)
            numbers["ETA"] = f"{left:.0f} s"
        data = {
            "step": step,
            "lr": self._last.get("learning_rate", ""),
            "loss": self._last.get("loss", ""),
            **self._data(),
        }
        # The line changes with each click, also where nothing else does: an answer.
        line = status_line(state, data, numbers, self.total)
        self.status.value = f"<!--{self._presses}-->{line}"
        heard = {name: numbers[name] for name in ("loss", "ETA") if name in numbers}
        said = ", ".join(f"{name} {value}" for name, value in heard.items())
        words = self._announcer.words(state, step, self.total, said)
        if words is not None:
            self.announce(words)


def _tile(name: str) -> widgets.Image:
    kind = "lmx-plot" if name == "loss" else "lmx-gauge"
    return picture_widget(alt_text(name, []), kind, WIDTH // 2)


def _replace_panel_of_this_cell(panel: Controls) -> None:
    """Stop the panels that the same cell made when it ran before."""
    if not in_notebook():
        return
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    cell = shell.get_parent().get("metadata", {}).get("cellId")
    if cell is None:
        return
    execution, panels = _by_cell.get(cell, (None, weakref.WeakSet()))
    if execution != shell.execution_count:
        for earlier in panels:
            earlier._act("stop")
        panels = weakref.WeakSet()
        _by_cell[cell] = shell.execution_count, panels
    panels.add(panel)
