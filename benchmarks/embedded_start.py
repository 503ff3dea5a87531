"""How long the two embedded brokers take to start once imported, and a whole test with both.

    python benchmarks/embedded_start.py [--rounds 20]

The test opens a connection to each, sends a message through each and gets it back, and closes everything.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time

import pika
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from pylib.embedded.amqp import AmqpBroker
from pylib.embedded.mqtt import MqttBroker

PATIENCE = 10


def there_and_back_mqtt(broker: MqttBroker) -> None:
    """One message through MQTT at QoS 1."""
    subscribed, arrived = threading.Event(), threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda *_: arrived.set()
    client.connect(broker.host, broker.port)
    client.loop_start()
    assert connected.wait(PATIENCE)
    client.subscribe("a", 1)
    assert subscribed.wait(PATIENCE)
    client.publish("a", b"x", 1)
    assert arrived.wait(PATIENCE)
    client.disconnect()
    client.loop_stop()


def there_and_back_amqp(broker: AmqpBroker) -> None:
    """One message through AMQP, confirmed and acknowledged."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"x")
    method, _, body = channel.basic_get(queue)
    assert method is not None
    assert body == b"x"
    channel.basic_ack(method.delivery_tag or 0)
    connection.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {"mqtt": [], "amqp": [], "both": [], "test with both": [], "close of both": []}
    for _ in range(rounds):
        began = time.perf_counter()
        mqtt = MqttBroker().start()
        mqtt_is_there = time.perf_counter()
        amqp = AmqpBroker().start()
        both_are_there = time.perf_counter()
        there_and_back_mqtt(mqtt)
        there_and_back_amqp(amqp)
        done = time.perf_counter()
        mqtt.close()
        amqp.close()
        ended = time.perf_counter()
        times["mqtt"].append(mqtt_is_there - began)
        times["amqp"].append(both_are_there - mqtt_is_there)
        times["both"].append(both_are_there - began)
        times["close of both"].append(ended - done)
        times["test with both"].append(ended - began)
    for name, taken in times.items():
        print(f"embedded start, {name}: median {statistics.median(taken) * 1000:.1f} ms, highest {max(taken) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
