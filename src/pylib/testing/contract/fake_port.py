"""A port without a broker: keeps the promises of ``pylib.brokers.port.Port`` and does what the test tells it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pylib.brokers.port import Delivery, Outgoing, PortOwner
from pylib.errors import ConnectionLost, DependencyError, Rejected
from pylib.runtime.loop import Loop

__all__ = ["FakePort", "Settled"]


@dataclass(frozen=True, slots=True)
class Settled:
    """One delivery that the port's owner settled on the connection that had delivered it."""

    delivery: Delivery
    accepted: bool


class FakePort:
    """A broker in memory. The owner's side is ``Port``; the test plays the broker with ``connect``, ``lose``, ``deliver``,
    ``confirm`` and ``refuse``, on the loop's thread (or with no loop running).

    :param window: messages that may be without an outcome at a time.
    :param confirm_at_once: each publish is confirmed during the call, as a broker with nothing else to do seems to.
    """

    def __init__(self, *, window: int = 100, confirm_at_once: bool = False) -> None:
        self.window = window
        self.confirm_at_once = confirm_at_once
        self.published: list[Outgoing] = []
        self.settled: list[Settled] = []
        self.consuming = True
        self.blocked = False
        self.blocked_since = 0.0
        self.closed = self.aborted = False
        self._up = False
        self._epoch = 0
        self._tag = 0
        self._waiting: deque[tuple[Outgoing, object]] = deque()
        self._owner: PortOwner | None = None

    # -- Port --------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return "the fake broker"

    @property
    def up(self) -> bool:
        return self._up

    @property
    def room(self) -> int:
        return max(0, self.window - len(self._waiting)) if self._up else 0

    @property
    def unsettled(self) -> int:
        return len(self._waiting)

    def open(self, loop: Loop, owner: PortOwner) -> None:
        self._owner = owner

    def check(self, message: Outgoing) -> None:
        if not message.address:
            raise Rejected("a message needs an address")

    def reclaim(self) -> list[tuple[Outgoing, object]]:
        waiting, self._waiting = list(self._waiting), deque()
        return waiting

    def publish(self, message: Outgoing, token: object) -> None:
        self.check(message)
        self._waiting.append((message, token))
        if self._up:
            self.published.append(message)
            if self.confirm_at_once:
                self.confirm()

    def settle(self, deliveries: Sequence[Delivery], *, accept: bool = True) -> None:
        if self._up:
            self.settled += [Settled(each, accept) for each in deliveries if each.tag and each.epoch == self._epoch]

    def stop_consuming(self) -> None:
        self.consuming = False

    def close(self, on_closed: Callable[[], None]) -> None:
        self._leave()
        self.closed = True
        on_closed()

    def abort(self) -> None:
        self._leave()
        self.aborted = True

    # -- the test plays the broker -----------------------------------------------------------------------------------

    def connect(self) -> None:
        """The connection is up; what has no outcome is published again, in order."""
        self._up = True
        self._epoch += 1
        self._tag = 0
        self.published += [message for message, _ in self._waiting]
        self.owner.on_up()
        if self.room:
            self.owner.on_room()

    def lose(self, error: DependencyError | None = None) -> None:
        """The connection is lost."""
        self._up = False
        self.owner.on_down(error or ConnectionLost("the fake broker is gone"), 0.1)

    def deliver(self, address: str, body: bytes = b"", *, qos: int = 1, expires_at: float | None = None) -> Delivery:
        """Deliver a message; QoS 0 needs no acknowledgement."""
        self._tag += 1
        delivery = Delivery(address, body, self._tag if qos else 0, self._epoch, qos=qos, expires_at=expires_at)
        if self.consuming:
            self.owner.on_delivery(delivery)
        return delivery

    def confirm(self, count: int = 1) -> None:
        """Take responsibility for the oldest messages."""
        for _ in range(count):
            _, token = self._waiting.popleft()
            self.owner.on_outcome(token, None)
        if self.room:
            self.owner.on_room()

    def refuse(self, reason: str = "refused by the test") -> None:
        """Refuse the oldest message."""
        message, token = self._waiting.popleft()
        self.owner.on_outcome(token, Rejected(f"{message.address}: {reason}"))

    @property
    def owner(self) -> PortOwner:
        """Who opened the port."""
        if self._owner is None:
            raise RuntimeError("The port was not opened yet.")
        return self._owner

    def _leave(self) -> None:
        self._up = False
        waiting, self._waiting = self._waiting, deque()
        for _, token in waiting:
            self.owner.on_outcome(token, ConnectionLost("the fake broker was left before it confirmed"))
