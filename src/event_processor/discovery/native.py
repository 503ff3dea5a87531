"""The first applications' own messages: ``sensor/...`` and ``meter/...`` over MQTT, and the bodies on RabbitMQ.

These devices do not announce themselves: they are known from the first message on, one entity each, with one key for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from event_processor.discovery.catalogue import Catalogue
from event_processor.discovery.findings import Findings
from event_processor.discovery.payload import Payload
from event_processor.discovery.plan import Plan, Who
from event_processor.domain.entities import Found, Role
from event_processor.domain.events import Event
from event_processor.domain.sensors import from_mqtt
from pylib.errors import DecodeError

__all__ = ["Native"]

_ROLES: Mapping[str, Role] = {"input": "input", "meter": "meter", "output": "output"}


class Native:
    """The adapter. Owned by one thread."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return ("sensor/#", "meter/#")

    def announced(self, payload: Payload, out: Findings) -> bool:
        """Read a report. Return whether the topic is that of one."""
        if not payload.topic.startswith(("sensor/", "meter/")):
            return False
        if not payload.body:
            return True
        try:
            found = payload.json_or_none()
            read = payload.text if found is None else found
            events = from_mqtt(payload.topic, read, now=payload.now, retained=payload.retained)
            location = found.get("input_location") if isinstance(found, dict) else None
            self._take(out, payload.topic, events, room=location if isinstance(location, str) else "")
        except DecodeError as error:
            out.problem(payload.topic, str(error))
        return True

    def noticed(self, where: str, events: Iterable[Event]) -> Found:
        """Know the devices of these events. Never raises."""
        out = Findings()
        self._take(out, where, events)
        return out.found()

    def _take(self, out: Findings, where: str, events: Iterable[Event], room: str = "") -> None:
        for event in events:
            out.events.append(event)
            known = self.catalogue.registry.entity(event.device)
            if known is not None and (known.type or not event.type):
                continue
            plan = Plan(
                unique=f"seed:{event.device}",
                key=event.device,
                name=event.label,
                role=_ROLES.get(event.kind, "input"),
                type=event.type,
                component=event.kind,
                room=room,
            )
            who = Who(tokens=(event.device,), name=event.device, convention="seed", room=room)
            self.catalogue.announce(out, where, f"seed:{event.device}", who, [plan], None)
