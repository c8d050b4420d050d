"""The line that says where a run stands, for the eye and, more rarely, for the ear."""

from collections.abc import Callable, Mapping
import html
import time
from typing import Any

WHY_SILENT = (
    "It is in a long step or in another cell: the interrupt button (&#9632;) in the "
    "notebook's toolbar ends that. If the kernel was shut down or restarted, run this "
    "panel's cell again."
)
TENTHS, SECONDS = 10, 5.0  # of the way, and between two announcements


def silence(advice: str = "") -> str:
    """Return the line that shows when a click has had no answer, as HTML.

    Args:
        advice: What is likely, in a front end that has a reason of its own.

    Example:
        >>> "In Colab" in silence("In Colab ...")
        True
    """
    why = html.escape(advice) or WHY_SILENT
    return (
        '<div class="lmx-silent" role="alert" hidden>&#9888; No answer from the kernel '
        f"for <b>3</b> s. {why}</div>"
    )


def status_line(
    state: str, data: Mapping[str, Any], parts: Mapping[str, str], total: int = 0
) -> str:
    """Return the line as HTML, of class ``lmx-status``.

    While it runs, seconds are counted from the moment at which the line was written
    (see :mod:`lmxlab.lab.page`), and shown when they are three or more.

    Args:
        state: The driver's state, such as ``running``.
        data: What its ``data-`` attributes say; ``step`` is one of them.
        parts: What it says besides, name to text.
        total: Steps of the whole run; 0 if that is not known.

    Example:
        >>> status_line("idle", {"step": 0}, {})
        '<div class="lmx-status" data-state="idle" data-step="0"><b>idle</b></div>'
        >>> "step 3 (or another cell) has been at work for" in status_line(
        ...     "running", {"step": 2}, {"loss": "1.5"}, total=9)
        True
    """
    step = data["step"]
    attributes = "".join(
        f' data-{name}="{html.escape(str(value))}"'
        for name, value in {"state": state, **data}.items()
    )
    texts = [f"<b>{state}</b>"] + [f"step {step}/{total}"] * bool(total)
    texts += [html.escape(f"{name} {value}") for name, value in parts.items()]
    since = (
        f' <span class="lmx-since">&middot; step {step + 1} (or another cell) has been '
        'at work for <b></b> s</span><span class="lmx-advice">; the interrupt button '
        "(&#9632;) in the notebook's toolbar ends it</span>"
    )
    line = " &middot; ".join(texts) + since * (state == "running")
    return f'<div class="lmx-status"{attributes}>{line}</div>'


class Announcer:
    """Decides when a screen reader is to hear the status: rarely.

    At each change of the state; while it runs, after each tenth of the way, and no
    sooner than a few seconds after the last time.

    Args:
        clock: Returns the time in seconds.

    Example:
        >>> now = iter([0.0, 1.0, 9.0])
        >>> ear = Announcer(clock=lambda: next(now))
        >>> ear.words("running", 1, 20, "loss 3.1")
        'running, step 1 of 20, loss 3.1'
        >>> ear.words("running", 2, 20, "loss 2.9") is None
        True
        >>> ear.words("running", 3, 20, "loss 2.8")
        'running, step 3 of 20, loss 2.8'
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start as if nothing had been said yet."""
        self._clock = clock
        self._said: tuple[str, int] = "idle", 0
        self._then = 0.0

    def words(self, state: str, step: int, total: int, numbers: str) -> str | None:
        """Return what is to be said now, or None.

        Args:
            state: The driver's state, such as ``running``.
            step: Steps done.
            total: Steps of the whole run; 0 if that is not known.
            numbers: Words to add, such as ``loss 3.1, ETA 20 s``.
        """
        tenth = TENTHS * step // total if total and state == "running" else 0
        if (state, tenth) == self._said:
            return None
        now, before = self._clock(), self._said[0]
        if state == before and now - self._then < SECONDS:
            return None
        self._said, self._then = (state, tenth), now
        where = f"step {step} of {total}" if total else ""
        return ", ".join(filter(None, [state, where, numbers]))
