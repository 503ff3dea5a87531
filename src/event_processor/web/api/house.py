"""The API's view of the house: devices, entities, modes, switches, and what one can ask of them."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from event_processor.domain.entities import DeviceInfo, Entity
from event_processor.domain.fields import Scalar
from event_processor.web.api.fields import After, Done, Limit, Listed, Name, done, sliced
from event_processor.web.api.router import Call, Empty, Operation
from event_processor.web.mirror import Mirror
from event_processor.web.problems import ProblemError

__all__ = ["OPERATIONS"]

Kind: TypeAlias = Literal["device", "output", "rule", "schedule", "group"]


class EntityOut(msgspec.Struct, frozen=True, kw_only=True):
    """One value or switch. ``commands`` are the words that it can be told; ``known`` is false while it is out of reach."""

    key: str
    device: str
    name: str
    role: str
    type: str
    unit: str
    room: str
    category: str
    enabled: bool
    value: Scalar = None
    active: bool | None = None
    known: bool = False
    at: float | None = None
    since: float | None = None
    commands: tuple[str, ...] = ()
    limits: tuple[float, float, float] | None = None


class DeviceOut(msgspec.Struct, frozen=True, kw_only=True):
    """One device. ``online`` is null while that is not known."""

    id: str
    name: str
    convention: str
    room: str
    manufacturer: str
    model: str
    software: str
    online: bool | None
    since: float | None
    entities: tuple[EntityOut, ...]


class Devices(msgspec.Struct, frozen=True):
    items: tuple[DeviceOut, ...]
    next: str | None = None


class Entities(msgspec.Struct, frozen=True):
    items: tuple[EntityOut, ...]
    next: str | None = None


class ModeOut(msgspec.Struct, frozen=True, kw_only=True):
    """The mode of the house, and during an exit delay the one that comes next, and when."""

    current: str
    since: float
    next: str | None
    at: float | None
    modes: tuple[str, ...]
    maintenance: bool


class OutputOut(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    type: str
    label: str
    topic: str
    enabled: bool
    last_driven_at: float | None


class Outputs(msgspec.Struct, frozen=True):
    items: tuple[OutputOut, ...]


class ById(msgspec.Struct, frozen=True):
    id: Name


class ByKey(msgspec.Struct, frozen=True):
    key: Name


class ListedEntities(msgspec.Struct, frozen=True):
    after: After | None = None
    limit: Limit = 100
    room: str | None = None
    type: str | None = None


class CommandIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an entity is told: a word ("on", "off", "open") or a value ("21.5")."""

    what: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class ModeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mode to go to; ``at_once`` leaves out its exit delay."""

    mode: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    at_once: bool = False


class OnIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    on: bool


class SignalIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The button that is pressed, such as "panic"."""

    button: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class AcknowledgeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rule whose alarm somebody knows of now; empty for all."""

    rule: Annotated[str, msgspec.Meta(max_length=400)] = ""


class SwitchAt(msgspec.Struct, frozen=True):
    kind: Kind
    key: Name


def entity_of(mirror: Mirror, entity: Entity) -> EntityOut:
    """An entity with what it said last."""
    seen = mirror.values().get(entity.key)
    form = entity.command
    return EntityOut(
        key=entity.key,
        device=entity.device,
        name=entity.name,
        role=entity.role,
        type=entity.type,
        unit=entity.unit,
        room=entity.room,
        category=entity.category,
        enabled=mirror.enabled("device", entity.key),
        value=seen.value if seen is not None else None,
        active=seen.active if seen is not None else None,
        known=seen is not None and seen.known,
        at=seen.at if seen is not None else None,
        since=seen.since if seen is not None else None,
        commands=tuple(dict.fromkeys((*form.payloads, *form.options))) if form is not None else (),
        limits=form.limits if form is not None else None,
    )


def _device(mirror: Mirror, device: DeviceInfo) -> DeviceOut:
    alive = mirror.online().get(device.id)
    return DeviceOut(
        id=device.id,
        name=device.name,
        convention=device.convention,
        room=device.room,
        manufacturer=device.manufacturer,
        model=device.model,
        software=device.software,
        online=alive.online if alive is not None else None,
        since=alive.at if alive is not None else None,
        entities=tuple(entity_of(mirror, entity) for entity in mirror.of_device(device.id)),
    )


async def devices(call: Call[Listed, None]) -> Devices:
    mirror = call.context.mirror
    page, following = sliced(mirror.devices().items(), call.params.after, call.params.limit)
    return Devices(tuple(_device(mirror, device) for device in page), following)


async def device(call: Call[ById, None]) -> DeviceOut:
    found = call.context.mirror.devices().get(call.params.id)
    if found is None:
        raise ProblemError(404, "There is no such device.")
    return _device(call.context.mirror, found)


async def entities(call: Call[ListedEntities, None]) -> Entities:
    mirror, params = call.context.mirror, call.params
    wanted = (
        (key, entity)
        for key, entity in mirror.entities().items()
        if params.room in (None, entity.room) and params.type in (None, entity.type)
    )
    page, following = sliced(wanted, params.after, params.limit)
    return Entities(tuple(entity_of(mirror, entity) for entity in page), following)


async def entity(call: Call[ByKey, None]) -> EntityOut:
    found = call.context.mirror.entities().get(call.params.key)
    if found is None:
        raise ProblemError(404, "There is no such entity.")
    return entity_of(call.context.mirror, found)


async def command(call: Call[ByKey, CommandIn]) -> Done:
    if call.params.key not in call.context.mirror.entities():
        raise ProblemError(404, "There is no such entity.")
    return done(await call.ask("command", call.params.key, call.body.what))


async def mode(call: Call[Empty, None]) -> ModeOut:
    mirror, book = call.context.mirror, call.context.rules.book
    state = mirror.mode()
    return ModeOut(
        current=state.current if state is not None else book.modes[book.first_mode].name,
        since=state.since if state is not None else 0.0,
        next=state.next or None if state is not None else None,
        at=state.at if state is not None and state.next else None,
        modes=tuple(spec.name for spec in book.modes.values()),
        maintenance=mirror.settings().get("maintenance:") is True,
    )


async def set_mode(call: Call[Empty, ModeIn]) -> Done:
    return done(await call.ask("set_mode", call.body.mode, call.body.at_once))


async def maintenance(call: Call[Empty, OnIn]) -> Done:
    return done(await call.ask("maintenance", "", call.body.on))


async def signal(call: Call[Empty, SignalIn]) -> Done:
    return done(await call.ask("signal", call.body.button))


async def acknowledge(call: Call[Empty, AcknowledgeIn]) -> Done:
    return done(await call.ask("acknowledge", call.body.rule))


async def switch(call: Call[SwitchAt, OnIn]) -> Done:
    params = call.params
    return done(await call.ask("enable" if call.body.on else "disable", f"{params.kind}:{params.key}"))


async def outputs(call: Call[Empty, None]) -> Outputs:
    mirror = call.context.mirror
    driven = mirror.outputs()
    return Outputs(
        tuple(
            OutputOut(
                name=output.name,
                type=output.type,
                label=output.label,
                topic=output.topic,
                enabled=output.enabled and mirror.enabled("output", output.name),
                last_driven_at=driven.get(output.name, driven.get(output.name.lower())),
            )
            for output in call.context.rules.book.outputs.values()
        )
    )


OPERATIONS: Final = (
    Operation(name="devices", method="GET", path="/devices", role="viewer", handler=devices, params=Listed, answer=Devices,
              tag="house", summary="All devices, by id"),
    Operation(name="device", method="GET", path="/devices/{id:path}", role="viewer", handler=device, params=ById,
              answer=DeviceOut, tag="house", summary="One device with its entities"),
    Operation(name="entities", method="GET", path="/entities", role="viewer", handler=entities, params=ListedEntities,
              answer=Entities, tag="house", summary="All entities, by key"),
    Operation(name="entity", method="GET", path="/entities/{key:path}", role="viewer", handler=entity, params=ByKey,
              answer=EntityOut, tag="house", summary="One entity and what it said last"),
    Operation(name="entity.command", method="POST", path="/entities/{key:path}/command", role="operator", handler=command,
              params=ByKey, body=CommandIn, answer=Done, tag="house", summary="Tell an entity what to do"),
    Operation(name="mode", method="GET", path="/mode", role="viewer", handler=mode, answer=ModeOut, tag="house",
              summary="The mode of the house, and the modes that there are"),
    Operation(name="mode.set", method="PUT", path="/mode", role="operator", handler=set_mode, body=ModeIn, answer=Done,
              tag="house", summary="Go to another mode"),
    Operation(name="maintenance.set", method="PUT", path="/maintenance", role="operator", handler=maintenance, body=OnIn,
              answer=Done, tag="house", summary="Keep all outputs quiet, or have them work again"),
    Operation(name="signal", method="POST", path="/signals", role="operator", handler=signal, body=SignalIn, answer=Done,
              tag="house", summary="Press a button, such as panic"),
    Operation(name="acknowledge", method="POST", path="/acknowledgements", role="operator", handler=acknowledge,
              body=AcknowledgeIn, answer=Done, tag="house", summary="Say that one knows, which ends what escalates"),
    Operation(name="switch.set", method="PUT", path="/switches/{kind}/{key:path}", role="operator", handler=switch,
              params=SwitchAt, body=OnIn, answer=Done, tag="house",
              summary="Switch a device, output, rule, schedule or group on or off"),
    Operation(name="outputs", method="GET", path="/outputs", role="viewer", handler=outputs, answer=Outputs, tag="house",
              summary="What can be set off"),
)  # fmt: skip
