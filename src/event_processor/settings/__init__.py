"""What the hub is told by ``app.conf``: ``sections`` has its parts, ``reading`` the whole."""

from __future__ import annotations

from event_processor.settings.reading import (
    HubSettings,
    all_schedules,
    load,
    place_of_rules,
    place_of_schedules,
    read_rules,
    read_schedules,
    with_rules,
)
from event_processor.settings.sections import House, MqttSettings, RabbitSettings, Timing, WebSection

__all__ = [
    "House", "HubSettings", "MqttSettings", "RabbitSettings", "Timing", "WebSection", "all_schedules", "load",
    "place_of_rules", "place_of_schedules", "read_rules", "read_schedules", "with_rules",
]  # fmt: skip
