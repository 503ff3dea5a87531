"""One entity's configuration, read field by field. Whatever is of a wrong form raises ``DecodeError`` that names the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from sys import intern
from typing import Final

from event_processor.discovery.homeassistant.extractors import Reset
from event_processor.discovery.meaning import Meaning
from event_processor.discovery.naming import clean, words_of
from event_processor.discovery.payload import as_text
from event_processor.discovery.plan import Plan, Source, Watching, Word
from event_processor.discovery.templates import Templates
from event_processor.domain.availability import mode_of
from event_processor.domain.entities import CommandForm, Role
from pylib.errors import DecodeError

__all__ = ["AVAILABILITY_KEYS", "Config", "named", "topic_of"]

AVAILABILITY_KEYS: Final = ("availability", "availability_topic")
_LONGEST_TOPIC: Final = 1024
_STATES: Final = ("state_value_template", "_state_template")
_MOST_OPTIONS: Final = 200


def topic_of(value: object, key: str, *, wildcards: bool = True) -> str:
    """Check a topic."""
    if not isinstance(value, str) or not value or "\0" in value or len(value) > _LONGEST_TOPIC:
        raise DecodeError(f"{key}: expected a topic")
    levels = value.split("/")
    for index, level in enumerate(levels):
        wild = level == "+" or (level == "#" and index == len(levels) - 1)
        if ("+" in level or "#" in level) and not (wild and wildcards):
            raise DecodeError(f"{key}: expected a topic without wildcards" if not wildcards else f"{key}: expected a topic")
    return value


def named(template: str, names: tuple[str, ...]) -> str:
    """A command's template with its value under these names too."""
    if not any(name in template for name in names):
        return template
    if len(names) == 1:
        return f"{{% set {names[0]} = value %}}{template}"
    parts = (
        "(value | string).split(',')[:" + str(len(names)) + "] | map('int' if '.' not in value | string else 'float') | list"
    )
    return f"{{% set {', '.join(names)} = {parts} %}}{template}"


