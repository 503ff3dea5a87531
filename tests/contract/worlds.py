"""A port together with a broker and an independent client of that broker, the same for MQTT and RabbitMQ."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion

from pylib.brokers.addresses import TlsOptions, parse_addresses
from pylib.brokers.backoff import BackOff
from pylib.brokers.mqtt_values import MqttOptions
from pylib.brokers.paho import PahoPort
from pylib.brokers.pika import PikaPort
from pylib.brokers.port import Port
from pylib.brokers.rabbit_values import Exchange, Queue, RabbitOptions

# Short enough that a test does not wait for it, long enough to be a back-off.
QUICK = BackOff(first=0.05, longest=0.2, refused=0.3)
PATIENCE = 20.0
EXCHANGE = "contract"


class Watcher(Protocol):
    """An independent client that sees what reaches the broker."""

    def collect(self, count: int, *, distinct: bool = False) -> list[bytes]:
        """Wait for so many bodies, in the order in which the broker sent them. ``distinct`` counts a repeated one once."""


class World(Protocol):
    """One kind of broker. ``port`` is not opened yet; ``address`` may lead through a proxy."""

    where: str  # an address that a published message goes to, and that the port is subscribed to
    tcp_port: int
    patience: float

    def port(
        self,
        address: str | Sequence[str] | None = None,
        *,
        consume: bool = False,
        window: int = 500,
        keepalive: int = 5,
        tls: TlsOptions | None = None,
        connect_timeout: float = 2.0,
    ) -> Port: ...

    def address(self, tcp_port: int | None = None) -> str: ...

    def watch(self) -> AbstractContextManager[Watcher]: ...

    def send(self, bodies: Sequence[bytes]) -> None: ...


class MqttWatcher:
    def __init__(self, host: str, port: int, topic: str) -> None:
        self._place, self._topic = (host, port), topic
        self._bodies: list[bytes] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()

    def collect(self, count: int, *, distinct: bool = False) -> list[bytes]:
        def seen() -> int:
            return len(set(self._bodies) if distinct else self._bodies)

        with self._changed:
            assert self._changed.wait_for(lambda: seen() >= count, PATIENCE), f"{seen()} of {count}"
            return list(self._bodies)

    def __enter__(self) -> Self:
        self._client.connect(*self._place)
        self._client.loop_start()
        self._client.subscribe(self._topic, qos=1)
        assert self._subscribed.wait(PATIENCE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self._bodies.append(bytes(message.payload))
            self._changed.notify_all()


class MqttWorld:
    """Mosquitto, and a port that speaks MQTT 5 or, told so, 3.1.1."""

    where = "contract/one"

    def __init__(self, host: str, tcp_port: int, *, version: str = "5", client_id: str = "contract") -> None:
        self.host, self.tcp_port = host, tcp_port
        self.version = version
        self.client_id = client_id
        self.patience = PATIENCE

    def port(
        self,
        address: str | Sequence[str] | None = None,
        *,
        consume: bool = False,
        window: int = 500,
        keepalive: int = 5,
        tls: TlsOptions | None = None,
        connect_timeout: float = 2.0,
    ) -> Port:
        options = MqttOptions(
            addresses=parse_addresses(address or self.address(), scheme="mqtt"),
            client_id=self.client_id,
            subscriptions=((self.where, 1),) if consume else (),
            keepalive=keepalive,
            window=window,
            tls=tls,
            connect_timeout=connect_timeout,
            back_off=QUICK,
        )
        port = PahoPort(options)
        if self.version == "3.1.1":
            # What a broker's "unacceptable protocol version" leads to; that it does is shown elsewhere.
            port._protocol, port._fell_back = paho.MQTTv311, True
        return port

    def address(self, tcp_port: int | None = None) -> str:
        return f"mqtt://{self.host}:{tcp_port or self.tcp_port}"

    def watch(self) -> MqttWatcher:
        return MqttWatcher(self.host, self.tcp_port, self.where)

    def send(self, bodies: Sequence[bytes]) -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect(self.host, self.tcp_port)
        client.loop_start()
        try:
            for body in bodies:
                client.publish(self.where, body, qos=1).wait_for_publish(PATIENCE)
        finally:
            client.disconnect()
            client.loop_stop()


class RabbitWatcher:
    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key

    def collect(self, count: int, *, distinct: bool = False) -> list[bytes]:
        bodies: list[bytes] = []
        for method, _, body in self._channel.consume(self._queue, auto_ack=True, inactivity_timeout=PATIENCE):
            assert method is not None, f"{len(bodies)} of {count}"
            bodies.append(bytes(body or b""))
            if len(set(bodies) if distinct else bodies) == count:
                break
        return bodies

    def __enter__(self) -> Self:
        self._connection = pika.BlockingConnection(pika.URLParameters(self._url))
        self._channel = self._connection.channel()
        self._channel.exchange_declare(EXCHANGE, "topic", durable=True)
        self._queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(self._queue, EXCHANGE, self._key)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()


class RabbitWorld:
    """RabbitMQ, a virtual host of it, and a port with a durable queue when it consumes."""

    where = "contract.one"

    def __init__(self, url: str) -> None:
        self._url = url
        parts = urlsplit(url)
        self._login, self._path = parts.netloc.rpartition("@")[0], parts.path
        self.host, self.tcp_port = parts.hostname or "", parts.port or 5672
        self.patience = PATIENCE

    def port(
        self,
        address: str | Sequence[str] | None = None,
        *,
        consume: bool = False,
        window: int = 500,
        keepalive: int = 5,
        tls: TlsOptions | None = None,
        connect_timeout: float = 2.0,
    ) -> Port:
        options = RabbitOptions(
            addresses=parse_addresses(address or self.address(), scheme="amqp"),
            exchange=Exchange(EXCHANGE),
            queue=Queue("contract", (self.where,)) if consume else None,
            heartbeat=keepalive,
            window=window,
            tls=tls,
            connect_timeout=connect_timeout,
            back_off=QUICK,
        )
        return PikaPort(options)

    def address(self, tcp_port: int | None = None) -> str:
        return f"amqp://{self._login}@{self.host}:{tcp_port or self.tcp_port}{self._path}"

    def watch(self) -> RabbitWatcher:
        return RabbitWatcher(self._url, self.where)

    def send(self, bodies: Sequence[bytes]) -> None:
        with closing(pika.BlockingConnection(pika.URLParameters(self._url))) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for body in bodies:
                channel.basic_publish(EXCHANGE, self.where, body, pika.BasicProperties(delivery_mode=2), mandatory=True)
