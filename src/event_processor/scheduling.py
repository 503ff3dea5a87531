"""Schedules at work: what is due becomes outcomes of the engine, and schedules are switched on and off."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from event_processor.causes import Causes
from event_processor.domain.engine import Engine
from event_processor.domain.heard import Request
from event_processor.domain.outcome import Change, Outcome
from event_processor.domain.prompts import Scheduled
from event_processor.domain.requests import answer
from event_processor.domain.schedules import Due, Schedule, ScheduleFired, Task, Timetable
from event_processor.domain.task_requests import requests_of
from pylib.brokers.identity import new_id

__all__ = ["Schedules"]

log = logging.getLogger("event_processor.schedules")


class Schedules:
    """All schedules, and the engine that does what they say. Belongs to the thread that decides.

    Guarantee: what a schedule does at one of its times is one outcome together with the change that remembers that time, so
    both are stored or neither is; a time that was done before is not done again.
    """

    def __init__(self, timetable: Timetable, engine: Engine, causes: Causes) -> None:
        self._timetable = timetable
        self._engine = engine
        self._causes = causes

    def next_due(self) -> float | None:
        """When ``due`` has something to do next; None with nothing to come."""
        return self._timetable.next_due()

    def begin(self, now: float) -> Iterator[Outcome]:
        """Deal with what was missed while nobody was here, by each schedule's policy. Comes first."""
        return self._outcomes(self._timetable.reconcile(None, now), now)

    def due(self, now: float) -> Iterator[Outcome]:
        """Do everything that has come due by ``now``."""
        return self._outcomes(self._timetable.due(now), now)

    def replace(self, schedules: Iterable[Schedule], now: float) -> Iterator[Outcome]:
        """Go on with these schedules and no others; what was due by ``now`` is done first, as it was written then."""
        yield from self.due(now)
        changes = self._timetable.replace(schedules, now)
        if changes:
            yield Outcome(cause=new_id(), at=now, changes=changes)

    def switch(self, request: Request, name: str, now: float) -> Outcome:
        """Switch a schedule, or those of a pattern, as somebody asks (``enable`` or ``disable``)."""
        on = request.what == "enable"
        changes: list[Change] = []
        meant = self._timetable.named(name)
        for schedule in meant:
            changes += self._timetable.enable(schedule, on, now)
        text = f"it is switched {'on' if on else 'off'}" if meant else "there is no such schedule"
        said = answer(request, now, bool(meant), text)
        return Outcome(cause=request.id, at=now, evaluations=(said,), changes=tuple(changes))

    def _outcomes(self, due: Due, now: float) -> Iterator[Outcome]:
        for note in due.notes:
            log.info("%s", note)
        for fired in due.fired:
            if not self._causes.decided(fired.cause):
                self._causes.note(fired.cause)
                yield self._fire(fired, now)
        if due.changes:
            yield Outcome(cause=new_id(), at=now, changes=due.changes)

    def _fire(self, fired: ScheduleFired, now: float) -> Outcome:
        log.info("%s", fired.explanation or f"Schedule {fired.name or fired.schedule} is due.")
        parts = [self._engine.happen("schedule", fired.schedule, fired.cause, now)]
        for number, task in enumerate(fired.tasks):
            parts += self._do(task, f"{fired.cause}.{number}", f"Schedule {fired.name or fired.schedule}", now)
        return Outcome(
            cause=fired.cause,
            at=now,
            evaluations=tuple(evaluation for part in parts for evaluation in part.evaluations),
            steps=tuple(step for part in parts for step in part.steps),
            changes=(fired.change, *(change for part in parts for change in part.changes)),
            prompt=Scheduled(fired.schedule, tuple(part.prompt for part in parts if isinstance(part.prompt, Request))),
        )

    def _do(self, task: Task, cause: str, who: str, now: float) -> Iterator[Outcome]:
        if task.do in ("enable", "disable") and task.subject == "schedule":
            asked = Request(id=cause, at=now, what=task.do, who=who, about=f"schedule:{task.name}")
            yield self.switch(asked, task.name, now)
            return
        engine = self._engine
        meant = requests_of(task, engine.book, engine.registry, engine.state)
        for number, (what, about, value) in enumerate(meant):
            yield engine.command(Request(id=f"{cause}.{number}", at=now, what=what, who=who, about=about, value=value), now)
