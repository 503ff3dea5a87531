"""Faults on the wire that know frames: the same before an embedded broker and before a real one, for plain paho and pika."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import paho.mqtt.client as paho
import pika
import pika.exceptions
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pika.adapters.blocking_connection import BlockingChannel

from pylib.testing.faults import FaultProxy

pytestmark = [pytest.mark.leak_check, pytest.mark.timeout(60)]

PATIENCE = 10.0
WHERE = ["embedded", "real"]


class Client:
    """A paho client that remembers what came, and what was confirmed."""

    def __init__(self, host: str, port: int, *topics: str, name: str = "") -> None:
        self.bodies: list[bytes] = []
        self.connects = 0
        self._changed = threading.Condition()
        # A session that is kept, so that what was not confirmed is sent again.
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=not name)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_message = lambda _c, _d, message: self._note(lambda: self.bodies.append(bytes(message.payload)))
        self.client.on_connect = lambda *_: self._note(self._connected)
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect(host, port)
        self.client.loop_start()
        self.until(lambda: self.connects > 0)
        for topic in topics:
            self.client.subscribe(topic, qos=1)
            assert subscribed.wait(PATIENCE)

    def until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), f"there is only {self.bodies}"

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _connected(self) -> None:
        self.connects += 1

    def _note(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()


@pytest.fixture(params=WHERE)
def mqtt(request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    broker = request.getfixturevalue("mqtt_broker" if request.param == "embedded" else "mosquitto")
    with FaultProxy.before(broker.url) as line:
        yield line


@pytest.fixture
def listener(mqtt: FaultProxy) -> Iterator[Client]:
    """Hears on the broker itself what got through the line."""
    with closing(Client(*mqtt.upstream, "a/#")) as client:
        yield client


@pytest.fixture
def publisher(mqtt: FaultProxy) -> Iterator[Client]:
    with closing(Client(mqtt.host, mqtt.port, name="meter")) as client:
        yield client


def test_a_lost_puback_leaves_the_client_in_doubt_until_it_has_published_again(
    mqtt: FaultProxy, listener: Client, publisher: Client
) -> None:
    mqtt.drop_frames("PUBACK")
    sent = publisher.client.publish("a/b", b"1", qos=1)
    mqtt.wait_for("PUBACK")
    listener.until(lambda: listener.bodies == [b"1"])
    assert not sent.is_published()
    mqtt.reset()
    sent.wait_for_publish(PATIENCE)
    mqtt.wait_for("PUBLISH", 2)
    listener.until(lambda: listener.bodies == [b"1", b"1"])


def test_a_lost_publish_arrives_when_the_connection_is_made_again(
    mqtt: FaultProxy, listener: Client, publisher: Client
) -> None:
    mqtt.drop_frames("PUBLISH", direction="to_broker")
    sent = publisher.client.publish("a/b", b"1", qos=1)
    mqtt.wait_for("PUBLISH")
    mqtt.reset()
    sent.wait_for_publish(PATIENCE)
    listener.until(lambda: listener.bodies == [b"1"])


def test_a_repeated_publish_comes_twice(mqtt: FaultProxy, listener: Client, publisher: Client) -> None:
    mqtt.duplicate("PUBLISH")
    publisher.client.publish("a/b", bytes(100_000), qos=1)
    publisher.client.publish("a/b", b"2", qos=1)
    listener.until(lambda: len(listener.bodies) == 3)
    assert [len(body) for body in listener.bodies] == [100_000, 100_000, 1]
    assert mqtt.seen("PUBLISH") == 2
    mqtt.wait_for("PUBACK", 3, "to_client")
    assert [head[2:] for head in mqtt.heads("PUBACK")] == [b"\0\x01", b"\0\x01", b"\0\x02"]


def test_a_line_that_is_cut_after_so_many_packets_lets_exactly_those_through(
    mqtt: FaultProxy, listener: Client, publisher: Client
) -> None:
    mqtt.cut_after_frames(2, "PUBLISH")
    sent = [publisher.client.publish("a/b", b"%d" % n, qos=1) for n in range(3)]
    publisher.until(lambda: publisher.connects == 2)
    for each in sent:
        each.wait_for_publish(PATIENCE)
    listener.until(lambda: b"2" in listener.bodies)
    # Whether the two were confirmed before the cut is the broker's affair; without that they come again.
    assert list(dict.fromkeys(listener.bodies)) == [b"0", b"1", b"2"]


def test_a_blocked_line_reads_nothing_and_still_delivers(mqtt: FaultProxy, listener: Client) -> None:
    with closing(Client(mqtt.host, mqtt.port, "b/#")) as client:
        mqtt.block()
        sent = client.client.publish("a/b", b"held", qos=1)
        listener.client.publish("b/c", b"through", qos=1)
        client.until(lambda: client.bodies == [b"through"])
        assert not sent.is_published()
        assert listener.bodies == []
        mqtt.unblock()
        sent.wait_for_publish(PATIENCE)
        listener.until(lambda: listener.bodies == [b"held"])


def test_what_did_not_come_is_told_with_what_did(mqtt: FaultProxy, publisher: Client) -> None:
    with pytest.raises(AssertionError, match=r"1 PUBREC did not come within 0.05 s. There were: .*1 CONNECT to_broker"):
        mqtt.wait_for("PUBREC", timeout=0.05)


@pytest.fixture(params=WHERE)
def amqp(request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    broker = request.getfixturevalue("amqp_broker" if request.param == "embedded" else "rabbitmq")
    with FaultProxy.before(broker.url) as line:
        yield line


@pytest.fixture
def direct(amqp: FaultProxy) -> Iterator[BlockingChannel]:
    """A channel to the broker itself, with a queue ``q``."""
    with closing(pika.BlockingConnection(pika.URLParameters(amqp.upstream_url))) as connection:
        channel = connection.channel()
        channel.queue_declare("q")
        yield channel


def connect(amqp: FaultProxy) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(amqp.url))


def drained(channel: BlockingChannel, count: int) -> list[bytes]:
    """What is in the queue: so many messages, which may still be on their way into it, and whatever is there beyond them."""
    bodies: list[bytes] = []
    end = time.monotonic() + PATIENCE
    while True:
        method, _, body = channel.basic_get("q", auto_ack=True)
        if method is not None:
            bodies.append(bytes(body or b""))
        elif len(bodies) >= count:
            return bodies
        else:
            assert time.monotonic() < end, f"there is only {bodies}"


def test_a_lost_confirm_leaves_the_publisher_in_doubt_and_the_message_in_the_queue(
    amqp: FaultProxy, direct: BlockingChannel
) -> None:
    connection = connect(amqp)
    channel = connection.channel()
    channel.confirm_delivery()
    amqp.drop_frames("basic.ack", direction="to_client")
    failures: list[BaseException] = []

    def publish() -> None:
        try:
            channel.basic_publish("", "q", b"1")
        except pika.exceptions.AMQPError as error:
            failures.append(error)

    thread = threading.Thread(target=publish)
    thread.start()
    amqp.wait_for("basic.ack", direction="to_client")
    assert thread.is_alive(), "it returned without a confirm"
    amqp.reset()
    thread.join(PATIENCE)
    assert len(failures) == 1
    assert drained(direct, 1) == [b"1"]


def test_a_lost_publish_is_lost_with_its_whole_content_and_the_channel_lives(
    amqp: FaultProxy, direct: BlockingChannel
) -> None:
    with closing(connect(amqp)) as connection:
        channel = connection.channel()
        amqp.drop_frames("basic.publish")
        channel.basic_publish("", "q", bytes(300_000))
        channel.basic_publish("", "q", b"second")
        channel.queue_declare("q", passive=True)
    assert drained(direct, 1) == [b"second"]


def test_a_repeated_publish_is_two_messages(amqp: FaultProxy, direct: BlockingChannel) -> None:
    with closing(connect(amqp)) as connection:
        channel = connection.channel()
        amqp.duplicate("basic.publish")
        channel.basic_publish("", "q", bytes(300_000))
        channel.basic_publish("", "q", b"second")
        channel.queue_declare("q", passive=True)
    assert [len(body) for body in drained(direct, 3)] == [300_000, 300_000, 6]


def test_a_line_that_is_cut_after_so_many_publishes_has_no_partial_effect(amqp: FaultProxy, direct: BlockingChannel) -> None:
    connection = connect(amqp)
    channel = connection.channel()
    amqp.cut_after_frames(2, "basic.publish")
    with pytest.raises(pika.exceptions.AMQPError):  # noqa: PT012  # which of them notices is the network's affair
        for n in range(4):
            channel.basic_publish("", "q", b"%d" % n)
        channel.queue_declare("q", passive=True)
    assert drained(direct, 2) == [b"0", b"1"]


def test_a_blocked_line_says_so_as_rabbitmq_does(amqp: FaultProxy, direct: BlockingChannel) -> None:
    with closing(connect(amqp)) as connection:
        heard: list[str] = []
        connection.add_on_connection_blocked_callback(lambda _c, frame: heard.append(frame.method.reason))
        connection.add_on_connection_unblocked_callback(lambda *_: heard.append("unblocked"))
        channel = connection.channel()
        amqp.block()
        channel.basic_publish("", "q", b"1")
        until(connection, lambda: heard == ["on test"])
        assert drained(direct, 0) == []
        amqp.unblock()
        until(connection, lambda: heard == ["on test", "unblocked"])
        channel.queue_declare("q", passive=True)
    assert drained(direct, 1) == [b"1"]


def until(connection: Any, condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        connection.process_data_events(PATIENCE / 100)
    raise AssertionError("it did not come about")
