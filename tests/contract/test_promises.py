"""What ``pylib.brokers.port`` promises, kept by both ports on real brokers."""

from __future__ import annotations

import socket
import time
from contextlib import closing

import pytest

from pylib.brokers.port import Expired, Outgoing
from pylib.errors import ConnectionLost, Rejected
from pylib.testing.contract.port_thread import PortThread
from pylib.testing.plugin import FaultProxyFactory
from tests.contract.worlds import World

pytestmark = [pytest.mark.leak_check, pytest.mark.timeout(120)]


def numbered(world: World, count: int, start: int = 0) -> list[tuple[Outgoing, object]]:
    return [(Outgoing(world.where, b"%d" % n), n) for n in range(start, start + count)]


def round_trip(port: PortThread) -> None:
    """Everything said before has reached the broker: it has answered what was said after it."""
    token = object()
    port.publish([(Outgoing("round/trip", b""), token)])
    port.until(lambda me: me.answered([token]))


def test_every_publish_is_answered_once_and_arrives_in_order(world: World) -> None:
    with world.watch() as watcher, PortThread(world.port()) as port:
        port.until_up()
        port.publish(numbered(world, 300))
        port.until(lambda me: me.answered(range(300)))
        assert watcher.collect(300) == [b"%d" % n for n in range(300)]
        assert port.outcomes == [(n, None) for n in range(300)]
        assert port.port.unsettled == 0
        port.close()
        assert len(port.outcomes) == 300


def test_publish_returns_at_once_while_the_connection_is_frozen(world: World, fault_proxy_factory: FaultProxyFactory) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), keepalive=60)) as port:
        port.until_up()
        proxy.freeze()
        body = bytes(200_000)  # 40 MB: more than every buffer on the way
        started = time.monotonic()
        port.publish([(Outgoing(world.where, body), n) for n in range(200)])
        assert time.monotonic() - started < 2.0
        assert port.port.unsettled == 200
        proxy.thaw()
        port.until(lambda me: me.answered(range(200)))
        assert [error for _, error in port.outcomes if error is not None] == []
        port.close()


def test_room_shrinks_with_each_unanswered_message_and_comes_back(
    world: World, fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), window=10)) as port:
        assert port.call(lambda: port.port.room) in (0, 10)  # not up yet, or up already
        port.until_up()
        assert port.call(lambda: port.port.room) == 10
        proxy.freeze("to_client")
        port.publish(numbered(world, 7))
        assert port.call(lambda: port.port.room) == 3
        proxy.thaw("to_client")
        port.until(lambda me: me.answered(range(7)))
        assert port.call(lambda: port.port.room) == 10
        port.close()


def test_order_and_answers_survive_a_reset_with_messages_under_way(
    world: World, fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with world.watch() as watcher, PortThread(world.port(world.address(proxy.port))) as port:
        port.until_up()
        port.publish(numbered(world, 20))
        port.until(lambda me: me.answered(range(20)))
        proxy.freeze("to_client")  # published, and the answer does not come back
        port.publish(numbered(world, 30, 20))
        proxy.reset()
        proxy.heal()
        port.until_up(2)
        port.publish(numbered(world, 30, 50))
        port.until(lambda me: me.answered(range(80)))
        assert port.outcomes == [(n, None) for n in range(80)]
        # What reached the broker before the reset comes twice; the first copies are in order, none is missing.
        seen: list[int] = []
        count = 80
        while len(seen) < 80:
            bodies = [int(body) for body in watcher.collect(count if not seen else 1)]
            seen = list(dict.fromkeys([*seen, *bodies]))
        assert seen == list(range(80))
        port.close()


def test_nothing_is_acknowledged_before_it_is_settled(world: World, fault_proxy_factory: FaultProxyFactory) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), consume=True)) as port:
        port.until_up()
        world.send([b"0", b"1", b"2"])
        port.until(lambda me: len(me.deliveries) == 3)
        first = port.deliveries[:]
        assert [each.body for each in first] == [b"0", b"1", b"2"]
        assert all(each.tag for each in first)
        port.settle(first[:1])
        round_trip(port)
        proxy.drop()
        port.until_up(2)
        port.until(lambda me: len(me.deliveries) >= 5)
        assert [each.body for each in port.deliveries[3:]] == [b"1", b"2"]
        assert all(each.redelivered for each in port.deliveries[3:])
        assert {each.epoch for each in port.deliveries[3:]}.isdisjoint({each.epoch for each in first})
        port.settle(port.deliveries[3:])
        round_trip(port)
        proxy.drop()
        port.until_up(3)
        world.send([b"3"])
        port.until(lambda me: len(me.deliveries) > 5)
        assert [each.body for each in port.deliveries[5:]] == [b"3"]
        port.settle(port.deliveries[5:])
        port.close()


