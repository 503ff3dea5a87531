"""What an MQTT broker delivers, made into deliveries: from the stream for QoS 0 and 1, from paho for QoS 2."""

from __future__ import annotations

import logging

from paho.mqtt.client import MQTTMessage
from paho.mqtt.properties import Properties

from pylib.brokers.identity import new_id
from pylib.brokers.liveness import MqttPulse
from pylib.brokers.mqtt_values import delivery_fields
from pylib.brokers.port import Delivery, PortOwner
from pylib.runtime.loop import READ, Loop

__all__ = ["Arrivals"]

log = logging.getLogger("pylib.mqtt")


class Arrivals:
    """The consuming half of an MQTT port. For its loop's thread.

    Receive Maximum bounds what a broker may have sent us without our PUBACK (MQTT 5 section 4.9), but Mosquitto 2.0 lets in up
    to that many for *each* PUBACK once messages are queued (eclipse/mosquitto #2301). So we count, and read nothing while more
    are out: then the bytes wait in the socket's buffers, and at last in the broker. While something that we published has no
    PUBACK yet we read all the same, since that comes behind them.

    :param most: deliveries without PUBACK that are too many.
    """

    def __init__(self, loop: Loop, owner: PortOwner, pulse: MqttPulse, most: int) -> None:
        self._loop = loop
        self._owner = owner
        self._pulse = pulse
        self._most = most
        # Deliveries of this connection without PUBACK.
        self.owed = 0
        self.paused = False
        # Which connection the deliveries are of: their packet ids mean nothing on another.
        self.epoch = 0
        # Off while stopping: what arrives is dropped unacknowledged, so the broker keeps it. Unsubscribing instead would end
        # the session's subscription, and what arrives while we are away with it.
        self.wanted = True

    def connected(self) -> None:
        """A new connection: nothing of the old one counts."""
        self.epoch += 1
        self.owed = 0
        self.paused = False

    @property
    def mask(self) -> int:
        """What the loop has to watch the socket for, as far as reading goes."""
        return 0 if self.paused else READ

    def change(self, needed: bool) -> bool:
        """Decide whether to read on. ``needed``: an answer to something of ours is to come. True if that is a change.

        While we do not read no answer can be expected, so nobody is asked for one.
        """
        paused = not needed and self.owed > (self._most // 2 if self.paused else self._most)
        if paused == self.paused:
            return False
        self.paused = paused
        if paused:
            self._pulse.stop()
        else:
            self._pulse.start()
        return True

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
        if packet_id:
            self.owed += 1
        if properties is None:
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
