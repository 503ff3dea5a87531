"""Tasmota's own discovery, the only one that newer versions publish: ``tasmota/discovery/<mac>/config`` and ``.../sensors``.

The first describes relays, lights, shutters, switches and buttons, the second what is measured. Values come on
``stat/<topic>/RESULT``, ``tele/<topic>/STATE`` and ``tele/<topic>/SENSOR``, and the last will on ``tele/<topic>/LWT``.
Sources: https://tasmota.github.io/docs/MQTT/ and the library that Home Assistant reads it with, hatasmota.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.findings import Findings
from event_processor.discovery.identities import mac_token
from event_processor.discovery.meaning import Anything, Meaning, Momentary, Number, Position, on_off
from event_processor.discovery.naming import clean
from event_processor.discovery.payload import Payload
from event_processor.discovery.plan import Plan, Source, Watching, Who, Word
from event_processor.discovery.tasmota_sensors import sensor_plans
from event_processor.discovery.templates import MISSING, Extractor
from event_processor.domain.entities import CommandForm
from event_processor.domain.registry import MOST_DEVICES
from pylib.errors import DecodeError

__all__ = ["MOST_WAITING", "Tasmota"]

MOST_WAITING: Final = 500
"""Messages about sensors that are kept until their device has described itself."""
_RELAY, _LIGHT, _SHUTTER = 1, 2, 3
_RGBW: Final = 4
_PUSHED: Final = Momentary()
# Modes of switches (https://tasmota.github.io/docs/Buttons-and-Switches/#switchmode): that tell pushes only, that tell on and
# off only, and that tell on only.
_ONLY_PUSHED: Final = (0, 7, 8, 11, 12)
_ONLY_HELD: Final = (1, 2, 13, 14, 15)
_PULSES: Final = (13, 14)


class _Device(msgspec.Struct, frozen=True, gc=False):
    """What is needed when the sensors come: who it is and where it reports."""

    who: Who
    tele: str
    watching: Watching


class _Answer:
    """A part of a JSON object, on a topic that carries plain words too."""

    __slots__ = ("_path",)

    def __init__(self, path: Extractor) -> None:
        self._path = path

    def of(self, payload: Payload) -> object:
        return self._path.of(payload) if isinstance(payload.json_or_none(), dict) else MISSING


class _Config:
    """One configuration, checked as it is read."""

    def __init__(self, told: Mapping[str, object], mac: str, catalogue: Catalogue) -> None:
        self.told, self.mac, self.catalogue = told, mac, catalogue
        prefixes = self.list("tp", ["cmnd", "stat", "tele"])
        if len(prefixes) < 3 or not all(isinstance(prefix, str) and prefix for prefix in prefixes):
            raise DecodeError("tp: expected three prefixes")
        topic, full = self.text("t"), self.text("ft", "%prefix%/%topic%/")
        if not topic or "%prefix%" not in full or "+" in topic + full or "#" in topic + full:
            raise DecodeError("t: expected a topic, and in ft a %prefix%")
        full = full.replace("%topic%", topic).replace("%hostname%", self.text("hn", topic)).replace("%id%", mac)
        full = f"{full}/" if not full.endswith("/") else full
        while "//" in full:
            full = full.replace("//", "/")
        self.cmnd, self.stat, self.tele = (full.replace("%prefix%", str(prefix)) for prefix in prefixes[:3])
        words = [str(word) for word in self.list("state", ["OFF", "ON", "TOGGLE", "HOLD"])]
        self.off, self.on = (words[0], words[1]) if len(words) > 1 else ("OFF", "ON")
        options = told.get("so")
        self.options: Mapping[str, object] = options if isinstance(options, dict) else {}

    def text(self, key: str, default: str = "") -> str:
        value = self.told.get(key)
        return default if value is None else clean(value)

    def list(self, key: str, default: list[object] | list[str] | None = None) -> list[object]:
        value = self.told.get(key)
        return value[:32] if isinstance(value, list) else list(default or [])

    def read(self, meaning: Meaning, *steps: str, result: bool = True, state: bool = True) -> tuple[Source, ...]:
        path = self.catalogue.templates.path(*steps)
        made = []
        if result and self.options.get("4") == 1:  # it answers on a topic for each command, and says plain words there too
            answer = self.catalogue.templates.shared(f"answer {steps}", partial(_Answer, path))
            made.append(Source(f"{self.stat}{steps[0].upper()}", answer, meaning))
        elif result:
            made.append(Source(f"{self.stat}RESULT", path, meaning))
        if state:
            made.append(Source(f"{self.tele}STATE", path, meaning))
        return tuple(made)

    def tell(self, command: str, **payloads: str) -> CommandForm:
        confirmed = {word: word for word in payloads if word in ("on", "off")}
        mapping = self.catalogue.templates.mapping
        return CommandForm(topic=f"{self.cmnd}{command}", payloads=mapping(payloads), confirmed_by=mapping(confirmed))


class Tasmota:
    """The adapter. Owned by one thread."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue
        self._devices: dict[str, _Device] = {}
        self._waiting: dict[str, bytes] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return ("tasmota/discovery/+/config", "tasmota/discovery/+/sensors")

    def announced(self, payload: Payload, out: Findings) -> bool:
        """Read an announcement. Return whether the topic is that of one."""
        levels = payload.topic.split("/")
        if len(levels) != 4 or levels[:2] != ["tasmota", "discovery"] or levels[3] not in ("config", "sensors"):
            return False
        mac = levels[2]
        if not payload.body:
            self.catalogue.withdraw(out, payload.topic)
            if levels[3] == "config":
                self.catalogue.withdraw(out, f"tasmota/discovery/{mac}/sensors")
                self._devices.pop(mac, None)
            return True
        try:
            told = payload.object()
            if levels[3] == "config":
                self._config(payload, out, mac, told)
            elif mac in self._devices:
                self._sensors(payload, out, self._devices[mac], told)
            elif len(self._waiting) < MOST_WAITING:
                self._waiting[mac] = payload.body
        except DecodeError as error:
            out.problem(payload.topic, str(error))
        return True

    def _config(self, payload: Payload, out: Findings, mac: str, told: Mapping[str, object]) -> None:
        if not mac_token(mac) or ("mac" in told and mac_token(str(told["mac"])) != mac_token(mac)):
            raise DecodeError("mac: expected the twelve digits that the topic has")
        config = _Config(told, mac, self.catalogue)
        who = Who(
            tokens=(mac_token(mac), mac.upper()[-6:]),
            name=config.text("dn") or config.text("t"),
            convention="homeassistant",
            manufacturer="Tasmota",
            model=config.text("md")[:80],
            software=config.text("sw")[:80],
        )
        raw = self.catalogue.templates.extractor("")
        will = Word(f"{config.tele}LWT", raw, config.text("onln", "Online"), config.text("ofln", "Offline"))
        device = _Device(who, config.tele, Watching((will,)))
        plans = [*_relays(config), *_shutters(config), *_switches(config), *_buttons(config)]
        self.catalogue.announce(out, payload.topic, payload.topic, who, plans, device.watching)
        if len(self._devices) < MOST_DEVICES:
            self._devices[mac] = device
        waiting = self._waiting.pop(mac, None)
        if waiting is not None:
            topic = f"tasmota/discovery/{mac}/sensors"
            self.announced(Payload(topic, waiting, retained=payload.retained, now=payload.now), out)

    def _sensors(self, payload: Payload, out: Findings, device: _Device, told: Mapping[str, object]) -> None:
        measured = told.get("sn")
        if not isinstance(measured, dict):
            raise DecodeError("sn: expected an object")
        mac = device.who.tokens[0]
        plans = sensor_plans(measured, f"{device.tele}SENSOR", mac, self.catalogue.templates)
        self.catalogue.announce(out, payload.topic, payload.topic, device.who, plans, device.watching)


