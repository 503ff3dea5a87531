"""What an MQTT client is told, and what MQTT 5 carries beside a payload."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pylib.brokers.addresses import Address, TlsOptions
from pylib.brokers.backoff import BackOff
from pylib.brokers.identity import new_id
from pylib.brokers.port import Header, Outgoing

__all__ = ["MqttOptions", "Will", "connect_properties", "delivery_fields", "publish_properties"]


@dataclass(frozen=True, slots=True)
class Will:
    """A message that announces a state: the last will by the broker when we are gone, the birth by us when we arrive."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """How to be an MQTT client.

    :param addresses: tried in turn.
    :param client_id: stable across restarts, or the broker cannot keep the session. Unique on the broker.
    :param subscriptions: topic filters with their QoS (0, 1, 2); ``$share/group/filter`` shares the work of a group.
    :param keepalive: seconds of silence after which client and broker ask each other for a sign of life.
    :param session_expiry: seconds that the broker keeps the session while we are away (MQTT 5 section 3.1.2.11.2); 0
        starts clean. On 3.1.1 anything above 0 is a session without end.
    :param receive_maximum: deliveries of QoS 1 that may be outstanding (MQTT 5 section 3.1.2.11.3): what bounds memory.
    :param window: published messages that may be without their PUBACK.
    :param quarantine: seconds that a message of ours is kept after its PUBACK, to be published again after an unclean
        disconnect: a broker that is killed forgets what it acknowledged since it last saved.
    :param last_will: sent by the broker when the connection ends without a goodbye (MQTT 5 section 3.1.2.5).
    :param birth: published on every connect.
    :param close_message: published before a goodbye, which suppresses the last will; the will's own message by default.
    """

    addresses: tuple[Address, ...]
    client_id: str
    subscriptions: tuple[tuple[str, int], ...] = ()
    tls: TlsOptions | None = None
    keepalive: int = 15
    session_expiry: int = 7 * 24 * 3600
    receive_maximum: int = 1000
    window: int = 500
    quarantine: float = 5.0
    last_will: Will | None = None
    birth: Will | None = None
    close_message: Will | None = None
    connect_timeout: float = 5.0
    back_off: BackOff = field(default_factory=BackOff)


def connect_properties(options: MqttOptions) -> Properties:
    """MQTT 5 section 3.1.2.11: how long the session lives, and how much may be outstanding."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.SessionExpiryInterval = options.session_expiry
    properties.ReceiveMaximum = options.receive_maximum
    return properties


def publish_properties(message: Outgoing, now: float) -> Properties | None:
    """MQTT 5 section 3.3.2.3: what travels beside the payload."""
    if message.content_type is None and message.expires_at is None and not message.headers and message.message_id is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    if message.content_type is not None:
        properties.ContentType = message.content_type
    if message.expires_at is not None:
        properties.MessageExpiryInterval = max(1, math.ceil(message.expires_at - now))
    pairs = [(name, str(value)) for name, value in (message.headers or {}).items()]
    if message.message_id is not None:
        pairs.append(("message-id", message.message_id))
    if message.created_at is not None:
        pairs.append(("created-at", repr(message.created_at)))
    if pairs:
        properties.UserProperty = pairs
    return properties


def delivery_fields(properties: Properties, now: float) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    content_type = getattr(properties, "ContentType", None)
    if content_type:
        fields["content_type"] = content_type
    expiry = getattr(properties, "MessageExpiryInterval", None)
    if expiry is not None:
        fields["expires_at"] = now + float(expiry)
    headers: dict[str, Header] = dict(getattr(properties, "UserProperty", None) or ())
    message_id = headers.pop("message-id", None)
    fields["message_id"] = str(message_id) if message_id is not None else new_id()
    created = headers.pop("created-at", None)
    if created is not None:
        try:
            fields["created_at"] = float(str(created))
        except ValueError:
            headers["created-at"] = created
    if headers:
        fields["headers"] = headers
    return fields
