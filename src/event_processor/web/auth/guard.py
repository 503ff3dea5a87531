"""The guard in front of everything: which host was asked for, who asks, whether a form is ours, and what a browser may do.

Nothing that needs a login can be reached without one, whatever the pages behind forget: only the paths below are public.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from event_processor.web.auth.cookies import ANONYMOUS, SESSION, cookie_name
from event_processor.web.auth.current import SEAT, Seat, csrf_of, to_login
from event_processor.web.auth.service import Auth
from event_processor.web.auth.values import User
from event_processor.web.problems import ProblemError

__all__ = ["Guard"]

log = logging.getLogger("event_processor.web")

ErrorPage: TypeAlias = Callable[[Request, ProblemError], Awaitable[Response]]

MOST_BODY: Final = 4 * 1024 * 1024
"""Bytes of a request's body, at most: a file of rules fits in."""

MOST_ANONYMOUS_BODY: Final = 16 * 1024
"""Bytes of a body from somebody who is not logged in, at most: the form of the login fits in."""

BODY_WITHIN_S: Final = 30.0
"""Seconds in which a request's body has to be there."""

SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))
PUBLIC: Final = frozenset(("/login", "/setup", "/health/live", "/health/ready", "/favicon.ico", "/robots.txt"))
PUBLIC_BELOW: Final = "/static/"


