"""What a channel publishes: checked, routed, confirmed, returned, or kept for the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pamqp import commands

from pylib.embedded.amqp.broker.arguments import LONGEST_TTL
from pylib.embedded.amqp.broker.core import REPLY_TO
from pylib.embedded.amqp.broker.dead_letters import header_routes
from pylib.embedded.amqp.broker.message import Message
from pylib.embedded.amqp.broker.queue import Queue
from pylib.embedded.amqp.wire.erlang import shown_bytes
from pylib.embedded.amqp.wire.errors import AmqpError, fail
from pylib.embedded.amqp.wire.framing import content_frames
from pylib.embedded.amqp.wire.properties import Properties
from pylib.embedded.amqp.wire.tables import TYPE_NAMES, text

if TYPE_CHECKING:
    from pylib.embedded.amqp.session.channel import Channel
    from pylib.embedded.amqp.session.deliveries import Settlement

__all__ = ["Publish", "Publisher", "Transaction"]

_NO_ROUTE = b"\x00\x3c\x00\x32\x01\x38\x08NO_ROUTE"


class Publish(NamedTuple):
    """basic.publish, decoded."""

    exchange: str
    routing_key: str
    mandatory: bool
    immediate: bool


class Transaction:
    """What waits for the commit: messages with their queues, and acknowledgements."""

    __slots__ = ("publishes", "settlements")

    def __init__(self) -> None:
        self.publishes: list[tuple[Message, list[Queue], bool]] = []
        self.settlements: list[Settlement] = []


class Publisher:
    """The publishing half of a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._confirming = False
        self._number = 0  # of the last publish, counted from confirm.select
        self._confirmed = 0  # up to which the client has been told
        self._refused: list[int] = []
        self.transaction: Transaction | None = None
        self._last_raw = b""
        self._last_properties: Properties | None = None

    # -- publish -----------------------------------------------------------------------------------------------------

    @staticmethod
    def decode(payload: bytes) -> Publish:
        """The fields of basic.publish. The one method decoded by hand: it comes with every message."""
        try:
            at = 7 + payload[6]
            exchange = payload[7:at]
            end = at + 1 + payload[at]
            bits = payload[end]
        except IndexError:
            raise AmqpError(501, f"cannot decode {shown_bytes(payload[4:])}", method=(60, 40)) from None
        return Publish(text(exchange), text(payload[at + 1 : end]), bool(bits & 1), bool(bits & 2))

    def publish(self, method: Publish, raw: bytes, body: bytes) -> None:
        """Deal with a message that has come whole."""
        channel = self._channel
        if channel.closing:
            return
        if method.immediate:
            fail(540, "immediate=true")
        exchange = channel.vhost.exchange(method.exchange.replace("\r", "").replace("\n", ""))
        if exchange.internal:
            fail(403, f"cannot publish to internal {exchange.shown}")
        properties = self._properties(raw)
        if properties.reply_to == REPLY_TO:
            address = channel.deliveries.reply_address
            if not address:
                fail(406, "fast reply consumer does not exist")
            properties = properties.with_reply_to(address)
        self._check(properties)
        message = self._message(exchange.name, method.routing_key, properties, body)
        self._number += 1
        if exchange.name == "" and any(key.startswith(f"{REPLY_TO}.") for key in message.routing_keys):
            channel.core.deliver_reply(message)
        queues = channel.vhost.route(exchange, message)
        if self.transaction is not None:
            channel.core.memory.add(message.cost)
            self.transaction.publishes.append((message, queues, method.mandatory))
            return
        accepted = self._deliver(message, queues, method.mandatory)
        if self._confirming:
            if not accepted:
                self._refused.append(self._number)
            channel.connection.confirm_later(channel)

    def _properties(self, raw: bytes) -> Properties:
        """Publishers send the same properties again and again: those are looked into once."""
        if raw == self._last_raw and self._last_properties is not None:
            return self._last_properties
        properties = Properties(raw)
        if len(raw) < 512:
            self._last_raw, self._last_properties = raw, properties
        return properties

    def _check(self, properties: Properties) -> None:
        user, expiration = properties.user_id, properties.expiration
        if user is not None and user != self._channel.connection.user:
            fail(406, f"user_id property set to '{user}' but authenticated user was '{self._channel.connection.user}'")
        if expiration is not None:
            problem = _bad_expiration(expiration)
            if problem is not None:
                fail(406, f"invalid expiration '{expiration}': {problem}")
        if properties.delivery_mode not in (None, 1, 2):
            fail(406, f"invalid message: {{delivery_mode_unknown,{properties.delivery_mode}}}")

    @staticmethod
    def _message(exchange: str, key: str, properties: Properties, body: bytes) -> Message:
        headers = properties.headers
        if not headers or ("CC" not in headers and "BCC" not in headers):
            return Message(exchange, (key,), properties, body)
        try:
            further = header_routes(headers)
        except ValueError as error:
            name, kind = error.args
            fail(406, f'invalid message: {{unacceptable_type_in_header,"{name}",{TYPE_NAMES[kind]}}}')
        if "BCC" in headers:
            properties = properties.with_headers({name: value for name, value in headers.items() if name != "BCC"})
        return Message(exchange, tuple(dict.fromkeys((key, *further))), properties, body)

    def _deliver(self, message: Message, queues: list[Queue], mandatory: bool) -> bool:
        """Put a message where it goes. False when a queue has refused it."""
        if not queues:
            if mandatory:
                self._return(message)
            return True
        accepted = True
        for queue in queues:
            if not queue.publish(message):
                accepted = False
        return accepted

    def _return(self, message: Message) -> None:
        channel = self._channel
        frames = content_frames(
            channel.number, _NO_ROUTE + message.place, message.header, message.body, channel.connection.frame_max
        )
        channel.connection.write(frames)

    # -- publisher confirms ------------------------------------------------------------------------------------------

    def select_confirms(self, method: commands.Confirm.Select) -> None:
        if self.transaction is not None:
            fail(406, "cannot switch from tx to confirm mode")
        if not self._confirming:
            self._confirming = True
            self._number = self._confirmed = 0
        if not method.nowait:
            self._channel.reply(commands.Confirm.SelectOk)

    def send_confirms(self) -> None:
        """Tell the client what has been accepted and what was refused, in as few frames as it takes."""
        if not self._confirming or self._confirmed == self._number:
            return
        refused, self._refused = self._refused, []
        reply = self._channel.reply
        for number in refused:
            self._acknowledge(number - 1)
            reply(commands.Basic.Nack, delivery_tag=number, multiple=False, requeue=False)
            self._confirmed = number
        self._acknowledge(self._number)

    def _acknowledge(self, number: int) -> None:
        several = number - self._confirmed
        if several > 0:
            self._channel.reply(commands.Basic.Ack, delivery_tag=number, multiple=several > 1)
            self._confirmed = number

    # -- transactions ------------------------------------------------------------------------------------------------

    def select_transactions(self) -> None:
        if self._confirming:
            fail(406, "cannot switch from confirm to tx mode")
        if self.transaction is None:
            self.transaction = Transaction()
        self._channel.reply(commands.Tx.SelectOk)

    def commit(self) -> None:
        transaction = self.transaction
        if transaction is None:
            fail(406, "channel is not transactional")
        self.transaction = Transaction()
        accepted = True
        self._release(transaction)
        for message, queues, mandatory in transaction.publishes:
            accepted &= self._deliver(message, [queue for queue in queues if not queue.deleted], mandatory)
        self._channel.deliveries.settle(transaction.settlements)
        if not accepted:
            raise AmqpError(406, "partial tx completion")
        self._channel.reply(commands.Tx.CommitOk)

    def roll_back(self) -> None:
        transaction = self.transaction
        if transaction is None:
            fail(406, "channel is not transactional")
        self.transaction = Transaction()
        self._release(transaction)
        self._channel.deliveries.take_back(transaction.settlements)
        self._channel.reply(commands.Tx.RollbackOk)

    def abandon(self) -> list[Settlement]:
        """The channel ends: what a transaction was to publish is forgotten. Returns what it was to settle."""
        transaction, self.transaction = self.transaction, None
        if transaction is None:
            return []
        self._release(transaction)
        return transaction.settlements

    def _release(self, transaction: Transaction) -> None:
        for message, _, _ in transaction.publishes:
            self._channel.core.memory.release(message.cost)


def _bad_expiration(value: str) -> str | None:
    """What RabbitMQ says of an expiration; None: it is one."""
    digits = value[1:] if value[:1] in ("-", "+") else value
    count = 0
    while count < len(digits) and digits[count] in "0123456789":
        count += 1
    if not count:
        return "no_integer"
    if digits[count:]:
        return f'{{leftover_string,"{digits[count:]}"}}'
    number = int(value)
    if number < 0:
        return f"{{value_negative,{number}}}"
    return f"{{value_too_large,{number}}}" if number > LONGEST_TTL else None
