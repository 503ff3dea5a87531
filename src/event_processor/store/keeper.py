"""Keeps a store usable: opens it, sets a damaged one aside, notices when it cannot be written, and makes up for it later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from event_processor.domain.outcome import Scope, Step
from event_processor.domain.records import MeterRecord, Record
from event_processor.store import tables as t
from event_processor.store.backlog import Backlog
from event_processor.store.batch import BatchWriter
from event_processor.store.database import Database
from event_processor.store.errors import (
    AT_FAULT,
    StoreDamaged,
    StoreInUse,
    StoreTaken,
    StoreUnavailable,
    cut_off,
    damaged,
    say,
)
from event_processor.store.fence import Fence
from event_processor.store.outbox import Outbox
from event_processor.store.quarantine import quarantine, salvage
from event_processor.store.retention import Sweep
from event_processor.store.rows import OutcomeRows
from pylib.runtime.clock import Clock

__all__ = ["Keeper", "Loaded", "Stored", "StoreHealth"]

log = logging.getLogger("event_processor.store")

MOST_CAUSES: Final = 10_000
"""Causes that a start reads, so that what a broker delivers again is not decided again."""

ANEW_AFTER: Final = 60.0
"""Seconds after which a second file that is damaged while the hub runs is set aside; until then nothing is stored."""

Result = TypeVar("Result")


class Loaded(msgspec.Struct, frozen=True):
    """What a start finds in the store.

    ``state`` is by scope and key, the values as JSON; ``causes`` are the latest ones that were decided, oldest first, and
    ``times`` when each was;
    ``quarantined`` is where a damaged file was put, and ``problem`` what stands in the way of storing, if anything does.
    """

    state: Mapping[tuple[Scope, str], bytes] = {}
    causes: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    quarantined: Path | None = None
    problem: str = ""


class StoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the store is. ``ok`` is false while nothing can be stored, and ``problem`` says why and what to do.

    ``stored`` outcomes since the start; ``lost`` ones whose history could not be kept (their steps went out); ``waiting``
    ones that are in memory until the store can be written; ``in_flight`` steps sent and not accepted; ``behind`` when steps
    wait for room; ``expired`` and ``refused`` steps. ``quarantined`` is the damaged file that was set aside.
    """

    ok: bool
    problem: str
    stored: int
    lost: int
    waiting: int
    in_flight: int
    behind: bool
    accepted: int
    expired: int
    refused: int
    quarantined: Path | None


class Stored(msgspec.Struct, frozen=True):
    """What became of a batch: pending steps of causes that were there already, and the causes that are not stored."""

    repeated: Mapping[str, tuple[Step, ...]] = {}
    unstored: frozenset[str] = frozenset()


