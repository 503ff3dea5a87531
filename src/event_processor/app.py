"""The composition root: the only place of the hub that names concrete classes and joins them.

MQTT broker --> MqttSubscriber --+                                       +--> MqttSubscriber --> MQTT broker
                                 +--> HeartbeatFilter --> EventProcessor
RabbitMQ -----> ZMQListener -----+                                       +--> its RabbitMQ connection
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

from event_processor.domain.bodies import from_rabbitmq, origin_of
from event_processor.domain.events import forwarded
from event_processor.domain.mapping import TopicMapping
from event_processor.domain.sensors import from_mqtt, topic_base
from event_processor.heartbeat import HeartbeatFilter
from event_processor.processor import EventProcessor
from event_processor.settings import HubSettings, MqttSettings, RabbitSettings
from pylib.app import AppThread
from pylib.brokers.addresses import Address, TlsOptions, parse_addresses
from pylib.brokers.port import Delivery
from pylib.config import app_config
from pylib.data import decode
from pylib.mqtt import MqttSubscriber, Will, read_payload
from pylib.rabbit import RabbitMQRelay, Reconnect, ZMQListener
from pylib.runtime.runtime import Runtime
from pylib.zmq import URL_HEARTBEAT_NANNY

__all__ = ["Hub", "build", "probe", "read_mqtt", "read_rabbitmq", "tls_options"]

log = logging.getLogger("event_processor")


class Hub:
    """The hub's threads, in the order in which they start: consumers first, sources last, so that nothing arrives
    before somebody is there to take it. ``build`` makes one; one thread starts and waits.
    """

    def __init__(self, runtime: Runtime, settings: HubSettings, device: str, reconnect: Reconnect) -> None:
        self.runtime = runtime
        self.ready = threading.Event()
        self._missing = {"MQTT", "RabbitMQ"}
        rabbit, mqtt = settings.rabbitmq, settings.mqtt
        rabbit_addresses, mqtt_addresses = addresses(settings)
        status = f"event_processor/{re.sub(r'[+#/]', '-', device)}/status"
        self.processor = EventProcessor(
            rabbit_addresses, rabbit.control_exchange, settings.policy, tls=tls_options(rabbit), reconnect=reconnect
        )
        self.heartbeats = HeartbeatFilter(
            stale_after_s=settings.timing.stale_after_s, look_every_s=settings.timing.heartbeat_interval_s
        )
        listener = ZMQListener(
            zmq_url=URL_HEARTBEAT_NANNY,
            mq_server_address=rabbit_addresses,
            mq_exchange_name=rabbit.mq_exchange,
            mq_topic_filter=rabbit.topic_filter,
            mq_exchange_type="topic",
            name="ZMQListener",
            decode=read_rabbitmq,
            tls=tls_options(rabbit),
            reconnect=reconnect,
            on_ready=lambda: self._arrived("RabbitMQ"),
        )
        subscriber = MqttSubscriber(
            mqtt_addresses,
            settings.subscriptions,
            sink_url=URL_HEARTBEAT_NANNY,
            client_id=settings.client_id,
            decode=read_mqtt(settings.mappings, own_topic=status),
            birth=Will(status, b"online"),
            last_will=Will(status, b"offline"),
            tls=tls_options(mqtt),
            reconnect=reconnect,
            on_ready=lambda: self._arrived("MQTT"),
        )
        self.threads: tuple[AppThread, ...] = (self.processor, self.heartbeats, listener, subscriber)

    def start(self) -> None:
        """Start the threads. Returns at once: the connections come by themselves; the last one sets ``ready``."""
        for thread in self.threads:
            thread.start()

    def wait(self) -> None:
        """Sleep until somebody asks for the stop."""
        self.runtime.latch.wait()

    def _arrived(self, who: str) -> None:
        """A connection is up. Called on the connection's thread, also when it came back."""
        self._missing.discard(who)
        if not self._missing and not self.ready.is_set():
            self.ready.set()
            log.info("The event processor is ready: it listens to MQTT and RabbitMQ.")


