"""Memory runs low: publishers are told and held, everybody else goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pika.exceptions
import pytest
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from pylib.embedded.amqp import AmqpBroker, Limits
from pylib.testing.rabbitmq import RabbitMQ
from tests.conformance.amqp.client import Channel
from tests.conformance.amqp.wire import CLIENT_PROPERTIES, HEARTBEAT, Hung, until
from tests.conformance.amqp.world import World

Blocked, Unblocked = commands.Connection.Blocked, commands.Connection.Unblocked
Memory = Callable[[], Any]
LIMIT = 1024 * 1024
# Does not ask to be told.
DEAF: dict[str, Any] = {
    **CLIENT_PROPERTIES,
    "capabilities": {**CLIENT_PROPERTIES["capabilities"], "connection.blocked": False},
}


@pytest.fixture(scope="module")
def embedded_broker() -> Iterator[AmqpBroker]:
    """One that is soon full."""
    with AmqpBroker(limits=Limits(memory=LIMIT)) as broker:
        yield broker


@pytest.fixture
def low_memory(world: World, request: pytest.FixtureRequest) -> Memory:
    """A context in which the broker is low on memory; left, there is enough again."""

    @contextmanager
    def filled() -> Iterator[None]:
        other, publisher = world.channel(), world.channel()
        name = other.queue(world.fresh("full"))
        publisher.put(name, *[bytes(LIMIT // 16)] * 17)
        publisher.connection.expect(0, Blocked)
        try:
            yield
        finally:
            other.delete(name)

    @contextmanager
    def told() -> Iterator[None]:
        node: RabbitMQ = request.getfixturevalue("rabbitmq_node")
        probe = world.channel()
        node.set_vm_memory_high_watermark(0)
        try:
            until(lambda: _is_blocked(probe), lambda _: None)  # the node spreads the news after it has answered
            yield
        finally:
            node.set_vm_memory_high_watermark(0.4)

    return filled if world.name == "embedded" else told


def _is_blocked(probe: Channel) -> bool:
    probe.publish("", "nobody", b"")
    try:
        got = probe.connection.read(0.1)
    except Hung:
        return False
    return got is not None and isinstance(got.frame, Blocked)


def blocked(world: World, **options: Any) -> Channel:
    """A channel whose connection is held: it has just published, and was told."""
    ch = world.channel(**options)
    ch.publish("", "nobody", b"")
    assert ch.connection.expect(0, Blocked).reason == "low on memory"
    return ch


def let_on(ch: Channel) -> None:
    ch.connection.expect(0, Unblocked)
    ch.settle()


def test_a_publisher_is_told_when_memory_is_low_and_when_it_is_there_again(world: World, low_memory: Memory) -> None:
    with low_memory():
        ch = blocked(world)
        ch.connection.silent_for(0.1)
    let_on(ch)


def test_a_held_publisher_gets_no_answer_until_it_is_let_on(world: World, low_memory: Memory) -> None:
    with low_memory():
        ch = blocked(world)
        ch.send(Basic.Qos(0, 0, False))
        ch.connection.silent_for(0.2)
    ch.connection.expect(0, Unblocked)
    ch.wait_for(Basic.QosOk)


def test_one_that_published_before_and_is_quiet_now_goes_on(world: World, low_memory: Memory) -> None:
    ch = world.channel()
    queue = ch.queue()
    ch.put(queue, b"before")
    ch.settle()
    with low_memory():
        ch.connection.silent_for(0.1)
        assert ch.drain(queue) == [b"before"]
        ch.put(queue, b"now")
        ch.connection.expect(0, Blocked)
    let_on(ch)
    assert ch.drain(queue) == [b"now"]


def test_the_body_of_the_message_that_blocks_waits_too(world: World, low_memory: Memory) -> None:
    other, ch = world.channel(), world.channel().confirm()
    queue = other.queue(world.fresh(), auto_delete=True)
    with low_memory():
        ch.put(queue, b"first")
        ch.connection.expect(0, Blocked)
        ch.put(queue, *(b"%d" % number for number in range(20)))
        ch.connection.silent_for(0.1)
        assert other.ready(queue) == 0
    ch.connection.expect(0, Unblocked)
    assert ch.confirmed(21) == [("ack", tag) for tag in range(1, 22)]
    assert other.drain(queue) == [b"first", *(b"%d" % number for number in range(20))]


def test_a_consumer_is_served_while_memory_is_low(world: World, low_memory: Memory) -> None:
    ch = world.channel()
    queue = ch.queue()
    ch.put(queue, *(b"%d" % number for number in range(5)))
    ch.settle()
    with low_memory():
        ch.qos(1)
        ch.consume(queue)
        for number in range(5):
            delivery = ch.delivery()
            assert delivery.body == b"%d" % number
            ch.ack(delivery.tag)
        assert ch.ready(queue) == 0


def test_who_connects_while_memory_is_low_is_held_at_its_first_message(world: World, low_memory: Memory) -> None:
    with low_memory():
        ch = world.channel()
        queue = ch.queue()
        ch.connection.silent_for(0.1)
        ch.put(queue, b"x")
        ch.connection.expect(0, Blocked)
    let_on(ch)
    assert ch.drain(queue) == [b"x"]


def test_who_did_not_ask_to_be_told_is_held_in_silence(world: World, low_memory: Memory) -> None:
    ch = world.channel(properties=DEAF).confirm()
    queue = ch.queue()
    with low_memory():
        ch.put(queue, b"x")
        ch.connection.silent_for(0.2)
    assert ch.confirmed(1) == [("ack", 1)]
    assert ch.drain(queue) == [b"x"]


def test_a_message_in_the_middle_of_its_bodies_is_held_after_the_next_one(world: World, low_memory: Memory) -> None:
    ch = world.channel().confirm()
    queue = ch.queue()
    ch.send(Basic.Publish(routing_key=queue), ContentHeader(body_size=9), ContentBody(b"one"))
    with low_memory():
        ch.connection.silent_for(0.1)
        ch.send(ContentBody(b"two"), ContentBody(b"six"))
        ch.connection.expect(0, Blocked)
        ch.connection.silent_for(0.1)
    ch.connection.expect(0, Unblocked)
    assert ch.confirmed(1) == [("ack", 1)]
    assert ch.drain(queue) == [b"onetwosix"]


def test_a_held_client_that_is_silent_is_not_hung_up_on(world: World, low_memory: Memory) -> None:
    with low_memory():
        ch = blocked(world, heartbeat=1)
        began = time.monotonic()
        beats = 0
        while time.monotonic() - began < 4:  # twice as long as one that is not held may be silent, and more
            got = ch.connection.read(2, heartbeats=True)
            assert got is not None
            assert got.kind == HEARTBEAT
            beats += 1
        assert beats >= 3
    let_on(ch)


def test_pika_is_told_by_its_callbacks(world: World, low_memory: Memory) -> None:
    connection = world.pika()
    told: list[str] = []
    connection.add_on_connection_blocked_callback(lambda _, method: told.append(method.method.reason))
    connection.add_on_connection_unblocked_callback(lambda *_: told.append("unblocked"))
    channel = connection.channel()
    with low_memory():
        channel.basic_publish("", "nobody", b"x")
        until(lambda: len(told) == 1, connection.process_data_events)
    until(lambda: len(told) == 2, connection.process_data_events)
    assert told == ["low on memory", "unblocked"]
    channel.queue_declare("", exclusive=True)


def test_pikas_time_limit_for_being_blocked_ends_the_connection(world: World, low_memory: Memory) -> None:
    connection = world.pika(blocked_connection_timeout=0.1)
    with low_memory():
        connection.channel().basic_publish("", "nobody", b"x")
        with pytest.raises(pika.exceptions.ConnectionBlockedTimeout):
            until(lambda: False, connection.process_data_events)
