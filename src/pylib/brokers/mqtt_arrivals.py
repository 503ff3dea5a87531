"""What an MQTT broker delivers, made into deliveries: from the stream for QoS 0 and 1, from paho for QoS 2."""

from __future__ import annotations

import logging

from paho.mqtt.client import MQTTMessage
from paho.mqtt.properties import Properties

from pylib.brokers.identity import new_id
from pylib.brokers.liveness import MqttPulse
from pylib.brokers.mqtt_values import delivery_fields
from pylib.brokers.port import Delivery, PortOwner
from pylib.runtime.loop import Loop

__all__ = ["Arrivals"]

log = logging.getLogger("pylib.mqtt")


class Arrivals:
    """The consuming half of an MQTT port. For its loop's thread."""

    def __init__(self, loop: Loop, owner: PortOwner, pulse: MqttPulse) -> None:
        self._loop = loop
        self._owner = owner
        self._pulse = pulse
        # Which connection the deliveries are of: their packet ids mean nothing on another.
        self.epoch = 0
        # Off while stopping: what arrives is dropped unacknowledged, so the broker keeps it. Unsubscribing instead would end
        # the session's subscription, and what arrives while we are away with it.
        self.wanted = True

    def packet(
        self, topic: str | bytes, payload: bytes, qos: int, packet_id: int, dup: bool, retained: bool,
        properties: Properties | None,
    ) -> bool:  # fmt: skip
        """A PUBLISH of QoS 0 or 1, straight from the stream. False: acknowledge it at once, nobody else will."""
        if self._pulse.delivered(topic) or not self.wanted:
            return True
        if isinstance(topic, bytes):
            log.warning("A message on a topic that is not UTF-8 was set aside (MQTT 5 section 1.5.4): %r", topic[:100])
            return False
        elif properties is None:
            self._owner.on_delivery(
                Delivery(topic, payload, packet_id, self.epoch, None, new_id(), redelivered=dup, retained=retained, qos=qos)
            )
        else:
            self._owner.on_delivery(
                Delivery(topic, payload, packet_id, self.epoch, redelivered=dup, retained=retained, qos=qos,
                         **delivery_fields(properties, self._loop.time()))
            )  # fmt: skip
        return True

    def message(self, message: MQTTMessage) -> None:
        """A message of QoS 2, which paho sees through its four steps and has acknowledged by itself."""
        if self.wanted:
            fields = delivery_fields(message.properties, self._loop.time()) if message.properties is not None else {}
            self._owner.on_delivery(
                Delivery(message.topic, bytes(message.payload), 0, self.epoch, redelivered=message.dup,
                         retained=message.retain, qos=message.qos, **fields)
            )  # fmt: skip
