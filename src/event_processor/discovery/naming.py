"""Keys that people can read: "Kitchen Plug power" for the entity "Power" of the device "Kitchen Plug"."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from event_processor.domain.fields import MAX_NAME

__all__ = ["clean", "key_for", "words_of"]

_LEVEL: Final = re.compile(r"[_\-./:]+")


def clean(value: object, longest: int = MAX_NAME) -> str:
    """Make a name of what a device calls itself: printable, trimmed, of bounded length; empty for what is no text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    text = str(value)[: 4 * longest]
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:longest].strip()


def words_of(name: str) -> str:
    """Turn an id such as ``co2_level`` or ``switch:0`` into words."""
    return clean(_LEVEL.sub(" ", name))


def key_for(device: str, name: str, hint: str, unique: int, taken: Container[str]) -> str:
    """Return a key that is not taken. The same device and entity get the same one each time, whatever the order."""
    device = device[: MAX_NAME // 2]
    mine, theirs = name.casefold(), device.casefold()
    # "Boiler pump" names its device, and "Boilerplate" of the device "Boiler" does not.
    inside = mine.startswith(theirs) and not mine[len(theirs) : len(theirs) + 1].isalnum() if device else True
    base = device if not name else name if inside else f"{device} {name}"
    base = base[: MAX_NAME - 20].strip() or "unnamed"
    hinted = f"{base} {hint}"[: MAX_NAME - 10].strip() if hint and hint.casefold() not in base.casefold() else ""
    for candidate in (base, hinted, f"{hinted or base} {unique & 0xFFFF:04x}"):
        if candidate and candidate not in taken:
            return candidate
    return f"{base} {unique:x}"
