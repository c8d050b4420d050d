"""Sliders from the declarations of settings: one source for range, scale and help."""

from collections.abc import Callable, Sequence
import dataclasses
import inspect
import math
from typing import Any

import ipywidgets as widgets
from lmxlab.core.config import BlockConfig, ModelConfig
from lmxlab.training.config import LossConfig, TrainConfig

_STYLE = {"description_width": "152px"}  # for "sampling temperature", whole
_LAYOUT = {"width": "400px", "max_width": "calc(100% - 4px)"}  # with its margins
_NOTCH = 0.05  # of a logarithmic slider: 20 for a factor of ten


@dataclasses.dataclass(frozen=True)
class Knob:
    """One setting of an experiment that a learner may turn.

    Args:
        name: A parameter of the experiment. Where it is also a field of
            ``TrainConfig``, ``LossConfig``, ``BlockConfig`` or ``ModelConfig``, help,
            range and scale come from there.
        options: The values to choose from, in order; by default the field's range.
        live: Whether a change acts on the running model; by default as the field says.
            Others take effect at Reset.
        bounds: Smallest and largest value of a slider, instead of the field's.
        scale: ``linear`` or ``log``, instead of the field's.
        label: The words beside the slider; the name when left out.
        help: One sentence for the tooltip, instead of the field's.

    Raises:
        ValueError: If there is nothing to make a slider from.

    Example:
        >>> Knob("learning_rate").is_live, Knob("batch_size", [8, 16]).is_live
        (True, False)
    """

    name: str
    options: Sequence[Any] | None = None
    live: bool | None = None
    bounds: tuple[float, float] | None = None
    scale: str | None = None
    label: str | None = None
    help: str | None = None

    def __post_init__(self) -> None:
        """Check that there is something to choose from."""
        if self.options is not None and len(self.options) == 0:
            raise ValueError(f"Knob({self.name!r}): options is empty; give some values")
        if self.scale == "log" and self.bounds is not None and self.bounds[0] <= 0:
            raise ValueError(
                f"Knob({self.name!r}): a log slider cannot start at {self.bounds[0]}; "
                "raise the lower bound or leave scale out"
            )
        field = _fields().get(self.name)
        boolean = field is not None and isinstance(field.default, bool)
        if not (self.options or self._bounds() or self._choices() or boolean):
            raise ValueError(
                f"Knob({self.name!r}) is no declared setting; give it options or bounds"
            )

    @property
    def is_live(self) -> bool:
        """Whether a change acts on the running model."""
        return bool(self._declared("live")) if self.live is None else self.live

    @property
    def words(self) -> str:
        """The label."""
        return self.label or self.name.replace("_", " ")

    def widget(self, value: Any, on_change: Callable[[Any], None]) -> widgets.Widget:
        """Build the control.

        Args:
            value: The value that it shows at first.
            on_change: Called with each new value.

        Returns:
            A widget of class ``lmx-knob-NAME``.

        Raises:
            ValueError: If ``value`` is not one that the control can show.
        """
        control = self._control(value)
        control.description = self.words
        control.tooltip = self.help or self._declared("help") or self.words
        control.add_class(f"lmx-knob-{self.name}")
        control.observe(lambda change: on_change(change["new"]), names="value")
        return control

    def move(self, control: widgets.Widget, value: Any) -> None:
        """Let a control show a value, also one between or beyond its positions.

        Args:
            control: What :meth:`widget` returned.
            value: Any legal value of the setting.
        """
        options = getattr(control, "options", None)
        if options is not None and value not in options:
            control.options = _with(options, value)
        if isinstance(control, widgets.FloatLogSlider) and value > 0:
            exponent = math.log10(value)
            control.max = max(control.max, exponent)
            notch = _first_notch(value, 10**control.min, _NOTCH)
            control.min = min(notch, exponent)
        elif isinstance(control, (widgets.IntSlider, widgets.FloatSlider)):
            control.max = max(control.max, value)
            control.min = min(control.min, value)
        control.value = value

    def _control(self, value: Any) -> Any:
        common = {"style": _STYLE, "layout": _LAYOUT}
        choices = self.options or self._choices()
        if choices is not None:
            if value not in choices:
                raise ValueError(
                    f"{self.name}={value!r} is not among the knob's options "
                    f"{list(choices)}; change the experiment's default or the options"
                )
            if all(isinstance(choice, str) for choice in choices):
                return widgets.Dropdown(options=list(choices), value=value, **common)
            return widgets.SelectionSlider(
                options=list(choices), value=value, continuous_update=False, **common
            )
        if isinstance(value, bool):
            return widgets.Checkbox(value=value, indent=True, **common)
        low, high = self._bounds() or (value, value)
        if not low <= value <= high:
            raise ValueError(
                f"{self.name}={value!r} is outside the knob's bounds [{low}, {high}]; "
                "change the experiment's default or pass bounds"
            )
        # Bounds of one's own may hold a 0, which a logarithmic slider has no place for.
        logarithmic = (self.scale or self._declared("scale")) == "log" and low > 0
        if isinstance(value, int) and not logarithmic:
            return widgets.IntSlider(value, int(low), int(high), **common)
        if isinstance(value, int):
            powers = [
                2**n for n in range(int(high).bit_length()) if low <= 2**n <= high
            ]
            return widgets.SelectionSlider(
                options=_with(powers, value), value=value, **common
            )
        if logarithmic:
            return widgets.FloatLogSlider(
                value, min=_first_notch(value, low, _NOTCH), max=math.log10(high),
                step=_NOTCH, readout_format=".2e" if low < 1e-3 else ".3", **common,
            )  # fmt: skip
        return widgets.FloatSlider(
            value, min=low, max=high, step=(high - low) / 100, readout_format=".3g",
            **common,
        )  # fmt: skip

    def _declared(self, key: str) -> Any:
        field = _fields().get(self.name)
        return None if field is None else field.metadata.get(key)

    def _bounds(self) -> tuple[float, float] | None:
        bounds = self.bounds or self._declared("slider")
        return bounds if bounds and math.isfinite(bounds[1]) else None

    def _choices(self) -> Sequence[Any] | None:
        choices: Sequence[Any] | None = self._declared("choices")
        return choices


