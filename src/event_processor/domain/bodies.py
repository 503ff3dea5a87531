"""Reading RabbitMQ bodies, of every age, and the form in which messages go down the pipeline.

A body is what MessagePack decodes to: ``{"timestamp": ..., "data": {...}}``, or the same with ``data`` merged into its
root, or a bare list. ``data`` holds ``device_info`` with ``inputs`` and ``outputs`` (or these two directly),
``active_devices``, ``outputs_triggered``, ``samples`` and ``statistics``. All functions raise ``DecodeError`` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from event_processor.domain import fields
from event_processor.domain.events import Event, Kind, Source
from pylib.errors import DecodeError

__all__ = ["from_forwarded", "from_rabbitmq", "image_body", "origin_of", "pictures_in"]

_KEY_FIELDS: Final = ("device_key", "key")
_LABEL_FIELDS: Final = ("device_label", "input_label", "label", "name")
_LOCATION_FIELDS: Final = ("location", "input_location")
_LISTS: Final = ("device_info", "inputs", "active_devices")
_SAYS_STATE: Final = ("active", "state", "image")
_Device = Mapping[object, object]


def origin_of(routing_key: str) -> str:
    """Return the third segment of ``event.notify.<topic>.<device>``, the name under which its body is forwarded."""
    segments = routing_key.split(".")
    if len(segments) < 3 or not segments[2]:
        raise DecodeError("the routing key has fewer than three segments: expected event.notify.<topic>.<device>")
    return fields.name(segments[2], "third segment of the routing key")


def from_rabbitmq(routing_key: str, body: object, *, now: float) -> tuple[Event, ...]:
    """Read a message that arrived at ``now`` (seconds since the epoch) under ``event.{notify,heartbeat}.<topic>``."""
    origin = origin_of(routing_key)
    return _read(origin, routing_key, body, now, "rabbitmq", heartbeat=routing_key.split(".")[1] == "heartbeat")


def from_forwarded(message: object, *, now: float, source: Source = "rabbitmq") -> tuple[Event, ...]:
    """Read ``{origin: body}``, as a listener or the MQTT subscriber puts it on the pipeline.

    The routing key is gone by then: a body that says nothing about any device's state is a heartbeat. ``source`` is
    where the message came from, unless the body says so itself.
    """
    if not isinstance(message, Mapping) or not message:
        raise DecodeError(f"expected {{origin: body}}, got {fields.kind_of(message)} without one")
    events: list[Event] = []
    for key, body in message.items():
        origin, came_by, topic = fields.name(key, "origin"), source, ""
        if isinstance(body, Mapping) and body.get("source") in ("mqtt", "rabbitmq"):
            came_by = cast(Source, body["source"])
            topic = fields.text(body.get("topic", origin), "topic")
        events.extend(_read(origin, topic or origin, body, now, came_by, heartbeat=False))
    return tuple(events)


def image_body(routing_key: str, body: object) -> object:
    """A body under ``event.notify.<topic>.<device>.image`` in the form of the others. It may be the picture and nothing else,
    or describe its device in its root; the routing key names the device where the body does not."""
    device: dict[object, object] = {"image": body}
    if isinstance(body, (Mapping, list, tuple)):
        merged = _merged(body)
        if not merged.get("image") or any(listed in merged for listed in _LISTS):
            return body
        device = {**merged}
        device.pop("data", None)
    if not any(device.get(field) for field in (*_KEY_FIELDS, *_LABEL_FIELDS)):
        device["device_key"] = ".".join(routing_key.split(".")[3:-1]) or origin_of(routing_key)
    return {"timestamp": device.pop("timestamp", None), "active_devices": [device]}


def pictures_in(body: object, events: Sequence[Event]) -> tuple[tuple[int, object], ...]:
    """The pictures of a body that ``events`` were read from, as they stand there, each with the number of its device's event.

    They are nowhere else: an event has none, and the body is left as it is.
    """
    merged = _merged(body)
    info = merged.get("device_info")
    inputs = info.get("inputs") if isinstance(info, Mapping) else merged.get("inputs")
    numbers = {event.device: number for number, event in enumerate(events) if event.kind == "input"}
    found: dict[int, object] = {}
    for devices, what in ((inputs, "inputs"), (merged.get("active_devices"), "active_devices")):
        for index, device in enumerate(fields.objects(devices, what)):
            number = numbers.get(_key(device, f"{what}[{index}]")) if device.get("image") else None
            if number is not None:
                found[number] = device["image"]
    return tuple(found.items())


def _read(origin: str, topic: str, body: object, now: float, source: Source, *, heartbeat: bool) -> tuple[Event, ...]:
    return _Body(origin, topic, _merged(body), now, source, heartbeat).events()


def _merged(body: object) -> _Device:
    """The body's root and its ``data`` as one."""
    if isinstance(body, (list, tuple)):
        body = {"active_devices": _listed(body)}
    if not isinstance(body, Mapping):
        raise DecodeError(f"expected an object or a list, got {fields.kind_of(body)}")
    data = body.get("data")
    if data is None:
        return body
    if isinstance(data, Mapping):
        return {**body, **data}
    if isinstance(data, (list, tuple)):
        return {**body, "active_devices": _listed(data)}
    raise DecodeError(f"data: expected an object or a list, got {fields.kind_of(data)}")


def _listed(items: list[object] | tuple[object, ...]) -> list[object]:
    """Understand a bare list: of active devices, or the old ``[key, label, ...]`` of a single one."""
    if items and isinstance(items[0], str):
        label = items[1] if len(items) > 1 and isinstance(items[1], str) else None
        return [{"device_key": items[0], "device_label": label}]
    return list(items)


