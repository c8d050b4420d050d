"""The state machine, without a model: records are counted, not trained."""

import asyncio
from functools import partial
import threading

from lmxlab.lab.driver import Driver
import pytest


class Counting(Driver):
    """Counts to ``total``; ``at`` maps a step to what happens inside it."""

    def __init__(self, total=4, at=None, lag=0):
        super().__init__()
        self.total, self.at, self.lag = total, at or {}, lag
        self.shown, self.said, self.threads, self.ended = [], [], set(), 0
        self.opened = self.frames = 0
        self.queued = 0

    def _open(self):
        self.opened += 1
        self.shown, self.queued = [], 0
        self._hold(False)
        return self._count()

    def _count(self):
        try:
            for step in range(1, self.total + 1):
                self.at.get(step, lambda: None)()
                self.queued = min(max(self.queued, step + self._lag), self.total)
                yield {"step": step}
        finally:
            self.ended += 1

    def _show(self, record):
        self.threads.add(threading.get_ident())
        self.shown.append(record["step"])
        self._hold(self.state == "paused")

    def _hold(self, held):
        self._lag = 0 if held else self.lag

    def _behind(self):
        return self.queued > len(self.shown)

    def _draw(self):
        self.frames += 1

    def _refresh(self):
        pass

    def _change(self, name, value):
        self.threads.add(threading.get_ident())
        if value < 0:
            raise ValueError(f"{name} must not be negative")
        self.said.append((f"{name} {value}", "status"))

    def say(self, text, role="status"):
        self.said.append((text, role))

    def _result(self):
        return list(self.shown)


def raiser(error):
    def act():
        raise error

    return act


async def until(condition):
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def settled():
    """Give the loop the turns that a press and a step need."""
    for _ in range(20):
        await asyncio.sleep(0)


# ------------------------------------------------------------------- without a loop


def test_start_runs_to_the_end_and_closes_the_stream():
    driver = Counting()
    assert driver.state == "idle"
    driver.press("start")
    assert (driver.state, driver.shown, driver.ended) == ("done", [1, 2, 3, 4], 1)


def test_step_does_one_step_and_holds():
    driver = Counting()
    for expected in ([1], [1, 2], [1, 2, 3]):
        driver.press("step")
        assert (driver.state, driver.shown) == ("paused", expected)
    assert driver.opened == 1


def test_start_goes_on_with_a_held_run():
    driver = Counting()
    driver.press("step")
    driver.press("start")
    assert (driver.state, driver.shown, driver.opened) == ("done", [1, 2, 3, 4], 1)


def test_stop_ends_a_held_run_and_start_begins_again():
    driver = Counting()
    driver.press("step")
    driver.press("stop")
    assert (driver.state, driver.ended, driver.shown) == ("stopped", 1, [1])
    driver.press("start")
    assert (driver.state, driver.opened) == ("done", 2)


def test_step_after_the_end_begins_a_new_run():
    driver = Counting()
    driver.press("start")
    driver.press("step")
    assert (driver.state, driver.shown, driver.opened) == ("paused", [1], 2)


def test_reset_closes_the_run_and_is_idle():
    driver = Counting()
    driver.press("step")
    driver.press("reset")
    assert (driver.state, driver.ended) == ("idle", 1)


@pytest.mark.parametrize("action", ["stop", "pause", "reset"])
def test_in_idle_there_is_nothing_to_end(action):
    driver = Counting()
    driver.press(action)
    assert (driver.state, driver.opened) == ("idle", 0)


@pytest.mark.parametrize("action", ["stop", "pause"])
def test_a_run_that_is_done_stays_done(action):
    driver = Counting()
    driver.press("start")
    driver.press(action)
    assert driver.state == "done"


def test_a_callback_may_stop_or_pause_in_the_middle_of_a_step():
    driver = Counting()
    driver.at[2] = lambda: driver.press("stop")
    driver.press("start")
    assert (driver.state, driver.shown, driver.ended) == ("stopped", [1, 2], 1)
    driver.at[2] = lambda: driver.press("pause")
    driver.press("start")
    assert (driver.state, driver.shown) == ("paused", [1, 2])


