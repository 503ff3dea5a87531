"""Which input sets off which output, and what an output is.

    [links]                          an input's device key, with * and ?   = outputs, separated by commas
    Front * Door = siren, lamp

    [type_links]                     the type of an input                  = outputs
    motion = lamp

    [output:lamp]                    an MQTT device: the message to send
    topic = cmnd/lamp/POWER
    payload = ON

An output that has no section is an application on RabbitMQ that takes ``event.control.<name>``. A command can also
stand in the link itself, as ``mqtt:<topic> <payload>``. Names are compared without regard to case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import msgspec

from event_processor.domain.actions import Action, Command, Control
from event_processor.domain.events import Event
from pylib.errors import ConfigError

__all__ = ["Links", "Output", "check_topic", "compile_links", "make_output"]

_TYPE: Final = re.compile(r"\w[\w-]{0,99}")
_PLACES: Final = re.compile(r"\{(device|type|label|value|minute|detail|topic)\}")


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be set off: an application on RabbitMQ, or (where ``topic`` is set) a device on MQTT."""

    name: str
    type: str
    label: str = ""
    params: str | None = None
    topic: str = ""
    payload: str = ""
    qos: int = 1
    retain: bool = False
    enabled: bool = True
    min_interval_s: float = 0.0

    def __repr__(self) -> str:
        """Without ``params`` and ``payload``, which may hold a password."""
        return f"Output({self.name!r}, type={self.type!r}, topic={self.topic!r})"

    def action(self, event: Event, now: float, expires_after_s: float) -> Action:
        """Build what sets this output off because of ``event``; fills ``{value}``, ``{device}``, ... in a payload."""
        if not self.topic:
            return Control(
                output_type=self.type,
                output=self.name,
                label=self.label or self.name,
                params=self.params,
                event=event,
                created_at=now,
                expires_after_s=expires_after_s,
            )
        return Command(
            topic=self.topic,
            payload=_PLACES.sub(partial(_filled, event, self.payload.lstrip()[:1] in ("{", "[")), self.payload),
            output=self.name,
            qos=self.qos,
            retain=self.retain,
            created_at=now,
            expires_after_s=expires_after_s,
        )


def _filled(event: Event, json: bool, place: re.Match[str]) -> str:
    """Write a part of an event; within JSON escaped, so that a device cannot add to the command by what it says."""
    value = getattr(event, place[1])
    if value is None:
        return "null" if json else ""
    if isinstance(value, str) and not json:
        return value
    written = msgspec.json.encode(value).decode()
    return written[1:-1] if isinstance(value, str) else written


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """All links, ready to be asked. The cost of asking grows with the number of patterns, not of plain names."""

    by_device: dict[str, tuple[Output, ...]] = {}
    by_type: dict[str, tuple[Output, ...]] = {}
    patterns: tuple[tuple[re.Pattern[str], tuple[Output, ...]], ...] = ()

    def outputs_of(self, event: Event) -> tuple[Output, ...]:
        """Return the outputs linked to the device of ``event``, each once, in the order of the file."""
        device = event.device.lower()
        found = [*self.by_device.get(device, ())]
        for pattern, outputs in self.patterns:
            if pattern.fullmatch(device):
                found += outputs
        found += self.by_type.get(event.type.lower(), ())
        return tuple({output.name.lower(): output for output in found}.values())

    def joined(self, other: Links) -> Links:
        """Return the links of both; where both name the same device or type, those of ``other``."""
        return Links(
            by_device={**self.by_device, **other.by_device},
            by_type={**self.by_type, **other.by_type},
            patterns=(*self.patterns, *other.patterns),
        )


def check_topic(topic: str) -> str:
    """Return ``topic`` if MQTT allows publishing to it (5.0, section 4.7). Raises ``ConfigError``."""
    if not topic or len(topic.encode("utf-8", "replace")) > 65535 or set(topic) & set("+#\0"):
        raise ConfigError(f"topic: expected an MQTT topic without + # or NUL, such as cmnd/lamp/POWER, got {topic!r}")
    return topic


def make_output(
    name: str,
    *,
    type: str = "",
    label: str = "",
    params: str | None = None,
    topic: str = "",
    payload: str = "",
    qos: int = 1,
    retain: bool = False,
    enabled: bool = True,
    min_interval_s: float = 0.0,
) -> Output:
    """Check one ``[output:<name>]`` section. Raises ``ConfigError``, whose message starts with the option at fault."""
    kind = type.strip() or ("mqtt" if topic.strip() else name.strip().lower())
    if not _TYPE.fullmatch(kind):
        raise ConfigError(f"type: expected up to 100 letters, digits, _ or - (it becomes a routing key), got {kind!r}")
    if payload and not topic.strip():
        raise ConfigError("topic: a payload needs the MQTT topic to send it to")
    if qos not in (0, 1, 2):
        raise ConfigError(f"qos: expected 0, 1 or 2, got {qos}")
    if not 0 <= min_interval_s < math.inf:
        raise ConfigError(f"min_interval_s: expected seconds, 0 for none, got {min_interval_s}")
    return Output(
        name=name.strip(),
        type=kind,
        label=label.strip(),
        params=params,
        topic=check_topic(topic.strip()) if topic.strip() else "",
        payload=payload,
        qos=qos,
        retain=retain,
        enabled=enabled,
        min_interval_s=min_interval_s,
    )


def compile_links(
    links: Mapping[str, str], type_links: Mapping[str, str] | None = None, outputs: Iterable[Output] = ()
) -> Links:
    """Compile ``[links]``, ``[type_links]`` and the described outputs. Raises ``ConfigError`` ("<option>: ...")."""
    known = {output.name.lower(): output for output in outputs}
    by_device: dict[str, tuple[Output, ...]] = {}
    patterns: list[tuple[re.Pattern[str], tuple[Output, ...]]] = []
    for device, targets in links.items():
        key = device.strip().lower()
        if set(key) & set("*?"):
            parts = ({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in re.split(r"([*?])", key))
            patterns.append((re.compile("".join(parts), re.DOTALL), _targets(device, targets, known)))
        else:
            by_device[key] = _targets(device, targets, known)
    by_type = {kind.strip().lower(): _targets(kind, targets, known) for kind, targets in (type_links or {}).items()}
    return Links(by_device=by_device, by_type=by_type, patterns=tuple(patterns))


def _targets(option: str, written: str, known: Mapping[str, Output]) -> tuple[Output, ...]:
    found: list[Output] = []
    for target in filter(None, (part.strip() for part in re.split(r"[,\n]", written))):
        try:
            if target.startswith("mqtt:"):
                topic, _, payload = target.removeprefix("mqtt:").strip().partition(" ")
                found.append(make_output(target, topic=check_topic(topic), payload=payload.strip()))
            else:
                found.append(known.get(target.lower()) or make_output(target.lower()))
        except ConfigError as error:
            raise ConfigError(f"{option}: {target!r} is no output ({error})") from None
    if not found:
        raise ConfigError(f"{option}: expected at least one output, such as siren or mqtt:cmnd/lamp/POWER ON")
    return tuple(found)
