"""What a panel costs: the same run bare, and in a panel with everything on.

Everything is: the panel's task on an event loop, the run kept on the disk, plots of
loss, throughput and five gauges, a kept run laid over them, and the read-out. Both
runs go on in turns of a tenth of a second, so that a busy moment of the machine hits
both. Building the run, its first call and the last picture are not counted. Left out
on purpose: the front end, whose messages go out from another thread of the kernel.
"""

import asyncio
from collections.abc import Iterator
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
from lmxlab.training.record import Record
import mlx.core as mx
import mlx.nn as nn

KEPT = 60  # steps of the run that is laid over the other
TURN = 0.1  # seconds
SETTLING = 2.0  # seconds in which the plots are laid out


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
        ...     found = cost.compare(seconds=0.1, blocks=1)
        >>> sorted(found)
        ['frames_per_second', 'ratio', 'steps', 'throughput', 'throughput_greatest', \
'throughput_least']
    """

    def __init__(self, case: Case, folder: str) -> None:
        """Nothing is trained yet."""
        self.case = case
        self.steps = KEPT
        self._frames = 0
        self._bare_seconds = 0.0
        self._store = RunStore(folder)

    def experiment(self, learning_rate: float = 3e-3) -> Run:
        """Return the run: the case, with a loss that reports three metrics.

        With the gradient's length and the learning rate they make five gauges.

        Args:
            learning_rate: The peak, and the panel's knob.

        Returns:
            What the panel builds at Start and at Reset.
        """
        config = replace(settings(max_steps=self.steps), learning_rate=learning_rate)
        return Run(
            self.case.model(), config, self.case.batches(), loss_fn=_loss_with_metrics
        )

    def compare(self, seconds: float, blocks: int) -> dict[str, Any]:
        """Take turns, bare and in the panel, in a changing order.

        Args:
            seconds: Of each of the two in a block.
            blocks: A ratio is taken for each.

        Returns:
            ``ratio``: the share of the time that is spent in steps, panel to bare;
            ``throughput``: steps a second, panel to bare (the blocks' median, least
            and greatest), which says the same with a machine's noise in it; steps in
            the panel; and frames a second.
        """
        loop = asyncio.new_event_loop()  # run() would handle SIGINT; a kernel does not
        try:
            return loop.run_until_complete(self._compare(seconds, blocks))
        finally:
            loop.close()

    async def _compare(self, seconds: float, blocks: int) -> dict[str, Any]:
        lab = Panel(self.experiment, [Knob("learning_rate")], store=self._store)
        self._count_frames(lab)
        await _begin(lab)  # the one that is laid over the other
        await lab.wait()
        self._store.pin(self._store.runs()[-1])
        self.steps = 10**6
        run = self.experiment()
        bare = run.trainer().stream(run.train_data)
        try:
            await _begin(lab)
            lab.view.controls["cursor"].value = 0.4
            for pacer in (lab._frame_pacer, lab._status_pacer, lab._words_pacer):
                pacer.clock = lambda: time.perf_counter() - self._bare_seconds
            _records_for(bare, 0.2)
            await asyncio.sleep(SETTLING)
            return await self._in_turns(lab, bare, seconds, blocks)
        finally:
            bare.close()  # type: ignore[attr-defined]
            lab.press("stop")
            await lab.wait()

    async def _in_turns(
        self, lab: Panel, bare: Iterator[Any], seconds: float, blocks: int
    ) -> dict[str, Any]:
        ratios, frames, spent = [], self._frames, {"bare": 0.0, "panel": 0.0}
        in_steps, begun = {"bare": 0.0, "panel": 0.0}, len(_history(lab))
        for _ in range(blocks):
            done, took = {"bare": 0, "panel": 0}, {"bare": 0.0, "panel": 0.0}
            for order in timing.orders(list(done), max(1, round(seconds / TURN))):
                for name in order:
                    started, before = time.perf_counter(), len(_history(lab))
                    if name == "panel":
                        await asyncio.sleep(TURN)
                        records = _history(lab)[before:]
                    else:
                        records = _records_for(bare, TURN)
                    seconds_now = time.perf_counter() - started
                    self._bare_seconds += seconds_now if name == "bare" else 0.0
                    took[name] += seconds_now
                    done[name] += len(records)
                    in_steps[name] += sum(r["step_seconds"] for r in records)
            rate = {name: done[name] / took[name] for name in done}
            ratios.append(rate["panel"] / rate["bare"])
            spent = {name: spent[name] + took[name] for name in spent}
        share = {name: in_steps[name] / spent[name] for name in spent}
        return {
            "ratio": share["panel"] / share["bare"],
            "throughput": statistics.median(ratios),
            "throughput_least": min(ratios),
            "throughput_greatest": max(ratios),
            "steps": len(_history(lab)) - begun,
            "frames_per_second": (self._frames - frames) / spent["panel"],
        }

    def _count_frames(self, lab: Panel) -> None:
        draw = lab._draw

        def counted() -> None:
            self._frames += 1
            draw()

        lab._draw = counted  # type: ignore[method-assign]


async def _begin(lab: Panel) -> None:
    """Start a run; return after its first step."""
    lab.press("start")
    await asyncio.sleep(0)  # the press arrives
    while lab.state == "running" and not lab._last:
        await asyncio.sleep(0)


def _history(lab: Panel) -> list[Record]:
    assert lab.result is not None
    return lab.result.history


def _records_for(stream: Iterator[Record], seconds: float) -> list[Record]:
    until, records = time.perf_counter() + seconds, []
    while time.perf_counter() < until:
        records.append(next(stream))
    return records


def _loss_with_metrics(
    model: nn.Module, tokens: mx.array, targets: mx.array
) -> tuple[mx.array, dict[str, mx.array]]:
    loss = next_token_loss(model, tokens, targets)[0]
    return loss, {"kl": 0.1 * loss, "entropy": 0.9 * loss, "reward": -loss}
