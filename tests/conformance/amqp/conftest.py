"""Every case here runs against the embedded broker and against RabbitMQ, with the same assertions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("tests.conformance.amqp.client", "tests.conformance.amqp.wire")

from pylib.testing.rabbitmq import RabbitMQ  # noqa: E402
from tests.conformance.amqp.differences import DIFFERENCES  # noqa: E402
from tests.conformance.amqp.world import World  # noqa: E402

if TYPE_CHECKING:
    from pylib.embedded.amqp import AmqpBroker


@pytest.fixture(scope="module")
def embedded_broker() -> Iterator[AmqpBroker]:
    """One embedded broker for the cases of a file."""
    from pylib.embedded.amqp import AmqpBroker

    with AmqpBroker() as broker:
        yield broker


@pytest.fixture(scope="module")
def rabbitmq_address(rabbitmq_node: RabbitMQ) -> Iterator[tuple[RabbitMQ, str, str, str]]:
    """One virtual host and user on the shared node for the cases of a file."""
    vhost = rabbitmq_node.fresh_vhost()
    yield rabbitmq_node, vhost.user, vhost.password, vhost.name
    rabbitmq_node.delete_vhost(vhost.name)
    rabbitmq_node.delete_user(vhost.user)


@pytest.fixture(params=["embedded", "rabbitmq"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A broker with what the case opened on it, closed afterwards."""
    if request.param == "embedded":
        broker: AmqpBroker = request.getfixturevalue("embedded_broker")
        world = World("embedded", "127.0.0.1", broker.port, "guest", "guest", "/")
    else:
        node, user, password, vhost = request.getfixturevalue("rabbitmq_address")
        world = World("rabbitmq", node.host, node.port, user, password, vhost)
    with world.opened:
        yield world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A listed difference has to differ: a case that passes although it is listed fails."""
    for item in items:
        reason = DIFFERENCES.get(item.name.replace("[embedded", "["))
        if reason is not None and "[embedded" in item.name:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
