"""How the plots are looked at: axes, smoothing, exact values; the run goes on."""

from collections.abc import Callable, Mapping
import html
from typing import Any

import ipywidgets as widgets

X_AXES = ("steps", "tokens", "seconds")
_ROW = {"flex_flow": "row wrap", "align_items": "center"}


class View:
    """Controls for the plots of a panel.

    Args:
        on_change: Called with the name and the new value when one is turned: ``x``,
            ``log_loss``, ``smoothing`` or ``cursor``, as :class:`Chart
            <lmxlab.lab.chart.Chart>` names them.

    Attributes:
        box (ipywidgets.Box): The row of controls, of class ``lmx-view``.
        controls (dict[str, ipywidgets.Widget]): Name to widget.
        text (str): The exact values that are shown, as a sentence; empty if none are.

    Example:
        >>> seen = []
        >>> view = View(lambda name, value: seen.append((name, value)))
        >>> view.controls["x"].value = "tokens"
        >>> seen
        [('x', 'tokens')]
    """

    def __init__(self, on_change: Callable[[str, Any], None]) -> None:
        """Build the widgets."""
        narrow = {"width": "260px", "max_width": "100%"}
        described = {"description_width": "76px"}
        self.controls: dict[str, widgets.Widget] = {
            "x": widgets.Dropdown(
                options=list(X_AXES), value="steps", description="x axis",
                tooltip="What the plots are drawn against",
                layout={"width": "150px"}, style={"description_width": "48px"},
            ),
            "log_loss": widgets.ToggleButton(
                value=False, description="log loss", layout={"width": "86px"},
                tooltip="Draw the loss on a logarithmic axis",
            ),
            "smoothing": widgets.FloatSlider(
                0.8, min=0.0, max=0.99, step=0.01, description="smoothing",
                tooltip="Weight of the past in the bold line; 0 draws every step",
                readout_format=".2f", layout=narrow, style=described,
            ),
            "cursor": widgets.FloatSlider(
                0.0, min=0.0, max=1.0, step=0.005, description="read at",
                tooltip="Move along the x axis to read exact values; 0 hides the line",
                readout=False, layout=narrow, style=described,
            ),
        }  # fmt: skip
        for name, control in self.controls.items():
            control.add_class(f"lmx-view-{name}")
            control.observe(
                lambda change, name=name: on_change(name, change["new"]), names="value"
            )
        self.text = ""
        self.reading = widgets.HTML()
        self.reading.add_class("lmx-reading")
        self.box = widgets.Box([*self.controls.values(), self.reading], layout=_ROW)
        self.box.add_class("lmx-view")

    def read(self, place: str, values: Mapping[str, float]) -> None:
        """Show exact values beside the controls; an empty mapping hides them.

        Args:
            place: Place on the x axis, with its unit.
            values: Label to value.
        """
        spoken = ", ".join(f"{label} {value:.5g}" for label, value in values.items())
        self.text = f"{place}: {spoken}" if values else ""
        text = " &middot; ".join(
            f"{html.escape(label)} <b>{value:.5g}</b>"
            for label, value in values.items()
        )
        self.reading.value = (
            f'<div style="line-height:1.4">{html.escape(place)}: {text}</div>'
            if values
            else ""
        )
