"""MQTT 3.1.1 packets: bytes to values and back. Nothing here knows of sockets, sessions or time.

What breaks a rule of the specification raises ``Malformed``, which names the rule; the connection that sent it is closed
(section 4.8). Section numbers are those of MQTT 3.1.1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import msgspec

from pylib.embedded.mqtt.topics import check_filter, check_text, check_topic

__all__ = [
    "ACCEPTED",
    "BAD_CLIENT_ID",
    "FAILURE",
    "FROM_CLIENT",
    "NOT_AUTHORIZED",
    "ONLY_CONNECT",
    "PINGRESP",
    "PUBACK",
    "PUBCOMP",
    "PUBREC",
    "PUBREL",
    "UNACCEPTABLE_VERSION",
    "UNAVAILABLE",
    "Answer",
    "Connect",
    "Disconnect",
    "Malformed",
    "Message",
    "Packet",
    "Ping",
    "Publish",
    "Reader",
    "Subscribe",
    "Unsubscribe",
    "VersionRefused",
    "answer",
    "connack",
    "parse",
    "publish",
    "suback",
    "unsuback",
]

# Section 2.2.1.
_CONNECT: Final = 0x10
_PUBLISH: Final = 0x30
PUBACK: Final = 0x40
PUBREC: Final = 0x50
PUBREL: Final = 0x62
PUBCOMP: Final = 0x70
_SUBSCRIBE: Final = 0x82
_UNSUBSCRIBE: Final = 0xA2
_PINGREQ: Final = 0xC0
_DISCONNECT: Final = 0xE0
PINGRESP: Final = b"\xd0\x00"
#: How a packet from a client may begin: first on its connection, and later.
ONLY_CONNECT: Final = frozenset((_CONNECT,))
FROM_CLIENT: Final = frozenset(
    (
        _CONNECT,
        PUBACK,
        PUBREC,
        PUBREL,
        PUBCOMP,
        _SUBSCRIBE,
        _UNSUBSCRIBE,
        _PINGREQ,
        _DISCONNECT,
        *range(_PUBLISH, _PUBLISH + 16),
    )
)

# Section 3.2.2.3.
ACCEPTED: Final = 0
UNACCEPTABLE_VERSION: Final = 1
BAD_CLIENT_ID: Final = 2
UNAVAILABLE: Final = 3
NOT_AUTHORIZED: Final = 5
# Section 3.9.3.
FAILURE: Final = 0x80

# The protocol's name and the levels of it that are spoken: 3.1 differs in the name alone.
_LEVELS: Final = {"MQTT": 4, "MQIsdp": 3}
_MOST_LENGTH_BYTES: Final = 4
_TWO: Final = struct.Struct("!H")
_Check: TypeAlias = Callable[[str], str]


class Malformed(Exception):
    """What arrived is not MQTT 3.1.1. The text says which rule it breaks; it holds no payload and no password."""


class VersionRefused(Exception):
    """A CONNECT of another version of MQTT (section 3.1.2.2)."""


class Message(msgspec.Struct, frozen=True):
    """An application message. ``size`` is what it counts for in the limits, in bytes."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False

    @property
    def size(self) -> int:
        return len(self.topic) + len(self.payload) + 100

    def __repr__(self) -> str:
        return f"Message({self.topic!r}, {len(self.payload)} bytes, QoS {self.qos})"


class Connect(msgspec.Struct, frozen=True):
    """CONNECT (section 3.1)."""

    client_id: str
    clean: bool
    keep_alive: int
    will: Message | None
    user: str | None
    password: bytes | None

    def __repr__(self) -> str:
        return f"Connect({self.client_id!r})"


class Publish(msgspec.Struct, frozen=True):
    """PUBLISH (section 3.3). ``packet_id`` is 0 for QoS 0."""

    message: Message
    packet_id: int


class Answer(msgspec.Struct, frozen=True):
    """PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7)."""

    kind: int
    packet_id: int


