"""The first page: the mode, the devices by room, what happened just now. And what any page asks of the hub."""

from __future__ import annotations

from typing import Final

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response

from event_processor.domain.rulebook import Rulebook
from event_processor.web.auth import context_of, require, signed_in
from event_processor.web.auth.current import record
from event_processor.web.context import HubContext
from event_processor.web.pages.house import DeviceView, devices, event_view
from event_processor.web.pages.render import fragment, page, said
from event_processor.web.problems import ProblemError

__all__ = ["ask", "home", "mode", "rooms"]

MOST_TILES: Final = 300
"""Values on the first page; the others are found under Devices."""

_WHAT: Final = frozenset(
    (
        "set_mode",
        "enable",
        "disable",
        "acknowledge",
        "maintenance",
        "signal",
        "run",
        "command",
        "set_register",
        "adjust_register",
    )
)


@require("viewer")
async def home(request: Request) -> Response:
    """The whole page."""
    context = context_of(request)
    latest = [each for each in (await context.read(context.reader.events, limit=40)).rows if each.event is not None][:4]
    entities = context.mirror.entities()
    book = context.rules.book
    known = {**_mode(context, book), **_rooms(context), "latest": [event_view(each, entities) for each in latest]}
    return page(request, "home.html", known, at="home")


@require("viewer")
async def mode(request: Request) -> Response:
    """The part with the mode."""
    context = context_of(request)
    return fragment(request, "home_mode.html", _mode(context, context.rules.book))


@require("viewer")
async def rooms(request: Request) -> Response:
    """The part with the devices."""
    return fragment(request, "home_rooms.html", _rooms(context_of(request)))


@require("operator")
async def ask(request: Request) -> Response:
    """What a button asks of the hub: ``what``, ``about`` and ``value``, as ``domain.requests`` has them."""
    form = await request.form(max_fields=10)
    what, about, given = (str(form.get(name, "")) for name in ("what", "about", "value"))
    if what not in _WHAT:
        raise ProblemError(422, f"Nobody knows what {what!r} is.")
    value: object = {"true": True, "false": False}.get(given, given) if what in ("maintenance", "set_mode") else given
    if what in ("set_register", "adjust_register"):
        try:
            value = float(given.replace(",", "."))
        except ValueError:
            raise ProblemError(422, f"{given!r} is no number: write the register's reading as in 1042.5.") from None
    record(request, f"hub.{what}", about, given)
    answer = await context_of(request).ask(what, about, value, who=signed_in(request).name)
    return said(request, answer.explanation, bad=not answer.fired)


def _mode(context: HubContext, book: Rulebook) -> dict[str, object]:
    now = context.mirror.mode()
    return {
        "mode": {
            "current": now.current if now is not None else book.first_mode,
            "since": now.since if now is not None else 0.0,
            "next": now.next if now is not None else "",
            "at": now.at if now is not None else 0.0,
        },
        "modes": [spec.name for spec in book.modes.values()],
        "maintenance": context.mirror.settings().get("maintenance:") is True,
    }


def _rooms(context: HubContext) -> dict[str, object]:
    found: dict[str, list[DeviceView]] = {}
    left, more = MOST_TILES, 0
    for device in devices(context.mirror):
        shown = tuple(each for each in device.entities if each.role not in ("config", "diagnostic") and each.type != "battery")
        if left >= len(shown):
            found.setdefault(device.room, []).append(structs.replace(device, entities=shown or device.entities[:1], more=0))
            left -= len(shown)
        else:
            more += 1
    return {"rooms": sorted(found.items(), key=lambda pair: (not pair[0], pair[0].casefold())), "more": more}
