"""What a port does when its broker dies, freezes, or goes away by the book; and what it leaves behind in each state."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from pylib.brokers.addresses import TlsOptions
from pylib.brokers.port import Outgoing
from pylib.errors import ConnectFailed, ConnectionLost
from pylib.testing.contract.port_thread import PortThread
from pylib.testing.plugin import FaultProxyFactory, RabbitMQFactory
from pylib.testing.rabbitmq import RabbitMQ
from tests.contract.conftest import Mortal
from tests.contract.worlds import RabbitWorld, World

pytestmark = [pytest.mark.leak_check, pytest.mark.timeout(120)]


def publish_and_wait(port: PortThread, world: World, tokens: range) -> None:
    port.publish([(Outgoing(world.where, b"%d" % n), n) for n in tokens])
    port.until(lambda me: me.answered(tokens), 60)


def alarmed(node: RabbitMQ) -> None:
    """Set off the memory alarm, and return when the node says that it is on: it looks at its memory by itself."""
    node.set_vm_memory_high_watermark(0)
    deadline = time.monotonic() + 10
    while node.evaluate("rabbit_alarm:get_alarms()") == "[]":
        assert time.monotonic() < deadline, "the alarm does not go off"


def until_blocked(port: PortThread) -> None:
    deadline = time.monotonic() + 10
    while not port.call(lambda: getattr(port.port, "blocked", False)):
        assert time.monotonic() < deadline, "RabbitMQ has not said that it blocks us"


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_it_comes_back_after_the_broker_was_ended_and_started_again(mortal: Mortal, how: str) -> None:
    world = mortal.world
    with PortThread(world.port(consume=True)) as port:
        port.until_up()
        publish_and_wait(port, world, range(5))
        port.until(lambda me: len(me.deliveries) >= 5)
        stale = port.deliveries[:5]
        if how == "terminate":
            port.settle(stale)
        (mortal.kill if how == "kill" else mortal.terminate)()
        port.until(lambda me: len(me.downs) >= 1)
        assert isinstance(port.downs[0][0], ConnectionLost)
        # While it is away, publishing still is accepted and never blocks.
        port.publish([(Outgoing(world.where, b"%d" % n), n) for n in range(5, 10)])
        mortal.start()
        port.until(lambda me: me.ups >= 2 and me.answered(range(10)), 60)
        assert sorted(str(token) for token, _ in port.outcomes) == [str(n) for n in range(10)]
        assert [error for _, error in port.outcomes if error] == []
        port.settle(stale)  # their numbers now mean other messages
        port.until(lambda me: {b"%d" % n for n in range(5, 10)} <= {each.body for each in me.deliveries})
        new = [each for each in port.deliveries if each.epoch != stale[0].epoch]
        fresh = [each.body for each in new if each.body in {b"%d" % n for n in range(5, 10)}]
        assert fresh == [b"%d" % n for n in range(5, 10)]
        port.settle(new)
        port.close()


def test_a_settle_from_before_the_restart_does_not_acknowledge_what_came_after(mortal: Mortal) -> None:
    world = mortal.world
    with PortThread(world.port(consume=True)) as port:
        port.until_up()
        world.send([b"before"])
        port.until(lambda me: len(me.deliveries) == 1)
        stale = port.deliveries[0]
        mortal.terminate()
        mortal.start()
        port.until_up(2)
        world.send([b"after"])
        port.until(lambda me: b"after" in [each.body for each in me.deliveries])
        port.settle([stale])
        publish_and_wait(port, world, range(1))  # the wrong acknowledgement would have reached the broker by now
        port.close()
    with PortThread(world.port(consume=True)) as again:
        again.until(lambda me: {b"before", b"after"} <= {each.body for each in me.deliveries})
        again.settle(again.deliveries)
        again.close()


def test_a_frozen_broker_is_noticed_within_a_few_keep_alives(world: World, fault_proxy_factory: FaultProxyFactory) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), keepalive=1)) as port:
        port.until_up()
        proxy.freeze()
        started = time.monotonic()
        port.until(lambda me: len(me.downs) >= 1)
        assert time.monotonic() - started < 15.0
        assert isinstance(port.downs[0][0], ConnectionLost)
        proxy.heal()
        proxy.reset()
        port.until_up(2)
        publish_and_wait(port, world, range(3))
        port.close()


def test_an_idle_connection_lives_through_many_keep_alives(world: World) -> None:
    with PortThread(world.port(consume=True, keepalive=1)) as port:
        port.until_up()
        # The broker hangs up on a client that is silent for one and a half keep-alives (RabbitMQ: for two).
        with pytest.raises(AssertionError, match="not in time"):
            port.until(lambda me: len(me.downs) > 0, timeout=4.0)
        publish_and_wait(port, world, range(1))
        assert port.ups == 1
        port.close()


# -- nothing is left behind, in whatever state it was -----------------------------------------------------------------


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue of connections is full: whoever connects to it hears nothing."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.socket()))
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        place = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(closing(socket.socket()))
            filler.setblocking(False)
            filler.connect_ex(place)
        # Only a queue that is full by now makes the next one wait.
        probe = stack.enter_context(closing(socket.socket()))
        probe.setblocking(False)
        probe.connect_ex(place)
        assert not select.select([], [probe], [], 0.2)[1], "the queue of connections has room left"
        yield place[1]


@contextmanager
def silent_server() -> Iterator[tuple[int, socket.socket]]:
    """Accepts connections and says nothing."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        listener.settimeout(10)
        yield listener.getsockname()[1], listener


