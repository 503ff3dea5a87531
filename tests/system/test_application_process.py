"""An application as its user starts it: what it says, how it ends, and what is there after it was killed."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pika
import pytest

from pylib.testing.mosquitto import Mosquitto
from pylib.testing.plugin import MosquittoFactory, RabbitMQFactory
from pylib.testing.processes import Program, run_program
from pylib.testing.rabbitmq import RabbitMQ, Vhost
from tests.system.hub_kit import ROOT, SOURCE, publish

pytestmark = pytest.mark.timeout(110)

PATIENCE = 30.0
MARKED = re.compile(r"<!-- first example -->\s*```python\n(.*?)```", re.DOTALL)

HEAD = """
import os
from pylib.application import Application
app = Application("garden")
mqtt = app.mqtt(os.environ["MQTT"])
rabbit = app.rabbitmq(os.environ["AMQP"], exchange="garden")
"""


def first_example() -> str:
    """The README's first example as anybody would type it, else the one in examples/."""
    found = MARKED.search((ROOT / "README.md").read_text())
    return found[1] if found is not None else (ROOT / "examples" / "garden.py").read_text()


class Place:
    """Two brokers and a folder: starts programs there."""

    def __init__(self, folder: Path, mqtt: str, amqp: str) -> None:
        self.folder = folder
        self._env: Mapping[str, str] = {
            "MQTT": mqtt,
            "AMQP": amqp,
            "STATE_DIRECTORY": str(folder),
            "DEVICE_NAME": "test-device",
            "PYTHONPATH": str(SOURCE),
        }

    def start(self, text: str, name: str = "garden.py") -> Program:
        """Write a file and run it; returns at once."""
        # The README's example speaks to brokers on this machine; here they are somewhere else.
        text = text.replace('app.mqtt("localhost")', f'app.mqtt("{self._env["MQTT"]}")')
        text = text.replace('app.rabbitmq("localhost"', f'app.rabbitmq("{self._env["AMQP"]}"')
        (self.folder / name).write_text(text)
        return run_program([sys.executable, str(self.folder / name)], env=self._env, folder=self.folder)


@pytest.fixture
def place(tmp_path: Path, mosquitto: Mosquitto, rabbitmq: Vhost) -> Place:
    return Place(tmp_path, mosquitto.address, rabbitmq.address)


def test_it_says_what_runs_in_one_line_and_stops_within_a_second_with_code_0(place: Place) -> None:
    text = """
@mqtt.on("soil/+/state", workers=2)
def water(body: dict): ...
@rabbit.on("event.#")
async def pump(body: dict): ...
@app.every(60)
def beat(): ...
app.run()
"""
    with place.start(HEAD + text) as program:
        program.wait_for("rabbitmq consumer: connected to", PATIENCE)
        program.wait_for(
            r"garden is running: water on mqtt soil/\+/state \(2 workers\); pump on rabbitmq event\.#; beat every 60 s\."
        )
        program.wait_for("mqtt: connected to", PATIENCE)
        assert program.stop(signal.SIGTERM, timeout=2) == 0
        assert program.output.splitlines()[-1].endswith('Exiting with code 0."}')
        assert "WARNING" not in program.output
        assert "Traceback" not in program.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("app.run()", "garden has nothing to do: no handler, timer or thread is registered"),
        (
            '@mqtt.on("a")\ndef h(body: bytes): ...\n@app.around\nasync def m(call, delivery): ...\napp.run()',
            "middleware m is async and cannot be around handler h",
        ),
    ],
)
def test_what_cannot_start_is_one_clear_line_and_exit_code_1(place: Place, text: str, words: str) -> None:
    with place.start(HEAD + text) as program:
        assert program.wait(PATIENCE) == 1
        assert words in program.output
        assert program.output.count(words) == 1
        assert "Traceback" not in program.output


def test_a_mistake_in_a_registration_is_found_at_its_line(place: Place) -> None:
    with place.start(HEAD + '@mqtt.on("a")\ndef two(first: int, second: int): ...\napp.run()') as program:
        assert program.wait(PATIENCE) == 1
        assert "ConfigError: handler two: both 'first' and 'second' would be the body" in program.output
        assert 'garden.py", line 7' in program.output


