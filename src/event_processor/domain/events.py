"""What the hub knows after hearing a device: one frozen value per device per message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from event_processor.domain.fields import Scalar

__all__ = ["Event", "Kind", "Source", "forwarded"]

Kind: TypeAlias = Literal["input", "meter", "heartbeat", "output"]
Source: TypeAlias = Literal["mqtt", "rabbitmq", "hub"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One report by one device.

    ``device`` is its key ("Front Porch Door"); ``kind`` is what was reported: an input's state, a meter's reading, mere
    life, or an advertised output. ``value`` is the sample; for a meter it is the register reading, and ``minute`` what
    was metered in the last minute. ``active`` is ``None`` where the message does not say. ``created_at`` is in seconds
    since the epoch, by the message's own timestamp where it has one, else by its arrival. ``topic`` is the MQTT topic
    or the routing key; ``retained`` says that an MQTT broker kept it from earlier.
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
    detail: str | None = None


def forwarded(topic_base: str, events: Iterable[Event]) -> dict[str, object]:
    """Build the form in which an MQTT message goes down the pipeline: ``{topic_base: {"data": {"device_info": ...}}}``.

    The shape is the first listing's; beside ``data`` stand ``source``, and ``timestamp``, ``topic`` and ``retained`` of
    the message, so that ``bodies.from_forwarded`` gives the same events again. All events are of one message.
    """
    inputs: list[dict[str, object]] = []
    outputs: list[dict[str, object]] = []
    active: list[dict[str, object]] = []
    body: dict[str, object] = {}
    for event in events:
        body = {
            "timestamp": event.created_at,
            "source": event.source,
            "topic": event.topic,
            "retained": event.retained,
            "message_type": "notify",
        }
        device: dict[str, object] = {
            "device_key": event.device,
            "type": event.type,
            "device_label": event.label,
            "kind": event.kind,
            "sample_value": event.value,
            "minute_value": event.minute,
            "active": event.active,
            "event_detail": event.detail,
        }
        (outputs if event.kind == "output" else inputs).append(device)
        if event.active and event.kind != "output":
            active.append(device)
    if not any(device["kind"] in ("input", "meter") for device in inputs):
        body["message_type"] = "heartbeat"
    body["data"] = {"device_info": {"inputs": inputs, "outputs": outputs}, "active_devices": active}
    return {topic_base: body}
