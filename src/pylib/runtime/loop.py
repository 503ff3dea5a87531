"""The loop: a thread's one wait, over its ZeroMQ sockets, its descriptors, its timers and what others post to it."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import zmq

from pylib.runtime.clock import SYSTEM_CLOCK, Clock
from pylib.runtime.gate import WakeUp

if TYPE_CHECKING:
    from pylib.runtime.member import Member

__all__ = ["READ", "WRITE", "Loop", "Timer"]

READ: Final = zmq.POLLIN
WRITE: Final = zmq.POLLOUT
ERROR: Final = zmq.POLLERR

Handler = Callable[[int], None]


class Timer:
    """A call that is due once. ``cancel`` may be called from the loop's thread at any time, also twice."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """One thread's only ``while``. Everything but ``post`` and ``stop`` belongs to the thread that runs it.

    What is ready is handled in batches: every wake-up serves all ready sockets once (each handler drains up to its own
    bound), then due timers, then what was posted, then what was deferred to the batch's end. Nothing polls: with nothing
    to do the thread sleeps until the next timer, however far away.

    A handler that raises ends ``run`` with that exception: the supervisor decides what follows.
    """

    __slots__ = (
        "_clock",
        "_count",
        "_deferred",
        "_handlers",
        "_member",
        "_poller",
        "_posted",
        "_stopped",
        "_timers",
        "_wake_up",
    )

    def __init__(self, member: Member | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._member = member
        self._poller = zmq.Poller()
        self._handlers: dict[object, Handler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._posted: deque[Callable[[], object]] = deque()
        self._deferred: dict[Callable[[], object], None] = {}
        self._wake_up = WakeUp()
        self._stopped = False
        self.watch(self._wake_up.fileno(), READ, self._woken)

    # -- from any thread ---------------------------------------------------------------------------------------------

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop's thread make this call soon. Thread-safe, never blocks, safe in a signal handler."""
        self._posted.append(call)
        self._wake_up.ring()

    def stop(self) -> None:
        """Have ``run`` return after the current batch. Thread-safe."""
        self._stopped = True
        self._wake_up.ring()

    # -- from the loop's own thread ----------------------------------------------------------------------------------

    def watch(self, source: object, mask: int, handler: Handler) -> None:
        """Call ``handler(ready_mask)`` whenever the socket or descriptor is ready; again with another mask to change it."""
        self._handlers[source] = handler
        self._poller.register(source, mask)

    def unwatch(self, source: object) -> None:
        """Forget a source; unknown ones are ignored. Do so before a descriptor is closed, or the poll spins on it."""
        if self._handlers.pop(source, None) is not None and source in self._poller:  # a mask of 0 has taken it out
            self._poller.unregister(source)

    def call_later(self, delay: float, call: Callable[[], object]) -> Timer:
        """Make a call after ``delay`` seconds."""
        timer = Timer(self._clock.monotonic() + max(0.0, delay), call)
        heapq.heappush(self._timers, (timer.due, next(self._count), timer))
        return timer

    def defer(self, call: Callable[[], object]) -> None:
        """Make a call once at the end of the current batch, however often it is asked for: acknowledgements, flushes."""
        self._deferred[call] = None

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def time(self) -> float:
        """The wall clock, seconds since the epoch."""
        return self._clock.time()

    def run(self) -> None:
        """Serve until ``stop``. The only wait of its thread."""
        member, poll, handlers, posted = self._member, self._poller.poll, self._handlers, self._posted
        monotonic = self._clock.monotonic
        # Not reset here: a stop that was asked for before the thread came this far counts.
        while not self._stopped:
            timeout = self._timeout()
            if member is not None:
                member.busy_since = None
            events = poll(timeout)
            if member is not None:
                member.busy_since = monotonic()
            for source, mask in events:
                handler = handlers.get(source)
                if handler is not None:  # an earlier handler of this batch may have unwatched it
                    handler(mask)
            if self._timers:
                self._run_timers()
            for _ in range(len(posted)):
                posted.popleft()()
            if self._deferred:
                self._run_deferred()
        self._stopped = False
        if member is not None:
            member.busy_since = None

    def close(self) -> None:
        """Give the wake-up back. After ``run`` has returned; the sources belong to whoever watched them."""
        self.unwatch(self._wake_up.fileno())
        self._wake_up.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _woken(self, mask: int) -> None:
        self._wake_up.hush()

    def _timeout(self) -> int | None:
        """Milliseconds until something is due, rounded up so that a timer is never early and never spun for."""
        if self._posted or self._deferred:
            return 0
        timers = self._timers
        while timers and timers[0][2].call is None:
            heapq.heappop(timers)
        if not timers:
            return None
        return max(0, int((timers[0][0] - self._clock.monotonic()) * 1000.0 + 0.999))

    def _run_timers(self) -> None:
        timers, now = self._timers, self._clock.monotonic()
        while timers and timers[0][0] <= now:
            call = heapq.heappop(timers)[2].call
            if call is not None:
                call()

    def _run_deferred(self) -> None:
        deferred, self._deferred = self._deferred, {}
        for call in deferred:
            call()
