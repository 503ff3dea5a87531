"""Shelly devices of the first generation: plain values on ``shellies/<id>/...`` (https://shelly-api-docs.shelly.cloud/gen1/)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.findings import Findings
from event_processor.discovery.identities import mac_token
from event_processor.discovery.meaning import Anything, Meaning, Momentary, Number, Words, on_off
from event_processor.discovery.naming import clean, words_of
from event_processor.discovery.payload import Payload
from event_processor.discovery.plan import Plan, Source, Watching, Who, Word
from event_processor.domain.entities import CommandForm, Role
from event_processor.domain.registry import MOST_DEVICES
from pylib.errors import DecodeError

__all__ = ["FirstShelly"]


class _Form(NamedTuple):
    type: str
    unit: str
    meaning: Meaning
    role: Role = "input"
    steps: tuple[str, ...] = ()
    told: str = ""
    name: str = ""


_NUMBER: Final = Number()
_BIT: Final = on_off("1", "0", also=(("true", "on"), ("false", "off")))
_COVER: Final = Words({"open": "opening", "close": "closing", "stop": "stopped"}, open=True)
_VALVE: Final = Words({"opened": "open"} | {word: word for word in ("closed", "opening", "closing")}, open=True)
_SWITCH: Final = Words({"on": "on", "off": "off", "overpower": "off"})
# By what follows <id>/: the first pattern that fits decides. A watt-minute is a sixtieth of a watt-hour.
_FORMS: Final[tuple[tuple[re.Pattern[str], _Form], ...]] = tuple(
    (re.compile(pattern), form)
    for pattern, form in (
        (r"relay/\d", _Form("switch", "", _SWITCH, "both", told="switch")),
        (r"(?:light|color|white)/\d", _Form("light", "", _SWITCH, "both", told="switch")),
        (r"(?:relay|light|roller)/(?:\d/)?power", _Form("power", "W", _NUMBER)),
        (r"(?:relay|light|roller)/(?:\d/)?energy", _Form("energy", "Wh", Number(metered=True, factor=1 / 60), "meter")),
        (r"emeter/\d/(?:total|total_returned)", _Form("energy", "Wh", Number(metered=True), "meter")),
        (r"emeter/\d/power", _Form("power", "W", _NUMBER)),
        (r"emeter/\d/reactive_power", _Form("reactive_power", "var", _NUMBER)),
        (r"(?:emeter/\d/)?voltage|adc/\d", _Form("voltage", "V", _NUMBER)),
        (r"emeter/\d/current", _Form("current", "A", _NUMBER)),
        (r"emeter/\d/pf", _Form("power_factor", "", _NUMBER)),
        (r"roller/\d", _Form("cover", "", _COVER, "both", told="cover")),
        (r"roller/\d/pos", _Form("position", "%", _NUMBER, "both", told="position")),
        (r"valve/\d", _Form("valve", "", _VALVE, "both", told="valve")),
        (r"input/\d", _Form("input", "", _BIT)),
        (r"input_event/\d", _Form("button", "", Momentary(), steps=("event",))),
        (r"(?:sensor/)?temperature", _Form("temperature", "°C", _NUMBER)),
        (r"ext_temperature/\d", _Form("temperature", "°C", _NUMBER)),
        (r"(?:sensor/|ext_)humidity(?:/\d)?", _Form("humidity", "%", _NUMBER)),
        (r"sensor/battery", _Form("battery", "%", _NUMBER)),
        (r"sensor/lux", _Form("illuminance", "lx", _NUMBER)),
        (r"sensor/state", _Form("door", "", Words({"open": "open", "close": "closed"}, open=True))),
        (r"sensor/gas", _Form("gas", "", Anything(idle="none"))),
        (r"sensor/(?:motion|flood|vibration|smoke|charger)", _Form("", "", _BIT)),
        (r"(?:overtemperature|overpower|loaderror)", _Form("problem", "", _BIT)),
        (r"sensor/(?:tilt|concentration)", _Form("", "", Number(strict=False))),
        (r"sensor/\w{1,30}", _Form("", "", Anything())),
    )
)
_OPENED: Final = {"open": "open", "close": "closed"}
_TRUTH: Final = on_off("True", "False")
# What devices tell in one object, by the same: motion sensors and thermostats on "status", lights beside their state.
_OBJECTS: Final[tuple[tuple[re.Pattern[str], tuple[_Form, ...]], ...]] = (
    (
        re.compile(r"status"),
        (
            _Form("motion", "", _TRUTH, steps=("motion",), name="Motion"),
            _Form("vibration", "", _TRUTH, steps=("vibration",), name="Vibration"),
            _Form("illuminance", "lx", _NUMBER, steps=("lux",), name="Lux"),
            _Form("battery", "%", _NUMBER, steps=("bat",), name="Battery"),
            _Form("temperature", "°C", _NUMBER, steps=("tmp", "value"), name="Temperature"),
            _Form("temperature", "°C", _NUMBER, "both", ("target_t", "value"), "target", "Target temperature"),
        ),
    ),
    (
        re.compile(r"(?:light|color|white)/\d/status"),
        (
            _Form("brightness", "%", _NUMBER, "both", ("brightness",), "set", "brightness"),
            _Form("brightness", "%", _NUMBER, "both", ("gain",), "set", "gain"),
            _Form("color_temp", "K", _NUMBER, "both", ("temp",), "set", "color temperature"),
        ),
    ),
)


class FirstShelly:
    """The adapter. Owned by one thread."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue
        # What devices said of themselves: MAC address, model and software. It comes before their first report.
        self._said: dict[str, tuple[str, str, str]] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return ("shellies/#",)

    def announced(self, payload: Payload, out: Findings) -> bool:
        """Learn what a report shows of its device. Return whether the topic is that of one."""
        levels = payload.topic.split("/")
        if levels == ["shellies", "announce"]:
            self._announced(payload, out)
            return True
        if levels[0] != "shellies" or len(levels) < 3:
            return False
        device, rest = levels[1], "/".join(levels[2:])
        if not payload.body or not device.startswith("shelly") or rest.endswith(("command", "set")):
            return True
        try:
            if rest in ("announce", "info"):
                self._announce(payload, out, device, payload.object())
            elif not self.catalogue.origins(payload.topic):
                self._learn(payload, out, device, rest)
        except DecodeError as error:
            out.problem(payload.topic, str(error))
        return True

    def _announced(self, payload: Payload, out: Findings) -> None:
        """What devices say of themselves on the one topic that they share."""
        try:
            told = payload.object() if payload.body else {}
            device = clean(told.get("id"))
            if device.startswith("shelly") and "/" not in device:
                self._announce(payload, out, device, told)
        except DecodeError as error:
            out.problem(payload.topic, str(error))

    def _announce(self, payload: Payload, out: Findings, device: str, told: Mapping[str, object]) -> None:
        words = (mac_token(clean(told.get("mac"))), clean(told.get("model"), 80), clean(told.get("fw_ver"), 80))
        if device in self._said or len(self._said) < MOST_DEVICES:
            known = self._said.get(device, ("", "", ""))
            mac, model, software = (new or old for new, old in zip(words, known, strict=True))
            self._said[device] = (mac, model, software)
        who = self._who(device)
        if self.catalogue.identities.find(who.tokens) is not None:
            self.catalogue.announce(out, payload.topic, f"shellies/{device}/announce", who, [], None)

    def _who(self, device: str) -> Who:
        kind, _, tail = device.rpartition("-")
        mac, model, software = self._said.get(device, ("", "", ""))
        mac = mac or mac_token(tail)
        return Who(
            tokens=(device, mac) if mac else (device,),
            name=device,
            convention="shelly",
            manufacturer="Shelly",
            model=model or kind,
            software=software,
        )

    def _learn(self, payload: Payload, out: Findings, device: str, rest: str) -> None:
        forms = tuple(form for pattern, form in _FORMS if pattern.fullmatch(rest))[:1]
        if not forms:
            parts = next((parts for pattern, parts in _OBJECTS if pattern.fullmatch(rest)), ())
            told = payload.json_or_none() if parts else None
            forms = tuple(form for form in parts if _has(told, form.steps))
        if not forms and rest != "online":
            return
        templates = self.catalogue.templates
        will = Watching((Word(f"shellies/{device}/online", templates.extractor(""), "true", "false"),))
        plans = []
        for form in forms:
            base = words_of(rest.removeprefix("sensor/").removesuffix("status"))
            name = f"{base} {form.name}".strip().capitalize() if form.name else base.capitalize()
            extract = templates.path(*form.steps) if form.steps else templates.extractor("")
            unique = f"{device}/{rest}" if not form.name else f"{device}/{rest}.{form.steps[0]}"
            plans.append(
                Plan(
                    unique=unique,
                    name=name,
                    role=form.role,
                    type=form.type or rest.rpartition("/")[2],
                    component=rest.partition("/")[0],
                    unit=form.unit,
                    command=self._command(payload.topic, form),
                    sources=(Source(payload.topic, extract, form.meaning),),
                )
            )
        self.catalogue.announce(out, payload.topic, payload.topic, self._who(device), plans, will)

    def _command(self, topic: str, form: _Form) -> CommandForm | None:
        mapping = self.catalogue.templates.mapping
        base = topic.rpartition("/")[0]
        match form.told:
            case "switch":
                words = mapping({"on": "on", "off": "off"})
                return CommandForm(topic=f"{topic}/command", payloads=words, confirmed_by=words)
            case "cover":
                words = mapping({"open": "open", "close": "close", "stop": "stop"})
                return CommandForm(topic=f"{topic}/command", payloads=words)
            case "valve":
                words = mapping({"open": "open", "close": "close"})
                return CommandForm(topic=f"{topic}/command", payloads=words, confirmed_by=mapping(_OPENED))
            case "position":
                return CommandForm(topic=f"{base}/command/pos", limits=(0.0, 100.0, 1.0))
            case "target":
                return CommandForm(topic=f"{base}/thermostat/0/command/target_t", limits=(4.0, 31.0, 0.1))
            case "set":
                limits = (0.0, 100.0, 1.0) if form.unit == "%" else None
                return CommandForm(topic=f"{base}/set", template=f'{{"{form.steps[0]}": {{value}}}}', limits=limits)
        return None


def _has(told: object, steps: tuple[str, ...]) -> bool:
    for step in steps:
        told = told.get(step) if isinstance(told, dict) else None
    return told is not None
