"""The devices: search, whether they are alive, and one of them with its history."""

from __future__ import annotations

import math
from typing import Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from event_processor.domain.events import Event
from event_processor.domain.patterns import name_matches
from event_processor.web.auth import context_of, require
from event_processor.web.context import HubContext
from event_processor.web.pages.house import DeviceView, devices, event_view
from event_processor.web.pages.render import page
from event_processor.web.problems import ProblemError

__all__ = ["device", "device_history", "device_list"]

PER_PAGE: Final = 60
"""Devices on one page."""
DAY_S: Final = 86_400.0
MOST_POINTS: Final = 1000
"""Reports of an entity in its chart; the latest."""


@require("viewer")
async def device_list(request: Request) -> Response:
    """Those that fit the filters, by name."""
    filters = {name: request.query_params.get(name, "")[:200] for name in ("text", "room", "state")}
    everybody = devices(context_of(request).mirror, most_entities=4)
    found = [each for each in everybody if _fits(each, filters)]
    start = _number(request.query_params.get("from", "0"))
    shown = found[start : start + PER_PAGE]
    more = len(found) > start + PER_PAGE
    here = {name: value for name, value in filters.items() if value}
    return page(
        request,
        "devices.html",
        at="devices",
        devices=shown,
        count=len(found),
        silent=sum(each.alive == "silent" for each in found),
        rooms=sorted({each.room for each in everybody if each.room}, key=str.casefold),
        filters=filters,
        filtered=bool(here),
        here="/devices" + (f"?{urlencode(here)}" if here else ""),
        next=f"/devices?{urlencode({**here, 'from': start + PER_PAGE})}" if more else "",
    )


@require("viewer")
async def device(request: Request) -> Response:
    """One device."""
    context = context_of(request)
    found = _device(context, request.path_params["device"])
    keys = [entity.key for entity in found.entities]
    charts = [(entity.key, entity.name) for entity in found.entities]
    chosen = next((each for each in found.entities if each.key == request.query_params.get("of")), None)
    if chosen is None:
        chosen = next((each for each in found.entities if each.unit), found.entities[0] if found.entities else None)
    entities = context.mirror.entities()
    events = [
        event_view(each, entities)
        for key in keys[:8]
        for each in (await context.read(context.reader.events, device=key, limit=15)).rows
    ]
    info = context.mirror.devices().get(found.id)
    facts = [
        ("known as", found.id),
        ("room", found.room),
        ("made by", " ".join(filter(None, (found.manufacturer, found.model)))),
        ("software", info.software if info is not None else ""),
        ("found by", found.convention),
        ("topics", ", ".join(sorted({event.topic for event in events if event.topic}))[:300]),
    ]
    book = context.rules.book
    return page(
        request,
        "device.html",
        at="devices",
        device=found,
        chart=chosen,
        charts=charts,
        facts=[(name, value) for name, value in facts if value],
        events=sorted(events, key=lambda each: -each.at)[:25],
        rules=[
            each.rule for each in book.rules.values() if any(_names(trigger.device, keys) for trigger in each.rule.trigger)
        ],
    )


@require("viewer")
async def device_history(request: Request) -> Response:
    """What an entity said within a day, for its chart: ``{"times": [...], "values": [...]}``."""
    context = context_of(request)
    key = request.query_params.get("of", "")
    now = context.now()
    rows = (await context.read(context.reader.events, device=key, since=now - DAY_S, limit=MOST_POINTS)).rows
    times: list[float] = []
    values: list[float] = []
    for row in reversed(rows):
        number = None if row.event is None or row.event.kind == "heartbeat" else _value(row.event)
        if number is not None:
            times.append(row.at)
            values.append(number)
    if times:
        times.append(now)
        values.append(values[-1])
    return Response(msgspec.json.encode({"times": times, "values": values}), media_type="application/json")


def _value(event: Event) -> float | None:
    if event.active is not None and not isinstance(event.value, (int, float)):
        return float(event.active)
    if isinstance(event.value, (int, float)) and math.isfinite(event.value):
        return float(event.value)
    return None


def _device(context: HubContext, ident: str) -> DeviceView:
    for each in devices(context.mirror, most_entities=256):
        if each.id == ident or any(entity.key == ident for entity in each.entities):
            return each
    raise ProblemError(404, f"No device is called {ident}. It may have been renamed, or taken back what it announced.")


def _fits(device: DeviceView, filters: dict[str, str]) -> bool:
    text = filters["text"].casefold()
    words = (
        device.name,
        device.id,
        device.manufacturer,
        device.model,
        *(f"{e.name} {e.key} {e.type}" for e in device.entities),
    )
    return (
        (not text or any(text in word.casefold() for word in words))
        and (not filters["room"] or device.room == filters["room"] or any(e.room == filters["room"] for e in device.entities))
        and (not filters["state"] or device.alive == filters["state"])
    )


def _names(pattern: str, keys: list[str]) -> bool:
    lowered = pattern.lower()
    return bool(pattern) and any(name_matches(lowered, key.lower()) for key in keys)


def _number(text: str) -> int:
    return min(int(text), 100_000) if text.isascii() and text.isdigit() and len(text) < 7 else 0
