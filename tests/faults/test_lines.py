"""The line between us and a broker: pulled, lossy, slow, reset in the middle of a packet. And a broker that freezes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from pylib.brokers.liveness import PULSE_DEADLINE, PULSE_INTERVAL
from pylib.brokers.port import Outgoing
from pylib.errors import ConnectionLost
from pylib.testing.contract.port_thread import PortThread
from pylib.testing.plugin import FaultProxyFactory
from tests.contract.worlds import World
from tests.faults.conftest import Cable, Mortal

pytestmark = [pytest.mark.leak_check, pytest.mark.timeout(90)]

# What is promised of a half-open connection: noticed within 7 s, whatever the keep-alive is.
NOTICED = 7.0
LONG_KEEPALIVE = 60
# MQTT 3.1.1 goes the same way as MQTT 5 where time is what a test costs.
BOTH = ["mqtt5", "amqp"]


def publish(port: PortThread, world: World, tokens: range, size: int = 0) -> None:
    port.publish([(Outgoing(world.where, b"%d" % n + bytes(size)), n) for n in tokens])


def seconds_until_noticed(port: PortThread, cut: Callable[[], None]) -> float:
    """From the cut to the port's own word that it is down; until then nobody may have claimed otherwise."""
    before = len(port.downs)
    cut()
    started = time.monotonic()
    port.until(lambda me: len(me.downs) > before, timeout=3 * NOTICED)
    took = time.monotonic() - started
    error = port.downs[before][0]
    assert isinstance(error, ConnectionLost), error
    assert not port.call(lambda: port.port.up), "it says that it is up while it is not"
    assert port.call(lambda: port.port.room) == 0
    return took


def until_down(port: PortThread, times: int) -> None:
    port.until(lambda me: len(me.downs) >= times)


def until_answered(port: PortThread, count: int) -> None:
    port.until(lambda me: me.answered(range(count)))


def test_the_two_waits_of_the_pulse_leave_room_in_the_seven_seconds() -> None:
    assert PULSE_INTERVAL + PULSE_DEADLINE < NOTICED


@pytest.mark.parametrize("world", BOTH, indirect=True)
def test_a_pulled_cable_is_noticed_within_seven_seconds_and_nothing_is_lost(world: World, cable: Cable) -> None:
    with PortThread(world.port(keepalive=LONG_KEEPALIVE)) as port:
        port.until_up()
        publish(port, world, range(3))
        port.until(lambda me: me.answered(range(3)))

        def cut() -> None:
            cable.pull()
            publish(port, world, range(3, 6))

        assert seconds_until_noticed(port, cut) < NOTICED
        cable.plug()
        port.until(lambda me: me.answered(range(6)), 30)
        assert [error for _, error in port.outcomes if error] == []
        assert [token for token, _ in port.outcomes] == list(range(6)), "not in order"
        port.close()


@pytest.mark.parametrize("world", BOTH, indirect=True)
def test_a_connection_that_freezes_as_soon_as_it_is_up_is_noticed_too(
    world: World, fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), keepalive=LONG_KEEPALIVE, consume=True)) as port:
        frozen = threading.Event()

        def freeze() -> None:
            proxy.freeze()
            frozen.set()

        port.until_up()
        assert seconds_until_noticed(port, freeze) < NOTICED
        proxy.heal()
        proxy.reset()
        port.until_up(2)
        port.close()


def test_a_frozen_broker_is_noticed_and_served_again_when_it_thaws(brief: Mortal) -> None:
    world = brief.world
    with PortThread(world.port(keepalive=LONG_KEEPALIVE, consume=True)) as port:
        port.until_up()
        publish(port, world, range(3))
        port.until(lambda me: me.answered(range(3)))

        def pause() -> None:
            brief.pause()

        assert seconds_until_noticed(port, pause) < NOTICED
        publish(port, world, range(3, 6))
        brief.resume()
        port.until(lambda me: me.answered(range(6)), 30)
        assert [error for _, error in port.outcomes if error] == []
        port.until(lambda me: {b"%d" % n for n in range(6)} <= {each.body for each in me.deliveries})
        port.settle([each for each in port.deliveries if each.epoch == port.deliveries[-1].epoch])
        port.close()


def test_a_reset_in_the_middle_of_a_packet_has_no_partial_effect(world: World, fault_proxy_factory: FaultProxyFactory) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    size = 20_000
    with world.watch() as watcher, PortThread(world.port(world.address(proxy.port), keepalive=LONG_KEEPALIVE)) as port:
        port.until_up()
        for cut, direction in ((3, "to_broker"), (size // 2, "to_broker"), (size + 30, "to_broker"), (1, "to_client")):
            ups, first = port.ups, len(port.outcomes)
            proxy.cut_after(cut, direction)  # type: ignore[arg-type]  # one of the two that it takes
            publish(port, world, range(first, first + 3), size)
            until_down(port, ups)
            proxy.heal()
            until_answered(port, first + 3)
        bodies = watcher.collect(12, distinct=True)  # what was cut after the broker had it comes again
        assert {len(body) for body in bodies} <= {size + 1, size + 2}, "a part of a message was taken for a message"
        assert list(dict.fromkeys(int(body.rstrip(b"\0")) for body in bodies)) == list(range(12))
        assert [error for _, error in port.outcomes if error] == []
        port.close()


def test_a_port_that_answers_with_a_reset_is_left_and_taken_up_again(world: World, cable: Cable) -> None:
    with PortThread(world.port(keepalive=LONG_KEEPALIVE)) as port:
        port.until_up()
        cable.refuse()
        publish(port, world, range(3))
        port.until(lambda me: len(me.downs) >= 2)
        assert not port.call(lambda: port.port.up)
        cable.refuse_none()
        port.until(lambda me: me.answered(range(3)))
        assert [error for _, error in port.outcomes if error] == []
        port.close()


def test_with_a_third_of_the_packets_lost_there_is_progress_and_no_loss(world: World, cable: Cable) -> None:
    with PortThread(world.port(keepalive=LONG_KEEPALIVE)) as port:
        port.until_up()
        cable.lose(0.3)
        publish(port, world, range(20))
        port.until(lambda me: me.answered(range(20)), 60)
        cable.lose_none(0.3)
        assert [error for _, error in port.outcomes if error] == []
        assert [token for token, _ in port.outcomes] == list(range(20))
        port.close()


def test_a_slow_line_slows_the_sender_and_is_not_taken_for_a_dead_one(
    world: World, fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    slow = world.port(world.address(proxy.port), window=20, keepalive=LONG_KEEPALIVE)
    with world.watch() as watcher, PortThread(slow) as port:
        port.until_up()
        proxy.slow(bytes_per_second=16_000, latency=0.05)
        publish(port, world, range(20), 2000)
        port.call(lambda: None)
        assert port.call(lambda: port.port.room) == 0, "there is room for more than the window holds"
        port.until(lambda me: me.answered(range(20)), 30)
        proxy.heal()
        assert port.ups == 1, "a slow line was taken for a dead one"
        assert [int(body.rstrip(b"\0")) for body in watcher.collect(20)] == list(range(20))
        port.close()
