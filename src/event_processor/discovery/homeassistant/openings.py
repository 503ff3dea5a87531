"""Covers and valves: a state, a position, or both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from event_processor.discovery.homeassistant.config import Config
from event_processor.discovery.homeassistant.simple import Reader
from event_processor.discovery.meaning import Number, Position, Words
from event_processor.discovery.plan import Plan
from event_processor.domain.entities import CommandForm
from pylib.errors import DecodeError

__all__ = ["OPENINGS"]

_STATES: Final = ("open", "opening", "closed", "closing", "stopped")
_CONFIRMED: Final = {"open": "open", "close": "closed"}


def cover(config: Config) -> tuple[Plan, ...]:
    words = {config.text(f"state_{word}", word): word for word in _STATES}
    shut, wide = config.number("position_closed", 0), config.number("position_open", 100)
    sources = config.source("state_topic", "value_template", Words(words))
    # Without a state of its own a cover is open unless its position says that it is closed.
    sources = sources or config.source("position_topic", "position_template", Position(shut))
    command = config.command(template="", payloads=_payloads(config), confirmed=_CONFIRMED if sources else None)
    limits = (min(shut, wide), max(shut, wide), 1.0)
    place = config.source("position_topic", "position_template", Number())
    move = config.command("set_position_topic", "set_position_template", limits=limits)
    if command is None and move is not None:
        ends = {"open": f"{wide:g}", "close": f"{shut:g}"}
        command = config.command(
            "set_position_topic", "set_position_template", payloads=ends, confirmed=_CONFIRMED if sources else None
        )
    if command is None and not sources:
        raise DecodeError("command_topic: a cover has to have one, or a topic for its state or position")
    plans = [config.plan(sources, command)]
    if place or move is not None:
        plans.append(config.plan(place, move, part="position", type="position", unit="%" if limits[1] == 100 else ""))
    tilt = config.source("tilt_status_topic", "tilt_status_template", Number())
    low, high = config.number("tilt_min", 0), config.number("tilt_max", 100)
    turn = config.command("tilt_command_topic", "tilt_command_template", limits=(low, high, 1.0))
    if tilt or turn is not None:
        plans.append(config.plan(tilt, turn, part="tilt", type="tilt"))
    return tuple(plans)


def valve(config: Config) -> tuple[Plan, ...]:
    if config.flag("reports_position"):
        shut, wide = config.number("position_closed", 0), config.number("position_open", 100)
        ends = {"open": f"{wide:g}", "close": f"{shut:g}"}
        sources = config.source("state_topic", "value_template", Position(shut))
        main = config.command(payloads=ends, confirmed=_CONFIRMED if sources else None)
        place = config.source("state_topic", "value_template", Number())
        move = config.command(limits=(min(shut, wide), max(shut, wide), 1.0))
        return (config.plan(sources, main), config.plan(place, move, part="position", type="position"))
    words = {config.text(f"state_{word}", word): word for word in _STATES}
    sources = config.source("state_topic", "value_template", Words(words))
    command: CommandForm | None = config.command(payloads=_payloads(config), confirmed=_CONFIRMED if sources else None)
    if command is None and not sources:
        raise DecodeError("command_topic: a valve has to have one, or a topic for its state")
    return (config.plan(sources, command),)


def _payloads(config: Config) -> dict[str, str]:
    """What opens, closes and stops it; null in the configuration means that it cannot."""
    made = {}
    for word in ("open", "close", "stop"):
        if config.data.get(f"payload_{word}", "") is not None:
            made[word] = config.text(f"payload_{word}", word.upper())
    return made


OPENINGS: Final[Mapping[str, Reader]] = {"cover": cover, "valve": valve}
"""Components by name."""
