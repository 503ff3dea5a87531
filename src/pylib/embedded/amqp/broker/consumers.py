"""The consumers of a queue: whose turn it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from pylib.embedded.amqp.broker.message import Entry
from pylib.embedded.amqp.wire.tables import encode_short

__all__ = ["Consumer", "Consumers", "Receiver"]


class Receiver(Protocol):
    """Where a consumer's messages go: a channel."""

    def has_room(self) -> bool:
        """Whether it may be given a message now: its own limit, and how much its client has not read yet."""

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Send a message. Must not call back into the queue."""

    def cancelled(self, consumer: Consumer) -> None:
        """The queue is gone, and the consumer with it."""


class Consumer:
    """One basic.consume. ``limit`` is its prefetch, 0: none."""

    __slots__ = ("exclusive", "head", "limit", "no_ack", "priority", "queue_name", "receiver", "tag", "unacked")

    def __init__(
        self, receiver: Receiver, tag: str, queue_name: str, *, no_ack: bool, exclusive: bool, limit: int, priority: int
    ) -> None:
        self.receiver = receiver
        self.tag = tag
        self.queue_name = queue_name
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.limit = limit
        self.priority = priority
        self.unacked = 0
        # The beginning of its basic.deliver frames.
        self.head = b"\x00\x3c\x00\x3c" + encode_short(tag)

    def ready(self) -> bool:
        return (not self.limit or self.no_ack or self.unacked < self.limit) and self.receiver.has_room()


class Consumers:
    """In turn within a priority, the higher priorities first. With ``single`` one is active until it goes."""

    __slots__ = ("_active", "_rows", "_single", "count")

    def __init__(self, single: bool) -> None:
        self._single = single
        self._active: Consumer | None = None
        self._rows: list[tuple[int, deque[Consumer]]] = []
        self.count = 0

    def __iter__(self) -> Iterator[Consumer]:
        for _, row in self._rows:
            yield from row

    @property
    def exclusive(self) -> bool:
        return any(consumer.exclusive for consumer in self)

    def add(self, consumer: Consumer) -> None:
        self.count += 1
        if self._single and self._active is None:
            self._active = consumer
        for at, (level, row) in enumerate(self._rows):
            if level == consumer.priority:
                row.append(consumer)
                return
            if level < consumer.priority:
                self._rows.insert(at, (consumer.priority, deque([consumer])))
                return
        self._rows.append((consumer.priority, deque([consumer])))

    def remove(self, consumer: Consumer) -> bool:
        """Whether it was there. The next active one is the first of the highest priority."""
        for at, (_, row) in enumerate(self._rows):
            if consumer in row:
                row.remove(consumer)
                self.count -= 1
                if not row:
                    del self._rows[at]
                if consumer is self._active:
                    self._active = next(iter(self), None)
                return True
        return False

    def clear(self) -> list[Consumer]:
        all_of_them = list(self)
        self._rows.clear()
        self._active = None
        self.count = 0
        return all_of_them

    def next(self) -> Consumer | None:
        """Who gets the next message; None: nobody can take one now."""
        if self._single:
            active = self._active
            return active if active is not None and active.ready() else None
        for _, row in self._rows:
            if len(row) == 1:
                if row[0].ready():
                    return row[0]
                continue
            for _ in range(len(row)):
                consumer = row[0]
                row.rotate(-1)
                if consumer.ready():
                    return consumer
        return None