class Subscribe(msgspec.Struct, frozen=True):
    """SUBSCRIBE (section 3.8): filters with the QoS asked for."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


class Unsubscribe(msgspec.Struct, frozen=True):
    """UNSUBSCRIBE (section 3.10)."""

    packet_id: int
    filters: tuple[str, ...]


class Ping(msgspec.Struct, frozen=True):
    """PINGREQ (section 3.12)."""


class Disconnect(msgspec.Struct, frozen=True):
    """DISCONNECT (section 3.14)."""


Packet: TypeAlias = Connect | Publish | Answer | Subscribe | Unsubscribe | Ping | Disconnect


class Reader:
    """Cuts a stream of bytes into packets. ``most_bytes`` bounds one packet, header included, and ``expected`` are the first
    bytes that one may have; both may be changed. Whoever speaks something else is found out by one byte.
    """

    __slots__ = ("_need", "_rest", "expected", "most_bytes")

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.expected = ONLY_CONNECT
        self._rest = bytearray()  # the beginning of a packet whose end has not arrived
        self._need = 2

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Give the first byte and the body of each packet that is whole. Raises ``Malformed`` for an impossible length.

        Take all that it gives before feeding it again.
        """
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._need:
                return
            data = bytes(rest)
            rest.clear()
        at, size = 0, len(data)
        self._need = 2
        while at < size:
            if data[at] not in self.expected:
                raise Malformed(f"a packet that begins with 0x{data[at]:02x} (sections 2.2 and 3.1)")
            length, start = self._length(data, at + 1)
            if not start:
                break
            end = start + length
            if end - at > self.most_bytes:
                raise Malformed(f"a packet of {end - at} bytes, and {self.most_bytes} are allowed")
            if end > size:
                self._need = end - at
                break
            yield data[at], data[start:end]
            at = end
        if at < size:
            rest += data[at:]

    @staticmethod
    def _length(data: bytes, at: int) -> tuple[int, int]:
        """The remaining length and where it ends (section 2.2.3); (0, 0) while it has not all arrived."""
        length = 0
        for n in range(_MOST_LENGTH_BYTES):
            if at + n >= len(data):
                return 0, 0
            byte = data[at + n]
            length |= (byte & 0x7F) << 7 * n
            if byte < 0x80:
                return length, at + n + 1
        raise Malformed("a remaining length of more than four bytes (section 2.2.3)")


def parse(first: int, body: bytes) -> Packet:
    """The packet with this first byte and body. Raises ``Malformed`` or ``VersionRefused``."""
    if first & 0xF0 == _PUBLISH:
        return _parse_publish(first, body)
    if first in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        if len(body) != 2:
            raise Malformed("an acknowledgement that is not two bytes long (section 3.4)")
        return Answer(first, _packet_id(body, 0))
    if first == _SUBSCRIBE:
        return _parse_subscribe(body)
    if first == _UNSUBSCRIBE:
        return _parse_unsubscribe(body)
    if first in (_PINGREQ, _DISCONNECT):
        if body:
            raise Malformed("a packet with a body that it must not have (sections 3.12 and 3.14)")
        return Ping() if first == _PINGREQ else Disconnect()
    if first == _CONNECT:
        return _parse_connect(body)
    raise Malformed(f"a packet that begins with 0x{first:02x} (section 2.2)")


def connack(code: int, session_present: bool = False) -> bytes:
    """CONNACK (section 3.2)."""
    return bytes((0x20, 2, session_present, code))


def publish(message: Message, qos: int, packet_id: int = 0, *, retain: bool = False, dup: bool = False) -> bytes:
    """PUBLISH (section 3.3)."""
    topic = message.topic.encode()
    identifier = _TWO.pack(packet_id) if qos else b""
    first = _PUBLISH | dup << 3 | qos << 1 | retain
    length = 2 + len(topic) + len(identifier) + len(message.payload)
    return b"".join((bytes((first,)), _encoded(length), _TWO.pack(len(topic)), topic, identifier, message.payload))


def answer(kind: int, packet_id: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return bytes((kind, 2, packet_id >> 8, packet_id & 0xFF))


def suback(packet_id: int, granted: bytes) -> bytes:
    """SUBACK (section 3.9): for each filter the QoS, or ``FAILURE``."""
    return b"\x90" + _encoded(2 + len(granted)) + _TWO.pack(packet_id) + granted


def unsuback(packet_id: int) -> bytes:
    """UNSUBACK (section 3.11)."""
    return answer(0xB0, packet_id)


def _encoded(length: int) -> bytes:
    if length < 0x80:
        return bytes((length,))
    out = bytearray()
    while length >= 0x80:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)


