"""Messages that nobody should have sent: each costs itself, is logged once with its topic and the reason, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pika
import pytest
import zmq

from event_processor.app import build
from event_processor.settings import load
from pylib.config import AppConfig
from pylib.runtime.runtime import Runtime
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.rabbitmq import Vhost
from pylib.zmq import URL_MQTT_PUBLISH, zmq_socket
from tests.system.hub_kit import DOOR, Home, publish, watching

NESTED = b"[" * (1 << 20)
BAD_ON_MQTT = {
    "sensor/bad/json": b'{"input_location": "Front", ',
    "sensor/bad/types": b'{"input_location": 7, "input_1": "Door"}',
    "sensor/bad/number": b"42",
    "sensor/bad/null": b"null",
    "sensor/bad/nesting": NESTED,
    "sensor/bad/utf8": b"\xff\xfe\x00door",
    "sensor/bad/text": b"ON",
    "sensor/bad/nan": b'{"input_location": "Front", "input_1": {"input_label": "Door", "sample_value": NaN}}',
    "meter/bad/reading": b'{"register_reading": "much"}',
    "zigbee/bad/switch": b'{"state": "ON"}',
}
BAD_ON_RABBITMQ = {
    "event.notify.msgpack": b"\x01\x02",
    "event.notify.truncated": b"\xa5do",
    "event.notify.number": msgspec.msgpack.encode(42),
    "event.notify.null": msgspec.msgpack.encode(None),
    "event.notify.nesting": b"\x91" * (1 << 20),
    "event.notify.claim": b"\xdd\x7f\xff\xff\xff",
    "event.notify.empty": b"",
    "event.notify.types": msgspec.msgpack.encode({"data": {"active_devices": [1, 2]}}),
    "event.notify": msgspec.msgpack.encode({"data": {}}),
    "event": b"\x80",
}


@pytest.fixture
def home(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Home:
    return Home.of(tmp_path, mosquitto, rabbitmq)


def warnings(output: str) -> list[str]:
    records = [json.loads(line) for line in output.splitlines()]
    assert not any("exception" in record for record in records)
    return [record["message"] for record in records if record["level"] not in ("DEBUG", "INFO")]


def test_bad_messages_on_mqtt_cost_themselves_and_the_good_ones_around_them_pass(home: Home, mosquitto: Mosquitto) -> None:
    with home.running_hub() as hub, home.running_siren() as siren:
        for number, (topic, payload) in enumerate(BAD_ON_MQTT.items(), 1):
            publish(mosquitto, topic, payload)
            publish(mosquitto, "sensor/good/door", DOOR.replace("Front", f"Good {number}"))
            siren.wait_for(f"SIREN: triggered by Good {number} Door")
        publish(mosquitto, "sensor/bad/empty", b"", "-r")  # how a retained message is cleared: nothing to complain of
        assert hub.running
        said = warnings(hub.output)
        for topic in BAD_ON_MQTT:
            about = [line for line in said if f"a message on {topic} was set aside" in line]
            assert len(about) == 1, (topic, said)
            assert len(about[0]) < 500
        assert len(said) == len(BAD_ON_MQTT)
        assert hub.stop() == 0


def test_bad_messages_on_rabbitmq_cost_themselves_and_the_good_ones_around_them_pass(home: Home, rabbitmq: Vhost) -> None:
    with home.running_hub() as hub, home.running_siren() as siren, rabbitmq.connect() as connection:
        channel = connection.channel()
        for number, (routing_key, body) in enumerate(BAD_ON_RABBITMQ.items(), 1):
            properties = pika.BasicProperties(content_type="application/msgpack")
            channel.basic_publish("test_home", routing_key, body, properties)
            good = {"data": {"active_devices": [{"device_key": f"Good {number} Door", "type": "sensor"}]}}
            channel.basic_publish("test_home", "event.notify.front", msgspec.msgpack.encode(good), properties)
            siren.wait_for(f"SIREN: triggered by Good {number} Door")
        assert hub.running
        said = warnings(hub.output)
        for routing_key in BAD_ON_RABBITMQ:
            about = [line for line in said if f"a message on {routing_key} was set aside" in line]
            assert len(about) == 1, (routing_key, said)
        assert len(said) == len(BAD_ON_RABBITMQ)
        queue = "event-processor.test-device.test_home.event.#"
        assert hub.stop() == 0
        # Set aside is acknowledged: it does not come again at the next start.
        assert channel.queue_declare(queue, passive=True).method.message_count == 0


def test_a_topic_that_no_broker_would_take_is_refused_before_it_reaches_one(
    home: Home, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in home.env.items():
        if name != "PYTHONPATH":
            monkeypatch.setenv(name, value)
    runtime = Runtime()
    hub = build(load(AppConfig(home.env["APP_CONFIG"])), runtime, device="test-device")
    with watching(mosquitto, "cmnd/#") as light, runtime.active():
        hub.start()
        try:
            assert hub.ready.wait(20)
            with zmq_socket(zmq.PUSH) as commands:
                commands.connect(URL_MQTT_PUBLISH)
                for topic in ("cmnd/a\0b", "cmnd/+/all", "", "cmnd/\ud800", "x" * 70_000):
                    commands.send_pyobj((topic, "ON"))
                commands.send_pyobj("no command at all")
                commands.send_pyobj(("cmnd/lamp/POWER", "ON"))
            light.wait_for("^cmnd/lamp/POWER ON$")
        finally:
            runtime.trip()
            assert runtime.stop() == []
    refused = [record.getMessage() for record in caplog.records if "was set aside" in record.getMessage()]
    assert len(refused) == 6, refused
    assert "disconnect" not in caplog.text.lower()
