"""The directive ``recorded``: a figure whose slider moves through recorded runs.

    ```{recorded} schedules
    ```

reads ``book/recorded/schedules.json``, which ``python book/record.py schedules`` has
made from real runs, and draws all of them with matplotlib into one picture. What
belongs to another position is hidden; a few lines of JavaScript show one at a time.
Without JavaScript the figure's first choice shows.
"""

import html
import io
import json
import math
from pathlib import Path
import re
from typing import Any

from docutils import nodes
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = Path(__file__).parents[1] / "recorded"
INK = "#7d8591"  # becomes the colour of the page's text
LOOKS = [
    {"color": colour, "linestyle": dashes}
    for colour, dashes in {
        "#2b8cd6": "-",
        "#d97706": "--",
        "#1a9e77": ":",
        "#c75bb0": "-.",
    }.items()
]
FEW = 12  # points of a curve that are marked one by one
MARKS = "lmx-marks-"  # begins the names of what is drawn for one position
WIDE = 50  # letters of a legend, with its lines, that fit beside each other
# A page holds many marks: what matplotlib writes and nobody sees is left out.
NEEDLESS = {
    r"<metadata>.*?</metadata>": "",
    r'\bid="(?![mp][0-9a-f]{10}")[^"]*"': "",
    r'<path d="[^"]*" style="fill: none; opacity: 0"/>': "",
    r"font-family: [^;]*; ": "",  # the page's, by its style sheet
    r' transform="rotate\(-?0 [^)]*\)"': "",
    r"\s+": " ",
    r" ?(<|/?>) ?": r"\1",
}


def load(name: str) -> dict[str, Any]:
    """Read what was recorded under a name."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def limits(plot: dict[str, Any]) -> tuple[float, float]:
    """The range of a plot's values, the same at all positions of the knob."""
    values = [y for runs in plot["series"].values() for run in runs for y in run["y"]]
    values += list(plot.get("references", {}).values())
    low, high = plot.get("limits") or (min(values), max(values))
    if plot.get("scale") == "log":
        room = (high / low) ** 0.05
        return low / room, high * room
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def draw_runs(axes: Axes, plot: dict[str, Any]) -> None:
    """Draw the curves of all runs; the page shows those of one position."""
    runs_of_all = list(plot["series"].values())
    for runs, look in zip(runs_of_all, LOOKS, strict=False):
        for at, run in enumerate(runs):
            marker = "o" if len(run["x"]) <= FEW else None
            look_of_run = look | {"marker": marker, "gid": f"{MARKS}{at}"}
            axes.plot(run["x"], run["y"], linewidth=1.6, markersize=4, **look_of_run)
    xs = [x for runs in runs_of_all for run in runs for x in run["x"]]
    room = 0.03 * (max(xs) - min(xs))
    axes.set(xlabel=plot["x"], xlim=(min(xs) - room, max(xs) + room))
    whole = min(xs).is_integer() and max(xs).is_integer()  # steps, and not seconds
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=whole))


def draw_across(axes: Axes, plot: dict[str, Any], record: dict[str, Any]) -> None:
    """Draw one number of every run over the knob; the page marks one position."""
    names = [f"{position:g}" for position in record["positions"]]
    for at in range(len(names)):
        axes.axvline(at, color=INK, linewidth=6, alpha=0.15, gid=f"{MARKS}{at}")
    for runs, look in zip(plot["series"].values(), LOOKS, strict=False):
        ys = [run["y"][0] for run in runs]
        axes.plot(ys, linewidth=1, marker="o", markersize=2.5, alpha=0.6, **look)
        for at, y in enumerate(ys):
            colour, gid = look["color"], f"{MARKS}{at}"
            axes.plot([at], [y], marker="o", markersize=7, color=colour, gid=gid)
    axes.set(xlabel=record["label"], xlim=(-0.4, len(names) - 0.6))
    axes.set_xticks(range(len(names)), names)


