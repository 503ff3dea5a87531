"""The threads that plain handlers and timers run on: one pipe and one function each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from zmq.error import Again, ContextTerminated

from pylib.app import AppThread, LoopThread, RestartPolicy
from pylib.application.results import Outlets
from pylib.brokers.port import Delivery
from pylib.brokers.turns import OUT_OF_TURN, Turns
from pylib.errors import MessageError
from pylib.observe.reporting import report
from pylib.runtime.here import HERE
from pylib.runtime.loop import READ, Loop
from pylib.runtime.receipts import fail_handling, settle_handling
from pylib.zmq import Closable

__all__ = ["WORKER_RESTARTS", "Call", "TimerThread", "Worker", "failed"]

log = logging.getLogger("pylib.application")

BATCH: Final = 200
"""Messages handled per wake-up of a worker."""

DRAIN: Final = 0.1
"""Seconds, at a stop, for what waits in a handler's pipe. What is left then was not acknowledged, and comes again."""

WORKER_RESTARTS: Final = RestartPolicy(limit=5, within=60.0)
"""A handler's thread that dies of something other than a message is started again, so often within a minute."""

Call = Callable[[Delivery], Any]


class Worker(LoopThread, Closable):
    """Runs a handler: takes deliveries from its pipe, calls the function, sends what it returns.

    A failure costs the one message: it is tried again later, and becomes a dead letter in the end. Those of the same key that
    are in the pipe behind it are refused, and come again behind it.

    :param who: the handler's name; several workers may share one.
    :param order: what keeps messages in order. Must not raise.
    """

    def __init__(
        self, name: str, who: str, url: str, call: Call, outlets: Mapping[str, str], order: Callable[[Delivery], str],
        deadline: float,
    ) -> None:  # fmt: skip
        AppThread.__init__(self, name, restart=WORKER_RESTARTS, deadline=deadline)
        Closable.__init__(self, connect_url=url)
        self._who = who
        self._call = call
        self._outlets = Outlets(self, outlets)
        self._turns = Turns(order)

    def arrange(self, loop: Loop) -> None:
        loop.watch(self.socket, READ, self._readable)

    def drain(self, loop: Loop) -> None:
        end = loop.monotonic() + DRAIN
        # A call that takes long is not followed by another one: a stop is a matter of tenths of a second.
        while self._serve(1) and loop.monotonic() < end:
            pass
        loop.stop()

    def _readable(self, mask: int) -> None:
        self._serve(BATCH)

    def _serve(self, most: int) -> bool:
        """Handle so many messages. False if there was none left."""
        member, monotonic, turns = self.member, self.runtime.clock.monotonic, self._turns
        held = turns.held
        for _ in range(most):
            try:
                delivery, _carried = self.socket.take()
            except Again:
                return False
            if held and turns.refuses(delivery):
                fail_handling(OUT_OF_TURN)
                continue
            member.busy_since = monotonic()
            try:
                result = self._call(delivery)
                if result is not None:
                    self._outlets.send(result, delivery, self._who)
            except ContextTerminated:
                raise
            except Exception as error:
                turns.failed(delivery, final=isinstance(error, MessageError))
                failed(self._who, delivery, error)
            except BaseException:  # the end of this life of the thread: the next one goes on behind this message
                turns.hold(delivery)
                raise
            else:
                if held:
                    turns.succeeded(delivery)
                settle_handling()
            if member.gate.is_open:
                break
        return True


def failed(who: str, delivery: Delivery, error: Exception) -> None:
    """A handler raised: fail the message at hand. Its broker's thread says what follows."""
    orphan = not HERE.receipts
    fail_handling(error)
    retried = not delivery.tag and delivery.redelivered  # from the retry store: its stack was shown the first time
    if isinstance(error, MessageError):
        if orphan:
            log.warning("%s: a message on %s was dropped: %s", who, delivery.address, error)
    elif not retried:
        report(error, thread=who, topic=delivery.address)


class TimerThread(LoopThread, Closable):
    """Calls functions at intervals and sends what they return."""

    def __init__(self, calls: Sequence[tuple[float, Callable[[], Any], str]], url: str, outlets: Mapping[str, str]) -> None:
        AppThread.__init__(self, "timers", restart=WORKER_RESTARTS)
        Closable.__init__(self, connect_url=url)
        self._calls = calls
        self._outlets = Outlets(self, outlets)

    def arrange(self, loop: Loop) -> None:
        for interval, call, name in self._calls:
            self._fire(loop, loop.monotonic(), interval, call, name)

    def _fire(self, loop: Loop, due: float, interval: float, call: Callable[[], Any], name: str) -> None:
        self.member.busy_since = loop.monotonic()
        try:
            self._outlets.send(call(), None, name)
        except ContextTerminated:
            raise
        except Exception as error:
            report(error, thread=name)
            log.warning("%s failed; it is called again in %g s.", name, interval)
        # From the moment it was due, so that it does not drift; what was slept through is not made up for.
        due = max(due + interval, loop.monotonic())
        loop.call_later(due - loop.monotonic(), lambda: self._fire(loop, due, interval, call, name))
