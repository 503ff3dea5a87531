"""What a reported value means: its value in the hub's words, and whether that is active.

One word is used for the same state in all conventions ("on", "off", "open", "closed", "locked", ...), so a rule does not have
to know which of them a device speaks. Numbers stay numbers, and other text stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, Protocol, TypeAlias

import msgspec

from event_processor.discovery.payload import LONGEST_TEXT, as_scalar, as_text
from event_processor.domain.events import Kind
from event_processor.domain.fields import Scalar
from pylib.errors import DecodeError

__all__ = ["ACTIVE", "Anything", "Meaning", "Momentary", "Number", "Picture", "Position", "Said", "Words", "on_off"]

Said: TypeAlias = "tuple[Scalar, bool | None] | None"
"""Value and activity; ``None`` where the message says nothing for this entity."""

ACTIVE: Final[Mapping[str, bool]] = {
    "on": True, "off": False, "open": True, "opening": True, "closing": True, "closed": False, "unlocked": True,
    "unlocking": True, "jammed": True, "locked": False, "locking": False, "triggered": True, "disarmed": False, "home": True,
    "not_home": False, "cleaning": True, "mowing": True, "docked": False, "idle": False,
}  # fmt: skip
"""Which of the hub's words are active; the others are neither."""

_UNKNOWN: Final = ("None", "unknown", "unavailable")


class Meaning(Protocol):
    """What a reported value means."""

    @property
    def kind(self) -> Kind:
        """The kind of event it makes."""
        ...  # pragma: no cover

    def of(self, raw: object) -> Said:
        """Say what ``raw`` means. Raises ``DecodeError`` where it means nothing."""
        ...  # pragma: no cover


class Words(msgspec.Struct, frozen=True, gc=False):
    """A value that is one of a few words: ``words`` gives the hub's word for each. Another one is an error unless ``open``.

    ``off_after_s``: the device only says "on", and is off that many seconds after it last did.
    """

    words: Mapping[str, str]
    open: bool = False
    quiet: bool = False
    off_after_s: float = 0.0
    kind: ClassVar[Kind] = "input"

    def of(self, raw: object) -> Said:
        text = as_text(raw)
        word = self.words.get(text)
        if word is None:
            if not text:
                return None
            if text in _UNKNOWN:
                return None, None
            folded = text.strip().casefold()
            word = next((mine for theirs, mine in self.words.items() if theirs.casefold() == folded), None)
        if word is None:
            if self.quiet:
                return None
            if not self.open:
                expected = ", ".join(sorted(self.words))[:100]
                raise DecodeError(f"expected one of {expected}, got {_shown(text)}")
            word = text[:LONGEST_TEXT]
        return word, ACTIVE.get(word)


class Number(msgspec.Struct, frozen=True, gc=False):
    """A number, times ``factor`` and then ``plus`` another.

    ``strict`` calls anything else an error; otherwise text is passed on as text.
    """

    strict: bool = True
    metered: bool = False
    factor: float = 1.0
    plus: float = 0.0

    @property
    def kind(self) -> Kind:
        return "meter" if self.metered else "input"

    def of(self, raw: object) -> Said:
        if isinstance(raw, str):
            text = raw.strip()
            if not text:
                return None
            if text in _UNKNOWN:
                return None, None
            number = _parsed(text)
            if not self.strict and text[0] == "0" and text[1:2].isdigit():
                number = None  # a code such as 007 is no number
            if number is None:
                if self.strict:
                    raise DecodeError(f"expected a number, got {_shown(text)}")
                return text[:LONGEST_TEXT], None
        elif raw is None:
            return None, None
        elif isinstance(raw, bool) and not self.strict:
            return raw, None
        elif isinstance(raw, (int, float)):
            number = int(raw) if isinstance(raw, bool) else raw
        elif self.strict:
            raise DecodeError("expected a number, got an object or a list")
        else:
            return as_scalar(raw), None
        if not math.isfinite(number) or abs(number) >= 2**63:
            raise DecodeError("the number is out of range")
        return (number if self.factor == 1.0 else round(number * self.factor + self.plus, 6)), None


class Anything(msgspec.Struct, frozen=True, gc=False):
    """Any single value as it is; ``active`` is whether it differs from ``idle``, where that is given.

    An empty text says nothing, unless ``empty`` names the payload that stands for one.
    """

    idle: str = ""
    empty: str = ""
    kind: ClassVar[Kind] = "input"

    def of(self, raw: object) -> Said:
        value = as_scalar(raw)
        if value == "":
            return None
        if self.empty and value == self.empty:
            return "", None
        if value is None or value in _UNKNOWN:
            return None, None
        known = ACTIVE.get(value) if isinstance(value, str) else None
        return value, (str(value) != self.idle and known is not False) if self.idle else known


class Momentary(msgspec.Struct, frozen=True, gc=False):
    """Something that happens rather than holds (a button, a trigger): active each time it is told.

    With ``only`` just that payload counts, with ``none`` not those; with ``types`` the value has to be one of these.
    """

    only: str = ""
    types: tuple[str, ...] = ()
    value: str = ""
    none: tuple[str, ...] = ()
    kind: ClassVar[Kind] = "input"

    def of(self, raw: object) -> Said:
        text = as_text(raw)
        if not text or text == "None" or (self.only and text != self.only) or text in self.none:
            return None
        if self.types and text not in self.types:
            raise DecodeError(f"expected one of {', '.join(self.types)[:100]}, got {_shown(text)}")
        return self.value or text[:LONGEST_TEXT], True


class Picture(msgspec.Struct, frozen=True, gc=False):
    """A picture: active each time one comes. Its value is the name under which it is kept, which is not known here."""

    kind: ClassVar[Kind] = "input"

    def of(self, raw: object) -> Said:
        return None, True


class Position(msgspec.Struct, frozen=True, gc=False):
    """A number that says whether something is open: it is closed at ``closed``, and open and active elsewhere.

    ``words`` may come instead of a number.
    """

    closed: float = 0.0
    words: Mapping[str, str] = {}
    kind: ClassVar[Kind] = "input"

    def of(self, raw: object) -> Said:
        word = self.words.get(raw) if isinstance(raw, str) else None
        if word is not None:
            return word, ACTIVE.get(word)
        said = Number().of(raw)
        if said is None or said[0] is None:
            return said
        return ("closed", False) if said[0] == self.closed else ("open", True)


def on_off(on: object = "ON", off: object = "OFF", *, also: Iterable[tuple[str, str]] = (), quiet: bool = False) -> Words:
    """The two words of a switch or a binary sensor."""
    return Words({as_text(off): "off", as_text(on): "on", **dict(also)}, quiet=quiet)


def _parsed(text: str) -> int | float | None:
    if len(text) > 40 or "_" in text:
        return None
    try:
        return int(text) if text.lstrip("+-").isascii() and text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        return None


def _shown(text: str) -> str:
    """What there was instead. Never the text itself: a payload may hold anything, a password too."""
    return f"other text of {len(text)} characters"
