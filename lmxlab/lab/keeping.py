"""The runs of a panel: kept as they train, laid over each other, exported."""

from collections.abc import Callable
import os
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from lmxlab.lab.chart import Chart
from lmxlab.lab.code import random_key, recipe
from lmxlab.lab.kept import KeptRun
from lmxlab.lab.picture import save_chart
from lmxlab.lab.records import to_csv, to_json
from lmxlab.lab.runs import RunStore
from lmxlab.lab.table import RunTable
from lmxlab.training.trainer import Trainer
import mlx.core as mx


class Keeper:
    """Keeps what a panel trains, and the table of it.

    Args:
        experiment: The function that the panel calls; runs are kept under its name.
        store: Where runs are kept.
        ask: ``ask(function, *args)`` calls it on the panel's loop.
        on_pin: Called on the loop with a run and whether it is to be overlaid.
        chart: Returns the present chart, for pictures.

    Attributes:
        run (KeptRun | None): The run that is being trained, or the last one.
        box (ipywidgets.Accordion): The folded table.

    Example:
        >>> store = RunStore("off")
        >>> call = lambda function, *args: function(*args)
        >>> keeper = Keeper(dict, store, call, print, lambda: Chart(1))
        >>> keeper.run is None
        True
    """

    def __init__(
        self,
        experiment: Callable[..., Any],
        store: RunStore,
        ask: Callable[..., None],
        on_pin: Callable[[KeptRun, bool], None],
        chart: Callable[[], Chart],
    ) -> None:
        """Show the runs of earlier sessions."""
        self.experiment = experiment
        self.name = _name_of(experiment)
        self.store = store
        self.run: KeptRun | None = None
        self._chart = chart
        self._random = 0
        self.table = RunTable(
            store,
            on_pin=lambda run, pinned: ask(on_pin, run, pinned),
            on_remove=lambda run: ask(on_pin, run, False),
            on_rename=lambda run, name: ask(on_pin, run, run.pinned),
            on_export=self._export,
            experiment=self.name,
        )
        self.box = widgets.Accordion([self.table.box], selected_index=None)
        self.box.set_title(0, "Runs: compare, export, copy as code")

    def about_to_build(self) -> None:
        """Note where MLX's generator stands, for an experiment without a seed."""
        self._random = random_key()
        mx.reset_peak_memory()

    def begin(self, settings: dict[str, Any], trainer: Trainer) -> None:
        """Begin to keep a run.

        Args:
            settings: What the experiment was called with.
            trainer: The trainer of the run that the experiment returned.
        """
        made = recipe(self.experiment, settings, self._random)
        self.run = self.store.begin(self.name, settings, trainer.config, recipe=made)
        self.table.update()

    def note(self, trainer: Trainer) -> None:
        """Take in the records that are new; cheap.

        Args:
            trainer: The trainer of the present run.
        """
        if self.run is not None and self.run.state == "running":
            peak = mx.get_peak_memory() / 2**20
            self.run.extend(
                trainer.history, traces=trainer.trace_count, peak_memory=peak
            )

    def change(self, step: int, name: str, value: Any) -> None:
        """Note that a live setting was turned.

        Args:
            step: Updates done before it acts.
            name: The setting's name.
            value: Its new value.
        """
        if self.run is not None:
            self.run.change(step, name, value)

    def finish(self, state: str) -> None:
        """Note how the run ended.

        Args:
            state: ``done``, ``stopped`` or ``failed``.
        """
        if self.run is not None and self.run.state == "running":
            self.run.finish(state)
            self.table.update()

    def take_off(self, run: KeptRun) -> None:
        """Note that a run is not overlaid after all.

        Args:
            run: One that was pinned but could not be drawn.
        """
        self.store.unpin(run)
        self.table.update()

    def pinned(self) -> list[KeptRun]:
        """Return the runs to be laid over the plots, those with steps."""
        runs = self.store.runs(self.name)
        return [run for run in runs if run.pinned and run.summary()["steps"]]

    def _export(self, kind: str, runs: list[KeptRun]) -> str:
        folder = self.store.folder or Path.cwd()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.{kind}"
        if kind == "csv":
            to_csv(runs, path)
        elif kind == "json":
            to_json(runs, path)
        else:
            save_chart(self._chart(), path)
        return f"Written: {path}"


def _name_of(experiment: Callable[..., Any]) -> str:
    """Call it after the notebook, if that is known: all experiments have one name."""
    notebook = Path(os.environ.get("JPY_SESSION_NAME", "")).stem
    return notebook or getattr(experiment, "__name__", type(experiment).__name__)
