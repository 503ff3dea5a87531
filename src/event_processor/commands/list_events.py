"""``event-processor events``: what happened, the latest first."""

from __future__ import annotations

import argparse

import msgspec

from event_processor.commands.opening import house, moment, reader
from event_processor.commands.output import clock, print_json, print_table
from event_processor.domain.prompts import Request
from event_processor.store.reader import StoredEvent

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """List them."""
    home = house()
    opened = reader(home)
    found: list[StoredEvent] = []
    after = None
    while len(found) < options.most:
        page = opened.events(
            device=options.device,
            type=options.type,
            kind=options.kind,
            text=options.text,
            since=moment(options.since, home.zone),
            after=after,
            limit=options.most - len(found),
        )
        found += page.rows
        after = page.next
        if after is None:
            break
    opened.close()
    if options.json:
        print_json(found)
    else:
        rows = [(clock(one.at, home.zone), one.kind, *_what(one), one.cause) for one in found]
        print_table(("when", "kind", "what", "says", "cause"), rows)
    return 0


def _what(one: StoredEvent) -> tuple[str, str]:
    if one.event is not None:
        return one.event.device, "" if one.event.value is None else str(one.event.value)
    if isinstance(one.prompt, Request):
        return f"{one.prompt.who}: {one.prompt.what}", one.prompt.about
    return ("", "") if one.prompt is None else ("", msgspec.json.encode(one.prompt).decode())
