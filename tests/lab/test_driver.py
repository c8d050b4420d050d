"""Idle, running, paused, stopped, done, failed: every order of the buttons."""

import asyncio
from itertools import product
import signal
import threading

from lmxlab.lab import driver as module
from lmxlab.lab.driver import Driver
import pytest

ACTIONS = ("start", "pause", "step", "stop", "reset")


class Counting(Driver):
    """A driver of a run that counts."""

    def __init__(self, steps=10**9):
        super().__init__()
        self.steps = steps
        self.opened = self.closed = 0
        self.threads = set()
        self.said = []

    @property
    def step(self):
        return self._last.get("step", 0)

    def _open(self):
        self.opened += 1
        return self._count()

    def _count(self):
        try:
            for step in range(1, self.steps + 1):
                self.threads.add(threading.get_ident())
                yield {"step": step}
        finally:
            self.closed += 1

    def _show(self, record):
        pass

    def _draw(self):
        pass

    def _refresh(self):
        pass

    def _change(self, name, value):
        pass

    def say(self, text, role="status"):
        self.said.append((role, text))

    def _result(self):
        return self.step


def expected(state, action):
    """What a run without an end is after a button."""
    active = state in ("running", "paused")
    if action == "pause":
        return "paused" if state == "running" else state
    if action == "stop":
        return "stopped" if active else state
    return {"start": "running", "step": "paused", "reset": "idle"}[action]


async def turns(count=30):
    for _ in range(count):
        await asyncio.sleep(0)


def test_every_order_of_the_buttons_on_a_loop(monkeypatch):
    monkeypatch.setattr(module, "SLICE", 0.0)  # thousands of turns of the loop

    async def press(order):
        driver = Counting()
        state, opened = "idle", 0
        for action in order:
            active = state in ("running", "paused")
            opened += action in ("start", "step") and not active
            before = driver.step if active else 0
            driver.press(action)
            await turns()
            state = expected(state, action)
            assert driver.state == state
            assert driver.opened == opened
            if action == "step" and state == "paused" and before == 0:
                assert driver.step == 1
            if state == "running":
                assert driver.step > before
            if state == "idle":
                assert driver.step == 0
            held = driver.step
            await turns()
            assert (driver.step == held) is (state != "running")
            assert driver.opened - driver.closed == (state in ("running", "paused"))
        driver.press("stop")
        await turns()
        assert driver.opened == driver.closed
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, "a task is left behind"

    async def every():
        for order in product(ACTIONS, repeat=4):
            await press(order)

    asyncio.run(every())


@pytest.mark.parametrize("order", list(product(ACTIONS, repeat=3)), ids="-".join)
def test_every_order_of_the_buttons_without_a_loop(order):
    driver = Counting(steps=3)
    for action in order:
        state, step = driver.state, driver.step
        driver.press(action)
        active = state == "paused"
        if action == "start" or (action == "step" and active and step == 3):
            assert (driver.state, driver.step) == ("done", 3)
        elif action == "step":
            assert driver.step == (step + 1 if active else 1)
            assert driver.state == "paused"
        elif action == "pause":
            assert (driver.state, driver.step) == (state, step)
        elif action == "stop":
            assert driver.state == ("stopped" if active else state)
        else:
            assert (driver.state, driver.step) == ("idle", 0)


def test_steps_asked_for_faster_than_they_are_done_are_all_done():
    async def main():
        driver = Counting()
        for _ in range(5):
            driver.press("step")
        await turns(60)
        assert (driver.state, driver.step) == ("paused", 5)
        driver.press("stop")
        await driver.wait(5)

    asyncio.run(main())


def test_start_twice_at_once_is_one_run():
    async def main():
        driver = Counting(steps=5)
        driver.press("start")
        driver.press("start")
        assert await driver.wait(5) == 5
        assert driver.opened == driver.closed == 1

    asyncio.run(main())


def test_stop_and_start_at_once_leave_one_run_from_the_beginning():
    async def main():
        driver = Counting(steps=200)
        driver.press("start")
        await turns()
        for action in ("stop", "start"):
            driver.press(action)
        assert await driver.wait(5) == 200
        assert driver.opened == driver.closed == 2

    asyncio.run(main())


def test_presses_from_another_thread_act_on_the_thread_of_the_loop():
    async def main():
        driver = Counting(steps=50)
        for action in ("step", "start"):
            thread = threading.Thread(target=driver.press, args=(action,))
            thread.start()
            thread.join()
            assert driver.step == 0 or action == "start"  # nothing ran in the thread
            await turns(3)
        assert await driver.wait(5) == 50
        assert driver.threads == {threading.get_ident()}

    asyncio.run(main())


