"""The simulated home among real brokers: one supervised thread that lives its life, and its connections.

Each link has a connection and a last will of its own: a gateway for the battery devices, the camera and the plug for
themselves, and RabbitMQ for the application in the garden.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import zmq
from zmq.error import Again

from event_processor.simulator.catalogue import DEVICES
from event_processor.simulator.devices import BASE, GATEWAY, link_topic
from event_processor.simulator.home import COMMANDS, Home
from event_processor.simulator.values import RABBITMQ, Sent
from pylib.app import AppThread, LoopThread
from pylib.brokers.addresses import AddressLike, TlsOptions
from pylib.brokers.port import Delivery
from pylib.config import app_config
from pylib.errors import ConfigError
from pylib.mqtt import MqttSubscriber, Will
from pylib.rabbit import RabbitMQRelay
from pylib.runtime.loop import READ, Loop
from pylib.runtime.receipts import settle_handling
from pylib.zmq import Closable

__all__ = ["FASTEST", "SimulatedHome", "home_threads", "morning"]

FASTEST: Final = 3600.0
"""Simulated seconds in a second: a day in 24 s."""

_URL: Final = "inproc://simulated-home"
_DAY: Final = 86_400.0


class SimulatedHome(LoopThread, Closable):
    """Lets a home live at a pace, publishes what it says and hands it the commands that come.

    :param home: owned by this thread from its start on.
    :param speed: simulated seconds in a second.
    :param outlets: the pipe of each link.
    """

    def __init__(self, home: Home, speed: float, outlets: Mapping[str, str]) -> None:
        if not 0 < speed <= FASTEST:
            raise ConfigError(f"the simulated home's speed is {speed:g}; it is more than 0 and at most {FASTEST:g}")
        AppThread.__init__(self, name="simulated home")
        Closable.__init__(self, connect_url=_URL)
        self._home, self._speed = home, speed
        self._outlets: dict[str, zmq.Socket[bytes]] = {}
        for link, url in outlets.items():
            socket = self.get_socket(zmq.PUSH)
            socket.connect(url)
            self._outlets[link] = socket
        self._began: float | None = None
        self._first = home.now

    def arrange(self, loop: Loop) -> None:
        self._began = loop.monotonic()
        loop.watch(self.socket, READ, lambda mask: self._told(loop))
        self._live(loop)

    def _now(self, loop: Loop) -> float:
        began = loop.monotonic() if self._began is None else self._began
        return self._first + (loop.monotonic() - began) * self._speed

    def _live(self, loop: Loop) -> None:
        """Say what has happened by now, and come again when something does."""
        self._send(self._home.until(self._now(loop)))
        loop.call_later((self._home.next_due - self._now(loop)) / self._speed, lambda: self._live(loop))

    def _told(self, loop: Loop) -> None:
        while True:
            try:
                (topic, body, retained), _carried = self.socket.take()
            except Again:
                return
            levels = topic.split("/")
            if levels[-1] == "link" and body == b"online":
                self._send(self._home.announcements(levels[1]))  # its connection is up, again perhaps
            elif topic.endswith("/status"):
                if body == b"online" and not retained:  # Home Assistant, or a hub in its place, has started
                    self._send(self._home.announcements())
            elif not retained:  # a command from earlier is none
                self._send(self._home.until(self._now(loop)))
                self._send(self._home.told(topic, body))
            settle_handling()

    def _send(self, messages: Iterable[Sent]) -> None:
        for message in messages:
            socket = self._outlets.get(message.link)
            if socket is None:
                continue
            if message.link == RABBITMQ:
                socket.send_pyobj((message.topic, message.payload))
            else:
                socket.send_pyobj((message.topic, message.payload, {"qos": 1, "retain": message.retained}))


def home_threads(
    mqtt: AddressLike, rabbitmq: AddressLike | None = None, *, exchange: str = "home_automation", seed: int = 1,
    speed: float = 1.0, start: float | None = None, prefix: str = "homeassistant", tls: TlsOptions | None = None,
    rabbitmq_tls: TlsOptions | None = None, on_ready: Callable[[], None] | None = None,
) -> list[AppThread]:  # fmt: skip
    """Make the threads of a simulated home within the current runtime, in the order in which to start them.

    :param rabbitmq: None leaves out the application in the garden.
    :param exchange: where applications report.
    :param speed: simulated seconds in a second, at most ``FASTEST``.
    :param start: when its life begins, in seconds since the epoch; now by default.
    :param prefix: the first level of the announcements' topics.
    :param on_ready: called on the gateway's thread when it is connected, and after each reconnect.
    :raises ConfigError: the speed or an address is none.
    """
    links = tuple(dict.fromkeys(device.link for device in DEVICES))
    outlets = {link: f"{_URL}/{link}" for link in links}
    threads: list[AppThread] = []
    if rabbitmq is not None:
        outlets[RABBITMQ] = f"{_URL}/{RABBITMQ}"
        threads.append(
            RabbitMQRelay(
                outlets[RABBITMQ], rabbitmq, exchange, mq_exchange_type="topic", name="simulated garden", wait=True,
                tls=rabbitmq_tls,
            )
        )  # fmt: skip
    home = Home(seed, start=time.time() if start is None else start, prefix=prefix)
    threads.append(SimulatedHome(home, speed, outlets))
    for link in links:
        gateway = link == GATEWAY
        threads.append(
            MqttSubscriber(
                mqtt,
                (*COMMANDS, f"{BASE}/+/link", f"{prefix}/status") if gateway else (),
                sink_url=_URL if gateway else None,
                publish_urls=(outlets[link],),
                decode=_taken,
                client_id=f"simulated-{link}-{app_config.device_name()}",
                session_expiry=0,
                name=f"simulated {link}",
                birth=Will(link_topic(link), b"online"),
                last_will=Will(link_topic(link), b"offline"),
                tls=tls,
                on_ready=on_ready if gateway else None,
            )
        )
    return threads


def morning(now: float, hour: float) -> float:
    """The last time, in UTC, at which it was this hour, up to ``now``."""
    at = now - now % _DAY + hour * 3600.0
    return at if at <= now else at - _DAY


def _taken(delivery: Delivery) -> tuple[str, bytes, bool]:
    return delivery.address, delivery.body, delivery.retained
