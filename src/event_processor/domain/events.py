"""What the hub knows after hearing a device: one frozen value per device per message."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from event_processor.domain.fields import Scalar

__all__ = ["Event", "Kind", "Source"]

Kind: TypeAlias = Literal["input", "meter", "heartbeat", "output"]
Source: TypeAlias = Literal["mqtt", "rabbitmq", "hub"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One report by one device.

    ``device`` is its key ("Front Porch Door"); ``kind`` is what was reported: an input's state, a meter's reading, mere
    life, or an advertised output. ``value`` is the sample; for a meter it is the register reading, and ``minute`` what
    was metered in the last minute. ``active`` is ``None`` where the message does not say. ``created_at`` is in seconds
    since the epoch, by the message's own timestamp where it has one, else by its arrival. ``topic`` is the MQTT topic
    or the routing key; ``retained`` says that an MQTT broker kept it from earlier. ``momentary`` says that it tells of
    something that happened and does not last, such as a button that was pressed: each such report is an activation.
    """

    device: str
    kind: Kind
    created_at: float
    source: Source
    topic: str
    type: str = ""
    label: str = ""
    value: Scalar = None
    minute: int | float | None = None
    active: bool | None = None
    retained: bool = False
    momentary: bool = False
    detail: str | None = None
