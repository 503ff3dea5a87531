"""What a command to a simulated device says: a plain word, a number, or a JSON object with ``state`` and ``brightness``."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["Told", "read_command"]

_ON: Final = frozenset(("on", "open", "heat", "true", "1"))
_OFF: Final = frozenset(("off", "close", "closed", "false", "0"))
_LONGEST: Final = 400
"""Bytes of a command; what is longer is none."""


class _Json(msgspec.Struct):
    state: str | None = None
    brightness: float | None = None


class Told(msgspec.Struct, frozen=True):
    """What is asked for; None where the command does not say."""

    state: bool | None = None
    brightness: int | None = None
    number: float | None = None


def read_command(topic: str, payload: bytes) -> tuple[str, Told]:
    """The device's id and what it is told. Never raises: what cannot be understood tells nothing."""
    levels = topic.split("/")
    if len(levels) < 3 or levels[-1] != "set":
        return "", Told()
    device = levels[1]
    if len(payload) > _LONGEST:
        return device, Told()
    text = payload.decode(errors="replace").strip()
    if text.startswith("{"):
        try:
            read = msgspec.json.decode(text, type=_Json)
        except msgspec.DecodeError:
            return device, Told()
        bright = None if read.brightness is None else int(min(255.0, max(0.0, read.brightness)))
        return device, Told(state=_state(read.state or ""), brightness=bright)
    # A thermostat is told its target on a topic of its own: there 1 is a degree and not a word.
    if levels[-2] == "target":
        return device, Told(number=_number(text))
    return device, Told(state=_state(text))


def _state(word: str) -> bool | None:
    lowered = word.lower()
    return True if lowered in _ON else False if lowered in _OFF else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e6 else None
