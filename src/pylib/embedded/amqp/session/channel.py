"""A channel: frames become methods with their content, and each method finds who deals with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pamqp import base, commands

from pylib.embedded.amqp.session import topology
from pylib.embedded.amqp.session.deliveries import Deliveries
from pylib.embedded.amqp.session.publisher import Publisher
from pylib.embedded.amqp.wire.errors import AmqpError, Malformed, fail, reply_text
from pylib.embedded.amqp.wire.framing import snippet
from pylib.embedded.amqp.wire.methods import HAS_CONTENT, decode_method, encode_method, frame, method_id

if TYPE_CHECKING:
    from pylib.embedded.amqp.broker.vhost import VirtualHost
    from pylib.embedded.amqp.session.connection import Connection

__all__ = ["Channel"]

_ACCESS_REQUEST, _ACCESS_REQUEST_OK = b"\x00\x1e\x00\x0a", b"\x00\x1e\x00\x0b\x00\x01"
_PUBLISH = b"\x00\x3c\x00\x28"


class Channel:
    """One channel of a connection. ``number`` is its own on that connection."""

    def __init__(self, connection: Connection, number: int, vhost: VirtualHost) -> None:
        self.connection = connection
        self.number = number
        self.vhost = vhost
        self.core = connection.core
        # The queue that an empty name means: the last one this channel has declared (section 1.7.2.1).
        self.last_queue = ""
        self.opened = False
        self.closing = False  # channel.close was sent, close-ok is awaited
        self.shut_down = False
        self.publisher: Publisher = Publisher(self)
        self.deliveries: Deliveries = Deliveries(self)
        # The method whose content is awaited: (class, method), who takes it, and the bytes that have come.
        self._content: _Content | None = None

    # -- in ----------------------------------------------------------------------------------------------------------

    def receive(self, kind: int, payload: bytes) -> None:
        """A method, header or body frame. Raises AmqpError and Malformed."""
        content = self._content
        if content is None:
            if kind != 1:
                raise AmqpError(505, "expected method frame, got non method frame instead", method=(0, 0))
            if payload[:4] == _PUBLISH and self.opened and not self.closing:
                method = self.publisher.decode(payload)
                self._content = _Content(0x003C0028, lambda raw, body: self.publisher.publish(method, raw, body))
                return
            self._on_method(payload)
            return
        if kind == 2:
            done = content.header(payload, self.core.limits.message)
        elif kind == 3:
            done = content.piece(payload)
            self.core.incoming += len(payload)
            if self.core.incoming > self.core.limits.memory:
                raise AmqpError(506, "there is no memory for the messages that are coming in", method=method_id(content.index))
        else:
            raise AmqpError(505, content.complaint(), method=method_id(content.index))
        self.connection.throttle.content_came()
        if done:
            self._forget_content()
            try:
                content.take(content.properties, content.body())
            except AmqpError as error:
                error.method = error.method or method_id(content.index)
                raise
            except Malformed as error:
                raise AmqpError(502, str(error), method=method_id(content.index)) from error

    def _on_method(self, payload: bytes) -> None:
        if payload[:4] == _ACCESS_REQUEST and self.opened:
            # A method of AMQP 0-8 that old clients still send; there are no tickets any more, so it is the same one for all.
            if not self.closing:
                self.connection.write(frame(1, self.number, _ACCESS_REQUEST_OK))
            return
        method = decode_method(payload)
        try:
            if self.closing:
                self._on_method_while_closing(method)
            elif not self.opened:
                if not isinstance(method, commands.Channel.Open):
                    fail(504, "expected 'channel.open'")
                self.opened = True
                self.reply(commands.Channel.OpenOk)
            elif method.index in HAS_CONTENT:
                self._content = _Content(method.index, _unimplemented)
            else:
                handler = _HANDLERS.get(method.index)
                if handler is None:
                    fail(503, "unimplemented method")
                handler(self, method)
        except AmqpError as error:
            error.method = error.method or method_id(method.index)
            raise

    def _on_method_while_closing(self, method: base.Frame) -> None:
        if isinstance(method, commands.Channel.CloseOk):
            self.connection.forget_channel(self.number)
        elif isinstance(method, commands.Channel.Close):
            self.reply(commands.Channel.CloseOk)
        elif method.index in HAS_CONTENT:
            self._content = _Content(method.index, _ignored)

    # -- out ---------------------------------------------------------------------------------------------------------

    def reply(self, kind: type[base.Frame], **values: Any) -> None:
        """Send a method without content."""
        self.connection.write(encode_method(self.number, kind, **values))

    # -- ends --------------------------------------------------------------------------------------------------------

    def fail(self, error: AmqpError) -> None:
        """End it for a misuse: what it held goes back at once, and close-ok is awaited."""
        self._forget_content()
        if self.closing:
            return
        self.publisher.send_confirms()
        self.shut()
        self.end()
        self.closing = True
        class_id, number = error.method or (0, 0)
        text = reply_text(error.code, error.text)
        self.reply(commands.Channel.Close, reply_code=error.code, reply_text=text, class_id=class_id, method_id=number)

    def closed_by_client(self) -> None:
        self.publisher.send_confirms()
        self.shut()
        self.end()
        self.reply(commands.Channel.CloseOk)
        self.connection.forget_channel(self.number)

    def shut(self) -> None:
        """Take nothing any more. The first step of its end: no channel that ends gets what another one gives back."""
        self.shut_down = True

    def end(self) -> None:
        """Give everything back. Harmless when called again."""
        self._forget_content()
        self.deliveries.end()

    def _forget_content(self) -> None:
        content, self._content = self._content, None
        if content is not None:
            self.core.incoming -= content.size


class _Content:
    """A method's content while it comes: a header, then the body in pieces."""

    __slots__ = ("_headed", "_left", "_pieces", "index", "properties", "size", "take")

    def __init__(self, index: int, take: Callable[[bytes, bytes], None]) -> None:
        self.index = index
        self.take = take
        self.properties = b""
        self._pieces: list[bytes] = []
        self._left = 0
        self.size = 0  # bytes of the body that have come
        self._headed = False

    def header(self, payload: bytes, most: int) -> bool:
        """Whether the content is complete."""
        if self._headed:
            raise AmqpError(505, self.complaint(), method=method_id(self.index))
        if len(payload) < 14:
            raise AmqpError(501, f"type 2, {snippet(payload)}: unknown_frame", method=(0, 0))
        class_id = int.from_bytes(payload[:2], "big")
        if class_id != self.index >> 16:
            text = f"expected content header for class {self.index >> 16}, got one for class {class_id} instead"
            raise AmqpError(505, text, method=method_id(self.index))
        self._left = int.from_bytes(payload[4:12], "big")
        if self._left > most:
            # The rest of it would have to be read to find the next frame: the connection ends.
            raise AmqpError(501, f"message size {self._left} is larger than max size {most}", method=method_id(self.index))
        self.properties = payload[12:]
        self._headed = True
        return self._left == 0

    def piece(self, payload: bytes) -> bool:
        if not self._headed or len(payload) > self._left:
            raise AmqpError(505, self.complaint(), method=method_id(self.index))
        self._left -= len(payload)
        self.size += len(payload)
        self._pieces.append(payload)
        return self._left == 0

    def body(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def complaint(self) -> str:
        if self._headed:
            return "expected content body, got non content body frame instead"
        return f"expected content header for class {self.index >> 16}, got non content header frame instead"


def _unimplemented(properties: bytes, body: bytes) -> None:
    fail(503, "unimplemented method")


def _ignored(properties: bytes, body: bytes) -> None:
    """The channel is closing."""


def _open_again(channel: Channel, method: base.Frame) -> None:
    fail(504, "second 'channel.open' seen")


def _flow(channel: Channel, method: commands.Channel.Flow) -> None:
    if not method.active:
        fail(540, "active=false")
    channel.reply(commands.Channel.FlowOk, active=True)


_HANDLERS: dict[int, Callable[[Channel, Any], None]] = {
    commands.Channel.Open.index: _open_again,
    commands.Channel.Close.index: lambda channel, method: channel.closed_by_client(),
    commands.Channel.Flow.index: _flow,
    commands.Exchange.Declare.index: topology.declare_exchange,
    commands.Exchange.Delete.index: topology.delete_exchange,
    commands.Exchange.Bind.index: topology.bind_exchange,
    commands.Exchange.Unbind.index: topology.unbind_exchange,
    commands.Queue.Declare.index: topology.declare_queue,
    commands.Queue.Bind.index: topology.bind_queue,
    commands.Queue.Unbind.index: topology.unbind_queue,
    commands.Queue.Purge.index: topology.purge_queue,
    commands.Queue.Delete.index: topology.delete_queue,
    commands.Basic.Qos.index: lambda channel, method: channel.deliveries.qos(method),
    commands.Basic.Consume.index: lambda channel, method: channel.deliveries.consume(method),
    commands.Basic.Cancel.index: lambda channel, method: channel.deliveries.cancel(method),
    commands.Basic.Get.index: lambda channel, method: channel.deliveries.get(method),
    commands.Basic.Ack.index: lambda channel, method: channel.deliveries.ack(method.delivery_tag, method.multiple),
    commands.Basic.Nack.index: lambda channel, method: channel.deliveries.reject(
        method.delivery_tag, method.multiple, method.requeue
    ),
    commands.Basic.Reject.index: lambda channel, method: channel.deliveries.reject(method.delivery_tag, False, method.requeue),
    commands.Basic.Recover.index: lambda channel, method: channel.deliveries.recover(method.requeue, answer=True),
    commands.Basic.RecoverAsync.index: lambda channel, method: channel.deliveries.recover(method.requeue, answer=False),
    commands.Confirm.Select.index: lambda channel, method: channel.publisher.select_confirms(method),
    commands.Tx.Select.index: lambda channel, method: channel.publisher.select_transactions(),
    commands.Tx.Commit.index: lambda channel, method: channel.publisher.commit(),
    commands.Tx.Rollback.index: lambda channel, method: channel.publisher.roll_back(),
}
