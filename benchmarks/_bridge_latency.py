"""Latency for ``bridge_comparison.py``: one event at a time, MQTT in, AMQP out, all bridges taking turns in one run."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from benchmarks._bridge_trials import Candidate, Node, quiet_mosquitto, running

# Which bridge it goes through, whether it counts, and when it was sent.
_STAMP = struct.Struct("!HBd")
# Before each block, so that nobody's caches are cold.
WARM_UP = 20


class Receiver(threading.Thread):
    """Takes what arrives and notes how long it was under way, by the clock that stamped it."""

    def __init__(self, node: Node, ways: int) -> None:
        super().__init__(daemon=True)
        self.latencies: list[list[float]] = [[] for _ in range(ways)]
        self.arrived = threading.Condition()
        self.missing = 0
        self._connection = pika.BlockingConnection(pika.URLParameters(node.address))
        self._channel = self._connection.channel()
        self._channel.exchange_declare("bench", "topic", durable=True)
        queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(queue, "bench", "bench.#")
        self._channel.basic_consume(queue, self._take, auto_ack=True)

    def run(self) -> None:
        self._channel.start_consuming()
        self._connection.close()

    def close(self) -> None:
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self.join(10)

    def expect(self, count: int) -> None:
        with self.arrived:
            self.missing += count

    def complete(self, timeout: float) -> bool:
        with self.arrived:
            return self.arrived.wait_for(lambda: self.missing <= 0, timeout)

    def _take(self, channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        now = time.perf_counter()
        way, counts, sent = _STAMP.unpack(body)
        with self.arrived:
            self.missing -= 1
            if counts:
                self.latencies[way].append(now - sent)
            self.arrived.notify_all()


def latencies(candidates: Sequence[Candidate], node: Node, events: int, rate: float, blocks: int) -> list[list[float]]:
    """Seconds from before the publish to the consumer's call-back, for each candidate. Raises SystemExit if one is lost.

    All bridges stand ready for the whole run, each at a Mosquitto of its own, and take turns in blocks: whatever else the
    machine does meets all of them alike. An idle bridge sleeps and takes nothing from the others.
    """
    receiver = Receiver(node, len(candidates))
    receiver.start()
    with ExitStack() as stack:
        publishers = []
        for candidate in candidates:
            broker = stack.enter_context(quiet_mosquitto())
            stack.enter_context(running(candidate, broker.port, node.port))
            publisher = paho.Client(CallbackAPIVersion.VERSION2)
            publisher.connect(broker.host, broker.port)
            _serve(publisher, time.perf_counter() + 0.2)
            publishers.append(publisher)
        for _ in range(blocks):
            for way, publisher in enumerate(publishers):
                _block(publisher, way, events // blocks, rate, receiver)
                if not receiver.complete(10):
                    raise SystemExit(f"{candidates[way].name}: {receiver.missing} events did not arrive")
        for publisher in publishers:
            publisher.disconnect()
        receiver.close()
    return receiver.latencies


def _block(publisher: paho.Client, way: int, count: int, rate: float, receiver: Receiver) -> None:
    """Send so many events, each at its own time, whatever the one before took."""
    started = time.perf_counter()
    receiver.expect(WARM_UP + count)
    for number in range(WARM_UP + count):
        _serve(publisher, started + number / rate)
        stamp = _STAMP.pack(way, number >= WARM_UP, time.perf_counter())
        publisher.publish("bench/dev/state", stamp, qos=1)  # without a thread of paho's this writes at once
    _serve(publisher, started + (WARM_UP + count) / rate)


def _serve(publisher: paho.Client, until: float) -> None:
    """Read the broker's answers until a moment has come."""
    while (left := until - time.perf_counter()) > 0:
        publisher.loop(left)
