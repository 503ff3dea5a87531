"""One hub of several decides; the others wait. RabbitMQ chooses which, and chooses again when that one is gone.

Each hub of a group consumes from one queue that RabbitMQ gives to a single active consumer (RabbitMQ guide "Consumers").
What is in it means nothing: whoever is given it is the active one, keeps it unacknowledged, and stays active until its
connection is lost. It then ends, to be started again from outside as one of those that wait, and RabbitMQ gives what it
held to the next.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import zmq
from zmq.error import Again

from event_processor.settings import HubSettings
from event_processor.settings.connecting import addresses, tls_options
from pylib.app import AppThread, LoopThread
from pylib.brokers.addresses import Address, TlsOptions
from pylib.config import app_config
from pylib.errors import ConfigError
from pylib.observe.observing import health_of
from pylib.observe.systemd import notify_systemd
from pylib.rabbit import RabbitMQConsumer, RabbitMQRelay
from pylib.runtime.gate import Gate, wait_for_any
from pylib.runtime.here import HERE
from pylib.runtime.loop import READ, Loop
from pylib.runtime.receipts import Receipt
from pylib.zmq import Closable

__all__ = ["Standby", "join_group"]

log = logging.getLogger("event_processor.standby")

#: Seconds after which the token is exchanged for a fresh one. RabbitMQ closes the channel of a consumer that keeps a delivery
#: for longer than its `consumer_timeout`, which is 30 minutes by default.
EXCHANGE_EVERY: Final = 600.0
_URL: Final = "inproc://hub-token"
_URL_OUT: Final = "inproc://hub-token-out"


class Standby(LoopThread, Closable):
    """Waits until this hub is the active one of its group. ``active`` is set then, once; it is never taken back, since a hub
    that is no longer active ends (exit code 1).

    :param group: what the hubs that stand in for each other have in common.
    :param exchange: the hub's topic exchange; the token's queue is bound to it.
    """

    def __init__(
        self, addresses: tuple[Address, ...], exchange: str, group: str, *, tls: TlsOptions | None = None,
        exchange_every: float = EXCHANGE_EVERY,
    ) -> None:  # fmt: skip
        AppThread.__init__(self, name="Standby")
        Closable.__init__(self, connect_url=_URL)
        self.active = threading.Event()
        self._gate = Gate()
        self._group = group
        self._waited = False
        self._key = f"hub.{group}.token"
        self._every = exchange_every
        self._held: tuple[Receipt, ...] = ()
        self._outlet = self.get_socket(zmq.PUSH)
        self._outlet.connect(_URL_OUT)
        self._out = RabbitMQRelay(
            _URL_OUT, addresses, exchange, name="Standby, way out", wait=True, tls=tls, reconnect="until_first"
        )
        self._in = RabbitMQConsumer(
            {"": _URL},
            lambda delivery: (("", delivery.address),),
            addresses,
            exchange,
            self._key,
            name="Standby, way in",
            queue=f"event_processor.{group}.active",
            queue_arguments={"x-single-active-consumer": True, "x-max-length": 1},
            prefetch=1,
            retry=None,
            # A hub that does not hear RabbitMQ does not know whether it is still the active one.
            reconnect="until_first",
            tls=tls,
            on_ready=self._offer,
        )

    def start(self) -> None:
        """Start waiting. Returns at once."""
        for thread in (self._out, self._in):
            thread.start()
        super().start()

    def wait(self) -> bool:
        """Sleep until this hub is the active one, or the stop is asked for. Any thread; says whether it is active."""
        wait_for_any((self._gate, self.runtime.latch.gate))
        return self.active.is_set() and not self.runtime.latch.tripped

    def arrange(self, loop: Loop) -> None:
        loop.watch(self.socket, READ, lambda mask: self._take())
        loop.call_later(self._every, lambda: self._renew(loop))

    def cleanup(self) -> None:
        """Give the token back: RabbitMQ has the next one then, without waiting for our connection to be found dead."""
        held, self._held = self._held, ()
        for receipt in held:
            receipt.release()

    def _offer(self) -> None:
        """The queue is there: see to it that something is in it. On the consumer's thread."""
        if not self._waited:
            self._waited = True
            log.info("Standing by: RabbitMQ says which hub of the group %s is active.", self._group)
        loop = self.member.loop
        if loop is not None:
            loop.post(self._send)

    def _send(self) -> None:
        self._outlet.send_pyobj((self._key, b"active"))

    def _take(self) -> None:
        try:
            _, _ = self.socket.take()
        except Again:
            return
        before, self._held = self._held, HERE.receipts
        HERE.receipts = ()
        for receipt in before:
            receipt.release()
        if not self.active.is_set():
            log.info("This hub is the active one of the group %s.", self._group)
            self.active.set()
            self._gate.open()

    def _renew(self, loop: Loop) -> None:
        """Put a fresh token into the queue, then acknowledge the old one: as the single active consumer we are given it."""
        loop.call_later(self._every, lambda: self._renew(loop))
        if self._held:
            receipt = self.runtime.receipts.open(lambda receipt: loop.post(self._let_go), label=self._key)
            self._outlet.send_enclosed((self._key, b"active"), receipt)

    def _let_go(self) -> None:
        held, self._held = self._held, ()
        for receipt in held:
            receipt.release()


def join_group(settings: HubSettings) -> Standby | None:
    """Stand by in the group that the settings name; None where they name none. Within the current runtime.

    Raises ``ConfigError`` where the database is not one that hubs can share.
    """
    group = settings.house.group
    if not group:
        return None
    if not settings.house.database.startswith("postgres"):
        where = app_config.place("hub", "database")
        raise ConfigError(f"{where}: the hubs of a group share a PostgreSQL database. Write postgresql://user@host/name.")
    rabbit = settings.rabbitmq
    standby = Standby(addresses(settings)[0], rabbit.mq_exchange, group, tls=tls_options(rabbit))
    standby.start()
    # For systemd, a hub that stands by is up: it may have to wait for months.
    notify_systemd(standby.runtime, health_of(standby.runtime))
    return standby
