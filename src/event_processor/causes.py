"""Which messages were decided already: so that what a broker delivers again is not counted twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from event_processor.domain.heard import Heard

__all__ = ["Causes"]

# How many are remembered: more than may be unacknowledged at all brokers together, several times over.
REMEMBERED: Final = 50_000


class Causes:
    """Names the causes of outcomes, and knows the last ones. Belongs to the thread that decides.

    A cause is ``<origin>~<message id>.<n>`` for the n-th event of a message. Guarantee: a message that is delivered again
    under its id or, without one, under its origin gets the name that it had.
    """

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, str] = OrderedDict()
        self._by_origin: OrderedDict[str, str] = OrderedDict()
        self._decided: OrderedDict[str, None] = OrderedDict()

    def restore(self, causes: Iterable[str]) -> None:
        """Know these too, the oldest first: what an earlier run has stored."""
        for cause in causes:
            base, dot, _ = cause.rpartition(".")
            if dot and "~" in base:
                self._remember(base)
                self._note(cause)

    def base(self, heard: Heard) -> str:
        """The name of this message, without the number of an event."""
        if heard.again:
            known = self._by_id.get(heard.message_id) or self._by_origin.get(heard.origin)
            if known is not None:
                return known
        base = f"{heard.origin}~{heard.message_id}"
        self._remember(base)
        return base

    def decided(self, cause: str) -> bool:
        """Whether this very cause was decided before; from now on it was."""
        if cause in self._decided:
            return True
        self._note(cause)
        return False

    def _note(self, cause: str) -> None:
        self._decided[cause] = None
        if len(self._decided) > REMEMBERED:
            self._decided.popitem(last=False)

    def _remember(self, base: str) -> None:
        origin, _, message_id = base.partition("~")
        for known, key in ((self._by_id, message_id), (self._by_origin, origin)):
            known[key] = base
            known.move_to_end(key)
            if len(known) > REMEMBERED:
                known.popitem(last=False)
