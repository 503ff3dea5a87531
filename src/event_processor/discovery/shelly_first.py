"""Shelly devices of the first generation: plain values on ``shellies/<id>/...`` (https://shelly-api-docs.shelly.cloud/gen1/)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.findings import Findings
from event_processor.discovery.identities import mac_token
from event_processor.discovery.meaning import Anything, Meaning, Momentary, Number, Words, on_off
from event_processor.discovery.naming import clean, words_of
from event_processor.discovery.payload import Payload
from event_processor.discovery.plan import Plan, Source, Watching, Who, Word
from event_processor.domain.entities import CommandForm, Role
from pylib.errors import DecodeError

__all__ = ["FirstShelly"]


class _Form(NamedTuple):
    type: str
    unit: str
    meaning: Meaning
    role: Role = "input"
    steps: tuple[str, ...] = ()


_NUMBER: Final = Number()
_BIT: Final = on_off("1", "0", also=(("true", "on"), ("false", "off")))
_COVER: Final = Words({"open": "opening", "close": "closing", "stop": "stopped"}, open=True)
# By what follows <id>/: the first pattern that fits decides. A watt-minute is a sixtieth of a watt-hour.
_FORMS: Final[tuple[tuple[re.Pattern[str], _Form], ...]] = tuple(
    (re.compile(pattern), form)
    for pattern, form in (
        (
            r"(?:relay|light|color|white)/\d",
            _Form("switch", "", Words({"on": "on", "off": "off", "overpower": "off"}), "both"),
        ),
        (r"(?:relay|light|roller)/(?:\d/)?power", _Form("power", "W", _NUMBER)),
        (r"(?:relay|light|roller)/(?:\d/)?energy", _Form("energy", "Wh", Number(metered=True, factor=1 / 60), "meter")),
        (r"emeter/\d/(?:total|total_returned)", _Form("energy", "Wh", Number(metered=True), "meter")),
        (r"emeter/\d/(?:power|reactive_power)", _Form("power", "W", _NUMBER)),
        (r"emeter/\d/voltage", _Form("voltage", "V", _NUMBER)),
        (r"emeter/\d/current", _Form("current", "A", _NUMBER)),
        (r"emeter/\d/pf", _Form("power_factor", "", _NUMBER)),
        (r"roller/\d", _Form("cover", "", _COVER, "both")),
        (r"roller/\d/pos", _Form("position", "%", _NUMBER, "both")),
        (r"input/\d", _Form("input", "", _BIT)),
        (r"input_event/\d", _Form("button", "", Momentary(), steps=("event",))),
        (r"(?:sensor/)?temperature", _Form("temperature", "°C", _NUMBER)),
        (r"ext_temperature/\d", _Form("temperature", "°C", _NUMBER)),
        (r"(?:sensor/|ext_)humidity(?:/\d)?", _Form("humidity", "%", _NUMBER)),
        (r"sensor/battery", _Form("battery", "%", _NUMBER)),
        (r"sensor/lux", _Form("illuminance", "lx", _NUMBER)),
        (r"sensor/state", _Form("door", "", Words({"open": "open", "close": "closed"}, open=True))),
        (r"sensor/(?:motion|flood|vibration|smoke|gas|charger)", _Form("", "", _BIT)),
        (r"(?:overtemperature|overpower|loaderror)", _Form("problem", "", _BIT)),
        (r"sensor/(?:tilt|concentration)", _Form("", "", Number(strict=False))),
        (r"sensor/\w{1,30}", _Form("", "", Anything())),
    )
)


class FirstShelly:
    """The adapter. Owned by one thread."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return ("shellies/#",)

    def announced(self, payload: Payload, out: Findings) -> bool:
        """Learn what a report shows of its device. Return whether the topic is that of one."""
        levels = payload.topic.split("/")
        if levels[0] != "shellies" or len(levels) < 3:
            return levels == ["shellies", "announce"]
        device, rest = levels[1], "/".join(levels[2:])
        if not payload.body or not device.startswith("shelly") or rest.endswith(("command", "set")):
            return True
        try:
            if rest in ("announce", "info"):
                self._announce(payload, out, device)
            elif not self.catalogue.origins(payload.topic):
                self._learn(payload, out, device, rest)
        except DecodeError as error:
            out.problem(payload.topic, str(error))
        return True

    def _announce(self, payload: Payload, out: Findings, device: str) -> None:
        told = payload.object()
        mac = mac_token(clean(told.get("mac")))
        who = self._who(device, mac, clean(told.get("model"), 80), clean(told.get("fw_ver"), 80))
        if self.catalogue.identities.find(who.tokens) is not None:
            self.catalogue.announce(out, payload.topic, payload.topic, who, [], None)

    def _who(self, device: str, mac: str = "", model: str = "", software: str = "") -> Who:
        kind, _, tail = device.rpartition("-")
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
        form = next((form for pattern, form in _FORMS if pattern.fullmatch(rest)), None)
        if form is None and rest != "online":
            return
        templates = self.catalogue.templates
        will = Watching((Word(f"shellies/{device}/online", templates.extractor(""), "true", "false"),))
        plans = []
        if form is not None:
            name = words_of(rest.removeprefix("sensor/")).capitalize()
            source = Source(
                payload.topic, templates.path(*form.steps) if form.steps else templates.extractor(""), form.meaning
            )
            plans.append(
                Plan(
                    unique=f"{device}/{rest}",
                    name=name,
                    role=form.role,
                    type=form.type or rest.rpartition("/")[2],
                    component=rest.partition("/")[0],
                    unit=form.unit,
                    command=self._command(payload.topic, form.type),
                    sources=(source,),
                )
            )
        self.catalogue.announce(out, payload.topic, payload.topic, self._who(device), plans, will)

    def _command(self, topic: str, type: str) -> CommandForm | None:
        mapping = self.catalogue.templates.mapping
        if type == "switch":
            words = mapping({"on": "on", "off": "off"})
            return CommandForm(topic=f"{topic}/command", payloads=words, confirmed_by=words)
        if type == "cover":
            words = mapping({"open": "open", "close": "close", "stop": "stop"})
            return CommandForm(topic=f"{topic}/command", payloads=words)
        if type == "position":
            return CommandForm(topic=f"{topic}/command", limits=(0.0, 100.0, 1.0))
        return None
