"""Devices and what they say, as pages show them: made of the mirror, so that nobody waits for a database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from event_processor.domain.entities import DeviceInfo, Entity
from event_processor.domain.events import Event
from event_processor.domain.memos import Seen
from event_processor.domain.outcome import Outcome
from event_processor.store.reader import StoredEvent
from event_processor.web.mirror import Mirror
from event_processor.web.pages.render import value_text

__all__ = ["DeviceView", "EntityView", "EventView", "devices", "entity_view", "event_view", "of_outcome"]

#: What a line says of an outcome that no device has caused.
_OTHERS: Final = {"timer": "a time was up", "request": "somebody asked for it", "schedule": "a schedule was due"}
_SWITCHES: Final = frozenset(("on", "off"))


class EntityView(msgspec.Struct, frozen=True, kw_only=True):
    """One value or switch. ``alive`` is its device's."""

    key: str
    device: str
    name: str
    type: str
    room: str
    unit: str
    text: str
    active: bool | None
    known: bool
    at: float
    alive: str
    switch: bool
    commands: tuple[str, ...]
    enabled: bool
    role: str


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One device with the entities that a page shows; ``more`` counts those that it does not."""

    id: str
    name: str
    room: str
    manufacturer: str
    model: str
    convention: str
    alive: str
    entities: tuple[EntityView, ...]
    at: float = 0.0
    more: int = 0


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a list of events."""

    cause: str
    at: float
    device: str
    kind: str
    type: str
    topic: str
    text: str
    note: str


def devices(mirror: Mirror, *, most_entities: int = 12) -> list[DeviceView]:
    """All devices by name. Those that were heard and described by nobody are devices of one entity."""
    known, values, online = mirror.devices(), mirror.values(), mirror.online()
    by_device: dict[str, list[Entity]] = {}
    entities = mirror.entities()
    for entity in entities.values():
        by_device.setdefault(entity.device, []).append(entity)
    for key, seen in values.items():
        if key not in entities:
            by_device.setdefault(key, []).append(Entity(key=key, device=key, name=key, type=seen.type))
    found: list[DeviceView] = []
    for ident, members in by_device.items():
        info = known.get(ident) or DeviceInfo(id=ident, name=ident, convention="seed")
        said = online.get(ident)
        heard = any(entity.key in values for entity in members)
        alive = ("alive" if said.online else "silent") if said is not None else "alive" if heard else "not heard"
        views = [entity_view(mirror, entity, info, values.get(entity.key), alive) for entity in members]
        views.sort(key=lambda view: (view.role == "config", not view.known))
        found.append(
            DeviceView(
                id=ident,
                name=info.name or ident,
                room=info.room or next((entity.room for entity in members if entity.room), ""),
                manufacturer=info.manufacturer,
                model=info.model,
                convention=info.convention,
                alive=alive,
                entities=tuple(views[:most_entities]),
                at=max((view.at for view in views), default=0.0),
                more=max(0, len(views) - most_entities),
            )
        )
    return sorted(found, key=lambda device: device.name.casefold())


def entity_view(mirror: Mirror, entity: Entity, device: DeviceInfo, seen: Seen | None, alive: str) -> EntityView:
    """One entity with what it said last."""
    payloads = entity.command.payloads if entity.command is not None else {}
    options = entity.command.options if entity.command is not None else ()
    known = seen is not None and seen.known
    return EntityView(
        key=entity.key,
        device=entity.device,
        name=_label(entity, device, seen),
        type=entity.type or (seen.type if seen is not None else "") or entity.component,
        room=entity.room or device.room,
        unit=entity.unit,
        text=value_text(seen.value, entity.unit, seen.active, entity.type or seen.type)
        if seen is not None and known
        else "unknown"
        if seen
        else "–",
        active=seen.active if seen is not None else None,
        known=known,
        at=seen.at if seen is not None else 0.0,
        alive=alive,
        switch=payloads.keys() >= _SWITCHES,
        commands=(*payloads, *options)[:24],
        enabled=mirror.enabled("device", entity.key),
        role=entity.category or entity.role,
    )


def _label(entity: Entity, device: DeviceInfo, seen: Seen | None) -> str:
    """What a value is called below the name of its device."""
    name = (entity.name or entity.key).removeprefix(device.name).strip(" :-_")
    kind = entity.type or (seen.type if seen is not None else "") or entity.component
    return name or kind.replace("_", " ") or "state"


def event_view(stored: StoredEvent, units: dict[str, Entity]) -> EventView:
    """A stored event as a line."""
    return _line(stored.cause, stored.at, stored.kind, stored.event, units, "")


def of_outcome(outcome: Outcome, units: dict[str, Entity]) -> EventView:
    """An outcome as a line, as it happens."""
    fired = [each.rule for each in outcome.evaluations if each.fired and each.rule]
    asked = next((each for each in outcome.evaluations if not each.rule), None)
    kind = outcome.event.kind if outcome.event is not None else "timer" if asked is None else "request"
    note = asked.explanation if asked is not None and outcome.event is None else _fired(fired)
    return _line(outcome.cause, outcome.at, kind, outcome.event, units, note)


def _fired(rules: Iterable[str]) -> str:
    names = list(dict.fromkeys(rules))
    return f"set off {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}" if names else ""


def _line(cause: str, at: float, kind: str, event: Event | None, units: dict[str, Entity], fired: str) -> EventView:
    if event is None:
        return EventView(
            cause=cause, at=at, device="", kind=kind, type="", topic="", text="", note=fired or _OTHERS.get(kind, "")
        )
    entity = units.get(event.device)
    text = value_text(event.value, entity.unit if entity is not None else "", event.active, event.type)
    if event.kind == "heartbeat":
        text = "alive"
    parts = [event.type.replace("_", " "), event.detail or "", "kept by the broker" if event.retained else "", fired]
    return EventView(
        cause=cause,
        at=at,
        device=event.device,
        kind=kind,
        type=event.type,
        topic=event.topic,
        text=text,
        note=" · ".join(part for part in parts if part) or event.kind,
    )
