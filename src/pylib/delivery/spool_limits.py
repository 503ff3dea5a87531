"""How much may wait in a spool, for how long, and who gives way; and what waits there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from pylib.errors import ConfigError

__all__ = ["DEFAULT_LIMITS", "Item", "SpoolLimits"]


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How much may wait, for how long, and who gives way.

    ``max_bytes`` of addresses and data (the file is about a tenth larger), ``max_messages``; ``max_age`` in seconds
    since storing, by the wall clock, after which a message is dropped (None: never). ``policy`` at the limit: "block"
    refuses the batch, so that the source keeps it; "drop_oldest" and "drop_newest" lose messages, count them and say
    so. With ``latest_per_key`` a newer message for an address replaces one that waits, and takes its turn at the end.
    """

    max_bytes: int = 1024 * 1024 * 1024
    max_messages: int = 5_000_000
    max_age: float | None = None
    policy: Literal["block", "drop_oldest", "drop_newest"] = "block"
    latest_per_key: bool = False

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_messages < 1:
            raise ConfigError("SpoolLimits: max_bytes and max_messages must be at least 1.")
        if self.max_age is not None and self.max_age <= 0:
            raise ConfigError("SpoolLimits: max_age must be a number of seconds above 0, or None for no limit.")
        if self.policy not in ("block", "drop_oldest", "drop_newest"):
            raise ConfigError(f'SpoolLimits: policy is "block", "drop_oldest" or "drop_newest", not {self.policy!r}.')


DEFAULT_LIMITS = SpoolLimits()


class Item(msgspec.Struct, frozen=True, gc=False):
    """One waiting message. ``expires_at`` is in seconds since the epoch."""

    row: int
    address: str
    data: bytes
    expires_at: float | None