def _parse_connect(body: bytes) -> Connect:
    name, at = _text(body, 0)
    if at >= len(body):
        raise Malformed("a CONNECT that ends early (section 3.1.2)")
    level = body[at]
    if name not in _LEVELS:
        raise Malformed("a CONNECT of another protocol (section 3.1.2.1)")
    if _LEVELS[name] != level:
        raise VersionRefused(f"{name} level {level}")
    if at + 4 > len(body):
        raise Malformed("a CONNECT that ends early (section 3.1.2)")
    flags = body[at + 1]
    keep_alive = body[at + 2] << 8 | body[at + 3]
    client_id, at = _text(body, at + 4)
    will_qos, has_will = flags >> 3 & 3, flags & 0x04
    if flags & 0x01 or will_qos == 3 or (not has_will and flags & 0x38) or flags & 0xC0 == 0x40:
        raise Malformed(f"a CONNECT with flags 0x{flags:02x} (section 3.1.2.3)")
    will = user = password = None
    if has_will:
        topic, at = _text(body, at)
        payload, at = _binary(body, at)
        _checked(check_topic, topic)
        will = Message(topic, payload, will_qos, bool(flags & 0x20))
    if flags & 0x80:
        user, at = _text(body, at)
    if flags & 0x40:
        password, at = _binary(body, at)
    if at != len(body):
        raise Malformed("a CONNECT with more in it than its flags say (section 3.1.3)")
    return Connect(client_id, bool(flags & 0x02), keep_alive, will, user, password)


def _parse_publish(first: int, body: bytes) -> Publish:
    qos = first >> 1 & 3
    if qos == 3:
        raise Malformed("a PUBLISH of QoS 3 (section 3.3.1.2)")
    if not qos and first & 0x08:
        raise Malformed("a PUBLISH of QoS 0 with DUP (section 3.3.1.1)")
    topic, at = _text(body, 0)
    _checked(check_topic, topic)
    packet_id = 0
    if qos:
        packet_id = _packet_id(body, at)
        at += 2
    return Publish(Message(topic, body[at:], qos, bool(first & 0x01)), packet_id)


def _parse_subscribe(body: bytes) -> Subscribe:
    packet_id, at = _packet_id(body, 0), 2
    filters = []
    while at < len(body):
        topic_filter, at = _text(body, at)
        _checked(check_filter, topic_filter)
        if at >= len(body) or body[at] > 2:
            raise Malformed("a SUBSCRIBE without a valid QoS (section 3.8.3)")
        filters.append((topic_filter, body[at]))
        at += 1
    if not filters:
        raise Malformed("a SUBSCRIBE without a filter (section 3.8.3)")
    return Subscribe(packet_id, tuple(filters))


def _parse_unsubscribe(body: bytes) -> Unsubscribe:
    packet_id, at = _packet_id(body, 0), 2
    filters = []
    while at < len(body):
        topic_filter, at = _text(body, at)
        _checked(check_filter, topic_filter)
        filters.append(topic_filter)
    if not filters:
        raise Malformed("an UNSUBSCRIBE without a filter (section 3.10.3)")
    return Unsubscribe(packet_id, tuple(filters))


def _packet_id(body: bytes, at: int) -> int:
    if at + 2 > len(body):
        raise Malformed("a packet that ends before its identifier (section 2.3.1)")
    packet_id = body[at] << 8 | body[at + 1]
    if not packet_id:
        raise Malformed("packet identifier 0 (section 2.3.1)")
    return packet_id


def _binary(body: bytes, at: int) -> tuple[bytes, int]:
    start = at + 2
    if start > len(body):
        raise Malformed("a packet that ends within a length (section 1.5.3)")
    end = start + (body[at] << 8 | body[at + 1])
    if end > len(body):
        raise Malformed("a text that is longer than its packet (section 1.5.3)")
    return body[start:end], end


def _text(body: bytes, at: int) -> tuple[str, int]:
    raw, end = _binary(body, at)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Malformed("a text that is not UTF-8 (section 1.5.3)") from None
    _checked(check_text, text)
    return text, end


def _checked(check: _Check, text: str) -> None:
    problem = check(text)
    if problem:
        raise Malformed(problem)
