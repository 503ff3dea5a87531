"""Whether an application does its work, and if not, which part does not and since when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from pylib.runtime.wiring import ThreadState, Wiring

__all__ = ["OLDEST_S", "Health", "Problem", "health"]

#: Seconds that a delivery may wait for everything it causes; one that waits longer is a problem to look at.
OLDEST_S: Final = 60.0
_BLOCKED: Final = (
    "the broker has asked not to be sent anything for now (connection.blocked): look at its memory and disk alarms"
)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be: ``part`` names it, ``what`` is a sentence for a person, ``since`` is in seconds
    since the epoch. ``fatal`` means that only a restart helps."""

    part: str
    what: str
    since: float
    fatal: bool = False


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """``live``: a restart would not help. ``ready``: it does its work. A broker that is away makes it unready, never dead."""

    live: bool
    ready: bool
    at: float
    problems: tuple[Problem, ...] = ()


def health(wiring: Wiring, others: Iterable[Problem] = ()) -> Health:
    """Judge an application by its drawing, and by what its parts (a store, a disk) say of themselves."""
    problems = [*_threads(wiring), *_links(wiring), *_deliveries(wiring), *others]
    if wiring.stopping:
        problems.append(Problem(part="application", what="it is stopping", since=wiring.at))
    live = not any(problem.fatal for problem in problems)
    return Health(live=live, ready=not problems, at=wiring.at, problems=tuple(problems))


def _threads(wiring: Wiring) -> Iterable[Problem]:
    for thread in wiring.threads:
        why = _thread(thread)
        if why:
            hung = thread.busy_s > thread.deadline_s
            since = thread.down_since or wiring.at - thread.busy_s
            yield Problem(part=f"thread {thread.name}", what=why, since=since, fatal=hung)


def _thread(thread: ThreadState) -> str:
    if not thread.tracked:
        return ""
    if thread.busy_s > thread.deadline_s:
        return f"it has been busy with one thing for {thread.busy_s:.0f} s, and {thread.deadline_s:g} s is its limit"
    if thread.down_since:
        return f"it died ({thread.error}) and is about to be started again, for the {_number(thread.restarts)} time"
    if not thread.alive:
        return f"it has ended ({thread.error or 'without an error'})"
    return ""


def _links(wiring: Wiring) -> Iterable[Problem]:
    for link in wiring.links:
        part = f"{link.thread} ({link.name})"
        if not link.up:
            error = link.error.removeprefix(f"{link.name}: ")  # the part has the name already
            why = f"not connected: {error}" if error else "not connected yet"
            yield Problem(part=part, what=why, since=link.since)
        elif link.blocked:
            yield Problem(part=part, what=_BLOCKED, since=link.blocked_since or link.since)
        if link.stalled:
            yield Problem(part=f"spool of {link.thread}", what=link.stalled, since=link.stalled_since)


def _number(count: int) -> str:
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(count, f"{count}th")


def _deliveries(wiring: Wiring) -> Iterable[Problem]:
    if wiring.oldest_s > OLDEST_S:
        what = f"a message from {wiring.oldest or 'a broker'} has not been dealt with for {wiring.oldest_s:.0f} s"
        yield Problem(part="deliveries", what=what, since=wiring.at - wiring.oldest_s)
