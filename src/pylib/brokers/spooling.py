"""The spool at a port's door: while the broker is away, messages go to disk in order, and from there when it is back."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from pylib.brokers.port import Outgoing, Port
from pylib.delivery.spool import Spool, SpoolBroken, SpoolFull
from pylib.runtime.hops import Held
from pylib.runtime.loop import Loop

__all__ = ["Spooling"]

log = logging.getLogger("pylib.spool")

Receipts = tuple[Held, ...]
Settle = Callable[[Receipts, "Exception | None"], None]

# Messages taken from the pipes per wake-up while they go to disk: one commit, one fsync.
BATCH: Final = 500
# Messages read from disk at a time while draining.
READ: Final = 500
# Seconds between attempts to write to a disk that would not take it.
TRY_AGAIN: Final = 1.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outgoing).decode


class Spooling:
    """Stands between pipes and port. Belongs to the loop's thread.

    Guarantees: a message's receipts settle when the broker has confirmed it *or* the spool has committed it, whichever its
    way is; messages leave in the order in which they came; what the spool cannot store is not settled, and no more is taken
    from the pipes until it can.

    At any time what is under way at the port is either all from the pipes (the spool is empty) or all from the spool, which
    is what keeps the order.
    """

    def __init__(self, loop: Loop, port: Port, spool: Spool, settle: Settle, on_room: Callable[[], None], who: str) -> None:
        self._loop = loop
        self._port = port
        self._spool = spool
        self._settle = settle
        self._on_room = on_room
        self._who = who
        # Taken from the pipes, not stored yet.
        self._pending: deque[tuple[Outgoing, Receipts]] = deque()
        self._cursor = 0  # the last row handed to the port
        self._delivered: list[int] = []
        self._stalled = False
        self._told = False
        # Why the disk does not take what it should, and since when.
        self.problem = ""
        self.since = 0.0
        # Nothing is taken from the pipes any more; and, after that, the spool is closed.
        self._closing = self._closed = False

    def open(self) -> None:
        """Open the spool and see what an earlier run has left. On the loop's thread."""
        self._spool.open()
        if not self._spool.empty:
            log.info("%s: %d messages wait in the spool from before.", self._who, len(self._spool))

    @property
    def stored(self) -> tuple[int, int]:
        """Messages and bytes on disk. Any thread may ask."""
        return len(self._spool), self._spool.bytes

    @property
    def room(self) -> int:
        """How many messages may be taken from the pipes now."""
        if self._stalled or self._closing:
            return 0
        return self._port.room if self._direct else BATCH

    @property
    def unsettled(self) -> int:
        """Messages whose receipts still wait."""
        return len(self._pending) + (self._port.unsettled if self._direct else 0)

    @property
    def _direct(self) -> bool:
        """Whether messages go straight to the broker: nothing waits on disk, and it takes them, or still has some of them.

        The latter keeps the order: while RabbitMQ blocks us with some under way, the pipes wait for those.
        """
        port = self._port
        if self._pending or not self._spool.empty:
            return False
        return (port.up and not port.blocked) or port.unsettled > 0

    def publish(self, message: Outgoing, receipts: Receipts) -> None:
        """Send a message on its way, by wire or by disk. Raises ``Rejected`` for one that no broker would take."""
        if self._direct:
            self._port.publish(message, receipts)
        else:
            self._port.check(message)
            self._pending.append((message, receipts))
            self._loop.defer(self._commit)

    def outcome(self, token: object, error: Exception | None) -> None:
        """What became of a message at the port."""
        if isinstance(token, int):
            if error is not None:
                log.warning("%s: a message from the spool was set aside: %s", self._who, error)
            self._delivered.append(token)
            self._loop.defer(self._remove)
        elif isinstance(token, tuple):
            self._settle(token, error)

    def up(self) -> None:
        """The port can publish again."""
        self._drain()

    def down(self) -> None:
        """The connection is gone: what was under way goes to disk, ahead of everything that comes later."""
        if self._closed:
            return
        under_way = self._port.reclaim()
        self._remove()
        self._cursor = 0
        direct = [(message, token) for message, token in under_way if isinstance(token, tuple)]
        self._pending.extendleft(reversed(direct))
        self._commit()
        self._on_room()

    def close(self) -> None:
        """Store what is under way and close the spool. Nothing may be published after it. May be called twice."""
        self._closing = True
        self.down()
        self._closed = True
        self._spool.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """Store everything pending in one transaction, then settle it."""
        if not self._pending or self._closed:
            return
        batch = list(self._pending)
        rows = [(message.address, _encode(message), message.expires_at) for message, _ in batch]
        try:
            self._spool.append(rows)
        except (SpoolFull, SpoolBroken) as error:
            self._stall(error)
            return
        self._pending.clear()
        if self._stalled:
            self._stalled, self.problem = False, ""
            log.info("%s: the spool takes messages again.", self._who)
            self._told = False
        for _, receipts in batch:
            self._settle(receipts, None)
        self._drain()
        self._on_room()

    def _stall(self, error: Exception) -> None:
        if not self._stalled:
            self.since = self._loop.time()
        self._stalled, self.problem = True, str(error)
        if not self._told:
            self._told = True
            log.error("%s: %s Nothing more is taken in until it can be stored.", self._who, error)
        self._loop.call_later(TRY_AGAIN, self._commit)

    def _drain(self) -> None:
        """Hand stored messages to the port, as many as it has room for."""
        port = self._port
        while not self._closing and not self._spool.empty:
            room = port.room
            if room <= 0:
                return
            items = self._spool.read(self._cursor, min(room, READ))
            if not items:
                return
            for item in items:
                self._cursor = item.row
                port.publish(_decode(item.data), item.row)

    def _remove(self) -> None:
        """Forget on disk what the broker has confirmed."""
        rows, self._delivered = self._delivered, []
        if self._closed:
            return
        if rows:
            try:
                self._spool.remove(rows)
            except SpoolBroken as error:  # they are delivered again after a restart, and marked by their ids
                log.warning("%s: delivered messages could not be removed from the spool: %s", self._who, error)
        if self._spool.empty:
            self._cursor = 0
            self._on_room()
        else:
            self._drain()
