"""An MQTT 3.1.1 broker in the process, on a real socket.

``wire`` (packets) and ``topics`` (matching) at the bottom; ``session`` and ``broker`` are plain objects on top of them,
``connection`` says what each packet leads to, and only ``server`` knows sockets, time and its thread.
"""

from pylib.embedded.mqtt.limits import MqttLimits
from pylib.embedded.mqtt.server import MqttBroker

__all__ = ["MqttBroker", "MqttLimits"]
