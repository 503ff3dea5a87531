"""uvicorn's part: its HTTP protocol on a socket of ours, without its process's ways (signals, log files, polling)."""

from __future__ import annotations

import asyncio
import logging
import socket

import uvicorn
from starlette.types import ASGIApp

from event_processor.settings import WebSection
from event_processor.web.server import BACKLOG, GRACE, KEEP_ALIVE_S, MOST_CONNECTIONS
from pylib.errors import ConfigError

__all__ = ["Serving"]

log = logging.getLogger("event_processor.web")


class Serving(uvicorn.Server):
    """One server on one listening socket. For one loop.

    :raises ConfigError: a TLS file cannot be used.
    """

    def __init__(self, app: ASGIApp, settings: WebSection, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
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
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        try:
            config.load()
        except OSError as error:
            raise ConfigError(f"The dashboard's certificate ([web] tls_cert, tls_key) cannot be used: {error}.") from None
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
