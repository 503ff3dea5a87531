"""What is due later: expiring messages and queues. Whoever drives the broker runs it when the time has come."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

__all__ = ["Agenda", "Appointment"]

#: Appointments from which on cancelled ones are looked for.
TIDY_FROM = 256


class Appointment:
    """A call that is due once; ``cancel`` may be called at any time, also twice."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class Agenda:
    """Appointments in order of time, on the clock that is given (seconds, never backwards)."""

    __slots__ = ("_count", "_heap", "_tidy_at", "now")

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Appointment]] = []
        self._count = itertools.count()
        self._tidy_at = TIDY_FROM

    def at(self, due: float, call: Callable[[], object]) -> Appointment:
        appointment = Appointment(due, call)
        heapq.heappush(self._heap, (due, next(self._count), appointment))
        if len(self._heap) > self._tidy_at:
            self._tidy()
        return appointment

    def _tidy(self) -> None:
        """Take out what was cancelled, however far away it was: a queue that is gone must not be remembered for its time."""
        self._heap = [each for each in self._heap if each[2].call is not None]
        heapq.heapify(self._heap)
        self._tidy_at = max(TIDY_FROM, 2 * len(self._heap))

    def next_due(self) -> float | None:
        """When something is due next; None: nothing is."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self) -> None:
        """Make the calls that are due."""
        now = self.now()
        while self._heap and self._heap[0][0] <= now:
            appointment = heapq.heappop(self._heap)[2]
            call, appointment.call = appointment.call, None  # whoever keeps it sees that it is over
            if call is not None:
                call()
