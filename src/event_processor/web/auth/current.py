"""Who asks, and whether they may: what the guard has found out about a request, for pages and the API."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from event_processor.web.auth.values import Role, User, may
from event_processor.web.problems import ProblemError, wants_page

if TYPE_CHECKING:
    from event_processor.web.auth.service import Auth
    from event_processor.web.context import HubContext

__all__ = [
    "SEAT", "Seat", "auth_of", "context_of", "csrf_token", "current", "nonce", "page_context", "record", "require", "seat_of",
    "signed_in", "unrecorded",
]  # fmt: skip

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

#: Where the guard leaves its findings in a request's scope.
SEAT: Final = "event_processor.seat"


class Seat:
    """What the guard knows of one request. ``secret`` is the cookie's, "" without one; ``fresh`` one that has to be set.

    ``failed``: it was answered with an error although something was changed, or may have been.
    """

    __slots__ = ("action", "detail", "failed", "fresh", "nonce", "recorded", "secret", "subject", "user")

    def __init__(self) -> None:
        self.user: User | None = None
        self.nonce = secrets.token_urlsafe(16)
        self.secret = ""
        self.fresh = ""
        self.action = self.subject = self.detail = ""
        self.recorded = self.failed = False


def seat_of(request: HTTPConnection) -> Seat:
    seat: Seat = request.scope[SEAT]
    return seat


def current(request: HTTPConnection) -> User | None:
    """Who asks, or None."""
    return seat_of(request).user


def signed_in(request: HTTPConnection) -> User:
    """Who asks. Raises ``ProblemError`` 401 where nobody is logged in."""
    user = current(request)
    if user is None:
        raise ProblemError(401, "Log in first.")
    return user


def context_of(request: HTTPConnection) -> HubContext:
    """The hub."""
    context: HubContext = request.app.state.context
    return context


def auth_of(request: HTTPConnection) -> Auth:
    """The accounts, and who logs in and out."""
    auth: Auth = request.app.state.auth
    return auth


def require(role: Role) -> Callable[[Endpoint], Endpoint]:
    """Let nobody in below a role: 403, and without a login 401, or the way to the login for a person."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            user = current(request)
            if user is None:
                return to_login(request)
            if not may(user.role, role):
                raise ProblemError(403, f"This needs the role {role}; {user.name} is {user.role}.")
            return await endpoint(request)

        return guarded

    return decorate


def to_login(request: Request) -> Response:
    """The way to the login, for a person; raises ``ProblemError`` 401 for a program."""
    if request.method not in ("GET", "HEAD") or not wants_page(request):
        raise ProblemError(401, "Log in, or send a token: Authorization: Bearer <token>.")
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    page = "/setup" if auth_of(request).first.needed else "/login"
    return RedirectResponse(f"{page}?next={quote(target, safe='')}" if target != "/" else page, 303)


def record(request: HTTPConnection, action: str, subject: str = "", detail: str = "") -> None:
    """Name what this request changes, in words for the audit. The guard writes it down when it has worked; where nobody
    names it, by its method and path."""
    seat = seat_of(request)
    seat.action, seat.subject, seat.detail = action, subject, detail


def unrecorded(request: HTTPConnection) -> None:
    """This request changes nothing, although its method says that it may: the audit leaves it out."""
    seat_of(request).recorded = True


def nonce(request: HTTPConnection) -> str:
    """What an inline script or style of this answer has to carry."""
    return seat_of(request).nonce


def csrf_token(request: HTTPConnection) -> str:
    """What a form of this answer has to send back, in the field ``csrf`` or the header ``X-CSRF-Token``.

    It follows from the cookie and not the other way round, so it may stand in a page.
    """
    seat = seat_of(request)
    if not seat.secret:
        seat.secret = seat.fresh = secrets.token_urlsafe(32)
    return csrf_of(seat.secret)


def csrf_of(secret: str) -> str:
    return hashlib.blake2b(b"csrf", key=secret.encode()[:64], digest_size=24).hexdigest()


def page_context(request: Request) -> dict[str, object]:
    """What every page's template knows: ``user`` (or None), ``csrf`` and ``nonce``. For ``Jinja2Templates``."""
    return {"user": current(request), "csrf": csrf_token(request), "nonce": nonce(request)}