class Config:
    """The configuration of one entity, keys written out."""

    __slots__ = ("component", "data", "device_name", "now", "object_id", "templates", "unique")

    def __init__(
        self, component: str, object_id: str, data: Mapping[str, object], templates: Templates, device_name: str, now: float
    ) -> None:
        self.component, self.object_id, self.data, self.templates = component, object_id, data, templates
        self.device_name, self.now = device_name, now
        self.unique = self.text("unique_id") or f"{component}.{object_id}"

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def text(self, key: str, default: object = "") -> str:
        """A value as text; numbers and truth values are written as Home Assistant writes them."""
        value = self.data.get(key)
        if value is None:
            return as_text(default)
        if isinstance(value, (dict, list)):
            raise DecodeError(f"{key}: expected text")
        return as_text(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.data.get(key)
        if isinstance(value, str):
            return value.strip().lower() in ("true", "yes", "on", "1", "enable")
        return default if value is None else bool(value)

    def number(self, key: str, default: float) -> float:
        """A number."""
        value = self.data.get(key)
        if value is None:
            return default
        try:
            number = float(value)  # type: ignore[arg-type]  # anything else is the error below
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise DecodeError(f"{key}: expected a number")
        return number

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self.data.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise DecodeError(f"{key}: expected a list")
        return tuple(as_text(item)[:200] for item in value[:_MOST_OPTIONS])

    def topic(self, key: str, *, wildcards: bool = True) -> str:
        """A topic; empty where it is not given."""
        value = self.data.get(key)
        return "" if value is None or value == "" else topic_of(value, key, wildcards=wildcards)

    def source(
        self, topic: str, template: str, meaning: Meaning, *, known: Mapping[str, float] | None = None, reset: str = ""
    ) -> tuple[Source, ...]:
        """Where a value comes from, by the names of the two keys; nothing where the topic is not given.

        ``known`` is what the template may ask for beside the message, ``reset`` the key of the word for what is unknown.
        """
        where = self.topic(topic)
        if not where:
            return ()
        # Of several templates, as lights and climates have them, value_template stands for those that are left out.
        written = self.text(template) or (self.text("value_template") if template.endswith(_STATES) else "")
        for name, value in (known or {}).items():
            if name in written:
                written = f"{{% set {name} = {value:g} %}}{written}"
        try:
            extract = self.templates.extractor(written)
            if reset in self:
                word = self.text(reset)
                extract = self.templates.shared(f"reset {word}\0{written}", partial(Reset, extract, word))
            return (Source(where, extract, meaning),)
        except DecodeError as error:
            raise DecodeError(f"{template}: {error}") from None

    def command(
        self,
        topic: str = "command_topic",
        template: str = "command_template",
        *,
        payloads: Mapping[str, str] | None = None,
        confirmed: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
        limits: tuple[float, float, float] | None = None,
        plain: str = "",
        names: tuple[str, ...] = (),
    ) -> CommandForm | None:
        """How it is told, by the names of the two keys; ``plain`` is the template where none is given.

        ``names`` is what the template calls the value beside ``value``; several of them share a list such as "255,0,10".
        """
        where = self.topic(topic, wildcards=False)
        if not where:
            return None
        qos = self.number("qos", 1)
        return CommandForm(
            topic=where,
            payloads=self.templates.mapping(payloads or {}),
            template=intern(named(self.text(template) if template else "", names) or plain),
            qos=int(qos) if qos in (0, 1, 2) else 1,
            retain=self.flag("retain"),
            confirmed_by=self.templates.mapping({} if self.flag("optimistic") else confirmed or {}),
            options=options,
            limits=limits,
        )

    def plan(
        self,
        sources: tuple[Source, ...],
        command: CommandForm | None = None,
        *,
        part: str = "",
        type: str = "",
        unit: str = "",
        role: Role | None = None,
    ) -> Plan:
        """Make the plan of the entity, or of one ``part`` of it such as a light's brightness."""
        name, hint = self._name()
        if part:
            name = f"{name} {part}".strip() if name.casefold() != self.device_name.casefold() else part
        if role is None:
            role = "both" if command and sources else "output" if command else "input"
        return Plan(
            unique=f"{self.unique}#{part}" if part else self.unique,
            name=name,
            hint=hint,
            role=role,
            type=type or self.text("device_class")[:100] or self.component,
            component=self.component,
            unit=unit or self.text("unit_of_measurement").strip()[:40],
            command=command,
            sources=sources,
            expire_after_s=max(0.0, self.number("expire_after", 0.0)),
            category=self.text("entity_category")[:40],
            enabled=self.flag("enabled_by_default", True),
        )

    def _name(self) -> tuple[str, str]:
        """The name, empty where it is the device's own, and what to add where that is taken."""
        words = words_of(self.text("device_class")) or words_of(self.component)
        if "name" in self.data:
            return clean(self.data["name"]), words
        made = words_of(self.text("device_class")) or words_of(self.object_id.rpartition(" ")[2])
        return made[:1].upper() + made[1:], words

    def watching(self) -> Watching | None:
        """Who says whether it is there."""
        listed = self.data.get("availability")
        entries: list[Mapping[str, object]] = []
        if isinstance(listed, list):
            for entry in listed:
                if not isinstance(entry, dict):
                    raise DecodeError("availability: expected a list of objects with a topic each")
                entries.append(entry)
        elif listed is not None:
            raise DecodeError("availability: expected a list")
        elif self.topic("availability_topic"):
            entries.append({**self.data, "topic": self.data["availability_topic"]})
        words = []
        for entry in entries:
            template = entry.get("availability_template" if listed is None else "value_template")
            words.append(
                Word(
                    topic_of(entry.get("topic"), "availability", wildcards=False),
                    self.templates.extractor("" if template is None else as_text(template)),
                    as_text(entry.get("payload_available", "online")),
                    as_text(entry.get("payload_not_available", "offline")),
                )
            )
        return Watching(tuple(words), mode_of(self.data.get("availability_mode"))) if words else None
