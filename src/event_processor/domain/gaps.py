"""How often does a device speak? Learned from the gaps between its messages, in 40 bytes for each device.

A gap's length goes into one of 40 classes, each 1.41 times as long as the one before (0.5 s to 6 days). Gaps are weighed by
their length, so that a burst of ten messages in a second does not outweigh the hour of quiet after it. A device whose long
gaps are all alike speaks by the clock; one whose gaps are of every length speaks when something happens, and its silence means
nothing.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["EVEN", "LEAST_GAPS", "MARGIN", "SHORTEST_S", "Gaps"]

_CLASSES: Final = 40
_FIRST_S: Final = 0.5
_MOST_COUNT: Final = 200

LEAST_GAPS: Final = 5
"""Gaps that have to be seen before a silence can mean anything."""
MARGIN: Final = 2.5
"""A device is silent after its longest usual gap times this."""
SHORTEST_S: Final = 15.0
"""No silence shorter than this, in seconds, is told: Wi-Fi comes and goes."""
EVEN: Final = 2.5
"""Gaps whose longest is at most this many times the middle one (both weighed by length) are those of a clock."""

_EDGES: Final = tuple(_FIRST_S * 2 ** (index / 2) for index in range(1, _CLASSES + 1))


class Gaps:
    """The gaps of one device. Changed in place by its owner."""

    __slots__ = ("_counts",)

    def __init__(self, stored: bytes = b"") -> None:
        self._counts = bytearray(stored if len(stored) == _CLASSES else _CLASSES)

    def __bytes__(self) -> bytes:
        return bytes(self._counts)

    @property
    def seen(self) -> int:
        """How many gaps it was learned from; older ones count half and less."""
        return sum(self._counts)

    def add(self, gap_s: float) -> None:
        """Learn from one more gap, in seconds. Messages within half a second are one."""
        if gap_s < _FIRST_S:
            return
        index = min(_CLASSES - 1, int(2 * math.log2(gap_s / _FIRST_S)))
        self._counts[index] += 1
        if self._counts[index] >= _MOST_COUNT:
            # The past fades, so that a device whose interval was changed is known by its new one.
            self._counts[:] = bytes(count // 2 for count in self._counts)

    def allowed_s(self) -> float | None:
        """The silence, in seconds, after which the device is gone; ``None`` where it speaks on events only, or too little is
        known."""
        if self.seen < LEAST_GAPS:
            return None
        weights = [count * edge for count, edge in zip(self._counts, _EDGES, strict=True)]
        total = sum(weights)
        passed, middle = 0.0, 0.0
        longest = max(edge for edge, weight in zip(_EDGES, weights, strict=True) if weight)
        for edge, weight in zip(_EDGES, weights, strict=True):
            passed += weight
            if not middle and passed >= total / 2:
                middle = edge
            # One outlier (a night without Wi-Fi) among many is no usual gap; the longest two of a hundred still are.
            if passed >= 0.98 * total:
                longest = edge
                break
        if longest > EVEN * middle and longest > SHORTEST_S:
            return None
        return max(SHORTEST_S, MARGIN * longest)
