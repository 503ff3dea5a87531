"""What a handler returns: a message, and where it is to go. A plain value, so that a test can compare it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pylib.brokers.port import Header

__all__ = ["Message"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a topic or routing key of one broker. Made by ``broker.message(...)``; sending it is the application's.

    :param broker: the name of the broker it goes to.
    :param expires: seconds, from its sending, after which it must not be delivered any more.
    :param qos: MQTT: 0, 1 or 2. RabbitMQ knows no such thing: a message there is persistent and confirmed.
    :param message_id: the same for every repetition; made from the incoming message's where there is one.
    """

    broker: str
    address: str
    payload: Any
    expires: float | None = None
    qos: int = 1
    retain: bool = False
    headers: Mapping[str, Header] | None = None
    message_id: str | None = None
