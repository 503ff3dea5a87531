"""What the hub is told by ``app.conf``: ``sections`` has its parts, ``reading`` the whole."""

from __future__ import annotations

from event_processor.settings.reading import HubSettings, load, read_rules
from event_processor.settings.sections import House, MqttSettings, RabbitSettings, Timing

__all__ = ["House", "HubSettings", "MqttSettings", "RabbitSettings", "Timing", "load", "read_rules"]
