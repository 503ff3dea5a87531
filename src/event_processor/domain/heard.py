"""What goes down the hub's pipes between a broker's message and the decision.

Raw  --(who is it, is it alive)-->  Heard  --(what follows)-->  Outcome
"""

from __future__ import annotations

import hashlib
from typing import ClassVar

import msgspec

from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.outcome import Change
from event_processor.domain.prompts import Request
from event_processor.domain.records import ImageRecord

__all__ = ["Heard", "Pictured", "Raw", "Request", "origin_of_message"]


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """An MQTT message as it came. ``at`` is when it was made, in seconds since the epoch, or when it arrived.

    ``message_id`` is unique unless ``again``: then the broker, or our own retry, delivers what it may have delivered before,
    and ``origin`` tells which message that was.
    """

    travels_by_reference: ClassVar[bool] = True

    topic: str
    body: bytes
    at: float
    message_id: str
    origin: str
    again: bool = False
    retained: bool = False


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What one message said, or what a device's silence did: events for the rules, and what is known of devices by now.

    ``said`` is who went offline or came back, which rules may wait for. ``images`` are the entries of pictures that were kept,
    each with the number of its event.
    """

    travels_by_reference: ClassVar[bool] = True

    at: float
    message_id: str
    origin: str = ""
    again: bool = False
    events: tuple[Event, ...] = ()
    said: tuple[Availability, ...] = ()
    changes: tuple[Change, ...] = ()
    images: tuple[tuple[int, ImageRecord], ...] = ()


class Pictured(msgspec.Struct, frozen=True):
    """What a message said, and the pictures that came with it, as they came, each with the number of its event. They are kept
    where it is read, and go no further."""

    travels_by_reference: ClassVar[bool] = True

    heard: Heard
    pictures: tuple[tuple[int, object], ...]

    def __repr__(self) -> str:
        """Without the pictures: it may come into a log."""
        return f"Pictured({self.heard!r}, of {len(self.pictures)} pictures)"


def origin_of_message(tag: int, address: str, body: bytes) -> str:
    """What stays the same when a broker delivers a message again that has no id of its own.

    An MQTT broker sends an unacknowledged PUBLISH again with its original packet identifier (MQTT 5 section 4.4), which is
    ``tag``: two equal messages that wait at the same time differ in it.
    """
    digest = hashlib.blake2b(address.encode() + b"\0", digest_size=8)
    digest.update(body)
    return f"{tag:x}.{digest.hexdigest()}"
