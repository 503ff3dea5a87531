"""A member: what a runtime knows of one of its threads."""

from __future__ import annotations

import enum
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pylib.runtime.gate import Gate

if TYPE_CHECKING:
    from pylib.runtime.loop import Loop
    from pylib.runtime.wiring import Link

__all__ = ["STOP", "Member", "RestartPolicy", "Role", "stack_of"]

#: Seconds that a thread may work on one thing before it is reported as hung.
DEFAULT_DEADLINE = 30.0


class Role(enum.Enum):
    """Where a thread stands in the stop: pipes drain before bridges close."""

    PIPE = "pipe"
    BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """What follows a thread's death, in the manner of OTP's supervisors.

    The default, ``limit=0``, ends the application with exit code 1 so that it is restarted from outside. Otherwise the
    thread's ``run`` is started again after a back-off, up to ``limit`` times within ``within`` seconds; one death more
    and the application ends after all.
    """

    limit: int = 0
    within: float = 60.0
    first_delay: float = 0.05
    max_delay: float = 5.0

    def delays(self, monotonic: Callable[[], float]) -> Iterator[float]:
        """The back-off before each restart; exhausted when the intensity limit is."""
        deaths: list[float] = []
        while True:
            now = monotonic()
            deaths = [at for at in deaths if now - at < self.within]
            if len(deaths) >= self.limit:
                return
            yield min(self.max_delay, self.first_delay * 2.0 ** len(deaths))
            deaths.append(now)


STOP = RestartPolicy()


@dataclass(slots=True, eq=False)
class Member:
    """One supervised thread. Written by that thread and its supervisor; anyone may read."""

    name: str
    role: Role = Role.PIPE
    policy: RestartPolicy = STOP
    deadline: float = DEFAULT_DEADLINE
    # Opened when it is this thread's turn to end: its sockets and its loop watch it.
    gate: Gate = field(default_factory=Gate)
    thread: threading.Thread | None = None
    loop: Loop | None = None
    # Seconds (monotonic) since which the thread has been working on one thing; None while it waits.
    busy_since: float | None = None
    tracked: bool = True
    restarts: int = 0
    last_error: BaseException | None = None
    # When it died (seconds since the epoch), while it waits to be started again; 0.0 while it runs.
    down_since: float = 0.0
    hung: bool = False
    # Called on the stopping thread, in stage one: take nothing new from outside. Must only post.
    stop_consuming: Callable[[], None] | None = None
    # Called on the stopping thread when it is this thread's turn: finish within so many seconds. Must only post.
    finish: Callable[[float], None] | None = None
    # What this thread knows of a connection that it keeps, for the drawing of the application. Any thread may call it.
    link: Callable[[], Link | None] | None = None

    @property
    def alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


def stack_of(thread: threading.Thread | None) -> str:
    """Where a thread is right now, as text."""
    frame = sys._current_frames().get(thread.ident) if thread is not None and thread.ident is not None else None
    if frame is None:
        return "(no stack: the thread has ended)"
    return "".join(traceback.format_stack(frame)).rstrip()
