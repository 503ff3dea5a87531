"""Schedules, for the API: all that the hub goes by; those of their file are made, changed and deleted one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from event_processor.domain.schedule_file import Problem, ScheduleSpec, check_spec, make
from event_processor.domain.schedule_times import next_times
from event_processor.domain.schedules import Schedule, ScheduleState, Task
from event_processor.domain.task_requests import doubt
from event_processor.web.api.router import Call, Empty, Operation
from event_processor.web.context import HubContext
from event_processor.web.problems import ProblemError, Wrong
from event_processor.web.schedulefile import Shown
from pylib.errors import PylibError

__all__ = ["NEXT", "OPERATIONS", "check_schedule", "coming", "last_times"]

NEXT: Final = 5
"""Times of a schedule that are said in advance."""

MOST_LOOKED: Final = 500
"""Events among which it is looked up when a schedule was last due."""

ScheduleId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,200}$")]


class ScheduleOut(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule: whether it is switched on, when it is due next and was last, how it is written, and whether that stands
    in the file (or in ``app.conf``)."""

    id: str
    name: str
    on: bool
    next: float | None
    last: float | None
    missed: str
    zone: str
    tasks: tuple[Task, ...]
    schedule: ScheduleSpec
    editable: bool


class Schedules(msgspec.Struct, frozen=True):
    """All schedules that the hub goes by."""

    items: tuple[ScheduleOut, ...]


class CheckedSchedule(msgspec.Struct, frozen=True):
    """``ok``: the hub could go by it. There may be warnings all the same. ``next``: when it would be due."""

    ok: bool
    problems: tuple[Wrong, ...]
    next: tuple[float, ...]


class ById(msgspec.Struct, frozen=True):
    id: ScheduleId


def coming(context: HubContext, schedule: Schedule, count: int = 1) -> tuple[float, ...]:
    """When a schedule is due next, whether it is on or not."""
    try:
        return next_times(schedule.when, context.now(), schedule.place(context.settings.house.place), count)
    except PylibError:  # the sun, where nobody knows where the house is: said at the start
        return ()


def last_times(context: HubContext) -> dict[str, tuple[float, str]]:
    """When schedules were last due, and the id of what that caused; those of which that is long ago are not in it. Reads the
    store; for ``HubContext.read``."""
    found: dict[str, tuple[float, str]] = {}
    for row in context.reader.events(kind="schedule", limit=MOST_LOOKED).rows:
        ident = row.cause.split(":")[1] if row.cause.startswith("schedule:") else ""
        found.setdefault(ident, (row.at, row.cause))
    return found


def check_schedule(context: HubContext, spec: ScheduleSpec, *, new: bool = False) -> tuple[list[Problem], tuple[float, ...]]:
    """All that is wrong, or looks wrong, with a schedule, and when it would be due next. For ``HubContext.read``."""
    problems = context.schedules.check(spec, new=new)
    if check_spec(spec):
        return problems, ()
    schedule = make(spec)
    return [*problems, *_doubts(context, schedule)], coming(context, schedule, NEXT)


def _doubts(context: HubContext, schedule: Schedule) -> list[Problem]:
    book, keys = context.rules.book, {*context.mirror.entities(), *context.mirror.values()}
    others = [each.schedule for each in context.schedules.shown()]
    found = (doubt(task, book, keys, others) for task in schedule.tasks)
    return [Problem(schedule=schedule.id, field="do", message=text, severity="warning") for text in found if text]


def _all(context: HubContext) -> tuple[ScheduleOut, ...]:
    """What is said of each. Reads the store."""
    states, last = context.mirror.schedules(), last_times(context)
    return tuple(_out(context, each, states, last) for each in context.schedules.shown())


def _out(
    context: HubContext, shown: Shown, states: Mapping[str, ScheduleState], last: Mapping[str, tuple[float, str]]
) -> ScheduleOut:
    found = shown.schedule
    on = found.is_on(states.get(found.id))
    return ScheduleOut(
        id=found.id,
        name=found.title,
        on=on,
        next=next(iter(coming(context, found)), None) if on else None,
        last=last[found.id][0] if found.id in last else None,
        missed=found.missed,
        zone=found.zone or context.settings.house.timezone,
        tasks=found.tasks,
        schedule=shown.written,
        editable=shown.editable,
    )


async def schedules(call: Call[Empty, None]) -> Schedules:
    return Schedules(await call.context.read(_all, call.context))


async def schedule(call: Call[ById, None]) -> ScheduleOut:
    return await _schedule(call.context, call.params.id)


async def _schedule(context: HubContext, ident: str) -> ScheduleOut:
    found = next((each for each in await context.read(_all, context) if each.id == ident), None)
    if found is None:
        raise ProblemError(404, "There is no such schedule.")
    return found


async def put_schedule(call: Call[ById, ScheduleSpec]) -> ScheduleOut:
    if call.body.id != call.params.id:
        raise ProblemError(422, "The schedule's id and that of the address are not the same.")
    context = call.context
    await context.reschedule(lambda: context.schedules.put(call.body))
    return await _schedule(context, call.params.id)


async def delete_schedule(call: Call[ById, None]) -> None:
    context = call.context
    await context.reschedule(lambda: context.schedules.delete(call.params.id))


async def check(call: Call[ById, ScheduleSpec]) -> CheckedSchedule:
    problems, times = await call.context.read(check_schedule, call.context, call.body)
    if call.body.id != call.params.id:
        problems = [Problem(schedule=call.body.id, field="id", message="the address has another one"), *problems]
    wrong = tuple(Wrong(each.field, each.message, each.severity) for each in problems)
    return CheckedSchedule(not any(each.severity == "error" for each in wrong), wrong, times)


OPERATIONS: Final = (
    Operation(name="schedules", method="GET", path="/schedules", role="viewer", handler=schedules, answer=Schedules,
              tag="schedules", summary="Schedules, and when they are due next; they are switched by /switches/schedule/{key}"),
    Operation(name="schedule", method="GET", path="/schedules/{id}", role="viewer", handler=schedule, params=ById,
              answer=ScheduleOut, tag="schedules", summary="One schedule"),
    Operation(name="schedule.save", method="PUT", path="/schedules/{id}", role="admin", handler=put_schedule, params=ById,
              body=ScheduleSpec, answer=ScheduleOut, tag="schedules",
              summary="Add or replace a schedule in the file of schedules, and go by it"),
    Operation(name="schedule.delete", method="DELETE", path="/schedules/{id}", role="admin", handler=delete_schedule,
              params=ById, tag="schedules", summary="Take a schedule out of the file of schedules"),
    Operation(name="schedule.check", method="POST", path="/schedules/{id}/check", role="viewer", handler=check, params=ById,
              body=ScheduleSpec, answer=CheckedSchedule, reads=True, tag="schedules",
              summary="Say everything that is wrong with a schedule, and when it would be due; nothing is saved"),
)  # fmt: skip
