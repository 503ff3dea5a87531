"""How many bytes the messages of all queues hold, and the alarm when they are too many."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Memory"]


class Memory:
    """Counts; ``alarm`` is called with True when the limit is passed, and with False when there is room again."""

    __slots__ = ("alarm", "limit", "raised", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.raised = False
        self.alarm: Callable[[bool], None] = _nobody

    def add(self, cost: int) -> None:
        self.used += cost
        if self.used > self.limit and not self.raised:
            self.raised = True
            self.alarm(True)

    def release(self, cost: int) -> None:
        self.used -= cost
        if self.raised and self.used <= self.limit:
            self.raised = False
            self.alarm(False)


def _nobody(raised: bool) -> None:
    """Until somebody listens."""
