"""A schedule back in the words in which one is written, so that one can be looked at wherever it came from."""

from __future__ import annotations

from event_processor.domain.schedule_file import ScheduleSpec
from event_processor.domain.schedule_times import EVERY_DAY, Cron, Daily
from event_processor.domain.schedules import Schedule, Task
from event_processor.domain.windows import DAYS

__all__ = ["clock_text", "days_text", "spec_of", "task_text"]


def spec_of(schedule: Schedule) -> ScheduleSpec:
    """What one would write to get this schedule."""
    when = schedule.when
    at = cron = sun = days = ""
    if isinstance(when, Cron):
        cron = when.expression
    elif isinstance(when, Daily):
        at, days = ", ".join(map(clock_text, when.times)), days_text(when.days)
    else:
        sign = "+" if when.offset_s > 0 else "-"
        sun = when.event + (f"{sign}{clock_text(abs(when.offset_s))}" if when.offset_s else "")
        days = days_text(when.days)
    return ScheduleSpec(
        id=schedule.id, name=schedule.name, at=at, cron=cron, sun=sun, days=days, do=tuple(map(task_text, schedule.tasks)),
        missed=schedule.missed, zone=schedule.zone, enabled=schedule.enabled,
    )  # fmt: skip


def task_text(task: Task) -> str:
    """One thing to do: ``mode night``, ``disable rule Siren*``, ``command lamp = on``."""
    if task.do in ("mode", "run"):
        return f"{task.do} {task.name}"
    if task.do == "command":
        return f"command {task.name} = {task.value}"
    return f"{task.do} {task.subject} {task.name}"


def clock_text(seconds: int) -> str:
    """A time of the day: ``07:30``, with seconds where there are some."""
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}"
    return f"{text}:{seconds % 60:02}" if seconds % 60 else text


def days_text(days: frozenset[int]) -> str:
    """Days of the week: ``mon-fri, sun``; nothing for all of them."""
    if days == EVERY_DAY:
        return ""
    parts = []
    for day in sorted(days):
        if day - 1 in days:
            continue
        last = day
        while last + 1 in days:
            last += 1
        parts.append(DAYS[day] if last == day else f"{DAYS[day]}{'-' if last > day + 1 else ', '}{DAYS[last]}")
    return ", ".join(parts)
