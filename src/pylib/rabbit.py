"""RabbitMQ for applications: a listener, a relay, and a connection to build one's own thread on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import zmq

from pylib.app import AppThread
from pylib.brokers.addresses import AddressLike, TlsOptions, parse_addresses
from pylib.brokers.bridge import Bridge
from pylib.brokers.identity import new_id
from pylib.brokers.patience import Patience, Reconnect
from pylib.brokers.pika import PikaPort
from pylib.brokers.port import Delivery, Outgoing
from pylib.brokers.probe import probe_rabbit
from pylib.brokers.rabbit_values import Exchange, Queue, RabbitOptions
from pylib.brokers.runner import BridgeRunner
from pylib.config import app_config
from pylib.data import MSGPACK, decode, make_payload
from pylib.errors import DecodeError, Rejected
from pylib.runtime.here import HERE
from pylib.runtime.loop import Loop
from pylib.runtime.runtime import Runtime
from pylib.runtime.sockets import Socket, caller_line
from pylib.zmq import Closable

__all__ = ["MQConnection", "RabbitMQRelay", "Reconnect", "ZMQListener"]

# Seconds that a publish with wait=True waits for its confirm.
WAIT_FOR_CONFIRM: Final = 10.0
# A queue of ours that nobody has consumed from for so long is deleted by RabbitMQ, so that a forgotten one does not fill it.
QUEUE_EXPIRES_MS: Final = 7 * 24 * 3600 * 1000
QUEUE_MAX_LENGTH: Final = 1_000_000

class _Link:
    """One connection to RabbitMQ and the pipe into it. Made by any thread; run by the one that is to own it."""

    def __init__(
        self,
        runtime: Runtime,
        options: RabbitOptions,
        who: str,
        url: str,
        origin: str,
        *,
        sink_url: str = "",
        decode_delivery: Callable[[Delivery], object] | None = None,
        reconnect: Reconnect = True,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._who = who
        self.url = url
        self._decode = decode_delivery
        self._patience = Patience(reconnect, len(options.addresses), on_ready)
        self._intake = runtime.sockets.open(zmq.PULL, origin=origin)
        self._intake.bind(url)
        self._sink: Socket | None = None
        sockets = [self._intake]
        if sink_url:
            self._sink = runtime.sockets.open(zmq.PUSH, origin=origin)
            self._sink.connect(sink_url)
            sockets.append(self._sink)
        self.runner = BridgeRunner(runtime, self._make, sockets)

    def _make(self, loop: Loop) -> Bridge:
        return Bridge(
            loop,
            PikaPort(self._options),
            self._who,
            sources=[self._intake],
            encode=self._encode,
            sink=self._sink,
            decode=self._decode,
            receipts=self._runtime.receipts,
            on_lost=self._patience.exhausted,
            on_ready=self._patience.ready,
        )

    def _encode(self, message: object) -> Outgoing:
        """(routing key, payload[, how]) as the pipes carry it, to what is published. Bytes are published as they are."""
        if isinstance(message, Outgoing):
            return message
        if not isinstance(message, tuple) or not 2 <= len(message) <= 3 or not isinstance(message[0], str):
            raise Rejected(f"a message for RabbitMQ is (routing key, payload), not {type(message).__name__}")
        key, payload = message[0], message[1]
        how: Mapping[str, Any] = message[2] if len(message) == 3 else {}
        created_at = how.get("created_at") or time.time()
        expires_at = how.get("expires_at")
        if expires_at is None and self._options.expiration is not None:
            expires_at = created_at + self._options.expiration
        plain = isinstance(payload, bytes)
        return Outgoing(
            key,
            payload if plain else make_payload(payload),
            content_type=how.get("content_type") or ("application/octet-stream" if plain else MSGPACK),
            message_id=how.get("message_id") or new_id(),
            created_at=created_at,
            expires_at=expires_at,
            headers=how.get("headers"),
            # A heartbeat that nobody listens to is normal; anything else that reaches nobody is worth a warning.
            mandatory=not key.startswith("event.heartbeat"),
        )


class _Companion(AppThread):
    """The thread that serves a connection while its owner's thread is busy with its own ``run``."""

    def __init__(self, name: str, runner: BridgeRunner) -> None:
        AppThread.__init__(self, name=name)
        self._runner = runner
        runner.attach(self.member)

    def run(self) -> None:
        self._runner.run()


