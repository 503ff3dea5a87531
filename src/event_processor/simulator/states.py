"""What each device of the simulated home says of itself at the moment. Owned by the home."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec

from event_processor.simulator.devices import GATEWAY, Device
from event_processor.simulator.values import Sent

__all__ = ["States"]


class States:
    """The devices' states, as fields of one JSON object each, and which of them can be reached."""

    def __init__(self, devices: Iterable[Device], chance: random.Random) -> None:
        self.devices = {device.id: device for device in devices}
        self._fields: dict[str, dict[str, object]] = {id: {} for id in self.devices}
        self._unreachable: set[str] = set()
        for device in self.devices.values():
            if any(part.field == "battery" for part in device.parts):
                self._fields[device.id]["battery"] = chance.randint(55, 100)

    def get(self, device: str, field: str) -> object:
        """A field as it was set last; None before that."""
        return self._fields[device].get(field)

    def put(self, device: str, **fields: object) -> list[Sent]:
        """Set fields. Returns the report, or nothing when all are as before or nobody can hear the device."""
        mine = self._fields[device]
        if all(mine.get(field) == value for field, value in fields.items()):
            return []
        mine.update(fields)
        return self.report(device)

    def report(self, device: str) -> list[Sent]:
        """The state of a device as it is."""
        if device in self._unreachable or not self._fields[device]:
            return []
        known = self.devices[device]
        # Retained, so that who hears of the device later knows at once how it is.
        return [Sent(known.state_topic, msgspec.json.encode(self._fields[device]), True, known.link)]

    def reach(self, device: str, reachable: bool) -> list[Sent]:
        """The gateway finds that it reaches a device, or does no longer."""
        (self._unreachable.discard if reachable else self._unreachable.add)(device)
        return self.availability(device) + (self.report(device) if reachable else [])

    def availability(self, device: str) -> list[Sent]:
        """What the gateway says of a device; one with a connection of its own has its last will for that."""
        known = self.devices[device]
        if known.link != GATEWAY:
            return []
        return [Sent(known.availability_topic, b"offline" if device in self._unreachable else b"online", True)]