class Guard:
    """ASGI middleware, outermost but for the one that believes proxies.

    :param names: under which this machine may be asked for, besides localhost, its own name and addresses. Other names are
        refused: a page elsewhere could have its own name point here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, auth: Auth, names: tuple[str, ...], error_page: ErrorPage) -> None:
        self._app = app
        self._auth = auth
        self._error_page = error_page
        own = socket.gethostname().lower()
        self._names = frozenset(("localhost", own, f"{own.partition('.')[0]}.local", *names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no web sockets: without an answer the server refuses them
        seat = scope[SEAT] = Seat()
        request = Request(scope, receive)
        secure = scope["scheme"] == "https"
        answer = _Answer(send, seat, secure, scope["path"].startswith(PUBLIC_BELOW), lambda: self._record(request, seat))
        try:
            await self._check(request, seat, secure)
            if request.method not in SAFE:
                body = await self._body(request, seat)
                self._check_origin(request, seat, body)
                receive = _replay(body, receive)
            if seat.user is None and not _public(scope["path"]):
                await to_login(request)(scope, receive, answer)
                return
        except ProblemError as error:
            response = await self._error_page(request, error)
            await response(scope, receive, answer)
            return
        await self._app(scope, receive, answer)

    async def _record(self, request: Request, seat: Seat) -> None:
        """Something was changed: who did it is written down before the answer leaves."""
        if seat.user is None or seat.recorded or request.method in SAFE:
            return
        action = seat.action or f"{request.method} {request.url.path}"
        detail = f"{seat.detail} (the hub did not answer in time)".lstrip() if seat.failed else seat.detail
        try:
            await self._auth.note(action, seat.subject, detail, request=request, who=_who(seat.user))
        except ProblemError as error:
            log.error("%s by %s is missing in the audit: %s", action, seat.user.name, error)

    # -- checks ------------------------------------------------------------------------------------------------------

    async def _check(self, request: Request, seat: Seat, secure: bool) -> None:
        """Which host, and who. Raises ``ProblemError``."""
        host = request.headers.get("host", "")
        if not self._known(host):
            raise ProblemError(
                421, "This machine does not go by that name here: add it to [web] hosts, if it is one of its names."
            )
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer":
                raise ProblemError(401, "Only tokens are understood: Authorization: Bearer <token>.")
            seat.user = await self._auth.by_token(credentials.strip(), _address(request))
            return
        cookies = request.cookies
        secret = cookies.get(cookie_name(SESSION, secure), "")
        if secret:
            seat.user = await self._auth.by_session(secret)
            if seat.user is not None:
                seat.secret = secret
                return
        seat.secret = cookies.get(cookie_name(ANONYMOUS, secure), "")[:64]

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._names
        return True  # a name that points elsewhere next minute is never an address

    async def _body(self, request: Request, seat: Seat) -> bytes:
        most = MOST_ANONYMOUS_BODY if seat.user is None else MOST_BODY
        length = request.headers.get("content-length", "0")
        if not length.isdigit():
            raise ProblemError(400, "Content-Length is no number.")
        if int(length) <= most:
            body = bytearray()
            try:
                async with asyncio.timeout(BODY_WITHIN_S):
                    async for chunk in request.stream():
                        body += chunk
                        if len(body) > most:
                            break
                    else:
                        return bytes(body)
            except TimeoutError:
                raise ProblemError(408, "The body took too long to arrive.") from None
            except ClientDisconnect:
                raise ProblemError(400, "The body ended too early.") from None
        raise ProblemError(413, f"The body has more than {most} bytes.")

    def _check_origin(self, request: Request, seat: Seat, body: bytes) -> None:
        """Only our own pages may have a browser change anything. A token is sent by no browser on its own."""
        if seat.user is not None and seat.user.token:
            return
        headers = request.headers
        origin = headers.get("origin") or headers.get("referer")
        if origin is not None and _origin(origin) != (request.url.scheme, request.url.netloc.lower()):
            raise ProblemError(403, "This was sent by a page of another site.")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise ProblemError(403, "This was sent by a page of another site.")
        if seat.user is None and not _public(request.url.path):
            return  # 401 is what comes of it
        sent = headers.get("x-csrf-token") or _field(headers, body)
        if not seat.secret or not hmac.compare_digest(sent.encode(), csrf_of(seat.secret).encode()):
            raise ProblemError(403, "The form is too old or not ours. Load the page again, and try once more.")


class _Answer:
    """Adds to every answer what keeps a browser to our own pages."""

    __slots__ = ("_record", "_seat", "_secure", "_send", "_static")

    def __init__(self, send: Send, seat: Seat, secure: bool, static: bool, record: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._seat = seat
        self._secure = secure
        self._static = static
        self._record = record

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] < 400 or self._seat.failed:
                await self._record()
            headers = MutableHeaders(scope=message)
            own = f"'self' 'nonce-{self._seat.nonce}'"
            headers["content-security-policy"] = (
                f"default-src 'none'; script-src {own}; style-src {own}; img-src 'self' data:; font-src 'self'; "
                "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
            )
            headers["x-content-type-options"] = "nosniff"
            headers["x-frame-options"] = "DENY"
            headers["referrer-policy"] = "same-origin"
            headers["cross-origin-opener-policy"] = "same-origin"
            headers["cross-origin-resource-policy"] = "same-origin"
            headers["permissions-policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
            headers["date"] = formatdate(usegmt=True)
            if self._secure:
                headers["strict-transport-security"] = "max-age=31536000"
            if not self._static and "cache-control" not in headers:
                headers["cache-control"] = "no-store"
            if self._seat.fresh:
                name = cookie_name(ANONYMOUS, self._secure)
                flags = "; Secure" if self._secure else ""
                headers.append("set-cookie", f"{name}={self._seat.fresh}; Path=/; HttpOnly; SameSite=Strict{flags}")
        await self._send(message)


def _who(user: User) -> str:
    return f"{user.name} (token {user.token})" if user.token else user.name


def _public(path: str) -> bool:
    return path in PUBLIC or path.startswith(PUBLIC_BELOW)


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _origin(text: str) -> tuple[str, str]:
    try:
        parts = urlsplit(text)
        return parts.scheme, parts.netloc.lower()
    except ValueError:
        return "", ""


def _field(headers: Headers, body: bytes) -> str:
    """The field ``csrf`` of a form."""
    if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return ""
    try:
        return parse_qs(body.decode("utf-8", "replace"), max_num_fields=1000).get("csrf", [""])[0]
    except ValueError:
        return ""


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once more to whoever reads it; after it what the server has to say."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
