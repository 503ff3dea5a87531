"""Climates and water heaters: the mode is the entity itself, and everything else is a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from event_processor.discovery.homeassistant.compound import part
from event_processor.discovery.homeassistant.config import Config
from event_processor.discovery.homeassistant.simple import Reader
from event_processor.discovery.meaning import Anything, Meaning, Number, on_off
from event_processor.discovery.plan import Plan
from pylib.errors import DecodeError

__all__ = ["CLIMATES"]

_MODES: Final = ("auto", "off", "cool", "heat", "dry", "fan_only")
_HEATS: Final = ("off", "eco", "electric", "gas", "heat_pump", "high_demand", "performance")
_FANS: Final = ("auto", "low", "medium", "high")


def climate(config: Config) -> tuple[Plan, ...]:
    return _climate(config, _MODES)


def water_heater(config: Config) -> tuple[Plan, ...]:
    return _climate(config, _HEATS)


def _climate(config: Config, usual: tuple[str, ...]) -> tuple[Plan, ...]:
    unit = {"C": "°C", "F": "°F"}.get(config.text("temperature_unit").upper(), config.text("temperature_unit"))
    modes = config.texts("modes") or usual
    mode = config.source("mode_state_topic", "mode_state_template", Anything(idle="off"))
    command = config.command(
        "mode_command_topic",
        "mode_command_template",
        options=modes,
        payloads={word: word for word in modes},
        confirmed={word: word for word in modes} if mode else None,
    )
    limits = (config.number("min_temp", 7), config.number("max_temp", 35), config.number("temp_step", 1))
    wet = (config.number("min_humidity", 30), config.number("max_humidity", 99), 1.0)
    plans = [config.plan(mode, command)] if mode or command is not None else []
    power = {"on": config.text("payload_on", "ON"), "off": config.text("payload_off", "OFF")}
    plans += part(config, "power", "power", on_off(power["on"], power["off"]), type="switch", payloads=power)
    for name, key in (("target", "temperature"), ("target high", "temperature_high"), ("target low", "temperature_low")):
        plans += part(config, f"{name} temperature", key, Number(), type="temperature", unit=unit, limits=limits)
    plans += part(config, "target humidity", "target_humidity", Number(), type="humidity", unit="%", limits=wet)
    plans += part(config, "fan mode", "fan_mode", Anything(), type="fan_mode", options=config.texts("fan_modes") or _FANS)
    plans += part(config, "preset", "preset_mode", Anything(), type="preset_mode", options=config.texts("preset_modes"))
    for key in ("swing_mode", "swing_horizontal_mode"):
        name = key.replace("_", " ")
        plans += part(config, name, key, Anything(), type=key, options=config.texts(f"{key}s") or ("on", "off"))
    shown: tuple[tuple[str, str, Meaning, str, str], ...] = (
        ("current temperature", "current_temperature", Number(), "temperature", unit),
        ("current humidity", "current_humidity", Number(), "humidity", "%"),
        ("action", "action", Anything(idle="off"), "action", ""),
    )
    for name, key, meaning, type, of in shown:
        sources = config.source(f"{key}_topic", f"{key}_template", meaning)
        if sources:
            plans.append(config.plan(sources, part=name, type=type, unit=of))
    if not plans:
        raise DecodeError("mode_state_topic: a climate has to have this or another topic")
    return tuple(plans)


CLIMATES: Final[Mapping[str, Reader]] = {"climate": climate, "water_heater": water_heater}
"""Components by name."""
