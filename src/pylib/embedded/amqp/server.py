"""The server: sockets on an asyncio loop, in front of connections that know nothing of sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import cast

from pylib.embedded.amqp.broker.core import Core
from pylib.embedded.amqp.heap import give_back
from pylib.embedded.amqp.session.connection import Connection

__all__ = ["AmqpServer"]

log = logging.getLogger("pylib.embedded.amqp")

#: Connections beyond the limit that are still listened to, to be told why they cannot stay.
TOLD_WHY = 50
#: Seconds after a large queue has drained until its memory is given back to the system.
GIVE_BACK_AFTER = 0.5


class AmqpServer:
    """A Service (see ``pylib.embedded.thread``). Everything but the constructor is called on the loop."""

    def __init__(self, core: Core, host: str, port: int) -> None:
        self.core = core
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.clients: set[_Client] = set()
        self._dirty: dict[_Client, None] = {}
        core.memory.alarm = self._alarm
        core.memory.drained = self._drained

    async def open(self) -> int:
        """Listen, and return the port."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(lambda: _Client(self), self._host, self._port, backlog=256)
        port = int(self._server.sockets[0].getsockname()[1])
        self._port = port  # the same one after a restart
        return port

    async def shut(self) -> None:
        """Tell the clients (connection.close 320) and let them go at once."""
        if self._server is not None:
            self._server.close()
        for client in list(self.clients):
            client.connection.close(320, "broker forced connection closure with reason 'shutdown'")
        self.flush()
        for client in list(self.clients):
            client.leave("the server is closed", now=True)
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.sleep(0)  # transports close their sockets in the loop's next round

    def disconnect_all(self, text: str) -> None:
        """Tell all clients to go (connection.close 320)."""
        for client in list(self.clients):
            client.connection.close(320, text)
        self.flush()

    # -- called by clients -------------------------------------------------------------------------------------------

    def mark(self, client: _Client) -> None:
        """A client has something to send."""
        self._dirty[client] = None

    def flush(self) -> None:
        """Send what everyone has to be sent: one write each. Then see when something is due."""
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for client in dirty:
                client.flush()
        self._arm()

    def _arm(self) -> None:
        due = self.core.agenda.next_due()
        timer, loop = self._timer, self._loop
        if due is None or loop is None or (timer is not None and not timer.cancelled() and timer.when() <= due):
            return
        if timer is not None:
            timer.cancel()
        self._timer = loop.call_at(due, self._run_agenda)

    def _run_agenda(self) -> None:
        self._timer = None
        self.core.agenda.run()
        self.flush()

    def _drained(self) -> None:
        # Later, for a queue that is being emptied still gives its messages to sockets.
        self.core.agenda.at(self.core.agenda.now() + GIVE_BACK_AFTER, give_back)

    def _alarm(self, raised: bool) -> None:
        log.warning("AMQP: memory %s: publishers are %s.", "is low" if raised else "is there again",
                    "blocked" if raised else "let on")  # fmt: skip
        for client in list(self.clients):
            client.connection.throttle.alarm(raised)


class _Client(asyncio.Protocol):
    """One socket and its connection."""

    def __init__(self, server: AmqpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._held = False  # no memory
        over = len(server.clients) >= server.core.limits.connections
        self.connection = Connection(server.core, has_output=lambda _: server.mark(self), hold=self._hold, over_limit=over)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        server = self._server
        self._transport = cast("asyncio.Transport", transport)
        if len(server.clients) >= server.core.limits.connections + TOLD_WHY:
            self.connection.drop("too many connections")
            self._transport.abort()
            return
        server.clients.add(self)
        limit = server.core.limits.unsent
        self._transport.set_write_buffer_limits(high=limit, low=limit // 4)
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.flush()

    def data_received(self, data: bytes) -> None:
        self.connection.receive(data)
        self._server.flush()

    def pause_writing(self) -> None:
        self.connection.paused = True

    def resume_writing(self) -> None:
        self.connection.paused = False
        self.connection.proceed()
        self.connection.feed_starved()
        self._server.mark(self)
        self._server.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.clients.discard(self)
        self.connection.drop("the client has closed its socket")
        self._transport = None
        self._server.flush()

    def flush(self) -> None:
        transport, connection = self._transport, self.connection
        if transport is not None:
            while not connection.paused and (data := connection.take_output()):
                transport.write(data)
                if not connection.paused:
                    connection.proceed()
                    connection.feed_starved()
            self._read_or_not()
        if connection.gone:
            self.leave(connection.reason)

    def leave(self, reason: str, *, now: bool = False) -> None:
        """Close the socket when everything is written; at once when asked to, or when the client does not read."""
        transport = self._transport
        self.connection.drop(reason)
        log.debug("AMQP: a client leaves: %s", reason)
        if transport is None:
            return
        if self.connection.paused or (now and transport.get_write_buffer_size()):
            transport.abort()
        elif not transport.is_closing():
            transport.close()

    def _hold(self, held: bool) -> None:
        self._held = held
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Back-pressure by TCP: nothing is read from a publisher without memory, nor from one that does not read."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        wanted = not self._held and not self.connection.behind()
        if wanted and not transport.is_reading():
            transport.resume_reading()
        elif not wanted and transport.is_reading():
            transport.pause_reading()
