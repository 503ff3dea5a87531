"""A house for hubs that are killed: rules of every kind that remembers something, sensors, and receivers.

Sensors report over MQTT (QoS 1) and RabbitMQ (confirmed); every report has a value of its own. ``_hub_verdict.py`` says
afterwards whether all was as it must be.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pika
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pylib.testing.mosquitto import Mosquitto

LATCH_S, COUNT_WITHIN_S, FOR_S, DELAY_S, QUEUED_S = 1.0, 2.0, 0.7, 0.5, 0.15
PATIENCE = 60.0

CONF = """
[app]
log_level = INFO

[rabbitmq]
mq_exchange = house

[mqtt]
subscribe = sensor/#
client_id = {client}

[hub]
control_expiry_s = 3600
max_event_age_s = 3600
{more}

[web]
enabled = no

[links]
* Door = all

[output:lamp]
topic = cmnd/lamp/set
payload = {{value}}
"""

RULES = f"""
[[rule]]
id = "every"
trigger = {{device = "*", on = "report"}}
action = {{do = "output", output = "every"}}

[[rule]]
id = "lamp"
trigger = {{device = "Hall Switch", on = "report"}}
action = {{do = "output", output = "lamp"}}

[[rule]]
id = "latched"
trigger = {{device = "Hall Door", on = "level"}}
latch = {{seconds = {LATCH_S}}}
action = {{do = "output", output = "latched"}}

[[rule]]
id = "counted"
trigger = {{device = "Hall Door", on = "level"}}
count = {{times = 3, within_s = {COUNT_WITHIN_S}}}
action = {{do = "output", output = "counted"}}

[[rule]]
id = "held"
trigger = {{device = "Yard Gate", on = "level"}}
for_s = {FOR_S}
action = {{do = "output", output = "held"}}

[[rule]]
id = "later"
trigger = {{device = "Back Door", on = "activation"}}
run = "queued"
queue = 1000
action = [{{do = "delay", seconds = {QUEUED_S}}}, {{do = "output", output = "later"}}]

[[rule]]
id = "restarted"
trigger = {{device = "Side Window", on = "level"}}
run = "restart"
action = [{{do = "delay", seconds = {DELAY_S}}}, {{do = "output", output = "restarted"}}]

[[rule]]
id = "leave"
trigger = {{device = "House Key", on = "activation"}}
action = {{do = "mode", mode = "away"}}

[[rule]]
id = "come"
trigger = {{device = "House Key", on = "deactivation"}}
action = {{do = "mode", mode = "home"}}

[[rule]]
id = "armed"
trigger = {{mode = "away"}}
action = {{do = "output", output = "armed"}}

[[rule]]
id = "alarm"
trigger = {{device = "Hall Door", on = "level"}}
modes = ["away"]
action = {{do = "output", output = "alarm"}}

[[mode]]
name = "home"

