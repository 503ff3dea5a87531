"""What a simulated device is, and how it announces itself: by the device form of Home Assistant's MQTT discovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from event_processor.simulator.values import Body, Sent

__all__ = ["BASE", "GATEWAY", "Device", "Part", "link_topic"]

BASE: Final = "simulated"
"""The first level of every topic but the announcements'."""

GATEWAY: Final = "gateway"
"""The link that the battery devices share, as they do in a house with a radio stick."""


def link_topic(link: str) -> str:
    """Where a connection says that it is there, by its birth message and its last will."""
    return f"{BASE}/{link}/link"


class Part(msgspec.Struct, frozen=True):
    """One entity of a device: its component, its name (empty: the device's) and what else its announcement holds.

    Where ``field`` is given, its value is that field of the device's state.
    """

    component: str
    name: str = ""
    field: str = ""
    more: Mapping[str, object] = {}


class Device(msgspec.Struct, frozen=True):
    """A device. Its state is one JSON object on one topic; commands come on ``.../set`` and below."""

    id: str
    name: str
    room: str
    model: str
    parts: tuple[Part, ...]
    link: str = GATEWAY

    @property
    def state_topic(self) -> str:
        return f"{BASE}/{self.id}/state"

    @property
    def availability_topic(self) -> str:
        """Where the gateway says whether it reaches the device. One with a connection of its own has only that."""
        return f"{BASE}/{self.id}/availability" if self.link == GATEWAY else link_topic(self.link)

    def topic(self, what: str) -> str:
        """A topic of this device: ``set``, ``picture`` and the like."""
        return f"{BASE}/{self.id}/{what}"

    def announcement(self, prefix: str) -> Sent:
        """The announcement, to be retained."""
        topics = dict.fromkeys((link_topic(self.link), self.availability_topic))
        body: Body = {
            "dev": {
                "ids": [f"simulated-{self.id}"], "name": self.name, "mdl": self.model, "mf": "Simulated",
                "suggested_area": self.room,
            },
            "o": {"name": "simulated home"},
            "availability": [{"topic": topic} for topic in topics],
            "availability_mode": "all",
            "state_topic": self.state_topic,
            "cmps": {f"part_{number}": self._component(part) for number, part in enumerate(self.parts)},
        }  # fmt: skip
        return Sent(f"{prefix}/device/simulated-{self.id}/config", msgspec.json.encode(body), True, self.link)

    def _component(self, part: Part) -> Body:
        made: dict[str, object] = {
            "p": part.component,
            "name": part.name or None,
            "unique_id": f"simulated-{self.id}-{part.name or 'main'}",
        }
        if part.field:
            made["value_template"] = f"{{{{ value_json.{part.field} }}}}"
        for key, value in part.more.items():
            # A topic that starts with ./ is one of this device's.
            made[key] = self.topic(value[2:]) if isinstance(value, str) and value.startswith("./") else value
        return made
