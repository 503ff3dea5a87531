"""What a channel consumes: its consumers, what it was given and has not acknowledged, and how much it may be given."""

from __future__ import annotations

import contextlib
import secrets
import struct
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from pamqp import commands

from pylib.embedded.amqp.broker.arguments import check_consume, consumer_priority
from pylib.embedded.amqp.broker.consumers import Consumer
from pylib.embedded.amqp.broker.core import REPLY_TO
from pylib.embedded.amqp.broker.message import Entry, Message
from pylib.embedded.amqp.broker.queue import Queue
from pylib.embedded.amqp.session.topology import queue_name, table
from pylib.embedded.amqp.wire.errors import fail
from pylib.embedded.amqp.wire.framing import content_frames
from pylib.embedded.amqp.wire.tables import encode_short

if TYPE_CHECKING:
    from pylib.embedded.amqp.session.channel import Channel

__all__ = ["Deliveries", "Settlement", "Unacked"]

_TAG = struct.Struct(">QB")
_COUNT = struct.Struct(">I")


class Unacked(NamedTuple):
    """A message that the client holds. ``consumer`` is None for one that it got by basic.get."""

    tag: int
    entry: Entry
    queue: Queue
    consumer: Consumer | None


class Settlement(NamedTuple):
    """How held messages end: "ack", "reject" or "requeue"."""

    how: str
    held: list[Unacked]


