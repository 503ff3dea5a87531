"""Reading one field of a decoded message, or saying in a few words what was expected instead.

Every function raises ``pylib.errors.DecodeError`` and nothing else, whatever it is given. Messages name the field and
the kind of thing found, never its content: a payload may hold a picture or a password.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from pylib.errors import DecodeError

__all__ = ["MAX_NAME", "Scalar", "flag", "kind_of", "name", "number", "objects", "scalar", "text", "timestamp", "truth"]

Scalar: TypeAlias = bool | int | float | str | None

MAX_NAME = 200
"""Longest device name, label or type accepted, in characters. A routing key has room for 255 bytes."""

_INT_BOUND = 2**63
_TRUE = frozenset({"on", "true", "yes", "1", "open", "opened", "active", "detected", "triggered", "alarm", "motion", "wet"})
_FALSE = frozenset(
    {"off", "false", "no", "0", "closed", "close", "inactive", "clear", "cleared", "normal", "idle", "none", "dry"}
)


def kind_of(value: object) -> str:
    """Name what ``value`` is in the words of a message format ("an object", "a list"), for use in an error."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kind, words in ((int | float, "a number"), (str, "text"), (bytes, "bytes"), (list | tuple, "a list")):
        if isinstance(value, kind):
            return words
    return "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def text(value: object, what: str) -> str:
    """Return ``value`` if it is text that can be written as UTF-8 (JSON allows lone surrogates; brokers do not)."""
    if not isinstance(value, str):
        raise DecodeError(f"{what}: expected text, got {kind_of(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise DecodeError(f"{what}: the text is not valid Unicode") from None
    return value


def name(value: object, what: str) -> str:
    """Return ``value`` trimmed, if it can name a device: printable, not empty, at most ``MAX_NAME`` characters."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INT_BOUND:
        return str(value)
    trimmed = text(value, what).strip()
    if not trimmed:
        raise DecodeError(f"{what}: expected a name, got empty text")
    if len(trimmed) > MAX_NAME:
        raise DecodeError(f"{what}: a name is at most {MAX_NAME} characters, this one has {len(trimmed)}")
    if not trimmed.isprintable():
        raise DecodeError(f"{what}: a name may hold printable characters only")
    return trimmed


def number(value: object, what: str) -> int | float:
    """Return ``value`` as a finite number; text such as ``"21.5"`` counts, ``true`` does not, ``0`` is a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise DecodeError(f"{what}: expected a number, got {kind_of(value)}")
    if isinstance(value, str):
        value = _parsed(value)
        if value is None:
            raise DecodeError(f"{what}: expected a number, got other text")
    if (isinstance(value, float) and not math.isfinite(value)) or not -_INT_BOUND <= value < _INT_BOUND:
        raise DecodeError(f"{what}: the number is out of range")
    return value


def scalar(value: object, what: str) -> Scalar:
    """Return a value that a device can report: null, true or false, a finite number, or text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value, what)
    if isinstance(value, (int, float)):
        return number(value, what)
    raise DecodeError(f"{what}: expected a single value, got {kind_of(value)}")


def truth(value: Scalar, on: frozenset[str] = frozenset(), off: frozenset[str] = frozenset()) -> bool | None:
    """Say whether a reported value means active, by the usual words in any case; ``None`` where it says neither.

    ``on`` and ``off`` are further words in lower case and win over the usual ones. Of the numbers only 0 and 1 speak: a
    temperature is neither on nor off.
    """
    if value is None or isinstance(value, bool):
        word = "" if value is None else str(value).lower()
    elif isinstance(value, str):
        word = value.strip().lower()
    else:
        word = str(int(value)) if value in (0, 1) else str(value)
    if word in on:
        return True
    if word in off:
        return False
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def flag(value: object, what: str) -> bool | None:
    """Return a field such as ``active``; ``None`` where it is null. A value that means neither is an error."""
    if value is None:
        return None
    meaning = truth(scalar(value, what))
    if meaning is None:
        raise DecodeError(f"{what}: expected true or false, got {kind_of(value)} that means neither")
    return meaning


def timestamp(value: object, what: str, now: float) -> float:
    """Return a moment in seconds since the epoch, from such seconds or ISO 8601 (UTC unless it says otherwise).

    Absent means ``now``. An unreadable one is an error and never ``now``: it would make a stale event look fresh.
    """
    if value is None:
        return now
    try:
        if isinstance(value, str) and _parsed(value) is None:
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, datetime):
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise DecodeError(f"{what}: expected seconds since 1970 or an ISO 8601 time") from None
    return float(number(value, what))


def objects(value: object, what: str) -> tuple[Mapping[object, object], ...]:
    """Return a list of objects. An absent one is empty, and an object of objects counts by its values."""
    if value is None:
        return ()
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        raise DecodeError(f"{what}: expected a list of objects, got {kind_of(value)}")
    found: list[Mapping[object, object]] = []
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise DecodeError(f"{what}[{index}]: expected an object, got {kind_of(item)}")
        found.append(item)
    return tuple(found)


def _parsed(written: str) -> int | float | None:
    """Read a plain number of reasonable length; ``None`` for anything else, ``nan`` and ``1_000`` included."""
    written = written.strip()
    if not 0 < len(written) <= 40 or not written.isascii() or written.strip("+-.0123456789eE"):
        return None
    for convert in (int, float):
        try:
            return convert(written)
        except ValueError:
            continue
    return None
