"""What a RabbitMQ client is told: addresses, exchange, queue; and what AMQP carries beside a body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pika

from pylib.brokers.addresses import Address, TlsOptions
from pylib.brokers.backoff import BackOff
from pylib.brokers.identity import new_id
from pylib.brokers.port import Delivery

__all__ = ["EXPIRES_AT", "Exchange", "Queue", "RabbitOptions", "delivery_of"]

Arguments = Mapping[str, Any]  # AMQP field tables hold whatever AMQP can

#: Header with the moment, in seconds since the epoch, after which the message must not be acted upon.
EXPIRES_AT = "expires-at"


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange to declare: topic, direct, fanout or headers. The empty name is the default exchange."""

    name: str
    kind: str = "topic"
    durable: bool = True
    arguments: Arguments | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue to consume from, bound to the exchange by each of ``keys``.

    :param name: empty: the broker names it.
    :param exclusive: it belongs to this connection and goes with it, as the first applications had it.
    :param arguments: ``x-queue-type``, ``x-expires``, ``x-max-length`` and so on.
    :param binding_arguments: for a headers exchange.
    """

    name: str = ""
    keys: tuple[str, ...] = ("#",)
    exclusive: bool = False
    durable: bool = True
    arguments: Arguments | None = None
    binding_arguments: Arguments | None = None


@dataclass(frozen=True, slots=True)
class RabbitOptions:
    """How to be a RabbitMQ client.

    :param addresses: tried in turn.
    :param queue: None for a connection that only publishes.
    :param heartbeat: seconds (AMQP 0-9-1 section 4.2.7).
    :param prefetch: deliveries that may be outstanding (basic.qos): what bounds memory.
    :param window: published messages that may be without their publisher confirm.
    :param expiration: seconds after its creation that a published message may still be delivered, unless it says so
        itself; None: for ever.
    :param reject_unroutable: a message that no queue is bound for is refused; by default it is warned of once and counted.
    :param connection_name: shown by RabbitMQ's management page.
    """

    addresses: tuple[Address, ...]
    exchange: Exchange
    queue: Queue | None = None
    tls: TlsOptions | None = None
    heartbeat: int = 5
    prefetch: int = 500
    window: int = 2000
    expiration: float | None = None
    reject_unroutable: bool = False
    connection_name: str = "pylib"
    connect_timeout: float = 5.0
    back_off: BackOff = field(default_factory=BackOff)


def delivery_of(method: Any, properties: pika.BasicProperties, body: bytes, epoch: int) -> Delivery:
    """A delivery, from pika's three parts."""
    headers: Mapping[str, Any] | None = properties.headers
    expires_at = None
    if headers and EXPIRES_AT in headers:
        try:
            expires_at = float(str(headers[EXPIRES_AT]))
        except ValueError:  # somebody else's header of that name
            expires_at = None
    return Delivery(
        method.routing_key,
        body,
        method.delivery_tag,
        epoch,
        content_type=properties.content_type,
        message_id=properties.message_id or new_id(),
        created_at=properties.timestamp,
        expires_at=expires_at,
        headers=headers,
        redelivered=method.redelivered,
        qos=1,
    )
