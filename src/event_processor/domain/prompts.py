"""What else than a report makes the hub decide: a wish, a device that went or came, a schedule that was due.

Each is stored with what came of it, so that a replay decides on the same once more.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from event_processor.domain.entities import Availability

__all__ = ["Prompt", "Request", "Scheduled"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a person or a program asks of the hub: ``id`` is given by the asker, and asking twice with one id is asking once.

    ``what`` names the kind ("set_mode", "enable", "acknowledge", "command", ...), ``about`` what it concerns and ``value`` the
    rest of it, as JSON would have it. ``who`` is for the audit.
    """

    travels_by_reference: ClassVar[bool] = True

    id: str
    at: float
    what: str
    who: str
    about: str = ""
    value: object = None


class Scheduled(msgspec.Struct, frozen=True):
    """A schedule was due, and these are the wishes that its tasks came to."""

    schedule: str
    asked: tuple[Request, ...] = ()


Prompt: TypeAlias = Availability | Request | Scheduled
