"""``/health/live`` and ``/health/ready``: for whoever restarts the hub, or looks after it.

Without a login they say yes or no, and not why.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from event_processor.web.auth.current import context_of, current
from pylib.observe.health import Health

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The two probes. Without a login they tell no more than their status does."""
    return [Route("/health/live", live, methods=["GET"]), Route("/health/ready", ready, methods=["GET"])]


async def live(request: Request) -> Response:
    """200 while a restart would not help, 503 when it would."""
    found = context_of(request).health()
    return _answer(request, found, found.live)


async def ready(request: Request) -> Response:
    """200 while the hub does its work, 503 while part of it does not."""
    found = context_of(request).health()
    return _answer(request, found, found.ready)


def _answer(request: Request, found: Health, good: bool) -> Response:
    body = msgspec.json.encode(found) if current(request) is not None else b'{"ok":true}' if good else b'{"ok":false}'
    return Response(body, 200 if good else 503, media_type="application/json")
