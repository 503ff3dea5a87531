"""What the hub is told by ``app.conf``: ``sections`` has its parts, ``reading`` the whole."""

from __future__ import annotations

from event_processor.settings.reading import HubSettings, load, place_of_rules, read_rules, with_rules
from event_processor.settings.sections import House, MqttSettings, RabbitSettings, Timing, WebSection

__all__ = [
    "House", "HubSettings", "MqttSettings", "RabbitSettings", "Timing", "WebSection", "load", "place_of_rules", "read_rules",
    "with_rules",
]  # fmt: skip
