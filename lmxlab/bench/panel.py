"""What a panel costs: the same run bare, and in a panel with everything on.

Everything is: the panel's task on an event loop, the run kept on the disk, plots of
loss, throughput and five gauges, a kept run laid over them, and the read-out. Whole
runs are compared, from building the model to the last picture, first calls and laying
out the plots included, so a short run pays more. Left out on purpose: the front end,
whose messages go out from another thread of the kernel.
"""

import asyncio
from dataclasses import replace
import statistics
import time
from typing import Any

from lmxlab.bench import timing
from lmxlab.bench.cases import Case, settings
from lmxlab.lab.knobs import Knob
from lmxlab.lab.panel import Panel
from lmxlab.lab.run import Run
from lmxlab.lab.runs import RunStore
from lmxlab.training.loss import next_token_loss
import mlx.core as mx
import mlx.nn as nn

CALIBRATION = 60  # steps from which the length of a run is told


class PanelCost:
    """A panel over a case, and the same run without it.

    Args:
        case: What to train.
        folder: Where runs are kept.

    Example:
        >>> import tempfile
        >>> from lmxlab.bench.cases import CASES
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cost = PanelCost(CASES["story"], folder)
        ...     found = cost.compare(seconds=0.1, pairs=1)
        >>> sorted(found)[:3]
        ['bare_seconds', 'frames', 'panel_seconds']
    """

    def __init__(self, case: Case, folder: str) -> None:
        """Nothing is trained yet."""
        self.case = case
        self.steps = CALIBRATION
        self.frames = 0
        self._store = RunStore(folder)

    def experiment(self, learning_rate: float = 3e-3) -> Run:
        """Return the run: the case, with a loss that reports three metrics."""
        config = replace(settings(max_steps=self.steps), learning_rate=learning_rate)
        return Run(
            self.case.model(), config, self.case.batches(), loss_fn=_loss_with_metrics
        )

    def compare(self, seconds: float, pairs: int) -> dict[str, Any]:
        """Take turns, bare and in the panel, in a changing order.

        Args:
            seconds: Of a bare run, about.
            pairs: Turns of each.

        Returns:
            Seconds of both, the ratio of throughputs (the median of the pairs'), the
            least and the greatest, and frames a run.
        """
        loop = asyncio.new_event_loop()  # run() would handle SIGINT; a kernel does not
        try:
            return loop.run_until_complete(self._compare(seconds, pairs))
        finally:
            loop.close()

    async def _compare(self, seconds: float, pairs: int) -> dict[str, Any]:
        lab = Panel(self.experiment, [Knob("learning_rate")], store=self._store)
        self._count_frames(lab)
        self.steps = CALIBRATION
        await self._in_panel(lab)  # the one that is laid over the others
        self._store.pin(self._store.runs()[-1])
        self.steps = max(10, round(seconds / self._bare() * CALIBRATION))
        spent: dict[str, list[float]] = {"bare": [], "panel": []}
        drawn = self.frames
        for order in timing.orders(list(spent), pairs):
            for name in order:
                took = self._bare() if name == "bare" else await self._in_panel(lab)
                spent[name].append(took)
        both = zip(spent["bare"], spent["panel"], strict=True)
        ratios = [bare / panel for bare, panel in both]
        return {
            **{f"{name}_seconds": timing.summary(took) for name, took in spent.items()},
            "ratio": statistics.median(ratios),
            "ratio_least": min(ratios),
            "ratio_greatest": max(ratios),
            "steps": self.steps,
            "frames": (self.frames - drawn) / pairs,
        }

    def _bare(self) -> float:
        started = time.perf_counter()
        run = self.experiment()
        for _ in run.trainer().stream(run.train_data):
            pass
        return time.perf_counter() - started

    async def _in_panel(self, lab: Panel) -> float:
        started = time.perf_counter()
        lab.press("start")
        await asyncio.sleep(0)  # the press arrives
        while lab.state == "running" and not lab._last:
            await asyncio.sleep(0)
        lab.view.controls["cursor"].value = 0.4
        await lab.wait()
        return time.perf_counter() - started

    def _count_frames(self, lab: Panel) -> None:
        draw = lab._draw

        def counted() -> None:
            self.frames += 1
            draw()

        lab._draw = counted  # type: ignore[method-assign]


def _loss_with_metrics(
    model: nn.Module, tokens: mx.array, targets: mx.array
) -> tuple[mx.array, dict[str, mx.array]]:
    loss = next_token_loss(model, tokens, targets)[0]
    return loss, {"kl": 0.1 * loss, "entropy": 0.9 * loss, "reward": -loss}
