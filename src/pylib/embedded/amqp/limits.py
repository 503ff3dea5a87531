"""How much a server gives at most: nobody who can reach its port can take all of the process's memory."""

from __future__ import annotations

from dataclasses import dataclass

from pylib.errors import ConfigError

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one server, over all virtual hosts. Raises ConfigError for values that make no server."""

    connections: int = 1_000  # open at once; the next one is told by connection.close 530
    channels: int = 2_047  # channel-max, on one connection
    queues: int = 10_000  # the next declare ends its connection with 530
    exchanges: int = 10_000
    bindings: int = 100_000
    consumers: int = 10_000
    queue_length: int = 1_000_000  # ready messages in one queue; publishes beyond are refused (nack, or dropped)
    queue_bytes: int = 256 * 1024 * 1024  # bodies of the ready messages in one queue; the same
    memory: int = 512 * 1024 * 1024  # bytes held in all; beyond, publishers are blocked (connection.blocked)
    frame: int = 131_072  # frame-max, bytes
    message: int = 128 * 1024 * 1024  # bytes of one body; larger ones close the channel with 406
    unsent: int = 1024 * 1024  # bytes waiting for one slow reader; its consumers wait beyond
    login: float = 10.0  # seconds from the connect until connection.open

    def __post_init__(self) -> None:
        if self.frame < 4096:
            raise ConfigError(f"Limits.frame is {self.frame}: AMQP 0-9-1 asks for at least 4096 bytes")
        if not 1 <= self.channels <= 65_535:
            raise ConfigError(f"Limits.channels is {self.channels}: it has to be between 1 and 65535")
        if min(self.connections, self.queues, self.memory, self.message, self.unsent) < 1 or self.login <= 0:
            raise ConfigError("Limits: connections, queues, memory, message, unsent and login have to be positive")
