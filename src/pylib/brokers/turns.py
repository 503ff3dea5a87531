"""The worker's part in keeping order: after a failure of a key, nothing else of that key until that message came again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pylib.brokers.port import Delivery

__all__ = ["MOST_KEYS", "OUT_OF_TURN", "OutOfTurn", "Turns"]

MOST_KEYS: Final = 10_000
"""Keys that a worker holds back at a time; the one held longest is let go for the next."""


class OutOfTurn(Exception):
    """Not handled: an earlier message of the same key failed, and goes first. No fault of this message."""


OUT_OF_TURN: Final = OutOfTurn("an earlier message of the same key failed and goes first")
"""The one to fail receipts with. It is never raised, so that it gathers no tracebacks."""


class Turns:
    """The keys of one worker that wait for a message that failed. Belongs to the worker's thread.

    A message that comes from the broker is refused while its key is held. One that comes again, from the retry store, always
    passes; when it was handled, or never will be, its key is free. This is enough, since a pipe keeps the order: what was in
    it behind the failed message is refused before that one comes again, and the bridge sends nothing newer meanwhile.
    A key that is held for longer than needed costs its next message a detour through the store, and nothing else.

    :param key: what keeps messages in order, as the bridge sees it too. Must not raise.
    """

    __slots__ = ("_key", "held")

    def __init__(self, key: Callable[[Delivery], str]) -> None:
        self._key = key
        # In order of holding. Empty, unless something failed: ask no further then, which costs nothing.
        self.held: dict[str, None] = {}

    def refuses(self, delivery: Delivery) -> bool:
        """Whether this one has to wait. Ask only while any key is held. QoS 0 passes: nobody would deliver it again."""
        return delivery.tag != 0 and self._key(delivery) in self.held

    def failed(self, delivery: Delivery, *, final: bool) -> None:
        """The handler failed on it. ``final``: no further try can help, so that nothing has to wait for one."""
        if not final:
            self.hold(delivery)
        elif self.held:
            self.succeeded(delivery)

    def hold(self, delivery: Delivery) -> None:
        """From now on only what is tried again of its key is handled."""
        key = self._key(delivery)
        if key not in self.held:
            while len(self.held) >= MOST_KEYS:
                del self.held[next(iter(self.held))]
            self.held[key] = None

    def succeeded(self, delivery: Delivery) -> None:
        """It was handled. Tell only while any key is held."""
        if not delivery.tag and delivery.redelivered:
            self.held.pop(self._key(delivery), None)
