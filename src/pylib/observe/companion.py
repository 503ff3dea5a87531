"""A supervised thread beside the application's own, that does one small thing at intervals: a ping, a sign of life."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from pylib.runtime.loop import READ, Loop
from pylib.runtime.member import Member, RestartPolicy
from pylib.runtime.runtime import Runtime

__all__ = ["Companion"]

log = logging.getLogger("pylib.observe")

#: Such a thread is no reason to stop an application: it is started again, and left alone after so many deaths a minute.
RESTARTS: Final = RestartPolicy(limit=5, within=60.0)
#: Seconds that one ``work`` may take before it is named in the log as hung.
DEADLINE: Final = 60.0


class Companion:
    """Calls ``work`` at once and then every so many seconds, on a thread of its own, until the runtime stops.

    :param work: may block for a while. What it raises is logged, and it is called again.
    :param apart: ``work`` waits for somebody outside: each call of it gets a thread of its own, so that a stop need not wait
        for it, and there is none while the last one is still at it.
    :param on_trip: called, on that thread, as soon as a stop is asked for.
    """

    def __init__(
        self, runtime: Runtime, name: str, every_s: float, work: Callable[[], None], *, apart: bool = False,
        on_trip: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._every = every_s
        self._work = work
        self._on_trip = on_trip
        self._apart = apart
        self._helper: threading.Thread | None = None
        self._member = Member(name, policy=RESTARTS, deadline=DEADLINE, tracked=False)

    def start(self) -> None:
        """Start the thread; once. Any thread."""
        member, runtime = self._member, self._runtime
        member.thread = threading.Thread(
            target=runtime.supervisor.live, args=(member, self._run), name=member.name, daemon=True
        )
        runtime.supervisor.admit(member)
        member.thread.start()

    def _run(self) -> None:
        member = self._member
        loop = Loop(member, self._runtime.clock)
        member.loop = loop
        latch, gate = self._runtime.latch.gate.fileno(), member.gate.fileno()

        def tripped(mask: int) -> None:
            loop.unwatch(latch)  # it stays readable
            if self._on_trip is not None:
                self._on_trip()

        def ended(mask: int) -> None:
            loop.unwatch(gate)
            loop.stop()

        loop.watch(latch, READ, tripped)
        loop.watch(gate, READ, ended)
        self._tick(loop, loop.monotonic())
        try:
            loop.run()
        finally:
            member.loop = None
            loop.close()

    def _tick(self, loop: Loop, due: float) -> None:
        self._member.busy_since = loop.monotonic()
        if not self._apart:
            self._guarded()
        elif self._helper is None or not self._helper.is_alive():
            self._helper = threading.Thread(target=self._guarded, name=f"{self._member.name} at work", daemon=True)
            self._helper.start()
        # From the moment it was due, so that it does not drift; what was slept through is not made up for.
        due = max(due + self._every, loop.monotonic())
        loop.call_later(due - loop.monotonic(), lambda: self._tick(loop, due))

    def _guarded(self) -> None:
        try:
            self._work()
        except Exception as error:
            log.warning("%s: %s: %s; trying again in %g s.", self._member.name, type(error).__name__, error, self._every)
