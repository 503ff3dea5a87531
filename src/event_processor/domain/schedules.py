"""Schedules: what is done at which times, which of them are due, and what becomes of those that were missed.

A ``Timetable`` belongs to the owner of the hub's state. It reads no clock: ``due(now)`` gives what has come due, each with the
change that remembers it. The owner stores that change together with what the schedule causes, so that after a kill in
between the same time is due again, under the same id, and is recognised.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from event_processor.domain.outcome import Change
from event_processor.domain.patterns import name_matches
from event_processor.domain.schedule_times import Place, When, next_after, read_cron, read_daily, read_sun, zone_of
from pylib.errors import ConfigError

__all__ = [
    "Due", "Missed", "Schedule", "ScheduleFired", "ScheduleState", "Task", "Timetable", "make_schedule", "read_task",
]  # fmt: skip

log = logging.getLogger("event_processor.schedules")

Missed: TypeAlias = Literal["fire", "skip", "once"]
Subject: TypeAlias = Literal["device", "rule", "output", "group", "schedule"]

LATE_S: Final = 60.0
"""Seconds after its time from which a schedule counts as missed: the hub was down, asleep, or the clock was set."""

MOST_CAUGHT_UP: Final = 24
"""Times of one schedule that are made up for, at the most; of more the latest."""

STEP_BACK_S: Final = 86_400.0
"""A clock that is behind what was done already by more than this was wrong before, and is right now."""

CLOCK_IS_SET: Final = 1_735_689_600.0
"""2025-01-01. A machine without a battery starts in 1970; until its clock is set nothing is due."""

_SUBJECTS: Final[tuple[Subject, ...]] = ("device", "rule", "output", "group", "schedule")
_MOST_PASSED: Final = MOST_CAUGHT_UP + int(LATE_S) + 1  # with one every second that are on time
_LOOK_BACK_S: Final = (86_400.0, 8 * 86_400.0, 35 * 86_400.0, 400 * 86_400.0)


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a schedule does.

    ``mode``      the armed mode becomes ``name``
    ``enable``, ``disable``   the device, rule, output, group or schedule (``subject``) of that name, which may have * and ?
    ``run``       the actions of the rule ``name`` are done, as if it had fired
    ``command``   the entity ``name`` is told ``value`` ("on", "off", "open", "21.5")
    """

    do: Literal["mode", "enable", "disable", "run", "command"]
    name: str
    subject: Subject = "device"
    value: str = ""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule. ``missed`` says what becomes of times that passed while the hub was down: ``fire`` makes up for each,
    ``once`` for all of them together with the latest, ``skip`` for none. ``zone`` overrides the hub's."""

    id: str
    when: When
    tasks: tuple[Task, ...] = ()
    name: str = ""
    enabled: bool = True
    missed: Missed = "skip"
    zone: str = ""

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or self.id

    def is_on(self, state: ScheduleState | None) -> bool:
        """Whether it is on: as it is written, unless somebody has switched it."""
        return self.enabled if state is None or state.enabled is None else state.enabled

    def place(self, house: Place) -> Place:
        """Where, and in which zone, it is due."""
        return msgspec.structs.replace(house, zone=self.zone) if self.zone else house


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a schedule: up to which instant its times were dealt with, by which definition, and whether it
    was on. ``enabled`` is there where somebody has switched it, other than it is written. ``zone`` is the one that its times
    were in, and ``None`` in what was stored before that was kept."""

    done: float
    when: When
    on: bool = True
    enabled: bool | None = None
    zone: str | None = None


class ScheduleFired(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule is due. ``due_at`` is when it was, and ``caught_up`` says that it is made up for; ``change`` belongs into the
    outcome that it causes."""

    schedule: str
    due_at: float
    caught_up: bool
    change: Change
    name: str = ""
    tasks: tuple[Task, ...] = ()
    explanation: str = ""

    @property
    def cause(self) -> str:
        """The id of the outcome, the same whenever this time is due again."""
        return f"schedule:{self.schedule}:{int(self.due_at)}"


