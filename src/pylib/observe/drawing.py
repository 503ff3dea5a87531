"""The drawing of a running application as text, as DOT and as Mermaid. Pure: values in, text out.

Threads are boxes, pipes and connections to brokers are arrows with their messages per second and how many wait.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pylib.observe.health import Health
from pylib.runtime.wiring import Link, Pipe, ThreadState, Wiring

__all__ = ["FORMATS", "as_dot", "as_mermaid", "as_text", "duration", "link_state", "size", "thread_state"]

FORMATS: Final = ("text", "dot", "mermaid", "json")

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_KIB: Final = 1024
_ODD: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def duration(seconds: float) -> str:
    """A time as a person says it: ``450 ms``, ``12 s``, ``3 min``, ``5 h``, ``2 d``."""
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.0f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} d"


def size(count: float) -> str:
    """Bytes as a person says them: ``900 B``, ``1.5 KiB``, ``3.2 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} GiB"


def thread_state(thread: ThreadState) -> str:
    """What a thread does, in a word or two; the first word is the worst of it."""
    if not thread.tracked:
        state = "on its own" if thread.alive else "ended"
    elif thread.busy_s > thread.deadline_s:
        state = f"hung for {duration(thread.busy_s)}"
    elif not thread.alive:
        state = "ended"
    else:
        state = f"busy for {duration(thread.busy_s)}" if thread.busy_s >= 1 else "well"
    return state + (f", restarted {thread.restarts}x" if thread.restarts else "")


def link_state(link: Link, now: float) -> str:
    """How a connection to a broker is, since when, and what waits for it."""
    state = "up" if link.up else "down"
    parts = [f"{state} for {duration(now - link.since)}" if link.since else "not up yet"]
    if link.blocked:
        parts.append("blocked by the broker")
    if link.unsettled:
        parts.append(f"{link.unsettled} unsettled")
    if link.owed:
        parts.append(f"{link.owed} to acknowledge")
    if link.waiting:
        parts.append(f"{link.waiting} waiting")
    if link.spooled:
        parts.append(f"{link.spooled} in the spool ({size(link.spooled_bytes)})")
    if link.refused:
        parts.append(f"{link.refused} refused")
    if link.connects > 1:
        parts.append(f"connected {link.connects}x")
    return ", ".join(parts)


def as_text(wiring: Wiring, rates: Mapping[str, float], health: Health | None = None, title: str = "") -> str:
    """For a terminal: threads, pipes, brokers, what is unacknowledged, and what is wrong, worst things last."""
    lines = [title] if title else []
    lines += _table("thread", [(each.name, thread_state(each), each.error) for each in wiring.threads])
    lines += _table("pipe", [_pipe_row(pipe, rates) for pipe in wiring.pipes])
    lines += _table(
        "broker",
        [(f"{link.name} ({link.thread})", f"in {link.received}, out {link.sent}", link_state(link, wiring.at), link.error)
         for link in wiring.links],
    )  # fmt: skip
    oldest = f", the oldest for {duration(wiring.oldest_s)} from {wiring.oldest}" if wiring.unacknowledged else ""
    lines += ["", f"{wiring.unacknowledged} deliveries unacknowledged{oldest}"]
    if health is not None:
        word = "ready" if health.ready else "live, not ready" if health.live else "not live: only a restart helps"
        lines.append(word)
        lines += [f"  {p.part}: {p.what} (for {duration(health.at - p.since)})" for p in health.problems]
    return "\n".join(_plain(line).rstrip() for line in lines)


def as_dot(wiring: Wiring, rates: Mapping[str, float], name: str = "application") -> str:
    """For Graphviz: ``pylib wiring --format dot | dot -Tsvg``."""
    lines = [f"digraph {_dot(name)} {{", "  rankdir=LR;", '  node [shape=box, style=rounded, fontname="sans-serif"];',
             '  edge [fontname="sans-serif", fontsize=10];']  # fmt: skip
    for thread in wiring.threads:
        ill = ', color="red"' if _ill(thread) else ""
        lines.append(f"  {_dot(thread.name)} [label={_dot(thread.name, thread_state(thread))}{ill}];")
    for link in wiring.links:
        colour = "" if link.up and not link.blocked else ', color="red"'
        label = _dot(link.name, link_state(link, wiring.at))
        lines.append(f"  {_dot(_broker(link))} [shape=cylinder, style=solid, label={label}{colour}];")
    for start, end, label in _arrows(wiring, rates):
        lines.append(f"  {_dot(start)} -> {_dot(end)} [label={_dot(label)}];")
    return "\n".join([*lines, "}"])


