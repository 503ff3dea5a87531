"""Devices that speak no convention: what anyone writes about them in a ``[mapping:<name>]`` section.

To the topic, the device's name and the type come here: an expression where a dotted path is not enough, a unit, a room, and a
topic for commands, so that outputs can be described too. The device is known from its first message on; an output that never
reports, and whose names have no wildcards, from the start. Of the type "picture" a payload, or what ``value`` names in it, is
a picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.findings import Findings
from event_processor.discovery.payload import Payload, as_scalar
from event_processor.discovery.plan import Plan, Who
from event_processor.discovery.templates import MISSING, Templates
from event_processor.domain.entities import CommandForm, Role
from event_processor.domain.fields import scalar
from event_processor.domain.mapping import TopicMapping, compile_mapping
from event_processor.domain.pictures import MOST_BYTES, decoded
from event_processor.domain.pictures import TYPE as PICTURE
from pylib.data import decode_json
from pylib.errors import ConfigError, DecodeError

__all__ = ["FreeMapping", "Mappings", "free_mapping"]

_PLACE: Final = re.compile(r"\{([^{}]*)\}")


class FreeMapping(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping and what goes beyond reading. Made by ``free_mapping``, which checks what is written here."""

    base: TopicMapping
    expression: str = ""
    unit: str = ""
    room: str = ""
    role: Role = "input"
    command_topic: str = ""
    payloads: tuple[tuple[str, str], ...] = ()
    template: str = ""
    qos: int = 1
    retain: bool = False

    @property
    def topic_filter(self) -> str:
        """The MQTT filter to subscribe to."""
        return self.base.topic_filter


def free_mapping(
    name: str,
    *,
    topic: str,
    device: str,
    type: str,
    value: str = "",
    expression: str = "",
    kind: str = "input",
    role: str = "",
    unit: str = "",
    room: str = "",
    on: Iterable[str] = (),
    off: Iterable[str] = (),
    command_topic: str = "",
    command_on: str = "ON",
    command_off: str = "OFF",
    command_template: str = "",
    qos: int = 1,
    retain: bool = False,
) -> FreeMapping:
    """Check and compile one ``[mapping:<name>]`` section.

    ``expression`` is a template such as ``{{ value_json.t * 0.1 }}``, instead of the dotted path of ``value``. ``role`` is
    input, meter, output or both; without one it follows from ``kind`` and ``command_topic``. The names of the topic's
    wildcards may be used in ``device``, ``room`` and ``command_topic``.

    Raises ``ConfigError``, whose message starts with the option at fault ("device: ...").
    """
    base = compile_mapping(name, topic=topic, device=device, type=type, value=value, kind=kind, on=on, off=off)
    if base.type == PICTURE and (expression or command_topic or base.meter or role not in ("", "input")):
        raise ConfigError("type: a picture is an input; it has neither an expression nor a command_topic")
    if expression and value.strip():
        raise ConfigError("expression: either this or value, not both")
    for option, text in (("expression", expression), ("command_template", command_template)):
        try:
            if "{{" in text or "{%" in text:
                Templates().extractor(text)
            elif text and option == "expression":
                raise DecodeError("expected a template such as {{ value_json.temperature }}")
        except DecodeError as error:
            raise ConfigError(f"{option}: {error}") from None
    for option, text in (("room", room), ("command_topic", command_topic)):
        for used in _PLACE.findall(text):
            if used not in base.places:
                raise ConfigError(f"{option}: {{{used}}} is not in the topic")
    if "+" in command_topic or "#" in command_topic:
        raise ConfigError("command_topic: expected a topic without wildcards")
    if not role:
        role = "both" if command_topic else "meter" if kind == "meter" else "input"
    if role not in ("input", "meter", "output", "both"):
        raise ConfigError("role: expected input, meter, output or both")
    if role in ("output", "both") and not command_topic:
        raise ConfigError("command_topic: an output is told on a topic")
    if qos not in (0, 1, 2):
        raise ConfigError("qos: expected 0, 1 or 2")
    return FreeMapping(
        base=base,
        expression=expression.strip(),
        unit=unit.strip(),
        room=room.strip(),
        role=role,  # type: ignore[arg-type]  # checked above
        command_topic=command_topic.strip(),
        payloads=(("on", command_on), ("off", command_off)) if command_topic and not command_template else (),
        template=command_template,
        qos=qos,
        retain=retain,
    )


