"""The registry: which devices there are, which entities they have, and in which rooms.

A ``Registry`` is owned by one thread. ``apply`` takes what a message told (``Found``) and returns what is different now, in
the form in which the store keeps it; ``restore`` takes the stored values back at start, so that names, rooms and keys are
known before the first device speaks. Applying the same ``Found`` twice changes nothing the second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from event_processor.domain.entities import DeviceInfo, Entity, Found
from event_processor.domain.outcome import Change
from pylib.errors import DecodeError

__all__ = ["MOST_DEVICES", "MOST_ENTITIES", "Registry", "changes_of"]

MOST_DEVICES: Final = 20_000
"""Devices in all. Names come from outside, so there has to be an end to how many are remembered."""
MOST_ENTITIES: Final = 256
"""Entities of one device."""

_ENCODER: Final = msgspec.json.Encoder()
_DEVICE: Final = msgspec.json.Decoder(DeviceInfo)
_ENTITY: Final = msgspec.json.Decoder(Entity)


class Registry:
    """Devices by id, entities by key. Not for several threads at once."""

    __slots__ = ("_devices", "_entities", "_groups", "_of_device")

    def __init__(self) -> None:
        self._devices: dict[str, DeviceInfo] = {}
        self._entities: dict[str, Entity] = {}
        self._of_device: dict[str, tuple[str, ...]] = {}
        self._groups: dict[str, frozenset[str]] = {}

    # ------------------------------------------------------------------------------------------------------- looking up

    @property
    def devices(self) -> Mapping[str, DeviceInfo]:
        """All devices by id, as a view."""
        return MappingProxyType(self._devices)

    @property
    def entities(self) -> Mapping[str, Entity]:
        """All entities by key, as a view."""
        return MappingProxyType(self._entities)

    def device(self, device: str) -> DeviceInfo | None:
        """The device with this id."""
        return self._devices.get(device)

    def entity(self, key: str) -> Entity | None:
        """The entity with this key."""
        return self._entities.get(key)

    def keys_of(self, device: str) -> tuple[str, ...]:
        """The keys of a device's entities: whose values are unknown when it goes silent."""
        return self._of_device.get(device, ())

    def entities_of(self, device: str) -> tuple[Entity, ...]:
        """The entities of a device, in the order in which they were announced."""
        return tuple(self._entities[key] for key in self.keys_of(device))

    def room_of(self, key: str) -> str:
        """The room of an entity: its own, else its device's; empty where neither is known."""
        entity = self._entities.get(key)
        if entity is None:
            return ""
        device = self._devices.get(entity.device)
        return entity.room or ("" if device is None else device.room)

    # -------------------------------------------------------------------------------------------------------- changing

    def apply(self, found: Found) -> tuple[Change, ...]:
        """Take over what a message told, and return what is different now. A device goes with its last entity."""
        changes = [_device_change(device) for device in found.devices if self.put_device(device)]
        changes += [Change("entity", new.key, _ENCODER.encode(new)) for new in found.entities if self.put_entity(new)]
        for key in found.removed:
            changes.extend(self.remove(key))
        return tuple(changes)

    def put_device(self, device: DeviceInfo) -> bool:
        """Add or replace a device. Return whether anything is different now; a new one past ``MOST_DEVICES`` is not taken."""
        known = self._devices.get(device.id)
        if known == device or (known is None and len(self._devices) >= MOST_DEVICES):
            return False
        self._devices[device.id] = device
        return True

    def put_entity(self, entity: Entity) -> bool:
        """Add or replace an entity. Return whether anything is different now; its device has to be there already.

        The object is taken in any case: an equal one that was there before is no longer the registry's.
        """
        known = self._entities.get(entity.key)
        if entity.device not in self._devices:
            return False
        keys = self._of_device.get(entity.device, ())
        if known is None or known.device != entity.device:
            if len(keys) >= MOST_ENTITIES:
                return False
            if known is not None:
                self.remove(entity.key)
            self._of_device[entity.device] = (*keys, entity.key)
        self._entities[entity.key] = entity
        return known != entity

    def remove(self, key: str) -> tuple[Change, ...]:
        """Take an entity away, and its device with the last one. Removing what is not there changes nothing."""
        entity = self._entities.pop(key, None)
        if entity is None:
            return ()
        changes = [Change("entity", key, None)]
        left = tuple(other for other in self._of_device.get(entity.device, ()) if other != key)
        if left:
            self._of_device[entity.device] = left
        else:
            self._of_device.pop(entity.device, None)
            if self._devices.pop(entity.device, None) is not None:
                changes.append(Change("device", entity.device, None))
        for name, members in list(self._groups.items()):
            if key in members:
                changes.append(self.set_group(name, members - {key}))
        return tuple(changes)

    # ---------------------------------------------------------------------------------------------------------- groups

    @property
    def groups(self) -> Mapping[str, frozenset[str]]:
        """The members' keys by the group's name, as a view."""
        return MappingProxyType(self._groups)

    def set_group(self, name: str, keys: Iterable[str]) -> Change:
        """Say who is in a group. Without members it is gone."""
        members = frozenset(keys)
        if members:
            self._groups[name] = members
        else:
            self._groups.pop(name, None)
        return Change("setting", f"group:{name}", _ENCODER.encode(sorted(members)) if members else None)

    def groups_of(self, key: str) -> tuple[str, ...]:
        """The groups that an entity is in, in alphabetical order."""
        return tuple(sorted(name for name, members in self._groups.items() if key in members))

    # ---------------------------------------------------------------------------------------------------- across restarts

    def snapshot(self) -> tuple[Change, ...]:
        """Everything there is, in the form in which ``apply`` tells changes."""
        devices = [_device_change(device) for device in self._devices.values()]
        entities = [Change("entity", entity.key, _ENCODER.encode(entity)) for entity in self._entities.values()]
        groups = [self.set_group(name, members) for name, members in self._groups.items()]
        return (*devices, *entities, *groups)

    def restore(self, changes: Iterable[Change]) -> None:
        """Take stored values back, in any order. Raises ``DecodeError``, which names the scope and the key, for an unreadable
        one; the others are restored all the same."""
        wrong: list[str] = []
        entities: list[Entity] = []
        for change in changes:
            if change.value is None:
                continue
            try:
                if change.scope == "device":
                    self.put_device(_DEVICE.decode(change.value))
                elif change.scope == "entity":
                    entities.append(_ENTITY.decode(change.value))
                elif change.scope == "setting" and change.key.startswith("group:"):
                    self.set_group(change.key[len("group:") :], msgspec.json.decode(change.value, type=list[str]))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                wrong.append(f"{change.scope} {change.key!r}: {error}")
        for entity in entities:
            self.put_entity(entity)
        if wrong:
            raise DecodeError(f"{len(wrong)} stored values could not be read and were left out: {'; '.join(wrong[:5])}")


def _device_change(device: DeviceInfo) -> Change:
    return Change("device", device.id, _ENCODER.encode(device))


def changes_of(found: Found) -> tuple[Change, ...]:
    """What to store of a message, where the registry is the one that ``Discovery`` keeps: that has taken it over already."""
    return (
        *(_device_change(device) for device in found.devices),
        *(Change("entity", entity.key, _ENCODER.encode(entity)) for entity in found.entities),
        *(Change("entity", key, None) for key in found.removed),
        *(Change("device", device, None) for device in found.departed),
    )
