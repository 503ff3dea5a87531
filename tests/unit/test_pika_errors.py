"""Every way in which pika says that a connection failed, in our words and our tree."""

from __future__ import annotations

import socket

import pika.exceptions as pika_exceptions
import pytest
from pika.exceptions import AMQPConnectionError, ConnectionClosedByBroker

from pylib.brokers.addresses import Address, parse_addresses
from pylib.brokers.pika_errors import RabbitUnavailable, translate
from pylib.errors import AccessRefused, ConfigError, ConnectFailed, ConnectionLost, DependencyError

WHO = "RabbitMQ at h:5672"


def address() -> Address:
    return parse_addresses("amqp://me:canary@h/home", scheme="amqp")[0]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionClosedByBroker(403, "ACCESS_REFUSED"), AccessRefused, "user 'me' or its password was refused"),
        (ConnectionClosedByBroker(530, "vhost x not found"), AccessRefused, "virtual host 'home'"),
        (ConnectionClosedByBroker(320, "CONNECTION_FORCED"), ConnectionLost, "320 CONNECTION_FORCED"),
        (pika_exceptions.ProbableAuthenticationError("x"), AccessRefused, "password was refused"),
        (pika_exceptions.ProbableAccessDeniedError("x"), AccessRefused, "virtual host 'home'"),
        (pika_exceptions.IncompatibleProtocolError("x"), ConnectFailed, "does not speak AMQP 0-9-1"),
        (pika_exceptions.AMQPHeartbeatTimeout("x"), ConnectionLost, "no heartbeat"),
        (pika_exceptions.StreamLostError("x"), ConnectionLost, "the connection was lost"),
        (pika_exceptions.ConnectionOpenAborted("x"), ConnectFailed, "did not answer"),
        (AMQPConnectionError(ConnectionRefusedError(111, "refused")), ConnectFailed, "connection refused; check"),
        (AMQPConnectionError(socket.gaierror(-2, "Name or service not known")), ConnectFailed, "host name is not known"),
        (ConfigError("the CA file is missing"), AccessRefused, "the CA file is missing"),
        (ValueError("odd"), ConnectionLost, "odd"),
        ("in words", ConnectFailed, "in words"),
    ],
)
def test_each_failure_is_translated(error: BaseException | str, kind: type[DependencyError], words: str) -> None:
    found = translate(error, WHO, address())
    assert type(found) is kind
    assert str(found).startswith(WHO)
    assert words in str(found)
    assert "canary" not in str(found)
    assert "\n" not in str(found)


def test_no_rabbitmq_is_also_pikas_own_error_and_says_what_it_was_told() -> None:
    error = RabbitUnavailable("none answers")
    assert isinstance(error, AMQPConnectionError)
    assert isinstance(error, ResourceWarning)
    assert str(error) == "none answers"
    assert repr(error) == "RabbitUnavailable('none answers')"
