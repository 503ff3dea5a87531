"""The watchdog: a thread that notices work that takes too long, signals that nobody takes, and a stop that hangs."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from pylib.errors import ThreadDied
from pylib.runtime.latch import StopCause
from pylib.runtime.loop import READ, Loop
from pylib.runtime.member import Member, stack_of

if TYPE_CHECKING:
    from pylib.runtime.runtime import Runtime

__all__ = ["Watchdog"]

log = logging.getLogger("pylib.watchdog")


class Watchdog:
    """Started with the first member. Sleeps between looks; a look costs microseconds and comes four times a deadline.

    A Python thread cannot be killed, so a hung one is named with its stack and the application stops. Where the runtime
    owns the process (a signal handler was installed), a stop that outlasts ``runtime.exit_deadline`` ends the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._period = float("inf")
        self._signals: tuple[int, Callable[[], None]] | None = None
        self._exit_armed = False
        self._closed = False

    def notice(self, member: Member) -> None:
        """A member has started: look at it often enough for its deadline. Any thread."""
        self.start()
        period = max(0.01, member.deadline / 4.0)
        if member.tracked and period < self._period and self._loop is not None:
            self._period = period
            self._loop.post(self._look)

    def watch_signals(self, descriptor: int, handler: Callable[[], None]) -> None:
        """Have signals noticed here too: Python's own handlers run on the main thread only, which may be stuck in C."""
        self._signals = (descriptor, handler)
        self.start()

    def start(self) -> None:
        with self._lock:
            if self._closed:  # a thread that starts after the stop ends at once: there is nothing to watch
                return
            if self._thread is None:
                self._loop = Loop(clock=self._runtime.clock)
                self._thread = threading.Thread(name="pylib-watchdog", target=self._run, daemon=True)
                self._thread.start()
            elif self._signals is not None and self._loop is not None:
                self._loop.post(self._listen)

    def close(self, timeout: float = 1.0) -> None:
        """Stop looking, for good. By the thread that ends the runtime."""
        with self._lock:
            self._closed = True
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread is not threading.current_thread():
            loop.stop()
            thread.join(timeout)
            if not thread.is_alive():
                loop.close()
                with self._lock:
                    self._loop = self._thread = None
                    self._period = float("inf")

    def _run(self) -> None:
        loop = self._loop
        if loop is None:
            return
        self._listen()
        latch_fd = self._runtime.latch.gate.fileno()

        def tripped(mask: int) -> None:
            loop.unwatch(latch_fd)  # the gate stays readable: once is enough
            self._arm_exit()

        loop.watch(latch_fd, READ, tripped)
        loop.run()

    def _listen(self) -> None:
        if self._signals is not None and self._loop is not None:
            descriptor, handler = self._signals
            self._loop.watch(descriptor, READ, lambda mask: handler())

    def _look(self) -> None:
        if self._loop is None or self._runtime.latch.tripped:
            return
        now = self._runtime.clock.monotonic()
        for member in self._runtime.supervisor.members():
            since = member.busy_since
            if since is not None and now - since > member.deadline and not member.hung:
                self._hung(member, now - since)
        period = self._period
        self._loop.call_later(period, lambda: self._look() if period == self._period else None)

    def _hung(self, member: Member, seconds: float) -> None:
        member.hung = True
        stack = stack_of(member.thread)
        log.error("Thread %s has been busy with one thing for %.1f s (its deadline is %g s); it is here:\n%s",
                  member.name, seconds, member.deadline, stack)  # fmt: skip
        if member.tracked:
            error = ThreadDied(f"thread {member.name!r} hung for {seconds:.1f} s at:\n{stack}")
            self._runtime.latch.trip(StopCause(f"thread {member.name!r} hung for {seconds:.1f} s", 1, error, member.name))

    def _arm_exit(self) -> None:
        if self._runtime.owns_process and self._loop is not None and not self._exit_armed:
            self._exit_armed = True
            self._loop.call_later(self._runtime.exit_deadline, self._exit)

    def _exit(self) -> None:
        """The stop itself hangs: say where everyone is, and go."""
        deadline = self._runtime.exit_deadline
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                log.error("Still running %.1f s after the stop: %s at:\n%s", deadline, thread.name, stack_of(thread))
        cause = self._runtime.latch.cause
        logging.shutdown()
        os._exit(cause.exit_code if cause is not None and cause.exit_code else 1)
