"""RabbitMQ for applications: a listener, a relay, and a connection to build one's own thread on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import zmq

from pylib.app import AppThread
from pylib.brokers.addresses import AddressLike, TlsOptions
from pylib.brokers.inflow import OrderKey, Route, one_key, one_sink
from pylib.brokers.patience import Reconnect
from pylib.brokers.port import Delivery
from pylib.brokers.probe import probe_rabbit
from pylib.brokers.rabbit_link import DeliveryOptions, RabbitLink, rabbit_options
from pylib.brokers.rabbit_values import Queue
from pylib.brokers.retrying import DEFAULT_RETRY, RetryPolicy
from pylib.brokers.runner import BridgeRunner
from pylib.config import app_config
from pylib.data import decode as decode_body
from pylib.delivery.spool import DEFAULT_LIMITS, SpoolLimits
from pylib.errors import DecodeError
from pylib.runtime.here import HERE
from pylib.runtime.sockets import Socket, caller_line
from pylib.zmq import Closable

__all__ = ["MQConnection", "RabbitMQConsumer", "RabbitMQRelay", "Reconnect", "ZMQListener"]

# Seconds that a publish with wait=True waits for its confirm.
WAIT_FOR_CONFIRM: Final = 10.0
# A queue of ours that nobody has consumed from for so long is deleted by RabbitMQ, so that a forgotten one does not fill it.
QUEUE_EXPIRES_MS: Final = 7 * 24 * 3600 * 1000
QUEUE_MAX_LENGTH: Final = 1_000_000


class _Companion(AppThread):
    """The thread that serves a connection while its owner's thread is busy with its own ``run``."""

    def __init__(self, name: str, runner: BridgeRunner) -> None:
        AppThread.__init__(self, name=name)
        self._runner = runner
        runner.attach(self.member)

    def run(self) -> None:
        self._runner.run()


class MQConnection(AppThread, Closable):
    """A thread with a RabbitMQ connection at its side. Subclasses write ``run`` and call ``_basic_publish`` in it.

    The connection is served by a companion thread, so that heartbeats and confirms go on while ``run`` waits for its own
    messages. It is made when the thread starts, and made again when it is lost.

    mq_server_address   host, host:port, amqp(s)://user:password@host:port/vhost, or a list of them, tried in turn
    mq_exchange_name    declared durable, of mq_exchange_type (topic, direct, fanout, headers); an existing one is used as is
    mq_arguments        arguments of the exchange; {'x-message-ttl': ms} becomes the expiration of every message published
    reconnect           False: a lost connection ends the application with exit code 1, to be restarted from outside; see
                        ``Reconnect`` for what lies in between
    spool               a file in which messages wait, in order, while RabbitMQ is away; spool_limits bounds it
    reject_unroutable   True: a message that no queue is bound for is refused, and what it came from fails; by default it is
                        warned of once and counted
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
        spool: str | os.PathLike[str] | None = None,
        spool_limits: SpoolLimits = DEFAULT_LIMITS,
        reject_unroutable: bool = False,
        tls: TlsOptions | None = None,
    ) -> None:
        AppThread.__init__(self, name=name)
        self._mq_topic_filter = mq_topic_filter
        options = rabbit_options(mq_server_address, mq_exchange_name, mq_exchange_type, mq_arguments, self.name, tls,
                                 reject_unroutable=reject_unroutable)  # fmt: skip
        delivery = DeliveryOptions(reconnect=reconnect, spool=spool, spool_limits=spool_limits)
        self._join(RabbitLink(self.runtime, options, self.name, self._pipe_url(), caller_line(), delivery))

    def start(self) -> None:
        """Start the companion, then this thread."""
        self._companion = _Companion(f"{self.name} I/O", self._link.runner)
        self._companion.start()
        super().start()

    def stop(self, timeout: float | None = None) -> bool:
        """Ask this thread and its connection to end, and wait. Any thread. True if both have."""
        ended = super().stop(timeout)
        return (self._companion is None or self._companion.stop(timeout)) and ended

    def _basic_publish(self, routing_key: str, event_payload: Any, *, wait: bool | float = False, **_ignored: Any) -> None:
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

    def _join(self, link: RabbitLink) -> None:
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


class RabbitMQConsumer(MQConnection):
    """Receives from RabbitMQ and sends each message down whichever pipes ``route`` says. ``ZMQListener`` is the common case.

    The constructor neither connects nor raises for a broker that is away; the thread connects, and connects again.

    sink_urls         pipes by name; the consumers bind them
    mq_topic_filter   the queue is bound to the exchange by this key, or by each of several
    queue             name of the durable queue; by default <application>.<device>.<exchange>.<filter>, so that what arrives
                      while the application is down waits for it. An empty name asks RabbitMQ for one
    quorum            a queue that a cluster keeps on a majority of its nodes (RabbitMQ guide "Quorum Queues")
    queue_arguments   further arguments of the queue, such as {'x-single-active-consumer': True} (RabbitMQ guide "Consumers")
    exclusive         the first applications' way: a queue that goes with the connection, and what is in it too
    prefetch          deliveries that may be outstanding, which bounds memory
    retry             how often a message is tried whose handling fails, before it becomes a dead letter
    store             the file for what failed; by default the application's own, made at the first failure
    order_key         what keeps messages in order when some of them fail; the routing key by default
    pipe_order        the same where it differs from pipe to pipe: called with the pipe's name and the delivery

    Every message is acknowledged after everything it caused has been accepted.
    """

    def __init__(
        self,
        sink_urls: Mapping[str, str],
        route: Route,
        mq_server_address: AddressLike,
        mq_exchange_name: str,
        mq_topic_filter: str | tuple[str, ...] = "#",
        mq_exchange_type: str = "topic",
        mq_arguments: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        queue: str | None = None,
        quorum: bool = False,
        queue_arguments: Mapping[str, Any] | None = None,
        exclusive: bool = False,
        prefetch: int = 500,
        retry: RetryPolicy | None = DEFAULT_RETRY,
        store: Path | None = None,
        order_key: Callable[[Delivery], str] | None = None,
        pipe_order: OrderKey | None = None,
        reconnect: Reconnect = True,
        tls: TlsOptions | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        AppThread.__init__(self, name=name)
        keys = (mq_topic_filter,) if isinstance(mq_topic_filter, str) else tuple(mq_topic_filter)
        own = _own_queue(mq_exchange_name, keys, queue, quorum, exclusive, queue_arguments)
        options = rabbit_options(
            mq_server_address, mq_exchange_name, mq_exchange_type, mq_arguments, self.name, tls, own, prefetch
        )
        self._mq_topic_filter = keys[0] if keys else ""
        delivery = DeliveryOptions(reconnect=reconnect, retry=retry, store=store, order_key=one_key(order_key, pipe_order))
        link = RabbitLink(
            self.runtime, options, self.name, self._pipe_url(), caller_line(), delivery,
            sinks=sink_urls, route=route, on_ready=on_ready,
        )  # fmt: skip
        link.runner.attach(self.member)
        self._join(link)

    def start(self) -> None:
        """Start the thread, which serves its own connection and needs no companion."""
        AppThread.start(self)

    def run(self) -> None:
        self._link.runner.run()


class ZMQListener(RabbitMQConsumer):
    """Receives from RabbitMQ and sends each message down one pipe as ``{third segment of the routing key: body}``.

    zmq_url   where the messages go; the consumer binds it
    decode    makes of a delivery what is sent down the pipe; None sends nothing

    Everything else is as for ``RabbitMQConsumer``.
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
        decode: Callable[[Delivery], object] | None = None,
        **options: Any,  # those of RabbitMQConsumer, passed on as they are
    ) -> None:
        RabbitMQConsumer.__init__(
            self, {"": zmq_url}, one_sink(decode or by_origin), mq_server_address, mq_exchange_name, mq_topic_filter,
            mq_exchange_type, mq_arguments, name=name or f"{type(self).__name__} ({zmq_url})", **options,
        )  # fmt: skip


