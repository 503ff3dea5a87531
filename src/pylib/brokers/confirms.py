"""Publishing to RabbitMQ with publisher confirms: what is under way, what came back, and what has to wait."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import pika

from pylib.brokers.amqp_wire import PublishEncoder
from pylib.brokers.pika_loop import Connection
from pylib.brokers.port import Expired, Outgoing, PortOwner
from pylib.brokers.topics import check_routing_key
from pylib.brokers.window import InFlight, Window
from pylib.errors import MessageError, Rejected
from pylib.runtime.loop import Loop

__all__ = ["Confirms"]

log = logging.getLogger("pylib.rabbit")

# A message that was under way each time RabbitMQ closed our channel is not published a fourth time.
MOST_ATTEMPTS: Final = 3
# Routing keys whose messages reach nobody and that were warned of.
MOST_WARNED: Final = 1000


class Confirms:
    """The publishing half of a RabbitMQ port. For its loop's thread.

    :param reject_unroutable: a mandatory message that no queue is bound for is refused instead of counted.
    :param refused: told why the channel is of no use any more: RabbitMQ could not take a message (basic.nack).

    A basic.nack says nothing against the message: a queue is full, or has lost its leader, or failed (RabbitMQ guide
    *Consumer Acknowledgements and Publisher Confirms*). So it is no outcome. The message keeps its place and is published
    again: on a new connection, since RabbitMQ 3.10 goes on refusing on a channel that met a queue without its leader when
    there is a new one; and one at a time, since each try of many would repeat them in the queues that did take them.
    """

    def __init__(
        self, exchange: str, window: int, reject_unroutable: bool, name: Callable[[], str], refused: Callable[[str], None]
    ) -> None:
        self._exchange = exchange
        self._window = Window(window)
        self._reject_unroutable = reject_unroutable
        self._name = name
        self._refused = refused
        # One at a time, from a basic.nack until the next basic.ack.
        self._wary = False
        self._loop: Loop
        self._owner: PortOwner
        self._connection: Connection | None = None
        self._encoder: PublishEncoder | None = None
        # Delivery tags count from 1 on each channel and so do we (RabbitMQ guide: "Publisher Confirms").
        self._next_tag = 1
        self.blocked = False
        self.blocked_since = 0.0
        self.unroutable = 0
        self._warned: set[str] = set()
        self._returned: set[str] = set()

    def bind(self, loop: Loop, owner: PortOwner) -> None:
        self._loop, self._owner = loop, owner

    @property
    def room(self) -> int:
        if self._connection is None or self.blocked:
            return 0
        return min(1, self._window.room, 1 - self._window.under_way) if self._wary else self._window.room

    @property
    def unsettled(self) -> int:
        return len(self._window)

    def up(self, connection: Connection, channel: int) -> None:
        """The channel confirms: publish what had to wait, in order."""
        self._connection = connection
        frame_max = connection.params.frame_max or pika.spec.FRAME_MAX_SIZE
        self._encoder = PublishEncoder(channel, self._exchange, frame_max)
        self._next_tag = 1
        self._send_waiting()

    def down(self, suspect: bool = False) -> None:
        """The channel is gone. ``suspect``: RabbitMQ closed it, perhaps because of something under way."""
        if suspect:
            self._window.suspect()
        self._window.requeue()
        self._connection, self.blocked = None, False

    def publish(self, message: Outgoing, token: object) -> None:
        check_routing_key(message.address)
        entry = InFlight(message, token)
        if self._connection is None or self.blocked or self._window.waiting or (self._wary and self._window.under_way):
            self._window.wait(entry)
        else:
            self._send(entry)

    def reclaim(self) -> list[tuple[Outgoing, object]]:
        return [(entry.message, entry.token) for entry in self._window.take_all()]

    def fail_all(self, error: Exception) -> None:
        """Nothing more will be published: everything under way has this outcome."""
        for entry in self._window.take_all():
            self._owner.on_outcome(entry.token, error)

    def confirmed(self, frame: Any) -> None:
        """basic.ack or basic.nack from RabbitMQ."""
        method = frame.method
        if isinstance(method, pika.spec.Basic.Nack):
            self._wary = True
            self._refused("it could not take a message (basic.nack): a queue is full or has lost its leader, or failed")
            return
        self._wary = False
        if method.multiple:
            answered = self._window.answered_through(method.delivery_tag)
        else:
            entry = self._window.answered(method.delivery_tag)
            answered = [entry] if entry is not None else []
        on_outcome = self._owner.on_outcome
        for entry in answered:
            error: Exception | None = None
            if self._returned and entry.message.message_id in self._returned:
                self._returned.discard(str(entry.message.message_id))
                error = Rejected(f"{entry.message.address}: no queue is bound to this routing key")
            on_outcome(entry.token, error)
        if self._window.waiting:
            self._loop.defer(self._send_waiting)
        self._loop.defer(self.offer_room)

    def returned(self, method: Any, properties: pika.BasicProperties) -> None:
        """basic.return: a mandatory message reached no queue. Its confirm follows."""
        self.unroutable += 1
        if self._reject_unroutable and properties.message_id:
            self._returned.add(properties.message_id)
        elif method.routing_key not in self._warned and len(self._warned) < MOST_WARNED:
            self._warned.add(method.routing_key)
            log.warning("%s: no queue is bound to routing key %r on exchange %r, so messages to it reach nobody.",
                        self._name(), method.routing_key, self._exchange)  # fmt: skip

    def block(self, reason: str) -> None:
        """connection.blocked: a memory or disk alarm (RabbitMQ guide "Blocked Connection Notifications")."""
        self.blocked = True
        self.blocked_since = self._loop.time()
        log.warning("%s asks us to stop publishing: %s. Messages wait.", self._name(), reason)

    def unblock(self) -> None:
        """connection.unblocked."""
        self.blocked = False
        log.info("%s takes messages again.", self._name())
        self._send_waiting()
        self.offer_room()

    def offer_room(self) -> None:
        if self.room > 0:
            self._owner.on_room()

    def _send_waiting(self) -> None:
        """Publish what waits, in order. What was under way when RabbitMQ closed the channel goes by itself: of a whole window
        one message was at fault, and the others must not share its fate."""
        window = self._window
        if self._connection is None or self.blocked:
            return
        waiting = window.take_waiting()
        while waiting:
            entry = waiting.popleft()
            if (entry.attempts or self._wary) and window.under_way:
                waiting.appendleft(entry)
                break
            self._send(entry)
            if entry.attempts and window.under_way:
                break
        window.put_back(waiting)

    def _send(self, entry: InFlight) -> None:
        message, connection, encoder = entry.message, self._connection, self._encoder
        if connection is None or encoder is None:
            self._window.wait(entry)
            return
        try:
            if entry.attempts >= MOST_ATTEMPTS:
                raise Rejected(f"{message.address}: RabbitMQ closed the channel on it each time")
            remaining = None
            if message.expires_at is not None:
                remaining = message.expires_at - self._loop.time()
                if remaining <= 0:
                    raise Expired(f"{message.address}: it expired before it could be sent")
            frames = encoder.encode(message, remaining)
        except MessageError as error:
            self._owner.on_outcome(entry.token, error)
            return
        connection.emit(frames)
        self._window.sent(self._next_tag, entry)
        self._next_tag += 1
