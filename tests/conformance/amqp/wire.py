"""A small AMQP 0-9-1 client that sends exactly what it is told, also what no client library would.

Every wait has a deadline. What the broker sent and the test did not expect fails the test and is shown.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.exceptions import UnmarshalingException
from pamqp.frame import FrameTypes, marshal, unmarshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

PATIENCE = 10.0
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = b"\xce"

CLIENT_PROPERTIES: dict[str, Any] = {
    "product": "conformance",
    "capabilities": {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "authentication_failure_close": True,
    },
}

_F = TypeVar("_F", bound=Frame)


class Hung(AssertionError):
    """The broker was silent for longer than the deadline."""


class HungUp(AssertionError):
    """The broker ended the connection while something else was expected."""


@dataclass(frozen=True, slots=True)
class Message:
    """A delivery, a get or a return, with its content."""

    method: Frame
    header: ContentHeader
    body: bytes

    @property
    def properties(self) -> commands.Basic.Properties:
        return self.header.properties

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.properties.headers or {})

    @property
    def exchange(self) -> str:
        assert isinstance(self.method, commands.Basic.Deliver | commands.Basic.GetOk | commands.Basic.Return)
        return self.method.exchange or ""

    @property
    def routing_key(self) -> str:
        assert isinstance(self.method, commands.Basic.Deliver | commands.Basic.GetOk | commands.Basic.Return)
        return self.method.routing_key or ""

    @property
    def consumer_tag(self) -> str:
        assert isinstance(self.method, commands.Basic.Deliver)
        return self.method.consumer_tag or ""

    @property
    def message_count(self) -> int:
        """How many are left in the queue, after a get."""
        assert isinstance(self.method, commands.Basic.GetOk)
        return self.method.message_count or 0

    @property
    def tag(self) -> int:
        assert isinstance(self.method, commands.Basic.Deliver | commands.Basic.GetOk), self.method
        return self.method.delivery_tag or 0

    @property
    def redelivered(self) -> bool:
        assert isinstance(self.method, commands.Basic.Deliver | commands.Basic.GetOk), self.method
        return bool(self.method.redelivered)


@dataclass(frozen=True, slots=True)
class Received:
    """One frame as it came: decoded, and its payload as bytes."""

    channel: int
    kind: int
    payload: bytes
    frame: FrameTypes | None


def raw_frame(kind: int, channel: int, payload: bytes, end: bytes = FRAME_END) -> bytes:
    """Build a frame out of its parts, right or wrong."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def raw_method(class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    """Build a method frame's payload out of its parts."""
    return struct.pack(">HH", class_id, method_id) + arguments


class Wire:
    """A socket to a broker that knows frames and nothing of the protocol's order."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.ended = False

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def send_bytes(self, data: bytes) -> None:
        """Send bytes; a broker that has hung up already is noticed by the next read."""
        with suppress(OSError):
            self._socket.sendall(data)

    def send(self, channel: int, *frames: FrameTypes) -> None:
        """Send well-formed frames in one go."""
        self.send_bytes(b"".join(marshal(frame, channel) for frame in frames))

    def read_exactly(self, count: int, timeout: float = PATIENCE) -> bytes | None:
        """Return the next bytes, or None when the broker hung up first; raises Hung past the deadline."""
        if not self._fill(count, time.monotonic() + timeout):
            return None
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def read(self, timeout: float = PATIENCE, *, heartbeats: bool = False) -> Received | None:
        """Return the next frame, or None when the broker hung up; raises Hung past the deadline."""
        deadline = time.monotonic() + timeout
        while True:
            if not self._fill(7, deadline):
                return None
            kind, channel, size = struct.unpack(">BHI", self._buffer[:7])
            if not self._fill(size + 8, deadline):
                return None
            data = bytes(self._buffer[: size + 8])
            del self._buffer[: size + 8]
            assert data[-1:] == FRAME_END, f"a frame of the broker does not end with 0xCE: {data!r}"
            if kind == HEARTBEAT and not heartbeats:
                continue
            try:
                frame = unmarshal(data)[2]
            except UnmarshalingException:
                frame = None
            return Received(channel, kind, data[7:-1], frame)

    def expect(self, channel: int, kind: type[_F], timeout: float = PATIENCE) -> _F:
        """Return the next frame, which has to be a ``kind`` on ``channel``."""
        got = self.read(timeout)
        if got is None:
            raise HungUp(f"the broker hung up instead of sending {kind.name}")
        assert isinstance(got.frame, kind), f"{kind.name} expected, got {shown(got)}"
        assert got.channel == channel, f"{kind.name} expected on channel {channel}, got {shown(got)}"
        return got.frame

    def expect_any(self, timeout: float = PATIENCE) -> Received:
        """Return the next frame, whatever it is."""
        got = self.read(timeout)
        if got is None:
            raise HungUp("the broker hung up")
        return got

    def expect_end(self, timeout: float = PATIENCE) -> None:
        """Wait until the broker hangs up, whatever it sends before."""
        deadline = time.monotonic() + timeout
        while (got := self.read(max(0.0, deadline - time.monotonic()))) is not None:
            del got

    def silent_for(self, seconds: float) -> bool:
        """Return True when nothing but heartbeats came for so long."""
        try:
            got = self.read(seconds)
        except Hung:
            return True
        raise AssertionError(f"nothing was expected, got {'the end' if got is None else shown(got)}")

    def _fill(self, count: int, deadline: float) -> bool:
        while len(self._buffer) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Hung("the broker sent nothing in time")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(262144)
            except TimeoutError:
                raise Hung("the broker sent nothing in time") from None
            except ConnectionError:
                data = b""
            if not data:
                self.ended = True
                return False
            self._buffer += data
        return True


def shown(got: Received) -> str:
    """Describe a frame for a failing test."""
    if isinstance(got.frame, Frame):
        values = ", ".join(f"{name}={value!r}" for name, value in got.frame)
        return f"{got.frame.name}({values}) on channel {got.channel}"
    if isinstance(got.frame, ContentBody):
        return f"a body of {len(got.payload)} bytes on channel {got.channel}: {got.payload[:60]!r}"
    if isinstance(got.frame, Heartbeat):
        return "a heartbeat"
    return f"frame type {got.kind} on channel {got.channel}: {got.payload[:60]!r}"


@dataclass(slots=True)
class Inbox:
    """What arrived on a channel without being asked for."""

    deliveries: deque[Message] = field(default_factory=deque)
    returns: deque[Message] = field(default_factory=deque)
    confirms: deque[Frame] = field(default_factory=deque)
    cancels: deque[commands.Basic.Cancel] = field(default_factory=deque)


def sasl_plain(user: str, password: str) -> str:
    """The response of the mechanism PLAIN."""
    return f"\0{user}\0{password}"


def frames_of(body: bytes, properties: commands.Basic.Properties | None, frame_max: int) -> Sequence[FrameTypes]:
    """Content as frames: the header, then bodies that fit."""
    step = frame_max - 8 if frame_max else max(1, len(body))
    bodies = [ContentBody(body[at : at + step]) for at in range(0, len(body), step)]
    return [ContentHeader(body_size=len(body), properties=properties), *bodies]


def until(check: Callable[[], bool], wait: Callable[[float], object], timeout: float = PATIENCE) -> None:
    """Wait until ``check`` holds; ``wait`` passes the time between two looks."""
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "what was waited for did not happen in time"
        wait(0.02)
