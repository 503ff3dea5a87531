"""The program under test of ``slow_consumer.py``: a source, a pipe, and a consumer that takes ten messages a second.

    python benchmarks/soak/_slow.py KIND PORT          KIND: mqtt5, mqtt311, amqp, circle, or circle2

On SIGUSR1 the consumer hurries. It prints ``ready``, and on SIGUSR2 its counts as JSON. ``circle`` answers each event by three
commands instead, through the same MQTT connection, ``circle2`` through one of its own.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from paho.mqtt.client import MQTTv311

from benchmarks.soak._tally import Tally
from pylib.app import AppThread, ZmqRelay
from pylib.brokers.port import Delivery
from pylib.mqtt import MqttSubscriber
from pylib.observe.logging import configure_logging
from pylib.process import SignalHandler
from pylib.rabbit import ZMQListener
from pylib.runtime.runtime import current
from pylib.threads import bye, interruptable_sleep, shutting_down
from pylib.zmq import URL_MQTT_PUBLISH, Closable, zmq_term

PIPE = "inproc://slow"
SLOW = 0.1


class Slow(AppThread, Closable):
    """Ten messages a second, until it is told to hurry. Written as the first applications wrote their loops."""

    def __init__(self) -> None:
        AppThread.__init__(self, "slow")
        Closable.__init__(self, PIPE)
        self.tally = Tally()
        self.hurry = threading.Event()

    def run(self) -> None:
        while not shutting_down:
            message = self.socket.recv_pyobj()
            self.hurry.wait(SLOW)
            event = json.loads(message)
            self.tally.add(event["device"], event["seq"], None)


class Answer(ZmqRelay):
    """Three commands for each event."""

    def __init__(self) -> None:
        ZmqRelay.__init__(self, "answer", PIPE, URL_MQTT_PUBLISH)

    def process(self, message: Any) -> Iterator[tuple[str, str]]:
        event = json.loads(message)
        for n in range(3):
            yield f"command/{n}", json.dumps({"device": event["device"], "seq": event["seq"] * 3 + n})


def body(delivery: Delivery) -> bytes:
    return delivery.body


def main(kind: str, port: str) -> None:
    configure_logging()
    SignalHandler()
    connections = [0]
    up = threading.Event()

    def ready() -> None:
        connections[0] += 1
        up.set()

    consumer: Slow | Answer = Answer() if kind.startswith("circle") else Slow()
    source: MqttSubscriber | ZMQListener
    if kind == "amqp":
        source = ZMQListener(PIPE, f"127.0.0.1:{port}", "bench", queue="slow", decode=body, on_ready=ready)
    else:
        urls = () if kind == "circle2" else (URL_MQTT_PUBLISH,)
        source = MqttSubscriber(f"127.0.0.1:{port}", "bench/#", sink_url=PIPE, client_id="slow", decode=body, on_ready=ready,
                                keepalive=5, publish_urls=urls)  # fmt: skip
        if kind == "mqtt311":
            # Mosquitto cannot be told to refuse MQTT 5, so the port is told that it did.
            source._port._protocol, source._port._fell_back = MQTTv311, True
    if isinstance(consumer, Slow):
        slow = consumer
        signal.signal(signal.SIGUSR1, lambda *_: slow.hurry.set())
        signal.signal(signal.SIGUSR2, lambda *_: print(counts(slow.tally, connections[0]), flush=True))
    else:
        signal.signal(signal.SIGUSR2, lambda *_: print(counts(Tally(), connections[0]), flush=True))
    if kind == "circle2":
        MqttSubscriber(f"127.0.0.1:{port}", sink_url=None, client_id="slow-out", publish_urls=(URL_MQTT_PUBLISH,)).start()
    consumer.start()
    source.start()
    up.wait()
    print("ready", flush=True)
    while not interruptable_sleep.wait(0.2):
        pass  # a Python signal handler runs when this thread wakes up
    zmq_term()
    bye()


def counts(tally: Tally, connections: int) -> str:
    return json.dumps(
        {
            "seen": tally.seen,
            "duplicates": tally.duplicates,
            "disorder": tally.disorder,
            "connections": connections,
            "held": len(current().receipts),
        }
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
