"""What widgets lack in a page: keys, names for screen readers, a clock, focus rings.

One style sheet and one script (page.js), in a widget that shows nothing. They add, and
never stand in the way: where a front end lets no script run, everything still works
with a mouse, and the clock, which is all style sheet, counts.
"""

import html
from importlib.resources import files

import ipywidgets as widgets

# The clock counts seconds since the status line was last written, whoever is at work:
# the page does it alone, for a kernel in a long step has no time to.
STYLE = """
@property --lmx-s {syntax: "<integer>"; initial-value: 0; inherits: false}
@keyframes lmx-count {to {--lmx-s: 36000}}
@keyframes lmx-show {to {font-size: 13px}}
.lmx-page {display: none}
.lmx-lab.lmx-lab.lmx-lab :focus-visible {
  outline: 2px solid var(--jp-brand-color1, #1976d2) !important}
.lmx-lab.lmx-lab.lmx-lab :focus { /* beyond a widget's margin boxes would cut it off */
  outline-offset: 0 !important}
.lmx-lab .widget-label-basic {overflow: visible}
/* Dark Colab knows one grey and one text colour, VS Code one grey: nothing else of a
   theme is asked for behind words. */
.lmx-lab .jupyter-button.mod-active {box-shadow: inset 0 0 0 2px currentColor;
  background: var(--jp-layout-color2)}
.lmx-lab .jupyter-widget-Collapse-header, .lmx-lab .jupyter-widget-Collapse-contents {
  background: none; color: inherit}
.lmx-hidden {position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap}
.lmx-announce {position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); margin: 0}
.lmx-since, .lmx-advice {font-size: 0; animation: lmx-show 0s 3s forwards}
.lmx-advice {animation-delay: 15s}
.lmx-since b::after {counter-reset: s var(--lmx-s); content: counter(s);
  animation: lmx-count 36000s linear}
.lmx-silent {line-height: 1.4}
.lmx-silent[hidden], .lmx-silence:has([hidden]) {display: none}
"""


def wide(pixels: float) -> str:
    """Return a width that grows with the widgets' letters, of 13 pixels in JupyterLab.

    Args:
        pixels: The width there.

    Example:
        >>> wide(26)
        'calc(2 * var(--jp-widgets-font-size, 13px))'
    """
    return f"calc({pixels / 13:.4g} * var(--jp-widgets-font-size, 13px))"


def page_widget() -> widgets.HTML:
    """Return a widget that shows nothing and looks after the box that it lies in.

    The box has the class ``lmx-lab``.

    Example:
        >>> page_widget().value.startswith("<style")
        True
    """
    script = files("lmxlab.lab").joinpath("page.js").read_text(encoding="utf-8")
    run = html.escape(f"(style => {{{script}}})(this)", quote=True)
    widget = widgets.HTML(f'<style onload="{run}">{STYLE}</style>')
    widget.add_class("lmx-page")
    return widget


def alone(box: widgets.Box) -> widgets.Box:
    """Return a box that lies in no panel, looked after all the same.

    Args:
        box: What is shown.

    Example:
        >>> alone(widgets.Box()).children[1].value.startswith("<style")
        True
    """
    whole = widgets.VBox([box, page_widget()])
    whole.add_class("lmx-lab")
    return whole
