"""The running application as a drawing: threads are boxes, pipes arrows, brokers boxes at the sides. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec
from markupsafe import Markup

from event_processor.web.pages.drawing import Arrow, Box, columns, draw
from pylib.observe.drawing import duration, link_state, thread_state
from pylib.runtime.wiring import End, Link, Pipe, ThreadState, Wiring, rate

__all__ = ["Ill", "PipeRow", "ThreadRow", "broker_rows", "drawn", "oldest", "pipe_rows", "thread_rows"]

FULL: Final = 0.5
"""The part of a pipe that may wait in it before it is said to be filling up."""
_BUSY_S: Final = 1.0


class Ill(msgspec.Struct, frozen=True):
    """How something is: "good", "warn" or "bad", and in words."""

    grade: str
    words: str


class ThreadRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thread as a page lists it."""

    name: str
    role: str
    ill: Ill
    restarts: int
    error: str


class PipeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One pipe as a page lists it; ``lines`` are those of the code that opened its ends."""

    endpoint: str
    senders: str
    takers: str
    rate: str
    depth: int
    passed: int
    ill: Ill
    lines: str


def thread_rows(wiring: Wiring) -> list[ThreadRow]:
    """The threads, those that are ill first."""
    rows = [
        ThreadRow(name=each.name, role=each.role, ill=_thread(each), restarts=each.restarts, error=each.error)
        for each in wiring.threads
    ]
    return sorted(rows, key=lambda row: ("bad", "warn", "good").index(row.ill.grade))


def pipe_rows(wiring: Wiring, rates: Mapping[str, float]) -> list[PipeRow]:
    """The pipes, by their address."""
    return [
        PipeRow(
            endpoint=pipe.endpoint.removeprefix("inproc://"),
            senders=_names(pipe.senders),
            takers=_names(pipe.takers),
            rate=_rate(rates.get(pipe.endpoint, 0.0)),
            depth=pipe.depth,
            passed=pipe.taken,
            ill=_pipe(pipe),
            lines=", ".join(dict.fromkeys(_short(end.line) for end in (*pipe.senders, *pipe.takers))),
        )
        for pipe in wiring.pipes
    ]


def broker_rows(wiring: Wiring) -> list[tuple[Link, Ill]]:
    """The connections to brokers."""
    return [(link, _link(link, wiring.at)) for link in wiring.links]


def drawn(wiring: Wiring, before: Wiring | None = None) -> Markup:
    """The drawing, with what passed each pipe per second since ``before``."""
    rates = rate(before, wiring) if before is not None else {}
    arrows = [*_pipe_arrows(wiring, rates), *_link_arrows(wiring, before)]
    boxes = [*_broker_boxes(wiring), *map(_thread_box, (each for each in wiring.threads if _drawn(each, arrows)))]
    named = {box.id for box in boxes}
    boxes += [
        Box(id=name, lines=(name, "another thread"), kind="off")
        for name in dict.fromkeys(end for arrow in arrows for end in (arrow.start, arrow.end))
        if name not in named
    ]
    ids = [box.id for box in boxes]
    sources = [each for each in ids if each.startswith("broker in ")]
    column = columns(ids, arrows, sources, {arrow.end for arrow in arrows if arrow.start in sources})
    last = max(column.values(), default=0)
    column.update({each: last for each in ids if each.startswith("broker out ")})
    return draw(boxes, arrows, column, "The threads of the hub and the pipes between them", "wiring-drawing")


def _drawn(thread: ThreadState, arrows: list[Arrow]) -> bool:
    return thread.tracked or any(thread.name in (arrow.start, arrow.end) for arrow in arrows)


def _thread_box(thread: ThreadState) -> Box:
    ill = _thread(thread)
    sign = {"good": "✓", "warn": "⚠", "bad": "✗"}[ill.grade]
    lines = (thread.name, f"{sign} {ill.words}", thread.error or (f"{thread.restarts} restarts" if thread.restarts else ""))
    kind = {"good": "", "warn": "busy", "bad": "sick"}[ill.grade]
    title = f"{thread.name}: {ill.words}. {thread.error}"
    return Box(thread.name, lines, kind, f"/wiring/threads/{quote(thread.name, safe='')}", title, alarm=ill.grade == "bad")


def _thread(thread: ThreadState) -> Ill:
    words = thread_state(thread)
    if thread.down_since:
        return Ill("bad", "ended, starts again soon")
    if thread.tracked and (not thread.alive or thread.busy_s > thread.deadline_s):
        return Ill("bad", words)
    return Ill("warn" if thread.busy_s >= _BUSY_S else "good", words)


def _pipe(pipe: Pipe) -> Ill:
    if not pipe.takers and pipe.senders and pipe.sent:
        return Ill("bad", "nobody takes from it")
    if pipe.depth >= pipe.mark:
        return Ill("bad", "full: its senders wait")
    if pipe.depth >= FULL * pipe.mark:
        return Ill("warn", "filling up")
    return Ill("good", "flows" if pipe.taken else "quiet")


def _link(link: Link, now: float) -> Ill:
    words = link_state(link, now)
    if not link.up:
        return Ill("bad", f"{words}{': ' + link.error if link.error else ''}")
    return Ill("warn" if link.blocked or link.spooled else "good", words)


def _pipe_arrows(wiring: Wiring, rates: Mapping[str, float]) -> list[Arrow]:
    arrows: list[Arrow] = []
    for pipe in wiring.pipes:
        ill, speed = _pipe(pipe), rates.get(pipe.endpoint, 0.0)
        name = pipe.endpoint.removeprefix("inproc://")
        label = " ".join(part for part in (_rate(speed) if speed else "", f"{pipe.depth} wait" if pipe.depth else "") if part)
        kind = "full" if ill.grade != "good" else "flows" if speed else ""
        title = f"{name}: {_rate(speed)}, {pipe.depth} waiting, {pipe.taken} passed. {ill.words}."
        pairs = dict.fromkeys((a.thread, b.thread) for a in pipe.senders for b in pipe.takers if a.thread and b.thread)
        arrows += [Arrow(start, end, label, kind, title) for start, end in pairs if start != end]
    return _joined(arrows)


def _joined(arrows: list[Arrow]) -> list[Arrow]:
    """Several pipes between the same two are one arrow that has what is to say of each."""
    found: dict[tuple[str, str], Arrow] = {}
    for arrow in arrows:
        known = found.get((arrow.start, arrow.end))
        if known is None:
            found[arrow.start, arrow.end] = arrow
            continue
        kind = next((each for each in ("full", "flows") if each in (arrow.kind, known.kind)), "")
        label = " + ".join(part for part in (known.label, arrow.label) if part)
        found[arrow.start, arrow.end] = Arrow(arrow.start, arrow.end, label, kind, f"{known.title}\n{arrow.title}")
    return list(found.values())


def _side(link: Link, wiring: Wiring) -> str:
    """Where a broker stands: at the left of a thread that brings its messages in, at the right of one that only sends."""
    brings = any(end.thread == link.thread for pipe in wiring.pipes for end in pipe.senders)
    return "in" if brings else "out"


def _broker(link: Link, wiring: Wiring) -> str:
    return f"broker {_side(link, wiring)} {link.name}"


def _broker_boxes(wiring: Wiring) -> list[Box]:
    boxes: dict[str, Box] = {}
    for link in wiring.links:
        ident, ill = _broker(link, wiring), _link(link, wiring.at)
        known = boxes.get(ident)
        if known is not None and (known.alarm or ill.grade == "good"):
            continue
        sign = {"good": "✓", "warn": "⚠", "bad": "✗"}[ill.grade]
        kind = "sick" if ill.grade == "bad" else "busy" if ill.grade == "warn" else "broker"
        spool = f"{link.spooled} in the spool" if link.spooled else ""
        name, _, where = link.name.partition(" at ")
        boxes[ident] = Box(
            ident, (name, f"{sign} {ill.words}", spool or where), kind, "", f"{link.name}: {ill.words}", ill.grade == "bad"
        )
    return list(boxes.values())


def _link_arrows(wiring: Wiring, before: Wiring | None) -> list[Arrow]:
    earlier = {(link.thread, link.name): link for link in before.links} if before is not None else {}
    seconds = max(1e-9, wiring.clock - before.clock) if before is not None else 1.0
    arrows: list[Arrow] = []
    for link in wiring.links:
        known = earlier.get((link.thread, link.name), link)
        taken, sent = ((link.received - known.received) / seconds, (link.sent - known.sent) / seconds)
        ident = _broker(link, wiring)
        inward = ident.startswith("broker in ")
        start, end = (ident, link.thread) if inward else (link.thread, ident)
        words = [
            _rate(taken) if taken > 0 else "",
            f"out {_rate(sent)}" if sent > 0 and inward else _rate(sent) if sent > 0 else "",
        ]
        kind = "full" if not link.up else "flows" if taken > 0 or sent > 0 else ""
        title = f"{link.name}: in {link.received}, out {link.sent}, {link_state(link, wiring.at)}"
        arrows.append(Arrow(start, end, " ".join(filter(None, words)), kind, title))
    return arrows


def _rate(speed: float) -> str:
    return f"{speed:.0f}/s" if speed >= 10 or speed == 0 else f"{speed:.1f}/s"


def _names(ends: tuple[End, ...]) -> str:
    return ", ".join(dict.fromkeys(end.thread or "?" for end in ends)) or "nobody"


def _short(line: str) -> str:
    return "/".join(line.rsplit("/", 2)[-2:])


def oldest(wiring: Wiring) -> str:
    """What is not acknowledged yet, in a sentence."""
    if not wiring.unacknowledged:
        return "Everything that arrived has been acknowledged."
    age = duration(wiring.oldest_s)
    source = wiring.oldest or "a broker"
    return f"{wiring.unacknowledged} deliveries are not acknowledged yet, the oldest for {age}, from {source}."