def _options(
    address: AddressLike,
    exchange: str,
    kind: str,
    arguments: Mapping[str, Any] | None,
    name: str,
    tls: TlsOptions | None,
    queue: Queue | None = None,
) -> RabbitOptions:
    rest = dict(arguments or {})
    # On an exchange RabbitMQ ignores it. What was meant is the life of each message, so that is what it becomes.
    ttl = rest.pop("x-message-ttl", None)
    return RabbitOptions(
        addresses=parse_addresses(address, scheme="amqp", where="RabbitMQ address"),
        exchange=Exchange(exchange, kind, arguments=rest or None),
        queue=queue,
        tls=tls,
        expiration=None if ttl is None else float(ttl) / 1000.0,
        connection_name=f"{app_config.app_name()}: {name}",
    )


class MQConnection(AppThread, Closable):
    """A thread with a RabbitMQ connection at its side. Subclasses write ``run`` and call ``_basic_publish`` in it.

    The connection is served by a companion thread, so that heartbeats and confirms go on while ``run`` waits for its own
    messages. It is made when the thread starts, and made again when it is lost.

    mq_server_address   host, host:port, amqp(s)://user:password@host:port/vhost, or a list of them, tried in turn
    mq_exchange_name    declared as mq_exchange_type (topic, direct, fanout or headers), durable; one that exists is used as it is
    mq_arguments        arguments of the exchange; {'x-message-ttl': ms} becomes the expiration of every message published
    reconnect           False: a lost connection ends the application with exit code 1, to be restarted from outside; see
                        ``Reconnect`` for what lies in between
    tls                 files and checks for amqps:// addresses
    """

    # None for a subclass that serves its connection on its own thread.
    _companion: AppThread | None = None

    def __init__(
        self,
        name: str | None = None,
        mq_server_address: AddressLike = "localhost",
        mq_exchange_name: str = "",
        mq_topic_filter: str = "#",
        mq_exchange_type: str = "topic",
        mq_arguments: Mapping[str, Any] | None = None,
        *,
        reconnect: Reconnect = True,
        tls: TlsOptions | None = None,
    ) -> None:
        AppThread.__init__(self, name=name)
        self._mq_topic_filter = mq_topic_filter
        options = _options(mq_server_address, mq_exchange_name, mq_exchange_type, mq_arguments, self.name, tls)
        self._join(_Link(self.runtime, options, self.name, self._pipe_url(), caller_line(), reconnect=reconnect))

    def start(self) -> None:
        """Start the companion, then this thread."""
        self._companion = _Companion(f"{self.name} I/O", self._link.runner)
        self._companion.start()
        super().start()

    def stop(self, timeout: float | None = None) -> bool:
        """Ask this thread and its connection to end, and wait. Any thread. True if both have."""
        ended = super().stop(timeout)
        return (self._companion is None or self._companion.stop(timeout)) and ended

    def _basic_publish(
        self, routing_key: str, event_payload: Any, *, wait: bool | float = False, **_ignored: Any
    ) -> None:
        """Publish one message: a dict or list as MessagePack, bytes as they are.

        Returns when the message is queued; what the message at hand came from is acknowledged after the confirm. With
        ``wait`` it blocks until the confirm, at most so many seconds (True: 10), and raises ``Rejected`` (RabbitMQ or we
        refused it), ``ConnectionLost`` or ``TimeoutError``; a message that timed out may still be delivered. Raises
        ``ContextTerminated`` when the pipe is full and the application stops. Any thread.
        """
        message = (routing_key, event_payload, {"created_at": time.time()})
        outlet = self._outlet()
        if wait is False:
            outlet.send_pyobj(message)
            return
        answered = threading.Event()
        receipt = self.runtime.receipts.open(lambda receipt: answered.set(), label=routing_key)
        outlet.send_enclosed(message, receipt)
        if not answered.wait(WAIT_FOR_CONFIRM if wait is True else wait):
            raise TimeoutError(f"RabbitMQ has not confirmed a message to {routing_key!r} in time; it may still be delivered")
        if receipt.error is not None:
            raise receipt.error

    def _join(self, link: _Link) -> None:
        self._link = link
        self._outlets: dict[int, Socket] = {}

    def _pipe_url(self) -> str:
        return f"inproc://rabbit-{id(self):x}"

    def _outlet(self) -> Socket:
        """The calling thread's own socket into the connection's pipe: one socket, one thread."""
        ident = threading.get_ident()
        outlet = self._outlets.get(ident)
        if outlet is None or outlet.closed:
            outlet = self.runtime.sockets.open(zmq.PUSH, owner=HERE.member, origin=caller_line(2))
            outlet.connect(self._link.url)
            self._outlets[ident] = outlet
        return outlet


