"""Back-off and the list of addresses, on a clock that the test moves."""

from __future__ import annotations

import pytest

from pylib.brokers.backoff import BackOff, Reconnector
from pylib.errors import AccessRefused, ConnectFailed
from pylib.runtime.loop import Loop
from pylib.testing.clock import VirtualClock


def test_delays_double_up_to_the_longest_and_half_of_each_is_random() -> None:
    back_off = BackOff(first=0.1, longest=1.0)
    assert [back_off.delay(n, lambda: 1.0) for n in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert back_off.delay(3, lambda: 0.0) == pytest.approx(0.2)
    assert back_off.delay(10_000) <= 1.0


def test_the_addresses_are_tried_at_once_in_turn_and_the_back_off_comes_after_the_last() -> None:
    clock = VirtualClock()
    loop = Loop(None, clock)
    tried: list[str] = []
    reconnector = Reconnector(loop, ["a", "b"], tried.append, BackOff(first=1.0))
    reconnector.start()
    assert reconnector.failed(ConnectFailed("x")) == 0.0
    reconnector.start()
    assert 0.5 <= reconnector.failed(ConnectFailed("x")) <= 1.0
    reconnector.start()
    assert tried == ["a", "b", "a"]
    assert reconnector.failed(ConnectFailed("x")) == 0.0
    assert 1.0 <= reconnector.failed(ConnectFailed("x")) <= 2.0
    reconnector.succeeded()
    clock.advance(60)
    assert reconnector.failed(ConnectFailed("x")) == 0.0
    assert 0.5 <= reconnector.failed(ConnectFailed("x")) <= 1.0
    reconnector.cancel()
    loop.close()


def test_connections_that_do_not_last_are_made_again_ever_more_slowly() -> None:
    clock = VirtualClock()
    loop = Loop(None, clock)
    reconnector = Reconnector(loop, ["a"], lambda _: None, BackOff(first=0.1, longest=10.0))
    waited = []
    for _ in range(12):
        reconnector.succeeded()
        clock.advance(0.2)
        waited.append(reconnector.failed(ConnectFailed("x")))
    assert waited[0] <= 0.1
    assert min(waited[-4:]) >= 5.0, waited
    # Two that take turns to throw each other out last as long as the other one waits; that is not lasting either.
    reconnector.succeeded()
    clock.advance(waited[-1])
    assert reconnector.failed(ConnectFailed("x")) >= 5.0
    reconnector.succeeded()
    clock.advance(60)
    assert reconnector.failed(ConnectFailed("x")) <= 0.1
    reconnector.cancel()
    loop.close()


def test_a_refusal_waits_at_least_the_refused_time() -> None:
    loop = Loop(None, VirtualClock())
    reconnector = Reconnector(loop, ["a"], lambda _: None, BackOff(first=0.1, refused=7.0))
    assert reconnector.failed(AccessRefused("x")) == 7.0
    reconnector.cancel()
    loop.close()
