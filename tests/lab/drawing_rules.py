"""What every picture of a notebook must keep to, as complaints in words."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def complaints(figure: Figure) -> list[str]:
    """Words that are cut off, that lie over each other, or that are too small."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    shown = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and drawn(text)
    ]
    beyond = [text for axes in figure.axes for text in out_of_view(axes)]
    shown = [text for text in shown if text not in beyond]
    boxes = [text.get_window_extent(renderer).padded(-1) for text in shown]
    width, height = canvas.get_width_height()
    found = [
        f"{text.get_text()!r} is cut off"
        for text, box in zip(shown, boxes, strict=True)
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
    ]
    found += [
        f"{a.get_text()!r} and {b.get_text()!r} overlap"
        for (a, one), (b, other) in combinations(zip(shown, boxes, strict=True), 2)
        if one.overlaps(other)
    ]
    found += [
        f"{text.get_text()!r} is only {text.get_size():g} points high"
        for text in shown
        if text.get_size() < 7
    ]
    for axes in figure.axes:
        if not axes.axison:
            continue
        found += [
            f"an axis has ticks and no label: {name}"
            for name, axis in (("x", axes.xaxis), ("y", axes.yaxis))
            if axis.get_visible()
            and any(label.get_text() for label in axis.get_ticklabels())
            and not axis.label.get_text()
            and not any(shared is not axes for shared in sharing(axes, name))
        ]
    return found


def drawn(text: Text) -> bool:
    """Whether the text belongs to axes whose decorations are drawn, or to none."""
    axes = text.axes
    return axes is None or axes.axison or text in axes.texts


def out_of_view(axes) -> list[Text]:
    """Labels of ticks that lie beyond the ends of an axis; they are not drawn."""
    return [
        label
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) - 1e-9
        <= tick.get_loc()
        <= max(axis.get_view_interval()) + 1e-9
    ]


def sharing(axes, name):
    grouper = axes.get_shared_x_axes() if name == "x" else axes.get_shared_y_axes()
    return grouper.get_siblings(axes)
