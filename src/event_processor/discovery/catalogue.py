"""The memory of discovery: which topic belongs to which entity, and how to read it.

Adapters announce and withdraw; ``hear`` then reads a state message with one look-up by its topic. Devices, entities and keys
are the registry's. What was taken back, or is read in another way by now, need not be looked for here: an entry is valid as
long as the registry holds the very entity that it points to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from sys import intern
from typing import Final

import msgspec

from event_processor.discovery.findings import Findings
from event_processor.discovery.identities import Identities
from event_processor.discovery.meaning import Meaning, Momentary, Picture, Words
from event_processor.discovery.naming import key_for
from event_processor.discovery.payload import Payload
from event_processor.discovery.plan import Plan, Source, Watching, Who, hash_of
from event_processor.discovery.presence import Presence
from event_processor.discovery.templates import MISSING, MOST_TEMPLATES, Extractor, Templates
from event_processor.domain.entities import Entity
from event_processor.domain.events import Event, Kind
from event_processor.domain.fields import Scalar
from event_processor.domain.mapping import matches
from event_processor.domain.outcome import Change
from event_processor.domain.registry import MOST_DEVICES, MOST_ENTITIES, Registry
from pylib.errors import DecodeError

__all__ = ["MOST_PATTERNS", "MOST_READINGS", "MOST_TOPICS", "Catalogue"]

MOST_PATTERNS: Final = 500
"""Topics with wildcards that entities may read from; each costs a comparison for every message that no entity has."""
MOST_TOPICS: Final = 200_000
"""Topics that entities are read from, in all."""
MOST_READINGS: Final = 1000
"""Entities that are read from one topic; each costs a look at every message on it."""
_SWEEP_AFTER: Final = 1000
# What is stored of an entity that will be off again: its key as a setting, when, and its event.
_OFF: Final = "off:"
_OFFS: Final = msgspec.json.Decoder(tuple[float, Event])
_encode: Final = msgspec.json.Encoder().encode
_HAPPENS: Final = (Momentary, Picture)


class _Reading(msgspec.Struct, frozen=True, gc=False):
    entity: Entity
    extract: Extractor
    meaning: Meaning


def _event(entity: Entity, kind: Kind, payload: Payload, said: tuple[Scalar, bool | None], momentary: bool) -> Event:
    return Event(
        device=entity.key,
        kind=kind,
        created_at=payload.now,
        source="mqtt",
        topic=payload.topic,
        type=entity.type,
        label=entity.name,
        value=said[0],
        active=said[1],
        retained=payload.retained,
        momentary=momentary,
    )


class Catalogue:
    """Owned by one thread."""

    __slots__ = (
        "_meanings",
        "_moved",
        "_off",
        "_off_changed",
        "_origins",
        "_patterns",
        "_readings",
        "_replaced",
        "_unclaimed",
        "identities",
        "presence",
        "registry",
        "templates",
    )

    def __init__(self, registry: Registry | None = None, templates: Templates | None = None) -> None:
        self.registry = Registry() if registry is None else registry
        self.templates = Templates() if templates is None else templates
        self.identities = Identities(self.registry)
        self.presence = Presence(self.registry)
        self._readings: dict[str, _Reading | tuple[_Reading, ...]] = {}
        self._patterns: list[tuple[tuple[str, ...], str]] = []
        self._origins: dict[int, str | tuple[str, ...]] = {}
        self._moved: dict[str, int] = {}
        self._meanings: dict[str, Meaning] = {}
        self._off: dict[str, tuple[float, Event]] = {}
        self._off_changed: dict[str, None] = {}
        self._replaced = 0
        self._unclaimed = set(self.registry.entities)

    @property
    def unclaimed(self) -> frozenset[str]:
        """Keys known from before the restart that nothing has announced since: ghosts, once everything has had its say."""
        return frozenset(self._unclaimed)

    # ------------------------------------------------------------------------------------------------------------ hearing

    def hear(self, payload: Payload, out: Findings) -> bool:
        """Read a message on the topic of known entities. Return whether the topic belongs to any."""
        mine = self._read(payload.topic, payload, out)
        for levels, topic in self._patterns:
            if matches(levels, payload.topic) is not None:
                mine = self._read(topic, payload, out) or mine
        return self.presence.hear(payload, out) or mine

    def _read(self, topic: str, payload: Payload, out: Findings) -> bool:
        readings = self._readings.get(topic)
        if readings is None:
            return False
        if not payload.body:
            return True  # a retained message was taken away: that is no report
        entities = self.registry.entities
        for reading in readings if isinstance(readings, tuple) else (readings,):
            entity = reading.entity
            if not entity.enabled or entities.get(entity.key) is not entity:
                continue
            try:
                raw = reading.extract.of(payload)
                said = None if raw is MISSING else reading.meaning.of(raw)
            except DecodeError as error:
                out.problem(payload.topic, f"{error} ({entity.key})")
                continue
            if said is None:
                continue
            made = _event(entity, reading.meaning.kind, payload, said, type(reading.meaning) in _HAPPENS)
            out.events.append(made)
            if type(reading.meaning) is Picture and isinstance(raw, bytes):
                out.picture(raw)
            elif type(reading.meaning) is Words and reading.meaning.off_after_s:
                if self._off.pop(entity.key, None) is not None or said[1]:
                    self._off_changed[entity.key] = None
                if said[1]:
                    self._off[entity.key] = (payload.now + reading.meaning.off_after_s, made)
        return True

    def due(self, now: float, out: Findings) -> None:
        """Tell that entities are off again whose devices only say that they are on."""
        for key in [key for key, (at, _) in self._off.items() if at <= now]:
            _, event = self._off.pop(key)
            self._off_changed[key] = None
            if key in self.registry.entities:
                out.events.append(msgspec.structs.replace(event, value="off", active=False, created_at=now, retained=False))

    def next_due(self) -> float | None:
        """When ``due`` is to be called next; ``None`` where nobody waits for it."""
        return min((at for at, _ in self._off.values()), default=None)

    def take_changes(self) -> tuple[Change, ...]:
        """What is to be stored of who will be off again, since the last call."""
        changed, self._off_changed = self._off_changed, {}
        return tuple(
            Change("setting", f"{_OFF}{key}", _encode(self._off[key]) if key in self._off else None) for key in changed
        )

    def restore(self, changes: Iterable[Change]) -> None:
        """Take back what was stored of that. What cannot be read is passed over."""
        for change in changes:
            if change.scope == "setting" and change.key.startswith(_OFF) and change.value is not None:
                with suppress(msgspec.DecodeError):
                    self._off[change.key.removeprefix(_OFF)] = _OFFS.decode(change.value)

    # -------------------------------------------------------------------------------------------------------- announcing

    def announce(
        self, out: Findings, topic: str, origin: str, who: Who, plans: Iterable[Plan], watching: Watching | None
    ) -> None:
        """Take over what the announcement ``origin`` (a topic) says: the device and all the entities that it announces.

        Entities of an earlier announcement with the same origin that are not in this one are removed.
        """
        mark = hash_of(origin)
        known = self.identities.find(who.tokens)
        if known is None and len(self.registry.devices) >= MOST_DEVICES:
            out.problem(topic, f"{MOST_DEVICES} devices are known, and this one is not taken in: remove some")
            return
        info = self.identities.merged(known, who)
        plans = list(plans)
        had = self._keys(mark)
        if not plans and not had and known is None:
            return
        if self.registry.put_device(info):
            out.devices[info.id] = info
            self.identities.learn(info)
        if watching is not None:
            self.presence.watch(out, info.id, "", watching, mark)
        keys: dict[str, None] = {}
        for plan in plans:
            key = self._put(out, topic, info.id, info.name, plan)
            if key is not None:
                keys[key] = None
                if plan.watching is not None:
                    self.presence.watch(out, info.id, key, plan.watching, mark, renew=watching is None)
        self._own(out, mark, had, tuple(keys))

    def withdraw(self, out: Findings, origin: str) -> bool:
        """An announcement was taken back. Return whether anything of it was known."""
        mark = hash_of(origin)
        had = self._keys(mark)
        self._own(out, mark, had, ())
        return bool(had)

    def origins(self, origin: str) -> tuple[str, ...]:
        """The keys of the entities that an announcement made."""
        return self._keys(hash_of(origin))

    def _keys(self, origin: int) -> tuple[str, ...]:
        keys = self._origins.get(origin, ())
        return (keys,) if isinstance(keys, str) else keys

    def _own(self, out: Findings, origin: int, had: tuple[str, ...], keys: tuple[str, ...]) -> None:
        for key in had:
            # Where another announcement has taken the entity over since, this one has no say in it.
            if key not in keys and self._moved.get(key, origin) == origin:
                self._remove(out, key)
        if keys:
            self._origins[origin] = keys[0] if len(keys) == 1 else keys
        else:
            self._origins.pop(origin, None)
        for key in keys:
            if key in self._unclaimed:
                self._unclaimed.discard(key)
            elif key not in had and self._moved.get(key) != origin and key in out.claimed:
                self._moved[key] = origin

    def _remove(self, out: Findings, key: str) -> None:
        entity = self.registry.entity(key)
        self._moved.pop(key, None)
        self._unclaimed.discard(key)
        if entity is None:
            return
        out.removed[key] = None
        out.entities.pop(key, None)
        self._replaced += 1
        self.registry.remove(key)
        self.presence.forget_entity(key)
        if self.registry.device(entity.device) is None:
            out.departed[entity.device] = None
            out.devices.pop(entity.device, None)
            self.identities.forget(entity.device)
            self.presence.forget(entity.device)
        self._sweep()

    # ------------------------------------------------------------------------------------------------------------ entities

    def _put(self, out: Findings, topic: str, device: str, name: str, plan: Plan) -> str | None:
        unique = hash_of(plan.unique)
        mates = self.registry.entities_of(device)
        known = next((mate for mate in mates if mate.unique == unique), None)
        if known is None:
            if any(self._same(mate, plan) for mate in mates):
                return None
            if len(mates) >= MOST_ENTITIES:
                out.problem(topic, f"{name} has {MOST_ENTITIES} entities, and {plan.name or plan.hint} is not taken in")
                return None
        key = (
            known.key if known is not None else plan.key or key_for(name, plan.name, plan.hint, unique, self.registry.entities)
        )
        entity = Entity(
            key=key,
            device=device,
            name=intern(plan.name or name),
            role=plan.role,
            type=intern(plan.type),
            component=intern(plan.component),
            unit=intern(plan.unit),
            room=intern(plan.room),
            command=plan.command,
            expire_after_s=plan.expire_after_s,
            unique=unique,
            category=intern(plan.category),
            # What a person has switched on stays on.
            enabled=plan.enabled if known is None else known.enabled,
        )
        if known is not None:
            out.claimed.add(key)
            if known == entity and all(self._has(known, source) for source in plan.sources):
                return key
            self._replaced += 1
        if known != entity:
            out.entities[key] = entity
            out.removed.pop(key, None)
        self.registry.put_entity(entity)
        if len(plan.sources) + len(self._readings) > MOST_TOPICS:
            out.problem(topic, f"{MOST_TOPICS} topics are read from, and those of {key} are not: remove some devices")
            return key
        for source in plan.sources:
            self._read_from(out, topic, entity, source, new=known is None)
        self._sweep()
        return key

    def _at(self, topic: str) -> tuple[_Reading, ...]:
        readings = self._readings.get(topic, ())
        return readings if isinstance(readings, tuple) else (readings,)

    def _valid(self, topic: str) -> Iterator[_Reading]:
        entities = self.registry.entities
        return (reading for reading in self._at(topic) if entities.get(reading.entity.key) is reading.entity)

    def _has(self, entity: Entity, source: Source) -> bool:
        return any(
            reading.entity is entity and reading.extract is source.extract and reading.meaning == source.meaning
            for reading in self._at(source.topic)
        )

    def _same(self, mate: Entity, plan: Plan) -> bool:
        """Whether two conventions describe the same entity: Tasmota announces its devices in its own way and in another's."""
        if mate.component.startswith("tasmota") == plan.component.startswith("tasmota"):
            return False
        if mate.command is not None and plan.command is not None:
            return mate.command.topic.casefold() == plan.command.topic.casefold() and mate.type == plan.type
        if mate.command is not plan.command:
            return False
        return any(
            reading.entity is mate and reading.extract is source.extract
            for source in plan.sources
            for reading in self._at(source.topic)
        )

    def _read_from(self, out: Findings, topic: str, entity: Entity, source: Source, *, new: bool) -> None:
        if "+" in source.topic or "#" in source.topic:
            levels = tuple(source.topic.split("/"))
            if (levels, source.topic) not in self._patterns:
                if len(self._patterns) >= MOST_PATTERNS:
                    out.problem(topic, f"{MOST_PATTERNS} topics with wildcards are read from, and {source.topic} is not")
                    return
                self._patterns.append((levels, source.topic))
        # Most meanings are alike: one object serves them all.
        meaning = source.meaning
        if len(self._meanings) < MOST_TEMPLATES:
            meaning = self._meanings.setdefault(repr(meaning), meaning)
        reading = _Reading(entity=entity, extract=source.extract, meaning=meaning)
        kept = self._at(source.topic)
        if not new or len(kept) >= MOST_READINGS:  # what is no longer valid has to go
            kept = tuple(
                other for other in self._valid(source.topic) if other.entity.key != entity.key or other.entity is entity
            )
        if len(kept) >= MOST_READINGS:
            out.problem(topic, f"{MOST_READINGS} entities are read from {source.topic}, and {entity.key} is not")
            return
        if source.topic not in self._readings:
            out.subscribe[source.topic] = None
        self._readings[source.topic] = (*kept, reading) if kept else reading

    def _sweep(self) -> None:
        """Drop entries that are no longer valid, now and then: they cost memory, and nothing else."""
        if self._replaced < _SWEEP_AFTER + len(self._readings) // 4:
            return
        self._replaced = 0
        for topic in list(self._readings):
            kept = tuple(self._valid(topic))
            if kept:
                self._readings[topic] = kept[0] if len(kept) == 1 else kept
            else:
                del self._readings[topic]
        self._patterns = [pattern for pattern in self._patterns if pattern[1] in self._readings]

    def enable(self, key: str, enabled: bool) -> Entity | None:
        """Listen, or no longer listen, to an entity. Returns it as it is now."""
        entity = self.registry.entity(key)
        if entity is None or entity.enabled == enabled:
            return entity
        made = msgspec.structs.replace(entity, enabled=enabled)
        for topic, readings in self._readings.items():
            several = readings if isinstance(readings, tuple) else (readings,)
            if any(reading.entity is entity for reading in several):
                now = tuple(
                    msgspec.structs.replace(reading, entity=made) if reading.entity is entity else reading
                    for reading in several
                )
                self._readings[topic] = now[0] if len(now) == 1 else now
        self.registry.put_entity(made)
        return made

    def drop(self, out: Findings, key: str) -> None:
        """Forget an entity, whoever announced it."""
        self._unclaimed.discard(key)
        self._remove(out, key)

    def topics(self) -> tuple[str, ...]:
        """Every topic to be subscribed to for the entities that are known, for a new connection."""
        return (*self._readings, *self.presence.topics())
