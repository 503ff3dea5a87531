"""A RabbitMQ connection for a command, with its errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from pylib.brokers.addresses import Address, TlsOptions
from pylib.brokers.pika import parameters_for
from pylib.brokers.pika_errors import ACCESS_REFUSED, translate
from pylib.brokers.rabbit_values import Exchange, RabbitOptions
from pylib.errors import AccessRefused, ConnectFailed, DependencyError

__all__ = ["connect", "open_any", "translated", "who"]

#: Seconds for a connection.
CONNECT_S: Final = 5.0
#: Seconds that RabbitMQ may keep the connection blocked before a command gives up.
BLOCKED_S: Final = 30.0


def who(address: Address) -> str:
    """The broker, as a message names it."""
    return f"RabbitMQ at {address.host}:{address.port}"


def connect(address: Address, tls: TlsOptions, blocked_s: float = BLOCKED_S) -> pika.BlockingConnection:
    """Connect to one broker; the caller closes it. Raises pika's own errors, for who wants to tell them apart."""
    options = RabbitOptions((address,), Exchange(""), tls=tls, connection_name="pylib tool", connect_timeout=CONNECT_S)
    parameters = parameters_for(options, address)
    parameters.blocked_connection_timeout = blocked_s
    parameters.heartbeat = 30
    return pika.BlockingConnection(parameters)


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Turn pika's errors within the block into ours."""
    try:
        yield
    except ChannelClosedByBroker as error:
        # A refusal of what was asked for; the connection is sound.
        refused = AccessRefused if error.reply_code == ACCESS_REFUSED else ConnectFailed
        raise refused(f"{who(address)}: {error.reply_text} ({error.reply_code})") from None
    except (AMQPError, OSError) as error:
        raise translate(error, who(address), address) from None


@contextmanager
def open_any(addresses: Sequence[Address], tls: TlsOptions) -> Iterator[tuple[pika.BlockingConnection, Address]]:
    """A connection to the first broker that lets us in, closed after the block. Errors within the block are ours, too.

    :raises DependencyError: none does; the message has the reason of each.
    """
    problems: list[DependencyError] = []
    for address in addresses:
        try:
            with translated(address):
                connection = connect(address, tls)
        except DependencyError as error:
            problems.append(error)
            continue
        try:
            with translated(address):
                yield connection, address
        finally:
            try:
                if connection.is_open:
                    connection.close()
            except (AMQPError, OSError):
                pass
        return
    if len(problems) == 1:
        raise problems[0]
    raise ConnectFailed("; ".join(map(str, problems)))