class Due(msgspec.Struct, frozen=True):
    """What came due, in the order of its times; changes that nothing was fired for; and sentences on what was left out."""

    fired: tuple[ScheduleFired, ...] = ()
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


def read_task(written: str) -> Task:
    """One thing to do, as it is written: ``mode night``, ``disable rule Siren*``, ``enable group garden``, ``run Alarm test``,
    ``command lamp = on``. Raises ``ConfigError``."""
    verb, _, rest = " ".join(written.split()).partition(" ")
    verb = verb.lower()
    if verb in ("mode", "run") and rest:
        return Task(do="mode" if verb == "mode" else "run", name=rest)
    if verb in ("enable", "disable"):
        subject, _, name = rest.partition(" ")
        for known in _SUBJECTS:
            if subject.lower() == known and name:
                return Task(do="enable" if verb == "enable" else "disable", subject=known, name=name)
    if verb == "command":
        name, equals, value = (part.strip() for part in rest.partition("="))
        if name and equals and value:
            return Task(do="command", name=name, value=value)
    raise ConfigError(
        f"do: {written!r} is not understood; write mode <mode>, enable or disable device, rule, output, group or schedule "
        "<name>, run <rule>, or command <entity> = <value>"
    )


def make_schedule(id: str, *, at: str = "", cron: str = "", sun: str = "", days: str = "", do: Iterable[str] = (),
                  name: str = "", enabled: bool = True, missed: str = "skip", zone: str = "") -> Schedule:  # fmt: skip
    """A schedule of what a person wrote: one of ``at``, ``cron`` and ``sun``, and what to do. Errors begin with the option.

    :raises ConfigError: one of them is wrong, or they do not go together.
    """
    given = [option for option, text in (("at", at), ("cron", cron), ("sun", sun)) if text]
    if len(given) != 1:
        raise ConfigError("at: a schedule has one of at, cron and sun" + (f", not {' and '.join(given)}" if given else ""))
    if cron and days:
        raise ConfigError("days: a cron expression has its days in its last field; leave days out")
    if missed not in ("fire", "skip", "once"):
        raise ConfigError(f"missed: {missed!r} is none of fire, skip and once")
    if zone:
        zone_of(zone)
    tasks = tuple(read_task(each) for each in do)
    if not tasks:
        raise ConfigError("do: the schedule does nothing; write for example mode night")
    when: When = read_cron(cron) if cron else read_sun(sun, days) if sun else read_daily(at, days)
    policy: Missed = "fire" if missed == "fire" else "once" if missed == "once" else "skip"
    return Schedule(id=id, when=when, tasks=tasks, name=name, enabled=enabled, missed=policy, zone=zone)