def test_an_error_is_said_kept_and_raised_once_more_by_run():
    error = ArithmeticError("too big")
    driver = Counting(at={3: raiser(error)})
    driver.press("start")
    assert (driver.state, driver.shown, driver.error) == ("failed", [1, 2], error)
    assert driver.said == [("ArithmeticError: too big", "alert")]
    assert not driver.error_was_raised
    with pytest.raises(ArithmeticError) as caught:
        driver.drain(lambda: False)
    assert caught.value is error
    assert driver.error_was_raised


def test_start_works_again_after_an_error():
    driver = Counting(at={1: raiser(ArithmeticError("too big"))})
    driver.press("start")
    driver.at.clear()
    driver.press("start")
    assert (driver.state, driver.error, driver.shown) == ("done", None, [1, 2, 3, 4])


def test_an_error_while_closing_is_a_failure_too():
    class Sticky(Counting):
        def _count(self):
            try:
                yield from super()._count()
            finally:
                raise OSError("disk full")

    driver = Sticky()
    driver.press("step")
    driver.press("stop")
    assert (driver.state, driver.said) == ("failed", [("OSError: disk full", "alert")])


def test_an_interrupt_stops_the_run_and_goes_on_to_the_cell():
    driver = Counting(at={3: raiser(KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        driver.press("start")
    assert (driver.state, driver.shown, driver.ended) == ("stopped", [1, 2], 1)


def test_an_interrupt_between_two_steps_stops_the_run_too():
    driver = Counting()
    with pytest.raises(KeyboardInterrupt):
        driver.drain(raiser(KeyboardInterrupt()))
    assert (driver.state, driver.shown, driver.ended) == ("stopped", [1], 1)


def test_a_bad_value_is_said_and_ends_nothing():
    driver = Counting()
    driver.press("step")
    driver.press("change", "beta", -1)
    assert driver.said == [("beta must not be negative", "alert")]
    assert driver.state == "paused"


def test_stop_flushes_what_was_queued():
    driver = Counting(lag=1)
    driver.at[2] = lambda: driver.press("stop")
    driver.press("start")
    assert driver.shown[-1] == driver.queued


# ---------------------------------------------------------------------- on the loop


def test_the_buttons_one_after_another():
    async def story():
        driver = Counting(total=10**6)
        seen = []

        async def press(action):
            driver.press(action)
            await settled()
            seen.append(driver.state)
            return len(driver.shown)

        assert await press("start") > 0
        held = await press("pause")
        await settled()
        assert len(driver.shown) == held  # held means held
        assert await press("start") > held
        before = await press("pause")
        assert await press("step") == before + 1
        assert await press("step") == before + 2
        assert await press("stop") == before + 2
        assert driver.opened == 1
        assert 0 < await press("start")
        assert driver.opened == 2
        await press("reset")
        assert driver.ended == 2
        return seen

    running, paused = "running", "paused"
    assert asyncio.run(story()) == [
        *(running, paused, running, paused, paused, paused),
        *("stopped", running, "idle"),
    ]


def test_step_from_idle_does_one_step():
    async def story():
        driver = Counting()
        driver.press("step")
        await settled()
        return driver.state, driver.shown

    assert asyncio.run(story()) == ("paused", [1])


def test_two_quick_steps_are_two_steps():
    async def story():
        driver = Counting()
        driver.press("step")
        driver.press("step")
        await settled()
        return driver.state, driver.shown

    assert asyncio.run(story()) == ("paused", [1, 2])


def test_start_twice_is_one_run():
    async def story():
        driver = Counting()
        driver.press("start")
        driver.press("start")
        return await driver.wait(), driver.opened

    assert asyncio.run(story()) == ([1, 2, 3, 4], 1)


def test_stop_and_start_in_one_turn_is_a_new_run():
    async def story():
        driver = Counting()
        driver.press("step")
        await settled()
        driver.press("stop")
        driver.press("start")
        return await driver.wait(), driver.opened, driver.ended

    assert asyncio.run(story()) == ([1, 2, 3, 4], 2, 2)


def test_a_press_lets_the_cell_go_on():
    async def story():
        driver = Counting()
        driver.press("start")
        return driver.opened

    assert asyncio.run(story()) == 0


def test_a_press_from_another_thread_acts_on_the_loops_thread():
    async def story():
        driver = Counting()
        presses = [partial(driver.press, "step"), partial(driver.press, "change", "x", 1)]
        for press in presses:
            thread = threading.Thread(target=press)
            thread.start()
            thread.join()
            assert not driver.said
            assert driver.shown == [1] * bool(driver.opened)
            await settled()
            if not driver.said:
                assert driver.shown == [1]
        return driver.threads, driver.said

    threads, said = asyncio.run(story())
    assert threads == {threading.get_ident()}
    assert said == [("x 1", "status")]


@pytest.mark.parametrize("actions", [["pause"], ["step"], ["stop"]])
def test_what_is_queued_on_the_device_is_flushed(actions):
    async def story():
        driver = Counting(total=10**6, lag=1)
        driver.press("start")
        await until(lambda: len(driver.shown) > 3)
        assert driver.queued == driver.shown[-1] + 1
        for action in actions:
            driver.press(action)
            await settled()
        assert driver.shown[-1] == driver.queued
        assert driver.shown == list(range(1, len(driver.shown) + 1))
        driver.press("stop")

    asyncio.run(story())


def test_wait_returns_what_the_run_has_left():
    async def story():
        driver = Counting()
        driver.press("start")
        return await driver.wait()

    assert asyncio.run(story()) == [1, 2, 3, 4]


def test_wait_raises_the_runs_own_error():
    error = ArithmeticError("too big")

    async def story():
        driver = Counting(at={2: raiser(error)})
        driver.press("start")
        for _ in range(2):
            with pytest.raises(ArithmeticError) as caught:
                await driver.wait()
            assert caught.value is error
        driver.at.clear()
        driver.press("start")
        return await driver.wait()

    assert asyncio.run(story()) == [1, 2, 3, 4]


def test_wait_gives_up_after_its_timeout_and_stops_the_run():
    async def story():
        driver = Counting(total=10**9)
        driver.press("start")
        with pytest.raises(TimeoutError, match=r"still going after 0\.02 s"):
            await driver.wait(0.02)
        done = len(driver.shown)
        await settled()
        assert len(driver.shown) == done
        return driver.state, driver.ended

    assert asyncio.run(story()) == ("stopped", 1)


def test_the_interrupt_button_stops_a_run_that_a_cell_waits_for():
    async def story():
        driver = Counting(total=10**9)
        driver.press("start")
        cell = asyncio.create_task(driver.wait())
        await until(lambda: driver.shown)
        cell.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cell
        return driver.state, driver.ended

    assert asyncio.run(story()) == ("stopped", 1)


def test_stop_ends_the_waiting():
    async def story():
        driver = Counting(total=10**9)
        driver.press("start")
        cell = asyncio.create_task(driver.wait())
        await until(lambda: driver.shown)
        driver.press("stop")
        return await cell

    assert asyncio.run(story())[0] == 1


def test_stop_ends_the_waiting_for_a_held_run():
    async def story():
        driver = Counting()
        driver.press("step")
        cell = asyncio.create_task(driver.wait())
        await settled()
        assert not cell.done()
        driver.press("stop")
        return await cell

    assert asyncio.run(story()) == [1]


def test_an_interrupt_in_a_step_of_a_task_stops_quietly():
    async def story():
        driver = Counting(at={2: raiser(KeyboardInterrupt())})
        driver.press("start")
        await driver.wait()
        return driver.state, driver.shown

    assert asyncio.run(story()) == ("stopped", [1])


def test_frames_are_few_and_the_last_one_is_drawn():
    driver = Counting(total=500)
    driver.press("start")
    assert 2 <= driver.frames <= 20
