"""Declaring what a connection needs on RabbitMQ, and taking what is there already as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pika
from pika.channel import Channel

from pylib.brokers.rabbit_values import Exchange, Queue
from pylib.errors import AccessRefused, ConnectFailed, DependencyError

__all__ = ["Topology"]

log = logging.getLogger("pylib.rabbit")

NOT_FOUND, REFUSED, LOCKED, DIFFERS = 404, 403, 405, 406

Done = Callable[[Channel, str], None]
Failed = Callable[[DependencyError], None]


class Topology:
    """Declares exchange, queue and bindings on a connection and hands over the channel it did so on.

    RabbitMQ closes the channel on a declaration it will not have (AMQP 0-9-1 section 1.2.5), so each refusal costs one
    channel and is then worked around: what exists with other properties is used as it is, with one warning; what may not
    be declared is looked up passively. Only what neither exists nor may be made is an error.
    """

    def __init__(self, exchange: Exchange, queue: Queue | None, who: str) -> None:
        self._exchange = exchange
        self._queue = queue
        self._who = who
        self._warned: set[str] = set()
        # Not to be declared again on this connection: it is there and differs, or we may not.
        self._take_exchange = exchange.name == ""
        self._passive_exchange = False
        self._take_queue = False

    def raise_on(self, connection: pika.SelectConnection, done: Done, failed: Failed) -> None:
        """Start. Ends in one call of ``done(channel, queue_name)`` or of ``failed(error)``, unless the connection goes."""
        # What an earlier connection found may be gone: whatever is not durable does not outlive its broker.
        self._take_exchange = self._exchange.name == ""
        self._passive_exchange = self._take_queue = False
        self._try(connection, done, failed)

    def _try(self, connection: pika.SelectConnection, done: Done, failed: Failed) -> None:

        def opened(channel: Channel) -> None:
            stage = ["exchange"]

            def over(channel: Channel, queue: str) -> None:
                stage[0] = "over"  # from here on the channel's end is its new owner's business
                done(channel, queue)

            def closed(_channel: Channel, reason: Exception) -> None:
                if connection.is_open and stage[0] != "over":
                    self._refused(stage[0], reason, lambda: self._try(connection, done, failed), failed)

            channel.add_on_close_callback(closed)
            self._exchange_first(channel, stage, over)

        connection.channel(on_open_callback=opened)

    def _exchange_first(self, channel: Channel, stage: list[str], done: Done) -> None:
        exchange = self._exchange

        def then(_frame: Any) -> None:
            stage[0] = "queue"
            self._queue_next(channel, stage, done)

        if self._take_exchange:
            then(None)
        elif self._passive_exchange:
            channel.exchange_declare(exchange.name, exchange.kind, passive=True, callback=then)
        else:
            arguments = dict(exchange.arguments) if exchange.arguments else None
            channel.exchange_declare(exchange.name, exchange.kind, durable=exchange.durable, arguments=arguments,
                                     callback=then)  # fmt: skip

    def _queue_next(self, channel: Channel, stage: list[str], done: Done) -> None:
        if not channel.is_open:
            return  # a stop came in between: there is nobody to declare for any more
        queue = self._queue
        if queue is None:
            done(channel, "")
            return

        def then(frame: Any) -> None:
            stage[0] = "binding"
            self._bind(channel, frame.method.queue, list(queue.keys), done)

        arguments = dict(queue.arguments) if queue.arguments else None
        if self._take_queue:
            channel.queue_declare(queue.name, passive=True, callback=then)
        else:
            channel.queue_declare(queue.name, durable=queue.durable and not queue.exclusive, exclusive=queue.exclusive,
                                  arguments=arguments, callback=then)  # fmt: skip

    def _bind(self, channel: Channel, queue: str, keys: list[str], done: Done) -> None:
        if not channel.is_open:
            return
        if not keys or self._exchange.name == "":
            done(channel, queue)
            return
        key, rest = keys[0], keys[1:]
        arguments = dict(self._queue.binding_arguments) if self._queue and self._queue.binding_arguments else None
        channel.queue_bind(queue, self._exchange.name, key, arguments,
                           callback=lambda _frame: self._bind(channel, queue, rest, done))  # fmt: skip

    def _refused(self, stage: str, reason: Exception, again: Callable[[], None], failed: Failed) -> None:
        code = getattr(reason, "reply_code", 0)
        text = str(getattr(reason, "reply_text", reason))
        if stage == "exchange" and code == DIFFERS and not self._take_exchange:
            self._take_exchange = True
            self._warn(f"exchange {self._exchange.name!r} exists with other properties and is used as it is: {text}")
        elif stage == "exchange" and code == REFUSED and not self._passive_exchange:
            self._passive_exchange = True
        elif stage == "queue" and code in (DIFFERS, REFUSED) and not self._take_queue and self._queue and self._queue.name:
            self._take_queue = True
            if code == DIFFERS:
                self._warn(f"queue {self._queue.name!r} exists with other properties and is used as it is: {text}")
        else:
            failed(self._words(stage, code, text))
            return
        again()

    def _words(self, stage: str, code: int, text: str) -> DependencyError:
        name = self._exchange.name if stage == "exchange" or self._queue is None else self._queue.name
        if code == REFUSED:
            return AccessRefused(f"{self._who}: permission for {stage} {name!r} was refused: {text}; set_permissions helps")
        if code == NOT_FOUND:
            return ConnectFailed(f"{self._who}: {stage} {name!r} does not exist and may not be declared: {text}")
        if code == LOCKED:
            return ConnectFailed(f"{self._who}: {stage} {name!r} belongs to another connection: {text}")
        return ConnectFailed(f"{self._who}: {stage} {name!r} could not be used: {text}")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s: %s", self._who, text)