def set_y(axes: Axes, plot: dict[str, Any]) -> None:
    """Set the range and the scale of the values."""
    low, high = limits(plot)
    axes.set(ylabel=plot["y"], yscale=plot.get("scale", "linear"), ylim=(low, high))
    if plot.get("scale") == "log":
        steps = (1, 2, 5) if high / low < 1000 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def draw_legend(axes: Axes, plot: dict[str, Any]) -> None:
    """Name curves and references above the plot, where no curve runs through them."""
    entries = [
        (label, Line2D([], [], linewidth=1.6, **look))
        for label, look in zip(plot["series"], LOOKS, strict=False)
    ]
    for label, value in plot.get("references", {}).items():
        line = axes.axhline(value, color=INK, linewidth=1, linestyle=(0, (1, 2)))
        entries.append((label, line))
    if len(entries) == 1:
        return
    labels, lines = zip(*entries, strict=True)
    width = sum(len(label) + 6 for label in labels)  # in letters
    axes.legend(
        lines,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(entries) if width <= WIDE else math.ceil(len(entries) / 2),
        frameon=False,
        labelcolor=INK,
        fontsize=8,
        borderaxespad=0.2,
        borderpad=0,
        columnspacing=1.2,
        handlelength=2.4,
        handletextpad=0.5,
    )


def draw(record: dict[str, Any]) -> Figure:
    """Draw all positions into one picture: its plots, one under the other."""
    plots = record["plots"]
    figure = Figure(figsize=(4.1, 2.2 * len(plots) + 0.2), layout="constrained")
    found = figure.subplots(len(plots), 1, squeeze=False)[:, 0]
    for axes, plot in zip(found, plots, strict=True):
        if plot.get("across"):
            draw_across(axes, plot, record)
        else:
            draw_runs(axes, plot)
        set_y(axes, plot)
        draw_legend(axes, plot)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color(INK)
        axes.tick_params(which="both", colors=INK, labelsize=8)
        for text in (axes.xaxis.label, axes.yaxis.label):
            text.set(color=INK, size=9)
    figure.align_ylabels()
    return figure


def svg(figure: Figure, unique: str, alt: str, first: int) -> str:
    """Return a figure as an element whose words take the page's colour."""
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": unique}):
        figure.patch.set_alpha(0)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        figure.savefig(out, format="svg", metadata={"Date": None})
    whole = out.getvalue()
    element = whole[whole.index("<svg") :]
    element = re.sub(
        rf'\bid="{MARKS}(\d+)"', r'class="lmx-marks" data-at="\1" hidden', element
    )
    element = element.replace(f'data-at="{first}" hidden', f'data-at="{first}"')
    for pattern, instead in NEEDLESS.items():
        element = re.sub(pattern, instead, element, flags=re.S)
    # A tenth of a point will do, in the marks but not in the words between them.
    element = re.sub(
        r"<[^>]*>", lambda tag: re.sub(r"(\.\d)\d+", r"\1", tag[0]), element
    )
    element = element.replace(INK, "currentColor")
    # Marks that are used by name: the names of two figures must not be the same.
    element = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{unique}-", element)
    label = html.escape(alt, quote=True)
    return element.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def page(name: str, record: dict[str, Any]) -> str:
    """Return the figure as HTML."""
    first = record["first"]
    alts, words = [], []
    for at, position in enumerate(record["positions"]):
        said = html.escape(record["words"][at], quote=True)
        alts.append(f"{record['title']}, {record['label']} {position}")
        words.append(
            f'<div class="lmx-position" data-position="{html.escape(str(position))}" '
            f'data-alt="{html.escape(alts[at], quote=True)}"'
            f"{'' if at == first else ' hidden'}><p>{said}</p></div>"
        )
    made = record["made"]
    config = html.escape(json.dumps(made["settings"], indent=1))
    label = html.escape(record["label"])
    return (
        f'<figure class="lmx-recorded" id="recorded-{name}" data-name="{name}">'
        f'<label><span>{label}</span><input type="range" min="0" step="1" '
        f'max="{len(words) - 1}" value="{first}" aria-label="{label}">'
        f"<output>{html.escape(str(record['positions'][first]))}</output></label>"
        f"{svg(draw(record), name, alts[first], first)}{''.join(words)}"
        f"<figcaption>Recorded runs: <code>python book/record.py {name}</code> on "
        f"{html.escape(made['machine'])}, <time>{html.escape(made['date'])}</time>. "
        f"<details><summary>Settings of each run</summary><pre>{config}</pre></details>"
        "</figcaption></figure>"
    )


class Recorded(SphinxDirective):
    """Put one recorded figure into a page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read, draw, and note that the page depends on the file."""
        name = self.arguments[0]
        path = FOLDER / f"{name}.json"
        if not path.is_file():
            raise self.error(f"there is no {path}: run python book/record.py {name}")
        self.env.note_dependency(str(path))
        return [nodes.raw("", page(name, load(name)), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("recorded", Recorded)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
