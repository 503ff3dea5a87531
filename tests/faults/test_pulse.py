"""The watchdog's clockwork, on a clock of its own: how soon it notices, whenever the silence begins, and its patience."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from pylib.brokers.liveness import MOST_PATIENCE, PULSE_DEADLINE, PULSE_INTERVAL, Canary, MqttPulse, Pulse
from pylib.runtime.loop import Loop

BOUND = PULSE_INTERVAL + PULSE_DEADLINE


class Ticks:
    """Timers without a loop: time passes as fast as they can be called."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None] | None]] = []
        self._made = 0
        self.fired = 0

    def monotonic(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        self._made += 1
        number = self._made
        heapq.heappush(self._due, (self.now + seconds, number, call))
        ticks = self

        class Handle:
            def cancel(self) -> None:
                ticks._due = [each for each in ticks._due if each[1] != number]
                heapq.heapify(ticks._due)

        return Handle()

    def run_until(self, end: float) -> None:
        while self._due and self._due[0][0] <= end:
            self.now, _, call = heapq.heappop(self._due)
            self.fired += 1
            assert call is not None
            call()
        self.now = end


def pulse_on(ticks: Ticks, ask: Callable[[], None], deaf: Callable[[], None]) -> Pulse:
    loop: Loop = ticks  # type: ignore[assignment]  # the two calls of it that a pulse makes
    return Pulse(loop, ask, deaf, PULSE_INTERVAL, PULSE_DEADLINE)


def test_silence_is_noticed_within_its_bound_whenever_it_begins() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        ticks, verdicts = Ticks(), list[float]()
        pulse = pulse_on(ticks, lambda: None, lambda ticks=ticks, verdicts=verdicts: verdicts.append(ticks.now))  # type: ignore[misc]
        pulse.start()
        silent_from = rng.uniform(0.0, 20.0)
        at = 0.0
        while (at := at + rng.uniform(0.05, 2.0)) < silent_from:
            ticks.run_until(at)
            pulse.heard()
        last = ticks.now
        ticks.run_until(last + 60)
        assert len(verdicts) == 1
        assert PULSE_DEADLINE <= verdicts[0] - last <= BOUND + 0.01


def test_who_answers_every_question_is_never_called_deaf_and_is_not_asked_too_often() -> None:
    ticks, verdicts, asked = Ticks(), list[float](), list[float]()
    pulse = pulse_on(ticks, lambda: asked.append(ticks.now), lambda: verdicts.append(ticks.now))
    pulse.start()
    for step in range(1, 3600 * 4):
        ticks.run_until(step / 4)
        if asked and asked[-1] > ticks.now - 0.5:
            pulse.heard()
    assert verdicts == []
    assert len(asked) <= 3600 / PULSE_INTERVAL + 1


def test_a_verdict_after_a_verdict_takes_twice_as_long_until_somebody_answers() -> None:
    ticks, verdicts, asked = Ticks(), list[float](), list[float]()
    pulse = pulse_on(ticks, lambda: asked.append(ticks.now), lambda: verdicts.append(ticks.now))
    took = []
    for _ in range(9):
        pulse.start()
        before = ticks.now
        ticks.run_until(before + PULSE_INTERVAL + PULSE_DEADLINE * MOST_PATIENCE + 1)
        took.append(round(verdicts[-1] - before))
    assert took == [5, 8, 14, 26, 50, 98, 194, 194, 194]
    pulse.start()
    ticks.run_until(ticks.now + 2.5)
    pulse.heard()
    ticks.run_until(ticks.now + 1.0)
    before = ticks.now
    ticks.run_until(before + 30)
    assert verdicts[-1] - before <= BOUND


def mqtt_pulse(ticks: Ticks, pings: bool, sings: bool) -> tuple[MqttPulse, list[str]]:
    """A connection whose broker answers PINGREQ, or routes the canary, or both."""
    lost: list[str] = []
    pulse: MqttPulse

    def ping() -> None:
        if pings:
            pulse.answered()

    def sing() -> None:
        if sings:
            pulse.delivered(pulse.canary.topic)

    loop: Loop = ticks  # type: ignore[assignment]  # the two calls of it that a pulse makes
    pulse = MqttPulse(loop, Canary("me"), lambda: "broker", ping, sing, lost.append, PULSE_INTERVAL, PULSE_DEADLINE)
    pulse.canary.fresh()
    return pulse, lost


def test_a_broker_that_answers_and_forbids_the_canary_is_kept_and_still_watched() -> None:
    ticks = Ticks()
    pulse, lost = mqtt_pulse(ticks, pings=True, sings=False)
    pulse.start()
    ticks.run_until(3600)
    assert lost == []
    assert not pulse.canary.allowed
    pulse._ping = lambda: None
    ticks.run_until(3600 + BOUND)
    assert len(lost) == 1
    assert "not answered" in lost[0]


def test_a_canary_that_never_sang_is_no_excuse_for_a_broker_that_does_not_answer() -> None:
    ticks = Ticks()
    pulse, lost = mqtt_pulse(ticks, pings=False, sings=False)
    pulse.start()
    ticks.run_until(BOUND)
    assert len(lost) == 1


def test_a_broker_that_answers_but_routes_nothing_any_more_is_left() -> None:
    ticks = Ticks()
    pulse, lost = mqtt_pulse(ticks, pings=True, sings=True)
    pulse.start()
    ticks.run_until(60)
    assert lost == []
    pulse._sing = lambda: None
    ticks.run_until(60 + BOUND)
    assert len(lost) == 1
    assert "delivered nothing" in lost[0]
