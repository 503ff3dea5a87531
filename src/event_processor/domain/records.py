"""What the writer takes besides outcomes: what a meter's reading adds, what became of a notification, a picture's entry."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import msgspec

from event_processor.domain.meter_periods import Added
from event_processor.domain.meters import Reading

__all__ = ["ImageRecord", "MeterRecord", "NotificationRecord", "Record"]


class MeterRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What ``domain.meters.measure`` made of a reading. Send it in one list with the outcome of the same ``cause``: both are
    stored or neither, and of a cause that is stored already nothing is added twice."""

    travels_by_reference: ClassVar[bool] = True

    cause: str
    reading: Reading | None
    added: tuple[Added, ...] = ()


class NotificationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, or the last word, on telling somebody something. ``step`` is the id of the step that asked for it."""

    travels_by_reference: ClassVar[bool] = True

    step: str
    target: str
    title: str
    body: str
    at: float
    status: Literal["sent", "deferred", "failed", "expired"]
    attempts: int = 1
    reason: str | None = None


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A picture on disk: ``name`` is its path below the folder of pictures, ``cause`` the event that it belongs to."""

    travels_by_reference: ClassVar[bool] = True

    name: str
    device: str
    at: float
    size: int
    sha256: str
    content_type: str
    cause: str | None = None


Record: TypeAlias = MeterRecord | NotificationRecord | ImageRecord
