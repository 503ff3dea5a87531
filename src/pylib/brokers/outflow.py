"""Messages from pipes out to a broker; the receipts they carry settle when the broker has accepted them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
import zmq
from zmq.error import Again, ZMQError

from pylib.brokers.port import Expired, Outgoing, Port
from pylib.brokers.spooling import Spooling
from pylib.delivery.spool import Spool
from pylib.errors import DecodeError, MessageError, PylibError, Rejected
from pylib.runtime.here import HERE
from pylib.runtime.hops import Held, Hops
from pylib.runtime.loop import READ, Loop
from pylib.runtime.receipts import Receipt
from pylib.runtime.sockets import Socket

__all__ = ["Outflow"]

log = logging.getLogger("pylib.bridge")

BATCH: Final = 200

Encode = Callable[[object], Outgoing]


class Outflow:
    """The way out. Takes from its pipes only what the port has room for, so pressure from the broker reaches the senders
    as a full pipe. Belongs to the loop's thread.

    ``encode`` makes of a message what is published; a ``MessageError`` sets the message aside with its reason.
    """

    def __init__(
        self, loop: Loop, port: Port, sources: Sequence[Socket], encode: Encode, who: str, spool: Spool | None = None,
        hops: Hops | None = None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._spooling = Spooling(loop, port, spool, self._settle, self.room, who) if spool is not None else None
        # Where messages go: the port, or the spool at its door.
        self._port: Port | Spooling = port if self._spooling is None else self._spooling
        self._sources = tuple(sources)
        self._encode = encode
        self._who = who
        self._hops = hops
        self._broker = port
        self._watching = False
        self.sent = 0
        self.refused = 0

    def open(self) -> None:
        """Begin, before the port does. Raises ``SpoolBroken`` when the spool cannot be opened."""
        if self._spooling is not None:
            self._spooling.open()
            self.room()

    def room(self) -> None:
        """There is room: take from the pipes again."""
        if not self._watching and self._port.room > 0:
            self._watching = True
            for source in self._sources:
                self._loop.watch(source, READ, partial(self._pull, source))

    def up(self) -> None:
        """The port is connected."""
        if self._spooling is not None:
            self._spooling.up()
        self.room()

    def down(self) -> None:
        """The port is not connected any more. Without a spool, what cannot be published stays in the pipes."""
        if self._spooling is not None:
            self._spooling.down()
        else:
            self._unwatch()

    def close(self) -> None:
        """Take nothing more; what has no outcome is stored if there is a spool."""
        self._unwatch()
        if self._spooling is not None:
            self._spooling.close()

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            for source in self._sources:
                self._loop.unwatch(source)

    @property
    def spooled(self) -> tuple[int, int]:
        """Messages and bytes that wait in the spool. Any thread may ask."""
        return self._spooling.stored if self._spooling is not None else (0, 0)

    @property
    def stalled(self) -> tuple[str, float]:
        """Why the spool cannot store what it should, and since when; no words while it can. Any thread may ask."""
        return (self._spooling.problem, self._spooling.since) if self._spooling is not None else ("", 0.0)

    @property
    def idle(self) -> bool:
        """Whether nothing waits in the pipes and everything published has its outcome."""
        return not self._port.unsettled and not any(source.poll(0) for source in self._sources)

    def _pull(self, source: Socket, mask: int) -> None:
        port = self._port
        for _ in range(min(BATCH, port.room)):
            try:
                message = source.recv_pyobj(zmq.NOBLOCK)
            except Again:
                return
            except (ZMQError, PylibError):
                raise
            except Exception as error:  # bytes that nobody pickled, or an object that refuses to be made again
                receipts, HERE.receipts = HERE.receipts, ()
                self._settle(receipts, DecodeError(f"it is no Python object: {type(error).__name__}: {error}"))
                continue
            receipts, HERE.receipts = HERE.receipts, ()
            self._publish(message, receipts)
        if port.room <= 0:
            self._unwatch()

    def _publish(self, message: object, receipts: tuple[Receipt, ...]) -> None:
        held: tuple[Held, ...] = receipts
        try:
            outgoing = self._encode(message)
            if self._hops is not None:
                outgoing, held = self._traced(self._hops, outgoing, receipts)
            self._port.publish(outgoing, held)
            self.sent += 1
        except MessageError as error:
            self._settle(held, _named(error, message))
        except Exception as error:  # whatever an encoder trips over must not cost the thread: the message is at fault
            self._settle(held, _named(Rejected(f"{type(error).__name__}: {error}"), message))

    def _traced(self, hops: Hops, message: Outgoing, receipts: tuple[Receipt, ...]) -> tuple[Outgoing, tuple[Held, ...]]:
        """The message with its trace among its headers, and one more who waits for its outcome: the span of its way out."""
        headers, span = hops.leaving(self._who, self._broker.name, message.address, message.headers, receipts)
        return msgspec.structs.replace(message, headers=headers), (*receipts, span)

    def outcome(self, token: object, error: Exception | None) -> None:
        """What became of a message at the port."""
        if self._spooling is not None:
            self._spooling.outcome(token, error)
        elif isinstance(token, tuple):
            self._settle(token, error)

    def _settle(self, receipts: tuple[Held, ...], error: Exception | None) -> None:
        """A message has its outcome: settle the receipts that it carried."""
        if error is None:
            for receipt in receipts:
                receipt.release()
            return
        self.refused += 1
        if isinstance(error, Expired):
            log.warning("%s: a message was dropped: %s", self._who, error)
        elif isinstance(error, MessageError):
            log.warning("%s: a message was set aside: %s", self._who, error)
        for receipt in receipts:
            receipt.fail(error)


def _named(error: MessageError, message: object) -> MessageError:
    """The error with the topic or routing key in it, so that whoever reads the log knows which sender to look at."""
    if isinstance(message, Outgoing):
        address: object = message.address
    else:
        address = message[0] if isinstance(message, tuple) and message else None
    if not isinstance(address, str):
        return error
    shown = repr(address[:40])
    return error if shown[:-1] in str(error) else type(error)(f"to {shown}: {error}")
