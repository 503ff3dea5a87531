"""The examples as programs: what they print and publish, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.ports import free_port
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import ROOT, Home, watching

NAMES = ("siren.py", "door_sensor.py", "thermometer.py")


@pytest.fixture
def home(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    return Home.of(tmp_path, mosquitto, rabbitmq)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_enough_to_be_read_in_one_go(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= 100


def test_the_door_sensor_told_to_report_once_does_and_ends(home: Home, mosquitto: Mosquitto) -> None:
    with watching(mosquitto, "sensor/#") as watcher:
        with home.example("door_sensor.py", "--once", "--location", "Back") as sensor:
            assert sensor.wait(20) == 0
        found = watcher.wait_for("^sensor/back/door (.*)$")
    report = json.loads(found[1])
    assert report["input_location"] == "Back"
    assert report["input_1"] == {"input_label": "Door", "sample_value": 97, "active": True}


def test_the_door_sensor_told_to_report_once_fails_when_no_broker_answers(home: Home) -> None:
    with home.example("door_sensor.py", "--once", env={"MQTT_SERVER_ADDRESS": f"127.0.0.1:{free_port()}"}) as sensor:
        assert sensor.wait(20) == 1
        assert "connection refused" in sensor.output
        assert "Traceback" not in sensor.output


def test_the_thermometer_says_that_it_is_there_and_what_it_reads(home: Home, rabbitmq: Vhost) -> None:
    with rabbitmq.connect() as connection:
        channel = connection.channel()
        channel.exchange_declare("test_home", "topic", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "test_home", "event.#")
        bodies: dict[str, dict] = {}
        with home.example("thermometer.py", "--alarm", "0") as thermometer:
            for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=20):
                assert method is not None, thermometer.output
                assert method.routing_key is not None
                assert body is not None
                bodies[method.routing_key] = msgspec.msgpack.decode(body)["data"]
                if len(bodies) == 2:
                    break
            assert thermometer.stop() == 0
    device = {"device_key": "Kitchen Thermometer", "type": "temperature", "device_label": "Kitchen"}
    assert bodies["event.heartbeat.thermometer"] == {"device_info": {"inputs": [device]}}
    reading = bodies["event.notify.thermometer"]
    assert reading["active_devices"] == reading["device_info"]["inputs"]
    assert reading["active_devices"][0]["sample_value"] == pytest.approx(20, abs=5)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_stopped_by_a_signal_ends_with_exit_code_0_and_without_a_complaint(home: Home, name: str) -> None:
    with home.example(name) as program:
        program.wait_for("connected to", timeout=20)
        assert program.stop(timeout=2) == 0
        assert "ERROR" not in program.output
        assert "Traceback" not in program.output
