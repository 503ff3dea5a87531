"""Deliveries from a broker into a pipe, each with a receipt; acknowledged when the receipt settles, in order of arrival."""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import zmq
from zmq.error import Again

from pylib.brokers.port import Delivery, Port
from pylib.errors import MessageError
from pylib.runtime.loop import WRITE, Loop
from pylib.runtime.receipts import Receipt, Receipts
from pylib.runtime.sockets import Socket

__all__ = ["Inflow"]

log = logging.getLogger("pylib.bridge")

# A handler's failure is tried again this many times before the message is set aside. Local, because a broker does not
# redeliver an unacknowledged message on a live connection.
MOST_TRIES: Final = 4
FIRST_RETRY: Final = 0.1
# Deliveries that need no acknowledgement (QoS 0) and find the pipe full wait here; then they are dropped and counted.
MOST_WAITING: Final = 10_000

Decode = Callable[[Delivery], object]


class _Entry:
    """A delivery on its way through the application."""

    __slots__ = ("delivery", "done", "frame", "tries")

    def __init__(self, delivery: Delivery, frame: bytes) -> None:
        self.delivery = delivery
        self.frame = frame
        self.tries = 1
        self.done = False


class Inflow:
    """The way in. Never blocks and never stops reading: what the pipe has no room for waits here, and the broker is kept
    in check by the acknowledgements that it does not get.

    ``decode`` makes of a delivery what goes down the pipe; None drops it, a ``MessageError`` sets it aside with its reason.
    Belongs to the loop's thread, but for ``_settled``, which any holder's thread calls.
    """

    def __init__(
        self, loop: Loop, port: Port, sink: Socket, receipts: Receipts, decode: Decode, who: str
    ) -> None:
        self._loop = loop
        self._port = port
        self._sink = sink
        self._receipts = receipts
        self._decode = decode
        self._who = who
        # Frames that found the pipe full, oldest first.
        self._waiting: deque[bytes] = deque()
        # Deliveries without acknowledgement yet, in order of arrival.
        self._arrived: deque[_Entry] = deque()
        # Receipts that settled, handed over by other threads.
        self._back: deque[Receipt] = deque()
        self._posted = False
        self._watching = False
        self.received = 0
        self.dropped = 0

    @property
    def outstanding(self) -> int:
        """Deliveries not acknowledged yet."""
        return len(self._arrived)

    def take(self, delivery: Delivery) -> None:
        """A delivery has arrived."""
        self.received += 1
        expires_at = delivery.expires_at
        if expires_at is not None and expires_at <= self._loop.time():
            log.warning("%s: a message on %s was dropped: it expired %.1f s ago.",
                        self._who, delivery.address, self._loop.time() - expires_at)  # fmt: skip
            self._refuse(delivery)
            return
        try:
            made = self._decode(delivery)
            frame = pickle.dumps(made, pickle.HIGHEST_PROTOCOL) if made is not None else b""
        except MessageError as error:
            log.warning("%s: a message on %s was set aside: %s", self._who, delivery.address, error)
            self._refuse(delivery)
            return
        except Exception as error:  # whatever a decoder trips over must not cost the thread: the message is at fault
            log.error("%s: a message on %s was set aside: %s: %s", self._who, delivery.address, type(error).__name__, error,
                      exc_info=True)  # fmt: skip
            self._refuse(delivery)
            return
        if made is None:
            self._refuse(delivery)
        elif delivery.tag:
            entry = _Entry(delivery, frame)
            self._arrived.append(entry)
            self._push(entry)
        else:
            self._send(frame)

    def forget(self) -> None:
        """The connection is gone: what it delivered will come again, so nothing of it is acknowledged any more."""
        self._arrived.clear()

    def _refuse(self, delivery: Delivery) -> None:
        """Acknowledge in turn what goes no further."""
        if delivery.tag:
            entry = _Entry(delivery, b"")
            entry.done = True
            self._arrived.append(entry)
            self._loop.defer(self._acknowledge)

    def _push(self, entry: _Entry) -> None:
        receipt = self._receipts.open(self._settled, entry, entry.delivery.address)
        self._send(self._receipts.enclose(entry.frame, receipt))

    def _send(self, frame: bytes) -> None:
        if not self._waiting:
            try:
                zmq.Socket.send(self._sink, frame, zmq.NOBLOCK)  # past the receipts of the thread: the frame has its own
                return
            except Again:
                pass
        if len(self._waiting) >= MOST_WAITING and frame[-2:] != b"\x01\xa5":
            self.dropped += 1
            if self.dropped == 1 or self.dropped % 1000 == 0:
                log.warning("%s: the pipe is full, %d messages of QoS 0 were dropped so far.", self._who, self.dropped)
            return
        self._waiting.append(frame)
        if not self._watching:
            self._watching = True
            self._loop.watch(self._sink, WRITE, self._writable)

    def _writable(self, mask: int) -> None:
        waiting = self._waiting
        while waiting:
            try:
                zmq.Socket.send(self._sink, waiting[0], zmq.NOBLOCK)
            except Again:
                return
            waiting.popleft()
        self._watching = False
        self._loop.unwatch(self._sink)

    def _settled(self, receipt: Receipt) -> None:
        """Any thread: hand the receipt back to the loop, once per batch."""
        self._back.append(receipt)
        if not self._posted:
            self._posted = True
            self._loop.post(self._collect)

    def _collect(self) -> None:
        self._posted = False
        back = self._back
        while back:
            receipt = back.popleft()
            entry: Any = receipt.token
            if receipt.error is None or isinstance(receipt.error, MessageError):
                entry.done = True
            else:
                self._failed(entry, receipt.error)
        self._acknowledge()

    def _failed(self, entry: _Entry, error: BaseException) -> None:
        if entry.tries >= MOST_TRIES:
            log.error("%s: a message on %s was set aside after %d tries: %s: %s",
                      self._who, entry.delivery.address, entry.tries, type(error).__name__, error)  # fmt: skip
            entry.done = True
            return
        delay = FIRST_RETRY * 2.0 ** (entry.tries - 1)
        entry.tries += 1
        log.warning("%s: a message on %s failed (%s: %s); trying again in %.1f s.",
                    self._who, entry.delivery.address, type(error).__name__, error, delay)  # fmt: skip
        self._loop.call_later(delay, lambda: self._push(entry))

    def _acknowledge(self) -> None:
        """Acknowledge in order of arrival (MQTT 5 section 4.6), as far as everything before is done."""
        arrived = self._arrived
        done = []
        while arrived and arrived[0].done:
            done.append(arrived.popleft().delivery)
        if done:
            self._port.settle(done)
