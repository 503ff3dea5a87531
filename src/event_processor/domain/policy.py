"""What ``[links]``, ``[type_links]`` and ``[meter:...]`` of ``app.conf`` say about deciding, before it becomes rules."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from event_processor.domain.links import Links

__all__ = ["MeterLimits", "Policy"]


class MeterLimits(msgspec.Struct, frozen=True, kw_only=True):
    """A meter sets something off below ``low`` or above ``high``; 0 is a limit like any other, ``None`` is none.

    ``of_minute`` compares what was metered in the last minute instead of the register; ``every_reading`` lets all pass.
    """

    low: float | None = None
    high: float | None = None
    of_minute: bool = False
    every_reading: bool = False


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What ``app.conf`` says about deciding. ``meters`` is by device key in lower case; times are in seconds."""

    links: Links
    meters: Mapping[str, MeterLimits] = {}
    disabled: frozenset[str] = frozenset()
    max_event_age_s: float = 120.0
    control_expiry_s: float = 90.0
