"""Who is out there: devices, and the entities that each of them has.

A device is one thing with one last will: a plug, a multi-sensor. An entity is one value or one switch of it: the plug's
power, the plug's relay. ``Event.device`` is an entity's key, since that is what reports. The seed's devices are one entity
each, with the same key for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from event_processor.domain.events import Event

__all__ = ["Availability", "CommandForm", "Convention", "DeviceInfo", "Entity", "Found", "Role"]

Role: TypeAlias = Literal["input", "meter", "output", "both"]
Convention: TypeAlias = Literal["seed", "homeassistant", "shelly", "homie", "mapping"]


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One device as its convention describes it. ``id`` is unique in the hub and stable across restarts.

    ``aliases`` are its other identities ("mac:a4cf12f03246"): two conventions that share one speak of the same device.
    """

    id: str
    name: str
    convention: Convention
    room: str = ""
    manufacturer: str = ""
    model: str = ""
    software: str = ""
    via: str = ""
    aliases: tuple[str, ...] = ()


class CommandForm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How an entity is told to do something over MQTT.

    ``payloads`` is by what is asked ("on", "off", "open", "press", ...); ``template`` makes the payload of a value, with
    ``{value}`` or, for Home Assistant's conventions, a template. ``confirmed_by`` is the state that shows that the device
    did it, by what was asked: a command to an entity that never reports has none. ``options`` are the values it takes where
    they are few, ``limits`` its lowest and highest number and the step between two.
    """

    topic: str
    payloads: Mapping[str, str] = {}
    template: str = ""
    qos: int = 1
    retain: bool = False
    confirmed_by: Mapping[str, str] = {}
    options: tuple[str, ...] = ()
    limits: tuple[float, float, float] | None = None


class Entity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One value or switch of a device. ``key`` is what ``Event.device`` says, unique in the hub.

    ``type`` is the class of what is measured or driven ("door", "motion", "temperature", "switch"); ``component`` is the
    convention's own word where it has one. ``expire_after_s`` is the silence, in seconds, after which the convention itself
    calls the value unknown; 0 where it says nothing. ``unique`` is a hash of the convention's own id, by which the key stays
    the same when names change; ``category`` is "config" or "diagnostic" where the convention says so; ``enabled`` is false for
    what the device itself suggests to leave out.
    """

    key: str
    device: str
    name: str
    role: Role = "input"
    type: str = ""
    component: str = ""
    unit: str = ""
    room: str = ""
    command: CommandForm | None = None
    expire_after_s: float = 0.0
    unique: int = 0
    category: str = ""
    enabled: bool = True


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """A device, or one entity of it, said whether it is there (a last will is such a word too)."""

    device: str
    online: bool
    at: float
    entity: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All that one message says: who is there, what they report, what to listen to besides, and what made no sense.

    ``removed`` are keys of entities that the convention has taken back, and ``departed`` the devices that have none left;
    ``problems`` are sentences for a person, each
    naming the topic. ``pictures`` are the bytes of those that events are about, by the event's number. A message that fits no
    convention gives an empty ``Found``.
    """

    devices: tuple[DeviceInfo, ...] = ()
    entities: tuple[Entity, ...] = ()
    events: tuple[Event, ...] = ()
    availability: tuple[Availability, ...] = ()
    removed: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    departed: tuple[str, ...] = ()
    pictures: tuple[tuple[int, bytes], ...] = ()
