"""uvicorn's part: its HTTP protocol on a socket of ours, without its process's ways (signals, log files, polling)."""

from __future__ import annotations

import asyncio
import logging
import socket

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from event_processor.settings import WebSection
from event_processor.web.server import BACKLOG, GRACE, HEAD_WITHIN_S, KEEP_ALIVE_S, MOST_CONNECTIONS

__all__ = ["Serving"]

log = logging.getLogger("event_processor.web")


class _Patience(H11Protocol):
    """One connection. Who opens it and then dawdles, or stays without asking for anything, is hung up on.

    uvicorn has a limit for the rest between two requests, and none for a request's head that never ends.
    """

    _timer: asyncio.TimerHandle | None = None
    _before: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_WITHIN_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        cycle: object = self.cycle  # None until something was asked
        waits = getattr(cycle, "response_complete", True)
        if waits and (cycle is None or cycle is self._before):
            self.transport.close()
            return
        self._before = cycle if waits else self
        self._timer = self.loop.call_later(HEAD_WITHIN_S, self._look)


class Serving(uvicorn.Server):
    """One server on one listening socket. For one loop."""

    def __init__(self, app: ASGIApp, settings: WebSection, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=_Patience,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
        )
        # At WARNING it tells of every request that is none: whoever scans ports would fill the log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config.load()
        super().__init__(config)
        self.lifespan = config.lifespan_class(config)
        self._listener = listener

    async def open(self) -> None:
        """Take connections."""
        # A socket of its own for each life: closing this one leaves the door open for the next.
        await self.startup(sockets=[self._listener.dup()])

    async def close(self) -> None:
        """Take no more, end what is open, at once."""
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            _, slow = await asyncio.wait(set(state.tasks), timeout=GRACE)
            for task in slow:
                task.cancel()
            if slow:
                await asyncio.wait(slow, timeout=GRACE)
        for connection in list(state.connections):
            transport = connection.transport
            if transport is not None:
                transport.abort()
