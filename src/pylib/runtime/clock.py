"""Time as a parameter: whoever needs the time is given a clock, so that a test can give it another."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock"]


class Clock(Protocol):
    """Promises: ``monotonic`` never runs backwards; ``time`` is the wall clock, which may jump."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. For deadlines, timers and back-off."""

    def time(self) -> float:
        """Seconds since the epoch. For what other machines read: time stamps and ages of messages."""


class SystemClock:
    """The clock of the machine. Any thread may call it."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()


SYSTEM_CLOCK: Clock = SystemClock()
