"""The runtime: one object that owns the ZeroMQ context, every socket, every thread, the latch and the reason to stop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import zmq

from pylib.runtime.clock import SYSTEM_CLOCK, Clock
from pylib.runtime.here import CURRENT
from pylib.runtime.latch import Latch, StopCause
from pylib.runtime.receipts import Receipts
from pylib.runtime.shutdown import Shutdown
from pylib.runtime.sockets import SocketRegistry
from pylib.runtime.supervisor import Supervisor
from pylib.runtime.watchdog import Watchdog

__all__ = ["Runtime", "current", "reset_default"]

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that the whole staged stop may take.
STOP_BUDGET = 0.7
#: Seconds after which a process whose stop hangs is ended, where the runtime owns the process.
EXIT_DEADLINE = 5.0


class Runtime:
    """One application's inside. Two of them live in one process without noticing each other.

    Making one opens a pipe and nothing else; the context, the sockets and the watchdog's thread come with first use.
    Any thread may use it.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, latch: Latch | None = None, stop_budget: float = STOP_BUDGET) -> None:
        self.clock = clock
        self.latch = latch if latch is not None else Latch()
        self.receipts = Receipts()
        self.stop_budget = stop_budget
        self.exit_deadline = EXIT_DEADLINE
        # Set by a signal handler: this runtime's stop is the process's stop.
        self.owns_process = False
        self._context: zmq.Context[Any] | None = None
        self._lock = threading.Lock()
        self._registry: SocketRegistry | None = None
        self.watchdog = Watchdog(self)
        self.supervisor = Supervisor(self)
        self._shutdown = Shutdown(self)
        self._closers: list[Callable[[], None]] = []

    @property
    def context(self) -> zmq.Context[Any]:
        """The ZeroMQ context, made when first asked for."""
        if self._context is None:
            with self._lock:
                if self._context is None:
                    self._context = zmq.Context()
        return self._context

    @property
    def sockets(self) -> SocketRegistry:
        """The registry of this runtime's sockets."""
        if self._registry is None:
            context = self.context
            with self._lock:
                if self._registry is None:
                    self._registry = SocketRegistry(context, self.latch, self.receipts, self.clock.monotonic)
        return self._registry

    @property
    def stopping(self) -> bool:
        return self.latch.tripped

    @property
    def exit_code(self) -> int:
        cause = self.latch.cause
        return cause.exit_code if cause is not None else 0

    def trip(self, exception: BaseException | type[BaseException] | None = None) -> None:
        """Ask for a stop; an exception (or its class) makes it a failure. Safe in a signal handler."""
        self.latch.trip(StopCause.of(exception, threading.current_thread().name))

    def stop(self, budget: float | None = None) -> list[str]:
        """Run the staged stop, at most ``budget`` seconds (default: ``stop_budget``). Returns what was left behind."""
        left = self._shutdown.run(self.stop_budget if budget is None else budget)
        closers, self._closers = self._closers, []
        for call in reversed(closers):
            call()
        self.watchdog.close()
        return left

    def on_stopped(self, call: Callable[[], None]) -> None:
        """Have a call made by the stopping thread after the last stage: handlers put back, reports flushed."""
        self._closers.append(call)

    def dismiss(self, member: Any, budget: float) -> bool:
        """End one member and wait for it; the others go on."""
        return self._shutdown.dismiss(member, budget)

    def run(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Make a call with this runtime as the current one: for plain threads and executors, which do not inherit it."""
        with self.active():
            return call(*args, **named)

    @contextlib.contextmanager
    def active(self) -> Iterator[Runtime]:
        """Make this the current runtime within the block, for the calling thread or task."""
        token = CURRENT.set(self)
        try:
            yield self
        finally:
            CURRENT.reset(token)


_default: Runtime | None = None
_default_lock = threading.Lock()


def current() -> Runtime:
    """The runtime of the calling thread: the one made active in it, else the process's default, made on first use."""
    runtime = CURRENT.get()
    if runtime is not None:
        return runtime
    global _default  # the one process-wide name, behind which the facade's module-level names stand
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Runtime()
    return _default


def reset_default(runtime: Runtime | None = None) -> Runtime | None:
    """Replace the process's default runtime, for tests and early start-up. Returns the one that was there."""
    global _default
    with _default_lock:
        previous, _default = _default, runtime
    return previous
