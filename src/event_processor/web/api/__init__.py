"""The API for programs, under ``/api``: everything that the dashboard does. ``routes`` gives it to the server."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from event_processor.web.api import history, house, inside, letters, meters, people, rules, schedules, stream
from event_processor.web.api.openapi import describe
from event_processor.web.api.router import PREFIX, Operation, Repeats, make_routes
from event_processor.web.auth.current import signed_in
from event_processor.web.problems import ProblemError

__all__ = ["OPERATIONS", "routes"]

OPERATIONS: Final[tuple[Operation, ...]] = (
    *house.OPERATIONS,
    *history.OPERATIONS,
    *rules.OPERATIONS,
    *schedules.OPERATIONS,
    *meters.OPERATIONS,
    *letters.OPERATIONS,
    *inside.OPERATIONS,
    *people.OPERATIONS,
    *stream.OPERATIONS,
)


def routes() -> list[BaseRoute]:
    """All routes of the API."""
    document: dict[str, Any] = {}

    async def openapi(request: Request) -> Response:
        """What the API can do, in OpenAPI 3.1; for whoever is logged in."""
        signed_in(request)
        if not document:
            document.update(describe(OPERATIONS))
        return JSONResponse(document)

    async def nothing(request: Request) -> Response:
        raise ProblemError(404, f"There is nothing here: {PREFIX}/openapi.json lists what there is.")

    return [
        Route(f"{PREFIX}/openapi.json", openapi, methods=["GET"]),
        *make_routes(OPERATIONS, Repeats()),
        Route(f"{PREFIX}/{{rest:path}}", nothing, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]