def _relays(config: _Config) -> list[Plan]:
    relays = config.list("rl")
    names = config.list("fn")
    present = sum(1 for kind in relays if kind in (_RELAY, _LIGHT, _SHUTTER))
    plans: list[Plan] = []
    for index, kind in enumerate(relays):
        number = index + 1
        if kind not in (_RELAY, _LIGHT):
            continue
        name = clean(names[index]) if index < len(names) else ""
        name = "" if name == config.text("dn") and present == 1 else name or (f"Relay {number}" if present > 1 else "")
        light = kind == _LIGHT or config.options.get("30") == 1
        meaning = on_off(config.on, config.off)
        sources = config.read(meaning, f"POWER{number}")
        if number == 1:  # a single one reports POWER, or POWER1 where an option says so
            sources = (*config.read(meaning, "POWER"), *sources)
        command = config.tell("POWER" if present == 1 else f"POWER{number}", on=config.on, off=config.off)
        plans.append(
            Plan(
                unique=f"{config.mac}_relay_{number}",
                name=name,
                hint=f"relay {number}",
                role="both",
                type="light" if light else "switch",
                component="tasmota light" if light else "tasmota relay",
                command=command,
                sources=sources,
            )
        )
        if kind == _LIGHT:
            plans += _light_parts(config, name, number)
    if config.told.get("if") == 1:
        command = msgspec.structs.replace(config.tell("FanSpeed"), limits=(0.0, 3.0, 1.0))
        sources = config.read(Number(), "FanSpeed")
        plans.append(_part(config, "fan speed", "fan_speed", command, sources))
    return plans


