"""What the embedded MQTT broker holds at most, so that no client can make it hold more."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Budget", "MqttLimits"]


@dataclass(frozen=True, slots=True)
class MqttLimits:
    """Limits of one broker. Past ``connections`` a connection is closed at once; past ``sessions`` CONNECT is answered with
    3, server unavailable; a packet over ``packet_bytes`` ends its connection; past ``subscriptions`` SUBACK says failure.
    What does not fit in a queue or in ``held_bytes`` is dropped, counted, and logged once per client until its queue is empty.
    """

    connections: int = 256
    sessions: int = 1000
    packet_bytes: int = 16 * 1024 * 1024
    subscriptions: int = 1000
    in_flight: int = 20
    queued_messages: int = 10_000
    held_bytes: int = 64 * 1024 * 1024
    retained_messages: int = 10_000


class Budget:
    """Counts the bytes that one broker holds in queues, in flight and retained. For one thread."""

    __slots__ = ("free", "most")

    def __init__(self, most: int) -> None:
        self.most = self.free = most

    def take(self, size: int) -> bool:
        """Whether there was room; it is taken then."""
        if size > self.free:
            return False
        self.free -= size
        return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.free += size
