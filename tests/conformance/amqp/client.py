"""Connections and channels on top of the raw wire, as the cases use them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from pamqp import commands
from pamqp.base import Frame
from pamqp.commands import Basic, Confirm, Exchange, Queue
from pamqp.header import ContentHeader

from tests.conformance.amqp.wire import (
    BODY,
    CLIENT_PROPERTIES,
    PATIENCE,
    PROTOCOL_HEADER,
    Hung,
    HungUp,
    Inbox,
    Message,
    Received,
    Wire,
    frames_of,
    sasl_plain,
    shown,
)

_F = TypeVar("_F", bound=Frame)
Table = Mapping[str, Any]
Properties = Basic.Properties


class Connection(Wire):
    """An open AMQP connection: the handshake is done by ``open``."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.frame_max = 0
        self.channel_max = 0
        self.heartbeat = 0
        self._numbers = itertools.count(1)

    def hello(self) -> commands.Connection.Start:
        """Send the protocol header and return the broker's Start."""
        self.send_bytes(PROTOCOL_HEADER)
        return self.expect(0, commands.Connection.Start)

    def login(
        self, user: str, password: str, *, properties: Table = CLIENT_PROPERTIES, mechanism: str = "PLAIN"
    ) -> commands.Connection.Tune:
        """Answer Start with PLAIN and return the broker's Tune."""
        answer = commands.Connection.StartOk(dict(properties), mechanism, sasl_plain(user, password), "en_US")
        self.send(0, answer)
        return self.expect(0, commands.Connection.Tune)

    def open(
        self,
        user: str,
        password: str,
        vhost: str,
        *,
        channel_max: int | None = None,
        frame_max: int | None = None,
        heartbeat: int = 0,
        properties: Table = CLIENT_PROPERTIES,
    ) -> Self:
        """Do the whole handshake; limits left out are taken as the broker proposes them."""
        self.hello()
        tune = self.login(user, password, properties=properties)
        self.channel_max = (tune.channel_max or 0) if channel_max is None else channel_max
        self.frame_max = (tune.frame_max or 0) if frame_max is None else frame_max
        self.heartbeat = heartbeat
        self.send(0, commands.Connection.TuneOk(self.channel_max, self.frame_max, heartbeat))
        self.send(0, commands.Connection.Open(vhost))
        self.expect(0, commands.Connection.OpenOk)
        return self

    def channel(self) -> Channel:
        """Open the next channel."""
        return Channel(self, next(self._numbers)).open()

    def expect_close(self, code: int, text: str, *, about: type[Frame] | None = None) -> commands.Connection.Close:
        """Wait for Connection.Close with this code and text, and answer it. RabbitMQ may take 3 s more to hang up."""
        close = self.expect(0, commands.Connection.Close)
        assert (close.reply_code, close.reply_text) == (code, text)
        if about is not None:
            assert (close.class_id, close.method_id) == (about.index >> 16, about.index & 0xFFFF)
        self.send(0, commands.Connection.CloseOk())
        return close

    def ended_with(self) -> int | None:
        """Wait until the broker ends the connection; returns the code of its Close, or None when it just hung up."""
        while (got := self.read()) is not None:
            if isinstance(got.frame, commands.Connection.Close):
                self.send(0, commands.Connection.CloseOk())
                return got.frame.reply_code
        return None

    def shut(self) -> None:
        """Close by the book. RabbitMQ leaves it to the client to hang up first."""
        self.send(0, commands.Connection.Close(200, "done", 0, 0))
        while True:
            got = self.read()
            if got is None:
                raise HungUp("the broker hung up without Connection.CloseOk")
            if isinstance(got.frame, commands.Connection.CloseOk):
                break
        self.close()


