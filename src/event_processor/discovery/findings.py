"""What one message gives, while it is gathered."""

from __future__ import annotations

from typing import Final

from event_processor.domain.entities import Availability, DeviceInfo, Entity, Found
from event_processor.domain.events import Event

__all__ = ["MOST_PROBLEMS", "Findings"]

MOST_PROBLEMS: Final = 20
"""Problems told of one message; the last one says how many more there are."""


class Findings:
    """Collects, and becomes a ``Found``."""

    __slots__ = (
        "_problems", "availability", "claimed", "departed", "devices", "entities", "events", "pictures", "removed",
        "subscribe",
    )  # fmt: skip

    def __init__(self) -> None:
        self.devices: dict[str, DeviceInfo] = {}
        self.entities: dict[str, Entity] = {}
        self.events: list[Event] = []
        self.pictures: tuple[tuple[int, bytes], ...] = ()
        self.availability: list[Availability] = []
        self.removed: dict[str, None] = {}
        self.departed: dict[str, None] = {}
        self.subscribe: dict[str, None] = {}
        self.claimed: set[str] = set()
        self._problems: dict[str, None] = {}

    def problem(self, topic: str, reason: str) -> None:
        """Tell what made no sense, in a sentence for a person. The same one is told once."""
        shown = topic if topic.isprintable() and len(topic) <= 200 else repr(topic[:200])
        self._problems[f"{shown}: {reason}."] = None

    def picture(self, data: bytes) -> None:
        """The last event is about this picture."""
        self.pictures = (*self.pictures, (len(self.events) - 1, data))

    def found(self) -> Found:
        """Everything that was gathered."""
        problems = tuple(self._problems)
        if len(problems) > MOST_PROBLEMS:
            problems = (*problems[: MOST_PROBLEMS - 1], f"... and {len(problems) - MOST_PROBLEMS + 1} more like these.")
        return Found(
            devices=tuple(self.devices.values()),
            entities=tuple(self.entities.values()),
            events=tuple(self.events),
            availability=tuple(self.availability),
            removed=tuple(self.removed),
            subscribe=tuple(self.subscribe),
            problems=problems,
            departed=tuple(self.departed),
            pictures=self.pictures,
        )
