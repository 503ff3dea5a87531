"""What the application's tests share: an application on both real brokers, whoever speaks to it, and what it set aside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion
from pika.adapters.blocking_connection import BlockingChannel

from pylib.application import Application
from pylib.application.brokers import Broker
from pylib.brokers.retrying import RetryPolicy
from pylib.data import make_payload
from pylib.delivery.dead_letters import DeadLetters
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import RabbitMQ, Vhost

PATIENCE = 20.0
QUICK = RetryPolicy(tries=3, first=0.02, longest=0.05)
EXCHANGE = "garden"


class Got:
    """What arrived, in order; any thread adds, the test waits."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._changed = threading.Condition()

    def add(self, item: Any) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def wait(self, enough: int | Callable[[list[Any]], bool], timeout: float = PATIENCE) -> list[Any]:
        """Wait for so many items, or for a condition on all of them. Fails with what there is."""
        done = enough if callable(enough) else (lambda items: len(items) >= enough)
        with self._changed:
            assert self._changed.wait_for(lambda: done(self.items), timeout), f"there is only {self.items}"
            return list(self.items)


class Garden:
    """An application on a Mosquitto and a RabbitMQ, not started yet."""

    def __init__(self, mosquitto: Mosquitto, rabbitmq: Vhost | RabbitMQ, **options: Any) -> None:
        self.mosquitto = mosquitto
        self.vhost = rabbitmq
        self.app = Application("garden")
        options.setdefault("retry", QUICK)
        self.mqtt: Broker = self.app.mqtt(mosquitto.address, **options)
        self.rabbit: Broker = self.app.rabbitmq(rabbitmq.address, exchange=EXCHANGE, **options)

    def start(self) -> None:
        self.app.start()
        assert self.app.wait_until_ready(PATIENCE), "it did not connect"

    def dead(self) -> list[str]:
        """The errors of the dead letters, oldest first."""
        with closing(DeadLetters(Path(self.mqtt.options["store"]))) as letters:
            return [letter.error for letter in reversed(letters.list(1000))]

    def publish(self, topic: str, *payloads: bytes, qos: int = 1) -> None:
        """Publish to MQTT; returns when Mosquitto has all of them."""
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect(self.mosquitto.host, self.mosquitto.port)
        client.loop_start()
        for sent in [client.publish(topic, payload, qos=qos) for payload in payloads]:
            sent.wait_for_publish(PATIENCE)
        client.disconnect()
        client.loop_stop()

    def send(self, key: str, *bodies: object) -> None:
        """Publish to RabbitMQ as another application would."""
        properties = pika.BasicProperties(content_type="application/msgpack", delivery_mode=2)
        with closing(self._connect()) as connection:
            channel = connection.channel()
            channel.exchange_declare(EXCHANGE, "topic", durable=True)
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish(EXCHANGE, key, make_payload(body), properties)

    @contextmanager
    def queue(self, binding: str = "#", name: str = "") -> Iterator[BlockingChannel]:
        """A channel on which ``name`` is bound to the exchange: durable with a name, of this connection without."""
        with closing(self._connect()) as connection:
            channel = connection.channel()
            channel.exchange_declare(EXCHANGE, "topic", durable=True)
            channel.queue_declare(name or "mine", exclusive=not name, durable=bool(name))
            channel.queue_bind(name or "mine", EXCHANGE, binding)
            yield channel

    def _connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.vhost.address))


def received(channel: BlockingChannel, count: int, queue: str = "mine") -> list[tuple[str, Any, str]]:
    """So many messages: routing key, body, message id."""
    import msgspec

    found: list[tuple[str, Any, str]] = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=PATIENCE):
        assert method is not None, f"there is only {found}"
        assert properties is not None
        channel.basic_ack(method.delivery_tag or 0)
        found.append((str(method.routing_key), msgspec.msgpack.decode(body or b"")["data"], str(properties.message_id)))
        if len(found) == count:
            break
    channel.cancel()  # what was sent ahead goes back to the queue
    return found
