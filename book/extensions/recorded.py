"""The directive ``recorded``: a figure whose slider moves through recorded runs.

    ```{recorded} warmup
    ```

reads ``book/recorded/warmup.json``, which ``python book/record.py warmup`` has made
from real runs, draws each position with matplotlib into the page, and leaves it to a
few lines of JavaScript to show one of them. Without JavaScript the first choice shows.
"""

import html
import io
import json
from pathlib import Path
import re
from typing import Any

from docutils import nodes
import matplotlib as mpl
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = Path(__file__).parents[1] / "recorded"
INK = "#7d8591"  # becomes the colour of the page's text
COLOURS = ("#2b8cd6", "#d97706", "#1a9e77", "#c75bb0")
DASHES = ("-", "--", ":", "-.")


def load(name: str) -> dict[str, Any]:
    """Read what was recorded under a name."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def limits(plot: dict[str, Any]) -> tuple[float, float]:
    """The range of a plot's values, the same at all positions of the knob."""
    values = [y for runs in plot["series"].values() for run in runs for y in run["y"]]
    values += list(plot.get("references", {}).values())
    low, high = plot.get("limits") or (min(values), max(values))
    if plot.get("scale") == "log":
        return low / 1.1, high * 1.1
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def draw(record: dict[str, Any], position: int) -> Figure:
    """Draw one position of the knob."""
    plots = record["plots"]
    figure = Figure(figsize=(4.6 * len(plots), 3.0), layout="constrained")
    found = figure.subplots(1, len(plots), squeeze=False)[0]
    for axes, plot in zip(found, plots, strict=True):
        for number, (label, runs) in enumerate(plot["series"].items()):
            run = runs[position]
            look = {"color": COLOURS[number], "linestyle": DASHES[number]}
            if len(run["x"]) == 1:
                look |= {"marker": "o"}
            axes.plot(run["x"], run["y"], label=label, linewidth=1.6, **look)
        for label, value in plot.get("references", {}).items():
            axes.axhline(value, color=INK, linewidth=1, linestyle=(0, (1, 2)))
            axes.annotate(
                label,
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 3),
                textcoords="offset points",
                ha="right",
                color=INK,
                size=8,
            )
        xs = [x for runs in plot["series"].values() for run in runs for x in run["x"]]
        axes.set(
            xlabel=plot["x"],
            ylabel=plot["y"],
            xlim=(min(xs), max(xs)) if max(xs) > min(xs) else None,
            yscale=plot.get("scale", "linear"),
            ylim=limits(plot),
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color(INK)
        axes.tick_params(which="both", colors=INK)
        for text in (axes.xaxis.label, axes.yaxis.label):
            text.set_color(INK)
        if len(plot["series"]) > 1:
            axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure


def svg(figure: Figure, unique: str, alt: str) -> str:
    """Return a figure as an element whose words take the page's colour."""
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": unique}):
        figure.patch.set_alpha(0)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        figure.savefig(out, format="svg", metadata={"Date": None})
    whole = out.getvalue()
    element = whole[whole.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.S)
    element = re.sub(r'\bid="(?!m|p)[^"]*"', "", element)
    element = element.replace(INK, "currentColor")
    # The same marks in every position: their names must not collide on the page.
    element = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{unique}-", element)
    label = html.escape(alt, quote=True)
    return element.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def page(name: str, record: dict[str, Any]) -> str:
    """Return the figure as HTML."""
    first = record["first"]
    pictures = []
    for number, position in enumerate(record["positions"]):
        words = record["words"][number]
        alt = f"{record['title']}, {record['label']} {position}: {words}"
        pictures.append(
            f'<div class="lmx-position" data-position="{html.escape(str(position))}"'
            f"{'' if number == first else ' hidden'}>"
            f"{svg(draw(record, number), f'{name}{number}', alt)}"
            f"<p>{html.escape(words)}</p></div>"
        )
    made = record["made"]
    config = html.escape(json.dumps(made["settings"], indent=1))
    label = html.escape(record["label"])
    return (
        f'<figure class="lmx-recorded" id="recorded-{name}" data-name="{name}">'
        f'<label><span>{label}</span><input type="range" min="0" step="1" '
        f'max="{len(pictures) - 1}" value="{first}" aria-label="{label}">'
        f"<output>{html.escape(str(record['positions'][first]))}</output></label>"
        f"{''.join(pictures)}"
        f"<figcaption>Recorded runs: <code>python book/record.py {name}</code> on "
        f"{html.escape(made['machine'])}, {html.escape(made['date'])}. "
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
