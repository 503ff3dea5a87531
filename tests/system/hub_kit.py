"""What the hub's tests share: a configuration of their own, and the hub and the examples as their users start them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import event_processor
from pylib.testing.mosquitto import Mosquitto
from pylib.testing.processes import Program, run_program
from pylib.testing.rabbitmq import RabbitMQ, Vhost

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(event_processor.__file__).parents[1]
READY = "The event processor is ready"
ANNOUNCED = "Signal handlers are installed"
DOOR = '{"input_location": "Front", "input_1": {"input_label": "Door", "sample_value": 97, "active": true}}'

APP_CONF = """
[rabbitmq]
mq_exchange = test_home

[mqtt]
subscribe = sensor/#, meter/#

[hub]
control_expiry_s = {expiry}

[links]
* Door = siren
Water Meter = valve
Kitchen Thermometer = siren
* switch = mqtt:cmnd/hall/POWER TOGGLE

[output:valve]
topic = cmnd/valve/set
payload = {{"close": true, "reading": {{value}}}}

[meter:Water Meter]
high = 20
of = minute

[mapping:switches]
topic = zigbee/+/switch
device = {{1}} switch
type = switch
"""


class Home:
    """Both brokers and one configuration; starts programs in it."""

    def __init__(self, folder: Path, mqtt_address: str, rabbitmq_address: str, *, expiry: float = 90) -> None:
        self.folder = folder
        configuration = folder / "app.conf"
        configuration.write_text(APP_CONF.format(expiry=expiry))
        self.env = {
            "APP_CONFIG": str(configuration),
            "DEVICE_NAME": "test-device",
            "MQTT_SERVER_ADDRESS": mqtt_address,
            "RABBITMQ_SERVER_ADDRESS": rabbitmq_address,
            "PYTHONPATH": str(SOURCE),
            "STATE_DIRECTORY": str(folder / "state"),
            "WEB_ENABLED": "no",  # several hubs at a time would want one port
        }

    @classmethod
    def of(cls, folder: Path, mosquitto: Mosquitto, rabbitmq: RabbitMQ | Vhost, *, expiry: float = 90) -> Home:
        return cls(folder, mosquitto.address, rabbitmq.address, expiry=expiry)

    def hub(self, *arguments: str, env: Mapping[str, str] | None = None) -> Program:
        """Start the hub and return at once."""
        command = [sys.executable, "-m", "event_processor.cli", *arguments]
        return run_program(command, env=self.env | dict(env or {}), folder=self.folder)

    def example(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> Program:
        """Start an example and return at once."""
        command = [sys.executable, str(ROOT / "examples" / name), *arguments]
        return run_program(command, env=self.env | dict(env or {}), folder=self.folder)

    @contextmanager
    def running_hub(self, env: Mapping[str, str] | None = None) -> Iterator[Program]:
        """A hub with both its connections up; killed after the block when it still runs."""
        with self.hub(env=env) as hub:
            hub.wait_for(READY, timeout=30)
            yield hub

    @contextmanager
    def running_siren(self) -> Iterator[Program]:
        """A siren that hears control messages."""
        with self.example("siren.py") as siren:
            siren.wait_for(r"ZMQListener \(inproc://app-thread\): connected", timeout=30)
            yield siren


def publish(broker: Mosquitto, topic: str, payload: str | bytes, *options: str) -> None:
    """Publish at QoS 1 with ``mosquitto_pub``, and return when the broker has it."""
    data = payload.encode() if isinstance(payload, str) else payload
    command = ["mosquitto_pub", "-h", broker.host, "-p", str(broker.port), "-q", "1", "-t", topic, *options]
    command.append("-s" if data else "-n")
    subprocess.run(command, input=data, check=True, timeout=20)


@contextmanager
def watching(broker: Mosquitto, topic: str) -> Iterator[Program]:
    """``mosquitto_sub`` on a topic, subscribed; prints topic and payload of each message."""
    publish(broker, "kit/subscribed", "yes", "-r")
    command = ["mosquitto_sub", "-h", broker.host, "-p", str(broker.port), "-q", "1", "-v", "-t", topic]
    with run_program([*command, "-t", "kit/subscribed"]) as watcher:
        watcher.wait_for("^kit/subscribed yes$")
        yield watcher