def build(settings: HubSettings, runtime: Runtime, *, device: str, reconnect: Reconnect = True) -> Hub:
    """Make the hub's threads and their pipes within ``runtime``. Connects to nothing yet.

    :param device: the name of this machine, for the topic on which the hub says that it is there.
    :param reconnect: what a failed connection leads to; see ``pylib.rabbit.Reconnect``.
    :raises ConfigError: an address cannot be understood.
    """
    with runtime.active():
        return Hub(runtime, settings, device, reconnect)


def read_mqtt(mappings: tuple[TopicMapping, ...], own_topic: str = "") -> Callable[[Delivery], object]:
    """Make the function that turns an MQTT delivery into what goes down the pipeline.

    It raises ``DecodeError`` for a payload that nothing can read, which costs that one message. Without a timestamp of
    its own an event is as old as its sender says in the message's properties, or new.
    """

    def read(delivery: Delivery) -> object:
        if delivery.address == own_topic:
            return None
        now = time.time() if delivery.created_at is None else delivery.created_at
        payload = read_payload(delivery.body)
        events = from_mqtt(delivery.address, payload, now=now, retained=delivery.retained, mappings=mappings)
        return forwarded(topic_base(delivery.address), events)

    return read


def read_rabbitmq(delivery: Delivery) -> object:
    """Turn a delivery from RabbitMQ into what goes down the pipeline. Raises ``DecodeError``, as ``read_mqtt`` does."""
    now = time.time() if delivery.created_at is None else delivery.created_at
    origin = origin_of(delivery.address)
    return forwarded(origin, from_rabbitmq(delivery.address, decode(delivery.body, delivery.content_type), now=now))


def probe(settings: HubSettings) -> list[tuple[str, str]]:
    """Try each broker once. Gives its name, and in one sentence what stands in the way, or nothing.

    Blocks, at most for the connect time-outs. Nothing is subscribed to or consumed.
    """
    return [
        ("MQTT broker", _tried(lambda ready: _mqtt_probe(settings, ready))),
        ("RabbitMQ", _tried(lambda ready: _rabbit_probe(settings, ready))),
    ]


def _tried(make: Callable[[Callable[[], None]], AppThread]) -> str:
    runtime = Runtime()
    with runtime.active():
        try:
            make(runtime.trip).start()
            runtime.latch.wait()
        finally:
            runtime.stop()
    cause = runtime.latch.cause
    return str(cause.exception or "") if cause is not None else ""


def _mqtt_probe(settings: HubSettings, ready: Callable[[], None]) -> AppThread:
    return MqttSubscriber(
        addresses(settings)[1],
        sink_url=None,
        publish_urls=("inproc://check",),
        client_id=f"{settings.client_id}-check",
        session_expiry=0,
        tls=tls_options(settings.mqtt),
        reconnect="after_first",
        on_ready=ready,
    )


def _rabbit_probe(settings: HubSettings, ready: Callable[[], None]) -> AppThread:
    rabbit = settings.rabbitmq
    return RabbitMQRelay(
        "inproc://check",
        addresses(settings)[0],
        rabbit.mq_exchange,
        mq_exchange_type="topic",
        wait=True,
        tls=tls_options(rabbit),
        reconnect="after_first",
        on_ready=ready,
    )


def addresses(settings: HubSettings) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
    """The addresses of RabbitMQ and of the MQTT broker. Raises ``ConfigError``, which names the place of the option."""
    return (
        parse_addresses(settings.rabbitmq.addresses, scheme="amqp", where=app_config.place("rabbitmq", "server_address")),
        parse_addresses(settings.mqtt.addresses, scheme="mqtt", where=app_config.place("mqtt", "server_address")),
    )


def tls_options(section: RabbitSettings | MqttSettings) -> TlsOptions | None:
    """The TLS files of a broker's section, or None where it names none."""
    if section.tls_ca is None and section.tls_cert is None:
        return None
    return TlsOptions(ca_file=section.tls_ca, cert_file=section.tls_cert, key_file=section.tls_key)