class Timetable:
    """All schedules and when each is due next. For one thread; ``reconcile`` comes first. Times are seconds since the epoch.

    No time is dealt with twice: a clock that is set back by less than a day lets times pass that were done already, and one
    that was further ahead than that is believed to have been wrong. None is left out either: the times between the last look
    and this one are all due, however far apart the two are.

    :param states: what ``Change`` of scope "schedule" have left, by key.
    :raises ConfigError: a zone is unknown, or the sun is asked for and the hub does not know where it is.
    """

    def __init__(self, schedules: Iterable[Schedule] = (), states: Mapping[str, bytes] | None = None, *,
                 place: Place | None = None) -> None:  # fmt: skip
        self._place = place or Place()
        self._schedules = {schedule.id: schedule for schedule in schedules}
        self._states: dict[str, ScheduleState] = {}
        for key, value in (states or {}).items():
            try:
                self._states[key] = msgspec.json.decode(value, type=ScheduleState)
            except msgspec.DecodeError:
                log.warning("What was remembered of schedule %s cannot be read; it starts anew.", key)
        self._heap: list[tuple[float, str]] = []
        self._next: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._schedules)

    def enabled(self, schedule: str) -> bool:
        """Whether it is on: as it is written, unless somebody has switched it. Raises KeyError."""
        return self._schedules[schedule].is_on(self._states.get(schedule))

    def named(self, pattern: str) -> tuple[str, ...]:
        """The ids of those whose id or name is meant; ``*`` and ``?`` stand for others, and case does not matter."""
        wanted = pattern.lower()
        return tuple(
            schedule.id
            for schedule in self._schedules.values()
            if name_matches(wanted, schedule.id.lower()) or name_matches(wanted, schedule.name.lower())
        )

    def next_due(self) -> float | None:
        """When ``due`` has something to say next; ``None`` with nothing to come."""
        while self._heap and self._next.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def reconcile(self, last_seen: float | None, now: float) -> Due:
        """Start: what was missed since the hub ran last, by each schedule's policy.

        :param last_seen: when it ran last; ``None`` if never. A schedule that is new, or was off, has missed nothing; one
            that was given other times while the hub was down has missed those of them that came since.
        """
        changes = [Change("schedule", gone, None) for gone in sorted(self._states.keys() - self._schedules.keys())]
        for gone in changes:
            del self._states[gone.key]
        for schedule in self._schedules.values():
            state = self._states.get(schedule.id)
            if state is None or not state.on or not self.enabled(schedule.id):
                changes.append(self._remember(schedule, now, None if state is None else state.enabled))
            elif not self._same_times(state, schedule):
                since = now if last_seen is None else min(max(state.done, last_seen), now)
                changes.append(self._remember(schedule, since, state.enabled))
            self._plan(schedule)
        found = self.due(now)
        return Due(found.fired, (*changes, *found.changes), found.notes)

    def put(self, schedule: Schedule, now: float) -> tuple[Change, ...]:
        """Add a schedule, or give one another form. It has missed nothing; one whose times are the same goes on."""
        known = self._states.get(schedule.id)
        self._schedules[schedule.id] = schedule
        if known is not None and known.on == self.enabled(schedule.id) and self._same_times(known, schedule):
            self._plan(schedule)
            return ()
        change = self._remember(schedule, now, None if known is None else known.enabled)
        self._plan(schedule)
        return (change,)

    def replace(self, schedules: Iterable[Schedule], now: float) -> tuple[Change, ...]:
        """Go on with these schedules and no others; ``due(now)`` comes first, so that nothing of the old ones is left open.

        One that is new, or has other times than before, has missed nothing. What was remembered of those that are gone is
        forgotten, so that another one of the same name starts anew.
        """
        new = {schedule.id: schedule for schedule in schedules}
        changes = [change for gone in sorted(self._schedules.keys() - new.keys()) for change in self.remove(gone)]
        for schedule in new.values():
            if self._schedules.get(schedule.id) != schedule:
                # Told again although nothing is remembered otherwise: whoever looks on sees that it is another one.
                changes += self.put(schedule, now) or (self._change(schedule.id),)
        return tuple(changes)

    def remove(self, schedule: str) -> tuple[Change, ...]:
        """Forget a schedule; an unknown one is no error."""
        self._next.pop(schedule, None)
        if self._schedules.pop(schedule, None) is None:
            return ()
        self._states.pop(schedule, None)
        return (Change("schedule", schedule, None),)

    def enable(self, schedule: str, on: bool, now: float) -> tuple[Change, ...]:
        """Switch a schedule on or off; what passed while it was off is over. Raises KeyError."""
        found = self._schedules[schedule]
        if self.enabled(schedule) == on:
            return ()
        change = self._remember(found, now, on)
        self._plan(found)
        return (change,)

    def due(self, now: float) -> Due:
        """Everything that has come due by ``now``. To be asked at ``next_due``, and whenever the clock was set."""
        if now < CLOCK_IS_SET:
            return Due()
        changes = self._set_right(now)
        fired: list[ScheduleFired] = []
        notes: list[str] = []
        while (at := self.next_due()) is not None and at <= now:
            schedule = self._schedules[heapq.heappop(self._heap)[1]]
            times, left = self._chosen(schedule, at, now)
            fired.extend(self._fired(schedule, due_at, now) for due_at in times)
            if left:
                notes.append(left)
            if not times:
                changes.append(self._remember(schedule, now, self._states[schedule.id].enabled))
            self._plan(schedule)
        fired.sort(key=lambda each: (each.due_at, each.schedule))
        return Due(tuple(fired), tuple(changes), tuple(notes))

    # ------------------------------------------------------------------------------------------------------------ inside

    def _set_right(self, now: float) -> list[Change]:
        """Schedules that were done far ahead of now, or before any clock was set, were so by a wrong clock: from now then."""
        changes = []
        for schedule in self._schedules.values():
            state = self._states.get(schedule.id)
            if state is None or CLOCK_IS_SET <= state.done <= now + STEP_BACK_S:
                continue
            if state.done > now:
                log.warning("Schedule %s was done far ahead of now: the clock was wrong then, it starts anew.", schedule.id)
            changes.append(self._remember(schedule, now, state.enabled))
            self._plan(schedule)
        return changes

    def _chosen(self, schedule: Schedule, first: float, now: float) -> tuple[list[float], str]:
        """The times that are fired, of all that passed from ``first`` on; and what there is to say about the others."""
        passed, more = self._passed(schedule, first - 1.0, now)
        on_time = [at for at in passed if now - at <= LATE_S]
        late = passed[: len(passed) - len(on_time)]
        kept = {"fire": late[-MOST_CAUGHT_UP:], "once": late[-1:], "skip": []}[schedule.missed]
        dropped = len(late) - len(kept)
        if not dropped and not more:
            return [*kept, *on_time], ""
        count = f"{'more than ' if more else ''}{max(dropped, 1)}"
        note = f"{schedule.title}: {count} of its times passed unnoticed, not made up for ({schedule.missed})"
        return [*kept, *on_time], note

    def _passed(self, schedule: Schedule, after: float, now: float) -> tuple[list[float], bool]:
        """The latest times in ``(after, now]``, and whether there were more. Looks further back until it has enough."""
        found: list[float] = []
        for back in _LOOK_BACK_S:
            start, at = max(after, now - back), max(after, now - back)
            found, more = [], start > after
            while (due := self._next_after(schedule, at)) is not None and due <= now:
                found.append(due)
                at = due
                if len(found) > _MOST_PASSED:
                    del found[0]
                    more = True
            if not more or len(found) >= _MOST_PASSED:
                return found, more
        return found, True

    def _fired(self, schedule: Schedule, due_at: float, now: float) -> ScheduleFired:
        caught_up = now - due_at > LATE_S
        name = schedule.title
        late = f", {now - due_at:.0f} s late: it is made up for" if caught_up else ""
        return ScheduleFired(
            schedule=schedule.id,
            due_at=due_at,
            caught_up=caught_up,
            change=self._remember(schedule, due_at, self._states[schedule.id].enabled),
            name=schedule.name,
            tasks=schedule.tasks,
            explanation=f"{name} is due{late}",
        )

    def _remember(self, schedule: Schedule, done: float, enabled: bool | None) -> Change:
        on, zone = schedule.enabled if enabled is None else enabled, schedule.zone or self._place.zone
        self._states[schedule.id] = ScheduleState(done=done, when=schedule.when, on=on, enabled=enabled, zone=zone)
        return self._change(schedule.id)

    def _change(self, schedule: str) -> Change:
        return Change("schedule", schedule, msgspec.json.encode(self._states[schedule]))

    def _same_times(self, state: ScheduleState, schedule: Schedule) -> bool:
        """Whether what was remembered was of these times, on these clocks."""
        return state.when == schedule.when and state.zone in (None, schedule.zone or self._place.zone)

    def _plan(self, schedule: Schedule) -> None:
        self._next.pop(schedule.id, None)
        if self.enabled(schedule.id):
            at = self._next_after(schedule, self._states[schedule.id].done)
            if at is not None:
                self._next[schedule.id] = at
                heapq.heappush(self._heap, (at, schedule.id))

    def _next_after(self, schedule: Schedule, after: float) -> float | None:
        return next_after(schedule.when, after, schedule.place(self._place))
