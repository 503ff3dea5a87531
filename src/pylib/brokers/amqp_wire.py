"""basic.publish on the wire: the three frames of a message, encoded in one go.

Pika builds three frame objects and encodes each field by itself, 17 us for a message; most of it is the same for every
message of a stream (docs/adr/0004). The frames here are the ones that pika would send (AMQP 0-9-1 sections 2.3.5 and 4.2).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from pika import data as fields

from pylib.brokers.port import Header, Outgoing
from pylib.brokers.rabbit_values import EXPIRES_AT
from pylib.errors import Rejected

__all__ = ["PublishEncoder"]

_BASIC: Final = 60
_PUBLISH: Final = 40
_FRAME_END: Final = b"\xce"
_OVERHEAD: Final = 8  # frame header and end: what a body frame costs of frame_max
_MOST_KEYS: Final = 2000  # method frames remembered: devices have a routing key each
_MOST_COUNT: Final = 255  # headers that count: larger numbers are not remembered

# Property flags of class basic, in the order in which the properties follow (AMQP 0-9-1 section 4.2.6.1).
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = (
    1 << 15, 1 << 13, 1 << 12, 1 << 8, 1 << 7, 1 << 6,
)  # fmt: skip

_METHOD = struct.Struct("!BHIHHH")
_FRAME = struct.Struct("!BHI")
_CONTENT = struct.Struct("!BHIHHQ")
_TIME = struct.Struct("!Q")


class PublishEncoder:
    """Encodes messages for one channel and one exchange. For one thread.

    :param frame_max: the connection's negotiated largest frame, in bytes.
    """

    __slots__ = ("_channel", "_exchange", "_methods", "_most_body", "_tables")

    def __init__(self, channel: int, exchange: str, frame_max: int) -> None:
        self._channel = channel
        self._exchange = exchange.encode()
        self._most_body = frame_max - _OVERHEAD
        self._methods: dict[tuple[str, bool], bytes] = {}
        self._tables: dict[tuple[str, int], bytes] = {}

    def encode(self, message: Outgoing, remaining: float | None) -> bytes:
        """The frames of a message that may live ``remaining`` seconds more (None: for ever). Raises ``Rejected`` for a
        property that AMQP cannot hold.
        """
        channel, body = self._channel, message.body
        method = self._methods.get((message.address, message.mandatory))
        if method is None:
            method = self._method(message.address, message.mandatory)
        properties = self._properties(message, remaining)
        size = len(body)
        header = _CONTENT.pack(2, channel, 12 + len(properties), _BASIC, 0, size) + properties
        if size <= self._most_body:
            if not size:
                return b"%b%b\xce" % (method, header)
            return b"%b%b\xce%b%b\xce" % (method, header, _FRAME.pack(3, channel, size), body)
        parts = [method, header, _FRAME_END]
        for at in range(0, size, self._most_body):
            piece = body[at : at + self._most_body]
            parts += (_FRAME.pack(3, channel, len(piece)), piece, _FRAME_END)
        return b"".join(parts)

    def _method(self, key: str, mandatory: bool) -> bytes:
        name = key.encode()
        exchange = self._exchange
        rest = b"%c%b%c%b%c" % (len(exchange), exchange, len(name), name, mandatory)
        frame = _METHOD.pack(1, self._channel, 6 + len(rest), _BASIC, _PUBLISH, 0) + rest + _FRAME_END
        if len(self._methods) >= _MOST_KEYS:
            self._methods.clear()
        self._methods[key, mandatory] = frame
        return frame

    def _properties(self, message: Outgoing, remaining: float | None) -> bytes:
        flags = _DELIVERY_MODE
        parts: list[bytes] = [b""]
        if message.content_type is not None:
            flags |= _CONTENT_TYPE
            parts.append(_short(message.content_type))
        headers = message.headers
        if remaining is not None:
            headers = {**(headers or {}), EXPIRES_AT: str(message.expires_at)}
        if headers:
            flags |= _HEADERS
            parts.append(self._table(headers, message.address))
        parts.append(b"\x02" if message.qos else b"\x01")
        if remaining is not None:
            flags |= _EXPIRATION
            parts.append(_short(str(max(1, int(remaining * 1000)))))
        if message.message_id is not None:
            flags |= _MESSAGE_ID
            parts.append(_short(message.message_id))
        if message.created_at is not None:
            flags |= _TIMESTAMP
            parts.append(_TIME.pack(int(message.created_at)))
        parts[0] = flags.to_bytes(2, "big")
        return b"".join(parts)

    def _table(self, headers: Mapping[str, Header], address: str) -> bytes:
        if len(headers) == 1:
            # What most messages carry is a count of hops alone, and the same one.
            ((name, value),) = headers.items()
            if type(value) is int and -_MOST_COUNT <= value <= _MOST_COUNT:  # no bool: True equals 1, and is encoded otherwise
                table = self._tables.get((name, value))
                if table is None:
                    table = _encode_table(headers, address)
                    if len(self._tables) >= _MOST_KEYS:
                        self._tables.clear()
                    self._tables[name, value] = table
                return table
        return _encode_table(headers, address)


def _encode_table(headers: Mapping[str, Header], address: str) -> bytes:
    pieces: list[bytes] = []
    try:
        fields.encode_table(pieces, dict(headers))  # type: ignore[arg-type]  # the stubs know no float and bool
    except Exception as error:
        raise Rejected(f"{address}: its headers cannot be sent: {type(error).__name__}: {error}") from error
    return b"".join(pieces)


def _short(text: str) -> bytes:
    value = text.encode()
    if len(value) > 255:
        raise Rejected(f"a property of {len(value)} bytes is longer than AMQP's 255: {text[:40]!r}...")
    return b"%c%b" % (len(value), value)
