"""The staged stop: sources, pipes, bridges, context; each stage with its share of one deadline."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from pylib.runtime.here import HERE
from pylib.runtime.latch import StopCause
from pylib.runtime.member import Member, Role
from pylib.runtime.receipts import settle_handling

if TYPE_CHECKING:
    from pylib.runtime.runtime import Runtime

__all__ = ["Shutdown"]

log = logging.getLogger("pylib.shutdown")

# How the budget is shared. A stage that needs less leaves the rest to the next ones.
PIPES_SHARE = 0.4
CONTEXT_RESERVE = 0.1


class Shutdown:
    """Stops one runtime, once. The sum of all waits is bounded by the budget; what did not stop is named.

    1. trip: the latch is set, ``shutting_down`` is true;
    2. sources stop consuming, their connections stay open so that acknowledgements can still leave;
    3. pipes drain, last started first;
    4. bridges flush, settle and close;
    5. the caller's own sockets are closed and the context terminates in a watched helper.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._done = False
        self._left: list[str] = []

    def run(self, budget: float) -> list[str]:
        """Stop everything within ``budget`` seconds. Returns a description of each thread or socket left behind.

        Any thread that is not a member may call it; a second call returns at once, with what the first has found.
        """
        with self._lock:
            if self._done:
                return list(self._left)
            self._done = True
        runtime = self._runtime
        clock = runtime.clock
        end = clock.monotonic() + budget
        runtime.latch.trip(StopCause.of(None, threading.current_thread().name))
        settle_handling()
        members = runtime.supervisor.members()
        for member in reversed(members):
            if member.stop_consuming is not None:
                member.stop_consuming()
        pipes_end = clock.monotonic() + (end - clock.monotonic()) * PIPES_SHARE
        for member in reversed([member for member in members if member.role is Role.PIPE]):
            self._dismiss(member, pipes_end)
        bridges = [member for member in members if member.role is Role.BRIDGE]
        for member in reversed(bridges):
            self._ask(member, end - CONTEXT_RESERVE - clock.monotonic())
        for member in reversed(bridges):
            self._join(member, end - CONTEXT_RESERVE)
        # Whoever came after a straggler in the pipes' stage had no time there: only who does not end now is one, too.
        for member in members:
            self._join(member, end - CONTEXT_RESERVE)
        left = [f"thread {text}" for text in runtime.supervisor.name_stragglers()]
        left += self._terminate_context(max(CONTEXT_RESERVE, end - clock.monotonic()))
        for text in left:
            log.error("Did not stop in time: %s", text)
        self._left = left
        return left

    def dismiss(self, member: Member, budget: float) -> bool:
        """End one member alone and wait for it, at most ``budget`` seconds. True if it has ended."""
        if member.stop_consuming is not None:
            member.stop_consuming()
        self._dismiss(member, self._runtime.clock.monotonic() + budget)
        return not member.alive

    def _dismiss(self, member: Member, end: float) -> None:
        self._ask(member, end - self._runtime.clock.monotonic())
        self._join(member, end)

    def _ask(self, member: Member, seconds: float) -> None:
        if member.finish is not None:
            member.finish(max(0.0, seconds))
        member.gate.open()

    def _join(self, member: Member, end: float) -> None:
        thread = member.thread
        if thread is None or thread is threading.current_thread() or HERE.member is member:
            return
        if thread.ident is not None and not member.hung:  # a hung one does not come back: do not wait for it
            thread.join(max(0.0, end - self._runtime.clock.monotonic()))

    def _terminate_context(self, seconds: float) -> list[str]:
        """Terminate the ZeroMQ context without ever hanging in it: one socket left open would block it for good."""
        runtime = self._runtime
        runtime.sockets.close_mine()
        runtime.sockets.close_orphans()
        left = [f"socket {socket.describe()}" for socket in runtime.sockets.all()]
        if left:
            return left
        helper = threading.Thread(name="pylib-context-term", target=runtime.context.term, daemon=True)
        helper.start()
        helper.join(seconds)
        return ["the ZeroMQ context: a socket that was opened past the library is still open"] if helper.is_alive() else []
