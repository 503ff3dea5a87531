"""The same bridge as most people write it first: paho's own thread, a ``queue.Queue``, and pika's blocking connection.

    python benchmarks/peers/by_hand.py MQTT_PORT AMQP_PORT [--confirm]

With ``--confirm`` each publish waits for its publisher confirm. Either way paho has acknowledged the event long before.
"""

from __future__ import annotations

import argparse
import queue

import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion

PERSISTENT = pika.BasicProperties(delivery_mode=2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mqtt", type=int)
    parser.add_argument("amqp", type=int)
    parser.add_argument("--confirm", action="store_true")
    options = parser.parse_args()

    channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", options.amqp)).channel()
    if options.confirm:
        channel.confirm_delivery()
    channel.exchange_declare("bench", "topic", durable=True)

    events: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="by-hand")
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = lambda _client, _data, event: events.put(event)
    client.connect("127.0.0.1", options.mqtt)
    client.subscribe("bench/#", qos=1)
    client.loop_start()
    while True:
        event = events.get()
        channel.basic_publish("bench", event.topic.replace("/", "."), bytes(event.payload), PERSISTENT)


if __name__ == "__main__":
    main()
