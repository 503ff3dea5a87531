"""The spool: a bounded queue on disk in front of a relay.

While the far broker is away, what the relay should send goes to disk in order and is sent on return. A message may be
acknowledged to its source as soon as :meth:`Spool.append` has returned: it has then survived a kill and a power cut.
A message leaves by :meth:`Spool.remove` after the far broker has confirmed it; a crash in between means that it is sent
again, never that it is lost.

All methods belong to one thread, the relay's loop thread; counters may be read from any. The spool has no thread and no
timer of its own: with one commit per batch it costs a few microseconds per message.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, TypeVar

from pylib.delivery.database import Database
from pylib.delivery.salvage import finish, salvage
from pylib.delivery.spells import Spells
from pylib.delivery.spool_limits import DEFAULT_LIMITS, Item, SpoolLimits
from pylib.delivery.spool_table import (
    APPLICATION_ID,
    INSERT,
    MIGRATIONS,
    READ,
    ROW_OVERHEAD,
    Run,
    checksum,
    delete_address,
    delete_run,
    drop_head,
    merged,
    runs,
    what_fits,
)
from pylib.delivery.sqlite import Corrupt, StoreBroken, StoreFull, advice
from pylib.runtime.clock import SYSTEM_CLOCK, Clock

__all__ = ["DEFAULT_LIMITS", "Item", "Spool", "SpoolBroken", "SpoolFull", "SpoolLimits"]

log = logging.getLogger("pylib.spool")

Result = TypeVar("Result")
Entry = tuple[str, bytes, float | None]


class SpoolFull(StoreFull):
    """The spool has no room and its policy is "block": nothing of the batch was stored. Try again after a removal."""


class SpoolBroken(StoreBroken):
    """The spool cannot be used at the moment (disk full, locked, I/O error): nothing of the batch was stored.

    The message says what to do. The same spool works again as soon as the cause is gone.
    """


class Spool:
    """A bounded first-in, first-out queue in the SQLite file ``path``. Opens nothing until :meth:`open`."""

    def __init__(
        self, path: str | os.PathLike[str], limits: SpoolLimits = DEFAULT_LIMITS, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.limits: Final = limits
        self.dropped = 0
        """Messages lost to a limit on size."""
        self.expired = 0
        """Messages removed because their life or ``max_age`` was over."""
        self.superseded = 0
        """Messages replaced by a newer one for the same address (``latest_per_key``)."""
        self._clock = clock
        self._database = Database(path, kind="spool", application_id=APPLICATION_ID, migrations=MIGRATIONS)
        self._wanted = False
        self._checked = False
        self._next_row = 1
        self._messages = 0
        self._bytes = 0
        # Delivered, but not deleted yet because the disk did not let us: never handed out again by this process.
        self._removing: list[Run] = []
        self._removing_count = 0
        # Rows from _next_row on may be left over from a commit that was reported as failed.
        self._ghosts = False
        self._spells = Spells(str(path))

    def __len__(self) -> int:
        return max(0, self._messages - self._removing_count)

    @property
    def empty(self) -> bool:
        """Nothing waits. Costs nothing; any thread may ask."""
        return self._messages <= self._removing_count

    @property
    def bytes(self) -> int:
        """What is stored, as the limit counts it."""
        return self._bytes

    # ---------------------------------------------------------------------------------------------------- the surface

    def open(self) -> None:
        """Open the file, or make it, on the thread that will use it.

        A damaged file is renamed to ``<name>.corrupt-<n>``, reported, and a new one started. Raises
        :class:`SpoolBroken`, after which every other method tries again to open; ``ConfigError`` where the file belongs
        to another program or a newer version.
        """
        self._wanted = True
        self._guarded(lambda: None)

    def close(self) -> None:
        """Close the file. What waits stays on disk. Never raises."""
        if self._removing and self._database.is_open:
            try:
                self._delete(())
            except StoreBroken:
                pass  # they are sent once more after the next start
        self._wanted = False
        self._database.close()
        # From here on the file may have another owner: nothing that we know about it stays true.
        self._checked = False
        self._removing, self._removing_count = [], 0

    def append(self, batch: Sequence[Entry]) -> None:
        """Store ``(address, data, expires_at)`` in order, in one transaction; on return they are safe on disk.

        Raises :class:`SpoolFull` or :class:`SpoolBroken`; then nothing of the batch is stored.
        """
        if batch:
            self._guarded(lambda: self._append(batch))

    def read(self, after_row: int, most: int) -> list[Item]:
        """Up to ``most`` messages behind ``after_row``, oldest first (0: from the start). They stay stored.

        Those whose life is over are removed, counted and never returned. Raises :class:`SpoolBroken`.
        """
        return self._guarded(lambda: self._read(after_row, most))

    def remove(self, rows: Sequence[int]) -> None:
        """Forget ``rows``: they are delivered. Unknown rows are no error.

        Where the disk does not allow it now, it is done with a later write. Raises :class:`SpoolBroken` only if the
        spool was never opened.
        """
        if not rows:
            return
        ranges = runs(rows)
        try:
            self._guarded(lambda: self._delete(ranges))
            self._spells.over("removing")
        except SpoolBroken as error:
            if not self._wanted:
                raise
            self._postpone(ranges)
            self._spells.say("removing", 1, f"Delivered messages stay in the spool for now. {error}")

    # --------------------------------------------------------------------------------------------------- the contents

    def _append(self, batch: Sequence[Entry]) -> None:
        limits = self.limits
        replaced = 0
        if limits.latest_per_key:
            last = {address: index for index, (address, _, _) in enumerate(batch)}
            replaced = len(batch) - len(last)
            batch = [batch[index] for index in sorted(last.values())]
        now = self._clock.time()
        numbers = count(self._next_row)
        rows = [
            (
                next(numbers),
                len(address) + len(data) + ROW_OVERHEAD,
                checksum(address, data),
                now,
                expires_at,
                address,
                data,
            )
            for address, data, expires_at in batch
        ]
        new_bytes = sum([row[1] for row in rows])
        if not self._fits(len(rows), new_bytes):
            self._purge(now)
        dropped = 0
        with self._database.transaction() as connection:
            messages, stored = self._messages, self._bytes
            if self._ghosts:
                connection.execute("DELETE FROM spool WHERE row >= ?", (self._next_row,))
            for run in self._removing:
                gone, size = delete_run(connection, run)
                messages, stored = messages - gone, stored - size
            if limits.latest_per_key:
                for address in last:
                    gone, size = delete_address(connection, address)
                    messages, stored, replaced = messages - gone, stored - size, replaced + gone
            if messages + len(rows) > limits.max_messages or stored + new_bytes > limits.max_bytes:
                if limits.policy == "block":
                    raise SpoolFull(self._full(len(rows), new_bytes))
                if limits.policy == "drop_newest":
                    kept = what_fits(rows, limits.max_messages - messages, limits.max_bytes - stored)
                    dropped = len(rows) - len(kept)
                else:
                    gone, size = drop_head(
                        connection,
                        messages + len(rows) - limits.max_messages,
                        stored + new_bytes - limits.max_bytes,
                        self._next_row,
                    )
                    messages, stored = messages - gone, stored - size
                    # Of a batch larger than the whole spool the newest are kept.
                    kept = what_fits(rows[::-1], limits.max_messages - messages, limits.max_bytes - stored)[::-1]
                    dropped = gone + len(rows) - len(kept)
                rows, new_bytes = kept, sum([row[1] for row in kept])
            connection.executemany(INSERT, rows)
        # Committed: only now does it count.
        self._ghosts = False
        self._removing, self._removing_count = [], 0
        self._messages, self._bytes = messages + len(rows), stored + new_bytes
        if rows:
            self._next_row = rows[-1][0] + 1
        self.superseded += replaced
        if dropped:
            self.dropped += dropped
            which = "oldest" if limits.policy == "drop_oldest" else "newest"
            self._spells.say("dropped", dropped, f"{self._full(0, 0)} The {which} messages are dropped.")
        else:
            self._spells.over("dropped")

    def _read(self, after_row: int, most: int) -> list[Item]:
        now = self._clock.time()
        max_age = self.limits.max_age
        oldest = -1.0 if max_age is None else now - max_age
        items: list[Item] = []
        over: list[int] = []
        while len(items) < most:
            wanted = most - len(items)
            # B023: it is called at once.
            found = self._database.query(lambda c: c.execute(READ, (after_row, self._next_row, wanted)).fetchall())  # noqa: B023
            for row, address, data, expires_at, stored_at, check in found:
                if self._removing and any(first <= row <= last for first, last in self._removing):
                    continue
                if stored_at < oldest or (expires_at is not None and expires_at <= now):
                    over.append(row)
                elif check != checksum(address, data):
                    raise Corrupt(f"The spool {self._database.path} is damaged: message {row} is not what was stored.")
                else:
                    items.append(Item(row, address, data, expires_at))
            if len(found) < wanted:
                break
            after_row = found[-1][0]
        if over:
            self._expire(over)
        elif items:
            self._spells.over("expired")
        return items

    def _expire(self, rows: list[int]) -> None:
        ranges = runs(rows)
        try:
            self._delete(ranges)
        except Corrupt:
            raise
        except StoreBroken:
            self._postpone(ranges)
        self.expired += len(rows)
        self._spells.say("expired", len(rows), f"Messages in the spool {self._database.path} outlived their use: not sent.")

    def _purge(self, now: float) -> None:
        """Make room out of what will never be sent."""
        max_age = self.limits.max_age
        oldest = -1.0 if max_age is None else now - max_age
        statement = (
            "SELECT row FROM spool WHERE expires_at <= ? AND expires_at IS NOT NULL "
            "UNION SELECT row FROM (SELECT row, stored_at FROM spool ORDER BY row LIMIT 10000) WHERE stored_at < ? "
            "LIMIT 10000"
        )
        rows = self._database.query(lambda c: [row for (row,) in c.execute(statement, (now, oldest))])
        if rows:
            self._expire(rows)

    def _delete(self, ranges: Sequence[Run]) -> None:
        """Not durable at once: a power cut may bring removed messages back, which means sent again, not lost."""
        messages = stored = 0
        with self._database.transaction(durable=False) as connection:
            for run in (*self._removing, *ranges):
                gone, size = delete_run(connection, run)
                messages, stored = messages + gone, stored + size
        self._removing, self._removing_count = [], 0
        self._messages, self._bytes = self._messages - messages, self._bytes - stored

    def _postpone(self, ranges: Sequence[Run]) -> None:
        def waiting(connection: sqlite3.Connection) -> int:
            statement = "SELECT count(*) FROM spool WHERE row BETWEEN ? AND ?"
            return sum(int(connection.execute(statement, run).fetchone()[0]) for run in self._removing)

        self._removing = merged([*self._removing, *ranges])
        try:
            self._removing_count = self._database.query(waiting)
        except StoreBroken:
            self._removing_count = sum(last - first + 1 for first, last in self._removing)

    def _fits(self, messages: int, size: int) -> bool:
        return self._messages + messages <= self.limits.max_messages and self._bytes + size <= self.limits.max_bytes

    def _full(self, messages: int, size: int) -> str:
        limits = self.limits
        never = " The batch is larger than the whole spool and can never be stored: raise the limits."
        return (
            f"The spool {self._database.path} is full: {self._messages} of {limits.max_messages} messages, "
            f"{self._bytes} of {limits.max_bytes} bytes."
        ) + (never if messages > limits.max_messages or size > limits.max_bytes else "")

    # ------------------------------------------------------------------------------------------------ opening, failing

    def _guarded(self, work: Callable[[], Result]) -> Result:
        """Opens the file where it is not, does ``work``, and replaces a file that proves damaged, once."""
        if not self._wanted:
            raise SpoolBroken(f"The spool {self._database.path} is not open: call open() first.")
        try:
            try:
                self._ensure()
                return work()
            except Corrupt as error:
                self._replace(error)
                self._ensure()
                return work()
        except SpoolBroken:
            raise
        except StoreBroken as error:
            raise SpoolBroken(str(error)) from error

    def _ensure(self) -> None:
        if self._database.is_open:
            return
        again = self._checked
        finish(self._database.path)
        self._database.open(check=not again)
        self._checked = True
        if not again:
            (last,) = self._database.query(lambda c: c.execute("SELECT max(row) FROM spool").fetchone())
            self._next_row = max(self._next_row, (last or 0) + 1)
        self._ghosts = again
        if self.limits.latest_per_key:
            with self._database.transaction(durable=False) as connection:
                connection.execute("CREATE INDEX IF NOT EXISTS spool_address ON spool (address)")
        self._messages, self._bytes = self._database.query(
            lambda c: c.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM spool WHERE row < ?", (self._next_row,)
            ).fetchone()
        )
        if self._removing:
            self._postpone(())

    def _replace(self, error: Corrupt) -> None:
        """Set the damaged file aside; what can still be read of it goes on in a new one."""
        log.error("%s Looking for what can still be read.", error)
        known = len(self) if self._checked else None
        path = self._database.path
        try:
            saved, gap = salvage(path)
            kept = self._database.set_aside()
            finish(path)
        except (OSError, sqlite3.Error) as failure:
            raise SpoolBroken(
                f"{error} What can be read of it could not be saved: {advice(failure)} Nothing is lost by waiting."
            ) from failure
        if known is not None:
            lost = f"{max(0, known - saved)} are lost"
        elif saved:
            lost = f"up to {gap} are lost" if gap else "none before the last of them is lost"
        else:
            lost = "how many it held is not known"
        log.error("Of the messages in the spool %s %d were saved and %s. The damaged file is %s.", path, saved, lost, kept)
        self._checked = False
