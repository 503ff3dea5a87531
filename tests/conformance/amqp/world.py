"""The two brokers as a case sees them: an address, a user, a virtual host, and names of its own."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pika

from tests.conformance.amqp.client import Channel, Connection

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class World:
    """A running broker. What a case opens through it is closed after the case."""

    name: str
    host: str
    port: int
    user: str
    password: str
    vhost: str
    opened: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"amqp://{login}@{self.host}:{self.port}/{quote(self.vhost, safe='')}"

    def fresh(self, what: str = "q") -> str:
        """A name that no other case uses."""
        return f"{what}-{next(_numbers)}"

    def wire(self) -> Connection:
        """A socket on which nothing was sent yet."""
        return self.opened.enter_context(Connection(self.host, self.port))

    def connect(self, **options: Any) -> Connection:
        """An open connection."""
        return self.wire().open(self.user, self.password, self.vhost, **options)

    def channel(self, **options: Any) -> Channel:
        """A channel on a connection of its own."""
        return self.connect(**options).channel()

    def pika(self, **options: Any) -> pika.BlockingConnection:
        """A connection of pika's."""
        parameters = pika.URLParameters(self.url)
        for name, value in options.items():
            setattr(parameters, name, value)
        connection = pika.BlockingConnection(parameters)
        self.opened.callback(lambda: connection.close() if connection.is_open else None)
        return connection
