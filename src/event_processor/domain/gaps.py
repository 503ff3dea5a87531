"""How often does a device speak? Learned from the gaps between its messages, in 40 bytes for each device.

A gap's length goes into one of 40 classes, each 1.41 times as long as the one before (0.5 s to 6 days). A device speaks by the
clock if its longest gaps, which differ by a factor of two at most, make up half of all the time: weighed by their length a
burst of ten messages in a second does not outweigh the hour of quiet after it. A device whose gaps are of every length speaks
when something happens, and its silence means nothing.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["LEAST_GAPS", "MARGIN", "OUTLIERS", "SHORTEST_S", "Gaps"]

_CLASSES: Final = 40
_FIRST_S: Final = 0.5
_MOST_COUNT: Final = 200

LEAST_GAPS: Final = 5
"""Gaps that have to be seen before a silence can mean anything."""
MARGIN: Final = 2.5
"""A device is silent after its longest usual gap times this."""
SHORTEST_S: Final = 15.0
"""No silence shorter than this, in seconds, is told: Wi-Fi comes and goes."""
OUTLIERS: Final = 50
"""One gap in this many may be longer than the usual ones."""

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
        counts, total = self._counts, sum(self._counts)
        if total < LEAST_GAPS:
            return None
        # One outlier in fifty (a night without Wi-Fi) is no usual gap.
        above, top = 0, _CLASSES - 1
        while above + counts[top] <= total // OUTLIERS:
            above += counts[top]
            top -= 1
        usual = range(max(0, top - 1), top + 1)
        weight = sum(counts[index] * _EDGES[index] for index in range(top + 1))
        if _EDGES[top] > SHORTEST_S:
            even = sum(counts[index] * _EDGES[index] for index in usual) >= weight / 2
            if not even or sum(counts[index] for index in usual) < LEAST_GAPS:
                return None
        return max(SHORTEST_S, MARGIN * _EDGES[top])
