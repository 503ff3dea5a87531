"""The deafness watchdog: "connected" is not health, an answer is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pylib.runtime.loop import Loop, Timer

__all__ = ["Canary", "Pulse"]

log = logging.getLogger("pylib.mqtt")


class Pulse:
    """Asks the other side for a sign of life whenever it has been silent for ``interval`` seconds, and calls ``deaf`` when
    no answer comes within another ``deadline`` seconds. For the loop's thread.

    Interval and deadline together bound how long a half-open connection, a frozen broker or a lost subscription goes
    unnoticed.
    """

    __slots__ = ("_ask", "_asked", "_deadline", "_deaf", "_heard", "_interval", "_loop", "_timer")

    def __init__(
        self, loop: Loop, ask: Callable[[], None], deaf: Callable[[], None], interval: float, deadline: float
    ) -> None:
        self._loop = loop
        self._ask = ask
        self._deaf = deaf
        self._interval = interval
        self._deadline = deadline
        self._heard = False
        self._asked = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to listen; the first question follows after the interval."""
        self.stop()
        self._heard = self._asked = False
        self._timer = self._loop.call_later(self._interval, self._look)

    def heard(self) -> None:
        """There was a sign of life: a delivery, a confirm, an answer. Costs one store, so call it as often as you like."""
        self._heard = True

    def stop(self) -> None:
        """Ask nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._heard:
            self._heard = self._asked = False
            self._timer = self._loop.call_later(self._interval, self._look)
        elif not self._asked:
            self._asked = True
            self._timer = self._loop.call_later(self._deadline, self._look)
            self._ask()
        else:
            self._timer = None
            self._deaf()


class Canary:
    """A message to ourselves: does what we publish come back? That takes a broker that reads, routes and writes, and our
    subscription. On a topic of our own, never a user's.
    """

    __slots__ = ("allowed", "sings", "topic")

    def __init__(self, client_id: str) -> None:
        self.topic = f"pylib/canary/{client_id}"
        self.allowed = True
        # Whether it has ever come back: without the permission for its topic it never does.
        self.sings = False

    def missing(self, who: str) -> bool:
        """It did not come back. True if that means that nothing does."""
        if not self.sings:
            self.deny(who)  # a broker may deny a publish without a word (MQTT 5 section 3.3.5)
        return self.sings

    def deny(self, who: str) -> None:
        """The broker does not let us have it: say so, and do less."""
        self.allowed = False
        log.info("%s: no permission for topic %s, so a lost subscription is noticed by PING alone.", who, self.topic)
