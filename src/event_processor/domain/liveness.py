"""Who is alive: by a last will or availability message, by when a device was last heard, and by how often it usually speaks.

The owner tells what happens (``heard``, ``said``, ``connected``, ``disconnected``) and asks at the moment that ``next_due``
names, so a device that goes silent is noticed when its time is over and not when it speaks again. Each change is reported
once.

Time only counts while the hub could have heard something. It stands still while there is no connection, for a minute after one
has come back, and across any step that the owner did not come by for (a clock that was set, a machine that slept): nobody dies
of that. Hence ``now`` may be any clock of seconds, also one that jumps.
"""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from event_processor.domain.gaps import Gaps
from event_processor.domain.outcome import Change

__all__ = ["GRACE_S", "LOOK_EVERY_S", "STORE_EVERY_S", "Liveness", "Report"]

LOOK_EVERY_S: Final = 60.0
"""``due`` is to be called at least this often, in seconds. ``next_due`` never names a later moment."""
_JUMP_S: Final = 30.0
_LATE: Final = 4.0
GRACE_S: Final = 60.0
"""After a connection has come back devices get this long, in seconds, before their silence counts again."""
STORE_EVERY_S: Final = 3600.0
"""What was learned of a device is stored when its state changes, and otherwise this often, in seconds."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A device (or, where ``entity`` is set, one entity of it) is there or gone since ``at``, and in a few words why.

    Once it is gone its values are unknown.
    """

    device: str
    online: bool
    at: float
    why: str
    entity: str = ""


class _Stored(msgspec.Struct, omit_defaults=True):
    seen: float
    online: bool = True
    will: bool | None = None
    gaps: str = ""


class _Watched:
    """What is known of one device. ``last`` and ``until`` are on the own clock, ``seen`` on the caller's."""

    __slots__ = ("gaps", "last", "online", "queued", "seen", "stored", "until", "will")

    def __init__(self) -> None:
        self.gaps = Gaps()
        self.last: float | None = None
        self.seen = 0.0
        self.until = 0.0
        self.queued = 0.0  # when the one reminder in the heap comes; 0 where there is none
        self.stored = -STORE_EVERY_S
        self.online = True
        self.will: bool | None = None


class _Value:
    """An entity whose convention says how long its values hold, or which has an availability of its own."""

    __slots__ = ("device", "holds_s", "online", "queued", "until")

    def __init__(self, device: str) -> None:
        self.device = device
        self.holds_s = 0.0
        self.until = 0.0
        self.queued = 0.0
        self.online = True


