"""Looking at what passes a pipe of a running application, at no cost while nobody looks.

A tap gives the sockets that take from the pipe another class, whose receiving notes what it received; when nobody has asked
for a while they get their own class back. Nothing is taken from the pipe and nobody waits for the one who looks: what he
does not fetch in time makes room for what comes next, and is counted.
"""

from __future__ import annotations

import base64
import pickle
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import zmq

from pylib.errors import PylibError
from pylib.runtime.runtime import Runtime
from pylib.runtime.sockets import Socket

__all__ = ["Taps"]

#: Messages and bytes that one tap keeps for who looks, and the bytes of a single message beyond which only its size is kept.
MOST_KEPT: Final = 500
MOST_KEPT_BYTES: Final = 4 * 1024 * 1024
MOST_NOTED: Final = 256 * 1024
#: Bytes of one answer, pipes that are looked at at the same time, and seconds after which a tap that nobody asks for ends.
MOST_ANSWERED: Final = 512 * 1024
MOST_TAPS: Final = 8
LEASE: Final = 10.0

_TAKES: Final = frozenset((zmq.PULL, zmq.REP))


class _Ring:
    """What has passed, the newest last. The sockets' threads write, the control's reads."""

    def __init__(self, monotonic: Any, time: Any) -> None:
        self._lock = threading.Lock()
        self._noted: deque[tuple[int, float, bytes]] = deque()
        self._bytes = 0
        self._last = 0
        self._time = time
        self._monotonic = monotonic
        self.asked_at = float(monotonic())

    def note(self, message: object) -> None:
        """Keep a copy, so that what the receiver does with it changes nothing here. Never raises."""
        try:
            packed = msgspec.msgpack.encode(message, enc_hook=repr)
        except Exception:  # an object that cannot be shown must not harm the thread that it was meant for
            packed = msgspec.msgpack.encode(f"{type(message).__name__} that cannot be shown")
        if len(packed) > MOST_NOTED:
            packed = msgspec.msgpack.encode(f"{type(message).__name__} of {len(packed)} bytes, too large to be shown")
        with self._lock:
            self._last += 1
            self._noted.append((self._last, self._time(), packed))
            self._bytes += len(packed)
            while len(self._noted) > MOST_KEPT or self._bytes > MOST_KEPT_BYTES:
                self._bytes -= len(self._noted.popleft()[2])

    def since(self, after: int) -> dict[str, object]:
        """What came after the message of that number, and how many of those are gone already."""
        self.asked_at = float(self._monotonic())
        messages: list[dict[str, object]] = []
        size = 0
        with self._lock:
            first = self._noted[0][0] if self._noted else self._last + 1
            last = after
            for number, at, packed in self._noted:
                if number <= after:
                    continue
                size += len(packed)
                if messages and size > MOST_ANSWERED:
                    break
                last = number
                messages.append({"at": at, "body": base64.b64encode(packed).decode()})
        return {"messages": messages, "missed": max(0, first - after - 1), "last": last}

    @property
    def last(self) -> int:
        """The number of the newest message."""
        return self._last


class _Tapped(Socket):
    """A socket that is looked at. Only ever reached by giving an open ``Socket`` this class."""

    _ring: _Ring

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        frame = super().recv(flags, copy, track)
        self._ring.note(bytes(frame))
        return frame

    def recv_pyobj(self, flags: int = 0) -> Any:
        if not self._local:
            return super().recv_pyobj(flags)
        obj = pickle.loads(Socket.recv(self, flags))
        self._ring.note(obj)
        return obj

    def take(self) -> tuple[Any, bytes]:
        obj, carried = super().take()
        self._ring.note(obj)
        return obj, carried


class Taps:
    """The pipes that are looked at. Belongs to the thread of the control, which calls ``expire`` from time to time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._rings: dict[str, _Ring] = {}

    def answer(self, request: Mapping[str, object]) -> dict[str, object]:
        """``{"endpoint": "inproc://...", "after": n}``: what passed after message ``n``, and the number of the last of them.

        The first question starts the tap; with ``n`` below 0 it is answered by the number of the last message alone.
        Raises ``PylibError`` when there is no such pipe, or too many are looked at.
        """
        endpoint = str(request.get("endpoint", ""))
        after = request.get("after", 0)
        ring = self._rings.get(endpoint)
        sockets = [socket for socket in self._runtime.sockets.all() if endpoint in socket.endpoints and socket.kind in _TAKES]
        if ring is None:
            if not sockets:
                known = sorted({e for s in self._runtime.sockets.all() if s.kind in _TAKES for e in s.endpoints})
                raise PylibError(f"there is no pipe {endpoint!r}; there are {', '.join(known) or 'none'}")
            if len(self._rings) >= MOST_TAPS:
                raise PylibError(f"{MOST_TAPS} pipes are looked at already; end one of the others")
            ring = self._rings[endpoint] = _Ring(self._runtime.clock.monotonic, self._runtime.clock.time)
        for socket in sockets:  # also those of a thread that was started again meanwhile
            if type(socket) is Socket:
                object.__setattr__(socket, "_ring", ring)
                object.__setattr__(socket, "__class__", _Tapped)
        if not isinstance(after, int) or after < 0:
            return {"messages": [], "missed": 0, "last": ring.last}
        return ring.since(after)

    @property
    def busy(self) -> bool:
        """Whether any pipe is looked at."""
        return bool(self._rings)

    def expire(self) -> None:
        """End the taps that nobody has asked for lately."""
        now = self._runtime.clock.monotonic()
        for endpoint, ring in list(self._rings.items()):
            if now - ring.asked_at > LEASE:
                self._end(endpoint)

    def close(self) -> None:
        """End all of them."""
        for endpoint in list(self._rings):
            self._end(endpoint)

    def _end(self, endpoint: str) -> None:
        ring = self._rings.pop(endpoint)
        for socket in self._runtime.sockets.all():
            if isinstance(socket, _Tapped) and socket._ring is ring:
                object.__setattr__(socket, "__class__", Socket)
