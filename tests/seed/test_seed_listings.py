"""The post's three listings run as programs on real brokers: the message arrives, and the end is exit code 0."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pika
import pika.exceptions
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pika.adapters.blocking_connection import BlockingChannel

import pylib
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import MosquittoFactory
from pylib.testing.ports import private_host
from pylib.testing.processes import Program, run_python
from pylib.testing.rabbitmq import Vhost

LISTINGS = Path(__file__).parent / "listings"
EXCHANGE = "home_automation"
DOOR = (
    '{"device_id": "esp-1", "input_location": "Front", "input_1": {"input_label": "Door", "sample_value": 97, "active": %s}}'
)

pytestmark = pytest.mark.timeout(120)
RunListing = Callable[[str, str], Program]


@pytest.fixture
def run_listing(tmp_path: Path) -> Iterator[RunListing]:
    """Start a listing with the given app.conf; what still runs after the test is killed."""
    started: list[Program] = []

    def run(name: str, app_conf: str) -> Program:
        configuration = tmp_path / "app.conf"
        configuration.write_text(f"[app]\nname = {Path(name).stem}\ndevice_name = test-device\n\n{app_conf}")
        source = Path(pylib.__file__).parents[1]
        env = {"APP_CONFIG": str(configuration), "PYTHONPATH": str(source)}
        started.append(run_python(LISTINGS / name, env=env, folder=tmp_path))
        return started[-1]

    yield run
    for program in started:
        program.kill()
        print(program.output)


def publish(broker: Mosquitto, topic: str, payload: str) -> None:
    command = ["mosquitto_pub", "-h", broker.host, "-p", str(broker.port), "-q", "1", "-t", topic, "-m", payload]
    subprocess.run(command, check=True, timeout=20)


def publish_until_routed(channel: BlockingChannel, exchange: str, routing_key: str, body: bytes) -> None:
    """Publish until a queue takes the message: the program declares and binds its queue when it is ready to."""
    channel.confirm_delivery()
    deadline = time.monotonic() + 20
    while True:
        try:
            channel.basic_publish(exchange, routing_key, body, mandatory=True)
        except pika.exceptions.UnroutableError:
            assert time.monotonic() < deadline, "no queue was bound in time"
            channel.connection.process_data_events(0.05)
        else:
            return


def next_message(channel: BlockingChannel, queue: str, program: Program) -> tuple[str, pika.BasicProperties, object]:
    deadline = time.monotonic() + 20
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.2):
        if method is None:
            assert program.running, "the program ended without publishing"
            assert time.monotonic() < deadline, "no message arrived in time"
            continue
        assert method.routing_key is not None
        assert properties is not None
        assert body is not None
        channel.cancel()
        return method.routing_key, properties, msgspec.msgpack.decode(body)
    raise AssertionError("the consumer was cancelled")


def bound_queue(channel: BlockingChannel, exchange: str, kind: str, routing_key: str) -> str:
    """A queue on an exchange as the original applications declare it: not durable."""
    channel.exchange_declare(exchange, exchange_type=kind)
    queue: str = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, routing_key)
    return queue


def test_the_mqtt_listing_forwards_a_sensor_and_publishes_a_command(
    mosquitto_factory: MosquittoFactory, run_listing: RunListing
) -> None:
    # The listing hands its address to Paho as a host, which then uses port 1883.
    broker = mosquitto_factory(host=private_host(), port=1883)
    commands: list[bytes] = []
    subscribed, commanded = threading.Event(), threading.Event()
    watcher = paho.Client(CallbackAPIVersion.VERSION2)

    def on_message(_client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        commands.append(bytes(message.payload))
        commanded.set()

    watcher.on_message = on_message
    watcher.on_subscribe = lambda *_: subscribed.set()
    watcher.connect(broker.host, broker.port)
    watcher.loop_start()
    try:
        watcher.subscribe("device/front", qos=1)
        assert subscribed.wait(10)
        # Retained, so that it reaches the listing whenever its subscription is made.
        publish_retained = ["mosquitto_pub", "-h", broker.host, "-q", "1", "-r", "-t", "sensor/front/1"]
        subprocess.run([*publish_retained, "-m", DOOR % "true"], check=True, timeout=20)
        program = run_listing(
            "mqtt_subscriber.py",
            f"[mqtt]\nserver_address = {broker.host}\nsubscribe_topic = sensor/#\npublish_topic = device/front\n",
        )
        forwarded = program.wait_for("^forwarded (.*)", timeout=20).group(1)
        assert commanded.wait(10)
        publish(broker, "sensor/back/1", DOOR % "false")
        assert program.wait(10) == 0
    finally:
        watcher.disconnect()
        watcher.loop_stop()
    device = {"device_key": "Front Door", "type": "sensor", "sample_value": 97}
    assert forwarded == repr({"sensor/front": {"data": {"device_info": {"inputs": [device]}, "active_devices": [device]}}})
    assert commands == [b'{"command": "close"}']
    assert "sensor/back" in program.output
    assert "Traceback" not in program.output


def test_the_main_listing_prints_a_control_message_sends_heartbeats_and_stops_on_a_signal(
    rabbitmq: Vhost, run_listing: RunListing
) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        heartbeats = bound_queue(channel, EXCHANGE, "topic", "event.heartbeat.#")
        channel.exchange_declare(f"{EXCHANGE}_control", exchange_type="direct")
        program = run_listing(
            "siren_main.py",
            f"[rabbitmq]\nserver_address = {rabbitmq.address}\nmq_exchange = {EXCHANGE}\ndevice_topic = siren\n",
        )
        routing_key, _, heartbeat = next_message(channel, heartbeats, program)
        assert routing_key == "event.heartbeat.siren"
        assert "Garden Siren" in repr(heartbeat)
        control = msgspec.msgpack.encode({"timestamp": time.time(), "output_triggered": {"device_key": "Garden Siren"}})
        publish_until_routed(connection.channel(), f"{EXCHANGE}_control", "event.control.siren", control)
        printed = program.wait_for("^control (.*)", timeout=20).group(1)
        assert printed.startswith("{'siren': {")
        assert "'output_triggered': {'device_key': 'Garden Siren'}" in printed
        assert program.stop(signal.SIGTERM, timeout=10) == 0
    assert "Traceback" not in program.output
    assert rabbitmq.password not in program.output


def test_the_main_listing_ends_with_one_line_and_exit_code_1_when_no_broker_answers(run_listing: RunListing) -> None:
    program = run_listing(
        "siren_main.py",
        f"[rabbitmq]\nserver_address = amqp://guest:hidden@127.0.0.1:9/\nmq_exchange = {EXCHANGE}\ndevice_topic = siren\n",
    )
    assert program.wait(30) == 1
    assert "127.0.0.1:9" in program.output
    assert "hidden" not in program.output
    assert "Traceback" not in program.output


def test_the_event_processor_listing_publishes_a_control_message_that_expires(
    rabbitmq: Vhost, run_listing: RunListing
) -> None:
    with closing(rabbitmq.connect()) as connection:
        channel = connection.channel()
        controls = bound_queue(channel, f"{EXCHANGE}_control", "direct", "event.control.siren")
        program = run_listing(
            "event_processor_listing.py",
            f"[rabbitmq]\nserver_address = {rabbitmq.address}\nmq_exchange = {EXCHANGE}\n",
        )
        routing_key, properties, body = next_message(channel, controls, program)
        assert routing_key == "event.control.siren"
        assert "Front Door" in repr(body)
        assert properties.expiration is not None
        assert 0 < int(properties.expiration) <= 90_000
        assert program.stop(signal.SIGTERM, timeout=10) == 0
    assert "Traceback" not in program.output
