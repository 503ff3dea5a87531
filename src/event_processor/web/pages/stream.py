"""``/live``: what happens, for open pages, over server-sent events (WHATWG HTML, section 9.2).

Each bundle is made into bytes once and given to all pages, so that fifty of them cost little more than one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from event_processor.domain.memos import Alive, Seen
from event_processor.domain.outcome import Outcome
from event_processor.web.auth import context_of, require
from event_processor.web.context import HubContext
from event_processor.web.live import News
from event_processor.web.pages.house import EventView, of_outcome
from event_processor.web.pages.parts import banners, wiring_parts
from event_processor.web.pages.render import value_text
from pylib.runtime.wiring import Wiring

__all__ = ["here", "live"]

MOST_EVENTS: Final = 100
"""Events of one bundle that are told; more than a page can show in a tenth of a second nobody reads."""

_RELOAD: Final = frozenset(("device", "entity", "mode", "setting", "schedule"))
_SEEN: Final = msgspec.json.Decoder(Seen)
_ALIVE: Final = msgspec.json.Decoder(Alive)


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What an entity says now."""

    key: str
    text: str
    active: bool | None
    known: bool
    at: float


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle as pages get it; ``reload`` names the parts that a page had better ask for again."""

    values: tuple[Value, ...]
    online: tuple[tuple[str, bool], ...]
    events: tuple[EventView, ...]
    reload: tuple[str, ...]


@require("viewer")
async def here(request: Request) -> Response:
    """Says that the hub is there and the login still good."""
    return Response(status_code=204)


@require("viewer")
async def live(request: Request) -> Response:
    """The stream. With ``?wiring`` the drawing of the hub too."""
    context = context_of(request)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(context, "wiring" in request.query_params), 200, headers, "text/event-stream")


async def _stream(context: HubContext, with_wiring: bool) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    shown = b""
    before: Wiring | None = None
    async with context.live.follow("outcomes", "wiring") as feed:
        async for news in feed:
            if news is None:
                yield b": still here\n\n"
                continue
            if news.lost:
                yield b"event: lost\ndata: 1\n\n"
            if news.outcomes:
                yield news.once("page", lambda news: _outcomes(context, news))
            if news.wiring is not None:
                now = news.once("banners", lambda _: _message("banners", banners(context)))
                if now != shown:
                    shown = now
                    yield now
                if with_wiring:
                    yield news.once(*_wiring(context, before))
                    before = news.wiring


def _outcomes(context: HubContext, news: News) -> bytes:
    entities = context.mirror.entities()
    values: dict[str, Value] = {}
    online: dict[str, bool] = {}
    reload: dict[str, None] = {}
    for outcome in news.outcomes:
        for change in outcome.changes:
            if change.scope == "value" and change.value is not None:
                seen = _SEEN.decode(change.value)
                entity = entities.get(change.key)
                unit, kind = (entity.unit, entity.type or seen.type) if entity is not None else ("", seen.type)
                text = value_text(seen.value, unit, seen.active, kind) if seen.known else "unknown"
                values[change.key] = Value(key=change.key, text=text, active=seen.active, known=seen.known, at=seen.at)
            elif change.scope == "online" and change.value is not None:
                online[change.key] = _ALIVE.decode(change.value).online
            elif change.scope in _RELOAD:
                reload[change.scope] = None
    told = Told(
        values=tuple(values.values()),
        online=tuple(online.items()),
        events=tuple(of_outcome(each, entities) for each in _shown(news)),
        reload=tuple(reload),
    )
    return b"event: outcomes\ndata: " + msgspec.json.encode(told) + b"\n\n"


def _shown(news: News) -> list[Outcome]:
    """Those that a list of events has: the store has the same, but for outcomes in which nothing was decided."""
    return [each for each in news.outcomes if each.event is not None or each.evaluations][-MOST_EVENTS:]


def _wiring(context: HubContext, before: Wiring | None) -> tuple[str, Callable[[News], bytes]]:
    """The drawing, made once for all that have seen the one before; it takes two to know what flows in a second."""

    def make(news: News) -> bytes:
        return b"" if news.wiring is None else _message("wiring", wiring_parts(context, news.wiring, before))

    return "wiring" if before is not None else "the first wiring", make


def _message(name: str, html: str) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(html) + b"\n\n"
