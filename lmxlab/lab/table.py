"""Kept runs as a table: sort, overlay, rename, remove, export, copy as code.

Core widgets only: every widget manager shows it. A row's numbers are one piece of HTML.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
import html
from typing import Any

import ipywidgets as widgets
from lmxlab.lab.elsewhere import Shown
from lmxlab.lab.kept import KeptRun
from lmxlab.lab.page import alone, wide
from lmxlab.lab.runs import RunStore

# Column: its words, its unit, how a number is written.
COLUMNS: dict[str, tuple[str, str, Callable[[Any], str]]] = {
    "loss": ("final loss", "", "{:.4f}".format),
    "eval_loss": ("evaluation loss", "", "{:.4f}".format),
    "tokens_per_second": ("tokens/s", "median", "{:,.0f}".format),
    "peak_memory": ("peak memory", "MiB", "{:,.0f}".format),
    "seconds": ("seconds", "training", "{:,.1f}".format),
    "steps": ("steps", "", "{:,}".format),
    "traces": ("traces", "", "{:,}".format),
}
WIDTHS = (60, 60, 74, 68, 60, 58, 50, 44)  # the first is the state's
EXPORTS = {
    "csv": "every record of the runs as a table",
    "json": "the runs with settings and records",
    "png": "the plot as pixels",
    "svg": "the plot as lines that scale",
}
GRID = (
    f"display:grid;grid-template-columns:{' '.join(map(wide, WIDTHS))};column-gap:5px;"
    "text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap"
)
# For screen readers, who do not see which column a number stands in.
UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"
_WIDE = {"flex": "0 0 auto"}
# Overlay, name, and two buttons come first, where a narrow page shows them: widths in
# pixels of letters of 13, and what stands above them.
FIRST = {"overlay": 54, "name": 104, "code": 54, "remove": 76}
MARGIN = 4  # of a widget, left and right together


class RunTable(Shown):
    """A table of runs.

    Each change is made in the store, if there is one; then its callback is called.

    Args:
        source: The store whose runs are shown, or the runs themselves.
        on_pin: Called with a run and whether it is to be laid over the plot.
        on_remove: Called with a run that was removed.
        on_rename: Called with a run and its new name.
        on_export: Called with ``csv``, ``json``, ``png`` or ``svg`` and the pinned
            runs, or all if none is pinned; may return a sentence to be shown. Without
            it there are no export buttons.
        on_code: Called with a run; returns its script, which is shown to be copied. By
            default :meth:`lmxlab.lab.kept.KeptRun.script`.
        exports: The kinds of export that have a button; all four by default.
        experiment: Name of the only experiment whose runs are shown; None for all.

    Attributes:
        box (ipywidgets.VBox): The widget.
        colours (Mapping[str, str]): Run ID to its curve's colour in CSS, which is
            shown beside its numbers.

    Example:
        >>> from lmxlab.training.config import TrainConfig
        >>> store = RunStore("off")
        >>> run = store.begin("toy", {}, TrainConfig())
        >>> table = RunTable(store)
        >>> table.rows[run.id].pin.value = True
        >>> run.pinned
        True
    """

    def __init__(
        self,
        source: RunStore | Sequence[KeptRun],
        on_pin: Callable[[KeptRun, bool], Any] | None = None,
        on_remove: Callable[[KeptRun], Any] | None = None,
        on_rename: Callable[[KeptRun, str], Any] | None = None,
        on_export: Callable[[str, list[KeptRun]], str | None] | None = None,
        on_code: Callable[[KeptRun], str | None] | None = None,
        exports: Sequence[str] = tuple(EXPORTS),
        experiment: str | None = None,
    ) -> None:
        """Build the widgets and show the runs."""
        self.source, self.experiment = source, experiment
        self.colours: Mapping[str, str] = {}
        self.rows: dict[str, Row] = {}
        self._told = {"pin": on_pin, "remove": on_remove, "rename": on_rename}
        self._on_export, self._on_code = on_export, on_code
        self._shown: Any = None
        others = [(about[0], key) for key, about in COLUMNS.items()]
        self.sort = widgets.Dropdown(
            options=[("when it began", ""), ("name", "name"), *others], value="",
            description="Sort by", tooltip="Sort the runs by",
            style={"description_width": "52px"}, layout={"width": "210px"},
        )  # fmt: skip
        self.descending = widgets.ToggleButton(
            layout={"width": "116px"}, tooltip="Turn the order round"
        )
        self.exports = {kind: self._export_button(kind) for kind in exports}
        self.message = widgets.HTML()
        self.code = widgets.Textarea(
            tooltip="A script that does the run again: select all, and copy it",
            layout={"width": "calc(100% - 4px)", "height": "220px", "display": "none"},
        )
        self._head = widgets.HTML()
        self._body = widgets.VBox(layout={"min_width": "max-content"})
        self.box = self._layout()
        for control in (self.sort, self.descending):
            control.observe(lambda _: self.update(), names="value")
        self.update()

    def runs(self) -> list[KeptRun]:
        """Return the runs in the order in which they are shown."""
        kept = self.source
        if isinstance(kept, RunStore):
            runs = kept.runs(self.experiment)
        else:
            runs = list(kept)
        key, descending = self.sort.value, bool(self.descending.value)
        if not key:
            return runs[::-1] if descending else runs
        if key == "name":
            return sorted(runs, key=lambda r: r.name.casefold(), reverse=descending)
        values = {run.id: run.summary()[key] for run in runs}
        # NaN is equal to nothing, itself included; like None it goes to the end.
        known = [r for r in runs if values[r.id] is not None]
        known = [r for r in known if values[r.id] == values[r.id]]
        known.sort(key=lambda run: values[run.id], reverse=descending)
        return known + [run for run in runs if run not in known]

    def update(self, colours: Mapping[str, str] | None = None) -> bool:
        """Bring the table up to date.

        Args:
            colours: Run ID to the CSS colour of its curve, from now on.

        Returns:
            Whether anything had changed; if not, nothing was sent to the page.
        """
        if colours is not None:
            self.colours = dict(colours)
        runs = self.runs()
        content = [(r.id, r.name, r.pinned, self.numbers(r)) for r in runs]
        now = (content, self.sort.value, self.descending.value)
        if now == self._shown:
            return False
        self._shown = now
        self._say_order()
        for run, shown in zip(runs, content, strict=True):
            if run.id not in self.rows or self.rows[run.id].run is not run:
                self.rows[run.id] = Row(self, run)
            self.rows[run.id].update(shown)
        gone = self.rows.keys() - {run.id for run in runs}
        for name in gone:
            self.rows.pop(name).close()
        children = (self._head, *(self.rows[run.id].box for run in runs))
        if children != self._body.children:
            self._body.children = children
        return True

    def numbers(self, run: KeptRun) -> str:
        """Return a run's numbers as HTML.

        Args:
            run: One whose summary has the table's columns.
        """
        summary, cells = run.summary(), []
        for key, (words, unit, write) in COLUMNS.items():
            value = summary[key]
            text = "–" if value is None else write(value)
            words = f"{words} in {unit}" if unit == "MiB" else words
            heard = f'<span style="{UNSEEN}">{words} </span>'
            cells.append(f'<span title="{words}">{heard}{text}</span>')
        colour = html.escape(self.colours.get(run.id, "transparent"))
        state = html.escape(run.state)
        stripe = f"border-left:4px solid {colour};padding-left:4px"
        first = f'<span style="text-align:left;{stripe}">{state}</span>'
        return f'<div style="{GRID}">{first}{"".join(cells)}</div>'

    def act(self, what: str, run: KeptRun, *args: Any) -> None:
        """Change a run in the store, then call what the table was given for that.

        Args:
            what: ``pin``, ``rename`` or ``remove``.
            run: The run to change.
            *args: For ``pin`` True or False, for ``rename`` the new name.
        """
        for row in self.rows.values():
            row.arm(False)
        try:
            if isinstance(self.source, RunStore):
                getattr(self.source, what)(run, *args)
            told = self._told[what]
            if told is not None:
                told(run, *args)
        except (OSError, ValueError) as error:  # said; the table shows what is true
            self.say(str(error), "alert")
            self._shown = None
        self.update()

    def show_code(self, run: KeptRun) -> None:
        """Show a run's script, to be copied.

        Args:
            run: One that was kept with a recipe; else a sentence says why not.
        """
        try:
            text = run.script() if self._on_code is None else self._on_code(run)
        except ValueError as error:
            self.say(str(error), "alert")
            return
        if text is not None:
            self.code.value, self.code.layout.display = text, None
            self.say(f"This script does {run.name!r} again: copy it from below.")

    def say(self, text: str, role: str = "status") -> None:
        """Show a sentence above the table.

        Args:
            text: Plain text.
            role: ``status``, or ``alert`` for an error.
        """
        sign = "&#9888; " if role == "alert" else ""
        self.message.value = f'<div role="{role}">{sign}{html.escape(text)}</div>'

    def _export(self, kind: str) -> None:
        assert self._on_export is not None
        runs = self.runs()
        chosen = [run for run in runs if run.pinned] or runs
        try:
            text = self._on_export(kind, chosen)
        except (OSError, ValueError) as error:
            self.say(f"{kind.upper()} was not written: {error}", "alert")
            return
        if text is not None:
            self.say(text)

    def _export_button(self, kind: str) -> widgets.Button:
        if kind not in EXPORTS:
            raise ValueError(f"exports: {kind!r} is none of {', '.join(EXPORTS)}")
        button = widgets.Button(
            description=kind.upper(), icon="download", layout={"width": "76px"},
            tooltip=f"Export {EXPORTS[kind]}: the overlaid runs, or all if none is",
        )  # fmt: skip
        button.add_class(f"lmx-export-{kind}")
        button.on_click(lambda _: self._export(kind))
        return button

    def _layout(self) -> widgets.VBox:
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        buttons = list(self.exports.values()) if self._on_export else []
        tools = widgets.Box([self.sort, self.descending, *buttons], layout=wrap)
        scrolled = widgets.VBox(
            [self._body], layout={"overflow": "auto", "max_height": "320px"}
        )
        self.sort.add_class("lmx-sort")
        self.descending.add_class("lmx-sort-direction")
        self.code.add_class("lmx-code")
        fits = {"max_width": "100%"}
        box = widgets.VBox([tools, self.message, scrolled, self.code], layout=fits)
        box.add_class("lmx-runs")
        return box

    def _say_order(self) -> None:
        down = bool(self.descending.value)
        self.descending.description = "descending" if down else "ascending"
        self.descending.icon = "arrow-down" if down else "arrow-up"
        first = [
            f'<span style="flex:0 0 auto;width:calc({wide(width)} + {MARGIN}px)">'
            f"{words if words in ('overlay', 'name') else ''}</span>"
            for words, width in FIRST.items()
        ]
        cells = ['<span style="text-align:left">state</span>']
        for key, (words, unit, _) in COLUMNS.items():
            sign = (" &#9660;" if down else " &#9650;") * (key == self.sort.value)
            lines = f"{words}{sign}<br><small>{unit}</small>"
            cells.append(f'<span style="white-space:normal">{lines}</span>')
        self._head.value = (
            '<div style="display:flex;align-items:end;line-height:1.25;'
            f'font-weight:600">{"".join(first)}<div style="{GRID};align-items:end">'
            f"{''.join(cells)}</div></div>"
        )

    def _whole(self) -> widgets.Widget:
        return alone(self.box)

    def __repr__(self) -> str:
        """Write the table in plain text, for front ends without widgets."""
        lines = []
        for run in self.runs():
            summary = run.summary()
            parts = [f"{run.name} ({run.state})"]
            for key, (words, _, write) in COLUMNS.items():
                if summary[key] is not None:
                    parts.append(f"{words} {write(summary[key])}")
            lines.append(" | ".join(parts))
        return "\n".join(lines) or "no runs yet"


class Row:
    """One run's widgets.

    Args:
        table: The table that is told of each click.
        run: The run to show; an attribute too.

    Attributes:
        pin (ipywidgets.Checkbox): Whether the run's curve lies over the plot.
        name (ipywidgets.Text): The run's name, to be edited.
        numbers (ipywidgets.HTML): The run's summary.
        code (ipywidgets.Button): Shows the run's script.
        remove (ipywidgets.Button): Deletes the run, when clicked twice.
    """

    def __init__(self, table: RunTable, run: KeptRun) -> None:
        """Build them, empty."""
        self.table, self.run = table, run
        self.pin = widgets.Checkbox(
            indent=False, layout={**_WIDE, "width": wide(FIRST["overlay"])}
        )
        self.name = widgets.Text(
            continuous_update=False, layout={**_WIDE, "width": wide(FIRST["name"])}
        )
        self.numbers = widgets.HTML(layout=_WIDE)
        self.code = _button("Code", "lmx-run-code")
        self.remove = _button("Remove", "lmx-run-remove")
        self.pin.add_class("lmx-run-pin")
        self.name.add_class("lmx-run-name")
        parts = [self.pin, self.name, self.code, self.remove, self.numbers]
        self.box = widgets.HBox(parts, layout={"align_items": "center", **_WIDE})
        self.box.add_class("lmx-run-row")
        self._moving = False
        self._shown: tuple[str, str, bool, str] | None = None
        self.pin.observe(partial(self._changed, "pin"), names="value")
        self.name.observe(partial(self._changed, "rename"), names="value")
        self.code.on_click(lambda _: table.show_code(run))
        self.remove.on_click(lambda _: self._remove())

    def update(self, content: tuple[str, str, bool, str]) -> None:
        """Show the run as it is now.

        Args:
            content: Its ID, its name, whether it is pinned, its numbers as HTML.
        """
        run = self.run
        in_page = self.name.value, self.pin.value  # not so once the store refused it
        if content == self._shown and in_page == (run.name, run.pinned):
            return
        self._shown = content
        self._moving = True
        try:
            self.pin.value, self.name.value = run.pinned, run.name
        finally:
            self._moving = False
        self.numbers.value = content[-1]
        self.pin.tooltip = f"Lay {run.name} over the plot"
        self.name.tooltip = f"Name of {run.name}, to be edited"
        self.code.tooltip = f"Show a script that does {run.name} again"
        self.arm(bool(self.remove.button_style))

    def close(self) -> None:
        """Free the widgets; the run is gone."""
        for widget in (*self.box.children, self.box):
            widget.close()

    def _changed(self, what: str, change: dict[str, Any]) -> None:
        if not self._moving:
            self.table.act(what, self.run, change["new"])

    def arm(self, armed: bool) -> None:
        """Let the next click on Remove count, or no longer.

        Args:
            armed: Whether the next click deletes the run.
        """
        words = "again to confirm" if armed else "twice"
        self.remove.tooltip = f"Delete {self.run.name} and its files: click {words}"
        self.remove.description = "Sure?" if armed else "Remove"
        self.remove.button_style = "danger" if armed else ""

    def _remove(self) -> None:
        if self.remove.button_style:
            self.table.act("remove", self.run)
        else:
            self.arm(True)


def _button(words: str, kind: str) -> widgets.Button:
    layout = {**_WIDE, "width": wide(FIRST[words.lower()])}
    button = widgets.Button(description=words, layout=layout)
    button.add_class(kind)
    return button
