"""Clients that look on: everything that is published on MQTT, and what goes through the exchanges that were asked for on AMQP.

They are plain paho and pika, so that a test sees what any other program would see.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pika
import pika.exceptions
from paho.mqtt.enums import CallbackAPIVersion
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from pylib.testing.published import Published, Record

PATIENCE = 10.0
# A publish of the test's own that overtakes what came before it would prove nothing: it goes the same way.
FENCE = "pylib-testing/fence"
# Signs of life of the library's own connections are nobody's message.
_SIGN_OF_LIFE = "pylib/canary/"

T = TypeVar("T")


class MqttWatcher:
    """Sees everything published to an MQTT broker from its making on. Any thread may call it."""

    def __init__(self, url: str, record: Record) -> None:
        parts = urlsplit(url)
        self._record = record
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{secrets.token_hex(4)}")
        if parts.username:
            self._client.username_pw_set(parts.username, parts.password)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect(parts.hostname or "127.0.0.1", parts.port or 1883)
        self._client.loop_start()
        self._client.subscribe("#", qos=1)
        if not subscribed.wait(PATIENCE):
            self.close()
            raise AssertionError(f"The MQTT broker on port {parts.port} did not answer a subscription in {PATIENCE:g} s.")

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Publish and, from QoS 1, return when the broker has it."""
        self._client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(PATIENCE)

    def settle(self, timeout: float) -> None:
        """Return when what was published before has been seen."""
        name = secrets.token_hex(8)
        self._client.publish(f"{FENCE}/{name}", b"", qos=1)
        if not self._record.wait_fence(name, timeout):
            raise AssertionError(f"The MQTT broker did not deliver a message of the test's own within {timeout:g} s.")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # Paho closes its wake-up sockets when the client is collected, and a failing test's report still holds the watcher.
        del self._client

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        if message.topic.startswith(f"{FENCE}/"):
            self._record.fence(message.topic.rpartition("/")[2])
        elif not message.topic.startswith(_SIGN_OF_LIFE):
            self._add(message)

    def _add(self, message: paho.MQTTMessage) -> None:
        self._record.add(Published("mqtt", message.topic, bytes(message.payload), qos=message.qos, retain=message.retain))


class AmqpWatcher:
    """Sees what goes through exchanges, from the moment on at which it was told of them.

    A thread of its own serves the connection; any other thread may call it.
    """

    def __init__(self, url: str, record: Record) -> None:
        self._record = record
        self.watched: list[str] = []
        parameters = pika.URLParameters(url)
        # Nobody serves it while a test sits at a breakpoint, and it is to be there after that.
        parameters.heartbeat = 0
        self._connection: BlockingConnection = pika.BlockingConnection(parameters)
        self._watching: BlockingChannel = self._connection.channel()
        self._publishing: BlockingChannel = self._connection.channel()
        self._publishing.confirm_delivery()
        self._queue: str = self._watching.queue_declare("", exclusive=True).method.queue
        self._watching.basic_consume(self._queue, self._on_message, auto_ack=True)
        self._thread = threading.Thread(target=self._serve, name="test-amqp-watcher", daemon=True)
        self._ending = False
        self._thread.start()

    def watch(self, exchange: str, keys: tuple[str, ...], kind: str, durable: bool) -> None:
        """Declare the exchange as an application does, and see what is published to it with these keys."""

        def bind() -> None:
            # On a channel of its own, which a declaration that differs from the existing one costs, and nothing else.
            channel = self._connection.channel()
            channel.exchange_declare(exchange, kind, durable=durable)
            for key in keys:
                channel.queue_bind(self._queue, exchange, key)
            channel.close()

        self._call(bind)
        self.watched += [f"{exchange} ({kind}) {key}".strip() for key in keys]

    def publish(self, exchange: str, key: str, body: bytes, properties: Mapping[str, Any]) -> None:
        """Publish, and return when the broker has it; raises UnroutableError when no queue takes it."""
        self._call(
            lambda: self._publishing.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory=True)
        )

    def settle(self, timeout: float) -> None:
        """Return when what was published before has been seen."""
        name = secrets.token_hex(8)
        self._call(lambda: self._publishing.basic_publish("", self._queue, name.encode(), pika.BasicProperties(type=FENCE)))
        if not self._record.wait_fence(name, timeout):
            raise AssertionError(f"The AMQP broker did not deliver a message of the test's own within {timeout:g} s.")

    def close(self) -> None:
        self._ending = True
        if self._thread.is_alive():
            self._connection.add_callback_threadsafe(lambda: None)
        self._thread.join(PATIENCE)

    def _call(self, call: Callable[[], T]) -> T:
        """Make a call on the connection's thread and return what it returned, or raise what it raised."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(call())
            except Exception as error:
                result.set_exception(error)

        self._connection.add_callback_threadsafe(run)
        return result.result(PATIENCE)

    def _serve(self) -> None:
        try:
            while not self._ending:
                self._connection.process_data_events(time_limit=None)
        except pika.exceptions.AMQPError:
            return  # the test ended the broker; whoever calls is told by pika
        finally:
            if self._connection.is_open:
                self._connection.close()

    def _on_message(self, channel: Any, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        if properties.type == FENCE and method.exchange == "":
            self._record.fence(body.decode())
            return
        self._record.add(
            Published(
                "amqp",
                method.routing_key,
                bytes(body),
                method.exchange,
                dict(properties.headers or {}),
                properties.message_id,
                properties.content_type,
                properties.expiration,
            )
        )
