"""What the broker keeps of one client: its subscriptions, and the messages on their way to and from it.

Plain objects without sockets or time, for one thread. A session outlives its connection unless the client wanted it clean
(section 3.1.2.4).
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final, Protocol

from pylib.embedded.mqtt import wire
from pylib.embedded.mqtt.limits import Budget, MqttLimits
from pylib.embedded.mqtt.wire import PUBREL, Message

__all__ = ["Line", "Session"]

log = logging.getLogger("pylib.embedded")

_LAST_PACKET_ID: Final = 0xFFFF


class Line(Protocol):
    """The way to a connected client."""

    @property
    def room(self) -> bool:
        """False while the client takes too little of what was written to it."""

    def write(self, data: bytes) -> None:
        """Send these bytes, soon and in order."""

    def end(self, reason: str) -> None:
        """Close the connection: another client has taken over its session, or the broker wants it gone."""


class _Sent:
    """A message of QoS 1 or 2 that the client has not finished with; ``released``: PUBREC came, PUBCOMP is awaited."""

    __slots__ = ("message", "qos", "released", "retain")

    def __init__(self, message: Message, qos: int, retain: bool) -> None:
        self.message, self.qos, self.retain, self.released = message, qos, retain, False


class Session:
    """One client's session. ``subscriptions`` maps filters to the QoS granted; ``line`` is None while it is away."""

    __slots__ = (
        "_budget", "_in_flight", "_late", "_limits", "_packet_id", "_received", "_told", "_waiting",
        "clean", "client_id", "dropped", "line", "subscriptions",
    )  # fmt: skip

    def __init__(self, client_id: str, clean: bool, limits: MqttLimits, budget: Budget) -> None:
        self.client_id = client_id
        self.clean = clean
        self.line: Line | None = None
        self.subscriptions: dict[str, int] = {}
        self.dropped = 0
        self._limits = limits
        self._budget = budget
        self._in_flight: dict[int, _Sent] = {}  # in the order in which they were sent
        self._waiting: deque[_Sent] = deque()  # QoS 1 and 2, until there is room in flight
        self._late: deque[tuple[Message, bool]] = deque()  # QoS 0, until the connection takes bytes again
        self._received: dict[int, Message] = {}  # QoS 2 from the client, until its PUBREL
        self._packet_id = 0
        self._told = False

    # -- to the client -----------------------------------------------------------------------------------------------

    def deliver(self, message: Message, qos: int, *, retain: bool = False) -> None:
        """Send a message now, or as soon as the client can take it. QoS 0 is only for a client that is there."""
        line = self.line
        if qos:
            if self._may_hold(message):
                self._waiting.append(_Sent(message, qos, retain))
                self.pump()
        elif line is None:
            return
        elif line.room and not self._late:
            line.write(wire.publish(message, 0, retain=retain))
        elif self._may_hold(message):
            self._late.append((message, retain))

    def pump(self) -> None:
        """Send what waits, as far as the connection and the client's acknowledgements leave room."""
        line = self.line
        if line is None:
            return
        while self._late and line.room:
            message, retain = self._late.popleft()
            self._budget.give(message.size)
            line.write(wire.publish(message, 0, retain=retain))
        while self._waiting and line.room and len(self._in_flight) < self._limits.in_flight:
            sent = self._waiting.popleft()
            packet_id = self._next_packet_id()
            self._in_flight[packet_id] = sent
            line.write(wire.publish(sent.message, sent.qos, packet_id, retain=sent.retain))
        if not self._waiting and not self._late:
            self._told = False

    def attach(self, line: Line) -> None:
        """The client is there, and CONNACK is written. What was in flight is sent again, in order, with DUP (section 4.4)."""
        self.line = line
        for packet_id, sent in self._in_flight.items():
            if sent.released:
                line.write(wire.answer(PUBREL, packet_id))
            else:
                line.write(wire.publish(sent.message, sent.qos, packet_id, retain=sent.retain, dup=True))
        self.pump()

    def detach(self) -> None:
        """The client has gone. QoS 0 does not wait for it."""
        self.line = None
        for message, _ in self._late:
            self._budget.give(message.size)
        self._late.clear()

    def discard(self) -> None:
        """Forget all messages: the session ends."""
        self.detach()
        for sent in (*self._in_flight.values(), *self._waiting):
            self._budget.give(sent.message.size)
        for message in self._received.values():
            self._budget.give(message.size)
        self._in_flight.clear()
        self._waiting.clear()
        self._received.clear()

    def acknowledged(self, packet_id: int) -> None:
        """PUBACK. One that fits nothing is ignored: it may be late, from before a reconnect."""
        sent = self._in_flight.get(packet_id)
        if sent is not None and sent.qos == 1:
            self._finish(packet_id)

    def recorded(self, packet_id: int) -> None:
        """PUBREC: it is answered by PUBREL, again and again if need be (section 4.3.3)."""
        sent = self._in_flight.get(packet_id)
        if sent is not None and sent.qos == 2:
            sent.released = True
        if self.line is not None:
            self.line.write(wire.answer(PUBREL, packet_id))

    def completed(self, packet_id: int) -> None:
        """PUBCOMP."""
        sent = self._in_flight.get(packet_id)
        if sent is not None and sent.released:
            self._finish(packet_id)

    # -- from the client ---------------------------------------------------------------------------------------------

    def receive(self, packet_id: int, message: Message) -> bool:
        """Keep a message of QoS 2 until its PUBREL; one that is sent again is the same (section 4.3.3). False: no room."""
        if packet_id in self._received:
            return True
        if len(self._received) >= self._limits.queued_messages or not self._budget.take(message.size):
            return False
        self._received[packet_id] = message
        return True

    def release(self, packet_id: int) -> Message | None:
        """PUBREL: the message that may go on now, or None if it has gone on before."""
        message = self._received.pop(packet_id, None)
        if message is not None:
            self._budget.give(message.size)
        return message

    # -- inside ------------------------------------------------------------------------------------------------------

    def _finish(self, packet_id: int) -> None:
        self._budget.give(self._in_flight.pop(packet_id).message.size)
        self.pump()

    def _may_hold(self, message: Message) -> bool:
        if len(self._waiting) + len(self._late) < self._limits.queued_messages and self._budget.take(message.size):
            return True
        self.dropped += 1
        if not self._told:
            self._told = True
            log.warning(
                "The queue of MQTT client %r is full: messages for it are dropped until it takes some.", self.client_id
            )
        return False

    def _next_packet_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % _LAST_PACKET_ID + 1
            if self._packet_id not in self._in_flight:
                return self._packet_id