def test_a_thread_of_ones_own_that_fails_ends_the_application_with_code_1(place: Place) -> None:
    text = """
from pylib.app import AppThread
class Own(AppThread):
    def run(self):
        raise RuntimeError("the pump is gone")
app.add(Own())
app.run()
"""
    with place.start(HEAD + text) as program:
        assert program.wait(PATIENCE) == 1
        assert "RuntimeError: the pump is gone" in program.output
        assert program.output.splitlines()[-1].endswith('Exiting with code 1."}')


@contextmanager
def keeping(amqp: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    """A channel on which the durable queue ``kept`` has whatever comes to the exchange ``garden``."""
    with closing(pika.BlockingConnection(pika.URLParameters(amqp))) as connection:
        channel = connection.channel()
        channel.exchange_declare("garden", "topic", durable=True)
        channel.queue_declare("kept", durable=True)
        channel.queue_bind("kept", "garden", "#")
        yield channel


class Publishing(threading.Thread):
    """Publishes dry readings, each of a bed of its own, until told to stop; knows which ones Mosquitto has accepted."""

    def __init__(self, mosquitto: Mosquitto) -> None:
        super().__init__(name="publishing", daemon=True)
        self._mosquitto = mosquitto
        self.enough = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect(self._mosquitto.host, self._mosquitto.port)
        client.loop_start()
        while not self.enough.wait(0.002):
            topic = f"soil/{len(self.accepted)}/state"
            client.publish(topic, b'{"moisture": 5}', qos=1).wait_for_publish(10)
            self.accepted.append(topic)
        client.disconnect()
        client.loop_stop()


def test_the_first_example_typed_into_an_empty_file_and_killed_again_and_again_loses_nothing(
    place: Place, mosquitto: Mosquitto, rabbitmq: Vhost
) -> None:
    with keeping(rabbitmq.address) as channel:
        with place.start(first_example()) as program:  # once, so that the broker knows whom to keep what for
            program.wait_for("mqtt: connected to", PATIENCE)
            publisher = Publishing(mosquitto)
            publisher.start()
            arrived: set[str] = set()
            collect(channel, arrived, 50)
            program.kill()
        for _ in range(3):
            with place.start(first_example()) as program:
                program.wait_for("rabbitmq: connected to", PATIENCE)
                program.wait_for("mqtt: connected to", PATIENCE)
                collect(channel, arrived, len(arrived) + 50)
                program.kill()
        publisher.enough.set()
        publisher.join(PATIENCE)
        with place.start(first_example()) as program:
            collect(channel, arrived, len(publisher.accepted))
            program.wait_for("mqtt: connected to", PATIENCE)
            assert program.stop(timeout=2) == 0
        assert set(publisher.accepted) == arrived


def collect(channel: pika.adapters.blocking_connection.BlockingChannel, arrived: set[str], count: int) -> None:
    """Take from the queue until so many different beds are known to be dry."""
    for method, _, body in channel.consume("kept", inactivity_timeout=PATIENCE):
        assert method is not None, f"only {len(arrived)} of {count} arrived"
        channel.basic_ack(method.delivery_tag or 0)
        order = msgspec.msgpack.decode(body or b"")["data"]
        arrived.update(re.findall(r"soil/\d+/state", str(order)))
        if len(arrived) >= count:
            break
    channel.cancel()  # what was sent ahead goes back to the queue


def test_a_message_is_acknowledged_only_when_rabbitmq_has_what_came_of_it(
    tmp_path: Path, mosquitto_factory: MosquittoFactory, rabbitmq_factory: RabbitMQFactory
) -> None:
    mosquitto: Mosquitto = mosquitto_factory(extra=["log_type all"])
    node: RabbitMQ = rabbitmq_factory()
    place = Place(tmp_path, mosquitto.address, node.address)
    with keeping(node.address):
        pass
    with place.start(first_example()) as program:
        program.wait_for("rabbitmq: connected to", PATIENCE)
        program.wait_for("mqtt: connected to", PATIENCE)
        node.kill()
        program.wait_for("rabbitmq: .*; trying again", PATIENCE)
        for bed in range(20):
            publish(mosquitto, f"soil/{bed}/state", '{"moisture": 5}')
        assert "Received PUBACK from garden" not in mosquitto.log_text(), "acknowledged while RabbitMQ was away"
        program.kill()
    node.start()
    with place.start(first_example()) as program, keeping(node.address) as channel:
        arrived: set[str] = set()
        collect(channel, arrived, 20)
        assert program.running
