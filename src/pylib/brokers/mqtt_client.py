"""Paho's client, made for one connection: on a socket that is connected already, and told what our options say."""

from __future__ import annotations

from typing import Any

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pylib.brokers.addresses import Address
from pylib.brokers.mqtt_values import MqttOptions, connect_properties
from pylib.brokers.mqtt_wire import MqttStream

__all__ = ["PahoClient"]


class PahoClient(Client):
    """One connection's client. A new connection gets a new one, so nothing of the old one can come through."""

    prepared: MqttStream | None = None

    @classmethod
    def made(cls, options: MqttOptions, address: Address, protocol: MQTTProtocolVersion, sock: MqttStream) -> PahoClient:
        """A client for this address that has not spoken yet."""
        # On MQTT 5 the choice is made by connect() instead, and paho refuses it here.
        clean_session = None if protocol == MQTTv5 else not options.session_expiry
        client = cls(
            CallbackAPIVersion.VERSION2, options.client_id, clean_session, protocol=protocol, manual_ack=True,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.prepared = sock
        if address.user is not None:
            client.username_pw_set(address.user, address.password.reveal() if address.password else None)
        will = options.last_will
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.max_inflight_messages_set(0)  # the window is counted by us; paho's own queue would hide what waits
        client.max_queued_messages_set(0)
        return client

    def greet(self, options: MqttOptions, address: Address) -> None:
        """Queue the CONNECT packet."""
        if self.protocol == MQTTv5:
            # Without clean_start=False MQTT 5 drops a live session, its queue included.
            self.connect(address.host, address.port, options.keepalive, clean_start=not options.session_expiry,
                         properties=connect_properties(options))  # fmt: skip
        else:
            self.connect(address.host, address.port, options.keepalive)

    def _create_socket(self) -> Any:  # paho's own hook for other transports
        return self.prepared
