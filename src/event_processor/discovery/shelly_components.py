"""What the components of a Shelly report, and how they are told: tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from event_processor.discovery.meaning import Anything, Meaning, Number, Words, on_off
from event_processor.domain.entities import CommandForm

__all__ = ["FIELDS", "Field", "command_of", "field_of"]


class Field(NamedTuple):
    """One value: what to add to the component's name, its type and unit, and what it means."""

    name: str
    type: str
    unit: str
    meaning: Meaning
    category: str = ""


_SOURCE: Final = "event-processor"
_BOOL: Final = on_off("True", "False")
_NUMBER: Final = Number()
_TOTAL: Final = Number(metered=True)
_TEXT: Final = Anything()
_COVER: Final = Words({word: word for word in ("open", "closed", "opening", "closing", "stopped")}, open=True)

_POWER: Final = {
    "apower": Field("power", "power", "W", _NUMBER), "voltage": Field("voltage", "voltage", "V", _NUMBER),
    "current": Field("current", "current", "A", _NUMBER), "pf": Field("power factor", "power_factor", "", _NUMBER),
    "freq": Field("frequency", "frequency", "Hz", _NUMBER), "aenergy.total": Field("energy", "energy", "Wh", _TOTAL),
    "ret_aenergy.total": Field("returned energy", "energy", "Wh", _TOTAL),
    "temperature.tC": Field("temperature", "temperature", "°C", _NUMBER, "diagnostic"),
}  # fmt: skip
_LIGHT: Final = {
    "output": Field("", "light", "", _BOOL), "brightness": Field("brightness", "brightness", "%", _NUMBER),
    "ct": Field("color temperature", "color_temp", "K", _NUMBER), "white": Field("white", "brightness", "", _NUMBER),
    "rgb": Field("color", "color", "", _TEXT), **_POWER,
}  # fmt: skip
_EM: Final = {
    f"{phase}_{what}": Field(f"{phase.replace('_', ' ')} {name}", type, unit, _NUMBER)
    for phase in ("a", "b", "c", "n", "total")
    for what, name, type, unit in (
        ("act_power", "power", "power", "W"), ("aprt_power", "apparent power", "apparent_power", "VA"),
        ("current", "current", "current", "A"), ("voltage", "voltage", "voltage", "V"),
        ("pf", "power factor", "power_factor", ""), ("freq", "frequency", "frequency", "Hz"),
    )
}  # fmt: skip
_EM_DATA: Final = {
    f"{phase}_{what}": Field(f"{phase.replace('_', ' ')} {name}".strip(), "energy", "Wh", _TOTAL)
    for phase in ("a", "b", "c")
    for what, name in (("total_act_energy", "energy"), ("total_act_ret_energy", "returned energy"))
} | {
    "total_act": Field("energy", "energy", "Wh", _TOTAL), "total_act_ret": Field("returned energy", "energy", "Wh", _TOTAL),
    "total_act_energy": Field("energy", "energy", "Wh", _TOTAL),
    "total_act_ret_energy": Field("returned energy", "energy", "Wh", _TOTAL),
}  # fmt: skip
_VALUE: Final = {"value": Field("", "", "", _TEXT)}

_TABLE: Final[Mapping[str, Mapping[str, Field]]] = {
    "switch": {"output": Field("", "switch", "", _BOOL), **_POWER},
    "cover": {
        "state": Field("", "cover", "", _COVER), "current_pos": Field("position", "position", "%", _NUMBER),
        "slat_pos": Field("slat position", "tilt", "%", _NUMBER), **_POWER,
    },
    "light": _LIGHT, "rgb": _LIGHT, "rgbw": _LIGHT, "cct": _LIGHT, "rgbcct": _LIGHT,
    "input": {
        "state": Field("", "input", "", _BOOL), "percent": Field("percent", "analog", "%", _NUMBER),
        "counts.total": Field("count", "count", "", _TOTAL), "freq": Field("frequency", "frequency", "Hz", _NUMBER),
    },
    "pm1": _POWER,
    "em": _EM, "emdata": _EM_DATA, "em1data": _EM_DATA,
    "em1": {
        "act_power": Field("power", "power", "W", _NUMBER), "voltage": Field("voltage", "voltage", "V", _NUMBER),
        "current": Field("current", "current", "A", _NUMBER), "pf": Field("power factor", "power_factor", "", _NUMBER),
    },
    "temperature": {"tC": Field("", "temperature", "°C", _NUMBER)},
    "humidity": {"rh": Field("", "humidity", "%", _NUMBER)},
    "illuminance": {"lux": Field("", "illuminance", "lx", _NUMBER), "illumination": Field("level", "level", "", _TEXT)},
    "voltmeter": {"voltage": Field("", "voltage", "V", _NUMBER)},
    "devicepower": {
        "battery.percent": Field("battery", "battery", "%", _NUMBER),
        "battery.V": Field("battery voltage", "voltage", "V", _NUMBER),
        "external.present": Field("external power", "power", "", _BOOL),
    },
    "smoke": {"alarm": Field("", "smoke", "", _BOOL)},
    "flood": {"alarm": Field("", "moisture", "", _BOOL)},
    "presence": {"num_objects": Field("people", "count", "", _NUMBER)},
    "motion": {"motion": Field("", "motion", "", _BOOL)},
    "thermostat": {
        "target_C": Field("target temperature", "temperature", "°C", _NUMBER),
        "current_C": Field("current temperature", "temperature", "°C", _NUMBER),
        "output": Field("output", "heating", "", _BOOL),
        "enable": Field("enabled", "switch", "", _BOOL),
    },
    "boolean": {"value": Field("", "boolean", "", _BOOL)}, "number": {"value": Field("", "number", "", _NUMBER)},
    "text": _VALUE, "enum": _VALUE,
    "blutrv": {
        "target_C": Field("target temperature", "temperature", "°C", _NUMBER),
        "current_C": Field("current temperature", "temperature", "°C", _NUMBER),
        "pos": Field("position", "position", "%", _NUMBER), "battery": Field("battery", "battery", "%", _NUMBER),
    },
    "bthomesensor": {"value": Field("", "sensor", "", _TEXT)},
    "bthomedevice": {"battery": Field("battery", "battery", "%", _NUMBER)},
    "wifi": {"rssi": Field("signal", "signal_strength", "dBm", _NUMBER, "diagnostic")},
}  # fmt: skip

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {kind: tuple(fields) for kind, fields in _TABLE.items()}
"""The fields that mean something, by the kind of component."""

