"""What a Tasmota device measures: names, units and kinds of the values in its ``SENSOR`` messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from event_processor.discovery.meaning import Anything, Meaning, Number
from event_processor.discovery.naming import clean, words_of
from event_processor.discovery.plan import Plan, Source
from event_processor.discovery.templates import Templates
from event_processor.domain.registry import MOST_ENTITIES

__all__ = ["sensor_plans"]

# By quantity: the type, and the unit; a unit in brackets is named by another field of the message.
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "Temperature": ("temperature", "[TempUnit]"), "DewPoint": ("temperature", "[TempUnit]"), "Humidity": ("humidity", "%"),
    "Pressure": ("pressure", "[PressureUnit]"), "SeaPressure": ("pressure", "[PressureUnit]"),
    "Speed": ("speed", "[SpeedUnit]"), "CurrentNeutral": ("current", "A"), "PhaseAngle": ("angle", "°"),
    "ImportReactive": ("reactive_energy", "kVArh"), "ExportReactive": ("reactive_energy", "kVArh"),
    "Power": ("power", "W"), "ActivePower": ("power", "W"), "ApparentPower": ("apparent_power", "VA"),
    "ReactivePower": ("reactive_power", "VAr"), "Voltage": ("voltage", "V"), "Current": ("current", "A"),
    "Frequency": ("frequency", "Hz"), "Factor": ("power_factor", ""), "Total": ("energy", "kWh"), "Today": ("energy", "kWh"),
    "Yesterday": ("energy", "kWh"), "Energy": ("energy", "kWh"), "ImportActive": ("energy", "kWh"),
    "ExportActive": ("energy", "kWh"), "TotalTariff": ("energy", "kWh"), "ExportTariff": ("energy", "kWh"),
    "Battery": ("battery", "%"), "Illuminance": ("illuminance", "lx"), "Ambient": ("illuminance", "lx"),
    "Distance": ("distance", "cm"), "Moisture": ("moisture", "%"), "Weight": ("weight", "kg"),
    "CarbonDioxide": ("carbon_dioxide", "ppm"), "eCO2": ("carbon_dioxide", "ppm"),
    "TVOC": ("volatile_organic_compounds", "ppb"),
    "PM1": ("pm1", "µg/m³"), "PM2.5": ("pm25", "µg/m³"), "PM10": ("pm10", "µg/m³"), "CCT": ("color_temp", "K"),
}  # fmt: skip
_TOTALS: Final = frozenset({"Total", "ImportActive", "ExportActive", "TotalTariff", "ExportTariff"})
_LEFT_OUT: Final = ("Time", "PN532", "RDM6300")
_DEGREES: Final = {"C": "°C", "F": "°F", "K": "K"}
_DEEPEST: Final = 4


def sensor_plans(measured: Mapping[object, object], topic: str, mac: str, templates: Templates) -> list[Plan]:
    """Plan an entity for each value of the ``sn`` of a device's announcement."""
    plans: list[Plan] = []
    for path, value in _leaves(measured, ()):
        if len(plans) >= MOST_ENTITIES:
            break
        quantity = next(str(step) for step in reversed(path) if isinstance(step, str))
        type, unit = _KINDS.get(quantity, ("", ""))
        if not type and len(path) > 1 and isinstance(path[-2], str):
            type, unit = _KINDS.get(path[-2], ("", ""))  # such as the average of a speed
        if unit.startswith("["):
            told = clean(measured.get(unit[1:-1]), 20)
            unit = _DEGREES.get(told, told)
        metered = quantity in _TOTALS
        meaning: Meaning = Anything() if isinstance(value, str) and not type else Number(strict=False, metered=metered)
        name = " ".join(str(step + 1) if isinstance(step, int) else step for step in path)
        plans.append(
            Plan(
                unique=f"{mac}_sensor_{'_'.join(map(str, path))}",
                name=clean(name),
                hint=words_of(quantity),
                role="meter" if metered else "input",
                type=type or "sensor",
                component="tasmota sensor",
                unit=unit,
                sources=(Source(topic, templates.path(*path), meaning),),
            )
        )
    return plans


def _leaves(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Give each single value with its path. Units, the time, and switches (which the configuration has) are no values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            at_top = not path
            named = isinstance(key, str) and key != "" and clean(key) == key
            if not named or key.endswith("Unit") or (at_top and (key in _LEFT_OUT or key.startswith(("Switch", "Shutter")))):
                continue
            if len(path) < _DEEPEST:
                yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:16]):
            if not isinstance(inner, (dict, list)):
                yield (*path, index), inner
    elif path:
        yield path, value
