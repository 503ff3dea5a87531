"""A message, and its place in a queue."""

from __future__ import annotations

import struct

from pylib.embedded.amqp.wire.properties import Properties
from pylib.embedded.amqp.wire.tables import Table, encode_short

__all__ = ["Entry", "Message"]

_HEADER = struct.Struct(">HHQ")
#: Bytes that a message is reckoned with beyond its body and properties: its objects.
OBJECT_BYTES = 600


class Message:
    """Shared by all queues it was routed to; never changed. The first routing key is the publisher's, the others are CC's."""

    __slots__ = ("body", "cost", "exchange", "header", "place", "properties", "routing_keys")

    def __init__(self, exchange: str, routing_keys: tuple[str, ...], properties: Properties, body: bytes) -> None:
        self.exchange = exchange
        self.routing_keys = routing_keys
        self.properties = properties
        self.body = body
        self.header = _HEADER.pack(60, 0, len(body)) + properties.raw
        # The end of basic.deliver and the middle of basic.get-ok.
        self.place = encode_short(exchange) + encode_short(routing_keys[0])
        self.cost = len(body) + len(properties.raw) + OBJECT_BYTES

    @property
    def headers(self) -> Table | None:
        return self.properties.headers

    @property
    def priority(self) -> int:
        return self.properties.priority or 0

    def header_with(self, extra: Table) -> bytes:
        """The content header's payload with headers added."""
        properties = self.properties.with_headers((self.headers or {}) | extra)
        return _HEADER.pack(60, 0, len(self.body)) + properties.raw


class Entry:
    """A message in one queue."""

    __slots__ = ("counted", "deliveries", "expires", "message", "redelivered", "sequence")

    def __init__(self, message: Message, sequence: int, expires: float | None, counted: bool) -> None:
        self.message = message
        # Whether consumers are told how often it came back: by quorum queues.
        self.counted = counted
        # Its place in the queue: what comes back goes there again.
        self.sequence = sequence
        self.expires = expires
        self.redelivered = False
        # How often it came back, for the delivery limit.
        self.deliveries = 0