class Keeper:
    """Belongs to the writer's thread, but for ``health``. Never raises what a failing store raises: it says so instead.

    ``taken``: another hub has taken over, so nothing may be written or sent any more.
    """

    def __init__(self, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._fence = Fence()
        self._outbox = outbox
        self._clock = clock
        self._batches: BatchWriter | None = None
        self._backlog = Backlog()
        self._problem = ""
        self._quarantined: Path | None = None
        self._anew_at: float | None = None
        self._stored = self._lost = 0
        self.loaded = self.taken = False
        self.recovering = False

    @property
    def failing(self) -> bool:
        """Whether nothing can be stored at the moment."""
        return bool(self._problem)

    @property
    def problem(self) -> str:
        """What stands in the way of storing; empty where nothing does."""
        return self._problem

    def health(self, outbox: Outbox) -> StoreHealth:
        return StoreHealth(
            ok=not self._problem,
            problem=self._problem,
            stored=self._stored + self._backlog.stored,
            lost=self._lost + self._backlog.lost,
            waiting=len(self._backlog),
            in_flight=outbox.in_flight,
            behind=outbox.behind or outbox.waiting > 0,
            accepted=outbox.accepted,
            expired=outbox.expired,
            refused=outbox.refused,
            quarantined=self._quarantined,
        )

    def load(self) -> Loaded:
        """Open the store and read the state. Raises ``ConfigError`` and ``StoreInUse``."""
        self.loaded = True
        try:
            self._open()
            connection = self._database.connection
            state: dict[tuple[Scope, str], bytes] = {
                (row.scope, row.key): row.value.encode() for row in connection.execute(select(t.state))
            }
            latest = select(t.events.c.cause, t.events.c.at).order_by(t.events.c.id.desc()).limit(MOST_CAUSES)
            rows = connection.execute(latest).all()[::-1]
            connection.rollback()
        except StoreInUse:
            raise  # two hubs on one file is a mistake, and no bad day
        except (SQLAlchemyError, StoreUnavailable, OSError) as error:
            self._fail(error)
            return Loaded(quarantined=self._quarantined, problem=self._problem)
        return Loaded(state, tuple(row.cause for row in rows), tuple(row.at for row in rows), self._quarantined)

    def store(self, rows: Sequence[OutcomeRows], records: Sequence[Record] = ()) -> Stored:
        """Store a batch, or keep it for later."""
        if not self._problem:
            try:
                return self._write(rows, records)
            except AT_FAULT as error:
                if cut_off(error) or not self._rolled_back():
                    self._fail(error)
                elif len(rows) == 1 or len(rows) + len(records) == 1:
                    # It would stand in the way of all others for ever.
                    what = repr(rows[0].outcome.cause) if rows else type(records[0]).__name__
                    log.error("%s was not stored: %s What it asks for is done all the same.", what, say(error))
                    self._lost += 1
                    return Stored(unstored=frozenset(each.outcome.cause for each in rows))
                else:
                    return self._one_by_one(rows, records)
            except (SQLAlchemyError, StoreUnavailable, OSError) as error:
                if self._fail(error):
                    return self.store(rows, records)
        self._backlog.add(rows, records)
        return Stored(unstored=frozenset(each.outcome.cause for each in rows))

    def note(self) -> None:
        """Write down what became of steps."""
        if self._outbox.settled and not self._problem:
            self._guarded(lambda: self._write((), ()))

    def to_disk(self) -> bool:
        """Have everything stored survive a power cut. Whether it does."""
        return not self._problem and self._guarded(self._database.to_disk)

    def pump(self) -> None:
        """Send what waits in the table."""
        if not self._problem:
            self._guarded(lambda: self._outbox.pump(self._database.connection))

    def sweep(self, sweep: Sweep) -> bool:
        """Forget a slice of what is too old. Whether there is more."""
        more = False

        def work() -> None:
            nonlocal more
            more = sweep.run(self._database.connection, self._clock.time(), self._clock.monotonic)

        return not self._problem and self._guarded(work) and more

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Run a task in a transaction. Raises what the task raises, and ``StoreUnavailable``."""
        if self._problem:
            raise StoreUnavailable(self._problem)
        connection = self._database.connection
        try:
            with connection.begin():
                return work(connection)
        except OperationalError as error:
            self._fail(error)
            raise StoreUnavailable(say(error)) from error

    def recover(self) -> bool:
        """Try again whether the store can be written, and write what is waiting. Whether it worked."""
        try:
            self._open()
            self._backlog.write(self._batches_now(), self._outbox.settled, self._clock.time)
            self._database.to_disk()
        except StoreTaken as taken:
            self._taken_over(taken)
            return False
        except (SQLAlchemyError, StoreUnavailable, OSError) as error:
            self._fail(error)
            return False
        lost = self._lost + self._backlog.lost
        log.warning("The store %s can be written again. %d outcomes are lost to it.", self._database.name, lost)
        self._problem = ""
        return True

    def disconnect(self) -> None:
        self._batches = None
        self._database.disconnect()

    def close(self) -> None:
        self._batches = None
        self._database.close()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the store; a damaged file is set aside, and what can be read of it taken over."""
        self._batches = None
        try:
            before = self._database.open()
            if self._database.file is None:
                self._fence.claim(self._database.connection, self._database.name)
            self._batches = BatchWriter(self._database.connection)
        except (StoreDamaged, DBAPIError) as error:
            if not damaged(error) or self._database.file is None:
                raise
            self._start_anew(self._database.file, error)
        else:
            if before is not None and not self._problem:
                log.debug("store %s opened, schema %s", self._database.name, before)

    def _start_anew(self, file: Path, error: Exception) -> None:
        self._database.disconnect()
        self._quarantined = kept = quarantine(file, self._clock.time())
        self._database.open()
        saved = salvage(kept, self._database.connection)
        self._batches = BatchWriter(self._database.connection)
        said = ", ".join(f"{count} of {table}" for table, count in saved.items() if count) or "nothing"
        what = str(error) if isinstance(error, StoreDamaged) else f"The store {file}: {say(error)}"
        log.error(
            "%s It is kept as %s, and a new one is started with what could be read of it: %s. The history before now is in "
            "the old file only.",
            what,
            kept,
            said,
        )

    def _taken_over(self, error: StoreTaken) -> None:
        self.taken = True
        self._problem = str(error)
        self._batches = None
        self._database.disconnect()

    def _may_start_anew(self) -> bool:
        """A disk that damages one file after the other is not fed with new ones, and a server that fails at once is left
        alone for a while."""
        now = self._clock.monotonic()
        if self._anew_at is not None and now - self._anew_at < ANEW_AFTER:
            return False
        self._anew_at = now
        return True

    def _batches_now(self) -> BatchWriter:
        if self._batches is None:
            raise StoreUnavailable(f"The store {self._database.name} is not open.")
        return self._batches

    def _write(self, rows: Sequence[OutcomeRows], records: Sequence[Record]) -> Stored:
        settled = self._outbox.settled
        written = self._batches_now().write(rows, settled=settled, records=records, now=self._clock.time())
        settled.clear()
        self._stored += len(rows)
        return Stored(written.repeated)

    def _one_by_one(self, rows: Sequence[OutcomeRows], records: Sequence[Record]) -> Stored:
        repeated: dict[str, tuple[Step, ...]] = {}
        unstored: set[str] = set()
        causes = {each.outcome.cause for each in rows}
        for each in rows:
            found = self.store([each], [r for r in records if isinstance(r, MeterRecord) and r.cause == each.outcome.cause])
            repeated.update(found.repeated)
            unstored.update(found.unstored)
        for record in records:
            if not isinstance(record, MeterRecord) or record.cause not in causes:
                self.store([], [record])
        return Stored(repeated, frozenset(unstored))

    def _guarded(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except (SQLAlchemyError, StoreUnavailable, OSError) as error:
            self._fail(error)
            return False
        return True

    def _rolled_back(self) -> bool:
        """After values that the database refused: whether the connection can go on."""
        try:
            self._database.connection.rollback()
        except (SQLAlchemyError, StoreUnavailable):
            return False
        return True

    def _fail(self, error: BaseException) -> bool:
        """The store failed. True if that is mended: a damaged file was set aside and a new one started."""
        self._batches = None
        if damaged(error) and self._database.file is not None and not self._problem and self._may_start_anew():
            try:
                self._start_anew(self._database.file, error if isinstance(error, Exception) else StoreDamaged(str(error)))
            except (SQLAlchemyError, StoreUnavailable, OSError) as further:
                error = further
            else:
                return True
        self._database.disconnect()
        if self._database.file is None and not self._problem:
            # A hub that was cut off learns here that another has taken over (StoreTaken), before anything more leaves it.
            try:
                self._open()
            except StoreTaken as taken:
                self._taken_over(taken)
                return False
            except (SQLAlchemyError, StoreUnavailable, OSError) as further:
                error = further
            else:
                if self._may_start_anew():
                    return True
                self._database.disconnect()
                self._batches = None
        problem = str(error) if isinstance(error, StoreUnavailable) else f"The store {self._database.name}: {say(error)}"
        if problem != self._problem:
            log.error("%s Until then nothing is stored; events are decided, and what follows from them is done.", problem)
        self._problem = problem
        return False
