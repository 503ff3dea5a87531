"""A discovery to talk to, and short ways to say what a device publishes."""

from __future__ import annotations

import json

import pytest

from event_processor.discovery.discovery import Discovery
from event_processor.domain.entities import DeviceInfo, Entity, Found
from event_processor.domain.events import Event
from event_processor.domain.fields import Scalar


class House:
    """A discovery and what it has said so far."""

    def __init__(self, discovery: Discovery | None = None) -> None:
        self.discovery = Discovery() if discovery is None else discovery
        self.now = 1_000.0

    def says(self, topic: str, body: object = b"", *, retained: bool = False) -> Found:
        """A device publishes; anything but bytes and text goes as JSON."""
        if isinstance(body, str):
            body = body.encode()
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.now += 1
        return self.discovery.read(topic, body, retained=retained, now=self.now)

    def fine(self, topic: str, body: object = b"", *, retained: bool = False) -> Found:
        """A device publishes, and nothing about it is a problem."""
        found = self.says(topic, body, retained=retained)
        assert found.problems == ()
        return found

    def entity(self, key: str) -> Entity:
        """The entity with this key."""
        entity = self.discovery.registry.entity(key)
        assert entity is not None, sorted(self.discovery.registry.entities)
        return entity

    def device_of(self, key: str) -> DeviceInfo:
        """The device that has the entity with this key."""
        device = self.discovery.registry.device(self.entity(key).device)
        assert device is not None
        return device

    @property
    def keys(self) -> set[str]:
        """The keys of all entities."""
        return set(self.discovery.registry.entities)

    def tell(self, key: str, asked: Scalar) -> tuple[str, str]:
        """Topic and payload of a command."""
        made = self.discovery.command(key, asked, self.now)
        return made.topic, made.payload


def values(found: Found) -> dict[str, tuple[Scalar, bool | None]]:
    """Value and activity by entity."""
    return {event.device: (event.value, event.active) for event in found.events}


def only(found: Found) -> Event:
    """The one event."""
    (event,) = found.events
    return event


@pytest.fixture
def house() -> House:
    return House()
