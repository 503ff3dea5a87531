"""The dead letters: messages that were given up, kept with the reason until somebody replays or drops them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from pylib.delivery.doorbell import ring_all
from pylib.delivery.letter_table import COLUMNS, LetterTable, Totals, letter_of, trim
from pylib.delivery.letters import DEFAULT_LIMITS, Letter, Limits, NoSuchLetter, Summary
from pylib.errors import Rejected
from pylib.runtime.clock import SYSTEM_CLOCK, Clock

__all__ = ["DeadLetters"]

_SUMMARY: Final = (
    "ident, origin, broker, address, key, message_id, created_at, expires_at, received_at, parked_at, tries, "
    "length(body) AS size, error"
)
_REVIVE: Final = (
    "UPDATE letters SET parked_at = NULL, place = ?, tries = 0, due_at = ?, "
    "expires_at = CASE WHEN expires_at <= ? THEN NULL ELSE expires_at END WHERE ident = ? AND parked_at IS NOT NULL"
)


class DeadLetters:
    """What was given up, of all origins in one file. One thread owns an object; several may have the same file open.

    Where there is no file there are no dead letters, and asking does not make one.

    :param path: the file; ``None`` means the application's own, see ``store_path``.
    :param limits: how much is kept: the oldest make room, are counted (``totals().dropped``) and logged.
    """

    def __init__(self, path: Path | None = None, clock: Clock = SYSTEM_CLOCK, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._table = LetterTable(path, limits)
        self._clock = clock

    @property
    def path(self) -> Path:
        """The file, whether it is there or not."""
        return self._table.path

    def add(self, letter: Letter) -> int:
        """Store a message as a dead letter. On the disk when it returns.

        :raises StoreBroken: it could not be stored: do not acknowledge it.
        """
        with self._table.transaction() as connection:
            [ident] = self._table.insert(connection, [letter], self._clock.time())
            dropped = trim(connection, self._table.limits)
        self._table.report_dropped(dropped)
        return ident

    def count(self) -> int:
        """How many there are. Raises StoreBroken."""
        return self.totals().dead

    def totals(self) -> Totals:
        """How much the file holds, waiting letters included. Raises StoreBroken."""
        return self._table.totals()

    def list(
        self, limit: int = 50, offset: int = 0, *, address: str | None = None, origin: str | None = None
    ) -> list[Summary]:
        """The newest first.

        :param address: only those of this topic or routing key; ``*`` stands for anything: ``home/kitchen/*``.
        :param origin: only those that this listener or subscriber took.
        :raises StoreBroken: the file cannot be read.
        """
        if not self._table.exists():
            return []
        where, values = _filter(address, origin)
        rows = self._table.query(
            f"SELECT {_SUMMARY} FROM letters WHERE {where} ORDER BY parked_at DESC, ident DESC LIMIT ? OFFSET ?",
            *values,
            limit,
            offset,
        )
        return [msgspec.convert(dict(zip(Summary.__struct_fields__, row, strict=True)), Summary) for row in rows]

    def show(self, ident: int) -> Letter:
        """One dead letter, whole.

        :raises NoSuchLetter: there is none of this number.
        :raises StoreBroken: the file cannot be read.
        """
        rows: Sequence[Sequence[object]] = ()
        if self._table.exists():
            rows = self._table.query(f"SELECT {COLUMNS} FROM letters WHERE ident = ? AND parked_at IS NOT NULL", ident)
        if not rows:
            raise self._missing(ident)
        return letter_of(rows[0])

    def drop(self, ident: int) -> None:
        """Forget one for good. Raises NoSuchLetter, StoreBroken."""
        if not self._table.exists():
            raise self._missing(ident)
        with self._table.transaction() as connection:
            gone = connection.execute("DELETE FROM letters WHERE ident = ? AND parked_at IS NOT NULL", (ident,)).rowcount
        if not gone:
            raise self._missing(ident)

    def drop_all(self, *, address: str | None = None, origin: str | None = None) -> int:
        """Forget all, or all that the filters of ``list`` choose. Returns how many. Raises StoreBroken."""
        if not self._table.exists():
            return 0
        where, values = _filter(address, origin)
        with self._table.transaction() as connection:
            return connection.execute(f"DELETE FROM letters WHERE {where}", values).rowcount

    def replay(self, ident: int, force: bool = False) -> None:
        """Have it tried again: due now, its tries counted from nothing, behind what waits of its key. It keeps its
        number and its message id. The thread that took it is woken if it runs, else finds it when it starts.

        :param force: try it although its time is over; it then has no end any more.
        :raises Rejected: its time is over, and there was no ``force``.
        :raises NoSuchLetter: there is none of this number.
        :raises StoreBroken: the file cannot be written; it is a dead letter still.
        """
        if not self._table.exists():
            raise self._missing(ident)
        now = self._clock.time()
        with self._table.transaction() as connection:
            row = connection.execute(
                "SELECT expires_at FROM letters WHERE ident = ? AND parked_at IS NOT NULL", (ident,)
            ).fetchone()
            if row is None:
                raise self._missing(ident)
            if row[0] is not None and row[0] <= now and not force:
                raise Rejected(
                    f"Dead letter {ident} expired {now - row[0]:.0f} s ago: what it asks for may no longer be wanted. "
                    "Look at it; replay it with force (--force) to have it sent all the same."
                )
            connection.execute("UPDATE totals SET last = last + 1")
            (place,) = connection.execute("SELECT last FROM totals").fetchone()
            connection.execute(_REVIVE, (place, now, now, ident))
        ring_all(self.path)

    def replay_all(self, force: bool = False, *, address: str | None = None, origin: str | None = None) -> tuple[int, int]:
        """As ``replay``, for all that the filters choose, in the order of their numbers; in one commit.

        :returns: how many are tried again, and how many were left because their time is over.
        """
        if not self._table.exists():
            return 0, 0
        now = self._clock.time()
        where, values = _filter(address, origin)
        left = 0
        with self._table.transaction() as connection:
            (place,) = connection.execute("SELECT last FROM totals").fetchone()
            idents = connection.execute(
                f"SELECT ident, expires_at FROM letters WHERE {where} ORDER BY ident", values
            ).fetchall()
            chosen = [ident for ident, expires_at in idents if force or expires_at is None or expires_at > now]
            left = len(idents) - len(chosen)
            connection.executemany(_REVIVE, ((place + n, now, now, ident) for n, ident in enumerate(chosen, 1)))
            connection.execute("UPDATE totals SET last = last + ?", (len(chosen),))
        if chosen:
            ring_all(self.path)
        return len(chosen), left

    def close(self) -> None:
        """Close the file. On the owning thread."""
        self._table.close()

    def _missing(self, ident: int) -> NoSuchLetter:
        return NoSuchLetter(
            f"There is no dead letter {ident} in {self.path}: it was replayed, dropped, or made room for newer ones."
        )


def _filter(address: str | None, origin: str | None) -> tuple[str, tuple[object, ...]]:
    where, values = ["parked_at IS NOT NULL"], []
    if address is not None:
        # GLOB knows ? and [ as well, which are ordinary signs in topics.
        pattern = "".join(f"[{c}]" if c in "?[" else c for c in address)
        where.append("address GLOB ?")
        values.append(pattern)
    if origin is not None:
        where.append("origin = ?")
        values.append(origin)
    return " AND ".join(where), tuple(values)