[[mode]]
name = "away"
exit_delay_s = 0.6
"""
OUTPUTS = ("all", "every", "latched", "counted", "held", "later", "restarted", "armed", "alarm")
# Location, label, reports a second. The last ones report over RabbitMQ.
MQTT_DEVICES = (("Hall", "Door"), ("Hall", "Switch"), ("Yard", "Gate"), ("Back", "Door"), ("Side", "Window"), ("House", "Key"))
RABBIT_DEVICES = (("Hall", "Door"), ("Attic", "Hatch"), ("Yard", "Gate"))


def key_of(place: tuple[str, str]) -> str:
    return " ".join(part for part in place if part)


def configure(folder: Path, *, client: str = "house", more: str = "") -> Path:
    """Write the settings and the rules; returns the settings file."""
    file = folder / "app.conf"
    file.write_text(CONF.format(client=client, more=more))
    (folder / "rules.toml").write_text(RULES)
    return file


class Sensors:
    """Report at random, over both brokers, until stopped. ``accepted`` is what the brokers have taken over."""

    def __init__(self, mosquitto: Mosquitto, amqp: str, *, rate: float, seed: int) -> None:
        self.accepted: set[tuple[str, int]] = set()
        self._amqp = amqp
        self.running = True
        self._ending = threading.Event()
        self._dice = random.Random(seed)
        self._pause = 1 / rate
        self._waiting: dict[int, tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "house-sensors", protocol=paho.MQTTv5)
        self._client.on_publish = self._published
        self._client.connect(mosquitto.host, mosquitto.port)
        self._client.loop_start()
        self._number = 0
        self._active: dict[str, bool] = {}
        self._threads = [threading.Thread(target=self._over_mqtt), threading.Thread(target=self._over_rabbitmq)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Report nothing more, and wait until everything was accepted."""
        self.running = False
        self._ending.set()
        for thread in self._threads:
            thread.join()
        deadline = time.monotonic() + PATIENCE
        while self._waiting and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        self._client.disconnect()
        self._client.loop_stop()
        if self._waiting:
            raise SystemExit(f"{len(self._waiting)} reports were not accepted by the MQTT broker.")

    def _next(self, places: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], int, bool]:
        with self._lock:
            place = self._dice.choice(places)
            self._number += 1
            active = self._active[key_of(place)] = self._dice.random() < (0.9 if self._active.get(key_of(place)) else 0.7)
            return place, self._number, active

    def _over_mqtt(self) -> None:
        while not self._ending.wait(self._pause):
            place, number, active = self._next(MQTT_DEVICES)
            body = {"input_location": place[0], "input_1": {"input_label": place[1], "sample_value": number, "active": active}}
            properties = None
            if number % 3 == 0:  # some name their messages, as the library does
                properties = Properties(PacketTypes.PUBLISH)
                properties.UserProperty = [("message-id", uuid.uuid4().hex)]
            with self._lock:
                info = self._client.publish(f"sensor/{number % 7}", json.dumps(body), qos=1, properties=properties)
                self._waiting[info.mid] = (key_of(place), number)

    def _published(self, client: paho.Client, userdata: object, mid: int, reason: object, properties: object) -> None:
        with self._lock:
            self.accepted.add(self._waiting.pop(mid))

    def _over_rabbitmq(self) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(self._amqp))
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare("house", "topic", durable=True)
        while not self._ending.wait(self._pause * 4):
            place, number, active = self._next(RABBIT_DEVICES)
            device = {"device_key": key_of(place), "device_label": place[1], "sample_value": number, "active": active}
            body = msgspec.msgpack.encode({"data": {"device_info": {"inputs": [device]}, "active_devices": [device] * active}})
            named = uuid.uuid4().hex if number % 2 else None
            properties = pika.BasicProperties(message_id=named, content_type="application/msgpack", delivery_mode=2)
            channel.basic_publish("house", "event.notify.house.app", body, properties, mandatory=True)
            with self._lock:
                self.accepted.add((key_of(place), number))
        connection.close()


class Receivers(threading.Thread):
    """Takes every control message and command, with its id."""

    def __init__(self, mosquitto: Mosquitto, amqp: str) -> None:
        super().__init__(daemon=True)
        self.control: list[tuple[str, bytes]] = []
        self.commands: list[tuple[str, bytes]] = []
        self._ending = threading.Event()
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp))
        channel = self._channel = self._connection.channel()
        # What the hub would declare, so that nothing is unroutable before it has.
        channel.exchange_declare("house", "topic", durable=True)
        channel.queue_declare("house-control", durable=True)
        channel.exchange_declare("house_control", "direct", durable=True)
        for output in OUTPUTS:
            channel.queue_bind("house-control", "house_control", f"event.control.{output}")
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "house-lamp", protocol=paho.MQTTv5)
        self._client.on_message = self._command
        self._client.connect(mosquitto.host, mosquitto.port)
        self._client.subscribe("cmnd/#", qos=1)
        self._client.loop_start()
        self.start()

    def run(self) -> None:
        for _, properties, body in self._channel.consume("house-control", auto_ack=True, inactivity_timeout=0.1):
            if properties is not None and body is not None:
                self.control.append((str(properties.message_id), bytes(body)))
            elif self._ending.is_set():
                self._connection.close()
                return

    def _command(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        named = dict(getattr(message.properties, "UserProperty", None) or ())
        self.commands.append((named.get("message-id", ""), bytes(message.payload)))

    def stop(self) -> None:
        """Twice is harmless."""
        self._ending.set()
        self.join()
        self._client.disconnect()
        self._client.loop_stop()
