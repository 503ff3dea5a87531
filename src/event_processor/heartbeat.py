"""Who is alive: keeps when each device was last heard, says so when one falls silent, and passes every message on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from event_processor.domain.bodies import from_forwarded
from event_processor.domain.devices import Device, seen, silent
from pylib.app import ZmqRelay
from pylib.runtime.loop import Loop
from pylib.zmq import URL_HEARTBEAT_NANNY, URL_WORKER_APP

__all__ = ["HeartbeatFilter"]

log = logging.getLogger("event_processor.heartbeat")

# Names come from outside, so there has to be an end to how many are remembered.
MOST_DEVICES: Final = 20_000


class HeartbeatFilter(ZmqRelay):
    """Stands between the sources and the decision: ``inproc://heartbeat-nanny`` in, ``inproc://app-worker`` out.

    :param stale_after_s: seconds without a sign of life after which a device is silent.
    :param look_every_s: seconds between two looks. Silence is noticed by this timer, without the device's help.
    """

    def __init__(
        self,
        source_zmq_url: str = URL_HEARTBEAT_NANNY,
        sink_zmq_url: str = URL_WORKER_APP,
        *,
        stale_after_s: float = 300.0,
        look_every_s: float = 5.0,
        on_silent: Callable[[Device], None] | None = None,
    ) -> None:
        ZmqRelay.__init__(self, "HeartbeatFilter", source_zmq_url, sink_zmq_url)
        self._stale_after_s = stale_after_s
        self._look_every_s = look_every_s
        self._on_silent = on_silent
        self._devices: dict[str, Device] = {}
        self._silent: set[str] = set()
        self._full = False

    @property
    def devices(self) -> dict[str, Device]:
        """A copy of what is known, by device key. Any thread."""
        return self._devices.copy()

    def process(self, message: object) -> object:
        """Note who is heard by this message, and pass it on as it is."""
        now = self.runtime.clock.time()
        for event in from_forwarded(message, now=now):
            if event.retained:
                continue  # what a broker kept says nothing about who is alive now
            if event.device not in self._devices and len(self._devices) >= MOST_DEVICES:
                self._say_full()
                continue
            if event.device in self._silent:
                self._silent.discard(event.device)
                away = now - self._devices[event.device].last_seen
                log.info("%s is heard again, after %.0f s.", event.device, away)
            self._devices[event.device] = seen(self._devices, event.device, now, event)
        return message

    def arrange(self, loop: Loop) -> None:
        """Watch the pipe, and look for silence from time to time."""
        super().arrange(loop)
        loop.call_later(self._look_every_s, lambda: self._look(loop))

    def _look(self, loop: Loop) -> None:
        loop.call_later(self._look_every_s, lambda: self._look(loop))
        now = self.runtime.clock.time()
        for device in silent(self._devices, now, self._stale_after_s):
            if device.key not in self._silent:
                self._silent.add(device.key)
                log.warning("%s has not been heard for %.0f s.", device.key, now - device.last_seen)
                if self._on_silent is not None:
                    self._on_silent(device)

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            log.warning("%d devices are known; others are served and not watched for silence.", MOST_DEVICES)
