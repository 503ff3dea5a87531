"""Both brokers as worlds: shared ones for tests that leave them running, own ones for tests that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pylib.testing.plugin import MosquittoFactory, RabbitMQFactory
from tests.contract.worlds import MqttWorld, RabbitWorld, World

KINDS = ["mqtt5", "mqtt311", "amqp"]


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> World:
    """A running broker that the test leaves running."""
    if request.param == "amqp":
        return RabbitWorld(request.getfixturevalue("rabbitmq").address)
    broker = request.getfixturevalue("mosquitto")
    return MqttWorld(broker.host, broker.port, version="5" if request.param == "mqtt5" else "3.1.1")


@dataclass(frozen=True, slots=True)
class Mortal:
    """A broker that the test may end and start again."""

    world: World
    kill: Callable[[], object]
    terminate: Callable[[], object]
    start: Callable[[], object]
    pause: Callable[[], object]
    resume: Callable[[], object]


@pytest.fixture(params=KINDS)
def mortal(request: pytest.FixtureRequest, mosquitto_factory: MosquittoFactory, rabbitmq_factory: RabbitMQFactory) -> Mortal:
    """A broker of this test's own, that keeps its state over a restart."""
    if request.param == "amqp":
        node = rabbitmq_factory()
        return Mortal(RabbitWorld(node.address), node.kill, node.stop, node.start, node.pause, node.resume)
    broker = mosquitto_factory(persistence=True)
    world = MqttWorld(broker.host, broker.port, version="5" if request.param == "mqtt5" else "3.1.1")
    return Mortal(world, broker.kill, broker.terminate, broker.start, broker.pause, broker.resume)
