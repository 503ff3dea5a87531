"""The store's writer: the one thread that writes. Stores outcomes in batches, and only then sends on what they ask for.

What it guarantees:

- An outcome is stored as a whole or not at all, before any of its steps leaves; a cause that is stored already is not
  stored again, and what is pending of it is sent with the ids that it has.
- A delivery's receipt is let go of when the steps it caused were accepted, or when their commit is on the disk.
- While the store cannot be written, steps go out all the same, and the deliveries are let go of when those were accepted.
  What was not stored is kept up to a bound, and the state without one; it is written as soon as that works again.
- Once another hub has taken over a PostgreSQL store, nothing more is written or sent, and the application ends (exit code 1).
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeAlias, TypeVar

import zmq
from sqlalchemy import URL, Connection
from zmq.error import Again

from event_processor.domain.outcome import Outcome
from event_processor.domain.records import ImageRecord, MeterRecord, NotificationRecord, Record
from event_processor.store.checkpoints import Checkpointer
from event_processor.store.database import Database
from event_processor.store.errors import StoreTaken
from event_processor.store.keeper import Keeper, Loaded, Stored, StoreHealth
from event_processor.store.outbox import Outbox, Ticket
from event_processor.store.retention import Sweep
from event_processor.store.rows import OutcomeRows, rows_of
from event_processor.store.sinks import URL_STORE, Sink, default_sinks
from pylib.app import LoopThread, RestartPolicy
from pylib.errors import MessageError, Rejected
from pylib.runtime.here import HERE
from pylib.runtime.latch import StopCause
from pylib.runtime.loop import READ, Loop
from pylib.runtime.member import DEFAULT_DEADLINE, STOP
from pylib.runtime.receipts import Receipt
from pylib.zmq import Closable

__all__ = ["Loaded", "StoreHealth", "StoreWriter"]

log = logging.getLogger("event_processor.store")

BATCH: Final = 500
"""Outcomes in one transaction, about: a message's outcomes stay together."""

HELD_FOR: Final = 1.0
"""Seconds after which a delivery is no longer kept waiting for the acceptance of its steps: the disk vouches for them."""

NOTE_WITHIN: Final = 0.05
"""Seconds within which the acceptance of steps is noted in the table, unless a batch comes first and takes the notes along."""

FIRST_RETRY: Final = 1.0
"""Seconds until a store that failed is tried again; twice as long after each failure, up to ``LAST_RETRY``."""

LAST_RETRY: Final = 10.0
LAST_WORDS: Final = 0.1
"""Seconds of the stop in which acceptances of what is under way are waited for."""

Result = TypeVar("Result")
_Entry: TypeAlias = tuple[tuple[Receipt, ...], list[OutcomeRows], list[Record]]


