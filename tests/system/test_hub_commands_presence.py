"""Home Assistant sees the hub: announced, told what changes, asked from there, taken away. A real Mosquitto and RabbitMQ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylib.observe.control import ask, running
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import Home, publish, watching

ALARM = """
[[rule]]
id = "alarm"
name = "Alarm"
trigger = [{device = "Front Door"}, {signal = "panic"}]
action = {do = "output", output = "siren"}
"""
BELL = """
[[rule]]
id = "bell"
trigger = {device = "Gate"}
action = {do = "output", output = "bell"}
"""
NOTHING = r"\(null\)$"  # how mosquitto_sub shows an empty payload
CONFIG = r"^(homeassistant/device/\S+/config) (\{.*)$"


@pytest.fixture
def home(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    (tmp_path / "rules.toml").write_text(ALARM + BELL)
    return Home.of(tmp_path, mosquitto, rabbitmq)


def entities_of(payload: str) -> dict[str, dict[str, object]]:
    return dict(json.loads(payload)["cmps"])


def test_home_assistant_sees_the_hub_and_may_ask_it_for_things(home: Home, mosquitto: Mosquitto) -> None:
    with watching(mosquitto, "#") as watcher, home.running_hub():
        topic, payload = watcher.wait_for(CONFIG, timeout=20).groups()
        entities = entities_of(payload)
        assert {"mode", "maintenance", "rule_alarm", "rule_bell", "button_panic"} <= entities.keys()
        base = str(entities["mode"]["state_topic"]).removesuffix("/mode/state")
        watcher.wait_for(f"^{base}/mode/state home$")
        watcher.wait_for(f"^{base}/rule/alarm/state ON$")
        availability = json.loads(payload)["avty"][0]["t"]
        watcher.wait_for(f"^{availability} online$")

        publish(mosquitto, f"{base}/mode/set", "night")
        watcher.wait_for(f"^{base}/mode/state night$")
        publish(mosquitto, f"{base}/rule/alarm/set", "OFF")
        watcher.wait_for(f"^{base}/rule/alarm/state OFF$")
        publish(mosquitto, f"{base}/maintenance/set", "ON")
        watcher.wait_for(f"^{base}/maintenance/state ON$")

        # A device that the hub finds is there too, and the hub is not among those that it finds.
        publish(
            mosquitto, "sensor/front", '{"input_location": "Front", "input_1": {"input_label": "Door", "sample_value": 1}}'
        )
        watcher.wait_for(f"^{base}/device/front_door.*/state ON$")

        # Home Assistant starts with an empty memory, and a broker that has lost everything.
        publish(mosquitto, topic, b"", "-r")
        publish(mosquitto, f"{base}/mode/state", b"", "-r")
        publish(mosquitto, "homeassistant/status", "online")
        with watching(mosquitto, "#") as later:
            assert "rule_alarm" in entities_of(later.wait_for(CONFIG)[2])
            later.wait_for(f"^{base}/mode/state night$")


def test_a_rule_that_is_removed_loses_its_switch_at_once_and_across_a_restart(home: Home, mosquitto: Mosquitto) -> None:
    rules = home.folder / "rules.toml"
    with watching(mosquitto, "#") as watcher:
        with home.running_hub() as hub:
            base = str(entities_of(watcher.wait_for(CONFIG, timeout=20)[2])["mode"]["state_topic"]).removesuffix("/mode/state")
            watcher.wait_for(f"^{base}/rule/bell/state ON$")
            rules.write_text(ALARM)
            said = ask(running(home.folder / "state")[0], {"ask": "reload"})
            assert isinstance(said, dict)
            assert said["said"] == []
            payload = watcher.wait_for(r'^homeassistant/device/\S+/config (\{.*"rule_bell":\{"p":"switch"\}.*)$')[1]
            assert "command_topic" in entities_of(payload)["rule_alarm"]
            watcher.wait_for(f"^{base}/rule/bell/state {NOTHING}")
            assert hub.stop() == 0
        # While the hub is down, the other one goes too.
        rules.write_text(BELL)
        with home.running_hub() as hub:
            watcher.wait_for(r'^homeassistant/device/\S+/config (\{.*"rule_alarm":\{"p":"switch"\}.*)$')
            watcher.wait_for(f"^{base}/rule/alarm/state {NOTHING}")
            assert hub.stop() == 0
        with home.running_hub(env={"HUB_ANNOUNCE": "no"}):
            watcher.wait_for(rf"^homeassistant/device/\S+/config {NOTHING}")
