"""The thread nanny: runs each thread's life, learns of its death at once, and decides what follows."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from zmq.error import ContextTerminated

from pylib.errors import DependencyError, ThreadDied
from pylib.runtime.gate import wait_for_any
from pylib.runtime.here import CURRENT, HERE
from pylib.runtime.latch import StopCause
from pylib.runtime.member import Member, stack_of
from pylib.runtime.receipts import fail_handling, settle_handling

if TYPE_CHECKING:
    from pylib.runtime.runtime import Runtime

__all__ = ["Supervisor"]

log = logging.getLogger("pylib.supervisor")


class Supervisor:
    """Keeps the members of one runtime, in start order, and runs their lives.

    A death is handled by the dying thread itself, in its last moments: nobody has to look for it, so it is known at once.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._members: list[Member] = []
        # Told of every death that is a fault: (error, thread name, label of the delivery at hand). Must not block.
        self.report: Callable[[BaseException, str, str], None] | None = None

    def members(self) -> list[Member]:
        """The members that have started, oldest first. Any thread."""
        with self._lock:
            return list(self._members)

    def admit(self, member: Member) -> None:
        with self._lock:
            self._members.append(member)
        self._runtime.watchdog.notice(member)

    def dismiss(self, member: Member) -> None:
        with self._lock:
            if member in self._members:
                self._members.remove(member)

    def live(self, member: Member, body: Callable[[], None]) -> None:
        """A thread's whole life, on that thread: run the body, restart it as its policy allows, report its death."""
        CURRENT.set(self._runtime)
        HERE.member = member
        try:
            for delay in member.policy.delays(self._runtime.clock.monotonic):
                error = self._attempt(member, body)
                if error is None:
                    return
                self._mourn(member, error, f"restarting it in {delay * 1000:.0f} ms")
                member.restarts += 1
                member.down_since = self._runtime.clock.time()
                if wait_for_any((self._runtime.latch.gate, member.gate), delay):
                    return
            error = self._attempt(member, body)
            if error is not None:
                fate = "stopping" if member.tracked else "going on without it"
                if member.policy.limit:
                    fate = f"{fate}: that was restart {member.restarts} within {member.policy.within:g} s"
                away = isinstance(error, DependencyError)
                if not away or not member.tracked:
                    self._mourn(member, error, fate)
                if member.tracked:
                    reason = f"thread {member.name!r} died: {_words(error)}"
                    first = self._runtime.latch.trip(StopCause(reason, 1, error, member.name, told=away))
                    if away and first:  # several threads lose one broker together: one line says so
                        log.error("%s: %s; %s.", member.name, error, fate)
        finally:
            self._bury(member)

    def _attempt(self, member: Member, body: Callable[[], None]) -> BaseException | None:
        """One run of the body. None if it ended as it may: because it was asked to."""
        member.busy_since, member.down_since = self._runtime.clock.monotonic(), 0.0
        try:
            body()
        except ContextTerminated as error:
            # A recv has settled the message before it. What is still in hand could not be sent, or was held and not dealt
            # with: its broker must not hear that it was.
            fail_handling(error)
            return None if self._ending(member) else ThreadDied("its ZeroMQ context was terminated under it")
        except SystemExit as error:
            # A thread that exits the process by name gets its way, with its code.
            fail_handling(error)
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            self._runtime.latch.trip(StopCause(f"thread {member.name!r} asked to exit", code, None, member.name))
            return None
        except BaseException as error:
            label = HERE.receipts[0].label if HERE.receipts else ""
            fail_handling(error)
            if self._ending(member):
                log.debug("Thread %s ended with %s while stopping.", member.name, _words(error), exc_info=True)
                return None
            seen = member.last_error is error  # an exception_handler inside the thread has reported it
            member.last_error = error
            if self.report is not None and not seen and not isinstance(error, ResourceWarning):
                self.report(error, member.name, label)
            return error
        finally:
            member.busy_since = None
        if HERE.holding:
            fail_handling(ThreadDied("the thread ended between hold() and settle()"))
        settle_handling()
        if self._ending(member) or not member.tracked:
            return None
        early = ThreadDied("its run() returned although nobody had asked it to stop")
        member.last_error = early
        return early

    def _ending(self, member: Member) -> bool:
        return self._runtime.latch.tripped or member.gate.is_open

    def _mourn(self, member: Member, error: BaseException, fate: str) -> None:
        trace = ""
        reported = self.report is not None and not isinstance(error, ThreadDied)  # the report has shown the stack
        if error.__traceback__ is not None and not isinstance(error, ResourceWarning) and not reported:
            trace = "\n" + "".join(traceback.format_exception(error)).rstrip()
        log.error("Thread %s died (%s); %s.%s", member.name, _words(error), fate, trace)

    def _bury(self, member: Member) -> None:
        self._runtime.sockets.close_mine()
        self.dismiss(member)
        HERE.member = None

    def name_stragglers(self) -> list[str]:
        """One description for each member that is still alive: name, stack, sockets."""
        found = []
        for member in self.members():
            if member.alive and member.thread is not threading.current_thread():
                mine = [socket.describe() for socket in self._runtime.sockets.all() if socket.owner is member]
                sockets = ("\n  holding " + "\n  holding ".join(mine)) if mine else ""
                found.append(f"{member.name}{sockets}\n{stack_of(member.thread)}")
        return found


def _words(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