class Deliveries:
    """The consuming half of a channel; the Receiver of its consumers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._consumers: dict[str, tuple[Consumer, Queue]] = {}
        self._unacked: dict[int, Unacked] = {}
        self._next_tag = 1
        self._prefetch = 0  # of consumers to come
        self._limit = 0  # of the whole channel
        self._held = 0  # delivered to consumers and not acknowledged: what the channel's limit counts
        self._notices: list[str] = []  # tags of consumers whose queue is gone
        self._answering = False
        self.reply_address = ""
        self._reply_tag = ""

    # -- a Receiver --------------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        if self._limit and self._held >= self._limit:
            return False
        return not self._channel.shut_down and not self._channel.connection.congested()

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        tag = self._next_tag
        self._next_tag = tag + 1
        if not consumer.no_ack:
            _, queue = self._consumers[consumer.tag]
            self._unacked[tag] = Unacked(tag, entry, queue, consumer)
            self._held += 1
        message = entry.message
        method = b"".join((consumer.head, _TAG.pack(tag, entry.redelivered), message.place))
        self._write(method, self._header(entry), message.body)

    def cancelled(self, consumer: Consumer) -> None:
        """Consumer cancel notification: the queue is gone."""
        if self._consumers.pop(consumer.tag, None) is None:
            return
        self._channel.core.consumers -= 1
        if "consumer_cancel_notify" in self._channel.connection.capabilities and not self._channel.shut_down:
            self._notices.append(consumer.tag)
            if not self._answering:
                self._notify()

    @contextlib.contextmanager
    def notices_after(self) -> Iterator[None]:
        """Within the block the answer to a queue.delete is sent: notices to the same channel come after it."""
        self._answering = True
        try:
            yield
        finally:
            self._answering = False
            self._notify()

    def _notify(self) -> None:
        notices, self._notices = self._notices, []
        for tag in notices:
            self._channel.reply(commands.Basic.Cancel, consumer_tag=tag, nowait=True)

    def deliver_reply(self, message: Message) -> None:
        """A direct answer: there is no queue, and nothing to acknowledge."""
        if self._channel.connection.is_full():
            return  # direct answers come at most once, and nobody reads these
        # The next delivery's tag, which stays the next one: there is nothing to acknowledge under it.
        head = b"\x00\x3c\x00\x3c" + encode_short(self._reply_tag)
        self._write(head + _TAG.pack(self._next_tag, False) + message.place, message.header, message.body)

    @staticmethod
    def _header(entry: Entry, *, got: bool = False) -> bytes:
        """With how often it came back, from a quorum queue: basic.get shows a zero too."""
        if entry.counted and (entry.deliveries or got):
            return entry.message.header_with({"x-delivery-count": ("l", entry.deliveries)})
        return entry.message.header

    def _write(self, method: bytes, header: bytes, body: bytes) -> None:
        connection = self._channel.connection
        connection.write(content_frames(self._channel.number, method, header, body, connection.frame_max))

    # -- consume and cancel ------------------------------------------------------------------------------------------

    def consume(self, method: commands.Basic.Consume) -> None:
        channel = self._channel
        name = queue_name(channel, method.queue)
        tag = str(method.consumer_tag)
        if tag in self._consumers:
            fail(530, f"attempt to reuse consumer tag '{tag}'")
        if name == REPLY_TO:
            self._consume_replies(method, tag)
            return
        queue = channel.vhost.queue(name, channel.connection)
        arguments = table(method.arguments)
        check_consume(queue.shown, queue.options.quorum, arguments)
        if queue.options.quorum and self._limit:
            fail(540, f"{queue.shown} does not support global qos")
        exclusive = bool(method.exclusive)
        if queue.consumers.exclusive or (exclusive and (queue.consumers.count or queue.options.single)):
            fail(403, f"{queue.shown} in exclusive use")
        core = channel.core
        if core.consumers >= core.limits.consumers:
            fail(530, f"cannot consume from {queue.shown}: the limit of {core.limits.consumers} consumers is reached")
        tag = tag or f"amq.ctag-{secrets.token_urlsafe(16)}"
        consumer = Consumer(
            self, tag, queue.name, no_ack=bool(method.no_ack), exclusive=exclusive, limit=self._prefetch,
            priority=consumer_priority(arguments),
        )  # fmt: skip
        self._consumers[tag] = (consumer, queue)
        core.consumers += 1
        if not method.nowait:
            channel.reply(commands.Basic.ConsumeOk, consumer_tag=tag)
        queue.add_consumer(consumer)
        queue.kick()

    def _consume_replies(self, method: commands.Basic.Consume, tag: str) -> None:
        if not method.no_ack:
            fail(406, "reply consumer cannot acknowledge")
        if self.reply_address:
            fail(406, "reply consumer already set")
        self._reply_tag = tag or f"amq.ctag-{secrets.token_urlsafe(16)}"
        self.reply_address = self._channel.core.add_reply_receiver(self)
        if not method.nowait:
            self._channel.reply(commands.Basic.ConsumeOk, consumer_tag=self._reply_tag)

    def cancel(self, method: commands.Basic.Cancel) -> None:
        tag = str(method.consumer_tag)
        if not method.nowait:
            self._channel.reply(commands.Basic.CancelOk, consumer_tag=tag)
        if self.reply_address and tag == self._reply_tag:
            self._stop_replies()
            return
        consumer, queue = self._consumers.pop(tag, (None, None))
        if consumer is not None and queue is not None:
            self._channel.core.consumers -= 1
            queue.remove_consumer(consumer)

    def _stop_replies(self) -> None:
        self._channel.core.remove_reply_receiver(self.reply_address)
        self.reply_address = self._reply_tag = ""

    # -- get ---------------------------------------------------------------------------------------------------------

    def get(self, method: commands.Basic.Get) -> None:
        channel = self._channel
        queue = channel.vhost.queue(queue_name(channel, method.queue), channel.connection)
        if queue.options.quorum and queue.options.single:
            fail(
                405,
                f"cannot obtain access to locked {queue.shown}. basic.get operations are not supported by quorum queues with "
                "single active consumer",
            )
        entry = queue.get()
        if entry is None:
            channel.reply(commands.Basic.GetEmpty)
            return
        tag = self._next_tag
        self._next_tag = tag + 1
        head = b"\x00\x3c\x00\x47" + _TAG.pack(tag, entry.redelivered)
        self._write(head + entry.message.place + _COUNT.pack(queue.ready), self._header(entry, got=True), entry.message.body)
        if method.no_ack:
            queue.ack(entry, None)
        else:
            self._unacked[tag] = Unacked(tag, entry, queue, None)

    # -- qos ---------------------------------------------------------------------------------------------------------

    def qos(self, method: commands.Basic.Qos) -> None:
        """As RabbitMQ reads it: ``global`` is the channel's limit, otherwise it is that of each consumer to come."""
        if method.prefetch_size:
            fail(540, f"prefetch_size!=0 ({method.prefetch_size})")
        count = int(method.prefetch_count or 0)
        if method.global_:
            if count and any(queue.options.quorum for _, queue in self._consumers.values()):
                fail(540, "a channel with consumers of quorum queues does not support global qos")
            self._limit = count
        else:
            self._limit = 0
            self._prefetch = count
        self._channel.reply(commands.Basic.QosOk)
        self.kick_all()

    # -- settle ------------------------------------------------------------------------------------------------------

    def ack(self, tag: int, multiple: bool) -> None:
        self._settle_or_keep(Settlement("ack", self._collect(tag, multiple)))

    def reject(self, tag: int, multiple: bool, requeue: bool) -> None:
        self._settle_or_keep(Settlement("requeue" if requeue else "reject", self._collect(tag, multiple)))

    def _collect(self, tag: int, multiple: bool) -> list[Unacked]:
        """Take what a delivery tag means out of what is held. Fails with 406."""
        unacked = self._unacked
        if not multiple:
            found = unacked.pop(tag, None)
            if found is None:
                fail(406, f"unknown delivery tag {tag}")
            return [found]
        if tag == 0:
            held = list(unacked.values())
            unacked.clear()
            return held
        if tag not in unacked:
            fail(406, f"unknown delivery tag {tag}")
        tags = [*takewhile(lambda each: each != tag, unacked), tag]
        return [unacked.pop(each) for each in tags]

    def _settle_or_keep(self, settlement: Settlement) -> None:
        transaction = self._channel.publisher.transaction
        if transaction is not None:
            transaction.settlements.append(settlement)
        else:
            self.settle((settlement,))

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Tell the queues, then give everyone what has become free."""
        queues: dict[int, Queue] = {}
        for how, held in settlements:
            if how == "requeue":
                self._requeue(held)
            for _, entry, queue, consumer in held:
                queues[id(queue)] = queue
                self._held -= consumer is not None
                if how == "ack":
                    queue.ack(entry, consumer)
                elif how == "reject":
                    queue.reject(entry, consumer)
        for queue in queues.values():
            queue.kick()
        if self._limit:
            self.kick_all()

    @staticmethod
    def _requeue(held: list[Unacked]) -> None:
        by_queue: dict[int, tuple[Queue, list[tuple[Entry, Consumer | None]]]] = {}
        for _, entry, queue, consumer in held:
            by_queue.setdefault(id(queue), (queue, []))[1].append((entry, consumer))
        for queue, entries in by_queue.values():
            queue.requeue(entries)

    def take_back(self, settlements: Iterable[Settlement]) -> None:
        """A transaction is rolled back: what it had settled is held again."""
        for _, held in settlements:
            self._unacked.update((each.tag, each) for each in held)
        self._unacked = dict(sorted(self._unacked.items()))

    def recover(self, requeue: object, *, answer: bool) -> None:
        if not requeue:
            fail(540, "requeue=false")
        held = list(self._unacked.values())
        self._unacked.clear()
        if answer:
            self._channel.reply(commands.Basic.RecoverOk)
        self.settle((Settlement("requeue", held),))

    def kick_all(self) -> None:
        """Give all consumers of this channel what they can take now."""
        for queue in {id(queue): queue for _, queue in self._consumers.values()}.values():
            queue.kick()

    # -- the end -----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Consumers go, and everything that was held goes back. Harmless when called again."""
        if self.reply_address:
            self._stop_replies()
        consumers, self._consumers = self._consumers, {}
        for consumer, queue in consumers.values():
            self._channel.core.consumers -= 1
            queue.remove_consumer(consumer)
        held = list(self._unacked.values())
        self._unacked.clear()
        for settlement in self._channel.publisher.abandon():
            held += settlement.held
        if held:
            self.settle((Settlement("requeue", held),))
