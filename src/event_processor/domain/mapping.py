"""Devices that speak no convention: three lines of ``app.conf`` say how to read them.

    [mapping:kitchen_switch]
    topic = zigbee/+/switch
    device = {1} switch
    type = switch

``topic`` is an MQTT filter. What ``+`` and ``#`` stand for is ``{1}``, ``{2}``, ... in ``device``, from the left; a
level written ``{room}`` is a ``+`` with the name ``room``. ``value = state.temperature`` names a part of a JSON object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from event_processor.domain import fields
from event_processor.domain.events import Event
from event_processor.domain.fields import Scalar
from pylib.errors import ConfigError, DecodeError

__all__ = ["TopicMapping", "compile_mapping", "matches", "outside", "without_covered"]

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TopicMapping(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled mapping. Made by ``compile_mapping``, which checks what is written here."""

    name: str
    levels: tuple[str, ...]
    places: tuple[str, ...]
    device: str
    type: str
    path: tuple[str, ...]
    meter: bool
    on: frozenset[str]
    off: frozenset[str]

    @property
    def topic_filter(self) -> str:
        """The MQTT filter to subscribe to."""
        return "/".join(self.levels)

    def match(self, topic: str) -> tuple[str, ...] | None:
        """Return what the wildcards stand for in ``topic``, from the left; ``None`` where it does not match."""
        return matches(self.levels, topic)

    def read(self, topic: str, captured: tuple[str, ...], payload: object, *, now: float, retained: bool) -> Event:
        """Make the event of a payload whose topic matched. Raises ``DecodeError`` where the payload does not fit."""
        value = self._value(payload)
        known = dict(zip(self.places, captured, strict=True))
        device = _PLACE.sub(lambda place: known[place[1]], self.device)
        return Event(
            device=fields.name(device, "device name from the topic"),
            kind="meter" if self.meter else "input",
            type=self.type,
            label=self.name,
            value=fields.number(value, "value") if self.meter else value,
            active=None if self.meter else fields.truth(value, self.on, self.off),
            created_at=now,
            source="mqtt",
            topic=topic,
            retained=retained,
        )

    def _value(self, payload: object) -> Scalar:
        found, walked = payload, "value"
        for step in self.path:
            if isinstance(found, Mapping) and step in found:
                found = found[step]
            elif isinstance(found, (list, tuple)) and step.isdecimal() and len(step) < 7 and int(step) < len(found):
                found = found[int(step)]
            else:
                raise DecodeError(f"{walked}: expected an object with {step!r}, got {fields.kind_of(found)} without it")
            walked = f"{walked}.{step}"
        if not self.path and isinstance(found, (Mapping, list, tuple)):
            raise DecodeError(f"the payload is {fields.kind_of(found)}: add `value = ...` to [mapping:{self.name}]")
        value = fields.scalar(found, walked)
        if isinstance(value, str):
            try:
                return fields.number(value, walked)
            except DecodeError:
                return value
        return value


def matches(levels: tuple[str, ...], topic: str) -> tuple[str, ...] | None:
    """Match a topic against a filter's levels by the rules of MQTT (5.0, section 4.7); ``#`` captures what is left.

    A topic that starts with ``$`` is not matched by a filter that starts with a wildcard.
    """
    parts = topic.split("/")
    if topic.startswith("$") and levels[0] in ("+", "#"):
        return None
    captured: list[str] = []
    for index, level in enumerate(levels):
        if level == "#":
            return (*captured, "/".join(parts[index:]))
        if index >= len(parts) or (level != "+" and level != parts[index]):
            return None
        if level == "+":
            captured.append(parts[index])
    return tuple(captured) if len(parts) == len(levels) else None


def compile_mapping(
    name: str,
    *,
    topic: str,
    device: str,
    type: str,
    value: str = "",
    kind: str = "input",
    on: Iterable[str] = (),
    off: Iterable[str] = (),
) -> TopicMapping:
    """Check and compile one ``[mapping:<name>]`` section. ``on`` and ``off`` are further words for active and inactive.

    Raises ``ConfigError``, whose message starts with the option at fault ("device: ...").
    """
    levels: list[str] = []
    places: dict[str, None] = {}
    written = topic.strip().split("/")
    if written == [""] or "\0" in topic or len(topic.encode("utf-8", "replace")) > 65535:
        raise ConfigError("topic: expected an MQTT filter such as zigbee/+/switch")
    for index, level in enumerate(written):
        place = level[1:-1] if level.startswith("{") and level.endswith("}") else ""
        if level == "#" and index != len(written) - 1:
            raise ConfigError("topic: # stands for everything below and can only come last")
        if level in ("+", "#"):
            levels.append(level)
            places[str(len(places) + 1)] = None
        elif _NAME.fullmatch(place) and place not in places:
            levels.append("+")
            places[place] = None
        elif set(level) & set("+#{}"):
            raise ConfigError(f"topic: {level!r} is neither a plain level nor one of +, # and an unused {{name}}")
        else:
            levels.append(level)
    for used in _PLACE.findall(device):
        if used not in places:
            known = ", ".join(f"{{{place}}}" for place in places) or "no {1}: the topic has no wildcard"
            raise ConfigError(f"device: {{{used}}} is not in the topic, which has {known}")
    if not device.strip() or "{" in _PLACE.sub("", device):
        raise ConfigError("device: expected a name such as `{1} switch`")
    if not type.strip():
        raise ConfigError("type: expected what the device is, such as switch, motion or temperature")
    if kind not in ("input", "meter"):
        raise ConfigError("kind: expected input or meter")
    path = tuple(value.strip().split(".")) if value.strip() else ()
    if "" in path:
        raise ConfigError("value: expected names joined by single dots, such as state.temperature")
    return TopicMapping(
        name=name,
        levels=tuple(levels),
        places=tuple(places),
        device=device.strip(),
        type=type.strip(),
        path=path,
        meter=kind == "meter",
        on=frozenset(word.strip().lower() for word in on if word.strip()),
        off=frozenset(word.strip().lower() for word in off if word.strip()),
    )


def without_covered(filters: Iterable[str]) -> tuple[str, ...]:
    """Drop every filter whose topics another one has too: a broker may deliver once per subscription that matches."""
    kept: list[str] = []
    for candidate in dict.fromkeys(filters):
        if not any(_covers(wide.split("/"), candidate.split("/")) for wide in kept):
            kept = [narrow for narrow in kept if not _covers(candidate.split("/"), narrow.split("/"))]
            kept.append(candidate)
    return tuple(kept)


def outside(wide: Iterable[str], filters: Iterable[str]) -> tuple[str, ...]:
    """Those of ``filters`` whose topics no filter of ``wide`` has already. For a few wide ones and many others."""
    levels = [each.split("/") for each in wide]
    return tuple(each for each in filters if not any(_covers(one, each.split("/")) for one in levels))


def _covers(wide: list[str], narrow: list[str]) -> bool:
    for index, level in enumerate(wide):
        if level == "#":
            return not (index == 0 and narrow[0].startswith("$"))
        if index >= len(narrow) or narrow[index] == "#" or (level != "+" and level != narrow[index]):
            return False
        if level == "+" and index == 0 and narrow[0].startswith("$"):
            return False
    return len(wide) == len(narrow)
