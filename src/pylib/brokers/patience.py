"""Whether a failed connection is tried again or ends its thread, and with it the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pylib.errors import AccessRefused, DependencyError

__all__ = ["Patience", "Reconnect"]

Reconnect = bool | Literal["unless_refused", "after_first", "until_first"]
"""What a failed connection leads to.

True              it is made again, for as long as it takes
"unless_refused"  the same, but a broker that refuses us at the very first connection (password, permission, TLS) ends
                  the application: somebody has to mend the settings
"after_first"     it has to succeed at once; after that it is made again
"until_first"     it is waited for; once it was up, its loss ends the application with exit code 1
False             any failure ends the application with exit code 1, to be restarted from outside
"""


class Patience:
    """Applies a ``Reconnect`` to one connection with so many addresses. For the connection's thread."""

    def __init__(self, reconnect: Reconnect, addresses: int, on_ready: Callable[[], None] | None = None) -> None:
        self._reconnect = reconnect
        self._addresses = addresses
        self._on_ready = on_ready
        self._failures = 0
        self._connected = False

    def ready(self) -> None:
        """The connection is up."""
        self._connected = True
        if self._on_ready is not None:
            self._on_ready()

    def exhausted(self, error: DependencyError) -> bool:
        """It failed or was lost: whether that is the end of the thread."""
        if isinstance(self._reconnect, bool):
            return not self._reconnect
        if self._reconnect == "until_first":
            return self._connected
        if self._connected:
            return False
        self._failures += 1
        if self._failures % self._addresses:
            return False  # there is another address to try at once
        return self._reconnect == "after_first" or isinstance(error, AccessRefused)
