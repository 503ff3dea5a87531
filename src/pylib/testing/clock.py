"""A clock that moves only when the test says so."""

from __future__ import annotations

import threading


class VirtualClock:
    """Stands in for the library's clock: ``monotonic()`` and ``time()`` in seconds, moved by ``advance()``.

    Both start at fixed values, so that a test prints the same figures each time. Any thread may call it.
    """

    def __init__(self, *, start: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        self._time = start
        self._monotonic = monotonic
        self._moved = threading.Condition()

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        with self._moved:
            return self._monotonic

    def time(self) -> float:
        """Seconds since 1970, as the machine's clock would tell them."""
        with self._moved:
            return self._time

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks; raises ValueError when negative (use ``jump`` for the wall clock)."""
        if seconds < 0:
            raise ValueError(f"Time cannot pass backwards: {seconds} s. `jump` moves the wall clock alone.")
        with self._moved:
            self._monotonic += seconds
            self._time += seconds
            self._moved.notify_all()

    def jump(self, seconds: float) -> None:
        """Set the wall clock ``seconds`` ahead, or back when negative; the monotonic clock does not notice."""
        with self._moved:
            self._time += seconds
            self._moved.notify_all()

    def wait_until(self, monotonic: float, timeout: float = 5.0) -> bool:
        """Block until ``advance`` has reached ``monotonic``; False when ``timeout`` real seconds passed first."""
        with self._moved:
            return self._moved.wait_for(lambda: self._monotonic >= monotonic, timeout)