class StoreWriter(LoopThread, Closable):
    """Takes an ``Outcome``, a list of them, or a ``Record`` from ``inproc://store``, and owns the store.

    Start it before the thread that sends to it, so that it stops after that one.

    :param url: a SQLite file or ``postgresql://...``.
    :param sinks: where the steps of each kind go.
    :param sweep: forgets what is too old or too much; None keeps everything.
    :param database: instead of ``url``, for tests.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | URL,
        *,
        source_url: str = URL_STORE,
        sinks: Mapping[str, Sink] | None = None,
        sweep: Sweep | None = None,
        name: str | None = None,
        restart: RestartPolicy = STOP,
        deadline: float = DEFAULT_DEADLINE,
        database: Database | None = None,
    ) -> None:
        LoopThread.__init__(self, name, restart=restart, deadline=deadline)
        Closable.__init__(self, connect_url=source_url)
        lanes = {}
        for kind, sink in (default_sinks() if sinks is None else sinks).items():
            lanes[kind] = (sink, self.get_socket(zmq.PUSH))
            lanes[kind][1].connect(sink.url)
        clock = self.runtime.clock
        database = database or Database(url)
        self._checkpoints = Checkpointer(database.file) if database.file is not None else None
        self._outbox = Outbox(lanes, self.runtime.receipts, clock.time, self._ring)
        self._keeper = Keeper(database, self._outbox, clock)
        self._sweep = sweep
        self._tasks: deque[Callable[[], None]] = deque()
        self._noting = self._syncing = self._ending = self._ended = False
        self._orphans: list[Receipt] = []
        self._retry = FIRST_RETRY
        # Told, on this thread, of outcomes that were decided, after their commit. Must neither block nor raise.
        self.on_stored: Callable[[list[Outcome]], None] | None = None

    # -- from any thread ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, and the one that copies SQLite's log back. Any thread; once."""
        if self._checkpoints is not None:
            self._checkpoints.start()
        super().start()

    def stop(self, timeout: float | None = None) -> bool:
        """As for any application thread; its companion ends with it."""
        ended = super().stop(timeout)
        return (self._checkpoints is None or self._checkpoints.stop(timeout)) and ended

    def load(self) -> Loaded:
        """Open the store, and read what the owner of the state needs to go on where the last run ended.

        By the thread that composes the hub, before ``start``. A store that cannot be used is reported (see
        ``StoreHealth``) and the hub runs without; a damaged one is set aside and a new one started.
        Raises ``ConfigError`` for one of another program or of a newer version, and ``StoreInUse``.
        """
        return self._keeper.load()

    def health(self) -> StoreHealth:
        """How the store is. Any thread."""
        return self._keeper.health(self._outbox)

    def submit(self, work: Callable[[Connection], Result]) -> Future[Result]:
        """Have the writer run ``work`` in a transaction of its own, soon. Any thread; fails with what ``work`` raises.

        For what is neither an outcome nor a record: accounts, sessions, the audit. Keep it short: the events wait.
        """
        future: Future[Result] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._keeper.run(work))
                except Exception as error:  # it is the asker's
                    future.set_exception(error)

        self._tasks.append(run)
        loop = self.member.loop
        if loop is not None:
            loop.post(self._run_tasks)
        return future

    # -- on the thread -----------------------------------------------------------------------------------------------

    def startup(self) -> None:
        if not self._keeper.loaded:
            self._keeper.load()

    def arrange(self, loop: Loop) -> None:
        loop.watch(self.socket, READ, lambda mask: self._serve(1))
        loop.post(self._run_tasks)
        self._outbox.again()
        if self._keeper.failing:
            self._recover_later(loop)
        else:
            self._pump()
        if self._sweep is not None:
            loop.call_later(self._sweep.every_s, lambda: self._sweep_now(loop))

    def drain(self, loop: Loop) -> None:
        if self._keeper.taken:
            loop.stop()
            return
        # Two high-water marks are what a pipe holds: more than that is not waiting, it is arriving.
        self._serve(2 * self.socket.getsockopt(zmq.RCVHWM))
        self._ending = True
        if self._outbox.in_flight:
            loop.call_later(LAST_WORDS, loop.stop)
        else:
            loop.stop()

    def cleanup(self) -> None:
        """Whatever happened: what is known is written, and the deliveries that are stored are let go of."""
        for receipt in self._orphans:
            receipt.fail(StoreTaken(self._keeper.problem))
        self._run_tasks()
        self._outbox.collect()
        self._keeper.note()
        self._keeper.to_disk()
        self._outbox.close()
        if self.member.gate.is_open or self.runtime.stopping:
            self._keeper.close()
        else:
            self._keeper.disconnect()  # it is started again: the file stays ours

    # -- inside ------------------------------------------------------------------------------------------------------

    def _serve(self, most_batches: int) -> None:
        """Store what is ready. One batch per wake-up, so that acceptances and timers have their turn in between."""
        for _ in range(most_batches):
            entries = self._take()
            if not entries:
                return
            self._handle(entries)

    def _give_up(self) -> None:
        """Another hub has taken over. Its broker gives it what was delivered here: nothing of that is let go of before the
        sources have stopped, or a source would keep it for another try of our own."""
        loop = self.member.loop
        if loop is None or self._ended:
            return
        self._ended = True
        loop.unwatch(self.socket)
        log.error("%s", self._keeper.problem)
        self.runtime.latch.trip(StopCause(self._keeper.problem, 1, None, self.name, told=True))

    def _take(self) -> list[_Entry]:
        """What is ready in the pipe, up to a batch."""
        entries: list[_Entry] = []
        count = 0
        while count < BATCH:
            try:
                message = self.socket.recv_pyobj(zmq.NOBLOCK)
            except Again:
                break
            receipts, HERE.receipts = HERE.receipts, ()
            try:
                entry = (receipts, *_read(message))
            except MessageError as error:
                log.error("Something was not stored: %s", error)
                for receipt in receipts:
                    receipt.fail(error)
                continue
            entries.append(entry)
            count += max(1, len(entry[1]))
        return entries

    def _handle(self, entries: list[_Entry]) -> None:
        written = self._keeper.store(
            [rows for _, all_rows, _ in entries for rows in all_rows], [r for *_, records in entries for r in records]
        )
        if self._keeper.taken:
            self._orphans += [receipt for receipts, *_ in entries for receipt in receipts]
            self._give_up()
            return
        if self._checkpoints is not None:
            self._checkpoints.stored(sum(len(all_rows) for _, all_rows, _ in entries))
        since = self.runtime.clock.monotonic()
        for number, entry in enumerate(entries):
            try:
                self._hop(entry, written, since)
            except BaseException as error:  # it ends while it waits for room: what is left is delivered again
                for receipts, _, _ in entries[number + 1 :]:
                    for receipt in receipts:
                        receipt.fail(error)
                raise
        if self.on_stored is not None:
            self.on_stored([rows.outcome for _, all_rows, _ in entries for rows in all_rows])
        self._look_after()

    def _hop(self, entry: _Entry, written: Stored, since: float) -> None:
        hops = self.runtime.receipts.hops
        if hops is None:
            self._send_on(entry, written, since)
        else:
            with hops.hop(self.name, receipts=entry[0]):
                self._send_on(entry, written, since)

    def _send_on(self, entry: _Entry, written: Stored, since: float) -> None:
        """The steps of one message; its deliveries are let go of here, by the outbox, or with the steps."""
        receipts, all_rows, _ = entry
        stored = not written.unstored or not any(rows.outcome.cause in written.unstored for rows in all_rows)
        steps = [step for rows in all_rows for step in written.repeated.get(rows.outcome.cause, rows.outcome.steps)]
        ticket = Ticket(receipts, len(steps), since, stored)
        try:
            for step in steps:
                self._outbox.send(step, ticket)
        except BaseException as error:
            ticket.fail(error)
            raise
        if not stored or not steps:
            ticket.release()
        elif ticket.receipts:
            self._outbox.tickets.append(ticket)

    def _look_after(self) -> None:
        """Have everything done in time that a batch, or an acceptance, leaves to be done."""
        loop = self.member.loop
        if loop is None:
            return
        if self._keeper.taken:
            self._give_up()
            return
        if self._outbox.settled and not self._noting:
            self._noting = True
            loop.call_later(NOTE_WITHIN, self._note)
        if self._outbox.oldest() is not None and not self._syncing:
            self._syncing = True
            loop.call_later(HELD_FOR, self._let_go)
        if self._keeper.failing:
            self._recover_later(loop)

    def _ring(self) -> None:
        """Somebody accepted a step. Called on that one's thread."""
        loop = self.member.loop
        if loop is not None:
            loop.post(self._collect)

    def _collect(self) -> None:
        if not self._outbox.collect():
            return
        if self._outbox.returned and not self._ending:
            loop = self.member.loop
            if loop is not None:
                loop.call_later(FIRST_RETRY, self._again)
                self._outbox.returned = False
        self._outbox.drain()
        if self._outbox.behind:
            self._pump()
        if self._ending and not self._outbox.in_flight and self.member.loop is not None:
            self.member.loop.stop()
        self._look_after()

    def _again(self) -> None:
        self._outbox.again()
        self._pump()

    def _pump(self) -> None:
        if not self._ending:
            self._keeper.pump()
        self._look_after()

    def _note(self) -> None:
        self._noting = False
        self._keeper.note()
        self._look_after()

    def _let_go(self) -> None:
        self._syncing = False
        now = self.runtime.clock.monotonic()
        oldest = self._outbox.oldest()
        if oldest is not None and now - oldest >= HELD_FOR * 0.5 and self._keeper.to_disk():
            self._outbox.let_go(now)
        if self._outbox.behind:
            self._pump()
        self._look_after()

    def _recover_later(self, loop: Loop) -> None:
        if not self._keeper.recovering:
            self._keeper.recovering = True
            loop.call_later(self._retry, lambda: self._recover(loop))

    def _recover(self, loop: Loop) -> None:
        self._keeper.recovering = False
        if self._keeper.recover():
            self._retry = FIRST_RETRY
            self._again()
        elif self._keeper.taken:
            self._give_up()
        else:
            self._retry = min(LAST_RETRY, self._retry * 2)
            self._recover_later(loop)

    def _run_tasks(self) -> None:
        while self._tasks:
            self._tasks.popleft()()

    def _sweep_now(self, loop: Loop) -> None:
        sweep = self._sweep
        if sweep is None:
            return
        more = self._keeper.sweep(sweep)
        loop.call_later(sweep.pause_s if more else sweep.every_s, lambda: self._sweep_now(loop))


def _read(message: object) -> tuple[list[OutcomeRows], list[Record]]:
    """What came down the pipe, as rows. Raises ``Rejected``."""
    if isinstance(message, Outcome):
        return [rows_of(message)], []
    if isinstance(message, MeterRecord | NotificationRecord | ImageRecord):
        return [], [message]
    if not isinstance(message, Sequence) or isinstance(message, str | bytes):
        raise Rejected(f"the store takes outcomes and records, not {type(message).__name__}")
    rows: list[OutcomeRows] = []
    records: list[Record] = []
    for each in message:
        found: Any = _read(each) if not isinstance(each, list | tuple) else None
        if found is None:
            raise Rejected("the store takes lists of outcomes, not lists of lists")
        rows += found[0]
        records += found[1]
    return rows, records
