"""Exponential back-off with jitter, and the list of addresses that is tried in turn."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pylib.errors import AccessRefused, DependencyError
from pylib.runtime.loop import Loop, Timer

__all__ = ["BackOff", "Reconnector"]

# A connection that lasted at least so many seconds, and twice as long as we had waited for it, stood; a shorter one counts
# as one more failure. Otherwise a connection that is accepted and dropped at once (two clients with one client id, a message
# that the broker hangs up on) would be made again in a tight loop.
STEADY: Final = 3.0

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before the next attempt: doubling from ``first`` to ``longest`` seconds.

    Half of each delay is random, so that a hundred clients of one broker do not come back in one instant.
    """

    first: float = 0.1
    longest: float = 4.0
    # Refused credentials do not mend themselves in a moment, and brokers lock out who knocks too fast.
    refused: float = 10.0

    def delay(self, failures: int, rng: Callable[[], float] = random.random) -> float:
        """Seconds to wait after so many failures in a row (1 or more)."""
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return whole / 2 + rng() * whole / 2


class Reconnector(Generic[A]):
    """Decides when and where the next attempt is made. For the loop's thread.

    ``attempt(address)`` starts one; the owner reports back with ``succeeded`` or ``failed``. The addresses are tried in
    turn, and only after the last one comes the back-off.
    """

    __slots__ = (
        "_addresses", "_attempt", "_back_off", "_delay", "_failures", "_flaps", "_loop", "_next", "_timer", "_up_since",
    )  # fmt: skip

    def __init__(
        self, loop: Loop, addresses: Sequence[A], attempt: Callable[[A], None], back_off: BackOff = BackOff()
    ) -> None:
        self._loop = loop
        self._addresses = tuple(addresses)
        self._attempt = attempt
        self._back_off = back_off
        self._next = 0
        self._failures = 0
        self._flaps = 0
        self._delay = 0.0
        self._up_since: float | None = None
        self._timer: Timer | None = None

    @property
    def flapping(self) -> int:
        """How many connections in a row have not lasted, the present one left out."""
        return 0 if self._steady() else self._flaps

    def start(self) -> None:
        """Make the first attempt now."""
        self._attempt(self._addresses[self._next])

    def succeeded(self) -> None:
        """The connection is up: if it lasts, the next failure starts from the shortest delay."""
        self._up_since = self._loop.monotonic()

    def failed(self, error: DependencyError) -> float:
        """The attempt failed or the connection was lost: plan the next one. Returns the delay in seconds."""
        if self._steady():
            self._failures = self._flaps = 0
        elif self._up_since is not None:
            self._flaps += 1
        self._up_since = None
        self._next = (self._next + 1) % len(self._addresses)
        self._failures += 1
        rounds, rest = divmod(self._failures, len(self._addresses))
        delay = 0.0 if rest else self._back_off.delay(rounds)
        if isinstance(error, AccessRefused):
            delay = max(delay, self._back_off.refused)
        self._delay = delay
        self.cancel()
        self._timer = self._loop.call_later(delay, self.start)
        return delay

    def _steady(self) -> bool:
        since = self._up_since
        return since is not None and self._loop.monotonic() - since >= max(STEADY, 2 * self._delay)

    def cancel(self) -> None:
        """Plan nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
