"""When the next message may go to a target: its rate, its failures, and what the service itself has asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from pylib.brokers.backoff import BackOff

__all__ = ["BACK_OFF", "Lane"]

BACK_OFF: Final = BackOff(first=5.0, longest=900.0)
"""Between attempts at a service that fails: from 5 s to a quarter of an hour, half of it random."""

MOST_ABANDONED: Final = 3
"""Attempts to one target that never came back. With so many, nothing more is sent to it until one of them does."""


class Lane:
    """One target's pace. For one thread; times are of the monotonic clock, in seconds."""

    __slots__ = (
        "_burst",
        "_earliest",
        "_rate_s",
        "_rng",
        "_tokens",
        "_updated",
        "abandoned",
        "attempt",
        "failures",
        "limited",
        "sending",
    )

    def __init__(self, rate_s: float, burst: int = 1, rng: Callable[[], float] = random.random) -> None:
        self._rate_s, self._burst, self._rng = rate_s, burst, rng
        self._tokens, self._updated = float(burst), 0.0
        self._earliest = 0.0
        self.sending = False
        self.attempt = 0
        self.abandoned = 0
        self.failures = 0
        self.limited = False

    def ready_at(self, now: float) -> float | None:
        """When the next message may go, ``now`` or later; ``None`` while one is under way, or too many are lost."""
        if self.sending or self.abandoned >= MOST_ABANDONED:
            return None
        self._fill(now)
        token = now if self._tokens >= 1.0 else now + (1.0 - self._tokens) * self._rate_s
        return max(token, self._earliest)

    def started(self, now: float) -> int:
        """A message goes out; its number."""
        self._fill(now)
        self._tokens = max(0.0, self._tokens - 1.0)
        self.sending = True
        self.attempt += 1
        return self.attempt

    def succeeded(self) -> None:
        self.sending, self.failures, self.limited = False, 0, False

    def failed(self, now: float, retry_after: float | None = None, limited: bool = False) -> float:
        """An attempt failed; the time, in seconds, until the next. What the service asks for is waited for in full."""
        self.sending, self.limited = False, limited
        self.failures += 1
        delay = max(BACK_OFF.delay(self.failures, self._rng), retry_after or 0.0)
        self._earliest = now + delay
        return delay

    def _fill(self, now: float) -> None:
        if self._rate_s <= 0:
            self._tokens = float(self._burst)
        elif self._updated:
            self._tokens = min(float(self._burst), self._tokens + (now - self._updated) / self._rate_s)
        self._updated = now
