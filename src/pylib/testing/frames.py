"""Finds the frames in a stream of MQTT or AMQP 0-9-1 bytes, without waiting for a frame to be complete.

A *frame* is here what a person means by it: an MQTT control packet (MQTT 3.1.1, section 2), or an AMQP method together with
the content that belongs to it (AMQP 0-9-1, sections 2.3.5 and 4.2), so that a ``basic.publish`` is one frame however many
pieces its body comes in. Names are those of the specifications: ``PUBLISH``, ``PUBACK``; ``basic.publish``, ``basic.ack``,
``heartbeat``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Protocol

MQTT_PACKETS: Final = (
    "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE",
    "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
)  # fmt: skip
GREETING: Final = "protocol header"
HEARTBEAT: Final = "heartbeat"
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
# What has to be there before the kind of a frame is known: type, channel and size, and for a method its class and number, for
# a content header the size of the body.
_NEEDED: Final = {_METHOD: 11, _HEADER: 19, _BODY: 7, _HEARTBEAT: 7}
_WITH_CONTENT: Final = frozenset({"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"})
# A channel with content under way holds one entry; more than this many is no AMQP.
_MOST_CHANNELS: Final = 65_535


@dataclass(slots=True)
class Frame:
    """One frame on its way. ``action`` is decided at its first byte and holds for all of it; ``head`` is how it begins."""

    kind: str
    action: str = "pass"
    head: bytearray = field(default_factory=bytearray)
    copy: list[bytes] = field(default_factory=list)
    body_left: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a frame. ``frame`` is None where the stream is neither MQTT nor AMQP."""

    data: bytes
    frame: Frame | None = None
    first: bool = False
    last: bool = False


class Splitter(Protocol):
    """Takes bytes as they come and gives them back as parts of frames, all of them and in order."""

    @property
    def between_frames(self) -> bool: ...

    def feed(self, data: bytes) -> Iterator[Part]: ...

    def leftover(self) -> bytes:
        """What was held back because it is too little to be a frame's head."""
        ...


class RawSplitter:
    """A stream that is neither: everything passes as it came."""

    between_frames = False

    def feed(self, data: bytes) -> Iterator[Part]:
        yield Part(data)

    def leftover(self) -> bytes:
        return b""