class _Body:
    """One body on its way to events; lives for one call."""

    __slots__ = ("_body", "_created_at", "_heartbeat", "_origin", "_retained", "_samples", "_source", "_topic")

    def __init__(self, origin: str, topic: str, body: _Device, now: float, source: Source, heartbeat: bool) -> None:
        self._origin, self._topic, self._body, self._source = origin, topic, body, source
        self._created_at = fields.timestamp(body.get("timestamp"), "timestamp", now)
        self._retained = fields.flag(body.get("retained"), "retained") or False
        self._heartbeat = heartbeat or body.get("message_type") == "heartbeat"
        samples = body.get("samples")
        self._samples: _Device = samples if isinstance(samples, Mapping) else {}

    def events(self) -> tuple[Event, ...]:
        info = self._body.get("device_info")
        if info is None:
            info = self._body
        if not isinstance(info, Mapping):
            raise DecodeError(f"device_info: expected an object, got {fields.kind_of(info)}")
        inputs = self._named(info.get("inputs"), "inputs")
        outputs = self._named(info.get("outputs"), "outputs")
        active = self._named(self._body.get("active_devices"), "active_devices")
        triggered = self._named(self._body.get("outputs_triggered"), "outputs_triggered")
        speaks = "active_devices" in self._body or "outputs_triggered" in self._body
        speaks = speaks or any(field in device for device in inputs.values() for field in _SAYS_STATE)
        if self._heartbeat or not speaks:
            found = [self._event(key, device, "heartbeat") for key, device in inputs.items()]
        else:
            found = [self._state(key, device, key in active) for key, device in {**inputs, **active}.items()]
            found = [self._merge(event, inputs) for event in found]
        # Whoever sends anything is alive, also an application that has no inputs.
        found = found or [self._event(self._origin, {}, "heartbeat")]
        found += [self._event(key, device, "output") for key, device in outputs.items() if key not in triggered]
        found += [self._event(key, device, "output", active=True) for key, device in triggered.items()]
        return tuple(found)

    def _named(self, value: object, what: str) -> dict[str, _Device]:
        named: dict[str, _Device] = {}
        for index, device in enumerate(fields.objects(value, what)):
            named[_key(device, f"{what}[{index}]")] = device
        return named

    def _state(self, key: str, device: _Device, listed: bool) -> Event:
        if device.get("kind") == "meter" or _word(device, ("type",)).lower() == "meter":
            if not listed and "sample_value" not in device and "sample_values" not in device:
                return self._event(key, device, "heartbeat")  # advertised beside another device's report
            return self._event(key, device, "meter")
        active: bool | None = listed
        if device.get("active") is not None:
            active = fields.flag(device["active"], f"{key}: active")
        elif "active" in device and not listed:
            active = None
        elif "state" in device:
            active = fields.truth(fields.scalar(device["state"], f"{key}: state"))
        elif device.get("image"):
            active = True
        return self._event(key, device, "input", active=active)

    @staticmethod
    def _merge(event: Event, inputs: Mapping[str, _Device]) -> Event:
        """Fill type and label of an active device from where it is advertised."""
        advertised = inputs.get(event.device)
        if advertised is None or (event.type and event.label):
            return event
        kind = _word(advertised, ("type",))
        return Event(
            device=event.device,
            kind="meter" if event.kind == "input" and kind.lower() == "meter" else event.kind,
            created_at=event.created_at,
            source=event.source,
            topic=event.topic,
            type=event.type or kind,
            label=event.label or _word(advertised, _LABEL_FIELDS),
            value=event.value,
            minute=event.minute,
            active=event.active,
            retained=event.retained,
            detail=event.detail,
        )

    def _event(self, key: str, device: _Device, kind: Kind, *, active: bool | None = None) -> Event:
        value, minute = self._value(key, device, kind)
        detail = device.get("event_detail")
        return Event(
            device=key,
            kind=kind,
            created_at=self._created_at,
            source=self._source,
            topic=self._topic,
            type=_word(device, ("type",)),
            label=_word(device, _LABEL_FIELDS),
            value=value,
            minute=minute,
            active=active,
            retained=self._retained,
            detail=None if detail is None else str(fields.scalar(detail, f"{key}: event_detail")),
        )

    def _value(self, key: str, device: _Device, kind: Kind) -> tuple[fields.Scalar, int | float | None]:
        if kind in ("heartbeat", "output"):
            return None, None
        if kind == "meter":
            values = device.get("sample_values")
            named = values if isinstance(values, Mapping) else {}
            register = device.get("sample_value", named.get("register"))
            minute = device.get("minute_value", named.get("meter"))
            return (
                fields.number(register, f"{key}: register reading"),
                None if minute is None else fields.number(minute, f"{key}: minute reading"),
            )
        for field in ("sample_value", "value", "state"):
            if field in device:
                return fields.scalar(device[field], f"{key}: {field}"), None
        sample = self._samples.get(key)
        single = isinstance(sample, (bool, int, float, str))
        return (fields.scalar(sample, f"samples: {key}") if single else None), None


def _word(device: _Device, names: tuple[str, ...]) -> str:
    """Return the first field that is there, as a name; empty where none is."""
    for field in names:
        if device.get(field) not in (None, ""):
            return fields.name(device[field], field)
    return ""


def _key(device: _Device, what: str) -> str:
    """Find what a device is called: its key, else "<location> <label>", else its label, else "<location> <type>"."""
    key = _word(device, _KEY_FIELDS)
    if key:
        return key
    label, location = _word(device, _LABEL_FIELDS), _word(device, _LOCATION_FIELDS)
    label = label or (_word(device, ("type",)) if location else "")
    if not label:
        raise DecodeError(f"{what}: expected a device_key, or a location and a label, and found neither")
    return fields.name(f"{location} {label}".strip(), what)