def as_mermaid(wiring: Wiring, rates: Mapping[str, float]) -> str:
    """For a document: a Mermaid flowchart."""
    arrows = _arrows(wiring, rates)
    names = [*(t.name for t in wiring.threads), *map(_broker, wiring.links), *(n for a in arrows for n in a[:2])]
    ids = {name: f"n{number}" for number, name in enumerate(dict.fromkeys(names))}
    threads = {thread.name: thread for thread in wiring.threads}
    links = {_broker(link): link for link in wiring.links}
    lines = ["flowchart LR"]
    for name, ident in ids.items():
        if name in links:
            lines.append(f"  {ident}[({_mermaid(links[name].name, link_state(links[name], wiring.at))})]")
        else:
            state = thread_state(threads[name]) if name in threads else ""
            lines.append(f"  {ident}[{_mermaid(name, state)}]")
    lines += [f"  {ids[start]} -->|{_mermaid(label)}| {ids[end]}" for start, end, label in arrows]
    ill = [ids[t.name] for t in wiring.threads if _ill(t)] + [ids[n] for n, k in links.items() if not k.up or k.blocked]
    if ill:
        lines += ["  classDef ill stroke:#c00,stroke-width:3px", f"  class {','.join(ill)} ill"]
    return "\n".join(lines)


def _arrows(wiring: Wiring, rates: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """From, to and the words on it: an arrow for each sender and taker of a pipe, two for a connection."""
    arrows: list[tuple[str, str, str]] = []
    for pipe in wiring.pipes:
        label = f"{_short(pipe.endpoint)} {rates.get(pipe.endpoint, 0.0):.1f}/s" + (
            f", {pipe.depth} waiting" if pipe.depth else ""
        )
        senders = _names(end.thread for end in pipe.senders) or ["outside"]
        takers = _names(end.thread for end in pipe.takers) or ["nobody"]
        arrows += [(start, end, label) for start in senders for end in takers]
    for link in wiring.links:
        if link.received:
            arrows.append((_broker(link), link.thread, f"{link.received} received"))
        if link.sent or not link.received:
            arrows.append((link.thread, _broker(link), f"{link.sent} sent"))
    return arrows


def _pipe_row(pipe: Pipe, rates: Mapping[str, float]) -> tuple[str, ...]:
    senders = ", ".join(_names(end.thread for end in pipe.senders)) or "outside"
    takers = ", ".join(_names(end.thread for end in pipe.takers)) or "nobody"
    depth = f"{pipe.depth} waiting" if pipe.depth else ""
    where = " ".join(map(_short, (pipe.endpoint, *pipe.also)))
    return where, f"{rates.get(pipe.endpoint, 0.0):.1f}/s", str(pipe.taken), depth, f"{senders} > {takers}"


def _table(title: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return ["", f"no {title}"]
    heads: dict[str, tuple[str, ...]] = {
        "thread": ("thread", "state", "last error"),
        "pipe": ("pipe", "rate", "taken", "depth", "from > to"),
        "broker": ("broker", "messages", "state", "last error"),
    }
    table = [heads[title], *((_plain(cell) for cell in row) for row in rows)]
    cells = [tuple(row) for row in table]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["", *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)]


def _ill(thread: ThreadState) -> bool:
    return thread.tracked and (thread.busy_s > thread.deadline_s or not thread.alive)


def _broker(link: Link) -> str:
    return f"{link.name} of {link.thread}"


def _names(names: Iterable[str]) -> list[str]:
    return [name or "a thread of its own" for name in dict.fromkeys(names)]


def _short(endpoint: str) -> str:
    return endpoint.removeprefix("inproc://")


def _plain(text: str) -> str:
    """Without characters that could move a terminal's cursor or end a label."""
    return _ODD.sub(" ", text)


def _dot(*lines: str) -> str:
    """A quoted string of the DOT language, in which a backslash starts an escape and ``"`` ends it."""
    return '"' + "\\n".join(_plain(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines if line) + '"'


def _mermaid(*lines: str) -> str:
    """A quoted label of Mermaid: ``"`` and what could be read as HTML or as an entity are written as entities."""
    escaped = (re.sub(r"""[&"<>#|`]""", lambda m: f"#{ord(m.group())};", _plain(line)) for line in lines if line)
    return '"' + "<br>".join(escaped) + '"'