class MqttSplitter:
    """MQTT 3.1.1 and 5: a type, a length of up to four bytes, and so many bytes."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._frame: Frame | None = None
        self._left = 0

    @property
    def between_frames(self) -> bool:
        return self._frame is None and not self._head

    def feed(self, data: bytes) -> Iterator[Part]:
        at = 0
        while at < len(data):
            first = self._frame is None
            if self._frame is None:
                self._head.append(data[at])
                at += 1
                if len(self._head) < 2 or (self._head[-1] & 0x80 and len(self._head) < 5):
                    continue
                self._left = sum((byte & 0x7F) << (7 * n) for n, byte in enumerate(self._head[1:]))
                self._frame = Frame(MQTT_PACKETS[(self._head[0] >> 4) - 1] if self._head[0] >> 4 else "reserved")
            body = data[at : at + self._left]
            at += len(body)
            self._left -= len(body)
            frame, whole = self._frame, bytes(self._head) + body
            self._head.clear()
            if not self._left:
                self._frame = None
            yield Part(whole, frame, first, self._frame is None)

    def leftover(self) -> bytes:
        return bytes(self._head)


class AmqpSplitter:
    """AMQP 0-9-1: frames of a type, a channel and a size; a method's content follows on the same channel."""

    def __init__(self, *, greets: bool) -> None:
        self._head = bytearray()
        self._greets = greets
        self._left = 0
        self._now: tuple[Frame, bool] | None = None  # the frame that the bytes to come belong to, and whether they end it
        self._contents: dict[int, Frame] = {}

    @property
    def between_frames(self) -> bool:
        return self._now is None and not self._head and not self._greets

    def feed(self, data: bytes) -> Iterator[Part]:
        at = 0
        while at < len(data):
            first = False
            if self._now is None:
                wanted = self._wanted() - len(self._head)
                self._head += data[at : at + wanted]
                at += wanted
                if len(self._head) < self._wanted():
                    continue
                self._now, first = self._begin()
            body = data[at : at + self._left]
            at += len(body)
            self._left -= len(body)
            frame, ends = self._now
            whole = bytes(self._head) + body
            self._head.clear()
            if not self._left:
                self._now = None
            yield Part(whole, frame, first, ends and self._now is None)

    def leftover(self) -> bytes:
        return bytes(self._head)

    def _wanted(self) -> int:
        if self._greets:
            return 8
        if len(self._head) < 7:
            return 7
        # A frame too short for what its type promises is passed on as it is: the peer will say what it thinks of it.
        return min(_NEEDED.get(self._head[0], 7), 8 + int.from_bytes(self._head[3:7]))

    def _begin(self) -> tuple[tuple[Frame, bool], bool]:
        """What the head says: the frame, whether it ends with these bytes, and whether it begins with them."""
        head = self._head
        if self._greets:
            self._greets, self._left = False, 0
            return (Frame(GREETING), True), True
        kind, channel, size = head[0], int.from_bytes(head[1:3]), int.from_bytes(head[3:7])
        self._left = size + 8 - len(head)
        content = self._contents.get(channel)
        if kind == _HEADER and content is not None:
            content.body_left = int.from_bytes(head[11:19])
        elif kind == _BODY and content is not None:
            content.body_left -= size
        else:
            name = HEARTBEAT if kind == _HEARTBEAT else _method_names().get(int.from_bytes(head[7:11]), "unknown")
            frame = Frame(name if kind in (_METHOD, _HEARTBEAT) else "unknown")
            if frame.kind in _WITH_CONTENT and len(self._contents) < _MOST_CHANNELS:
                self._contents[channel] = frame
                return (frame, False), True
            return (frame, True), True
        if content.body_left <= 0:
            del self._contents[channel]
        return (content, content.body_left <= 0), False


class Detector:
    """Says from a client's first bytes what it speaks; until it is known nothing is passed on."""

    def __init__(self) -> None:
        self._start = bytearray()

    def decide(self, data: bytes) -> tuple[Splitter, Splitter, bytes] | None:
        """Return a splitter for either direction and what came so far, or None while it may be either.

        The first one is for what the client sends, the second for what the broker answers.
        """
        self._start += data
        start = bytes(self._start)
        if start.startswith(b"AMQP") and len(start) >= 8:
            return AmqpSplitter(greets=True), AmqpSplitter(greets=False), start
        if start[0] == 0x10 and re.match(rb"\x10[\x80-\xff]{0,3}[\x00-\x7f]\x00[\x04\x06]MQ", start, re.DOTALL):
            return MqttSplitter(), MqttSplitter(), start
        if b"AMQP\0\0\x09\x01".startswith(start) or (start[0] == 0x10 and len(start) < 9):
            return None
        return RawSplitter(), RawSplitter(), start

    @property
    def undecided(self) -> bytes:
        """What was held back so far."""
        return bytes(self._start)


@cache
def _method_names() -> dict[int, str]:
    """AMQP's methods by class and number, as the specification writes them: ``queue.declare-ok``."""
    import pika  # only tests that name frames of AMQP pay for it

    hyphen = re.compile(r"(?<=[a-z])(?=[A-Z])")
    return {number: hyphen.sub("-", method.NAME).lower() for number, method in pika.spec.methods.items()}


def known_kind(kind: str) -> str:
    """Return the name of a frame as it is written here; raises ValueError, with what was probably meant, for another."""
    names = {each.lower(): each for each in (*MQTT_PACKETS, *_method_names().values(), HEARTBEAT, GREETING)}
    found = names.get(kind.lower())
    if found is None:
        near = difflib.get_close_matches(kind.lower(), names, 3)
        hint = f"did you mean {' or '.join(names[each] for each in near)}?" if near else "see pylib.testing.frames."
        raise ValueError(f"There is no frame called {kind!r} in MQTT or AMQP 0-9-1: {hint}")
    return found