_SETS: Final = {"switch": "Switch", "light": "Light", "rgb": "RGB", "rgbw": "RGBW", "cct": "CCT", "rgbcct": "RGBCCT"}


def field_of(kind: str, field: str) -> Field | None:
    """What a field of a kind of component is."""
    return _TABLE.get(kind, {}).get(field)


def command_of(kind: str, field: str, number: int, topic: str) -> CommandForm | None:
    """How a field is told: a call of the device's RPC methods."""
    if kind in _SETS and field == "output":
        on, off = (_call(f"{_SETS[kind]}.Set", id=number, on=value) for value in (True, False))
        toggle = _call(f"{_SETS[kind]}.Toggle", id=number)
        return CommandForm(
            topic=topic, payloads={"on": on, "off": off, "toggle": toggle}, confirmed_by={"on": "on", "off": "off"}
        )
    if kind in _SETS and kind != "switch" and field in ("brightness", "ct", "white"):
        template = _call(f"{_SETS[kind]}.Set", id=number, on=True, **{field: "{value}"})
        limits = {"brightness": (0.0, 100.0, 1.0), "white": (0.0, 255.0, 1.0)}.get(field)
        return CommandForm(topic=topic, template=template, limits=limits)
    if kind in ("rgb", "rgbw", "rgbcct") and field == "rgb":
        return CommandForm(topic=topic, template=_call(f"{_SETS[kind]}.Set", id=number, on=True, rgb="{value}"))
    if kind == "cover" and field == "state":
        payloads = {word: _call(f"Cover.{word.capitalize()}", id=number) for word in ("open", "close", "stop")}
        return CommandForm(topic=topic, payloads=payloads, confirmed_by={"open": "open", "close": "closed"})
    if kind == "cover" and field in ("current_pos", "slat_pos"):
        template = _call("Cover.GoToPosition", id=number, **{"pos" if field == "current_pos" else field: "{value}"})
        return CommandForm(topic=topic, template=template, limits=(0.0, 100.0, 1.0))
    if kind == "thermostat" and field == "target_C":
        return CommandForm(topic=topic, template=_call("Thermostat.SetConfig", id=number, config={"target_C": "{value}"}))
    if kind == "blutrv" and field == "target_C":
        params = {"id": 0, "target_C": "{value}"}
        return CommandForm(topic=topic, template=_call("BluTrv.Call", id=number, method="TRV.SetTarget", params=params))
    if kind == "thermostat" and field == "enable":
        on, off = (_call("Thermostat.SetConfig", id=number, config={"enable": value}) for value in (True, False))
        return CommandForm(topic=topic, payloads={"on": on, "off": off}, confirmed_by={"on": "on", "off": "off"})
    if kind in ("enum", "text") and field == "value":
        return CommandForm(topic=topic, template=_request(f"{kind.capitalize()}.Set", id=number, value="{value}"))
    if kind == "boolean" and field == "value":
        on, off = (_call("Boolean.Set", id=number, value=value) for value in (True, False))
        return CommandForm(topic=topic, payloads={"on": on, "off": off}, confirmed_by={"on": "on", "off": "off"})
    if kind == "number" and field == "value":
        return CommandForm(topic=topic, template=_call("Number.Set", id=number, value="{value}"))
    return None


def _request(name: str, **params: object) -> str:
    """A request; ``"{value}"`` in it stands for text."""
    return json.dumps({"id": 1, "src": _SOURCE, "method": name, "params": params})


def _call(name: str, **params: object) -> str:
    """A request in which ``{value}`` stands for a number, and has no quotation marks."""
    return _request(name, **params).replace('"{value}"', "{value}")
