"""Which messages were decided already: so that what a broker delivers again is not counted twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from event_processor.domain.heard import Heard

__all__ = ["UNTAGGED", "Causes"]

# How many are remembered: more than may be unacknowledged at all brokers together (Receive Maximum, prefetch), several times
# over. Each takes about a kilobyte.
REMEMBERED: Final = 10_000
# How the origin of a delivery begins that has no tag which tells it from an equal one.
UNTAGGED: Final = "-"
UNACKNOWLEDGED_S: Final = 10.0
"""Seconds for which a delivery may be decided and not acknowledged, amply: the store lets go of it after about one."""


class Causes:
    """Names the causes of outcomes, and knows the last ones. Belongs to the thread that decides.

    A cause is ``<origin>~<message id>.<n>`` for the n-th event of a message. Guarantee: a message that is delivered again
    under its id or, without one, under its origin gets the name that it had.

    An origin is not unique for ever: packet identifiers are used again, and a RabbitMQ delivery has none, so that an equal
    body gives an equal origin. Hence it only counts for messages that were decided last before the connection was lost, or
    before the hub was killed: what is older was acknowledged, and cannot come again.
    """

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, str] = OrderedDict()
        self._by_origin: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._decided: OrderedDict[str, None] = OrderedDict()
        # When a message was last new, by broker: deliveries of the one have a tag, those of the other none.
        self._latest: dict[bool, float] = {}

    def restore(self, causes: Iterable[str], times: Sequence[float] = ()) -> None:
        """Know these too, the oldest first: what an earlier run has stored, and when it decided each (seconds)."""
        for number, cause in enumerate(causes):
            base, dot, _ = cause.rpartition(".")
            if dot and "~" in base:
                self._remember(base, times[number] if times else 0.0)
            self.note(cause)

    def base(self, heard: Heard, now: float) -> str:
        """The name of this message, which is decided ``now``, without the number of an event."""
        if heard.again:
            known = self._by_id.get(heard.message_id)
            if known is None and heard.origin:
                last, at = self._by_origin.get(heard.origin, (None, 0.0))
                if last is not None and at >= self._latest.get(_tagged(heard.origin), 0.0) - UNACKNOWLEDGED_S:
                    known = last
            if known is not None:
                return known
        base = f"{heard.origin}~{heard.message_id}"
        self._remember(base, now, again=heard.again)
        return base

    def decided(self, cause: str) -> bool:
        """Whether this very cause was decided before."""
        return cause in self._decided

    def note(self, cause: str) -> None:
        """It is decided now."""
        self._decided[cause] = None
        if len(self._decided) > REMEMBERED:
            self._decided.popitem(last=False)

    def _remember(self, base: str, at: float, *, again: bool = False) -> None:
        origin, _, message_id = base.partition("~")
        self._by_id[message_id] = base
        self._by_id.move_to_end(message_id)
        if origin:
            self._by_origin[origin] = base, at
            self._by_origin.move_to_end(origin)
            if not again:
                tagged = _tagged(origin)
                self._latest[tagged] = max(at, self._latest.get(tagged, 0.0))
        for known in (self._by_id, self._by_origin):
            if len(known) > REMEMBERED:
                known.popitem(last=False)


def _tagged(origin: str) -> bool:
    return not origin.startswith(UNTAGGED)