class Mappings:
    """The adapter. Owned by one thread."""

    def __init__(self, mappings: Iterable[FreeMapping | TopicMapping] = (), catalogue: Catalogue | None = None) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue
        self._mappings = tuple(
            mapping
            if isinstance(mapping, FreeMapping)
            else FreeMapping(base=mapping, role="meter" if mapping.meter else "input")
            for mapping in mappings
        )

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return tuple(mapping.topic_filter for mapping in self._mappings if mapping.role != "output")

    def start(self, out: Findings) -> None:
        """Make the outputs known that never report, and so could not be learned of."""
        for mapping in self._mappings:
            if mapping.role == "output" and not mapping.base.places:
                self._know(out, mapping, (), mapping.base.device)

    def announced(self, payload: Payload, out: Findings) -> bool:
        """Read a report. Return whether a mapping describes the topic; the first that does decides."""
        for mapping in self._mappings:
            levels = None if mapping.role == "output" else mapping.base.match(payload.topic)
            if levels is None:
                continue
            if payload.body:
                try:
                    self._read(payload, out, mapping, levels)
                except DecodeError as error:
                    out.problem(payload.topic, f"[mapping:{mapping.base.name}] {error}")
            return True
        return False

    def _read(self, payload: Payload, out: Findings, mapping: FreeMapping, levels: tuple[str, ...]) -> None:
        base = mapping.base
        if base.type == PICTURE:
            self._picture(payload, out, mapping, levels)
            return
        if mapping.expression:
            raw = self.catalogue.templates.extractor(mapping.expression).of(payload)
            if raw is MISSING:
                return
            base = msgspec.structs.replace(base, path=())
            value: object = scalar(as_scalar(raw), "expression")
        else:
            found = payload.json_or_none()
            value = payload.text.strip() if found is None else found
        event = base.read(payload.topic, levels, value, now=payload.now, retained=payload.retained)
        self._know(out, mapping, levels, event.device)
        out.events.append(event)

    def _picture(self, payload: Payload, out: Findings, mapping: FreeMapping, levels: tuple[str, ...]) -> None:
        found: object = payload.body
        if mapping.base.path:
            try:
                found = decode_json(payload.body, max_size=2 * MOST_BYTES)
            except DecodeError:
                raise DecodeError("the payload is not JSON, or too large") from None
            for step in mapping.base.path:
                found = found.get(step) if isinstance(found, dict) else None
            if found is None:
                return  # this message came without a picture
        data = decoded(found)
        plain = msgspec.structs.replace(mapping.base, path=())
        event = plain.read(payload.topic, levels, None, now=payload.now, retained=payload.retained)
        self._know(out, mapping, levels, event.device)
        out.events.append(msgspec.structs.replace(event, active=True))
        out.picture(data)

    def _know(self, out: Findings, mapping: FreeMapping, levels: tuple[str, ...], device: str) -> None:
        if self.catalogue.registry.entity(device) is not None and self.catalogue.origins(f"mapping:{device}"):
            return
        places = dict(zip(mapping.base.places, levels, strict=True))

        def filled(text: str) -> str:
            return _PLACE.sub(lambda place: places[place[1]], text)

        command = None
        if mapping.command_topic:
            payloads = self.catalogue.templates.mapping(dict(mapping.payloads))
            confirmed = self.catalogue.templates.mapping({word: word for word, _ in mapping.payloads})
            command = CommandForm(
                topic=filled(mapping.command_topic),
                payloads=payloads,
                template=mapping.template,
                qos=mapping.qos,
                retain=mapping.retain,
                confirmed_by=confirmed if mapping.role == "both" else {},
            )
        room = filled(mapping.room)
        who = Who(tokens=(device,), name=device, convention="mapping", room=room)
        plan = Plan(
            unique=f"mapping:{device}",
            key=device,
            name=device,
            role=mapping.role,
            type=mapping.base.type,
            component=mapping.base.name,
            unit=mapping.unit,
            room=room,
            command=command,
        )
        self.catalogue.announce(out, mapping.topic_filter, f"mapping:{device}", who, [plan], None)
