"""What a broker delivers, in the form in which it goes down the hub's first pipe. Called on the connections' threads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final

from event_processor.causes import UNTAGGED
from event_processor.domain.bodies import from_rabbitmq, image_body, pictures_in
from event_processor.domain.heard import Heard, Pictured, Raw, origin_of_message
from event_processor.domain.pictures import kind_of_picture
from pylib.brokers.identity import new_id
from pylib.brokers.port import Delivery
from pylib.data import decode

__all__ = ["raw_mqtt", "read_rabbitmq"]

LONGEST_ID: Final = 200
"""Characters of a message's id that are kept as they are; of a longer one a hash stands for it."""

_IMAGE: Final = b"image"  # what a body has in it that has a picture


def raw_mqtt(own_topic: str = "") -> Callable[[Delivery], Raw | None]:
    """Make the function that takes an MQTT delivery as it is; what it says is found out by the thread that knows the devices.

    Without a time of its own a message is as old as its sender says in its properties, or new. What the hub itself says on
    ``own_topic`` is left out.
    """

    def take(delivery: Delivery) -> Raw | None:
        if delivery.address == own_topic:
            return None
        return Raw(
            topic=delivery.address,
            body=delivery.body,
            at=time.time() if delivery.created_at is None else delivery.created_at,
            message_id=_id_of(delivery),
            origin=origin_of_message(delivery.tag, delivery.address, delivery.body),
            again=delivery.redelivered,
            retained=delivery.retained,
        )

    return take


def read_rabbitmq(delivery: Delivery) -> Heard | Pictured:
    """Read a message of an application. Raises ``DecodeError`` for what it cannot be, which costs that one message."""
    now = time.time() if delivery.created_at is None else delivery.created_at
    body: object
    if not delivery.address.endswith(".image"):
        body = decode(delivery.body, delivery.content_type)
    elif kind_of_picture(delivery.body) is not None:
        body = image_body(delivery.address, delivery.body)
    else:
        body = image_body(delivery.address, decode(delivery.body, delivery.content_type))
    heard = Heard(
        at=now,
        message_id=_id_of(delivery),
        # A delivery tag belongs to one connection (AMQP 0-9-1 section 1.8.3.13), so it does not tell two equal messages apart.
        origin=UNTAGGED + origin_of_message(0, delivery.address, delivery.body),
        again=delivery.redelivered,
        events=from_rabbitmq(delivery.address, body, now=now),
    )
    if _IMAGE in delivery.body or delivery.address.endswith(".image"):
        pictures = pictures_in(body, heard.events)
        if pictures:
            return Pictured(heard, pictures)
    return heard


def _id_of(delivery: Delivery) -> str:
    """The message's id, or a new one. Its sender chooses it, up to 64 KiB on MQTT; it is remembered, stored and looked up."""
    given = delivery.message_id
    if not given:
        return new_id()
    return given if len(given) <= LONGEST_ID else f"sha256-{hashlib.sha256(given.encode(errors='replace')).hexdigest()}"