class Channel:
    """One channel. Deliveries, returns and confirms that come in between are kept for the test to ask for."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.inbox = Inbox()

    def open(self) -> Self:
        self.call(commands.Channel.Open(), commands.Channel.OpenOk)
        return self

    def close(self) -> None:
        """Close the channel; deliveries on their way are dropped."""
        self.call(commands.Channel.Close(200, "done", 0, 0), commands.Channel.CloseOk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.connection.close()

    def send(self, *frames: Any) -> None:
        self.connection.send(self.number, *frames)

    def call(self, method: Frame, answer: type[_F]) -> _F:
        """Send a method and return its answer."""
        self.send(method)
        return self.wait_for(answer)

    def wait_for(self, kind: type[_F], timeout: float = PATIENCE) -> _F:
        """Return the next ``kind``; contents, confirms and cancels that come first go to the inbox."""
        deadline = time.monotonic() + timeout
        while True:
            got = self.connection.read(max(0.0, deadline - time.monotonic()))
            if got is None:
                raise HungUp(f"the broker hung up instead of sending {kind.name}")
            if isinstance(got.frame, kind) and got.channel == self.number:
                return got.frame
            self._keep(got, deadline)

    def refused(self, method: Frame | None, code: int, text: str, *, about: type[Frame] | None = None) -> None:
        """Send a method; the broker has to close the channel with this code and text, blaming that method."""
        if method is not None:
            self.send(method)
        close = self.wait_for(commands.Channel.Close)
        assert (close.reply_code, close.reply_text) == (code, text)
        blamed = about if about is not None else type(method) if method is not None else None
        if blamed is not None:
            assert (close.class_id, close.method_id) == (blamed.index >> 16, blamed.index & 0xFFFF)
        self.send(commands.Channel.CloseOk())

    def fatal(self, method: Frame | None, code: int, text: str, *, about: type[Frame] | None = None) -> None:
        """Send a method; the broker has to close the connection with this code and text, blaming that method."""
        if method is not None:
            self.send(method)
        self.connection.expect_close(code, text, about=about if about is not None or method is None else type(method))

    # -------------------------------------------------------------------------------------------- exchanges and queues

    def exchange(self, name: str, kind: str = "direct", *, arguments: Table | None = None, **flags: bool) -> str:
        self.call(
            Exchange.Declare(exchange=name, exchange_type=kind, arguments=_table(arguments), **flags), Exchange.DeclareOk
        )
        return name

    def queue(self, name: str = "", *, arguments: Table | None = None, **flags: bool) -> str:
        """Declare a queue, exclusive unless something else is said, and return its name."""
        if not flags:
            flags = {"exclusive": True}
        declared = self.call(Queue.Declare(queue=name, arguments=_table(arguments), **flags), Queue.DeclareOk)
        return declared.queue or ""

    def bind(self, queue: str, exchange: str, key: str = "", arguments: Table | None = None) -> None:
        self.call(Queue.Bind(queue=queue, exchange=exchange, routing_key=key, arguments=_table(arguments)), Queue.BindOk)

    def unbind(self, queue: str, exchange: str, key: str = "", arguments: Table | None = None) -> None:
        self.call(Queue.Unbind(queue=queue, exchange=exchange, routing_key=key, arguments=_table(arguments)), Queue.UnbindOk)

    def look(self, queue: str) -> Queue.DeclareOk:
        """Declare passively: how many messages are ready, and how many consumers there are."""
        return self.call(Queue.Declare(queue=queue, passive=True), Queue.DeclareOk)

    def ready(self, queue: str) -> int:
        return self.look(queue).message_count or 0

    def delete(self, queue: str) -> int:
        return self.call(Queue.Delete(queue=queue), Queue.DeleteOk).message_count or 0

    # -------------------------------------------------------------------------------------------------------- messages

    def publish(
        self,
        exchange: str,
        key: str,
        body: bytes = b"x",
        properties: Properties | None = None,
        *,
        mandatory: bool = False,
        immediate: bool = False,
    ) -> None:
        method = Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory, immediate=immediate)
        self.send(method, *frames_of(body, properties, self.connection.frame_max))

    def put(self, queue: str, *bodies: bytes, properties: Properties | None = None) -> None:
        """Publish to a queue through the default exchange."""
        for body in bodies:
            self.publish("", queue, body, properties)

    def confirm(self) -> Self:
        self.call(Confirm.Select(), Confirm.SelectOk)
        return self

    def confirmed(self, up_to: int) -> list[tuple[str, int]]:
        """Wait for confirms of all tags up to this one; returns what came, multiples spread out, in order."""
        seen: list[tuple[str, int]] = []
        known: set[int] = set()
        while known != set(range(1, up_to + 1)):
            frame = self.inbox.confirms.popleft() if self.inbox.confirms else None
            if frame is None:
                self._keep(self._read(), time.monotonic() + PATIENCE)
                continue
            assert isinstance(frame, Basic.Ack | Basic.Nack)
            tag = frame.delivery_tag or 0
            verdict = "ack" if isinstance(frame, Basic.Ack) else "nack"
            tags = [t for t in range(1, tag + 1) if t not in known] if frame.multiple else [tag]
            assert tags, f"a confirm of {tag} settles nothing new"
            assert not known & set(tags), f"{tags} confirmed twice"
            known.update(tags)
            seen += [(verdict, t) for t in tags]
        return seen

    def get(self, queue: str, *, no_ack: bool = True) -> Message | None:
        self.send(Basic.Get(queue=queue, no_ack=no_ack))
        deadline = time.monotonic() + PATIENCE
        while True:
            got = self._read()
            if isinstance(got.frame, Basic.GetEmpty):
                return None
            if isinstance(got.frame, Basic.GetOk):
                return self._content(got.frame, deadline)
            self._keep(got, deadline)

    def got(self, queue: str, *, no_ack: bool = True) -> Message:
        message = self.get(queue, no_ack=no_ack)
        assert message is not None, f"the queue {queue} is empty"
        return message

    def drain(self, queue: str) -> list[bytes]:
        """Get all that is ready, acknowledged on delivery."""
        bodies = []
        while (message := self.get(queue)) is not None:
            bodies.append(message.body)
        return bodies

    def consume(
        self, queue: str, tag: str = "", *, no_ack: bool = False, exclusive: bool = False, arguments: Table | None = None
    ) -> str:
        method = Basic.Consume(queue=queue, consumer_tag=tag, no_ack=no_ack, exclusive=exclusive, arguments=_table(arguments))
        return self.call(method, Basic.ConsumeOk).consumer_tag or ""

    def cancel(self, tag: str) -> None:
        self.call(Basic.Cancel(consumer_tag=tag), Basic.CancelOk)

    def qos(self, count: int, *, whole_channel: bool = False, size: int = 0) -> None:
        self.call(Basic.Qos(size, count, whole_channel), Basic.QosOk)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self.send(Basic.Ack(tag, multiple))

    def nack(self, tag: int, *, multiple: bool = False, requeue: bool = True) -> None:
        self.send(Basic.Nack(tag, multiple, requeue))

    def reject(self, tag: int, *, requeue: bool = True) -> None:
        self.send(Basic.Reject(tag, requeue))

    def delivery(self, timeout: float = PATIENCE) -> Message:
        """The next delivery."""
        return self._next(self.inbox.deliveries, timeout)

    def deliveries(self, count: int) -> list[bytes]:
        return [self.delivery().body for _ in range(count)]

    def returned(self) -> Message:
        """The next returned message."""
        return self._next(self.inbox.returns, PATIENCE)

    def cancelled(self) -> str:
        """The consumer tag of the next cancel notification."""
        return self._next(self.inbox.cancels, PATIENCE).consumer_tag or ""

    def settle(self) -> None:
        """A round trip and a moment: whatever the broker delivers because of what was sent before, it has delivered."""
        self.call(Exchange.Declare(exchange="amq.direct", passive=True), Exchange.DeclareOk)
        try:
            while True:
                self._keep(self._read(0.05), time.monotonic() + PATIENCE)
        except Hung:
            pass

    def nothing_came(self) -> None:
        """Fail when a delivery came, or comes because of what was sent before."""
        self.settle()
        assert [m.body for m in self.inbox.deliveries] == []

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _next(self, box: Any, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while not box:
            self._keep(self._read(max(0.0, deadline - time.monotonic())), deadline)
        return box.popleft()

    def _read(self, timeout: float = PATIENCE) -> Received:
        got = self.connection.read(timeout)
        if got is None:
            raise HungUp("the broker hung up")
        return got

    def _keep(self, got: Received, deadline: float) -> None:
        assert got.channel == self.number, f"unexpected: {shown(got)}"
        frame = got.frame
        if isinstance(frame, Basic.Deliver):
            self.inbox.deliveries.append(self._content(frame, deadline))
        elif isinstance(frame, Basic.Return):
            self.inbox.returns.append(self._content(frame, deadline))
        elif isinstance(frame, Basic.Ack | Basic.Nack):
            self.inbox.confirms.append(frame)
        elif isinstance(frame, Basic.Cancel):
            self.inbox.cancels.append(frame)
        else:
            raise AssertionError(f"unexpected: {shown(got)}")

    def _content(self, method: Frame, deadline: float) -> Message:
        head = self._read(max(0.0, deadline - time.monotonic()))
        assert isinstance(head.frame, ContentHeader), f"a content header expected, got {shown(head)}"
        body = b""
        while len(body) < head.frame.body_size:
            part = self._read(max(0.0, deadline - time.monotonic()))
            assert part.kind == BODY, f"a body expected, got {shown(part)}"
            body += part.payload
        return Message(method, head.frame, body)


def _table(arguments: Table | None) -> dict[str, Any] | None:
    return None if arguments is None else dict(arguments)
