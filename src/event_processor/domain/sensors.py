"""Reading MQTT messages: the sensor and meter shapes of the original devices, and whatever a mapping describes.

``from_mqtt`` is the way in. It takes the topic and the payload as already decoded (JSON gives an object, number, text;
a payload that is no JSON, such as ``ON``, comes as text) and raises ``DecodeError`` and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from event_processor.domain import fields
from event_processor.domain.events import Event
from event_processor.domain.mapping import TopicMapping
from pylib.errors import DecodeError

__all__ = ["from_mqtt", "meter_name"]

_INPUT: Final = re.compile(r"input_(\d{1,6})", re.ASCII)


def from_mqtt(
    topic: str, payload: object, *, now: float, retained: bool = False, mappings: Sequence[TopicMapping] = ()
) -> tuple[Event, ...]:
    """Read one MQTT message that arrived at ``now`` (seconds since the epoch).

    The first mapping that matches decides; without one, ``sensor/...`` and ``meter/...`` have the original shapes.
    Raises ``DecodeError`` for a payload of another shape and for a topic that nothing describes.
    """
    for mapping in mappings:
        levels = mapping.match(topic)
        if levels is not None:
            return (mapping.read(topic, levels, payload, now=now, retained=retained),)
    prefix, _, rest = topic.partition("/")
    if prefix == "sensor" and rest:
        return _sensor(topic, payload, now, retained)
    if prefix == "meter" and rest:
        return (_meter(topic, rest, payload, now, retained),)
    raise DecodeError("nothing says how to read this topic: it needs a [mapping:...] section in app.conf")


def _object(payload: object, shape: str) -> Mapping[object, object]:
    if not isinstance(payload, Mapping):
        raise DecodeError(f"a {shape} sends an object, got {fields.kind_of(payload)}")
    return payload


def _sensor(topic: str, payload: object, now: float, retained: bool) -> tuple[Event, ...]:
    body = _object(payload, "sensor")
    location = fields.name(body.get("input_location"), "input_location")
    created_at = fields.timestamp(body.get("timestamp"), "timestamp", now)
    numbered: list[tuple[int, str, object]] = []
    for key, value in body.items():
        found = _INPUT.fullmatch(key) if isinstance(key, str) else None
        if found:
            numbered.append((int(found[1]), found[0], value))
    if not numbered:
        raise DecodeError("a sensor reports at least one input_N (input_1, input_2, ...), got none")
    events: list[Event] = []
    for _, key, value in sorted(numbered, key=lambda entry: entry[:2]):
        if not isinstance(value, Mapping):
            raise DecodeError(f"{key}: expected an object, got {fields.kind_of(value)}")
        label = fields.name(value.get("input_label"), f"{key}.input_label")
        sample = fields.scalar(value.get("sample_value"), f"{key}.sample_value")
        active = fields.flag(value.get("active"), f"{key}.active")
        events.append(
            Event(
                device=fields.name(f"{location} {label}", f"{key} device name"),
                kind="input",
                type="sensor",
                label=label,
                value=sample,
                active=fields.truth(sample) if active is None else active,
                created_at=created_at,
                source="mqtt",
                topic=topic,
                retained=retained,
            )
        )
    return tuple(events)


def meter_name(level: str) -> str:
    """Name the meter of ``meter/<level>/...``: ``water`` is the "Water Meter", ``hot_water`` the "Hot Water Meter"."""
    words = level.replace("_", " ").split()
    return fields.name(" ".join([*(word[:1].upper() + word[1:] for word in words), "Meter"]), "meter name in the topic")


def _meter(topic: str, rest: str, payload: object, now: float, retained: bool) -> Event:
    body = _object(payload, "meter")
    minute = body.get("last_minute_metered")
    return Event(
        device=meter_name(rest.split("/")[0]),
        kind="meter",
        type="meter",
        label="Meter",
        value=fields.number(body.get("register_reading"), "register_reading"),
        minute=None if minute is None else fields.number(minute, "last_minute_metered"),
        created_at=fields.timestamp(body.get("timestamp"), "timestamp", now),
        source="mqtt",
        topic=topic,
        retained=retained,
    )
