"""Components that are one value or one switch each: sensors, switches, numbers, buttons, triggers and the like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

import msgspec

from event_processor.discovery.homeassistant.config import Config
from event_processor.discovery.homeassistant.extractors import EventType, PictureBytes, StateOrText, Update, Version
from event_processor.discovery.meaning import Anything, Meaning, Momentary, Number, Picture, Words, on_off
from event_processor.discovery.naming import words_of
from event_processor.discovery.plan import Plan, Source
from event_processor.domain.entities import CommandForm
from event_processor.domain.pictures import TYPE as PICTURE
from pylib.errors import DecodeError

__all__ = ["SIMPLE", "Reader"]

Reader: TypeAlias = Callable[[Config], tuple[Plan, ...]]

_LONGEST_DELAY: Final = 7 * 86_400.0
_TOTALS: Final = ("total", "total_increasing")
_MOMENTS: Final = ("timestamp", "date", "enum")
_ON_OFF: Final = {"on": "on", "off": "off"}


def binary_sensor(config: Config) -> tuple[Plan, ...]:
    meaning = on_off(config.text("payload_on", "ON"), config.text("payload_off", "OFF"))
    delay = config.number("off_delay", 0.0)
    if 0 < delay <= _LONGEST_DELAY:
        meaning = msgspec.structs.replace(meaning, off_after_s=delay)
    return (config.plan(_needed(config, config.source("state_topic", "value_template", meaning))),)


def sensor(config: Config) -> tuple[Plan, ...]:
    kind, state_class = config.text("device_class"), config.text("state_class")
    metered = state_class in _TOTALS
    meaning: Meaning
    if kind in _MOMENTS or "options" in config:
        meaning = Anything()
    else:
        meaning = Number(strict=bool(state_class) or "unit_of_measurement" in config, metered=metered)
    sources = _needed(config, config.source("state_topic", "value_template", meaning))
    return (config.plan(sources, role="meter" if metered else "input"),)


def switch(config: Config) -> tuple[Plan, ...]:
    on, off = config.text("payload_on", "ON"), config.text("payload_off", "OFF")
    meaning = on_off(config.text("state_on", on), config.text("state_off", off))
    sources = config.source("state_topic", "value_template", meaning)
    command = config.command(payloads={"on": on, "off": off}, confirmed=_ON_OFF if sources else None)
    return (config.plan(sources, _told(config, command)),)


def siren(config: Config) -> tuple[Plan, ...]:
    on, off = config.text("payload_on", "ON"), config.text("payload_off", "OFF")
    meaning = on_off(config.text("state_on", on), config.text("state_off", off))
    sources = config.source("state_topic", "state_value_template", meaning)
    if sources and not config.text("state_value_template"):
        sources = (Source(sources[0].topic, config.templates.shared("state or text", StateOrText), meaning),)
    # Without a template a siren is told in JSON.
    plain = "" if "command_template" in config else '{"state": "{value}"}'
    payloads, confirmed = {"on": on, "off": off}, _ON_OFF if sources else None
    if "command_off_template" in config:  # each word has its own template, and what they make is always the same
        for word, key in (("on", "command_template"), ("off", "command_off_template")):
            made = config.text(key) or '{"state": "{{ value }}"}'
            payloads[word] = config.templates.command(made, {"value": payloads[word], "state": payloads[word]}, config.now)
        command = config.command(template="", payloads=payloads, confirmed=confirmed)
    else:
        command = config.command(payloads=payloads, confirmed=confirmed, plain=plain, names=("state",))
    return (config.plan(sources, _told(config, command)),)


def lock(config: Config) -> tuple[Plan, ...]:
    words = {
        config.text(f"state_{word}", word.upper()): word
        for word in ("open", "opening", "locked", "unlocked", "locking", "unlocking", "jammed")
    }
    sources = config.source("state_topic", "value_template", Words(words))
    payloads = {"lock": config.text("payload_lock", "LOCK"), "unlock": config.text("payload_unlock", "UNLOCK")}
    if "payload_open" in config:
        payloads["open"] = config.text("payload_open")
    confirmed = {"lock": "locked", "unlock": "unlocked"} if sources else None
    return (config.plan(sources, _told(config, config.command(payloads=payloads, confirmed=confirmed))),)


def button(config: Config) -> tuple[Plan, ...]:
    command = config.command(payloads={"press": config.text("payload_press", "PRESS")})
    return (config.plan((), _told(config, command)),)


def scene(config: Config) -> tuple[Plan, ...]:
    command = config.command(payloads={"press": config.text("payload_on", "ON")})
    return (config.plan((), _told(config, command)),)


def number(config: Config) -> tuple[Plan, ...]:
    limits = (config.number("min", 1), config.number("max", 100), config.number("step", 1))
    if limits[0] > limits[1]:
        raise DecodeError("min: expected a number that is not above max")
    sources = config.source("state_topic", "value_template", Number(strict=False), reset="payload_reset")
    return (config.plan(sources, _told(config, config.command(limits=limits))),)


def select(config: Config) -> tuple[Plan, ...]:
    sources = config.source("state_topic", "value_template", Anything())
    return (config.plan(sources, _told(config, config.command(options=config.texts("options")))),)


def text(config: Config) -> tuple[Plan, ...]:
    sources = config.source("state_topic", "value_template", Anything())
    return (config.plan(sources, _told(config, config.command())),)


def notify(config: Config) -> tuple[Plan, ...]:
    return (config.plan((), _told(config, config.command())),)


def event(config: Config) -> tuple[Plan, ...]:
    topic = config.topic("state_topic")
    if not topic:
        raise DecodeError("state_topic: an event has to have one")
    template = config.text("value_template")
    inner = config.templates.extractor(template) if template else None
    extract = config.templates.shared(f"event {template}", lambda: EventType(inner))
    return (config.plan((Source(topic, extract, Momentary(types=config.texts("event_types"))),)),)


def device_automation(config: Config) -> tuple[Plan, ...]:
    if config.text("automation_type") != "trigger":
        raise DecodeError("automation_type: expected trigger")
    type, subtype = config.text("type"), config.text("subtype")
    if not type or not subtype:
        raise DecodeError("a trigger has to have a type and a subtype")
    sources = _needed(config, config.source("topic", "value_template", Momentary(config.text("payload"), value=type)), "topic")
    # Triggers have no unique_id; in Home Assistant too they are told apart by what they are.
    plan = config.plan(sources, type="trigger")
    return (_named(plan, words_of(f"{subtype} {type}"), f"{plan.unique} {type} {subtype}"),)


def tag(config: Config) -> tuple[Plan, ...]:
    sources = _needed(config, config.source("topic", "value_template", Momentary()), "topic")
    return (_named(config.plan(sources, type="tag"), "tag", config.unique),)


def update(config: Config) -> tuple[Plan, ...]:
    topic = config.topic("state_topic")
    latest_topic = config.topic("latest_version_topic")
    command = None
    if "payload_install" in config:
        command = config.command(payloads={"install": config.text("payload_install")})
    if not topic and not latest_topic:
        raise DecodeError("state_topic: an update has to have one")
    installed, latest = config.text("value_template"), config.text("latest_version_template")
    if latest_topic and latest_topic != topic:
        return (config.plan(_versions(config), command, type="update"),)
    first = config.templates.extractor(installed) if installed else None
    second = config.templates.extractor(latest) if latest else None
    extract = config.templates.shared(f"update {installed} {latest}", lambda: Update(first, second))
    return (config.plan((Source(topic or latest_topic, extract, on_off("on", "off")),), command, type="update"),)


def _versions(config: Config) -> tuple[Source, ...]:
    """The two versions, each on a topic of its own: what one has said is remembered until the other speaks."""
    said: dict[str, str] = {}
    made: list[Source] = []
    forms = (
        ("state_topic", "value_template", "installed_version"),
        ("latest_version_topic", "latest_version_template", "latest_version"),
    )
    # Announced again in the same words, these are the same readers, with what they remember.
    words = " ".join(config.text(key) for form in forms for key in form[:2])
    for topic, template, which in forms:
        for source in config.source(topic, template, on_off("on", "off")):
            name = f"{which} {config.unique} {config.object_id} {words}"
            extract = config.templates.shared(name, partial(Version, source.extract, which, said))
            made.append(source._replace(extract=extract))
    return tuple(made)


def device_tracker(config: Config) -> tuple[Plan, ...]:
    words = {config.text("payload_home", "home"): "home", config.text("payload_not_home", "not_home"): "not_home"}
    sources = config.source("state_topic", "value_template", Words(words, open=True), reset="payload_reset")
    return (config.plan(_needed(config, sources)),)


def camera(config: Config) -> tuple[Plan, ...]:
    return _picture(config, "topic")


def image(config: Config) -> tuple[Plan, ...]:
    if config.topic("url_topic"):
        # Whoever can publish would have the hub ask any address of the house's network.
        raise DecodeError("url_topic: pictures are not fetched from addresses that messages name, only taken from image_topic")
    return _picture(config, "image_topic")


def _picture(config: Config, key: str) -> tuple[Plan, ...]:
    topic = config.topic(key)
    if not topic:
        raise DecodeError(f"{key}: there has to be one")
    extract = config.templates.shared("picture", PictureBytes)
    return (config.plan((Source(topic, extract, Picture()),), type=PICTURE),)


def nothing(config: Config) -> tuple[Plan, ...]:
    """Remote controls have no value of their own."""
    return ()


def _needed(config: Config, sources: tuple[Source, ...], key: str = "state_topic") -> tuple[Source, ...]:
    if not sources:
        raise DecodeError(f"{key}: a {words_of(config.component)} has to have one")
    return sources


def _told(config: Config, command: CommandForm | None) -> CommandForm:
    if command is None:
        raise DecodeError(f"command_topic: a {words_of(config.component)} has to have one")
    return command


def _named(plan: Plan, name: str, unique: str) -> Plan:
    return msgspec.structs.replace(plan, name=name, unique=unique)


SIMPLE: Final[Mapping[str, Reader]] = {
    "binary_sensor": binary_sensor, "sensor": sensor, "switch": switch, "siren": siren, "lock": lock, "button": button,
    "scene": scene, "number": number, "select": select, "text": text, "date": text, "time": text, "datetime": text,
    "notify": notify, "event": event, "device_automation": device_automation, "tag": tag, "update": update,
    "device_tracker": device_tracker, "camera": camera, "image": image, "infrared": nothing, "remote": nothing,
}  # fmt: skip
"""Components by name."""
