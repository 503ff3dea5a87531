"""The RabbitMQ port: pika's ``SelectConnection`` on our own loop, with publisher confirms and held-back acknowledgements."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import pika
from pika.channel import Channel

from pylib.brokers.addresses import Address, TlsOptions
from pylib.brokers.amqp_wire import PublishEncoder
from pylib.brokers.backoff import Reconnector
from pylib.brokers.dial import USER_TIMEOUT_MS
from pylib.brokers.pika_errors import translate
from pylib.brokers.pika_loop import Connection, PikaLoop
from pylib.brokers.port import Delivery, Expired, Outgoing, PortOwner
from pylib.brokers.rabbit_values import RabbitOptions, delivery_of
from pylib.brokers.topics import check_routing_key
from pylib.brokers.topology import Topology
from pylib.errors import ConnectionLost, DependencyError, MessageError, Rejected
from pylib.runtime.loop import Loop

__all__ = ["PikaPort", "parameters_for"]

log = logging.getLogger("pylib.rabbit")

# A message that was being published each time RabbitMQ closed our channel is not published a fourth time.
MOST_ATTEMPTS: Final = 3


def parameters_for(options: RabbitOptions, address: Address) -> pika.ConnectionParameters:
    """Pika's parameters. Raises ``ConfigError`` for TLS files that cannot be used."""
    tls = pika.SSLOptions((options.tls or TlsOptions()).context(), address.host) if address.tls else None
    credentials = pika.PlainCredentials(
        address.user or "guest", address.password.reveal() if address.password else "guest"
    )
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=credentials,
        ssl_options=tls,
        heartbeat=options.heartbeat,
        # Blocked is not broken: publishing pauses (see _on_blocked) until the alarm clears.
        blocked_connection_timeout=None,
        connection_attempts=1,
        socket_timeout=options.connect_timeout,
        stack_timeout=options.connect_timeout,
        tcp_options={"TCP_USER_TIMEOUT": USER_TIMEOUT_MS},
        client_properties={"connection_name": options.connection_name},
    )


class _Unsettled:
    """A published message without its confirm."""

    __slots__ = ("attempts", "message", "token")

    def __init__(self, message: Outgoing, token: object) -> None:
        self.message = message
        self.token = token
        self.attempts = 0


