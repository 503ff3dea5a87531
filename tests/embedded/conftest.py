"""The embedded brokers under the names by which the other tests know the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pika
import pytest

from pylib.embedded.amqp import AmqpBroker
from pylib.embedded.mqtt import MqttBroker
from tests.contract.worlds import MqttWorld, RabbitWorld, World
from tests.faults.conftest import cable as cable


@dataclass(frozen=True, slots=True)
class Place:
    """An embedded broker as tests use a private one: where it is, who may in, a connection to it."""

    url: str

    @property
    def address(self) -> str:
        return self.url

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def user(self) -> str:
        return urlsplit(self.url).username or ""

    @property
    def password(self) -> str:
        return urlsplit(self.url).password or ""

    def connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.url))


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is kept in a folder of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def mosquitto(mqtt_broker: MqttBroker) -> Place:
    return Place(mqtt_broker.url)


@pytest.fixture
def rabbitmq() -> Iterator[Place]:
    """A user and a password of its own, so that a test may look for the password where it must not be."""
    with AmqpBroker(user="tester", password="embedded-secret") as broker:
        yield Place(broker.url)


@pytest.fixture
def mosquitto_factory() -> Iterator[Any]:
    """Embedded brokers at an address of the test's choice; anything else asked of a Mosquitto is an error."""
    with ExitStack() as stack:
        yield lambda host="127.0.0.1", port=0: Place(stack.enter_context(MqttBroker(host, port)).url)


@pytest.fixture(params=["mqtt311", "amqp"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "amqp":
        return RabbitWorld(request.getfixturevalue("amqp_broker").url)
    broker = request.getfixturevalue("mqtt_broker")
    # A test that names MQTT 5 gets what the embedded broker speaks.
    return MqttWorld(broker.host, broker.port, version="3.1.1")


@pytest.fixture(scope="session")
def rabbitmq_node() -> None:
    """Nothing real in this folder: a test that asks for it would show nothing about the embedded brokers."""
    raise AssertionError("tests/embedded runs on the embedded brokers alone")


@pytest.fixture
def rabbitmq_factory(rabbitmq_node: None) -> None:
    """As ``rabbitmq_node``."""
