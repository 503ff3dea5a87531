"""The bridge: one port, the pipes that lead to it, the pipe that leads from it, and how it all ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pylib.brokers.inflow import Inflow, OrderKey, Route
from pylib.brokers.outflow import Encode, Outflow
from pylib.brokers.port import Delivery, Port
from pylib.brokers.retrying import Retrying, RetryPolicy
from pylib.delivery.spool import Spool
from pylib.errors import AccessRefused, DependencyError
from pylib.runtime.loop import Loop
from pylib.runtime.receipts import Receipts
from pylib.runtime.sockets import Socket
from pylib.runtime.wiring import Link

__all__ = ["Bridge"]

log = logging.getLogger("pylib.bridge")

# Seconds between two looks at whether everything has settled, while closing: only then, and only so often.
_LOOK = 0.01
# Of the seconds that closing may take: when to stop waiting for what is under way and say goodbye, and when to do without.
_GOODBYE = 0.5
_GIVE_UP = 0.75
# One more round of the loop, so that the client library sees its sockets shut and lets go of them.
_LAST_ROUND = 0.005


class Bridge:
    """Joins a port to pipes, on one loop. Composed by the threads in ``pylib.rabbit`` and ``pylib.mqtt``.

    :param sinks: the pipes in, by name; ``route`` says what of a delivery goes down which.
    :param retry: how often a failure is tried; None: it is tried from memory, unacknowledged.
    :param store: the file for what failed; None: the application's own.
    :param order_key: what keeps deliveries in order in each pipe when some of them fail; their address by default.
    :param on_lost: asked about a failed connection: True ends the thread with its error, False has it made again. None:
        it is made again, for as long as it takes.
    """

    def __init__(
        self,
        loop: Loop,
        port: Port,
        who: str,
        *,
        sources: Sequence[Socket] = (),
        encode: Encode | None = None,
        sinks: Mapping[str, Socket] | None = None,
        route: Route | None = None,
        retry: RetryPolicy | None = None,
        store: Path | None = None,
        order_key: OrderKey | None = None,
        receipts: Receipts | None = None,
        spool: Spool | None = None,
        on_lost: Callable[[DependencyError], bool] | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._port = port
        self._who = who
        self._on_lost = on_lost
        self._on_ready = on_ready
        hops = receipts.hops if receipts is not None else None
        self._outflow = Outflow(loop, port, sources, encode, who, spool, hops) if encode is not None else None
        self._inflow: Inflow | None = None
        if sinks and route is not None and receipts is not None:
            self._inflow = Inflow(loop, port, sinks, receipts, route, who, order_key)
        self._retry = retry
        self._store = store
        self._told: str | None = None
        self._spooled = spool is not None
        self._finishing = False
        self._over = False
        # For the drawing: when the connection came or went, how often it came, and why it went.
        self._since = loop.time()
        self._connects = 0
        self._error = ""

    def link(self) -> Link:
        """This connection as it is now. Any thread."""
        outflow, inflow, port = self._outflow, self._inflow, self._port
        spooled, spooled_bytes = outflow.spooled if outflow is not None else (0, 0)
        stalled, stalled_since = outflow.stalled if outflow is not None else ("", 0.0)
        return Link(
            thread=self._who,
            name=port.name,
            up=port.up,
            since=self._since,
            blocked=port.blocked,
            room=port.room,
            unsettled=port.unsettled,
            owed=inflow.outstanding if inflow is not None else 0,
            sent=outflow.sent if outflow is not None else 0,
            received=inflow.received if inflow is not None else 0,
            refused=outflow.refused if outflow is not None else 0,
            connects=self._connects,
            waiting=inflow.waiting if inflow is not None else 0,
            spooled=spooled,
            spooled_bytes=spooled_bytes,
            blocked_since=port.blocked_since if port.blocked else 0.0,
            stalled=stalled,
            stalled_since=stalled_since,
            error=self._error,
        )

    def open(self) -> None:
        """Start connecting."""
        if self._outflow is not None:
            self._outflow.open()
        retry = self._retry
        if self._inflow is not None and retry is not None:
            self._inflow.retry_with(
                lambda push: Retrying(self._loop, self._who, lambda: self._port.name, push, retry, self._store)
            )
        self._port.open(self._loop, self)

    # -- what happens at the port (PortOwner) ------------------------------------------------------------------------

    def on_up(self) -> None:
        log.info("%s: connected to %s.", self._who, self._port.name)
        self._told = None
        self._since, self._error = self._loop.time(), ""
        self._connects += 1
        if self._outflow is not None:
            self._outflow.up()
        if self._on_ready is not None:
            self._on_ready()

    def on_down(self, error: DependencyError, retry_in: float | None) -> None:
        if not self._error:
            self._since = self._loop.time()
        self._error = str(error)
        if self._outflow is not None:
            self._outflow.down()
        if self._inflow is not None:
            self._inflow.forget()
        if self._on_lost is not None and self._on_lost(error):
            # Raised from the loop, since the client library whose callback this is would catch it, or log its stack.
            self._loop.defer(lambda: _raise(error))
            return
        text = str(error)
        if text != self._told:  # said once, not at every attempt
            self._told = text
            trying = "trying again until somebody has mended it" if isinstance(error, AccessRefused) else "trying again"
            log.warning("%s: %s; %s.", self._who, text, trying)

    def on_delivery(self, delivery: Delivery) -> None:
        if self._inflow is not None:
            self._inflow.take(delivery)

    def on_outcome(self, token: object, error: Exception | None) -> None:
        if self._outflow is not None:
            self._outflow.outcome(token, error)

    def on_room(self) -> None:
        if self._outflow is not None:
            self._outflow.room()

    # -- the end -----------------------------------------------------------------------------------------------------

    def stop_asked(self) -> None:
        """``stop_consuming`` or ``finish`` will be called: what fails meanwhile may be the stop's doing. Any thread."""
        if self._inflow is not None:
            self._inflow.stop_asked()

    def stop_consuming(self) -> None:
        """Take nothing new; acknowledgements and publishes still leave."""
        if self._inflow is not None:
            self._inflow.stopping()
        self._port.stop_consuming()

    def finish(self, seconds: float) -> None:
        """Publish what waits, settle what is done, say goodbye, and have the loop stop: within so many seconds."""
        if self._finishing:
            return
        self._finishing = True
        self.stop_consuming()
        if self._inflow is not None:
            self._inflow.give_up_waiting()
        # Whoever waits for this thread waits so many seconds: it has to be gone before, also on a busy machine.
        self._loop.call_later(seconds * _GIVE_UP, self._give_up)
        self._look(self._loop.monotonic() + seconds * _GOODBYE)

    def abandon(self) -> None:
        """The thread ends otherwise than by ``finish``: neither the connection nor a store may outlive it."""
        if not self._over:
            self._over = True
            self._put_away()
            self._port.abort()
            self._loop.call_later(_LAST_ROUND, self._loop.stop)

    def _look(self, end: float) -> None:
        if self._over:
            return
        out_done = self._outflow is None or self._outflow.idle
        in_done = self._inflow is None or not self._inflow.outstanding
        stuck = not self._port.up and not self._spooled
        if stuck or (out_done and in_done) or self._loop.monotonic() >= end:
            self._leave()
        else:
            self._loop.call_later(_LOOK, lambda: self._look(end))

    def _leave(self) -> None:
        self._put_away()
        waiting = self._port.unsettled
        if waiting:
            log.warning("%s: %d messages were not confirmed by %s before the stop.", self._who, waiting, self._port.name)
        self._port.close(self._left)

    def _put_away(self) -> None:
        """What can be stored is stored now."""
        if self._outflow is not None:
            self._outflow.close()
        if self._inflow is not None:
            self._inflow.close()

    def _left(self) -> None:
        if not self._over:
            self._over = True
            self._loop.call_later(_LAST_ROUND, self._loop.stop)

    def _give_up(self) -> None:
        if not self._over:
            self._over = True
            self._put_away()
            self._port.abort()
            self._loop.call_later(_LAST_ROUND, self._loop.stop)


def _raise(error: DependencyError) -> None:
    raise error
