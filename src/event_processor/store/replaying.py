"""Engines that know what the hub knew at a moment in the past, and a replay from there.

What they know when the replay begins: what is stored and has not changed since the warm-up began; the modes and switches that
people, programs and schedules had asked for; and all that the events of the warm-up say, with the latches and waits that come
of it. Devices, rooms and groups are those of today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from event_processor.domain.engine import Engine
from event_processor.domain.registry import Registry
from event_processor.domain.replay import Report, Said, replay, warm_up
from event_processor.domain.rulebook import Rulebook
from event_processor.domain.state import HubState
from event_processor.store import history
from event_processor.store.reader import Reader

__all__ = ["Tell", "engine_at", "replay_from"]

Tell = Callable[[str, int, int], None]


def engine_at(
    reader: Reader, book: Rulebook, registry: Registry, moment: float, rung: dict[str, float] | None = None
) -> Engine:
    """An engine that knows what is known of ``moment`` without hearing anything again. ``book`` is its alone."""
    rung = {} if rung is None else rung
    first = Engine(book, registry, rung=rung)
    for at, wish in history.wishes_before(reader, moment):
        first.due(at)
        first.command(wish, at)
    first.due(moment)
    state = HubState.restore(first.state.rows())
    state.apply(history.state_before(reader, moment))
    engine = Engine(book, registry, state, rung)
    engine.reload(book, moment, "replay")  # what rules that are not in the book remembered is none of its business
    return engine


def replay_from(
    reader: Reader,
    old: Rulebook | None,
    new: Rulebook,
    registry: Registry,
    since: float,
    until: float,
    warm_s: float,
    tell: Tell = lambda what, done, total: None,
) -> Report:
    """Decide once more on what is stored from ``since`` to ``until``, after hearing ``warm_s`` seconds of what came before.

    :param registry: who is out there; it is only read.
    :param tell: called with what is done, how much of it, and of how much.
    """
    begin = since - warm_s
    rung = history.rung(reader, begin, until)
    engines = [engine_at(reader, book, registry, begin, rung) for book in (old, new) if book is not None]
    _run_through(warm_up(history.said(reader, begin, since), *engines), history.count(reader, begin, since), tell)
    total = history.count(reader, since, until)
    events = _told(history.said(reader, since, until), total, tell)
    report = replay(events, engines[0] if old is not None else None, engines[-1], until=until)
    tell("events", total, total)
    return report


def _run_through(times: Iterator[float], total: int, tell: Tell) -> None:
    for number, _ in enumerate(times, 1):
        if number % 1000 == 0:
            tell("warm-up", number, total)


def _told(events: Iterator[tuple[str, float, Said]], total: int, tell: Tell) -> Iterator[tuple[str, float, Said]]:
    for number, event in enumerate(events, 1):
        if number % 1000 == 0:
            tell("events", number, total)
        yield event
