"""Lines that are cut at any moment, and lines so slow that a message takes longer than the watchdog's patience."""

from __future__ import annotations

import random
import threading

import pytest

from pylib.testing.contract.port_thread import PortThread
from pylib.testing.plugin import FaultProxyFactory
from tests.contract.worlds import World
from tests.faults.conftest import Cable
from tests.faults.conftest import cable as cable
from tests.faults.conftest import world as world
from tests.faults.test_lines import LONG_KEEPALIVE, NOTICED, publish, seconds_until_noticed

pytestmark = [pytest.mark.soak, pytest.mark.leak_check, pytest.mark.timeout(0)]

TRIALS = 100


def test_a_cable_pulled_at_any_moment_is_noticed_within_seven_seconds(world: World, cable: Cable) -> None:
    rng = random.Random(7)
    took: list[float] = []
    with PortThread(world.port(keepalive=LONG_KEEPALIVE, consume=True)) as port:
        for trial in range(TRIALS):
            port.until_up(trial + 1)
            wait(rng.uniform(0.0, 6.0))
            took.append(seconds_until_noticed(port, cable.pull))
            cable.plug()
        port.until_up(TRIALS + 1)
        port.close()
    took.sort()
    print(f"noticed after {took[TRIALS // 2]:.1f} s at the median, {took[-2]:.1f} s at p99, {took[-1]:.1f} s at most")
    assert took[-2] < NOTICED


def wait(seconds: float) -> None:
    """A pause of a random length is what this test is about."""
    threading.Event().wait(seconds)


def test_a_message_that_takes_longer_than_the_pulse_gets_through_in_the_end(
    world: World, fault_proxy_factory: FaultProxyFactory
) -> None:
    """Each false alarm doubles the patience, or it would come again for ever."""
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), keepalive=LONG_KEEPALIVE)) as port:
        port.until_up()
        proxy.slow(bytes_per_second=30_000, direction="to_broker")
        publish(port, world, range(1), 330_000)  # 11 s: longer than one verdict, shorter than two
        port.until(lambda me: me.answered(range(1)), 60)
        assert port.outcomes == [(0, None)]
        proxy.heal()
        port.close()
