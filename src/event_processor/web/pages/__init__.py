"""The pages. ``routes`` gives them to the server, ``error_page`` says what went wrong."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from event_processor.web.pages import (
    devices,
    door,
    events,
    home,
    letters,
    meters,
    own,
    people,
    rules,
    schedules,
    snapshots,
    stream,
    wiring,
)
from event_processor.web.pages.door import error_page
from event_processor.web.pages.render import STATIC

__all__ = ["error_page", "routes"]


def routes() -> list[BaseRoute]:
    """All routes of the pages and of their static files."""
    return [
        Route("/", home.home),
        Route("/home/mode", home.mode),
        Route("/home/rooms", home.rooms),
        Route("/ask", home.ask, methods=["POST"]),
        Route("/live", stream.live),
        Route("/live/here", stream.here),
        Route("/login", door.login, methods=["GET", "POST"]),
        Route("/setup", door.setup, methods=["GET", "POST"]),
        Route("/logout", door.logout, methods=["POST"]),
        Route("/devices", devices.device_list),
        Route("/devices/{device:path}/history", devices.device_history),
        Route("/devices/{device:path}", devices.device),
        Route("/events", events.event_list),
        Route("/events/{cause:path}", events.event),
        Route("/rules", rules.rule_list),
        Route("/rules/text", rules.rule_text),
        Route("/rules/check", rules.rule_check, methods=["POST"]),
        Route("/rules/save", rules.rule_save, methods=["POST"]),
        Route("/rules/try", rules.rule_try, methods=["POST"]),
        Route("/rules/{rule}", rules.rule),
        Route("/schedules", schedules.schedule_list),
        Route("/schedules/new", schedules.schedule_new),
        Route("/schedules/check", schedules.schedule_check, methods=["POST"]),
        Route("/schedules/save", schedules.schedule_save, methods=["POST"]),
        Route("/schedules/{schedule}/change", schedules.schedule_change),
        Route("/schedules/{schedule}/delete", schedules.schedule_delete, methods=["POST"]),
        Route("/meters", meters.meters),
        Route("/meters/{meter:path}/chart", meters.meter_chart),
        Route("/snapshots", snapshots.snapshots),
        Route("/snapshots/{name:path}", snapshots.picture),
        Route("/dead-letters", letters.letter_list),
        Route("/dead-letters/{ident:int}", letters.letter),
        Route("/dead-letters/{ident:int}", letters.letter_do, methods=["POST"]),
        Route("/wiring", wiring.wiring),
        Route("/wiring/file/{form}", wiring.wiring_file),
        Route("/wiring/threads/{thread:path}", wiring.thread),
        Route("/settings", people.settings),
        Route("/settings/audit", people.audit),
        Route("/settings/password", own.password, methods=["PUT"]),
        Route("/settings/totp", own.totp, methods=["POST"]),
        Route("/settings/totp", own.totp_remove, methods=["DELETE"]),
        Route("/settings/totp/confirm", own.totp_confirm, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
    ]
