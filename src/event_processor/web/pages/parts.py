"""Parts of pages that are made without a request: for the stream, once for all pages."""

from __future__ import annotations

from event_processor.web.context import HubContext
from event_processor.web.pages.render import environment
from event_processor.web.pages.wiring_view import broker_rows, drawn, oldest, pipe_rows, thread_rows
from pylib.runtime.wiring import Wiring, rate

__all__ = ["banners", "wiring_known", "wiring_parts"]


def banners(context: HubContext) -> str:
    """What is wrong with the hub just now; nothing where all is well."""
    template = environment().get_template("banners.html")
    return template.render(problems=context.health().problems, **_times(context)).strip()


def wiring_parts(context: HubContext, wiring: Wiring, before: Wiring | None) -> str:
    """The drawing and the tables below it."""
    template = environment().get_template("wiring_parts.html")
    return template.render(**wiring_known(wiring, before), **_times(context))


def wiring_known(wiring: Wiring, before: Wiring | None) -> dict[str, object]:
    """What the template of the wiring shows."""
    rates = rate(before, wiring) if before is not None else {}
    return {
        "drawing": drawn(wiring, before),
        "threads": thread_rows(wiring),
        "pipes": pipe_rows(wiring, rates),
        "brokers": broker_rows(wiring),
        "oldest": oldest(wiring),
    }


def _times(context: HubContext) -> dict[str, object]:
    return {"now": context.now(), "house_zone": context.settings.house.zone}