def _light_parts(config: _Config, name: str, number: int) -> list[Plan]:
    """What can be set of a light. Its relays may share one light, be one each, or be its colour and its white."""
    subtype = config.told.get("lt_st")
    subtype = subtype if isinstance(subtype, int) else 0
    lights = [index + 1 for index, kind in enumerate(config.list("rl")) if kind == _LIGHT]
    dimmer = reported = "Dimmer"
    if config.options.get("68") == 1:
        dimmer, reported, subtype = f"Channel{number}", f"Channel{number}", 1
    elif config.told.get("lk") == 0 and subtype >= _RGBW and len(lights) > 1:
        second = number != lights[0]
        dimmer = reported = "Dimmer2" if second else "Dimmer1"
        subtype = (1 if subtype == _RGBW else 2) if second else 3
    elif config.told.get("ty") == 1:
        dimmer = "Dimmer3"
    warm = (200.0, 380.0, 1.0) if config.options.get("82") == 1 else (153.0, 500.0, 1.0)
    parts: list[tuple[str, str, str, str, Meaning, tuple[float, float, float] | None]] = []
    if subtype >= 1:
        parts.append(("brightness", dimmer, reported, "brightness", Number(), (0.0, 100.0, 1.0)))
    if subtype in (2, 5):
        parts.append(("color temperature", "CT", "CT", "color_temp", Number(), warm))
    if subtype >= 3:
        parts.append(("color", "Color", "Color", "color", Anything(), None))
    units = {"brightness": "%", "color_temp": "mired"}
    plans = []
    for part, command, field, type, meaning, limits in parts:
        told = msgspec.structs.replace(config.tell(command), limits=limits)
        plan = _part(config, f"{name} {part}".strip(), type, told, config.read(meaning, field), f"{number} {part}")
        plans.append(msgspec.structs.replace(plan, unit=units.get(type, "")))
    return plans


def _part(
    config: _Config, name: str, type: str, command: CommandForm | None, sources: tuple[Source, ...], unique: str = ""
) -> Plan:
    return Plan(
        unique=f"{config.mac}_{unique or name}",
        name=name,
        hint=type,
        role="both" if command else "input",
        type=type,
        component=f"tasmota {type}",
        command=command,
        sources=sources,
    )


def _shutters(config: _Config) -> list[Plan]:
    relays, plans, index, number = config.list("rl"), [], 0, 0
    options = config.list("sho")
    while index < len(relays):
        if relays[index] != _SHUTTER:
            index += 1
            continue
        number, index = number + 1, index + 2  # each has two relays, one for each way
        what = f"Shutter{number}"
        option = options[number - 1] if number <= len(options) else 0
        inverted = isinstance(option, int) and option & 1 == 1
        words = {"open": "CLOSE", "close": "OPEN", "stop": "STOP"} if inverted else {}
        command = config.tell(f"ShutterPosition{number}", **(words or {"open": "OPEN", "close": "CLOSE", "stop": "STOP"}))
        command = msgspec.structs.replace(command, confirmed_by={"open": "open", "close": "closed"})
        moved = config.read(Position(100.0 if inverted else 0.0), what, "Position", state=False)
        moved += (moved[0]._replace(topic=f"{config.tele}SENSOR", extract=config.catalogue.templates.path(what, "Position")),)
        place = tuple(source._replace(meaning=Number(factor=-1.0, plus=100.0) if inverted else Number()) for source in moved)
        template = "{{ 100 - value }}" if inverted else ""
        set_to = CommandForm(topic=command.topic, template=template, limits=(0.0, 100.0, 1.0))
        plans.append(_part(config, f"Shutter {number}", "cover", command, moved))
        position = _part(config, f"Shutter {number} position", "position", set_to, place)
        plans.append(msgspec.structs.replace(position, unit="%"))
    return plans


def _switches(config: _Config) -> list[Plan]:
    names, plans = config.list("swn"), []
    for index, mode in enumerate(config.list("swc")):
        if not isinstance(mode, int) or mode < 0:
            continue
        what = f"Switch{index + 1}"
        name = clean(names[index]) if index < len(names) else ""
        label = name or f"Switch {index + 1}"
        # A switch with a name reports under it; versions before 11 went on calling it by its number.
        keys = (what, name) if name and name != what else (what,)
        actions = tuple(source for key in keys for source in config.read(_PUSHED, key, "Action", state=False))
        if mode not in _ONLY_PUSHED:
            meaning = on_off(config.on, config.off, quiet=True)
            if mode in _PULSES:
                meaning = msgspec.structs.replace(meaning, off_after_s=1.0)
            sources = tuple(source._replace(meaning=meaning) for source in actions)
            if mode not in _PULSES:
                path = config.catalogue.templates.path
                sources += tuple(Source(f"{config.tele}SENSOR", path(key), meaning) for key in keys)
            plans.append(_part(config, label, "binary_sensor", None, sources, what))
        if mode not in _ONLY_HELD:
            pushes = Momentary(none=(config.on, config.off))
            sources = tuple(source._replace(meaning=pushes) for source in actions)
            plans.append(_part(config, f"{label} push", "button", None, sources, f"{what} push"))
    return plans


def _buttons(config: _Config) -> list[Plan]:
    if config.options.get("73") != 1:
        return []  # its buttons switch its relays, and are not told
    plans = []
    for index, enabled in enumerate(config.list("btn")):
        if enabled == 1:
            what = f"Button{index + 1}"
            sources = config.read(Momentary(), what, "Action", state=False)
            plans.append(_part(config, f"Button {index + 1}", "button", None, sources, what))
    return plans
