"""A queue: what waits in it, who consumes it, when its messages and it itself expire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pylib.embedded.amqp.broker.arguments import QueueOptions
from pylib.embedded.amqp.broker.consumers import Consumer, Consumers
from pylib.embedded.amqp.broker.message import Entry, Message
from pylib.embedded.amqp.broker.ready import Ready
from pylib.embedded.amqp.wire.tables import Table

if TYPE_CHECKING:
    from pylib.embedded.amqp.broker.agenda import Agenda, Appointment
    from pylib.embedded.amqp.broker.memory import Memory
    from pylib.embedded.amqp.limits import Limits

__all__ = ["Queue"]

DeadLetter = Callable[["Queue", Message, str], None]


class Queue:
    """One queue of a virtual host. ``owner`` is the connection it is exclusive to, or None."""

    def __init__(
        self,
        name: str,
        vhost: str,
        *,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: Table,
        options: QueueOptions,
        agenda: Agenda,
        memory: Memory,
        limits: Limits,
        dead_letter: DeadLetter,
        remove: Callable[[Queue], object],
    ) -> None:
        self.name = name
        self.shown = f"queue '{name}' in vhost '{vhost}'"
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments = arguments
        self.options = options
        self.consumers = Consumers(options.single)
        self.unacked = 0
        self.deleted = False
        self._ready = Ready(options.max_priority)
        self._agenda = agenda
        self._memory = memory
        self._limits = limits
        self._dead_letter = dead_letter
        self._remove = remove
        self._sequence = 0
        self._bounded = options.max_length is not None or options.max_bytes is not None
        self._expiring = False  # whether a message with a time to live was ever put in
        self._expiry: Appointment | None = None
        self._unused_until = 0.0
        self._unused: Appointment | None = None
        self.touch()

    @property
    def ready(self) -> int:
        """Messages that wait for a consumer."""
        self._expire()
        return self._ready.count

    # -- in ----------------------------------------------------------------------------------------------------------

    def publish(self, message: Message) -> bool:
        """Take a message, or refuse it: False where a limit says so."""
        options, ready = self.options, self._ready
        if self._expiring:
            self._expire()
        if ready.count >= self._limits.queue_length or ready.bytes + len(message.body) > self._limits.queue_bytes:
            return False
        if self._bounded and options.overflow != "drop-head" and self._over(1, len(message.body)):
            if options.overflow == "reject-publish-dlx" and options.dead_letter_exchange is not None:
                self._dead_letter(self, message, "maxlen")
            return False
        self._sequence += 1
        entry = Entry(message, self._sequence, self._expires(message), options.quorum)
        self._memory.add(message.cost)
        if not ready.count:
            consumer = self.consumers.next()
            if consumer is not None:
                self._hand(consumer, entry)
                return True
        ready.push(entry)
        if self._bounded:
            while ready.count and self._over(0, 0):
                dropped = ready.pop()
                if dropped is not None:
                    self._bury(dropped, "maxlen")
        if self._expiring:
            self._expire()
        if ready.count and self.consumers.count:  # of another priority than what waits
            self.kick()
        return True

    def _over(self, more: int, more_bytes: int) -> bool:
        most, most_bytes = self.options.max_length, self.options.max_bytes
        return (most is not None and self._ready.count + more > most) or (
            most_bytes is not None and self._ready.bytes + more_bytes > most_bytes
        )

    def _expires(self, message: Message) -> float | None:
        seconds = self.options.message_ttl
        own = message.properties.expiration
        if own is not None:
            asked = int(own) / 1000.0
            seconds = asked if seconds is None else min(seconds, asked)
        if seconds is None:
            return None
        self._expiring = True
        return self._agenda.now() + seconds

    # -- out ---------------------------------------------------------------------------------------------------------

    def get(self) -> Entry | None:
        """Take the next message for basic.get: it is unacknowledged then, until ``ack`` and the like."""
        self.touch()
        self._expire()
        entry = self._ready.pop()
        if entry is not None:
            self.unacked += 1
        return entry

    def kick(self) -> None:
        """Give what waits to whoever can take it."""
        if self.deleted:
            return
        if self._expiring:
            self._expire()
        ready = self._ready
        while ready.count:
            consumer = self.consumers.next()
            if consumer is None:
                return
            entry = ready.pop()
            if entry is not None:
                self._hand(consumer, entry)

    def _hand(self, consumer: Consumer, entry: Entry) -> None:
        if consumer.no_ack:
            self._memory.release(entry.message.cost)
        else:
            consumer.unacked += 1
            self.unacked += 1
        consumer.receiver.deliver(consumer, entry)

    # -- back --------------------------------------------------------------------------------------------------------

    def ack(self, entry: Entry, consumer: Consumer | None) -> None:
        """An entry is done. ``kick`` afterwards."""
        self._settle(consumer)
        self._memory.release(entry.message.cost)

    def reject(self, entry: Entry, consumer: Consumer | None) -> None:
        """An entry is refused for good: it becomes a dead letter where the queue says so. ``kick`` afterwards."""
        self._settle(consumer)
        if not self.deleted:
            self._bury(entry, "rejected")
        else:
            self._memory.release(entry.message.cost)

    def requeue(self, entries: Sequence[tuple[Entry, Consumer | None]]) -> None:
        """Entries come back to where they were. ``kick`` afterwards."""
        back: list[Entry] = []
        limit = self.options.delivery_limit
        for entry, consumer in entries:
            self._settle(consumer)
            entry.redelivered = True
            entry.deliveries += 1
            if self.deleted:
                self._memory.release(entry.message.cost)
            elif self.options.quorum and limit is not None and entry.deliveries > limit:
                self._bury(entry, "delivery_limit")
            else:
                back.append(entry)
        self._ready.put_back(back)

    def _settle(self, consumer: Consumer | None) -> None:
        self.unacked -= 1
        if consumer is not None:
            consumer.unacked -= 1

    def _bury(self, entry: Entry, reason: str) -> None:
        self._memory.release(entry.message.cost)
        if self.options.dead_letter_exchange is not None:
            self._dead_letter(self, entry.message, reason)

    # -- consumers ---------------------------------------------------------------------------------------------------

    def add_consumer(self, consumer: Consumer) -> None:
        self.consumers.add(consumer)

    def remove_consumer(self, consumer: Consumer) -> None:
        """A consumer is gone; the last one takes an auto-delete queue with it."""
        if self.consumers.remove(consumer) and not self.consumers.count:
            self.touch()
            if self.auto_delete:
                self._remove(self)
                return
        self.kick()

    # -- ends --------------------------------------------------------------------------------------------------------

    def purge(self) -> int:
        """Drop what waits. Returns how many those were."""
        self._expire()
        taken = self._ready.clear()
        for entry in taken:
            self._memory.release(entry.message.cost)
        return len(taken)

    def delete(self) -> int:
        """The queue's last moment: consumers are told, what waits is dropped. Returns how many those were."""
        dropped = self.purge()
        self.deleted = True
        for appointment in (self._expiry, self._unused):
            if appointment is not None:
                appointment.cancel()
        for consumer in self.consumers.clear():
            consumer.receiver.cancelled(consumer)
        return dropped

    def touch(self) -> None:
        """The queue is used: declared, got from, or its last consumer has just left."""
        seconds = self.options.expires
        if seconds is not None:
            self._unused_until = self._agenda.now() + seconds
            if self._unused is None:
                self._unused = self._agenda.at(self._unused_until, self._look_whether_unused)

    def _look_whether_unused(self) -> None:
        self._unused = None
        if self.deleted or self.consumers.count:
            return
        if self._agenda.now() < self._unused_until:
            self._unused = self._agenda.at(self._unused_until, self._look_whether_unused)
        else:
            self._remove(self)

    def _expire(self) -> None:
        if not self._expiring:
            return
        now = self._agenda.now()
        while (entry := self._ready.pop_expired(now)) is not None:
            self._bury(entry, "expired")
        due = min((head.expires for head in self._ready.heads() if head.expires is not None), default=None)
        if due is not None and (self._expiry is None or self._expiry.call is None or self._expiry.due > due):
            if self._expiry is not None:
                self._expiry.cancel()
            self._expiry = self._agenda.at(due, self._expiry_due)

    def _expiry_due(self) -> None:
        self._expiry = None
        if not self.deleted:
            self._expire()
