"""What happened: the list with its filters, and one event with all that came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from event_processor.domain.pictures import is_name
from event_processor.domain.rulebook import Rulebook
from event_processor.store.reader import Cursor
from event_processor.web.auth import context_of, require
from event_processor.web.pages.house import event_view
from event_processor.web.pages.render import page
from event_processor.web.problems import ProblemError

__all__ = ["event", "event_list", "rule_title"]

PER_PAGE: Final = 60
"""Events on one page."""
KINDS: Final = (
    ("", "All"), ("input", "inputs"), ("meter", "meters"), ("heartbeat", "signs of life"), ("output", "outputs"),
    ("timer", "timers"),
    ("request", "requests"),
)  # fmt: skip


@require("viewer")
async def event_list(request: Request) -> Response:
    """The latest that fit the filters."""
    context = context_of(request)
    filters = {name: request.query_params.get(name, "")[:200] for name in ("text", "device", "kind", "since")}
    try:
        after = Cursor.parse(request.query_params["after"]) if "after" in request.query_params else None
        since = (
            datetime.fromisoformat(filters["since"]).replace(tzinfo=context.settings.house.zone) if filters["since"] else None
        )
    except (ValueError, OverflowError):
        raise ProblemError(400, "The address of this page has a time or a place in it that cannot be read.") from None
    found = await context.read(
        context.reader.events,
        device=filters["device"] or None,
        kind=filters["kind"] or None,
        text=filters["text"] or None,
        since=since.timestamp() if since is not None else None,
        after=after,
        limit=PER_PAGE,
    )
    entities = context.mirror.entities()
    here = {name: value for name, value in filters.items() if value}
    return page(
        request,
        "events.html",
        at="events",
        events=[event_view(each, entities) for each in found.rows],
        filters=filters,
        filtered=bool(here),
        kinds=KINDS,
        keys=sorted({*entities, *context.mirror.values()}, key=str.casefold)[:500],
        after=after is not None,
        here="/events" + (f"?{urlencode(here)}" if here else ""),
        next=f"/events?{urlencode({**here, 'after': str(found.next)})}" if found.next is not None else "",
    )


@require("viewer")
async def event(request: Request) -> Response:
    """One event: what was said, what each rule concluded and why, and what was done."""
    context = context_of(request)
    found = await context.read(context.reader.explain, request.path_params["cause"])
    if found is None:
        raise ProblemError(404, "This event is not stored: it is older than what the hub keeps, or never happened.")
    said = found.event.event
    book = context.rules.book
    facts: list[tuple[str, object]] = [("kind", found.event.kind)]
    if said is not None:
        facts += [
            ("type", said.type),
            ("value", "" if is_name(said.value) else said.value),
            ("active", said.active),
            ("of the last minute", said.minute),
            ("detail", said.detail),
            ("topic", said.topic),
            ("over", said.source),
        ]
    return page(
        request,
        "event.html",
        at="events",
        event=event_view(found.event, context.mirror.entities()),
        evaluations=[(each.evaluation, rule_title(book, each.evaluation.rule)) for each in found.evaluations],
        steps=[
            {
                "output": each.step.output or each.step.address,
                "kind": each.step.kind,
                "address": each.step.address,
                "rule": rule_title(book, each.step.rule) if each.step.rule else "",
                "status": each.status,
                "settled_at": each.settled_at,
                "reason": each.reason or "",
            }
            for each in found.steps
        ],
        picture=said.value if said is not None and is_name(said.value) else "",
        facts=[(name, value) for name, value in facts if value not in (None, "")],
    )


def rule_title(book: Rulebook, ident: str) -> str:
    """What people call a rule; what was asked for by a person has none."""
    compiled = book.rules.get(ident)
    return compiled.rule.title if compiled is not None else ident or "asked for"
