"""The client library that people use, unchanged, against both brokers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from paho.mqtt import client as paho
from paho.mqtt import publish as paho_publish
from paho.mqtt import subscribe as paho_subscribe
from paho.mqtt.enums import CallbackAPIVersion

from tests.conformance.mqtt.kit import Endpoint, Raw

PATIENCE = 10.0


@contextmanager
def connected(
    broker: Endpoint, client_id: str = "", *, clean: bool = True, **callbacks: object
) -> Iterator[tuple[paho.Client, queue.Queue[paho.MQTTMessage]]]:
    """A paho client with its own network thread, connected, and what it receives."""
    arrived: queue.Queue[paho.MQTTMessage] = queue.Queue()
    up = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=clean, protocol=paho.MQTTv311)
    client.on_connect = lambda *_: up.set()
    client.on_message = lambda _client, _data, message: arrived.put(message)
    for name, callback in callbacks.items():
        setattr(client, name, callback)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        assert up.wait(PATIENCE)
        yield client, arrived
    finally:
        client.disconnect()
        client.loop_stop()


def subscribed(client: paho.Client, topic_filter: str, qos: int) -> None:
    done = threading.Event()
    client.on_subscribe = lambda *_: done.set()
    client.subscribe(topic_filter, qos)
    assert done.wait(PATIENCE)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_thousand_messages_arrive_once_and_in_order(broker: Endpoint, qos: int) -> None:
    with connected(broker) as (listener, arrived), connected(broker) as (speaker, _):
        subscribed(listener, "many/#", qos)
        handed = [speaker.publish(f"many/{n % 10}", b"%d" % n, qos) for n in range(1000)]
        handed[-1].wait_for_publish(PATIENCE)
        assert [int(arrived.get(timeout=PATIENCE).payload) for _ in range(1000)] == list(range(1000))
        assert arrived.empty()


def test_a_session_brings_what_came_in_the_meantime(broker: Endpoint) -> None:
    with connected(broker, "keeper", clean=False) as (listener, _):
        subscribed(listener, "a", 2)
    with connected(broker) as (speaker, _):
        for n in range(100):
            speaker.publish("a", b"%d" % n, 2).wait_for_publish(PATIENCE)
    with connected(broker, "keeper", clean=False) as (_, arrived):
        assert [int(arrived.get(timeout=PATIENCE).payload) for _ in range(100)] == list(range(100))


def test_paho_s_helpers_for_one_message_work(broker: Endpoint) -> None:
    paho_publish.multiple([("kept/1", b"one", 1, True), ("kept/2", b"two", 2, True)], hostname=broker.host, port=broker.port)
    found = paho_subscribe.simple("kept/+", msg_count=2, hostname=broker.host, port=broker.port)
    assert isinstance(found, list)
    assert sorted((message.topic, message.payload, message.retain) for message in found) == [
        ("kept/1", b"one", True), ("kept/2", b"two", True),
    ]  # fmt: skip


def test_a_refused_client_is_told_why(guarded: Endpoint) -> None:
    told: queue.Queue[str] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.username_pw_set("anna", "wrong")
    client.on_connect = lambda _client, _data, _flags, reason, _properties: told.put(str(reason))
    client.connect(guarded.host, guarded.port)
    client.loop_start()
    try:
        assert told.get(timeout=PATIENCE) == "Not authorized"
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_subscriber_that_stops_reading_holds_nobody_up(broker: Endpoint, publisher: Raw, subscriber: Raw) -> None:
    subscriber.subscribe(("flood", 0))  # and reads no more
    with connected(broker) as (listener, arrived):
        subscribed(listener, "flood", 0)
        for _ in range(40):
            publisher.publish("flood", b"x" * 100_000)
            assert len(arrived.get(timeout=PATIENCE).payload) == 100_000
