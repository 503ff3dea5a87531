"""What a broker kept sets the state and fires nothing, and a device that falls silent is noticed by itself, once."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from event_processor.store.reader import Reader
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import MosquittoFactory
from pylib.testing.processes import Program
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import DOOR, Home, publish, watching

DEVICES = 5000
RULES = """
[[rule]]
id = "open"
trigger = {device = "*", on = "level"}
action = {do = "command", topic = "cmnd/open", payload = "x"}

[[rule]]
id = "gone"
trigger = {offline = "*"}
action = {do = "command", topic = "cmnd/gone", payload = "x"}
"""

pytestmark = [pytest.mark.timeout(110), pytest.mark.slow]


def house(folder: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    home = Home.of(folder, mosquitto, rabbitmq)
    (folder / "rules.toml").write_text(RULES)
    return home


def keep(mosquitto: Mosquitto) -> None:
    """Have the broker keep a report of each of so many doors: all are open."""
    client = paho.Client(CallbackAPIVersion.VERSION2, "keeper")
    client.max_inflight_messages_set(1000)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    for number in range(DEVICES):
        body = {"input_location": f"Room {number}", "input_1": {"input_label": "Door", "sample_value": 9, "active": True}}
        last = client.publish(f"sensor/room/{number}", json.dumps(body), qos=1, retain=True)
    last.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def test_a_broker_that_restarts_and_replays_five_thousand_messages_fires_nothing_and_kills_nobody(
    tmp_path: Path, mosquitto_factory: MosquittoFactory, rabbitmq: Vhost
) -> None:
    mosquitto = mosquitto_factory(persistence=True, max_queued_messages=0)
    home = house(tmp_path, mosquitto, rabbitmq)
    keep(mosquitto)
    with home.running_hub() as hub:
        with watching(mosquitto, "cmnd/#") as watcher:
            publish(mosquitto, "sensor/front/door", DOOR)  # after all that was kept
            watcher.wait_for("^cmnd/open x$", timeout=30)
        mosquitto.terminate()
        mosquitto.start()
        with watching(mosquitto, "cmnd/#") as watcher:
            _connected_again(hub)
            publish(mosquitto, "sensor/front/door", DOOR.replace("true", "false"))
            publish(mosquitto, "sensor/front/door", DOOR)
            watcher.wait_for("^cmnd/open x$", timeout=30)
            assert watcher.output.count("cmnd/open") == 1, "what the broker had kept fired a rule"
            assert "cmnd/gone" not in watcher.output
        assert hub.stop() == 0
        assert hub.output.count("Done: ") == 2, "two doors were opened"
        assert " is gone: " not in hub.output
    reader = Reader(tmp_path / "state" / "hub.db")
    assert sum(json.loads(value)[1] is True for value in reader.state("value").values()) >= DEVICES, "their states are known"
    reader.close()


def test_a_device_that_falls_silent_is_gone_within_the_interval_that_it_has_taught_and_that_is_said_once(
    tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost
) -> None:
    home = house(tmp_path, mosquitto, rabbitmq)
    closed = DOOR.replace("true", "false")
    with home.running_hub() as hub, watching(mosquitto, "cmnd/#") as watcher:
        for _ in range(8):
            publish(mosquitto, "sensor/front/door", closed)
            threading.Event().wait(0.6)
        watcher.wait_for("^cmnd/gone x$", timeout=25)  # 15 s is the shortest silence that is told
        hub.wait_for("is gone: not heard for 15 s")
        publish(mosquitto, "sensor/front/door", closed)
        hub.wait_for("is there: it is heard again")
        assert watcher.output.count("cmnd/gone") == 1
        assert hub.output.count(" is gone: ") == 1
        assert hub.stop() == 0


def _connected_again(hub: Program) -> None:
    """Until the hub has its connection back, which the log says a second time."""
    pause = threading.Event()
    for _ in range(600):
        if hub.output.count("MqttSubscriber: connected to MQTT") >= 2:
            return
        pause.wait(0.05)
    raise AssertionError(f"the hub did not come back:\n{hub.output}")