class PikaPort:
    """Keeps one RabbitMQ connection with one channel. Belongs to the loop's thread; see ``Port`` for what it promises.

    Every message is published with a publisher confirm outstanding (RabbitMQ guide *Consumer Acknowledgements and Publisher
    Confirms*); its outcome is the confirm. While RabbitMQ blocks the connection (``connection.blocked``) ``room`` is 0.
    """

    def __init__(self, options: RabbitOptions) -> None:
        self._options = options
        self._loop: Loop
        self._owner: PortOwner
        self._shim: PikaLoop
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._encoder: PublishEncoder | None = None
        self._reconnector: Reconnector[Address] | None = None
        self._address = options.addresses[0]
        self._topology = Topology(options.exchange, options.queue, self.name)
        self._epoch = 0
        self._up = False
        self._blocked = False
        self._closing = False
        self._consumer_tag: str | None = None
        self._queue = ""
        # Delivery tags count from 1 on each channel and so do we (RabbitMQ guide: "Publisher Confirms").
        self._next_tag = 1
        self._unsettled: dict[int, _Unsettled] = {}
        self._again: deque[_Unsettled] = deque()
        self._warned_keys: set[str] = set()
        self.unroutable = 0
        self._on_closed: Callable[[], None] | None = None

    # -- what the owner asks -----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"RabbitMQ at {self._address.host}:{self._address.port}"

    @property
    def up(self) -> bool:
        return self._up

    @property
    def blocked(self) -> bool:
        """Whether RabbitMQ has asked us not to publish, because of a memory or disk alarm."""
        return self._blocked

    @property
    def room(self) -> int:
        if not self._up or self._blocked or self._again:
            return 0
        return self._options.window - len(self._unsettled)

    @property
    def unsettled(self) -> int:
        return len(self._unsettled) + len(self._again)

    def open(self, loop: Loop, owner: PortOwner) -> None:
        self._loop, self._owner = loop, owner
        self._shim = PikaLoop(loop)
        self._reconnector = Reconnector(loop, self._options.addresses, self._connect, self._options.back_off)
        self._reconnector.start()

    def publish(self, message: Outgoing, token: object) -> None:
        check_routing_key(message.address)
        if self._up and not self._blocked and not self._again:
            self._send(_Unsettled(message, token))
        else:
            self._again.append(_Unsettled(message, token))

    def settle(self, deliveries: Sequence[Delivery], *, accept: bool = True) -> None:
        channel, epoch = self._channel, self._epoch
        if channel is None or not channel.is_open:
            return
        tags = [delivery.tag for delivery in deliveries if delivery.epoch == epoch and delivery.tag]
        if not tags:
            return
        if accept:
            # Deliveries are settled in the order they arrived, each once, so the last tag speaks for all before it.
            channel.basic_ack(tags[-1], multiple=True)
        else:
            for tag in tags:
                channel.basic_nack(tag, requeue=True)

    def stop_consuming(self) -> None:
        channel, tag, self._consumer_tag = self._channel, self._consumer_tag, None
        if channel is not None and channel.is_open and tag is not None:
            channel.basic_cancel(tag)

    def close(self, on_closed: Callable[[], None]) -> None:
        self._closing = True
        self._stop_trying()
        connection = self._connection
        if connection is None or not connection.is_open:
            self.abort()
            on_closed()
            return
        self._on_closed = on_closed
        connection.close()

    def abort(self) -> None:
        self._closing = True
        self._stop_trying()
        connection, self._connection, self._channel = self._connection, None, None
        self._up = False
        if connection is not None and not connection.is_closed:
            # Under a memory alarm RabbitMQ does not read what we say, a goodbye included, so the socket is what goes.
            self._hang_up()
        self._fail_unsettled()

    # -- connecting --------------------------------------------------------------------------------------------------

    def _connect(self, address: Address) -> None:
        self._address = address
        try:
            parameters = parameters_for(self._options, address)
        except Exception as error:
            self._failed(translate(error, self.name, address))
            return
        self._epoch += 1
        self._connection = Connection(
            self._loop,
            self._shim,
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._not_opened,
            on_close_callback=self._connection_closed,
        )

    def _opened(self, connection: pika.SelectConnection) -> None:
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._topology.raise_on(connection, self._declared, self._declaration_failed)

    def _declared(self, channel: Channel, queue: str) -> None:
        self._channel, self._queue = channel, queue
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.add_on_cancel_callback(self._cancelled)

        def confirmed(frame: Any) -> None:
            if channel is self._channel:  # an earlier channel's numbers mean other messages
                self._confirmed(frame)

        channel.confirm_delivery(confirmed, callback=lambda frame: self._consume(channel))

    def _consume(self, channel: Channel) -> None:
        if self._options.queue is None:
            self._ready_to_work()
            return

        def consuming(frame: Any) -> None:
            self._ready_to_work()

        def limited(frame: Any) -> None:
            self._consumer_tag = channel.basic_consume(
                self._queue, self._delivered, exclusive=False, callback=consuming
            )

        channel.basic_qos(prefetch_count=self._options.prefetch, callback=limited)

    def _ready_to_work(self) -> None:
        self._up = True
        self._next_tag = 1
        connection, channel = self._connection, self._channel
        if connection is not None and channel is not None:
            frame_max = connection.params.frame_max or pika.spec.FRAME_MAX_SIZE
            self._encoder = PublishEncoder(channel.channel_number, self._options.exchange.name, frame_max)
        if self._reconnector is not None:
            self._reconnector.succeeded()
        self._send_again()
        self._owner.on_up()
        self._offer_room()

    def _send_again(self) -> None:
        again, self._again = self._again, deque()
        for entry in again:
            self._send(entry)

    def _declaration_failed(self, error: DependencyError) -> None:
        self._lost(error)

    def _not_opened(self, connection: pika.connection.Connection, error: BaseException | str) -> None:
        if connection is self._connection:
            self._lost(translate(error, self.name, self._address))

    # -- losing the connection ---------------------------------------------------------------------------------------

    def _connection_closed(self, connection: pika.connection.Connection, error: BaseException) -> None:
        if connection is not self._connection:
            return
        if self._closing:
            self._connection = self._channel = None
            self._up = False
            self._fail_unsettled()
            on_closed, self._on_closed = self._on_closed, None
            if on_closed is not None:
                on_closed()
            return
        self._lost(translate(error, self.name, self._address))

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        if channel is self._channel and not self._closing:
            # RabbitMQ refused something we did. The messages under way are the suspects, so they are counted.
            for entry in self._unsettled.values():
                entry.attempts += 1
            self._lost(ConnectionLost(f"{self.name}: it closed our channel: {getattr(reason, 'reply_text', reason)}"))

    def _cancelled(self, frame: Any) -> None:
        self._lost(ConnectionLost(f"{self.name}: the consumer of queue {self._queue!r} was cancelled; was it deleted?"))

    def _lost(self, error: DependencyError) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        self._up = self._blocked = False
        self._again.extendleft(reversed(self._unsettled.values()))
        self._unsettled.clear()
        if connection is not None and not connection.is_closed:
            self._hang_up()
        self._failed(error)

    def _failed(self, error: DependencyError) -> None:
        if self._closing or self._reconnector is None:
            return
        delay = self._reconnector.failed(error)
        self._owner.on_down(error, delay)

    def _hang_up(self) -> None:
        """Shut pika's sockets down. It then finds them closed, cleans up after itself, and nothing has to be awaited."""
        for descriptor in self._shim.descriptors:
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it was not connected any more

    def _stop_trying(self) -> None:
        if self._reconnector is not None:
            self._reconnector.cancel()

    def _fail_unsettled(self) -> None:
        error = ConnectionLost(f"{self.name}: the connection was closed before this message was confirmed")
        entries = [*self._unsettled.values(), *self._again]
        self._unsettled.clear()
        self._again.clear()
        for entry in entries:
            self._owner.on_outcome(entry.token, error)

    # -- publishing --------------------------------------------------------------------------------------------------

    def _send(self, entry: _Unsettled) -> None:
        message, connection, encoder = entry.message, self._connection, self._encoder
        if not self._up or connection is None or encoder is None:
            self._again.append(entry)
            return
        if entry.attempts >= MOST_ATTEMPTS:
            self._owner.on_outcome(entry.token, Rejected(f"{message.address}: RabbitMQ closed the channel on it each time"))
            return
        remaining = None
        if message.expires_at is not None:
            remaining = message.expires_at - self._loop.time()
            if remaining <= 0:
                self._owner.on_outcome(entry.token, Expired(f"{message.address}: it expired before it could be sent"))
                return
        try:
            frames = encoder.encode(message, remaining)
        except MessageError as error:
            self._owner.on_outcome(entry.token, error)
            return
        connection.emit(frames)
        self._unsettled[self._next_tag] = entry
        self._next_tag += 1

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        refused = isinstance(method, pika.spec.Basic.Nack)
        unsettled, on_outcome = self._unsettled, self._owner.on_outcome
        if method.multiple:
            settled = []
            for tag in unsettled:  # in order of publishing
                if tag > method.delivery_tag:
                    break
                settled.append(tag)
        else:
            settled = [method.delivery_tag]
        for tag in settled:
            entry = unsettled.pop(tag, None)
            if entry is not None:
                error = Rejected(f"{entry.message.address}: RabbitMQ could not take it (basic.nack)") if refused else None
                on_outcome(entry.token, error)
        self._loop.defer(self._offer_room)

    def _offer_room(self) -> None:
        if self.room > 0:
            self._owner.on_room()

    def _returned(self, channel: Channel, method: Any, properties: object, body: bytes) -> None:
        self.unroutable += 1
        if method.routing_key not in self._warned_keys and len(self._warned_keys) < 1000:
            self._warned_keys.add(method.routing_key)
            log.warning("%s: no queue is bound to routing key %r on exchange %r, so messages to it reach nobody.",
                        self.name, method.routing_key, self._options.exchange.name)  # fmt: skip

    def _on_blocked(self, connection: object, frame: Any) -> None:
        self._blocked = True
        log.warning("%s asks us to stop publishing: %s. Messages wait.", self.name, frame.method.reason)

    def _on_unblocked(self, connection: object, frame: Any) -> None:
        self._blocked = False
        log.info("%s takes messages again.", self.name)
        self._send_again()
        self._offer_room()

    # -- consuming ---------------------------------------------------------------------------------------------------

    def _delivered(self, channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        if channel is not self._channel:
            return  # of a connection that was given up: it will come again
        if self._consumer_tag is None and self._up:
            return  # cancelled already: what is under way goes back to the queue when the channel closes
        self._owner.on_delivery(delivery_of(method, properties, body, self._epoch))
