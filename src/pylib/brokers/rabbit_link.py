"""A link to RabbitMQ: one connection, the pipe out to it and the pipes in from it, on whichever thread is to own them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from pylib.brokers.addresses import AddressLike, TlsOptions, parse_addresses
from pylib.brokers.bridge import Bridge
from pylib.brokers.identity import new_id
from pylib.brokers.inflow import OrderKey, Route
from pylib.brokers.patience import Patience, Reconnect
from pylib.brokers.pika import PikaPort
from pylib.brokers.port import Outgoing
from pylib.brokers.rabbit_values import Exchange, Queue, RabbitOptions
from pylib.brokers.retrying import DEFAULT_RETRY, RetryPolicy
from pylib.brokers.runner import BridgeRunner
from pylib.config import app_config
from pylib.data import MSGPACK, make_payload
from pylib.delivery.spool import DEFAULT_LIMITS, Spool, SpoolLimits
from pylib.errors import Rejected
from pylib.runtime.loop import Loop
from pylib.runtime.runtime import Runtime

__all__ = ["DeliveryOptions", "RabbitLink", "rabbit_options"]


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """What a link does when something goes wrong.

    :param reconnect: what a lost connection leads to.
    :param retry: how often a delivery is tried whose handling fails, before it becomes a dead letter.
    :param store: the file for what failed; None: the application's own, made at the first failure.
    :param order_key: what keeps deliveries in order in each pipe when some of them fail; the routing key by default.
    :param spool: the file in which outgoing messages wait while the broker is away; None: they wait in the pipe.
    """

    reconnect: Reconnect = True
    retry: RetryPolicy | None = DEFAULT_RETRY
    store: Path | None = None
    order_key: OrderKey | None = None
    spool: str | os.PathLike[str] | None = None
    spool_limits: SpoolLimits = DEFAULT_LIMITS


def rabbit_options(
    address: AddressLike,
    exchange: str,
    kind: str,
    arguments: Mapping[str, Any] | None,
    name: str,
    tls: TlsOptions | None,
    queue: Queue | None = None,
    prefetch: int = 500,
    reject_unroutable: bool = False,
) -> RabbitOptions:
    """The seed's arguments as options. Raises ``ConfigError`` for an address that is none."""
    rest = dict(arguments or {})
    # On an exchange RabbitMQ ignores it. What was meant is the life of each message, so that is what it becomes.
    ttl = rest.pop("x-message-ttl", None)
    return RabbitOptions(
        addresses=parse_addresses(address, scheme="amqp", where="RabbitMQ address"),
        exchange=Exchange(exchange, kind, arguments=rest or None),
        queue=queue,
        prefetch=prefetch,
        tls=tls,
        expiration=None if ttl is None else float(ttl) / 1000.0,
        reject_unroutable=reject_unroutable,
        connection_name=f"{app_config.app_name()}: {name}",
    )


class RabbitLink:
    """One connection to RabbitMQ and its pipes. Made by any thread, which binds and connects them; run by the one that is to
    own it.

    :param url: bound: what is published.
    :param sinks: pipes for what is delivered, by name, and ``route``, which says what goes down which.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: RabbitOptions,
        who: str,
        url: str,
        origin: str,
        delivery: DeliveryOptions,
        *,
        sinks: Mapping[str, str] | None = None,
        route: Route | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._who = who
        self.url = url
        self._delivery = delivery
        self._route = route
        self._patience = Patience(delivery.reconnect, len(options.addresses), on_ready)
        self._spool = Spool(delivery.spool, delivery.spool_limits, runtime.clock) if delivery.spool is not None else None
        sockets = runtime.sockets
        self._intake = sockets.open(zmq.PULL, origin=origin)
        self._intake.bind(url)
        self._sinks = {name: sockets.open(zmq.PUSH, origin=origin) for name in sinks or {}}
        for name, sink_url in (sinks or {}).items():
            self._sinks[name].connect(sink_url)
        self.runner = BridgeRunner(runtime, self._make, [self._intake, *self._sinks.values()])

    def _make(self, loop: Loop) -> Bridge:
        return Bridge(
            loop,
            PikaPort(self._options),
            self._who,
            sources=[self._intake],
            encode=self._encode,
            sinks=self._sinks,
            route=self._route,
            retry=self._delivery.retry,
            store=self._delivery.store,
            order_key=self._delivery.order_key,
            spool=self._spool,
            receipts=self._runtime.receipts,
            on_lost=self._patience.exhausted,
            on_ready=self._patience.ready,
        )

    def _encode(self, message: object) -> Outgoing:
        """(routing key, payload[, how]) as the pipes carry it, to what is published. Bytes are published as they are."""
        if isinstance(message, Outgoing):
            return message
        if not isinstance(message, tuple) or not 2 <= len(message) <= 3 or not isinstance(message[0], str):
            raise Rejected(f"a message for RabbitMQ is (routing key, payload), not {type(message).__name__}")
        key, payload = message[0], message[1]
        how: Mapping[str, Any] = message[2] if len(message) == 3 else {}
        created_at = how.get("created_at") or time.time()
        expires_at = how.get("expires_at")
        if expires_at is None and self._options.expiration is not None:
            expires_at = created_at + self._options.expiration
        plain = isinstance(payload, bytes)
        return Outgoing(
            key,
            payload if plain else make_payload(payload),
            content_type=how.get("content_type") or ("application/octet-stream" if plain else MSGPACK),
            message_id=how.get("message_id") or new_id(),
            created_at=created_at,
            expires_at=expires_at,
            headers=how.get("headers"),
            # A heartbeat that nobody listens to is normal; anything else that reaches nobody is worth a warning.
            mandatory=not key.startswith("event.heartbeat"),
        )
