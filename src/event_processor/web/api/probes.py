"""For machines that look after the hub: ``/health/live`` and ``/health/ready``, and ``/metrics`` for Prometheus.

Without a login the first two say yes or no, and not why; the metrics need a token.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from event_processor.store.samples import samples_of_store
from event_processor.web.auth.current import context_of, current, require
from event_processor.web.problems import ProblemError
from pylib.errors import ConfigError
from pylib.observe.health import Health
from pylib.observe.metrics import CONTENT_TYPE, metrics_text

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The probes, and the metrics."""
    return [
        Route("/health/live", live, methods=["GET"]),
        Route("/health/ready", ready, methods=["GET"]),
        Route("/metrics", require("viewer")(metrics), methods=["GET"]),
    ]


async def live(request: Request) -> Response:
    """200 while a restart would not help, 503 when it would."""
    found = context_of(request).health()
    return _answer(request, found, found.live)


async def ready(request: Request) -> Response:
    """200 while the hub does its work, 503 while part of it does not."""
    found = context_of(request).health()
    return _answer(request, found, found.ready)


async def metrics(request: Request) -> Response:
    """Everything that is counted, in Prometheus' own format."""
    context = context_of(request)
    try:
        text = await context.read(
            metrics_text, context.runtime, context.health, lambda: tuple(samples_of_store(context.store()))
        )
    except ConfigError as error:
        raise ProblemError(503, str(error)) from None
    return Response(text, media_type=CONTENT_TYPE)


def _answer(request: Request, found: Health, good: bool) -> Response:
    body = msgspec.json.encode(found) if current(request) is not None else b'{"ok":true}' if good else b'{"ok":false}'
    return Response(body, 200 if good else 503, media_type="application/json")
