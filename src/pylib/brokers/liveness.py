"""The deafness watchdog: "connected" is not health, an answer is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from pylib.runtime.loop import Loop, Timer

__all__ = ["Canary", "MqttPulse", "Pulse"]

log = logging.getLogger("pylib.mqtt")

# Seconds of silence before the broker is asked for a sign of life, and seconds that it has to answer.
PULSE_INTERVAL: Final = 3.0
PULSE_DEADLINE: Final = 3.0

# A verdict that was wrong would come again on the next connection, and again: where a question takes longer than its deadline
# to get there, behind a large message on a slow line, nothing would ever get through. So each verdict doubles the deadline of
# the next one, up to so many times; the first answer brings it back.
MOST_PATIENCE: Final = 64
_ROUNDING: Final = 0.001


class Pulse:
    """Asks the other side for a sign of life when it has been silent for ``interval`` seconds, and calls ``deaf`` when no
    answer comes within another ``deadline`` seconds. For the loop's thread.

    Guarantee: from the last sign of life to the verdict it takes ``interval`` plus ``deadline`` seconds at most. A verdict
    that follows another one without an answer in between waits twice as long for an answer.
    """

    __slots__ = ("_ask", "_asked_at", "_deadline", "_deaf", "_heard", "_interval", "_loop", "_patience", "_silent", "_timer")

    # Looks per interval. A sign of life is one store and no look at the clock, so it may be a look older than it seems: the
    # question comes one look early to make up for that.
    LOOKS: Final = 3

    def __init__(
        self, loop: Loop, ask: Callable[[], None], deaf: Callable[[], None], interval: float, deadline: float
    ) -> None:
        self._loop = loop
        self._ask = ask
        self._deaf = deaf
        self._interval = interval
        self._deadline = deadline
        self._heard = False
        self._silent = 0
        self._asked_at: float | None = None
        self._patience = 1
        self._timer: Timer | None = None

    @property
    def silence(self) -> float:
        """Seconds of silence that a verdict would be about now."""
        return self._interval + self._deadline * self._patience

    def start(self) -> None:
        """Begin to listen; the first question follows after the interval."""
        self.stop()
        self._heard, self._silent, self._asked_at = False, 0, None
        self._next()

    def heard(self) -> None:
        """There was a sign of life: a delivery, a confirm, an answer. Costs one store, so call it as often as you like."""
        self._heard = True

    def stop(self) -> None:
        """Ask nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> None:
        self._timer = self._loop.call_later(self._interval / self.LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        asked_at = self._asked_at
        if self._heard:
            self._heard, self._silent, self._asked_at = False, 0, None
            if asked_at is not None:
                self._patience = 1
        elif asked_at is None:
            self._silent += 1
            if self._silent >= self.LOOKS - 1:
                self._asked_at = self._loop.monotonic()
                self._ask()
        elif self._loop.monotonic() - asked_at >= self._deadline * self._patience - _ROUNDING:
            self._deaf()
            self._patience = min(2 * self._patience, MOST_PATIENCE)
            return
        self._next()


class Canary:
    """A message to ourselves: does what we publish come back? That takes a broker that reads, routes and writes, and our
    subscription. On a topic of our own, never a user's.
    """

    __slots__ = ("_told", "allowed", "sings", "topic")

    def __init__(self, client_id: str) -> None:
        self.topic = f"pylib/canary/{client_id}"
        # Whether there is any use in it, as far as this connection knows.
        self.allowed = True
        # Whether it has come back on this connection: without the permission for its topic it never does.
        self.sings = False
        self._told = False

    def fresh(self) -> None:
        """A new connection: permissions may have changed, either way."""
        self.allowed, self.sings = True, False

    def deny(self, who: str) -> None:
        """The broker does not let us have it: say so once, and do less."""
        self.allowed = False
        if not self._told:
            self._told = True
            log.info("%s: no permission for topic %s, so a lost subscription is noticed by PING alone.", who, self.topic)


class MqttPulse:
    """Signs of life of an MQTT connection: an answer to our PINGREQ says that the broker is there, the canary that it routes
    to us. Belongs to the loop's thread.

    :param who: names the broker.
    :param ping: sends PINGREQ (MQTT 5 section 3.12).
    :param sing: publishes an empty message at QoS 0 on the canary's topic.
    :param lost: told why the connection is not worth keeping.
    """

    __slots__ = ("_alive", "_lost", "_ping", "_pulse", "_sing", "_who", "canary")

    def __init__(
        self, loop: Loop, canary: Canary, who: Callable[[], str], ping: Callable[[], None], sing: Callable[[], None],
        lost: Callable[[str], None], interval: float, deadline: float,
    ) -> None:  # fmt: skip
        self.canary = canary
        self._who = who
        self._ping = ping
        self._sing = sing
        self._lost = lost
        self._alive = False
        self._pulse = Pulse(loop, self._ask, self._deaf, interval, deadline)

    def start(self) -> None:
        """The connection works from here on. The canary sings at once, so that its silence means something later."""
        self._pulse.start()
        if self.canary.allowed:
            self._sing()

    def stop(self) -> None:
        """The connection is gone."""
        self._pulse.stop()

    def delivered(self, topic: object) -> bool:
        """A message has come in. True for the canary's, which is nobody else's business."""
        self._pulse.heard()
        if topic != self.canary.topic:
            return False
        self.canary.sings = True
        return True

    def answered(self) -> None:
        """Some other packet has come in: somebody is there."""
        self._alive = True
        if not self.canary.allowed:
            self._pulse.heard()

    def _ask(self) -> None:
        self._alive = False
        self._ping()
        if self.canary.allowed:
            self._sing()

    def _deaf(self) -> None:
        silence = self._pulse.silence
        if not self._alive:
            self._lost(f"it has not answered for {silence:g} s")
        elif self.canary.sings:
            self._lost(f"it answers, but has delivered nothing for {silence:g} s, not even our own message to ourselves")
        else:  # a broker may deny a publish without a word (MQTT 5 section 3.3.5)
            self.canary.deny(self._who())
            self._pulse.start()
