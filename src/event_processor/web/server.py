"""The web server: one supervised thread of the hub with an asyncio loop, and the application that it serves.

It listens on loopback unless the settings say otherwise, ends within the hub's stop also with streams open, and installs no
signal handler. What it costs the others is the interpreter's time and nothing else: it owns no pipe.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from event_processor.settings import WebSection
from pylib.app import AppThread
from pylib.errors import ConfigError
from pylib.runtime.member import RestartPolicy

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from event_processor.web.auth.service import Auth
    from event_processor.web.context import HubContext
    from event_processor.web.problems import ProblemError

__all__ = ["WebServer", "installed", "listen", "make_app"]

log = logging.getLogger("event_processor.web")

MOST_CONNECTIONS: Final = 256
"""Connections at a time, open pages included; one more is answered with 503."""

KEEP_ALIVE_S: Final = 15
"""Seconds that a connection may be idle between two requests."""

HEAD_WITHIN_S: Final = 5.0
"""Seconds in which a request's head has to be there, about; nobody holds a place with half of one."""

BACKLOG: Final = 128
GRACE: Final = 0.05
"""Seconds at the stop in which answers under way may end by themselves."""

LOOK_AGAIN_S: Final = 3.0
"""Seconds after which a store that could not be read is asked again whether anybody has an account."""

RESTARTS: Final = RestartPolicy(limit=5, within=60.0)


def installed() -> bool:
    """Whether the extra ``web`` is installed."""
    from importlib.util import find_spec

    needed = ("starlette", "uvicorn", "argon2", "cryptography", "pyotp", "segno", "multipart")
    return all(find_spec(name) is not None for name in needed)


def listen(settings: WebSection) -> socket.socket:
    """Open the door. Raises ``ConfigError`` where somebody else has it, or where the certificate cannot be used."""
    if settings.tls_cert is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"The dashboard's certificate cannot be used ({error}): look at [web] tls_cert and tls_key."
            ) from None
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"The dashboard cannot listen on {settings.host}, port {settings.port} ({error.strerror or error}): "
            "set [web] host and port to something that is free, or [web] enabled = no."
        ) from None
    return listener


def make_app(context: HubContext) -> Starlette:
    """The application: pages, ``/api`` and ``/health``, behind the guard."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    from event_processor.web import pages
    from event_processor.web.api import routes as api_routes
    from event_processor.web.api.probes import routes as probe_routes
    from event_processor.web.auth.current import seat_of
    from event_processor.web.auth.guard import Guard
    from event_processor.web.auth.service import Auth
    from event_processor.web.problems import ProblemError, answer, wants_page

    settings = context.settings.web

    async def shown(request: Request, error: ProblemError) -> Response:
        return await pages.error_page(request, error) if wants_page(request) else answer(error)

    async def on_problem(request: Request, error: Exception) -> Response:
        if not isinstance(error, ProblemError):
            raise error
        seat_of(request).failed = error.changed
        return await shown(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        response = await shown(request, ProblemError(error.status_code, error.detail))
        response.headers.update(error.headers or {})
        return response

    async def on_crash(request: Request, error: Exception) -> Response:
        log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__, exc_info=error)
        return await shown(request, ProblemError(500, "Something went wrong in the dashboard; the hub's log says more."))

    auth = Auth(context)
    middleware = [Middleware(Guard, auth=auth, names=settings.names, error_page=shown)]
    if settings.proxies:
        proxies: Any = ProxyHeadersMiddleware
        middleware.insert(0, Middleware(proxies, trusted_hosts=list(settings.proxies)))
    app = Starlette(
        routes=[*probe_routes(), *api_routes(), *pages.routes()],
        middleware=middleware,
        exception_handlers={ProblemError: on_problem, HTTPException: on_http, Exception: on_crash},
    )
    app.state.context = context
    app.state.auth = auth
    return app


class WebServer(AppThread):
    """Serves the application until the hub stops. Make it and start it last: it asks all the others.

    :param listener: a socket that listens, see ``listen``; the thread closes it.
    :param context: made on the web's thread, when it starts: what it needs is imported there, and holds up nobody.
    """

    def __init__(self, settings: WebSection, listener: socket.socket, context: Callable[[], HubContext]) -> None:
        AppThread.__init__(self, "WebServer", restart=RESTARTS)
        self._settings = settings
        self._listener = listener
        self._make = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self.member.finish = self._finish

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        host, port = self._listener.getsockname()[:2]
        scheme = "https" if self._settings.tls_cert is not None else "http"
        host = "localhost" if host in ("0.0.0.0", "::") else host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> None:
        self.member.busy_since = None  # from here on the loop waits; what blocks it is seen by its own answers
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        finally:
            self._loop = self._ending = None
            if self.member.gate.is_open or self.runtime.stopping:
                self._listener.close()

    async def _serve(self) -> None:
        from event_processor.web.serving import Serving

        loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._loop = loop
        if self.member.gate.is_open or self.runtime.stopping:
            return
        context = self._make()
        context.open()
        try:
            app = make_app(context)
            serving = Serving(app, self._settings, self._listener)
            await serving.open()
            try:
                log.info("The dashboard is at %s.", self.address)
                await self._begin(app.state.auth, self._ending)
                await self._ending.wait()
            finally:
                context.close()
                await serving.close()
        finally:
            context.close()

    async def _begin(self, auth: Auth, ending: asyncio.Event) -> None:
        """See whether anybody has an account, as soon as the store can be read."""
        from event_processor.web.problems import ProblemError

        while not ending.is_set():
            try:
                await auth.begin(self.address)
                return
            except ProblemError as error:
                log.debug("whether anybody has an account cannot be seen yet: %s", error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(ending.wait(), LOOK_AGAIN_S)

    def _finish(self, seconds: float) -> None:
        loop = self._loop
        if loop is None:
            return

        def stop() -> None:
            if self._ending is not None:
                self._ending.set()

        try:
            loop.call_soon_threadsafe(stop)
        except RuntimeError:  # closed already
            return
