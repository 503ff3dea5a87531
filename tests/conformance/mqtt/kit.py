"""An MQTT 3.1.1 client that says exactly what it is told to, right or wrong, over a blocking socket.

Its packets are put together here and not by the library: one mistake on both sides would pass unseen.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PATIENCE = 10.0
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x10, 0x20, 0x30, 0x40, 0x50, 0x62, 0x70
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0


@dataclass(frozen=True)
class Endpoint:
    """A broker under test. ``kind`` is "embedded" or "mosquitto"."""

    kind: str
    host: str
    port: int


@dataclass(frozen=True)
class Arrived:
    """A PUBLISH from the broker."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    retain: bool = False
    dup: bool = False


def number(value: int) -> bytes:
    return struct.pack("!H", value)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return number(len(raw)) + raw


def packet(first: int, body: bytes = b"") -> bytes:
    length, encoded = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes((first,)) + bytes(encoded) + body


def connect(
    client_id: str | bytes,
    *,
    clean: bool = True,
    keep_alive: int = 60,
    will: Arrived | None = None,
    user: str | None = None,
    password: str | None = None,
    name: str = "MQTT",
    level: int = 4,
    flags: int | None = None,
) -> bytes:
    bits = clean << 1
    body = text(client_id)
    if will is not None:
        bits |= 0x04 | will.qos << 3 | will.retain << 5
        body += text(will.topic) + text(will.payload)
    if user is not None:
        bits |= 0x80
        body += text(user)
    if password is not None:
        bits |= 0x40
        body += text(password)
    return packet(CONNECT, text(name) + bytes((level, bits if flags is None else flags)) + number(keep_alive) + body)


def publish(
    topic: str | bytes, payload: bytes, qos: int = 0, packet_id: int = 1, *, retain: bool = False, dup: bool = False
) -> bytes:
    first = PUBLISH | dup << 3 | qos << 1 | retain
    return packet(first, text(topic) + (number(packet_id) if qos else b"") + payload)


def subscribe(*filters: tuple[str | bytes, int], packet_id: int = 1) -> bytes:
    return packet(SUBSCRIBE, number(packet_id) + b"".join(text(f) + bytes((qos,)) for f, qos in filters))


def unsubscribe(*filters: str, packet_id: int = 1) -> bytes:
    return packet(UNSUBSCRIBE, number(packet_id) + b"".join(text(f) for f in filters))


def answer(kind: int, packet_id: int) -> bytes:
    return packet(kind, number(packet_id))


class Closed(Exception):
    """The broker has closed the connection."""


class Raw:
    """One connection."""

    def __init__(self, broker: Endpoint) -> None:
        self._socket = socket.create_connection((broker.host, broker.port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._put_back: deque[tuple[int, bytes]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.drop()

    def drop(self) -> None:
        """Close without DISCONNECT."""
        self._socket.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def leave(self) -> None:
        """Say DISCONNECT, and return when the broker has closed the connection: it has noticed."""
        self.send(packet(DISCONNECT))
        self.expect_closed()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self) -> tuple[int, bytes]:
        """The first byte and the body of the next packet. Raises Closed."""
        return self._put_back.popleft() if self._put_back else self._read()

    def _read(self) -> tuple[int, bytes]:
        header = self._take(2)
        while header[-1] & 0x80:
            header += self._take(1)
        length = sum((byte & 0x7F) << 7 * n for n, byte in enumerate(header[1:]))
        return header[0], self._take(length)

    def expect(self, data: bytes) -> None:
        """The next packet is this one, byte for byte."""
        first, body = self.read()
        assert packet(first, body) == data

    def arrived(self) -> Arrived:
        """The next packet, which has to be a PUBLISH. Nothing is answered."""
        first, body = self.read()
        assert first & 0xF0 == PUBLISH, f"0x{first:02x} instead of a PUBLISH"
        length = struct.unpack("!H", body[:2])[0]
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        qos, packet_id = first >> 1 & 3, 0
        if qos:
            packet_id, rest = struct.unpack("!H", rest[:2])[0], rest[2:]
        return Arrived(topic, rest, qos, packet_id, bool(first & 1), bool(first & 8))

    def take(self) -> Arrived:
        """The next PUBLISH, acknowledged in full."""
        message = self.arrived()
        if message.qos == 1:
            self.send(answer(PUBACK, message.packet_id))
        elif message.qos == 2:
            self.send(answer(PUBREC, message.packet_id))
            passed = []  # what the broker had sent before it saw our PUBREC
            while (found := self.read()) != (PUBREL, number(message.packet_id)):
                passed.append(found)
            self._put_back.extendleft(reversed(passed))
            self.send(answer(PUBCOMP, message.packet_id))
        return message

    def expect_nothing(self) -> None:
        """Nothing is on its way: a PINGREQ is answered by the very next packet."""
        self.send(packet(PINGREQ))
        self.expect(packet(PINGRESP))

    def expect_closed(self) -> None:
        """The broker closes the connection, and sends nothing before."""
        try:
            first, body = self.read()
        except Closed:
            return
        raise AssertionError(f"the broker sent {packet(first, body)!r} instead of closing the connection")

    def closed_within(self, seconds: float) -> bool:
        """Whether the broker closes the connection, or has closed it, within this time."""
        self._socket.settimeout(seconds)
        try:
            self.expect_closed()
        except TimeoutError:
            return False
        finally:
            self._socket.settimeout(PATIENCE)
        return True

    def publish(self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False, packet_id: int = 77) -> None:
        """Publish, and return when the broker has taken it (QoS 0: when it has answered what came behind it)."""
        self.send(publish(topic, payload, qos, packet_id, retain=retain))
        if qos == 0:
            self.expect_nothing()
        elif qos == 1:
            self.expect(answer(PUBACK, packet_id))
        else:
            self.expect(answer(PUBREC, packet_id))
            self.send(answer(PUBREL, packet_id))
            self.expect(answer(PUBCOMP, packet_id))

    def subscribe(self, *filters: tuple[str, int], packet_id: int = 7) -> None:
        """Subscribe; the broker grants what is asked for. Retained messages come after it."""
        self.send(subscribe(*filters, packet_id=packet_id))
        self.expect(packet(SUBACK, number(packet_id) + bytes(qos for _, qos in filters)))

    def unsubscribe(self, *filters: str, packet_id: int = 8) -> None:
        self.send(unsubscribe(*filters, packet_id=packet_id))
        self.expect(answer(UNSUBACK, packet_id))

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                data = self._socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                raise Closed
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


@contextmanager
def client(
    broker: Endpoint, client_id: str, *, clean: bool = True, present: bool = False, keep_alive: int = 60,
    will: Arrived | None = None,
) -> Iterator[Raw]:  # fmt: skip
    """A client that is let in, and whose session was there before or not. It goes without DISCONNECT."""
    with Raw(broker) as raw:
        raw.send(connect(client_id, clean=clean, keep_alive=keep_alive, will=will))
        raw.expect(packet(CONNACK, bytes((present, 0))))
        yield raw
        with suppress(OSError):
            raw.drop()
