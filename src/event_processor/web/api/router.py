"""Turns typed handlers into routes: parameters, body and answer are structs, checked here and described in ``openapi``."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from event_processor.domain.outcome import Evaluation
from event_processor.web.auth.current import auth_of, context_of, record, signed_in, unrecorded
from event_processor.web.auth.service import Auth
from event_processor.web.auth.values import Role, User, may
from event_processor.web.context import HubContext
from event_processor.web.problems import ProblemError, Wrong

__all__ = ["PREFIX", "Call", "Empty", "Operation", "Repeats", "make_routes"]

P = TypeVar("P")
B = TypeVar("B")

PREFIX: Final = "/api"

MOST_REPEATS: Final = 1000
"""Answers to requests with an Idempotency-Key that are remembered; the oldest make room."""

LONGEST_KEY: Final = 200
"""Characters of an Idempotency-Key, at most."""


class Empty(msgspec.Struct, frozen=True):
    """No parameters, or no body."""


class Call(Generic[P, B]):
    """One request to the API: who asks, and what was sent, checked."""

    __slots__ = ("body", "params", "request", "user")

    def __init__(self, request: Request, user: User, params: P, body: B) -> None:
        self.request = request
        self.user = user
        self.params = params
        self.body = body

    @property
    def context(self) -> HubContext:
        return context_of(self.request)

    @property
    def auth(self) -> Auth:
        return auth_of(self.request)

    def record(self, action: str, subject: str = "", detail: str = "") -> None:
        """Name what is changed, for the audit."""
        record(self.request, action, subject, detail)

    async def ask(self, what: str, about: str = "", value: object = None) -> Evaluation:
        """Ask the hub; with the request's Idempotency-Key, once. Raises ``ProblemError`` 409 where it was not done."""
        self.record(f"hub.{what}", about, "" if value is None else f"{value}")
        key = self.request.headers.get("idempotency-key", "")
        name = f"{self.request.url.path} {key}".encode("utf-8", "replace")
        ident = f"api.{self.user.id}.{hashlib.sha256(name).hexdigest()[:32]}" if key else ""
        done = await self.context.ask(what, about, value, who=self.user.name, ident=ident)
        if not done.fired:
            raise ProblemError(409, done.explanation)
        return done


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the API can do. ``handler`` takes a ``Call``; it returns the answer, or a ``Response`` of its own.

    ``name`` is unique; ``params`` has a field for each part of the path in braces, and one for each parameter of the query.
    ``media`` is what the answer is made of where it is not JSON. ``reads`` says that it changes nothing whatever its method.
    ``secret``: the answer holds one and is shown once, so it is not remembered for an Idempotency-Key.
    """

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE", "PATCH"]
    path: str
    role: Role
    handler: Callable[[Any], Awaitable[Any]]
    summary: str
    tag: str
    params: type[Any] = Empty
    body: type[Any] | None = None
    answer: Any = None
    status: int = 200
    media: str = "application/json"
    reads: bool = False
    secret: bool = False


class Repeats:
    """What was answered to requests with an Idempotency-Key. For one loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, tuple[int, bytes, str] | None]] = OrderedDict()

    def begin(self, key: str, digest: str) -> tuple[int, bytes, str] | None:
        """The answer that was given before, or None for a new request. Raises ``ProblemError`` 409 or 422."""
        known = self._known.get(key)
        if known is None:
            self._known[key] = (digest, None)
            while len(self._known) > MOST_REPEATS:
                self._known.popitem(last=False)
            return None
        if known[0] != digest:
            raise ProblemError(422, "This Idempotency-Key was used for another request.")
        if known[1] is None:
            raise ProblemError(409, "This request is under way, or its answer was shown once.")
        return known[1]

    def end(self, key: str, answer: tuple[int, bytes, str] | None) -> None:
        """It was answered; None: it failed, and may be tried again."""
        known = self._known.get(key)
        if known is None:
            return
        if answer is None:
            del self._known[key]
        else:
            self._known[key] = (known[0], answer)


def make_routes(operations: Sequence[Operation], repeats: Repeats) -> list[Route]:
    """One route for each operation."""
    return [
        Route(PREFIX + operation.path, _endpoint(operation, repeats), methods=[operation.method], name=operation.name)
        for operation in operations
    ]


def _endpoint(operation: Operation, repeats: Repeats) -> Callable[[Request], Awaitable[Response]]:
    decoder = None if operation.body is None else msgspec.json.Decoder(operation.body)

    async def endpoint(request: Request) -> Response:
        user = signed_in(request)
        if not may(user.role, operation.role):
            raise ProblemError(403, f"This needs the role {operation.role}; this login has {user.role}.")
        if user.token and not may(user.role, "operator") and not operation.reads and operation.method != "GET":
            raise ProblemError(403, "A token that may only read changes nothing, not even what is its owner's.")
        params = _params(operation, request)
        raw = await request.body() if operation.method not in ("GET", "DELETE") else b""
        body = None if decoder is None else _body(request, raw, decoder)
        if operation.reads:
            unrecorded(request)
        else:
            record(request, operation.name, " ".join(map(str, request.path_params.values())))
        call: Call[Any, Any] = Call(request, user, params, body)
        key = request.headers.get("idempotency-key", "")
        if not key or operation.method != "POST" or operation.reads:
            return _answer(operation, await operation.handler(call))
        if len(key) > LONGEST_KEY:
            raise ProblemError(400, f"An Idempotency-Key has {LONGEST_KEY} characters at most.")
        name = f"{user.id} {request.url.path} {key}"
        known = repeats.begin(name, hashlib.sha256(raw).hexdigest())
        if known is not None:
            unrecorded(request)
            return Response(known[1], known[0], media_type=known[2])
        try:
            response = _answer(operation, await operation.handler(call))
        except BaseException:
            repeats.end(name, None)
            raise
        if not operation.secret and isinstance(response.body, bytes):
            repeats.end(name, (response.status_code, response.body, response.media_type or operation.media))
        return response

    return endpoint


def _params(operation: Operation, request: Request) -> Any:
    fields = operation.params.__struct_fields__
    given: dict[str, object] = {name: value for name, value in request.query_params.items() if name in fields}
    given.update(request.path_params)
    if any("\0" in value for value in given.values() if isinstance(value, str)):
        raise ProblemError(400, "A parameter has a NUL character in it.")
    try:
        return msgspec.convert(given, operation.params, strict=False)
    except msgspec.ValidationError as error:
        status = 404 if any(f"$.{name}" in str(error) for name in request.path_params) else 400
        raise ProblemError(status, f"A parameter is wrong: {error}.") from None


def _body(request: Request, raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "The body has to be JSON: Content-Type: application/json.")
    if b"\\u0000" in raw:  # PostgreSQL keeps no such text
        raise ProblemError(422, "The body has a NUL character in it.")
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        raise ProblemError(422, f"The body is wrong: {error}.", errors=(Wrong(where.rstrip("`"), what),)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, f"The body is no JSON: {error}.") from None


def _answer(operation: Operation, result: object) -> Response:
    if isinstance(result, Response):
        return result
    if operation.answer is None:
        return Response(status_code=204)
    return Response(msgspec.json.encode(result), operation.status, media_type="application/json")
