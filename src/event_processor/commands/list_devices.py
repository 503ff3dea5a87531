"""``event-processor devices``: which devices there are, what they said last, and whether they are there."""

from __future__ import annotations

import argparse
from typing import Final

import msgspec

from event_processor.commands.opening import house, reader
from event_processor.commands.output import clock, print_json, print_table
from event_processor.domain.fields import Scalar
from event_processor.domain.outcome import Change, Scope
from event_processor.domain.patterns import name_matches
from event_processor.domain.registry import Registry
from event_processor.domain.state import HubState
from event_processor.store.reader import Reader

__all__ = ["Listed", "run", "state_of"]

_WORDS: Final = {None: "", True: "yes", False: "no"}


def state_of(opened: Reader) -> tuple[HubState, Registry]:
    """What the hub knows, as it is stored."""
    scopes: tuple[Scope, ...] = ("value", "online", "rule", "timer", "mode", "output", "setting", "device", "entity")
    rows = [(scope, key, value) for scope in scopes for key, value in opened.state(scope).items()]
    registry = Registry()
    registry.restore(Change(*row) for row in rows)
    return HubState.restore(rows), registry


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """An entity, as it is listed. ``heard`` is in seconds since the epoch."""

    key: str
    type: str
    room: str
    value: Scalar
    active: bool | None
    online: bool | None
    heard: float | None


def run(options: argparse.Namespace) -> int:
    """List them: an entity a line."""
    home = house()
    opened = reader(home)
    state, registry = state_of(opened)
    opened.close()
    keys = sorted({*registry.entities, *state.values})
    found = [_listed(key, state, registry) for key in keys if name_matches(options.pattern.lower(), key.lower())]
    if options.json:
        print_json(found)
        return 0
    rows = [
        (
            one.key, one.type, one.room, "" if one.value is None else str(one.value), _WORDS[one.online],
            "" if one.heard is None else clock(one.heard, home.zone),
        )
        for one in found
    ]  # fmt: skip
    print_table(("device", "type", "room", "value", "there", "heard"), rows)
    return 0


def _listed(key: str, state: HubState, registry: Registry) -> Listed:
    entity, seen = registry.entity(key), state.values.get(key)
    alive = state.online.get(key if entity is None else entity.device)
    known = seen if seen is not None and seen.known else None
    return Listed(
        key=key,
        type=(entity.type if entity is not None else "") or (seen.type if seen is not None else ""),
        room=registry.room_of(key),
        value=None if known is None else known.value,
        active=None if known is None else known.active,
        online=alive.online if alive is not None else True if known is not None else None,
        heard=None if seen is None else seen.at,
    )
