"""How long a message takes from an application's thread to an MQTT subscriber: through ``inproc://mqtt-publish`` and
``MqttSubscriber``, and, in the same run, published straight to paho's own ``loop_start()`` thread.

    python benchmarks/outbound_latency.py [--messages 2000] [--rate 100]

A private Mosquitto is started for it. The receiver is the same in both: a paho client with a thread of its own. Each way
takes its turn in blocks of a tenth, so that whatever else the machine does meets both alike.
"""

from __future__ import annotations

import argparse
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as paho
import zmq
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from pylib.mqtt import MqttSubscriber
from pylib.runtime.runtime import current
from pylib.testing.mosquitto import Mosquitto
from pylib.zmq import URL_MQTT_PUBLISH, zmq_socket, zmq_term

_STAMP = struct.Struct("!Bd")
OURS, PAHO = 0, 1


class Receiver:
    """Notes when each message arrived, by the same clock that stamped it."""

    def __init__(self, broker: Mosquitto) -> None:
        self.latencies: tuple[list[float], list[float]] = ([], [])
        self.arrived = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe("latency", qos=1)
        if not self._subscribed.wait(10):
            raise SystemExit("The receiver could not subscribe.")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        now = time.perf_counter()
        way, sent = _STAMP.unpack(message.payload)
        with self.arrived:
            self.latencies[way].append(now - sent)
            self.arrived.notify_all()


def main() -> None:
    arguments = argparse.ArgumentParser(description="Outbound latency, application thread to MQTT subscriber.")
    arguments.add_argument("--messages", type=int, default=2000, help="of each way (default 2000)")
    arguments.add_argument("--rate", type=float, default=100.0, help="messages a second (default 100)")
    options = arguments.parse_args()
    with Mosquitto() as broker:
        receiver = Receiver(broker)
        ready = threading.Event()
        subscriber = MqttSubscriber(broker.address, sink_url=None, client_id="latency-ours", on_ready=ready.set)
        subscriber.start()
        peer = paho.Client(CallbackAPIVersion.VERSION2, "latency-paho")
        peer.connect(broker.host, broker.port)
        peer.loop_start()
        if not ready.wait(10):
            raise SystemExit("The subscriber did not connect.")
        pipe = zmq_socket(zmq.PUSH)
        pipe.connect(URL_MQTT_PUBLISH)
        block = max(1, options.messages // 10)
        sent = 0
        while sent < options.messages:
            count = min(block, options.messages - sent)
            pace(count, options.rate, lambda: pipe.send_pyobj(("latency", _STAMP.pack(OURS, time.perf_counter()))))
            pace(count, options.rate, lambda: peer.publish("latency", _STAMP.pack(PAHO, time.perf_counter()), qos=1))
            sent += count
        with receiver.arrived:
            complete = receiver.arrived.wait_for(lambda: all(len(each) >= sent for each in receiver.latencies), 20)
        peer.disconnect()
        peer.loop_stop()
        receiver.close()
        current().trip()
        zmq_term()
    show("ours", receiver.latencies[OURS], sent)
    show("paho loop_start()", receiver.latencies[PAHO], sent)
    raise SystemExit(0 if complete else "Not every message arrived.")


def pace(count: int, rate: float, send: Callable[[], object]) -> None:
    """Send so many messages, evenly: each at its own time, whatever the one before took."""
    started = time.perf_counter()
    for number in range(count):
        pause = started + number / rate - time.perf_counter()
        if pause > 0:
            time.sleep(pause)
        send()


def show(name: str, latencies: list[float], sent: int) -> None:
    ordered = sorted(latencies)
    if not ordered:
        print(f"{name}: none of {sent} messages arrived")
        return

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    figures = f"p50 {at(0.5):.3f} ms, p99 {at(0.99):.3f} ms, most {ordered[-1] * 1000:.3f} ms"
    print(f"{name}: {len(ordered)} of {sent} messages, {figures}")


if __name__ == "__main__":
    main()
