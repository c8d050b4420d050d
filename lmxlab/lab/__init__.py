"""The interactive part: live plots, panels, comparisons, predictions, exercises."""

from lmxlab.lab.compare import Compare, Comparison
from lmxlab.lab.knobs import Knob
from lmxlab.lab.live import LivePlot
from lmxlab.lab.panel import Panel, Result, Run
from lmxlab.lab.predict import Predict

__all__ = [
    "Compare",
    "Comparison",
    "Knob",
    "LivePlot",
    "Panel",
    "Predict",
    "Result",
    "Run",
]
