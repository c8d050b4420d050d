"""A generator of records, started, held, stepped and stopped from a notebook.

Training runs as a task on the notebook's own event loop: one step, then a few turns for
the loop, in which clicks arrive. No thread: MLX's streams, random state and compiled
functions belong to one. Button and slider callbacks may run in another thread (in
ipykernel 7.1 to 7.3), so all that they do is hand a plain value to the loop. Without a
loop, in a script or a test, the same calls run the same generator synchronously.
"""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable, Iterator
import signal
import threading
import time
from typing import Any

from lmxlab.lab.live import Pacer
from lmxlab.training.record import Record

ACTIVE = ("running", "paused")
# A click passes through several callbacks of the kernel, one in each turn of the loop.
# With a single turn a step, Stop waited for four steps (ipykernel 7.4).
TURNS = 5
# Short steps share a slice of so many seconds, and two turns after it: a click waits
# for three slices, and neither turns nor signal handlers cost much of the throughput.
SLICE = 0.05
# Seconds that the first frames may take, in which the plots are laid out.
SET_UP = 0.1


class Driver(ABC):
    """Idle, running, paused, stopped, done or failed: a run and what moves it.

    A subclass builds the run (:meth:`_open`), takes records in (:meth:`_show`) and
    draws (:meth:`_draw`).

    Attributes:
        state (str): One of the six words above, in lower case.
        error (Exception | None): What ended the run when it failed.
        error_was_raised (bool): Whether a cell got it from ``wait()`` or ``run()``.
    """

    def __init__(self) -> None:
        """Remember the loop of the cell that this is built in, if there is one."""
        self.state = "idle"
        self.error: BaseException | None = None
        self.error_was_raised = False
        self._stream: Iterator[Record] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None
        self._owed = 0
        self._stopping = False
        self._inside = False
        self._interrupted = False
        self._busy = 0.0
        self._last: Record = {}
        self._frame_pacer = Pacer(savings=SET_UP)
        self._status_pacer = Pacer(share=0.003)
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    # ----------------------------------------------------------- what a subclass does

    @abstractmethod
    def _open(self) -> Iterator[Record]:
        """Build the run and return its generator of records."""

    @abstractmethod
    def _show(self, record: Record) -> None:
        """Take one record in; no drawing."""

    @abstractmethod
    def _draw(self) -> None:
        """Draw a frame."""

    @abstractmethod
    def _refresh(self) -> None:
        """Bring everything else that is shown up to date; cheap."""

    @abstractmethod
    def _change(self, name: str, value: Any) -> None:
        """Take in the new value of a setting.

        Raises:
            ValueError: If the value will not do; the run goes on as it was.
        """

    @abstractmethod
    def say(self, text: str, role: str = "status") -> None:
        """Show a sentence to the learner.

        Args:
            text: Plain text.
            role: ``status``, or ``alert`` for an error.
        """

    def _hold(self, held: bool) -> None:  # noqa: B027
        """Note that steps are wanted one by one, or no longer."""

    def _behind(self) -> bool:
        """Whether an update has been queued whose record has not come."""
        return False

    def _result(self) -> Any:
        """Return what the run has left."""
        return None

    # ------------------------------------------------------------------------ actions

    def press(self, action: str, *args: Any) -> None:
        """Do what a button or a knob asks for, on the loop; safe from any thread.

        Args:
            action: ``start``, ``pause``, ``step``, ``stop``, ``reset``, ``change``
                with a knob's name and value, or ``do`` with a function and its
                arguments.
            *args: What ``change`` or ``do`` needs, as above.
        """
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._act, action, *args)
        else:
            self._act(action, *args)

    def _act(self, action: str, *args: Any) -> None:
        try:
            if action in ("change", "do"):
                act = self._change if action == "change" else args[0]
                try:
                    act(*args[action == "do" :])
                except (OSError, TypeError, ValueError) as error:  # the run goes on
                    self.say(str(error), role="alert")
            elif action == "start":
                self._go("running")
            elif action == "step":
                self._owed += 1
                self._go("paused")
            elif action == "pause" and self.state == "running":
                self.state = "paused"
                self._hold(True)
            elif action in ("stop", "reset"):
                self.halt()
                if action == "reset" and not self._inside:
                    self._reset()
        except Exception as error:  # shown in words; wait() and run() raise it again
            self._fail(error)
        self._refresh()

    def _go(self, state: str) -> None:
        orphaned = self._task is not None and self._task.done()  # its loop has ended
        if orphaned and self.state in ACTIVE:
            self.halt()
        if self.state not in ACTIVE:
            owed = self._owed
            if self.state != "idle":
                self._reset()
            self._owed = owed
            self._task = None
        self.state = state
        self._hold(state == "paused")
        if self._inside:  # a callback in the middle of a step: its loop goes on
            return
        if self._task is not None and self._wake is not None:
            self._wake.set()
        elif self._loop is not None and self._loop.is_running():
            self._wake = asyncio.Event()
            self._task = self._loop.create_task(self._drive())
        else:
            self._drain()

    def halt(self) -> None:
        """End the run between two steps; model and history stay."""
        if self.state not in ACTIVE:
            return
        if self._inside:  # asked for by a callback in the middle of a step
            self._stopping = True
            return
        self._inside = True
        try:
            self._catch_up()
        finally:
            self._inside = False
            self._end("stopped")
        if self._wake is not None:
            self._wake.set()

    def _reset(self) -> None:
        self.state, self.error, self._owed = "idle", None, 0
        self.error_was_raised = False
        self._stopping, self._last, self._busy = False, {}, 0.0
        self._interrupted = False
        self._frame_pacer = Pacer(savings=SET_UP)

    # -------------------------------------------------------------------- the running

    async def _drive(self) -> None:
        """Run on the loop: some steps, some turns for the loop, and so on."""
        me, wake = self._task, self._wake
        assert wake is not None
        await asyncio.sleep(0)  # let the click that started it return
        started = time.perf_counter()
        while self._task is me and self._advance_on_loop():
            took = time.perf_counter() - started
            if self._resting():
                wake.clear()
                await wake.wait()
            for _ in range(2 if took < 2 * SLICE else TURNS):
                await asyncio.sleep(0)
            started = time.perf_counter()

    def _advance_on_loop(self) -> bool:
        """Do a step, or some short ones, that the kernel's interrupt button can end.

        Between two cells ipykernel ignores that button, or has it cancel the cell that
        waits; a step that hangs would hang for ever.
        """
        before = signal.getsignal(signal.SIGINT)
        if before is None or threading.current_thread() is not threading.main_thread():
            return self._advance()  # no handler can be put back, or none be set

        # A plain function: signal() writes out what it gets, and a whole panel is long.
        def on_interrupt(number: int, frame: Any) -> None:
            self._interrupted = True
            if self._inside:
                raise KeyboardInterrupt

        try:
            signal.signal(signal.SIGINT, on_interrupt)
            until, going = time.perf_counter() + SLICE, self._advance()
            while going and not (self._resting() or self._interrupted):
                if time.perf_counter() >= until:
                    break
                going = self._advance()
        except KeyboardInterrupt:  # it came at the very end of a step
            self._interrupt()
            return False
        finally:
            signal.signal(signal.SIGINT, before)
        if self._interrupted and going:
            self._interrupt()
        return going and not self._interrupted

    def _interrupt(self) -> None:
        """End an interrupted run, and say so."""
        self._interrupted = True
        if self.state in ACTIVE:
            self._end("stopped")
        self.say(
            f"Interrupted: the run was stopped after step {self._last.get('step', 0)}. "
            "Model and curves stay; Start begins a new run.",
            role="alert",
        )

    def _drain(self) -> None:
        """Run without a loop, until the end or, when paused, until nothing is owed."""
        while self._advance() and not self._resting():
            pass

    def _resting(self) -> bool:
        return self.state == "paused" and not self._owed

    def _advance(self) -> bool:
        """Do one step, or catch up and hold; return whether there is more to do."""
        if self.state not in ACTIVE:
            return False
        started = time.perf_counter()
        try:
            self._inside = True
            if self._stream is None:
                self._stream = self._open()
                self._hold(self.state == "paused")
            if not self._resting() and not self._take():
                self._inside = False
                self._end("done")
            elif self._stopping:
                self._catch_up()
                self._inside = False
                self._end("stopped")
            elif self._resting():
                self._catch_up()
                self._frame()
            elif self._frame_pacer.due():
                self._frame()
            elif self._status_pacer.due():
                self._renew_status()
        except KeyboardInterrupt:
            self._inside = False
            self._interrupt()
            if self._task is None:
                raise
        except Exception as error:  # shown in words; wait() and run() raise it again
            self._inside = False
            self._fail(error)
        finally:
            self._inside = False
            self._busy += time.perf_counter() - started
        return self.state in ACTIVE

    def _catch_up(self) -> None:
        """Show what has been queued, and queue nothing more."""
        self.state = "paused"
        self._hold(True)
        while self._behind() and self._take():
            pass

    def _take(self) -> bool:
        assert self._stream is not None
        record = next(self._stream, None)
        if record is None:
            return False
        self._owed = max(0, self._owed - 1)
        self._last = record
        self._show(record)
        return True

    def _end(self, state: str) -> None:
        self.state, self._owed = state, 0
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()  # type: ignore[attr-defined]
        self._refresh()  # what a click did shows before the picture is drawn
        self._frame()

    def _fail(self, error: BaseException) -> None:
        self.error = error
        said = f"{type(error).__name__}: {error}"
        notes = [f"{said.rstrip('.')}.", *getattr(error, "__notes__", [])]
        self.say(" ".join(notes) if len(notes) > 1 else said, role="alert")
        self._end("failed")

    def _frame(self) -> None:
        started = time.perf_counter()
        self._draw()
        self._renew_status()
        self._frame_pacer.drew(time.perf_counter() - started)

    def _renew_status(self) -> None:
        started = time.perf_counter()
        self._refresh()
        self._status_pacer.drew(time.perf_counter() - started)

    async def wait(self, timeout: float | None = None) -> Any:
        """Hold a cell until the run ends; the panel stays alive meanwhile.

        Args:
            timeout: Seconds after which the run is stopped.

        Returns:
            What the run has left (see the subclass); None if there was none.

        Raises:
            TimeoutError: If the run went on longer.
            KeyboardInterrupt: If it was interrupted.
            Exception: What ended the run, when it failed.
        """
        await asyncio.sleep(0)  # a click in this very cell is still on its way
        task = self._task
        waited = task is not None and not task.done()
        try:
            if task is not None and waited:
                await asyncio.wait_for(asyncio.shield(task), timeout)
        except TimeoutError:
            self.halt()
            raise TimeoutError(
                f"the run was still going after {timeout:g} s and was stopped"
            ) from None
        except (asyncio.CancelledError, KeyboardInterrupt):
            self.halt()
            raise
        if waited and self._interrupted:  # inside a step: the cell is to end too
            raise KeyboardInterrupt
        self._raise_error()
        return self._result()

    def drain(self, enough: Callable[[], bool]) -> None:
        """Run at once, until the end or until there is enough.

        Args:
            enough: Asked after each step.

        Raises:
            Exception: What ended the run, when it failed.
        """
        self.state = "running"
        try:
            while self._advance():
                if enough():
                    self.halt()
        except KeyboardInterrupt:  # also one between two steps
            self.halt()
            raise
        self._raise_error()

    def _raise_error(self) -> None:
        if self.error is not None:
            self.error_was_raised = True
            raise self.error
