"""How many bytes the messages of all queues hold, and the alarm when they are too many."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Memory"]


#: Bytes that have to have become free before it is worth telling.
WORTH_IT = 16 * 1024 * 1024


class Memory:
    """Counts; ``alarm`` is called with True when the limit is passed, and with False when there is room again.

    ``drained`` is called when most of what was held at the highest has been released.
    """

    __slots__ = ("_highest", "alarm", "drained", "limit", "raised", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._highest = 0
        self.drained: Callable[[], None] = _nothing
        self.raised = False
        self.alarm: Callable[[bool], None] = _nobody

    def add(self, cost: int) -> None:
        self.used += cost
        if self.used > self._highest:
            self._highest = self.used
        if self.used > self.limit and not self.raised:
            self.raised = True
            self.alarm(True)

    def release(self, cost: int) -> None:
        self.used -= cost
        if self.raised and self.used <= self.limit:
            self.raised = False
            self.alarm(False)
        if self._highest > WORTH_IT and self.used < self._highest / 4:
            self._highest = self.used
            self.drained()


def _nobody(raised: bool) -> None:
    """Until somebody listens."""


def _nothing() -> None:
    """Until somebody wants to know."""