class RabbitMQRelay(AppThread):
    """Publishes to RabbitMQ whatever is sent to its pipe as ``(routing key, payload)``: dicts and lists as MessagePack,
    bytes as they are.

    The constructor tries the addresses in turn with a connection that it closes again and raises
    ``pika.exceptions.AMQPConnectionError`` when none answers; with ``wait=True`` it does not, and the thread goes on trying.

    zmq_url          bound at construction
    mq_topic_filter  the application's own topic, ``device_topic``
    wait             do not try the addresses now
    spool            a file in which messages wait, in order, while RabbitMQ is away; ``spool_limits`` bounds it. What the
                     message came from is then acknowledged as soon as the file has it
    reject_unroutable  True: a message that no queue is bound for is refused, and what it came from fails; by default it is
                     warned of once and counted
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
        spool: str | os.PathLike[str] | None = None,
        spool_limits: SpoolLimits = DEFAULT_LIMITS,
        reject_unroutable: bool = False,
        tls: TlsOptions | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        AppThread.__init__(self, name=name or f"{type(self).__name__} ({zmq_url})")
        self._device_topic = mq_topic_filter
        options = rabbit_options(mq_server_address, mq_exchange_name, mq_exchange_type, mq_arguments, self.name, tls,
                                 reject_unroutable=reject_unroutable)  # fmt: skip
        if not wait:
            probe_rabbit(options, self.runtime.latch)
        delivery = DeliveryOptions(reconnect=reconnect, spool=spool, spool_limits=spool_limits)
        self._link = RabbitLink(self.runtime, options, self.name, zmq_url, caller_line(), delivery, on_ready=on_ready)
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
    return {segments[2]: decode_body(delivery.body, delivery.content_type)}


def _own_queue(
    exchange: str, keys: tuple[str, ...], name: str | None, quorum: bool, exclusive: bool, further: Mapping[str, Any] | None
) -> Queue:
    """A durable queue that outlives us, bounded; or the exclusive one that does not."""
    if exclusive or name == "":
        return Queue(name or "", keys, exclusive=True, arguments=further)
    arguments: dict[str, Any] = {"x-expires": QUEUE_EXPIRES_MS, "x-max-length": QUEUE_MAX_LENGTH}
    if quorum:
        arguments["x-queue-type"] = "quorum"
    return Queue(name or _queue_name(exchange, keys), keys, arguments={**arguments, **(further or {})})


def _queue_name(exchange: str, keys: tuple[str, ...]) -> str:
    """<application>.<device>.<exchange>.<filter>: the same at every start, and never a container's id."""
    return ".".join((app_config.app_name(), app_config.device_name(), exchange, "+".join(keys)))[:255]
