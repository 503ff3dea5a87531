"""A flood of retained messages at every connect: memory stays bounded, and none of it sets anything off."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import zmq
from paho.mqtt.enums import CallbackAPIVersion

from pylib.brokers.port import Delivery
from pylib.mqtt import MqttSubscriber
from pylib.runtime.receipts import settle_handling
from pylib.runtime.runtime import Runtime
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import MosquittoFactory
from pylib.zmq import URL_HEARTBEAT_NANNY, zmq_socket

pytestmark = pytest.mark.timeout(110)

PATIENCE = 20.0
MEBIBYTE = 1 << 20


def fill(broker: Mosquitto, count: int) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(0)
    client.connect(broker.host, broker.port)
    client.loop_start()
    infos = [client.publish(f"sensor/{n}/state", b'{"state": "open"}' + bytes(200), qos=1, retain=True) for n in range(count)]
    for info in infos:
        info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def flood(runtime: Runtime, factory: MosquittoFactory, count: int, most: int) -> None:
    broker = factory(max_queued_messages=0)
    fill(broker, count)
    ready = threading.Event()
    sink = zmq_socket(zmq.PULL)
    sink.bind(URL_HEARTBEAT_NANNY)

    def decode(delivery: Delivery) -> tuple[str, bool]:
        return delivery.address, delivery.retained

    subscriber = MqttSubscriber(broker.address, "sensor/#", client_id="flooded", decode=decode, on_ready=ready.set)
    before = rss()
    peak = before
    subscriber.start()
    assert ready.wait(PATIENCE)
    seen: set[str] = set()
    while len(seen) < count:
        assert sink.poll(int(1000 * PATIENCE)), f"{len(seen)} of {count} come"
        topic, retained = sink.recv_pyobj()
        assert retained, f"{topic} is not marked as retained, so it might set something off"
        seen.add(topic)
        if len(seen) % 500 == 0:
            peak = max(peak, rss())
    settle_handling()
    assert peak - before < most, f"memory grew by {(peak - before) / MEBIBYTE:.0f} MiB"
    assert subscriber.is_alive()


def test_five_thousand_retained_messages_are_marked_and_memory_stays_bounded(
    runtime: Runtime, mosquitto_factory: MosquittoFactory
) -> None:
    flood(runtime, mosquitto_factory, 5_000, 32 * MEBIBYTE)
