"""The interactive part: live plots, panels, comparisons, predictions, exercises."""

from lmxlab.lab.compare import Compare, Comparison
from lmxlab.lab.elsewhere import prepare
from lmxlab.lab.knobs import Knob
from lmxlab.lab.live import LivePlot
from lmxlab.lab.panel import Panel, Result, Run
from lmxlab.lab.picture import picture
from lmxlab.lab.predict import Predict
from lmxlab.lab.runs import RunStore
from lmxlab.lab.samples import Samples
from lmxlab.lab.size import by_size

__all__ = [
    "Compare",
    "Comparison",
    "Knob",
    "LivePlot",
    "Panel",
    "Predict",
    "Result",
    "Run",
    "RunStore",
    "Samples",
    "by_size",
    "picture",
]

prepare()
