"""What went wrong, for programs and for people: problem details for HTTP APIs (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["MEDIA_TYPE", "Problem", "ProblemError", "answer", "wants_page"]

MEDIA_TYPE: Final = "application/problem+json"


class Wrong(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with what was sent: where (a field, or a place in a rule), and what."""

    where: str
    what: str
    severity: str = "error"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 section 3.1. ``errors`` lists what is wrong where it is more than one thing."""

    title: str
    status: int
    type: str = "about:blank"
    detail: str = ""
    errors: tuple[Wrong, ...] = ()


class ProblemError(Exception):
    """Raised by whoever serves a request; the API answers with the problem, a page with an error page.

    :param detail: a sentence for the person who asked: what is wrong, and what to do.
    :param retry_after: seconds after which it makes sense to ask again.
    :param changed: something was changed all the same, or may have been: it is for the audit.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        errors: tuple[Wrong, ...] = (),
        retry_after: float | None = None,
        changed: bool = False,
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
        self.retry_after = retry_after
        self.changed = changed

    @property
    def status(self) -> int:
        return self.problem.status


def answer(error: ProblemError) -> Response:
    """The problem as an answer."""
    headers = {"cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(msgspec.json.encode(error.problem), error.status, headers, MEDIA_TYPE)


def wants_page(request: Request) -> bool:
    """Whether a person asks, with a browser: then an error is a page."""
    return not request.url.path.startswith("/api") and "text/html" in request.headers.get("accept", "")
