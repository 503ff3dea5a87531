"""Stored steps on their way out: sent once they are committed, and marked when somebody has accepted them.

Each step travels with a receipt of the writer's own; whoever takes it from the pipe settles that with the broker's
acceptance. The receipts of the delivery that caused it are let go of then, or once the commit has certainly reached the
disk, whichever is first: no broker is kept waiting for another one that is away. What finds no room waits in memory up to a
bound, and the rest is read from the table, in order, when there is some.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import zmq
from sqlalchemy import Connection, Row, select, tuple_

from event_processor.domain.outcome import Step
from event_processor.store import tables as t
from event_processor.store.batch import Settled
from event_processor.store.rows import step_of
from event_processor.store.sinks import Sink
from pylib.brokers.port import Expired
from pylib.errors import MessageError
from pylib.runtime.receipts import Receipt, Receipts, handling
from pylib.runtime.sockets import Socket

__all__ = ["Outbox", "Ticket"]

log = logging.getLogger("event_processor.store")

WINDOW: Final = 500
"""Steps of one kind that are sent and not accepted yet. Others wait in the table."""

MOST_WAITING: Final = 5000
"""Steps of one kind that wait in memory for room; what comes after them is read from the table."""

READ_AHEAD: Final = 100
"""Steps read from the table at a time, when there is room for them."""

MOST_SETTLED: Final = 20_000
"""Notes of accepted steps that wait to be written while the store cannot be; further ones are sent once more at the next
start, with the same ids."""


class Ticket:
    """The receipts of one message to the writer, and how many of its steps are not accepted. Let go of, it has none."""

    __slots__ = ("open", "receipts", "since", "stored")

    def __init__(self, receipts: tuple[Receipt, ...], steps: int, since: float, stored: bool) -> None:
        self.receipts = receipts
        self.open = steps
        self.since = since
        self.stored = stored

    def accepted(self) -> None:
        """One more of its steps is dealt with."""
        self.open -= 1
        if self.open <= 0:
            self.release()

    def release(self) -> None:
        receipts, self.receipts = self.receipts, ()
        for receipt in receipts:
            receipt.release()

    def fail(self, error: BaseException) -> None:
        """It could not be sent on: its deliveries come again."""
        receipts, self.receipts = self.receipts, ()
        for receipt in receipts:
            receipt.fail(error)


class _Lane:
    """The steps of one kind."""

    __slots__ = ("behind", "cursor", "in_flight", "queued", "sink", "socket", "waiting")

    def __init__(self, sink: Sink, socket: Socket) -> None:
        self.sink = sink
        self.socket = socket
        self.in_flight: dict[str, Ticket | None] = {}
        # Stored ones that found no room, in order, and their ids.
        self.waiting: deque[tuple[Step, Ticket]] = deque()
        self.queued: set[str] = set()
        # Whether there are steps in the table that have to go first, and after which event and position to look.
        self.behind = True
        self.cursor = (0, -1)

    def free(self) -> bool:
        return len(self.in_flight) < WINDOW and bool(int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLOUT)


class Outbox:
    """Belongs to the writer's thread, except for what settles a receipt.

    :param ring: called by whichever thread settled the first step since ``collect``; must be quick and thread-safe.
    """

    def __init__(
        self, lanes: Mapping[str, tuple[Sink, Socket]], receipts: Receipts, now: Callable[[], float], ring: Callable[[], None]
    ) -> None:
        self._lanes = {kind: _Lane(sink, socket) for kind, (sink, socket) in lanes.items()}
        self._receipts = receipts
        self._now = now
        self._ring = ring
        self._arrived: deque[tuple[str, str, BaseException | None]] = deque()
        self._rung = False
        #: What became of steps, to be written with the next batch.
        self.settled: list[Settled] = []
        self.tickets: deque[Ticket] = deque()
        self.accepted = self.refused = self.expired = 0
        #: Whether a step came back that has to be sent again.
        self.returned = False

    @property
    def in_flight(self) -> int:
        """Steps sent and not accepted yet."""
        return sum(len(lane.in_flight) for lane in self._lanes.values())

    @property
    def behind(self) -> bool:
        """Whether steps wait in the table."""
        return any(lane.behind for lane in self._lanes.values())

    @property
    def waiting(self) -> int:
        """Steps that wait in memory for room."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def send(self, step: Step, ticket: Ticket) -> None:
        """Send a step now, or leave it in the table if it is stored. One that is not stored waits here for room."""
        lane = self._lanes.get(step.kind)
        if lane is None:
            self._refuse(step, f"nothing here takes steps of the kind {step.kind!r}")
            ticket.accepted()
        elif step.id in lane.in_flight or step.id in lane.queued:
            ticket.accepted()
        elif not ticket.stored:
            self._push(lane, step, ticket)
        elif lane.behind or len(lane.waiting) >= MOST_WAITING:
            lane.behind = True  # the table has it; the ticket waits for the disk
        elif lane.waiting or not lane.free():
            lane.waiting.append((step, ticket))
            lane.queued.add(step.id)
        else:
            self._push(lane, step, ticket)

    def drain(self) -> None:
        """Send what waits in memory, as far as there is room."""
        for lane in self._lanes.values():
            while lane.waiting and lane.free():
                step, ticket = lane.waiting.popleft()
                lane.queued.discard(step.id)
                if step.expires_at <= self._now():
                    self.expired += 1
                    self._settle(step.id, t.EXPIRED, "its time was up before there was a way to send it")
                    ticket.accepted()
                else:
                    self._push(lane, step, ticket)

    def pump(self, connection: Connection) -> None:
        """Send what waits in the table, as far as there is room. Raises what SQLAlchemy raises."""
        self.drain()
        for kind, lane in self._lanes.items():
            while lane.behind and not lane.waiting and lane.free():
                query = (
                    select(t.steps)
                    .where(t.steps.c.status == t.PENDING, t.steps.c.kind == kind)
                    .where(tuple_(t.steps.c.event_id, t.steps.c.position) > lane.cursor)
                    .order_by(t.steps.c.event_id, t.steps.c.position)
                    .limit(READ_AHEAD)
                )
                rows = connection.execute(query).all()
                connection.rollback()  # nothing is held open between two looks
                sent = self._send_rows(lane, rows)
                if sent == len(rows) < READ_AHEAD:
                    lane.behind = False

    def _send_rows(self, lane: _Lane, rows: Sequence[Row[Any]]) -> int:
        """Send rows of the table while there is room; how many of them are dealt with."""
        known = {settled.step for settled in self.settled}
        now = self._now()
        for number, row in enumerate(rows):
            if row.id not in lane.in_flight and row.id not in known:
                if not lane.free():
                    return number
                if row.expires_at <= now:
                    self.expired += 1
                    self._settle(row.id, t.EXPIRED, "its time was up before there was a way to send it")
                else:
                    self._push(lane, step_of(row), None)
            lane.cursor = (row.event_id, row.position)
        return len(rows)

    def again(self) -> None:
        """Look through the whole table once more for what is pending: at the start, and after steps came back."""
        self.returned = False
        for lane in self._lanes.values():
            lane.behind, lane.cursor = True, (0, -1)

    def collect(self) -> bool:
        """Take note of what has been settled since the last time. Whether there was anything."""
        self._rung = False
        found = False
        while self._arrived:
            kind, step, error = self._arrived.popleft()
            found = True
            ticket = self._lanes[kind].in_flight.pop(step, None)
            if ticket is not None:
                ticket.accepted()
            if error is None:
                self.accepted += 1
                self._settle(step, t.DONE, None)
            elif isinstance(error, Expired):
                self.expired += 1
                self._settle(step, t.EXPIRED, str(error))
            elif isinstance(error, MessageError):
                self.refused += 1
                self._settle(step, t.FAILED, str(error))
            else:
                self.returned = True  # whoever had it has ended: it is pending in the table
        return found

    def let_go(self, before: float) -> None:
        """Everything stored before that moment (monotonic) is on the disk: let go of its deliveries."""
        while self.tickets and (self.tickets[0].since <= before or not self.tickets[0].receipts):
            self.tickets.popleft().release()

    def oldest(self) -> float | None:
        """When the oldest delivery was stored that is still held; None where none is."""
        while self.tickets and not self.tickets[0].receipts:
            self.tickets.popleft()
        return self.tickets[0].since if self.tickets else None

    def close(self) -> None:
        """Nothing is sent any more. What is stored and not accepted is sent again at the next start."""
        for ticket in self.tickets:
            ticket.release()
        self.tickets.clear()
        for lane in self._lanes.values():
            lane.waiting.clear()
            lane.queued.clear()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _push(self, lane: _Lane, step: Step, ticket: Ticket | None) -> None:
        try:
            message = lane.sink.encode(step)
        except Exception as error:  # one step that cannot be put into words must not cost the others
            self._refuse(step, f"{type(error).__name__}: {error}")
            if ticket is not None:
                ticket.accepted()
            return
        kind, ident = step.kind, step.id
        receipt = self._receipts.open(lambda settled: self._on_settled(kind, ident, settled), label=step.address)
        if self._receipts.hops is not None and ticket is not None:
            self._receipts.hops.inherit(receipt, ticket.receipts)
        if ticket is None or ticket.stored:
            lane.in_flight[ident] = ticket
            carried: tuple[Receipt, ...] = (receipt,)
        else:
            # Nothing but the far end's acceptance vouches for it, so the deliveries go along.
            lane.in_flight[ident] = None
            carried = (receipt, *ticket.receipts)
            for each in ticket.receipts:
                each.hold()
        with handling(carried):
            lane.socket.send_pyobj(message)

    def _refuse(self, step: Step, why: str) -> None:
        log.warning("A step for %s was set aside: %s", step.output or step.address, why)
        self.refused += 1
        self._settle(step.id, t.FAILED, why)

    def _on_settled(self, kind: str, step: str, receipt: Receipt) -> None:
        """On the thread that accepted it."""
        self._arrived.append((kind, step, receipt.error))
        if not self._rung:
            self._rung = True
            self._ring()

    def _settle(self, step: str, status: str, reason: str | None) -> None:
        if len(self.settled) < MOST_SETTLED:
            self.settled.append(Settled(step, status, self._now(), reason))
