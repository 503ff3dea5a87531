"""What is known of each device between its messages.

The state is a mapping from device key to ``Device``. One thread owns it and stores what ``seen`` returns; nothing here
changes it. ``now`` is in seconds, always of the same clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from event_processor.domain.events import Event
from event_processor.domain.fields import Scalar

__all__ = ["Device", "Liveness", "State", "enabled", "liveness", "seen", "silent"]

Liveness: TypeAlias = Literal["never", "alive", "silent"]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device: when it was first and last heard, what it said last, and whether it may set anything off."""

    key: str
    first_seen: float
    last_seen: float
    type: str = ""
    value: Scalar = None
    active: bool | None = None
    enabled: bool = True


State: TypeAlias = Mapping[str, Device]


def seen(state: State, device: str, now: float, event: Event | None = None) -> Device:
    """Return what is known of ``device`` after hearing it at ``now``; the owner of ``state`` stores it under its key.

    With ``event`` its value and activity are taken over, unless it is a mere heartbeat. ``last_seen`` never decreases,
    also where the clock is set back.
    """
    known = state.get(device)
    value, active, kind = (None, None, "") if known is None else (known.value, known.active, known.type)
    if event is not None:
        kind = event.type or kind
        if event.kind != "heartbeat":
            value, active = event.value, event.active
    return Device(
        key=device,
        first_seen=now if known is None else known.first_seen,
        last_seen=now if known is None else max(now, known.last_seen),
        type=kind,
        value=value,
        active=active,
        enabled=known is None or known.enabled,
    )


def enabled(device: Device, allowed: bool) -> Device:
    """Return ``device`` allowed, or not allowed, to set anything off."""
    return msgspec.structs.replace(device, enabled=allowed)


def liveness(device: Device | None, now: float, stale_after_s: float) -> Liveness:
    """Say whether a device was heard within the last ``stale_after_s`` seconds."""
    if device is None:
        return "never"
    return "silent" if now - device.last_seen > stale_after_s else "alive"


def silent(state: State, now: float, stale_after_s: float) -> Iterator[Device]:
    """Give the devices that have gone silent. Asked by a timer, so silence is noticed without the device's help."""
    return (device for device in state.values() if liveness(device, now, stale_after_s) == "silent")
