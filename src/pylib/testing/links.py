"""The inside of the fault proxy: one connection as two flows, and the rules by which frames are dropped, repeated or cut."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from pylib.testing.frames import Detector, Frame, Part, Splitter

Direction = Literal["to_broker", "to_client"]
BOTH: tuple[Direction, Direction] = ("to_broker", "to_client")
# Past this a sender is no longer read, so that a frozen or slow side fills its peer's buffers as a real one would.
HELD_BYTES = 262_144
# How many frames are remembered, and how much of each: enough to read the numbers in a test's last few thousand.
REMEMBERED = 10_000
HEAD_BYTES = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Toxic:
    """What happens to one direction: all fields at their defaults let everything through at once."""

    frozen: bool = False
    latency: float = 0.0
    bytes_per_second: float | None = None

    def slice(self) -> int | None:
        """How many bytes to send at a time, a twentieth of a second's worth, so that a slow flow is even."""
        return None if self.bytes_per_second is None else max(1, int(self.bytes_per_second / 20))


@dataclass(slots=True)
class Rule:
    """What is to happen to the next frames of a kind: the first ``skip`` pass, the ``left`` after them do not."""

    action: Literal["drop", "duplicate", "cut"]
    kind: str | None
    direction: Direction | None
    left: int
    skip: int = 0

    def decides(self, kind: str, direction: Direction) -> bool:
        """Whether this frame is one of them; counts it."""
        if not self.left or self.kind not in (None, kind) or self.direction not in (None, direction):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.left -= 1
        return True


class Script:
    """The rules in force and the frames seen so far. The proxy's thread writes, any thread may wait."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._seen: Counter[tuple[Direction, str]] = Counter()
        self._frames: deque[tuple[Direction, Frame]] = deque(maxlen=REMEMBERED)
        self._changed = threading.Condition()

    def decide(self, frame: Frame, direction: Direction) -> None:
        """Count a frame and say what happens to it."""
        # Every rule counts every frame, so that one rule does not hide frames from another.
        found = [rule.action for rule in self.rules if rule.decides(frame.kind, direction)]
        frame.action = found[0] if found else "pass"
        with self._changed:
            self._seen[direction, frame.kind] += 1
            self._frames.append((direction, frame))
            self._changed.notify_all()

    def heads(self, kind: str, direction: Direction | None) -> list[bytes]:
        with self._changed:
            return [bytes(each.head) for way, each in self._frames if each.kind == kind and direction in (None, way)]

    def seen(self, kind: str, direction: Direction | None) -> int:
        with self._changed:
            return sum(self._seen[each, kind] for each in (BOTH if direction is None else (direction,)))

    def wait(self, kind: str, count: int, direction: Direction | None, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.seen(kind, direction) >= count, timeout)

    def listing(self) -> str:
        """What passed, for a failing test's report."""
        with self._changed:
            return ", ".join(f"{n} {kind} {way}" for (way, kind), n in sorted(self._seen.items())) or "no frame at all"


@dataclass(slots=True)
class Held:
    """What waits to be sent: some bytes, or the end of the connection."""

    due: float
    data: bytes
    cut: bool = False


class Flow:
    """One direction of one connection. Used by the proxy's thread alone."""

    def __init__(self, source: socket.socket, target: socket.socket, direction: Direction, script: Script) -> None:
        self.source = source
        self.target = target
        self.direction = direction
        self.held: deque[Held] = deque()
        self.held_bytes = 0
        self.source_ended = False
        self.end_passed_on = False
        self.next_send = 0.0
        self.splitter: Splitter | None = None
        self.opened = False
        self._script = script
        self._cut = False
        self._inserts: list[bytes] = []

    def wants_to_read(self, toxic: Toxic) -> bool:
        return not (self.source_ended or self._cut or toxic.frozen) and self.held_bytes < HELD_BYTES

    def send_due(self, toxic: Toxic) -> float | None:
        """The monotonic time at which something may be sent, or None."""
        if toxic.frozen or not self.held:
            return None
        return max(self.held[0].due, self.next_send)

    def take(self, data: bytes, latency: float) -> None:
        """Take over what was read, by the rules."""
        assert self.splitter is not None
        due = time.monotonic() + latency
        passing = bytearray()
        for part in self.splitter.feed(data):
            passing += self._through(part)
            if self._cut:
                break
            if self._inserts and self.splitter.between_frames:
                passing += b"".join(self._inserts)
                self._inserts.clear()
        if passing:
            self._hold(due, bytes(passing))
        if self._cut:
            self.held.append(Held(due, b"", cut=True))

    def insert(self, data: bytes) -> None:
        """Have a whole frame sent that the peer never sent, between two of its own."""
        if self.splitter is not None and self.splitter.between_frames:
            self._hold(time.monotonic(), data)
        else:
            self._inserts.append(data)

    def pass_raw(self, data: bytes) -> None:
        """Have bytes sent as they are."""
        if data:
            self._hold(time.monotonic(), data)

    def _through(self, part: Part) -> bytes:
        """What of a part is sent on."""
        frame = part.frame
        if frame is None:
            return part.data
        if len(frame.head) < HEAD_BYTES:
            frame.head += part.data[: HEAD_BYTES - len(frame.head)]
        if part.first:
            self._script.decide(frame, self.direction)
            # From here on a broker may speak of itself at any time.
            self.opened = self.opened or frame.kind == "connection.open-ok"
        if frame.action == "cut":
            self._cut = True
            return b""
        if frame.action == "drop":
            return b""
        if frame.action == "duplicate":
            frame.copy.append(part.data)
            if part.last:
                whole, frame.copy = b"".join(frame.copy), []
                return part.data + whole
        return part.data

    def _hold(self, due: float, data: bytes) -> None:
        self.held.append(Held(due, data))
        self.held_bytes += len(data)


@dataclass(slots=True)
class Link:
    """One connection of a client, with its connection to the broker."""

    client: socket.socket
    broker: socket.socket
    flows: dict[Direction, Flow]
    detector: Detector = field(default_factory=Detector)

    def take(self, flow: Flow, data: bytes, latency: float) -> None:
        """Take over what was read from one side; the client's first bytes say what is spoken."""
        there, back = self.flows["to_broker"], self.flows["to_client"]
        if there.splitter is not None or flow is back:
            if flow.splitter is None:
                # A server that speaks first speaks neither protocol.
                flow.pass_raw(data)
            else:
                flow.take(data, latency)
            return
        decided = self.detector.decide(data)
        if decided is not None:
            there.splitter, back.splitter, start = decided
            there.take(start, latency)

    def flush(self, flow: Flow) -> None:
        """The source has ended: what was held back until it made sense goes on its way as it is."""
        if flow.splitter is not None:
            flow.pass_raw(flow.splitter.leftover())
        elif flow.direction == "to_broker":
            flow.pass_raw(self.detector.undecided)


def reset(connection: socket.socket) -> None:
    """Close with a TCP reset instead of an orderly end."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    connection.close()