def _with(options: Sequence[Any], value: Any) -> list[Any]:
    """Return the options and the value, in order where there is one."""
    if value in options:
        return list(options)
    try:
        return sorted([*options, value])
    except TypeError:
        return [*options, value]


def _first_notch(value: float, low: float, notch: float) -> float:
    """Return the least exponent from which notches of a log slider hit a value.

    The slider in the page shows the nearest notch, not the value.
    """
    if value <= low:
        return math.log10(low)
    exponent = math.log10(value)
    return exponent - notch * math.floor((exponent - math.log10(low)) / notch)


def _fields() -> dict[str, "dataclasses.Field[Any]"]:
    sources = (ModelConfig, BlockConfig, TrainConfig, LossConfig)
    return {field.name: field for cls in sources for field in dataclasses.fields(cls)}


def defaults(experiment: Callable[..., Any], needed: Sequence[str]) -> dict[str, Any]:
    """Read an experiment's settings from its parameters.

    Args:
        experiment: A function whose parameters all have defaults.
        needed: Names that must be among them.

    Returns:
        Name to default value.

    Raises:
        ValueError: If a parameter has no default, or a needed name is missing.

    Example:
        >>> defaults(lambda width=64, depth=2: None, ["width"])
        {'width': 64, 'depth': 2}
    """
    settings = {}
    for name, parameter in inspect.signature(experiment).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            raise ValueError(
                f"the experiment's parameter {name!r} has no default; give it one, so "
                "that the panel knows where to start"
            )
        settings[name] = parameter.default
    for name in needed:
        if name not in settings:
            raise ValueError(
                f"{name!r} is not a parameter of the experiment; it has: "
                f"{', '.join(settings) or 'none'}"
            )
    return settings
