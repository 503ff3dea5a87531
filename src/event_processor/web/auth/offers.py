"""Second factors that were offered and are not in force yet."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["Offers"]

MOST_OFFERS: Final = 100
"""Second factors that are offered and not confirmed yet; the oldest make room."""


class Offers:
    """Secrets that were shown and are not in force yet, by the number of the account. For one loop."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, str] = OrderedDict()

    def put(self, user: int, secret: str) -> None:
        self._open[user] = secret
        self._open.move_to_end(user)
        while len(self._open) > MOST_OFFERS:
            self._open.popitem(last=False)

    def get(self, user: int) -> str | None:
        return self._open.get(user)

    def drop(self, user: int) -> None:
        self._open.pop(user, None)
