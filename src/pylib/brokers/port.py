"""The port: what the library wants of a broker's client, whichever it is.

A port is owned by one thread and lives on that thread's loop. It hides its client library: foreign types do not leave it,
foreign errors are translated into ``pylib.errors`` before they do. It keeps its connection by itself: it reconnects with
back-off, resubscribes, and publishes again what was not accepted.

Promises that every port keeps, whatever the client library does:

* ``publish`` never blocks. Each accepted call is answered exactly once by ``on_outcome``: with None when the broker took
  responsibility (publisher confirm, PUBACK, or the socket for QoS 0), with an error when it refused or time ran out.
* Messages are published in the order of the calls, also across a reconnect.
* ``on_delivery`` is called in the order of arrival; nothing is acknowledged before ``settle``.
* ``settle`` with a delivery of an earlier connection does nothing: its number means another message by now.
* Nothing raises out of a callback of the client library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from pylib.errors import DependencyError, MessageError
from pylib.runtime.loop import Loop

__all__ = ["Delivery", "Header", "Outgoing", "Port", "PortOwner"]

Header = str | int | float | bool | None


class Outgoing(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A message on its way to a broker. The spool stores it as an array, so fields are only ever added, at the end.

    :param address: MQTT topic or AMQP routing key.
    :param created_at: seconds since the epoch; the life of the message counts from here.
    :param expires_at: seconds since the epoch after which it must not be delivered any more, or None.
    :param qos: 0, 1 or 2 on MQTT; on RabbitMQ 0 means a transient message, anything else a persistent one.
    :param retain: MQTT only: the broker keeps it for later subscribers.
    :param mandatory: RabbitMQ only: hear about it when no queue is bound to the routing key.
    """

    address: str
    body: bytes
    content_type: str | None = None
    message_id: str | None = None
    created_at: float | None = None
    expires_at: float | None = None
    headers: Mapping[str, Header] | None = None
    qos: int = 1
    retain: bool = False
    mandatory: bool = False


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message that a broker delivered. ``tag`` and ``epoch`` are for ``settle``; tag 0 needs no acknowledgement."""

    address: str
    body: bytes
    tag: int = 0
    epoch: int = 0
    content_type: str | None = None
    message_id: str | None = None
    created_at: float | None = None
    expires_at: float | None = None
    headers: Mapping[str, Header] | None = None
    redelivered: bool = False
    retained: bool = False
    qos: int = 0


class PortOwner(Protocol):
    """Who hears what happens at a port. Called on the port's thread."""

    def on_up(self) -> None:
        """Connected, subscribed and ready."""

    def on_down(self, error: DependencyError, retry_in: float | None) -> None:
        """Not connected; the next attempt follows in so many seconds, or never (None)."""

    def on_delivery(self, delivery: Delivery) -> None:
        """A message has arrived."""

    def on_outcome(self, token: object, error: Exception | None) -> None:
        """What became of the message published with this token."""

    def on_room(self) -> None:
        """``room`` is above zero again."""


class Port(Protocol):
    """A connection to one broker (or the first of several that answers)."""

    @property
    def name(self) -> str:
        """What it connects to, for messages: never with a password."""

    @property
    def up(self) -> bool:
        """Whether it is connected and ready."""

    @property
    def blocked(self) -> bool:
        """Whether the broker has asked us not to publish for now."""

    @property
    def blocked_since(self) -> float:
        """When it asked for it, in seconds since the epoch; means nothing while ``blocked`` is False."""

    @property
    def room(self) -> int:
        """How many messages may be published right now; 0 while down, blocked, or with every confirm outstanding."""

    @property
    def unsettled(self) -> int:
        """How many published messages have no outcome yet."""

    def open(self, loop: Loop, owner: PortOwner) -> None:
        """Start connecting, on the loop's thread."""

    def check(self, message: Outgoing) -> None:
        """Raise ``Rejected`` for a message that no broker of this kind would take. Any thread."""

    def publish(self, message: Outgoing, token: object) -> None:
        """Publish. Raises ``Rejected`` at once for a message that no broker would take; then there is no outcome."""

    def reclaim(self) -> list[tuple[Outgoing, object]]:
        """Take back, in order, every message without an outcome, with its token; none of them will get one."""

    def settle(self, deliveries: Sequence[Delivery], *, accept: bool = True) -> None:
        """Acknowledge deliveries, or hand them back unprocessed. In the order in which they arrived, each once: an
        acknowledgement may speak for everything before it."""

    def stop_consuming(self) -> None:
        """Take no new deliveries; the connection stays, so that acknowledgements and publishes still leave."""

    def close(self, on_closed: Callable[[], None]) -> None:
        """Leave by the book, then call back. Messages without outcome get an error. Calls back exactly once."""

    def abort(self) -> None:
        """Drop everything at once. Messages without outcome get an error during the call; no callback follows it."""


class Expired(MessageError):
    """The message's time was up before it could be delivered. It was dropped on purpose."""