def test_a_click_in_the_cell_that_waits_is_waited_for():
    async def main():
        driver = Counting(steps=4)
        driver.press("start")
        assert await driver.wait() == 4
        assert driver.state == "done"

    asyncio.run(main())


def test_nothing_to_wait_for_is_no_wait():
    assert asyncio.run(Counting().wait()) == 0


def test_a_wait_that_takes_too_long_stops_the_run():
    async def main():
        driver = Counting()
        driver.press("start")
        with pytest.raises(TimeoutError, match=r"still going after 0\.05 s and was"):
            await driver.wait(0.05)
        assert driver.state == "stopped"
        assert driver.closed == 1

    asyncio.run(main())


@pytest.mark.parametrize("paused", [False, True])
def test_an_interrupted_wait_stops_the_run(paused):
    async def main():
        driver = Counting()
        driver.press("start")
        waiting = asyncio.create_task(driver.wait())
        await turns()
        if paused:
            driver.press("pause")
            await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await turns()
        assert driver.state == "stopped"
        assert driver.closed == 1

    asyncio.run(main())


def test_a_loop_that_has_ended_is_no_loop():
    async def build():
        return Counting(steps=3)

    driver = asyncio.run(build())
    driver.press("start")
    assert driver.state == "done"


class Meddling(Counting):
    """Its run presses a button in the middle of a step."""

    def __init__(self, action, **kwargs):
        super().__init__(**kwargs)
        self.action = action

    def _count(self):
        for record in super()._count():
            if record["step"] == 2:
                self.press(self.action)
            yield record


@pytest.mark.parametrize(
    ("action", "state", "step"),
    [
        ("start", "done", 4),
        ("pause", "paused", 2),
        ("step", "paused", 2),
        ("stop", "stopped", 2),
        ("reset", "stopped", 2),
    ],
)
def test_a_button_pressed_by_a_callback_acts_after_the_step(action, state, step):
    driver = Meddling(action, steps=4)
    driver.press("start")
    assert (driver.state, driver.step) == (state, step)
    assert driver.error is None
    driver.press("reset")
    assert driver.opened == driver.closed == 1


class Failing(Counting):
    """Its run fails at a step, or in the end as well."""

    def __init__(self, at, at_the_end=False):
        super().__init__(steps=5)
        self.at, self.at_the_end = at, at_the_end

    def _count(self):
        try:
            for record in super()._count():
                if record["step"] == self.at:
                    raise OSError(f"disk full at step {self.at}")
                yield record
        finally:
            if self.at_the_end:
                raise OSError("nor at the end")


@pytest.mark.parametrize("at", [1, 3])
def test_an_error_is_said_and_raised_and_start_works_again(at):
    async def main():
        driver = Failing(at)
        driver.press("start")
        for _ in range(2):  # each cell that asks is told
            with pytest.raises(OSError, match=f"at step {at}") as caught:
                await driver.wait()
            assert caught.value is driver.error
        assert (driver.state, driver.step) == ("failed", at - 1)
        assert driver.said == [("alert", f"OSError: disk full at step {at}")]
        driver.at = None
        driver.press("start")
        assert await driver.wait() == 5
        assert (driver.state, driver.error) == ("done", None)

    asyncio.run(main())


def test_an_error_while_stopping_is_said():
    driver = Failing(at=None, at_the_end=True)
    driver.press("step")
    driver.press("stop")
    assert driver.state == "failed"
    assert driver.said == [("alert", "OSError: nor at the end")]


def test_whether_a_cell_was_given_the_error_is_known():
    driver = Failing(at=2)
    driver.press("start")
    assert not driver.error_was_raised
    with pytest.raises(OSError, match="at step 2"):
        asyncio.run(driver.wait())
    assert driver.error_was_raised
    driver.press("reset")
    assert not driver.error_was_raised