def test_settling_a_delivery_of_an_earlier_connection_acknowledges_nothing(
    world: World, fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), consume=True)) as port:
        port.until_up()
        world.send([b"0", b"1"])
        port.until(lambda me: len(me.deliveries) == 2)
        stale = port.deliveries[:]
        proxy.reset()
        port.until_up(2)
        port.until(lambda me: len(me.deliveries) == 4)
        port.settle(stale)  # the same numbers, an earlier connection
        round_trip(port)
        proxy.reset()
        port.until_up(3)
        port.until(lambda me: len(me.deliveries) == 6)
        assert [each.body for each in port.deliveries[4:]] == [b"0", b"1"]
        port.settle(port.deliveries[4:])
        port.close()


def test_after_stop_consuming_nothing_is_delivered_and_acknowledgements_still_leave(world: World) -> None:
    with PortThread(world.port(consume=True)) as port:
        port.until_up()
        world.send([b"before"])
        port.until(lambda me: len(me.deliveries) == 1)
        port.call(port.port.stop_consuming)
        world.send([b"after"])
        port.settle(port.deliveries)
        port.publish([(Outgoing("elsewhere", b""), "still publishing")])
        port.until(lambda me: me.answered(["still publishing"]))
        port.close()
        assert [each.body for each in port.deliveries] == [b"before"]
    with PortThread(world.port(consume=True)) as again:
        again.until(lambda me: len(me.deliveries) == 1)
        assert [each.body for each in again.deliveries] == [b"after"]
        again.settle(again.deliveries)
        again.close()


def test_a_message_that_no_broker_would_take_is_refused_at_once_and_the_next_one_passes(world: World) -> None:
    with world.watch() as watcher, PortThread(world.port()) as port:
        port.until_up()
        for bad in ("a\0b", "x" * 70_000, "\ud800"):
            with pytest.raises(Rejected):
                port.publish([(Outgoing(bad, b""), bad)])
        port.publish([(Outgoing(world.where, b"good"), "good")])
        port.until(lambda me: me.answered(["good"]))
        assert watcher.collect(1) == [b"good"]
        assert port.outcomes == [("good", None)]
        assert port.ups == 1
        port.close()


def test_an_expired_message_is_answered_and_not_sent(world: World) -> None:
    with world.watch() as watcher, PortThread(world.port()) as port:
        port.until_up()
        old = Outgoing(world.where, b"old", expires_at=time.time() - 1)
        port.publish([(old, "old"), (Outgoing(world.where, b"new", expires_at=time.time() + 60), "new")])
        port.until(lambda me: me.answered(["old", "new"]))
        assert isinstance(dict(port.outcomes)["old"], Expired)
        assert watcher.collect(1) == [b"new"]
        port.close()


def test_what_was_not_answered_fails_when_the_port_is_closed(world: World, fault_proxy_factory: FaultProxyFactory) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), keepalive=60)) as port:
        port.until_up()
        proxy.freeze()
        port.publish(numbered(world, 3))
        port.call(port.port.abort)
        assert [token for token, _ in port.outcomes] == [0, 1, 2]
        assert all(isinstance(error, ConnectionLost) for _, error in port.outcomes)


def test_the_addresses_are_tried_in_turn(world: World) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        addresses = [world.address(taken.getsockname()[1]), world.address()]
        with world.watch() as watcher, PortThread(world.port(addresses)) as port:
            port.until_up()
            assert [delay for _, delay in port.downs] == [0.0]
            assert port.port.name.endswith(f":{world.tcp_port}")
            port.publish(numbered(world, 1))
            assert watcher.collect(1) == [b"0"]
            port.close()
