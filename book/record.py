"""Trains what the sliders of the book show, and keeps it small.

    python book/record.py                  # all figures, one after the other
    python book/record.py schedules        # one of them

Each figure has a knob with five to ten positions; each position is one real run (or a
pair), with the settings that made it written beside its curves in
``book/recorded/NAME.json``. Curves are thinned out to what a picture can show. The
sentence under a picture is made from the run's own numbers.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import datetime
import importlib
import json
from pathlib import Path
import pkgutil
import sys
from typing import Any

import lmxlab
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
POINTS = 90  # of a curve


@dataclass
class Position:
    """One position of a knob: what its run left.

    Args:
        curves: Plot to label to (x, y), two sequences of one length.
        words: A sentence with numbers of this run.
        settings: What made the run.
    """

    curves: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]]
    words: str
    settings: dict[str, Any]


@dataclass
class Recording:
    """A figure with a knob.

    Args:
        title: What the figure shows.
        label: The knob's name, with its unit.
        positions: The knob's values, five to ten.
        first: The position that shows first, counted from 0.
        axes: Plot to its axes: x and y (labels with units), ``scale``, ``limits`` and
            ``references`` (label to y). With ``across`` true a curve has one point, and
            the plot shows those of all positions over the knob.
        make: Trains one position.
    """

    title: str
    label: str
    positions: Sequence[Any]
    first: int
    axes: dict[str, dict[str, Any]]
    make: Callable[[Any], Position]


def thin(x: Sequence[float], y: Sequence[float]) -> dict[str, list[float]]:
    """Keep as many points as a picture shows, rounded to what it can show.

    The first and the last point are the run's own. Each point between them is the mean
    of its share of the curve, so noise is shown as it is seen on a screen.
    """
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    keep = np.isfinite(ys)
    xs, ys = xs[keep], ys[keep]
    if len(xs) > POINTS:
        parts = np.array_split(np.arange(1, len(xs) - 1), POINTS - 2)
        xs, ys = (
            np.array([v[0], *(v[part].mean() for part in parts), v[-1]])
            for v in (xs, ys)
        )
    return {
        "x": [float(f"{value:.5g}") for value in xs],
        "y": [float(f"{value:.4g}") for value in ys],
    }


def record(recording: Recording) -> dict[str, Any]:
    """Train every position, and return what the page needs."""
    made = []
    for position in recording.positions:
        made.append(recording.make(position))
        print(f"  {recording.label} {position}: {made[-1].words}", flush=True)
    plots = []
    for name, axes in recording.axes.items():
        labels = list(made[0].curves[name])
        plots.append(
            axes
            | {"series": {k: [thin(*m.curves[name][k]) for m in made] for k in labels}}
        )
    return {
        "title": recording.title,
        "label": recording.label,
        "positions": list(recording.positions),
        "first": recording.first,
        "plots": plots,
        "words": [position.words for position in made],
        "made": {
            "machine": f"{lmxlab.runtime.device_name()}, lmxlab {lmxlab.__version__}",
            "date": datetime.date.today().isoformat(),
            "settings": [position.settings for position in made],
        },
    }


def known() -> dict[str, Recording]:
    """Return the recordings of all topics, by name."""
    import topics

    found = {}
    for module in pkgutil.iter_modules(topics.__path__):
        name = module.name
        found[name] = importlib.import_module(f"topics.{name}").RECORDING
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Record what the command line names."""
    recordings = known()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(recordings)}")
    names = parser.parse_args(arguments).name or list(recordings)
    for name in names:
        if name not in recordings:
            parser.error(f"name: no {name!r}; there are {', '.join(recordings)}")
    for name in names:
        print(name, flush=True)
        path = HERE / "recorded" / f"{name}.json"
        path.write_text(json.dumps(record(recordings[name])) + "\n", encoding="utf-8")
        print(f"  {path} ({path.stat().st_size / 1024:.0f} kB)")


if __name__ == "__main__":
    main()