class Queueing(Counting):
    """Its run queues one step ahead while it is not held, as on a GPU."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.shown, self.queued, self.ahead = [], 0, 1

    def _count(self):
        for record in super()._count():
            self.queued = max(self.queued, record["step"] + self.ahead)
            yield record

    def _show(self, record):
        self.shown.append(record["step"])
        self._hold(self.state == "paused")

    def _hold(self, held):
        self.ahead = 0 if held else 1

    def _behind(self):
        return self.queued > self.step


@pytest.mark.parametrize("action", ["pause", "step", "stop"])
def test_what_is_queued_is_shown_before_the_run_rests(action):
    async def main():
        driver = Queueing()
        driver.press("start")
        await turns()
        assert driver.queued == driver.step + 1
        driver.press(action)
        await turns()
        assert driver.queued == driver.step
        assert driver.shown == list(range(1, driver.step + 1))
        driver.press("stop")
        await turns()

    asyncio.run(main())


def test_a_run_that_has_enough_shows_what_was_queued():
    driver = Queueing()
    driver.drain(lambda: driver.step >= 3)
    assert (driver.state, driver.step, driver.queued) == ("stopped", 4, 4)


def test_an_interrupt_between_two_steps_stops_the_run():
    driver = Counting()

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver.drain(interrupted)
    assert (driver.state, driver.step, driver.closed) == ("stopped", 1, 1)


class Refusing(Counting):
    """A driver that will not take in a value."""

    def _change(self, name, value):
        raise ValueError(f"{name} must not be {value}")


def test_a_value_that_will_not_do_is_said_and_ends_nothing():
    driver = Refusing()
    driver.press("step")
    driver.press("change", "beta", -1)
    assert driver.said == [("alert", "beta must not be -1")]
    assert (driver.state, driver.closed) == ("paused", 0)


def test_a_press_lets_the_cell_go_on_first():
    async def main():
        driver = Counting(steps=3)
        driver.press("start")
        assert driver.opened == 0
        assert await driver.wait() == 3

    asyncio.run(main())


@pytest.mark.parametrize("action", ["start", "step"])
def test_a_press_from_another_thread_leaves_everything_to_the_loop(action):
    async def main():
        driver = Counting(steps=3)
        thread = threading.Thread(target=driver.press, args=[action])
        thread.start()
        thread.join()
        assert driver.state == "idle"
        await turns()
        assert driver.state == {"start": "done", "step": "paused"}[action]
        assert driver.threads == {threading.get_ident()}

    asyncio.run(main())


def test_a_run_whose_loop_has_ended_can_be_started_again():
    async def leave_a_run_behind():
        driver = Counting()
        driver.press("start")
        await turns()
        return driver

    driver = asyncio.run(leave_a_run_behind())
    assert driver.state == "running"  # its task was cancelled with the loop
    driver.steps = 3
    driver.press("start")
    assert (driver.state, driver.step) == ("done", 3)
    assert driver.closed == 2


class Hanging(Counting):
    """A step that the kernel's interrupt button ends; it does so at step 3."""

    def _count(self):
        for record in super()._count():
            if record["step"] == 3:
                signal.raise_signal(signal.SIGINT)
                pytest.fail("the step went on")
            yield record


@pytest.fixture
def between_cells():
    """The interrupt button is ignored, as ipykernel does between two cells."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN, (
        "a handler was left behind"
    )
    signal.signal(signal.SIGINT, before)


def on_a_loop(story):
    """As asyncio.run, which sets a handler of its own; a kernel does not."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(story)
    finally:
        loop.close()


def test_an_interrupt_ends_a_step_that_hangs_and_start_works_again(between_cells):
    async def main():
        driver = Hanging()
        driver.press("start")
        await turns(60)
        assert (driver.state, driver.step, driver.closed) == ("stopped", 2, 1)
        ((role, text),) = driver.said
        assert role == "alert"
        assert text.startswith("Interrupted: the run was stopped after step 2.")
        driver.steps = 2
        driver.press("start")
        assert await driver.wait(5) == 2
        assert driver.state == "done"

    on_a_loop(main())


def test_a_cell_that_waits_for_an_interrupted_run_ends_too(between_cells):
    made = []

    async def main():
        made.append(Hanging())
        made[0].press("start")
        await made[0].wait(5)

    with pytest.raises(KeyboardInterrupt):
        on_a_loop(main())
    assert made[0].state == "stopped"
    assert on_a_loop(made[0].wait()) == 2  # later there is nothing to wait for


class Rings(Counting):
    """The button is pressed just before the step's own code, or just after it."""

    def _refresh(self):
        if self.state == "running" and self.step == 2 and not self.said:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupt_at_the_edge_of_a_step_is_not_lost(between_cells):
    async def main():
        driver = Rings()
        driver._status_pacer.rate = driver._status_pacer.share = 1e9
        driver.press("start")
        await turns(200)
        assert driver.state == "stopped"
        assert driver.said[0][1].startswith("Interrupted")
        driver.press("stop")

    on_a_loop(main())


def test_what_an_error_says_besides_is_said_too():
    class Noted(Counting):
        def _open(self):
            error = ValueError("a reward must be finite")
            error.add_note("Sample 3 of 8.")
            raise error

    driver = Noted()
    driver.press("start")
    said = "ValueError: a reward must be finite. Sample 3 of 8."
    assert driver.said == [("alert", said)]
