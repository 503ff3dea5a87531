"""Stored events once more, through changed rules, on a virtual clock: which decisions differ?

Timers ring between the events: those that rang when it was live at the moments when they did (``Engine.rung``), the others at
their own times. Nothing is sent and nothing is stored: both engines are the caller's, made for this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import msgspec

from event_processor.domain.engine import Engine
from event_processor.domain.entities import Availability
from event_processor.domain.events import Event
from event_processor.domain.outcome import Outcome
from event_processor.domain.prompts import Request, Scheduled

__all__ = ["Difference", "Done", "Report", "Said", "decide", "replay", "warm_up"]

Said: TypeAlias = Event | Availability | Request | Scheduled
_Compare: TypeAlias = Callable[[list[Outcome], list[Outcome]], None]

MOST_DIFFERENCES = 10_000
"""Differences that are kept; more are counted."""


class Done(msgspec.Struct, frozen=True, array_like=True):
    """What a rule did with one event: whether it fired, why or why not, and what left."""

    fired: bool
    reason: str
    explanation: str
    steps: tuple[str, ...] = ()


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One decision that differs. ``before`` or ``after`` is ``None`` where that rule did not look at the event."""

    at: float
    cause: str
    device: str
    rule: str
    before: Done | None
    after: Done | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found. ``fired_before`` and ``fired_after`` count firings by rule."""

    events: int
    differing: tuple[Difference, ...]
    more: int
    fired_before: dict[str, int]
    fired_after: dict[str, int]


def replay(
    events: Iterable[tuple[str, float, Said]], old: Engine | None, new: Engine, *, until: float | None = None
) -> Report:
    """Decide on ``events`` (cause, when it was decided, what was said), in their order, with both engines.

    Without ``old``, every firing of the new rules is a difference. After the last event the clock runs on to ``until``. What
    does not differ: ids, and explanations where firing, reason and steps are the same.
    """
    found: list[Difference] = []
    counts: tuple[dict[str, int], dict[str, int]] = ({}, {})
    number = more = 0

    def compare(befores: list[Outcome], afters: list[Outcome]) -> None:
        nonlocal more
        before, after = _done(befores, counts[0]), _done(afters, counts[1])
        if before == after:
            return
        for key in dict.fromkeys((*before, *after)):
            first, second = before.get(key), after.get(key)
            if _differ(first, second) and (old is not None or (second is not None and second.fired)):
                if len(found) < MOST_DIFFERENCES:
                    at, cause, rule, device = key
                    found.append(Difference(at=at, cause=cause, device=device, rule=rule, before=first, after=second))
                else:
                    more += 1

    for cause, at, said in events:
        number += 1
        _ring(old, new, at, compare)
        compare([] if old is None else decide(old, said, cause, at), decide(new, said, cause, at))
    if until is not None:
        _ring(old, new, until, compare)
    return Report(events=number, differing=tuple(found), more=more, fired_before=dict(counts[0]), fired_after=dict(counts[1]))


def decide(engine: Engine, said: Said, cause: str, at: float) -> list[Outcome]:
    """Decide once more on one thing that was said, asked or due. Timers are the caller's."""
    if isinstance(said, Event | Availability):
        return [engine.take(said, cause, at)]
    if isinstance(said, Request):
        return [engine.command(said, at)]
    return [engine.happen("schedule", said.schedule, cause, at), *(engine.command(each, at) for each in said.asked)]


def warm_up(events: Iterable[tuple[str, float, Said]], *engines: Engine) -> Iterator[float]:
    """Have engines know what was before a replay: values, latches, waits. Nothing is compared; gives each event's time."""
    for cause, at, said in events:
        for engine in engines:
            engine.due(at)
            decide(engine, said, cause, at)
        yield at


def _ring(old: Engine | None, new: Engine, until: float, compare: _Compare) -> None:
    """Let all timers up to ``until`` ring, each at its time, in both engines side by side."""
    while True:
        times = [at for one in (old, new) if one is not None and (at := one.next_due()) is not None and at <= until]
        if not times:
            return
        at = min(times)
        compare([] if old is None else old.due(at), new.due(at))


def _done(outcomes: list[Outcome], counts: dict[str, int]) -> dict[tuple[float, str, str, str], Done]:
    """By rule, what was done. A timer's cause is an id of its own, so timers are told apart by their time alone."""
    done: dict[tuple[float, str, str, str], Done] = {}
    for outcome in outcomes:
        cause = "timer" if outcome.event is None and outcome.prompt is None else outcome.cause
        for evaluation in outcome.evaluations:
            if evaluation.fired:
                counts[evaluation.rule] = counts.get(evaluation.rule, 0) + 1
            steps = tuple(f"{step.kind} {step.address}" for step in outcome.steps if step.rule == evaluation.rule)
            key = (outcome.at, cause, evaluation.rule, evaluation.device)
            done[key] = Done(evaluation.fired, evaluation.reason, evaluation.explanation, steps)
    return done


def _differ(first: Done | None, second: Done | None) -> bool:
    if first is None or second is None:
        return first is not second
    return (first.fired, first.reason, first.steps) != (second.fired, second.reason, second.steps)
