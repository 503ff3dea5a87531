"""What becomes of one client while memory is low: it is held when it publishes, and let on when there is room again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pamqp import base, commands

from pylib.embedded.amqp.wire.methods import encode_method

if TYPE_CHECKING:
    from pylib.embedded.amqp.session.connection import Connection

__all__ = ["Throttle"]


class Throttle:
    """Of one connection. As in RabbitMQ a client is held at the first header or body it sends while memory is low, and what
    it has sent after that waits; one that only takes messages out goes on. Who sent the message that was the last straw is
    held at once, so that it learns of it.
    """

    __slots__ = ("_connection", "_hold", "_low", "blocked", "dealing")

    def __init__(self, connection: Connection, hold: Callable[[bool], None]) -> None:
        self._connection = connection
        self._hold = hold
        self._low = False
        self.blocked = False  # nothing more of it is dealt with, and nothing further is read
        self.dealing = False  # a frame of it is being dealt with

    def alarm(self, low: bool) -> None:
        """Memory is low, or there is enough again."""
        self._low = low
        if low and self.dealing:
            self._block()
        elif not low and self.blocked:
            self._tell(commands.Connection.Unblocked)
            self.let_on()

    def came_late(self) -> None:
        """It has connected while memory is low already: its first message will be held."""
        self._low = True

    def content_came(self) -> None:
        """A header or a body has come: it publishes."""
        if self._low:
            self._block()

    def let_on(self) -> None:
        """Deal with what waits, and read again. Harmless when it is not held."""
        if not self.blocked:
            return
        self.blocked = False
        self._hold(False)
        # Not now: somebody else's frame is being dealt with, and what waits here may touch the same queue.
        self._connection.catch_up_soon()

    def _block(self) -> None:
        if not self.blocked and self._connection.is_running:
            self.blocked = True
            self._tell(commands.Connection.Blocked, reason="low on memory")
            self._hold(True)

    def _tell(self, method: type[base.Frame], **values: str) -> None:
        if "connection.blocked" in self._connection.capabilities:
            self._connection.write(encode_method(0, method, **values))
