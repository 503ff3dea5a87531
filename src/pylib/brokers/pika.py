"""The RabbitMQ port: pika's ``SelectConnection`` on our own loop, with publisher confirms and held-back acknowledgements."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pika
from pika.channel import Channel
from pika.exceptions import ChannelClosed

from pylib.brokers.addresses import Address, TlsOptions
from pylib.brokers.backoff import Reconnector
from pylib.brokers.confirms import Confirms
from pylib.brokers.dial import USER_TIMEOUT_MS
from pylib.brokers.liveness import PULSE_DEADLINE, PULSE_INTERVAL, Pulse
from pylib.brokers.pika_errors import translate
from pylib.brokers.pika_loop import Connection, PikaLoop
from pylib.brokers.port import Delivery, Outgoing, PortOwner
from pylib.brokers.rabbit_values import RabbitOptions, delivery_of
from pylib.brokers.topics import check_routing_key
from pylib.brokers.topology import Topology
from pylib.errors import ConnectionLost, DependencyError
from pylib.runtime.loop import Loop

__all__ = ["PikaPort", "parameters_for"]

log = logging.getLogger("pylib.rabbit")


def parameters_for(options: RabbitOptions, address: Address) -> pika.ConnectionParameters:
    """Pika's parameters. Raises ``ConfigError`` for TLS files that cannot be used."""
    tls = pika.SSLOptions((options.tls or TlsOptions()).context(), address.host) if address.tls else None
    credentials = pika.PlainCredentials(address.user or "guest", address.password.reveal() if address.password else "guest")
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
        self._reconnector: Reconnector[Address] | None = None
        self._address = options.addresses[0]
        self._topology = Topology(options.exchange, options.queue, self.name)
        self._epoch = 0
        self._up = False
        self._publisher = Confirms(
            options.exchange.name, options.window, options.reject_unroutable, lambda: self.name,
            lambda why: self._lost(ConnectionLost(f"{self.name}: {why}")),
        )  # fmt: skip
        self._pulse: Pulse | None = None
        self._closing = False
        self._consumer_tag: str | None = None
        self._queue = ""
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
        return self._publisher.blocked

    @property
    def blocked_since(self) -> float:
        return self._publisher.blocked_since

    @property
    def room(self) -> int:
        return self._publisher.room

    @property
    def unsettled(self) -> int:
        return self._publisher.unsettled

    @property
    def unroutable(self) -> int:
        """Mandatory messages that reached no queue."""
        return self._publisher.unroutable

    def open(self, loop: Loop, owner: PortOwner) -> None:
        self._loop, self._owner = loop, owner
        self._shim = PikaLoop(loop)
        self._publisher.bind(loop, owner)
        self._pulse = Pulse(loop, self._ask, self._deaf, PULSE_INTERVAL, PULSE_DEADLINE)
        self._reconnector = Reconnector(loop, self._options.addresses, self._connect, self._options.back_off)
        self._reconnector.start()

    def check(self, message: Outgoing) -> None:
        check_routing_key(message.address)

    def publish(self, message: Outgoing, token: object) -> None:
        self._publisher.publish(message, token)

    def reclaim(self) -> list[tuple[Outgoing, object]]:
        return self._publisher.reclaim()

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
        self._publisher.down()
        if connection is not None and not connection.is_closed:
            # Under a memory alarm RabbitMQ does not read what we say, a goodbye included, so the socket is what goes.
            self._shim.hang_up()
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
        self._shim = PikaLoop(self._loop)
        self._connection = connection = Connection(
            self._loop,
            self._shim,
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._not_opened,
            on_close_callback=self._connection_closed,
        )
        self._shim.on_error = lambda error: self._not_opened(connection, error)

    def _opened(self, connection: pika.SelectConnection) -> None:
        publisher = self._publisher
        connection.add_on_connection_blocked_callback(lambda _, frame: publisher.block(frame.method.reason))
        connection.add_on_connection_unblocked_callback(lambda _, frame: publisher.unblock())
        if self._pulse is not None:
            self._pulse.start()  # from here on, so that a broker that freezes among the declarations is noticed as well
        self._topology.raise_on(connection, self._declared, self._declaration_failed)

    def _declared(self, channel: Channel, queue: str) -> None:
        self._channel, self._queue = channel, queue
        self._heard()
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(lambda _, method, properties, body: self._publisher.returned(method, properties))
        channel.add_on_cancel_callback(self._cancelled)

        def confirmed(frame: Any) -> None:
            if channel is self._channel:  # an earlier channel's numbers mean other messages
                self._heard()
                self._publisher.confirmed(frame)

        channel.confirm_delivery(confirmed, callback=lambda frame: self._consume(channel))

    def _consume(self, channel: Channel) -> None:
        if not channel.is_open:
            return  # a stop came in between
        if self._options.queue is None:
            self._ready_to_work()
            return

        def consuming(frame: Any) -> None:
            self._ready_to_work()

        def limited(frame: Any) -> None:
            if channel.is_open:
                self._consumer_tag = channel.basic_consume(self._queue, self._delivered, exclusive=False, callback=consuming)

        channel.basic_qos(prefetch_count=self._options.prefetch, callback=limited)

    def _ready_to_work(self) -> None:
        connection, channel = self._connection, self._channel
        if connection is None or channel is None:
            return
        self._up = True
        if self._reconnector is not None:
            self._reconnector.succeeded()
        if self._pulse is not None:
            self._pulse.start()
        self._publisher.up(connection, channel.channel_number)
        self._owner.on_up()
        self._publisher.offer_room()

    # -- signs of life -----------------------------------------------------------------------------------------------

    def _heard(self) -> None:
        if self._pulse is not None:
            self._pulse.heard()

    def _ask(self) -> None:
        """Is the consumer still registered, and does anybody answer at all?"""
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        if self._publisher.blocked:
            self._heard()  # under an alarm RabbitMQ reads nothing from us, this question included: heartbeats have to do
        elif self._options.queue is not None and self._consumer_tag is not None:
            channel.queue_declare(self._queue, passive=True, callback=self._answered)
        elif self._options.exchange.name:
            channel.exchange_declare(self._options.exchange.name, passive=True, callback=lambda frame: self._heard())
        else:
            channel.basic_qos(prefetch_count=self._options.prefetch, callback=lambda frame: self._heard())

    def _answered(self, frame: Any) -> None:
        if frame.method.consumer_count or self._consumer_tag is None:
            self._heard()
        else:
            self._lost(ConnectionLost(f"{self.name}: queue {self._queue!r} has lost our consumer"))

    def _deaf(self) -> None:
        silence = self._pulse.silence if self._pulse is not None else 0.0
        self._lost(ConnectionLost(f"{self.name}: it has not answered for {silence:g} s"))

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
            self._publisher.down()
            self._fail_unsettled()
            on_closed, self._on_closed = self._on_closed, None
            if on_closed is not None:
                on_closed()
            return
        self._lost(translate(error, self.name, self._address))

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        # When the connection goes its channels go first; that is no suspicion against anything that was published.
        if isinstance(reason, ChannelClosed) and channel is self._channel and not self._closing:
            # RabbitMQ refused something we did: the messages under way are the suspects.
            self._publisher.down(suspect=True)
            self._lost(ConnectionLost(f"{self.name}: it closed our channel: {getattr(reason, 'reply_text', reason)}"))

    def _cancelled(self, frame: Any) -> None:
        self._lost(ConnectionLost(f"{self.name}: the consumer of queue {self._queue!r} was cancelled; was it deleted?"))

    def _lost(self, error: DependencyError) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        self._up = False
        self._publisher.down()
        if self._pulse is not None:
            self._pulse.stop()
        if connection is not None and not connection.is_closed:
            self._shim.hang_up()
        self._failed(error)

    def _failed(self, error: DependencyError) -> None:
        if self._closing or self._reconnector is None:
            return
        delay = self._reconnector.failed(error)
        self._owner.on_down(error, delay)

    def _stop_trying(self) -> None:
        if self._reconnector is not None:
            self._reconnector.cancel()

    def _fail_unsettled(self) -> None:
        if self._pulse is not None:
            self._pulse.stop()
        self._publisher.fail_all(ConnectionLost(f"{self.name}: the connection was closed before this message was confirmed"))

    # -- consuming ---------------------------------------------------------------------------------------------------

    def _delivered(self, channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        if channel is not self._channel:
            return  # of a connection that was given up: it will come again
        if self._consumer_tag is None and self._up:
            return  # cancelled already: what is under way goes back to the queue when the channel closes
        self._heard()
        self._owner.on_delivery(delivery_of(method, properties, body, self._epoch))
