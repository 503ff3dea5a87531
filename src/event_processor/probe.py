"""Trying the brokers once, for ``event-processor check``."""

from __future__ import annotations

from collections.abc import Callable

from event_processor.settings import HubSettings
from event_processor.settings.connecting import addresses, tls_options
from pylib.app import AppThread
from pylib.mqtt import MqttSubscriber
from pylib.rabbit import RabbitMQRelay
from pylib.runtime.runtime import Runtime

__all__ = ["probe"]


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
