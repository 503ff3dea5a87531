"""From a sensor to an output, over MQTT, ZeroMQ and RabbitMQ, with the hub and the applications as processes."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import msgspec
import pika
import pytest

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import Vhost
from tests.system.hub_kit import DOOR, Home, publish, watching

TRIGGERED = "SIREN: triggered by Front Door"


@pytest.fixture
def home(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    return Home.of(tmp_path, mosquitto, rabbitmq)


def test_a_door_event_published_with_mosquitto_pub_reaches_the_siren_application(home: Home, mosquitto: Mosquitto) -> None:
    with home.running_hub() as hub, home.running_siren() as siren:
        publish(mosquitto, "sensor/front/door", DOOR)
        siren.wait_for(TRIGGERED)
        hub.wait_for("Front Door became active. Done: siren was set off")


def test_a_meter_reading_above_its_limit_becomes_an_mqtt_command(home: Home, mosquitto: Mosquitto) -> None:
    with home.running_hub(), watching(mosquitto, "cmnd/#") as light:
        publish(mosquitto, "meter/water/1", '{"register_reading": 1041, "last_minute_metered": 3}')
        publish(mosquitto, "meter/water/1", '{"register_reading": 1042, "last_minute_metered": 25}')
        light.wait_for(r'^cmnd/valve/set {"close": true, "reading": 1042}$')
        assert "1041" not in light.output


def test_a_device_that_says_no_more_than_ON_is_read_by_three_lines_of_app_conf(home: Home, mosquitto: Mosquitto) -> None:
    with home.running_hub(), watching(mosquitto, "cmnd/#") as light:
        publish(mosquitto, "zigbee/hall/switch", "OFF")
        publish(mosquitto, "zigbee/hall/switch", "ON")
        light.wait_for("^cmnd/hall/POWER TOGGLE$")
        assert light.output.count("TOGGLE") == 1


def test_an_input_application_on_rabbitmq_sets_off_an_output_application_on_rabbitmq(home: Home) -> None:
    with home.running_hub(), home.running_siren() as siren, home.example("thermometer.py", "--alarm", "0"):
        siren.wait_for("SIREN: triggered by Kitchen Thermometer")


def test_an_event_from_earlier_sets_nothing_off_whether_kept_by_the_broker_or_late(home: Home, mosquitto: Mosquitto) -> None:
    late = json.dumps(json.loads(DOOR) | {"timestamp": int(time.time()) - 300})
    publish(mosquitto, "sensor/kept/door", DOOR.replace("Front", "Kept"), "-r")
    with home.running_hub(env={"LOG_LEVEL": "DEBUG"}) as hub, home.running_siren() as siren:
        hub.wait_for("Kept Door .* the broker kept this message")
        publish(mosquitto, "sensor/front/door", late)
        hub.wait_for("Front Door .* is 3[0-9.]+ s old, and 120 s is the limit")
        publish(mosquitto, "sensor/front/door", DOOR)
        siren.wait_for(TRIGGERED)
        assert siren.output.count("SIREN") == 1


def test_a_control_message_past_its_time_is_never_delivered(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> None:
    home = Home.of(tmp_path, mosquitto, rabbitmq, expiry=2)
    queue = "siren.test-device.test_home_control.event.control.siren"
    with home.running_hub() as hub, rabbitmq.connect() as connection:
        with home.running_siren() as siren:
            assert siren.stop() == 0
        publish(mosquitto, "sensor/front/door", DOOR)
        hub.wait_for("Front Door became active. Done: siren was set off")
        channel = connection.channel()
        for expected in (1, 0):  # it waits in the siren's queue, and then it does not
            deadline = time.monotonic() + 10
            while channel.queue_declare(queue, passive=True).method.message_count != expected:
                assert time.monotonic() < deadline, f"the queue never held {expected} messages"
                connection.process_data_events(0.02)
        with home.running_siren() as siren:
            publish(mosquitto, "sensor/front/door", DOOR)
            siren.wait_for(TRIGGERED)
            assert siren.output.count("SIREN") == 1


def test_the_hub_says_on_mqtt_that_it_is_there_and_the_broker_says_so_when_it_is_not(home: Home, mosquitto: Mosquitto) -> None:
    with watching(mosquitto, "event_processor/test-device/status") as status:
        with home.running_hub() as hub:
            status.wait_for("status online$")
            hub.signal(signal.SIGKILL)
            status.wait_for("status offline$", timeout=30)
        with home.running_hub() as hub:
            assert hub.stop() == 0
        assert [line.split()[-1] for line in status.output.splitlines() if line.startswith("event_processor/")] == [
            "online", "offline", "online", "offline",
        ]  # fmt: skip


def test_an_event_published_while_the_hub_is_down_is_served_when_it_is_back(
    home: Home, mosquitto: Mosquitto, rabbitmq: Vhost
) -> None:
    with home.running_siren() as siren:
        with home.running_hub() as hub:
            assert hub.stop() == 0
        publish(mosquitto, "sensor/front/door", DOOR)
        thermometer = {"device_key": "Kitchen Thermometer", "type": "temperature"}
        with rabbitmq.connect() as connection:
            connection.channel().basic_publish(
                "test_home",
                "event.notify.thermometer",
                msgspec.msgpack.encode({"data": {"active_devices": [thermometer]}}),
                pika.BasicProperties(delivery_mode=2),
            )
        with home.running_hub():
            siren.wait_for(TRIGGERED)
            siren.wait_for("SIREN: triggered by Kitchen Thermometer")