class ZMQListener(MQConnection):
    """Receives from RabbitMQ and sends each message down a pipe as ``{third segment of the routing key: body}``.

    The constructor neither connects nor raises for a broker that is away; the thread connects, and connects again.

    zmq_url           where the messages go; the consumer binds it
    mq_topic_filter   the queue is bound to the exchange by this key (or each of a sequence of keys)
    queue             name of the durable queue; by default <application>.<device>.<exchange>.<filter>, so that what arrives
                      while the application is down waits for it. An empty name asks RabbitMQ for one
    exclusive         the first applications' way: a queue that goes with the connection, and what is in it too
    decode            makes of a delivery what is sent down the pipe; None sends nothing

    Every message is acknowledged after everything it caused has been accepted.
    """

    def __init__(
        self,
        zmq_url: str,
        mq_server_address: AddressLike,
        mq_exchange_name: str,
        mq_topic_filter: str | tuple[str, ...] = "#",
        mq_exchange_type: str = "topic",
        mq_arguments: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        queue: str | None = None,
        exclusive: bool = False,
        decode: Callable[[Delivery], object] | None = None,
        reconnect: Reconnect = True,
        tls: TlsOptions | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        AppThread.__init__(self, name=name or f"{type(self).__name__} ({zmq_url})")
        keys = (mq_topic_filter,) if isinstance(mq_topic_filter, str) else tuple(mq_topic_filter)
        own = Queue(
            _queue_name(mq_exchange_name, keys) if queue is None and not exclusive else queue or "",
            keys,
            exclusive=exclusive or queue == "",
            arguments=None if exclusive or queue == "" else {"x-expires": QUEUE_EXPIRES_MS, "x-max-length": QUEUE_MAX_LENGTH},
        )
        options = _options(mq_server_address, mq_exchange_name, mq_exchange_type, mq_arguments, self.name, tls, own)
        self._mq_topic_filter = keys[0] if keys else ""
        link = _Link(
            self.runtime, options, self.name, self._pipe_url(), caller_line(), sink_url=zmq_url,
            decode_delivery=decode or by_origin, reconnect=reconnect, on_ready=on_ready,
        )  # fmt: skip
        link.runner.attach(self.member)
        self._join(link)

    def start(self) -> None:
        """Start the thread, which serves its own connection and needs no companion."""
        AppThread.start(self)

    def run(self) -> None:
        self._link.runner.run()


class RabbitMQRelay(AppThread):
    """Publishes to RabbitMQ whatever is sent to its pipe as ``(routing key, payload)``: dicts and lists as MessagePack,
    bytes as they are.

    The constructor tries the addresses in turn with a connection that it closes again and raises
    ``pika.exceptions.AMQPConnectionError`` when none answers; with ``wait=True`` it does not, and the thread goes on trying.

    zmq_url          bound at construction
    mq_topic_filter  the application's own topic, ``device_topic``
    wait             do not try the addresses now
    reconnect        False: a lost connection ends the application with exit code 1, to be restarted from outside
    """

    def __init__(
        self,
        zmq_url: str,
        mq_server_address: AddressLike,
        mq_exchange_name: str,
        mq_topic_filter: str = "",
        mq_exchange_type: str = "topic",
        mq_arguments: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        wait: bool = False,
        reconnect: Reconnect = True,
        tls: TlsOptions | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        AppThread.__init__(self, name=name or f"{type(self).__name__} ({zmq_url})")
        self._device_topic = mq_topic_filter
        options = _options(mq_server_address, mq_exchange_name, mq_exchange_type, mq_arguments, self.name, tls)
        if not wait:
            probe_rabbit(options, self.runtime.latch)
        self._link = _Link(self.runtime, options, self.name, zmq_url, caller_line(), reconnect=reconnect, on_ready=on_ready)
        self._link.runner.attach(self.member)

    @property
    def device_topic(self) -> str:
        """The application's own topic, for its routing keys."""
        return self._device_topic

    def run(self) -> None:
        self._link.runner.run()

    def close(self) -> None:
        """Publish what waits, close the connection, end the thread: within the runtime's stop budget. Any thread."""
        self.stop()


def by_origin(delivery: Delivery) -> dict[str, Any]:
    """``{third segment of the routing key: body}``, which is what the first applications expect of a listener.

    Raises ``DecodeError`` for a routing key with fewer than three segments and for a body that is not what it claims.
    """
    segments = delivery.address.split(".", 3)
    if len(segments) < 3:
        raise DecodeError(f"its routing key {delivery.address!r} has fewer than three segments")
    return {segments[2]: decode(delivery.body, delivery.content_type)}


def _queue_name(exchange: str, keys: tuple[str, ...]) -> str:
    """<application>.<device>.<exchange>.<filter>: the same at every start, and never a container's id."""
    return ".".join((app_config.app_name(), app_config.device_name(), exchange, "+".join(keys)))[:255]