class Liveness:
    """The liveness of all devices. Owned by one thread; reads no clock."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._clock = 0.0
        self._still_until: float | None = None
        self._connected = True
        self._devices: dict[str, _Watched] = {}
        self._values: dict[str, _Value] = {}
        # Reminders to look, on the own clock: at most one for each device and entity, whose own deadline is what counts.
        self._heap: list[tuple[float, str, str]] = []
        self._dirty: dict[str, None] = {}

    # ------------------------------------------------------------------------------------------------ what is told to it

    def heard(self, device: str, now: float, *, retained: bool = False) -> tuple[Report, ...]:
        """Note that a device spoke. What a broker kept from earlier (``retained``) says nothing about who is alive now."""
        self._advance(now)
        if retained:
            return ()
        watched = self._watched(device)
        if watched.last is not None:
            gap = self._clock - watched.last
            # Who was called silent and comes soon after is slower than was learned; a long absence teaches nothing.
            if watched.online or gap <= _LATE * (watched.gaps.allowed_s() or 0.0):
                watched.gaps.add(gap)
        watched.last, watched.seen = self._clock, max(watched.seen, now)
        self._schedule(device, watched)
        if self._clock - watched.stored >= STORE_EVERY_S:
            watched.stored = self._clock
            self._dirty[device] = None
        if watched.online or watched.will is False:
            return ()  # its last will is the stronger word: a bridge may still send what the device said before
        return self._turn(device, watched, True, now, "it is heard again")

    def said(self, device: str, online: bool, now: float, *, entity: str = "", retained: bool = False) -> tuple[Report, ...]:
        """Take over what a last will or an availability topic says of a device, or of one of its entities."""
        self._advance(now)
        if entity:
            known = self._values.get(entity)
            if known is None:
                known = self._values[entity] = _Value(device)
            turned, known.online = known.online != online, online
            return (_report(device, online, now, _said(online), entity),) if turned else ()
        watched = self._watched(device)
        watched.will = online
        if not online:
            watched.last = None  # the time that it is away for a reason teaches nothing
        if online and not retained:
            watched.last, watched.seen = self._clock, max(watched.seen, now)
        if online and watched.last is None:
            watched.last = self._clock
        self._schedule(device, watched)
        return () if watched.online == online else self._turn(device, watched, online, now, _said(online))

    def value(self, entity: str, device: str, expire_after_s: float, now: float) -> tuple[Report, ...]:
        """Note a value of an entity whose convention says how long a value holds, in seconds."""
        self._advance(now)
        known = self._values.get(entity)
        if known is None:
            if expire_after_s <= 0:
                return ()
            known = self._values[entity] = _Value(device)
        known.holds_s = max(0.0, expire_after_s)
        known.until = self._clock + known.holds_s if known.holds_s else 0.0
        if known.until and not known.queued:
            known.queued = known.until
            heapq.heappush(self._heap, (known.until, device, entity))
        turned, known.online = not known.online, True
        return (_report(device, True, now, "it is heard again", entity),) if turned else ()

    def forget(self, device: str, entities: Iterable[str] = ()) -> None:
        """A device was taken away."""
        if self._devices.pop(device, None) is not None:
            self._dirty[device] = None
        for entity in entities:
            self._values.pop(entity, None)

    def disconnected(self, now: float) -> None:
        """The connection to the broker is gone: from here on silence means nothing."""
        self._advance(now)
        self._connected = False

    def connected(self, now: float) -> None:
        """The connection is there again. Time counts again after ``GRACE_S``: the devices come back one by one."""
        self._advance(now)
        if not self._connected:
            self._connected = True
            self._still_until = now + GRACE_S

    # -------------------------------------------------------------------------------------------------- what it tells

    def due(self, now: float) -> tuple[Report, ...]:
        """Report who has gone silent by ``now``. Asked again it reports nobody twice."""
        self._advance(now)
        reports: list[Report] = []
        while self._heap and self._heap[0][0] <= self._clock:
            at, device, entity = heapq.heappop(self._heap)
            known: _Value | _Watched | None = self._values.get(entity) if entity else self._devices.get(device)
            if known is None or known.queued != at:
                continue
            known.queued = 0.0
            if not known.online or not known.until:
                continue
            if known.until > self._clock:
                known.queued = known.until
                heapq.heappush(self._heap, (known.until, device, entity))
            elif isinstance(known, _Value):
                known.online = False
                why = f"no value for {known.holds_s:.0f} s, which is as long as one holds"
                reports.append(_report(device, False, now, why, entity))
            else:
                allowed = known.until - (known.last or 0.0)
                why = f"not heard for {allowed:.0f} s, which is longer than it usually is silent"
                reports.extend(self._turn(device, known, False, now, why))
        return tuple(reports)

    def next_due(self) -> float:
        """When ``due`` is to be called next, on the caller's clock: at the next deadline, and at the latest in a minute."""
        if self._heap and self._connected and self._still_until is None:
            return self._now + min(LOOK_EVERY_S, max(0.0, self._heap[0][0] - self._clock))
        return self._now + LOOK_EVERY_S

    def online(self, device: str) -> bool | None:
        """Whether a device is there; ``None`` where nothing was ever heard of it."""
        watched = self._devices.get(device)
        return None if watched is None else watched.online

    def last_seen(self, device: str) -> float | None:
        """When a device was last heard, on the caller's clock."""
        watched = self._devices.get(device)
        return None if watched is None or not watched.seen else watched.seen

    def interval_s(self, device: str) -> float | None:
        """The silence, in seconds, after which a device is gone; ``None`` where its silence means nothing (so far)."""
        watched = self._devices.get(device)
        return None if watched is None else watched.gaps.allowed_s()

    # ----------------------------------------------------------------------------------------------- across restarts

    def take_changes(self, *, everything: bool = False) -> tuple[Change, ...]:
        """Return what is to be stored since the last call; with ``everything``, as at the end, of all devices."""
        names = list(self._devices) if everything else list(self._dirty)
        self._dirty.clear()
        changes: list[Change] = []
        for device in names:
            watched = self._devices.get(device)
            if watched is None:
                changes.append(Change("liveness", device, None))
                continue
            gaps = base64.b64encode(bytes(watched.gaps)).decode() if watched.gaps.seen else ""
            value = _Stored(seen=watched.seen, online=watched.online, will=watched.will, gaps=gaps)
            changes.append(Change("liveness", device, msgspec.json.encode(value)))
        return tuple(changes)

    def restore(self, changes: Iterable[Change]) -> tuple[str, ...]:
        """Take stored values back. Everyone gets the whole interval from now, since the hub was not there to hear; who was
        gone stays gone and is not reported again. Returns whose stored value could not be read: these start anew."""
        wrong: list[str] = []
        for change in changes:
            if change.scope != "liveness" or change.value is None:
                continue
            try:
                stored = msgspec.json.decode(change.value, type=_Stored)
                gaps = base64.b64decode(stored.gaps, validate=True)
            except (msgspec.DecodeError, binascii.Error, ValueError):
                wrong.append(change.key)
                continue
            watched = self._watched(change.key)
            watched.gaps, watched.seen = Gaps(gaps), stored.seen
            watched.online, watched.will = stored.online, stored.will
            watched.last = self._clock if stored.online else None
            self._schedule(change.key, watched)
        return tuple(wrong)

    # -------------------------------------------------------------------------------------------------------- inside

    def _advance(self, now: float) -> None:
        """Let the own clock go on by the time in which something could have been heard."""
        step, self._now = now - self._now, now
        if step <= 0 or not self._connected:
            return
        if step > LOOK_EVERY_S + _JUMP_S:
            if self._still_until is not None:
                self._still_until = now + GRACE_S
            return
        if self._still_until is not None:
            if now < self._still_until:
                return
            step, self._still_until = min(step, now - self._still_until), None
        self._clock += step

    def _watched(self, device: str) -> _Watched:
        watched = self._devices.get(device)
        if watched is None:
            watched = self._devices[device] = _Watched()
        return watched

    def _schedule(self, device: str, watched: _Watched) -> None:
        allowed = watched.gaps.allowed_s()
        watched.until = 0.0 if allowed is None or watched.last is None else watched.last + allowed
        # An earlier reminder looks and finds the later deadline; one that would come too late is replaced.
        if watched.until and (not watched.queued or watched.until < watched.queued):
            watched.queued = watched.until
            heapq.heappush(self._heap, (watched.until, device, ""))

    def _turn(self, device: str, watched: _Watched, online: bool, now: float, why: str) -> tuple[Report, ...]:
        watched.online = online
        if not online:
            watched.until = 0.0
        self._dirty[device] = None
        return (_report(device, online, now, why),)


def _report(device: str, online: bool, now: float, why: str, entity: str = "") -> Report:
    return Report(device=device, online=online, at=now, why=why, entity=entity)


def _said(online: bool) -> str:
    return "its availability says that it is there" if online else "its last will or availability says that it is gone"
