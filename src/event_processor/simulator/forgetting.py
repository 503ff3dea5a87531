"""Take the simulated home back from a broker that keeps what it announced."""

from __future__ import annotations

import threading
from typing import Final

import zmq

from event_processor.simulator.catalogue import DEVICES
from event_processor.simulator.devices import link_topic
from pylib.brokers.addresses import AddressLike
from pylib.config import app_config
from pylib.errors import ConnectFailed
from pylib.mqtt import MqttSubscriber
from pylib.zmq import zmq_socket

__all__ = ["forget", "topics"]

PATIENCE: Final = 10.0
"""Seconds to wait for the broker."""

_URL: Final = "inproc://simulated-home/forget"


def topics(prefix: str = "homeassistant") -> list[str]:
    """Every topic on which the simulated home leaves something; announcements first, so that the devices go as a whole."""
    kept = [device.announcement(prefix).topic for device in DEVICES]
    for device in DEVICES:
        kept += [device.availability_topic, link_topic(device.link), device.state_topic, device.topic("picture")]
    return list(dict.fromkeys(kept))


def forget(mqtt: AddressLike) -> None:
    """Replace all of it by nothing. The stop of the runtime, which has to follow, sees it out.

    Raises ``ConfigError`` for an address that is none, and ``ConnectFailed`` when no broker answers.
    """
    connected = threading.Event()
    name = f"simulated-forget-{app_config.device_name()}"
    MqttSubscriber(
        mqtt, sink_url=None, publish_urls=(_URL,), client_id=name, session_expiry=0, name="forget", on_ready=connected.set
    ).start()
    with zmq_socket(zmq.PUSH) as socket:
        socket.connect(_URL)
        for topic in topics():
            socket.send_pyobj((topic, None, {"qos": 1, "retain": True}))
    if not connected.wait(PATIENCE):
        raise ConnectFailed(f"No MQTT broker within {PATIENCE:g} s, so nothing was taken back.")
