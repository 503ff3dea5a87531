"""Covers and valves: a state, a position, or both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from event_processor.discovery.homeassistant.config import Config
from event_processor.discovery.homeassistant.extractors import Inside
from event_processor.discovery.homeassistant.simple import Reader
from event_processor.discovery.meaning import Meaning, Number, Position, Words
from event_processor.discovery.plan import Plan, Source
from event_processor.domain.entities import CommandForm
from pylib.errors import DecodeError

__all__ = ["OPENINGS"]

_STATES: Final = ("open", "opening", "closed", "closing", "stopped")
_CONFIRMED: Final = {"open": "open", "close": "closed"}


def cover(config: Config) -> tuple[Plan, ...]:
    words = {config.text(f"state_{word}", word): word for word in _STATES}
    shut, wide = config.number("position_closed", 0), config.number("position_open", 100)
    low, high = config.number("tilt_min", 0), config.number("tilt_max", 100)
    known = {"position_open": wide, "position_closed": shut, "tilt_min": low, "tilt_max": high}
    sources = config.source("state_topic", "value_template", Words(words), known=known)
    # Without a state of its own a cover is open unless its position says that it is closed.
    sources = sources or config.source("position_topic", "position_template", Position(shut), known=known)
    command = config.command(template="", payloads=_payloads(config), confirmed=_CONFIRMED if sources else None)
    limits = (min(shut, wide), max(shut, wide), 1.0)
    place = config.source("position_topic", "position_template", Number(), known=known)
    move = config.command("set_position_topic", "set_position_template", limits=limits, names=("position",))
    if command is None and move is not None:
        ends = {"open": f"{wide:g}", "close": f"{shut:g}"}
        command = config.command(
            "set_position_topic",
            "set_position_template",
            payloads=ends,
            confirmed=_CONFIRMED if sources else None,
            names=("position",),
        )
    if command is None and not sources:
        raise DecodeError("command_topic: a cover has to have one, or a topic for its state or position")
    plans = [config.plan(sources, command)]
    if place or move is not None:
        plans.append(config.plan(place, move, part="position", type="position", unit="%" if limits[1] == 100 else ""))
    tilt = config.source("tilt_status_topic", "tilt_status_template", Number(), known=known)
    turn = config.command("tilt_command_topic", "tilt_command_template", limits=(low, high, 1.0), names=("tilt_position",))
    if tilt or turn is not None:
        plans.append(config.plan(tilt, turn, part="tilt", type="tilt"))
    return tuple(plans)


def valve(config: Config) -> tuple[Plan, ...]:
    words = {config.text(f"state_{word}", word): word for word in _STATES}
    if config.flag("reports_position"):
        shut, wide = config.number("position_closed", 0), config.number("position_open", 100)
        known = {"position_open": wide, "position_closed": shut}
        ends = {"open": f"{wide:g}", "close": f"{shut:g}"}
        if "payload_stop" in config:
            ends["stop"] = config.text("payload_stop")
        sources = _within(config, Position(shut, words), "state", "position", known=known)
        main = config.command(payloads=ends, confirmed=_CONFIRMED if sources else None, names=("position",))
        place = _within(config, Number(), "position", known=known, number=True)
        limits = (min(shut, wide), max(shut, wide), 1.0)
        move = config.command(limits=limits, names=("position",))
        unit = "%" if limits[1] == 100 else ""
        return (config.plan(sources, main), config.plan(place, move, part="position", type="position", unit=unit))
    sources = _within(config, Words(words), "state")
    payloads = _payloads(config, "payload_stop" in config)
    command: CommandForm | None = config.command(payloads=payloads, confirmed=_CONFIRMED if sources else None)
    if command is None and not sources:
        raise DecodeError("command_topic: a valve has to have one, or a topic for its state")
    return (config.plan(sources, command),)


def _within(
    config: Config, meaning: Meaning, *keys: str, known: Mapping[str, float] | None = None, number: bool = False
) -> tuple[Source, ...]:
    """A valve says its state and position in one message: as they are, or in JSON under these keys."""
    found = config.source("state_topic", "value_template", meaning, known=known)
    made = []
    for source in found:
        name = f"within {keys} {number} {config.text('value_template')} {known}"
        extract = config.templates.shared(name, partial(Inside, source.extract, keys, number=number))
        made.append(source._replace(extract=extract))
    return tuple(made)


def _payloads(config: Config, stop: bool = True) -> dict[str, str]:
    """What opens, closes and stops it; null in the configuration means that it cannot."""
    made = {}
    for word in ("open", "close", "stop") if stop else ("open", "close"):
        if config.data.get(f"payload_{word}", "") is not None:
            made[word] = config.text(f"payload_{word}", word.upper())
    return made


OPENINGS: Final[Mapping[str, Reader]] = {"cover": cover, "valve": valve}
"""Components by name."""
