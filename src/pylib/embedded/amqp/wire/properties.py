"""The properties of a message: kept as they came, looked into where a rule asks, rewritten where one says so.

What a publisher wrote reaches the consumer byte for byte, unless a header is added (``x-death``) or taken out (``BCC``).
"""

from __future__ import annotations

import struct
from typing import Final

from pylib.embedded.amqp.wire.errors import Malformed
from pylib.embedded.amqp.wire.tables import Table, decode_table, encode_short, encode_table, text

__all__ = ["EMPTY", "Properties"]

_FLAGS: Final = struct.Struct(">H")

# Section 4.2.6.1 of AMQP 0-9-1: the highest bit is the first property.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
_CORRELATION_ID, _REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = 1 << 10, 1 << 9, 1 << 8, 1 << 7, 1 << 6
_TYPE, _USER_ID, _APP_ID, _CLUSTER_ID = 1 << 5, 1 << 4, 1 << 3, 1 << 2
_ORDER: Final = (
    _CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY, _CORRELATION_ID, _REPLY_TO, _EXPIRATION,
    _MESSAGE_ID, _TIMESTAMP, _TYPE, _USER_ID, _APP_ID, _CLUSTER_ID,
)  # fmt: skip
_KNOWN: Final = sum(_ORDER)


class Properties:
    """Parsed once, when a message arrives. Raises Malformed for bytes that are no properties."""

    __slots__ = ("_spans", "delivery_mode", "expiration", "headers", "priority", "raw", "reply_to", "user_id")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.headers: Table | None = None
        self.delivery_mode: int | None = None
        self.priority: int | None = None
        self.expiration: str | None = None
        self.user_id: str | None = None
        self.reply_to: str | None = None
        self._spans: dict[int, bytes] = {}
        self._parse(raw)

    def _parse(self, raw: bytes) -> None:
        size = len(raw)
        if size < 2:
            raise Malformed("the property flags are cut short")
        flags = int(_FLAGS.unpack_from(raw)[0])
        if flags & ~_KNOWN:
            raise Malformed("there are property flags that mean nothing")
        position, spans = 2, self._spans
        for flag in _ORDER:
            if not flags & flag:
                continue
            start = position
            if flag == _HEADERS:
                self.headers, position = decode_table(raw, position)
            elif flag in (_DELIVERY_MODE, _PRIORITY):
                position += 1
            elif flag == _TIMESTAMP:
                position += 8
            else:
                position += 1 + (raw[position] if position < size else 0)
            if position > size:
                raise Malformed("the properties are cut short")
            spans[flag] = raw[start:position]
        if position != size:
            raise Malformed("there are bytes after the properties")
        if flags & _DELIVERY_MODE:
            self.delivery_mode = spans[_DELIVERY_MODE][0]
        if flags & _PRIORITY:
            self.priority = spans[_PRIORITY][0]
        if flags & _EXPIRATION:
            self.expiration = text(spans[_EXPIRATION][1:])
        if flags & _USER_ID:
            self.user_id = text(spans[_USER_ID][1:])
        if flags & _REPLY_TO:
            self.reply_to = text(spans[_REPLY_TO][1:])

    def with_headers(self, headers: Table | None, *, keep_expiration: bool = True) -> Properties:
        """The same properties with other headers (None: without any), and perhaps without the expiration."""
        spans = dict(self._spans)
        spans.pop(_HEADERS, None)
        if headers is not None:
            spans[_HEADERS] = encode_table(headers)
        if not keep_expiration:
            spans.pop(_EXPIRATION, None)
        made = self._changed(spans)
        made.headers = headers
        if not keep_expiration:
            made.expiration = None
        return made

    def with_reply_to(self, reply_to: str) -> Properties:
        """The same properties with another address for the answer."""
        made = self._changed(self._spans | {_REPLY_TO: encode_short(reply_to)})
        made.reply_to = reply_to
        return made

    def _changed(self, spans: dict[int, bytes]) -> Properties:
        """A copy with other bytes, not parsed again: a chain of dead letters would parse its history at every step."""
        made = Properties.__new__(Properties)
        made.raw = _FLAGS.pack(sum(spans)) + b"".join([spans[flag] for flag in _ORDER if flag in spans])
        made._spans = spans
        made.headers, made.delivery_mode, made.priority = self.headers, self.delivery_mode, self.priority
        made.expiration, made.user_id, made.reply_to = self.expiration, self.user_id, self.reply_to
        return made


EMPTY: Final = Properties(b"\x00\x00")
