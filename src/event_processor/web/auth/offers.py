"""Second factors that were offered and are not in force yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["Offers"]

MOST_OFFERS: Final = 100
"""Second factors that are offered and not confirmed yet; the oldest make room."""


OFFERED_FOR: Final = 900.0
"""Seconds in which a second factor that was offered has to be confirmed."""


class Offers:
    """Secrets that were shown and are not in force yet, by the number of the account. For one loop.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: OrderedDict[int, tuple[str, float]] = OrderedDict()

    def put(self, user: int, secret: str) -> None:
        """Offer one; it replaces what was offered before."""
        self._open[user] = (secret, self._clock() + OFFERED_FOR)
        self._open.move_to_end(user)
        while len(self._open) > MOST_OFFERS:
            self._open.popitem(last=False)

    def get(self, user: int) -> str | None:
        """What was offered, or None where nothing was, or too long ago."""
        secret, until = self._open.get(user, ("", 0.0))
        return secret if secret and self._clock() < until else None

    def drop(self, user: int) -> None:
        """It is in force."""
        self._open.pop(user, None)
