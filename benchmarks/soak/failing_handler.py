"""Handlers that fail always, once in ten, or for a while: what is dead in the end, and what was delivered how often.

    python -m benchmarks.soak.failing_handler [--events 20000] [--outage 30]

Private brokers; an application turns each event on MQTT into one message on RabbitMQ. Of a thousand events one is poison
and fails at every try, a hundred others fail once, and one device of twenty fails altogether for so many seconds. Dead
letters have to be exactly the poisoned ones, everything else delivered once. The exit code is 1 where that is not so.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion

from pylib.application import Application, Message
from pylib.brokers.retrying import RetryPolicy
from pylib.delivery.dead_letters import DeadLetters
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import RabbitMQ

DEVICES = 20
ILL = 7  # the device that fails for a while


class Event(msgspec.Struct):
    number: int


def is_poison(number: int) -> bool:
    return number % 1009 == 33


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--outage", type=float, default=30.0, help="seconds that one device's events fail")
    options = parser.parse_args()
    logging.getLogger("pylib").setLevel(logging.CRITICAL)  # thousands of failures are meant here
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="failing-handler-")))
        os.environ["STATE_DIRECTORY"] = str(folder)
        mosquitto = Mosquitto(max_queued_messages=0)
        stack.callback(mosquitto.close)
        mosquitto.start()
        node = RabbitMQ()
        stack.callback(node.close)
        node.start()
        return run(options.events, options.outage, mosquitto, node)


def run(events: int, outage: float, mosquitto: Mosquitto, node: RabbitMQ) -> int:
    app = Application("failing")
    # A try a second at the most: an outage of half a minute is not the end of a message, and poison is found out in time.
    policy = RetryPolicy(tries=max(12, int(outage) + 12), first=0.05, longest=1.0)
    mqtt = app.mqtt(mosquitto.address, retry=policy)
    rabbit = app.rabbitmq(node.address, exchange="failing")
    failed_once: set[int] = set()
    well_from = time.monotonic() + outage

    @mqtt.on("bench/+", workers=2)
    def handler(event: Event, topic: str) -> Message:
        number = event.number
        if is_poison(number):
            raise ValueError(f"poison {number}")
        if number % DEVICES == ILL and time.monotonic() < well_from:
            raise OSError("the device's valve is stuck")
        if number % 11 == 4 and number not in failed_once:
            failed_once.add(number)
            raise OSError("this once")
        return rabbit.message(f"done.{number % DEVICES}", number)

    with closing(pika.BlockingConnection(pika.URLParameters(node.address))) as connection:
        channel = connection.channel()
        channel.exchange_declare("failing", "topic", durable=True)
        channel.queue_declare("done", durable=True)
        channel.queue_bind("done", "failing", "#")
        app.start()
        if not app.wait_until_ready(30):
            print("failing handler: the application did not connect")
            return 1
        began = time.monotonic()
        publisher = threading.Thread(target=publish, args=(mosquitto, events), daemon=True)
        publisher.start()
        good = {number for number in range(events) if not is_poison(number)}
        arrived: Counter[int] = Counter()
        for method, _, body in channel.consume("done", auto_ack=True, inactivity_timeout=outage + 30):
            if method is None or body is None:
                break
            arrived[msgspec.msgpack.decode(body)["data"]] += 1
            if len(arrived) == len(good):
                break
        seconds = time.monotonic() - began
        publisher.join(30)
        poisoned = sorted(f"ValueError: poison {number}" for number in range(events) if is_poison(number))
        dead = wait_for_dead(len(poisoned), Path(mqtt.options["store"]), policy.tries * policy.longest + 30)
        for method, _, body in channel.consume("done", auto_ack=True, inactivity_timeout=1):  # what comes late is twice
            if method is None or body is None:
                break
            arrived[msgspec.msgpack.decode(body)["data"]] += 1
    left = app.stop()
    lost, twice = len(good - arrived.keys()), sum(arrived.values()) - len(arrived)
    exact = dead == poisoned
    print(f"failing handler: events {events}, outage {outage:g} s, delivered {len(arrived)} in {seconds:.1f} s")
    print(f"failing handler: lost {lost} (at most 0)")
    print(f"failing handler: delivered twice {twice} (at most 0)")
    print(f"failing handler: dead letters {len(dead)}, exactly the {len(poisoned)} poisoned ones: {'yes' if exact else 'NO'}")
    return 0 if exact and not lost and not twice and not left else 1


def publish(mosquitto: Mosquitto, events: int) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    sent = [client.publish(f"bench/{n % DEVICES}", msgspec.json.encode({"number": n}), qos=1) for n in range(events)]
    for each in sent:
        each.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def wait_for_dead(count: int, path: Path, seconds: float) -> list[str]:
    """The errors of the dead letters, once there are so many."""
    end = time.monotonic() + seconds
    with closing(DeadLetters(path)) as letters:
        while letters.count() < count and time.monotonic() < end:
            time.sleep(0.1)
        return sorted(letter.error for letter in letters.list(count + 1000))


if __name__ == "__main__":
    sys.exit(main())
