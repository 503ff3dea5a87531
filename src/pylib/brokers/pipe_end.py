"""The sending end of a pipe for somebody who must not block: what finds the pipe full waits here."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

import zmq
from zmq.error import Again

from pylib.errors import ShutdownTimeout
from pylib.runtime.loop import WRITE, Loop
from pylib.runtime.receipts import Receipts
from pylib.runtime.sockets import Socket

__all__ = ["PipeEnd"]

log = logging.getLogger("pylib.bridge")

# Frames without a receipt to withhold (QoS 0) that may wait for room; then they are dropped and counted.
MOST_WAITING: Final = 10_000


class PipeEnd:
    """Sends frames down one pipe, in order, never blocking. For the loop's thread.

    What carries a receipt is never dropped: the broker stops by itself when it gets no acknowledgements, so the number of
    those is bounded by prefetch or Receive Maximum.
    """

    __slots__ = ("_loop", "_receipts", "_socket", "_waiting", "_watching", "_who", "dropped")

    def __init__(self, loop: Loop, socket: Socket, receipts: Receipts, who: str) -> None:
        self._loop = loop
        self._socket = socket
        self._receipts = receipts
        self._who = who
        self._waiting: deque[bytes] = deque()
        self._watching = False
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Frames that wait for room. Any thread may ask."""
        return len(self._waiting)

    def send(self, frame: bytes, droppable: bool) -> bool:
        """Send it, or keep it until there is room. False if it was dropped; then the caller still has its receipt."""
        if not self._waiting:
            try:
                zmq.Socket.send(self._socket, frame, zmq.NOBLOCK)  # past the thread's receipts: the frame has its own
                self._socket.traffic.count += 1
                return True
            except Again:
                pass
        if droppable and len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            if self.dropped == 1 or self.dropped % 1000 == 0:
                log.warning("%s: the pipe is full; %d messages of QoS 0 were dropped so far.", self._who, self.dropped)
            return False
        self._waiting.append(frame)
        if not self._watching:
            self._watching = True
            self._loop.watch(self._socket, WRITE, self._writable)
        return True

    def give_up(self) -> None:
        """Fail the receipts of what waits for room: it is delivered again after the next start."""
        waiting, self._waiting = self._waiting, deque()
        for frame in waiting:
            self._receipts.drop(frame, ShutdownTimeout("the application stopped before there was room in the pipe"))
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.unwatch(self._socket)

    def _writable(self, mask: int) -> None:
        waiting = self._waiting
        while waiting:
            try:
                zmq.Socket.send(self._socket, waiting[0], zmq.NOBLOCK)
            except Again:
                return
            self._socket.traffic.count += 1
            waiting.popleft()
        self._unwatch()
