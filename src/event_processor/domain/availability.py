"""Is a device there, by what several topics say of it? The modes are those of Home Assistant's MQTT availability.

    all      every topic has to say "online"
    any      one is enough
    latest   the last word counts, on whichever topic it came

Nobody is called offline for want of a word: where a topic has not spoken yet, ``all`` and ``any`` wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["Mode", "judge", "mode_of"]

Mode: TypeAlias = Literal["all", "any", "latest"]


def mode_of(word: object) -> Mode:
    """Return the mode that a convention names; ``latest``, the default there too, for anything else."""
    if word == "all":
        return "all"
    return "any" if word == "any" else "latest"


def judge(mode: Mode, words: Sequence[bool | None], latest: bool | None) -> bool | None:
    """Say whether the device is there. ``words`` has one entry for each topic, ``None`` where it has said nothing yet;
    ``latest`` is the word that came last. ``None`` means that it cannot be said yet."""
    if mode == "latest" or not words:
        return latest
    decisive = mode == "any"
    if decisive in words:
        return decisive
    return None if None in words else not decisive
