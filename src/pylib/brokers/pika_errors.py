"""Pika's exceptions, put into our own tree and into words for the person who has to mend it."""

from __future__ import annotations

import socket
import ssl

from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPConnectionError,
    AMQPHeartbeatTimeout,
    AuthenticationError,
    ConnectionClosed,
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from pylib.brokers.addresses import Address
from pylib.brokers.dial import explain
from pylib.errors import AccessRefused, ConnectFailed, ConnectionLost, DependencyError, PylibError

__all__ = ["RabbitUnavailable", "translate"]

NOT_ALLOWED, ACCESS_REFUSED, CONNECTION_FORCED = 530, 403, 320


class RabbitUnavailable(ConnectFailed, AMQPConnectionError):
    """No RabbitMQ could be reached. Also pika's ``AMQPConnectionError``, which is what the first applications catch."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def translate(error: BaseException | str, who: str, address: Address) -> DependencyError:
    """What happened to a connection, as an error of ours."""
    if isinstance(error, str):
        return ConnectFailed(f"{who}: {error}")
    for cause in _causes(error):
        found = _one(cause, who, address)
        if found is not None:
            return found
    text = str(error) or type(error).__name__
    return ConnectionLost(f"{who}: {text}")


def _one(error: BaseException, who: str, address: Address) -> DependencyError | None:
    if isinstance(error, DependencyError):
        return error
    if isinstance(error, PylibError):
        return AccessRefused(f"{who}: {error}")
    user = f"user {address.user or 'guest'!r}"
    if isinstance(error, ConnectionClosed):
        code, text = error.reply_code, error.reply_text
        if code == ACCESS_REFUSED:
            return AccessRefused(f"{who}: {user} or its password was refused; check both")
        if code == NOT_ALLOWED:
            return AccessRefused(f"{who}: {user} may not use virtual host {address.vhost!r}, or it does not exist: {text}")
        return ConnectionLost(f"{who}: it closed the connection ({code} {text})")
    if isinstance(error, AuthenticationError | ProbableAuthenticationError):
        return AccessRefused(f"{who}: {user} or its password was refused; check both")
    if isinstance(error, ProbableAccessDeniedError):
        return AccessRefused(f"{who}: {user} may not use virtual host {address.vhost!r}, or it does not exist")
    if isinstance(error, IncompatibleProtocolError):
        return ConnectFailed(f"{who}: it does not speak AMQP 0-9-1; check that the port is RabbitMQ's (5672, TLS: 5671)")
    if isinstance(error, AMQPHeartbeatTimeout):
        return ConnectionLost(f"{who}: it stopped answering (no heartbeat)")
    if isinstance(error, ConnectionOpenAborted):  # by pika itself, whose time was up
        return ConnectFailed(f"{who}: it accepted the connection and did not answer; is it RabbitMQ's port?")
    if isinstance(error, StreamLostError):
        return ConnectionLost(f"{who}: the connection was lost")
    if isinstance(error, ssl.SSLError | socket.gaierror | TimeoutError | OSError):
        return explain(error, who)
    if "Timeout" in type(error).__name__:  # pika's own, of which it has five
        return explain(TimeoutError(), who)
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """An exception and what pika wrapped in it, innermost first: there is the reason."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.append(current)
        inner = [*getattr(current, "exceptions", ()), getattr(current, "exception", None), *current.args]
        waiting.extend(each for each in inner if isinstance(each, BaseException))
        if isinstance(current, AMQPConnectorException | AMQPConnectionError) and current.__cause__ is not None:
            waiting.append(current.__cause__)
    return found[::-1]