@pytest.mark.parametrize("leave", ["close", "abort"])
def test_leaving_while_it_connects_leaves_nothing(world: World, leave: str) -> None:
    with black_hole() as hole, PortThread(world.port(world.address(hole), connect_timeout=30)) as port:
        port.close() if leave == "close" else port.call(port.port.abort)


@pytest.mark.parametrize("leave", ["close", "abort"])
def test_leaving_while_the_broker_says_nothing_leaves_nothing(world: World, leave: str) -> None:
    with (
        silent_server() as (tcp_port, listener),
        PortThread(world.port(world.address(tcp_port), connect_timeout=30)) as port,
    ):
        peer, _ = listener.accept()
        with closing(peer):
            assert peer.recv(1)  # its greeting
            port.close() if leave == "close" else port.call(port.port.abort)


@pytest.mark.parametrize("leave", ["close", "abort"])
def test_leaving_during_a_tls_handshake_leaves_nothing(world: World, leave: str) -> None:
    scheme = "amqps" if isinstance(world, RabbitWorld) else "mqtts"
    with silent_server() as (tcp_port, listener):
        port = world.port(f"{scheme}://127.0.0.1:{tcp_port}", tls=TlsOptions(verify=False, check_hostname=False),
                          connect_timeout=30)  # fmt: skip
        with PortThread(port) as owner:
            peer, _ = listener.accept()
            with closing(peer):
                assert peer.recv(1) == b"\x16"  # a TLS handshake record
                owner.close() if leave == "close" else owner.call(owner.port.abort)


@pytest.mark.parametrize("leave", ["close", "abort"])
def test_leaving_between_two_attempts_leaves_nothing(world: World, leave: str) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        with PortThread(world.port(world.address(taken.getsockname()[1]))) as port:
            port.until(lambda me: len(me.downs) >= 2)
            assert all(isinstance(error, ConnectFailed) for error, _ in port.downs)
            port.close() if leave == "close" else port.call(port.port.abort)
            count = len(port.downs)
            with pytest.raises(AssertionError, match="not in time"):
                port.until(lambda me: len(me.downs) > count, timeout=0.4)  # the longest back-off is 0.2 s


def test_aborting_a_half_open_connection_leaves_nothing(world: World, fault_proxy_factory: FaultProxyFactory) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), keepalive=60)) as port:
        port.until_up()
        proxy.freeze()
        port.publish([(Outgoing(world.where, bytes(100_000)), n) for n in range(50)])
        started = time.monotonic()
        port.call(port.port.abort)
        assert time.monotonic() - started < 0.5
        assert port.answered(range(50))


def test_aborting_a_connection_that_a_memory_alarm_blocks_leaves_nothing(rabbitmq_factory: RabbitMQFactory) -> None:
    node = rabbitmq_factory()
    world = RabbitWorld(node.address)
    with PortThread(world.port()) as port:
        port.until_up()
        publish_and_wait(port, world, range(1))
        alarmed(node)
        # RabbitMQ blocks whoever publishes while the alarm is on, and says so.
        port.publish([(Outgoing(world.where, b"1"), 1)])
        until_blocked(port)
        port.publish([(Outgoing(world.where, b"%d" % n), n) for n in range(2, 5)])
        started = time.monotonic()
        port.call(port.port.abort)
        assert time.monotonic() - started < 0.5
        assert port.answered(range(5))


def test_publishing_goes_on_after_a_memory_alarm(rabbitmq_factory: RabbitMQFactory) -> None:
    node = rabbitmq_factory()
    world = RabbitWorld(node.address)
    with PortThread(world.port()) as port:
        port.until_up()
        alarmed(node)
        port.publish([(Outgoing(world.where, b"%d" % n), n) for n in range(5)])
        until_blocked(port)
        assert port.call(lambda: port.port.room) == 0
        port.publish([(Outgoing(world.where, b"%d" % n), n) for n in range(5, 10)])
        node.set_vm_memory_high_watermark(0.4)
        port.until(lambda me: me.answered(range(10)))
        assert port.outcomes == [(n, None) for n in range(10)]
        assert port.ups == 1
        port.close()


def test_a_message_under_way_when_the_broker_goes_away_is_no_suspect_however_often(
    world: World, fault_proxy_factory: FaultProxyFactory
) -> None:
    proxy = fault_proxy_factory(world.tcp_port)
    with PortThread(world.port(world.address(proxy.port), keepalive=60)) as port:
        for times in range(1, 7):
            port.until_up(times)
            proxy.freeze("to_client")
            if times == 1:
                port.publish([(Outgoing(world.where, b"0"), 0)])
            port.call(lambda: None)
            proxy.reset()
            proxy.heal()
        port.until(lambda me: me.answered([0]))
        assert port.outcomes == [(0, None)]
        port.close()
