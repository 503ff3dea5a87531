"""What the simulated home says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

__all__ = ["RABBITMQ", "Body", "Sent"]

RABBITMQ = "rabbitmq"
"""The link of what is sent to RabbitMQ: there the topic is a routing key, and the payload goes as MessagePack."""

Body: TypeAlias = Mapping[str, object]


class Sent(msgspec.Struct, frozen=True):
    """One message. ``link`` is the connection that sends it: each has a last will of its own."""

    topic: str
    payload: bytes | Body
    retained: bool = False
    link: str = "gateway"
