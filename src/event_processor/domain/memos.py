"""What the hub remembers between events, one frozen value each. All go to JSON and back unchanged.

Keys within a scope are text: ``<what>:<rule>:<device>`` for what a rule remembers, where only the last part may hold colons.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from event_processor.domain.events import Event
from event_processor.domain.fields import Scalar
from event_processor.domain.rules import DeviceCommand

__all__ = ["Alive", "Awaited", "Entry", "Hold", "Memo", "ModeState", "Queued", "Run", "Seen", "Timer", "key_of"]


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an entity said last, and since when it says so. With ``known`` false it is out of reach and its value unknown."""

    value: Scalar
    active: bool | None
    at: float
    since: float
    type: str = ""
    known: bool = True


class Alive(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whether a device is there, and since when."""

    online: bool
    at: float


class Hold(msgspec.Struct, frozen=True, omit_defaults=True):
    """A ``for``: true without a break since ``since``; once it has ``fired`` it waits for its end."""

    since: float
    event: Event
    cause: str
    fired: bool = False


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody came in through a door on the way in, and has time to disarm."""

    event: Event
    cause: str


class Queued(msgspec.Struct, frozen=True, omit_defaults=True):
    """What waits until a rule's actions are through."""

    event: Event
    cause: str


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule's actions under way: ``index`` is the next one; ``waiting`` are the runs queued behind it."""

    id: str
    event: Event
    index: int = 0
    acknowledged: str = ""
    ends_when_acknowledged: bool = False
    waiting: tuple[Queued, ...] = ()


class Awaited(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command whose effect has not been reported yet. ``attempt`` counts how often it was told again."""

    rule: str
    run: str
    index: int
    action: DeviceCommand
    event: Event
    attempt: int = 0


class Timer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something due at ``at``; ``cause`` is what started it."""

    at: float
    cause: str


class ModeState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The mode, and during an exit delay the one that comes ``next``, at ``at``."""

    current: str
    since: float = 0.0
    next: str = ""
    at: float = 0.0


Memo: TypeAlias = float | tuple[float, ...] | Hold | Entry | Run | Awaited


def key_of(what: str, rule: str, device: str = "") -> str:
    """The key of a memo or timer."""
    return f"{what}:{rule}:{device}"
