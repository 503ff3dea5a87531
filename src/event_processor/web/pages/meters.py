"""Meters: what their registers say, and charts of what was used."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from event_processor.web.auth import context_of, require
from event_processor.web.context import HubContext
from event_processor.web.pages.render import page
from event_processor.web.problems import ProblemError

__all__ = ["meter_chart", "meters"]

SPANS: Final = {
    "hour": ("The last two days by hour", 2),
    "day": ("The last month by day", 31),
    "month": ("The last two years by month", 731),
}

LENGTHS: Final = {"hour": 3600.0, "day": 86_400.0, "month": 2_629_800.0}
FEWEST: Final = 11
"""Bars for which a chart has room where there are fewer."""


@require("viewer")
async def meters(request: Request) -> Response:
    """Each meter with a chart of what was used."""
    context = context_of(request)
    span = request.query_params.get("span", "hour")
    if span not in SPANS:
        raise ProblemError(400, "There are charts by hour, day and month.")
    stored = await context.read(context.series.meters)
    names = sorted({*stored, *context.mirror.meters(), *_configured(context)}, key=str.casefold)
    values, entities = context.mirror.values(), context.mirror.entities()
    shown = []
    for name in names:
        known, seen = context.mirror.meter(name), values.get(name)
        entity = entities.get(name)
        unit = _configured(context).get(name) or (entity.unit if entity is not None else "")
        shown.append(
            {
                "name": name,
                "unit": unit,
                "register": known.get("register"),
                "at": known.get("at") or (seen.at if seen is not None else None),
                "stuck": known.get("stuck") is True,
                "suspect": known.get("suspect"),
            }
        )
    return page(request, "meters.html", at="meters", meters=shown, span=span, spans=SPANS)


@require("viewer")
async def meter_chart(request: Request) -> Response:
    """What was used, by hour, day or month: ``{"times": [...], "values": [...]}``."""
    context = context_of(request)
    span = request.query_params.get("span", "hour")
    if span not in SPANS:
        raise ProblemError(400, "There are charts by hour, day and month.")
    now = context.now()
    since = (datetime.fromtimestamp(now, context.settings.house.zone) - timedelta(days=SPANS[span][1])).timestamp()
    rows = await context.read(context.series.totals, request.path_params["meter"], span, since, now + 1)  # type: ignore[arg-type]  # checked above
    seconds = LENGTHS[span]
    first = max(since, min([row.start for row in rows] + [now - FEWEST * seconds]))
    told = {
        "times": [row.start for row in rows],
        "values": [row.amount for row in rows],
        "range": [first - seconds / 2, now + seconds / 2],
    }
    return Response(msgspec.json.encode(told), media_type="application/json")


def _configured(context: HubContext) -> dict[str, str]:
    return {meter.key: meter.unit for meter in context.settings.meters}
