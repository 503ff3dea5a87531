"""A drawing of the running application, made from what the runtime knows: its threads, pipes and connections.

    before = snapshot(runtime)
    after = snapshot(runtime)
    after.pipes[0].depth, rate(before, after)["inproc://app-worker"]

A snapshot costs microseconds and disturbs nobody: counters are read as they are, and no thread is waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec
import zmq

from pylib.runtime.member import stack_of
from pylib.runtime.sockets import HIGH_WATER_MARK

if TYPE_CHECKING:
    from pylib.runtime.member import Member
    from pylib.runtime.runtime import Runtime
    from pylib.runtime.sockets import Socket

__all__ = ["End", "Link", "Pipe", "ThreadState", "Wiring", "rate", "snapshot", "stack"]

_TAKES: Final = frozenset((zmq.PULL, zmq.REP, zmq.SUB))


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a pipe: whose it is, its ZeroMQ type, the line of code that opened it, and what has passed it."""

    thread: str
    kind: str
    line: str
    count: int


class Pipe(msgspec.Struct, frozen=True, kw_only=True):
    """A pipe: one socket that takes, by its address and those that it has ``also``, and everybody who sends to it.

    ``depth`` is how many messages wait in it; ``mark`` is how many it holds before its senders have to wait.
    """

    endpoint: str
    also: tuple[str, ...]
    senders: tuple[End, ...]
    takers: tuple[End, ...]
    sent: int
    taken: int
    depth: int
    mark: int


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A connection to a broker, as the thread that keeps it sees it. ``since`` is when it came up or went down, in seconds
    since the epoch; ``blocked_since`` and ``stalled_since`` are when the broker, or the spool's disk, began to refuse what it
    is given (``stalled`` says why). ``unsettled`` is published and not accepted yet, ``owed`` delivered and not acknowledged
    yet.
    """

    thread: str
    name: str
    up: bool
    since: float
    blocked: bool = False
    room: int = 0
    unsettled: int = 0
    owed: int = 0
    sent: int = 0
    received: int = 0
    refused: int = 0
    connects: int = 0
    waiting: int = 0
    spooled: int = 0
    spooled_bytes: int = 0
    error: str = ""
    blocked_since: float = 0.0
    stalled: str = ""
    stalled_since: float = 0.0


class ThreadState(msgspec.Struct, frozen=True, kw_only=True):
    """A supervised thread. ``busy_s`` is how long it has been working on one thing; 0.0 while it waits. ``down_since`` is when
    it died, in seconds since the epoch, while it waits to be started again; 0.0 while it runs."""

    name: str
    role: str
    alive: bool
    busy_s: float
    deadline_s: float
    hung: bool
    tracked: bool
    restarts: int
    error: str
    down_since: float = 0.0


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it at one moment. ``at`` is in seconds since the epoch, ``clock`` in those of the monotonic clock.

    ``unacknowledged`` counts deliveries that something still holds, ``oldest_s`` is the age of the oldest of them and
    ``oldest`` where it came from.
    """

    at: float
    clock: float
    stopping: bool
    threads: tuple[ThreadState, ...]
    pipes: tuple[Pipe, ...]
    links: tuple[Link, ...]
    unacknowledged: int
    oldest_s: float
    oldest: str


def snapshot(runtime: Runtime) -> Wiring:
    """Draw the application as it is now. Any thread."""
    members = runtime.supervisor.members()
    now = runtime.clock.monotonic()
    oldest = runtime.receipts.oldest()
    return Wiring(
        at=runtime.clock.time(),
        clock=now,
        stopping=runtime.stopping,
        threads=tuple(_thread(member, now) for member in members),
        pipes=_pipes(runtime),
        links=tuple(link for member in members if member.link is not None and (link := member.link()) is not None),
        unacknowledged=len(runtime.receipts),
        oldest_s=max(0.0, now - oldest.opened) if oldest is not None else 0.0,
        oldest=oldest.label if oldest is not None else "",
    )


def rate(before: Wiring, after: Wiring) -> Mapping[str, float]:
    """Messages per second between two snapshots, by a pipe's endpoint: what was taken from it."""
    seconds = max(1e-9, after.clock - before.clock)
    taken = {pipe.endpoint: pipe.taken for pipe in before.pipes}
    return {pipe.endpoint: max(0, pipe.taken - taken.get(pipe.endpoint, 0)) / seconds for pipe in after.pipes}


def stack(runtime: Runtime, thread: str) -> str | None:
    """Where the thread of that name is right now, as text; None when there is none."""
    member = next((member for member in runtime.supervisor.members() if member.name == thread), None)
    return stack_of(member.thread) if member is not None else None


def _thread(member: Member, now: float) -> ThreadState:
    busy, error = member.busy_since, member.last_error
    return ThreadState(
        name=member.name,
        role=member.role.value,
        alive=member.alive,
        busy_s=max(0.0, now - busy) if busy is not None else 0.0,
        deadline_s=member.deadline,
        hung=member.hung,
        tracked=member.tracked,
        restarts=member.restarts,
        error=f"{type(error).__name__}: {error}" if error is not None else "",
        down_since=member.down_since,
    )


def _pipes(runtime: Runtime) -> tuple[Pipe, ...]:
    """One pipe for each socket that takes, with everybody who sends to one of its addresses."""
    registry = runtime.sockets
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    takers: dict[str, list[Socket]] = {}
    senders: dict[str, list[Socket]] = {}
    for socket in registry.all():
        for endpoint in socket.endpoints:
            if endpoint.startswith("inproc://"):
                side = takers if socket.kind in _TAKES else senders
                side.setdefault(endpoint, []).append(socket)
    found: dict[str, Pipe] = {}
    drawn: set[str] = set()
    for endpoint in sorted({*takers, *senders}):
        if endpoint in drawn:
            continue
        taking = takers.get(endpoint, [])
        shared = tuple(dict.fromkeys([endpoint, *(other for socket in taking for other in socket.endpoints)]))
        drawn.update(shared)
        sending = [socket for each in shared for socket in senders.get(each, ())]
        gone = [registry.departed.get(each, (0, 0)) for each in shared]
        sent = sum(socket.traffic.count for socket in sending) + sum(each[0] for each in gone)
        taken = sum(socket.traffic.count for socket in taking) + sum(each[1] for each in gone)
        found[endpoint] = Pipe(
            endpoint=shared[0],
            also=shared[1:],
            senders=tuple(_end(socket, names) for socket in sending),
            takers=tuple(_end(socket, names) for socket in taking),
            sent=sent,
            taken=taken,
            depth=max(0, sent - taken) if taking else 0,
            mark=2 * HIGH_WATER_MARK,
        )
    return tuple(found.values())


def _end(socket: Socket, names: Mapping[int | None, str]) -> End:
    owner = socket.owner.name if socket.owner is not None else names.get(socket.owner_ident, "")
    return End(thread=owner, kind=zmq.SocketType(socket.kind).name, line=socket.origin, count=socket.traffic.count)
