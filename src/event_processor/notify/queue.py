"""The notifier's queue: what is to be told, on disk until it has been.

One SQLite file of its own. A note is in it once, however often its step comes: the ids of the last steps are kept in the same
file, and in the same commit. All methods belong to one thread.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from event_processor.notify.notes import Note, Picture
from pylib.delivery.database import Database
from pylib.delivery.sqlite import Corrupt

__all__ = ["NoteQueue"]

log = logging.getLogger("event_processor.notify")

Result = TypeVar("Result")

MOST_WAITING: Final = 5000
"""Notes that wait for one target; of more the oldest are given up."""

MOST_BYTES: Final = 512 * 1024 * 1024
"""Bytes of pictures that wait for all targets."""

MOST_SEEN: Final = 50_000
"""Ids of steps by which a repetition is known."""

_APPLICATION_ID: Final = 0x4550_4E51  # "EPNQ"
_MIGRATIONS: Final = (
    """
    CREATE TABLE notes (row INTEGER PRIMARY KEY AUTOINCREMENT, step TEXT NOT NULL, target TEXT NOT NULL, label TEXT NOT NULL,
        rule TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL, expires_at REAL,
        urgent INTEGER NOT NULL, tries INTEGER NOT NULL, told INTEGER NOT NULL);
    CREATE INDEX notes_target ON notes (target, row);
    CREATE TABLE pictures (row INTEGER PRIMARY KEY AUTOINCREMENT, note INTEGER NOT NULL REFERENCES notes (row),
        name TEXT NOT NULL, type TEXT NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX pictures_note ON pictures (note);
    CREATE TABLE seen (number INTEGER PRIMARY KEY AUTOINCREMENT, step TEXT NOT NULL UNIQUE);
    """,
)
_COLUMNS: Final = "row, step, target, label, rule, title, text, at, expires_at, urgent, tries, told"


class NoteQueue:
    """What waits, in the file ``path``. Opens nothing until ``open``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path, kind="queue of notifications", application_id=_APPLICATION_ID, migrations=_MIGRATIONS)

    def open(self) -> None:
        """Open the file, or make it. A damaged one is set aside, reported, and a new one started.

        :raises StoreBroken: it cannot be opened now. Every other method tries again.
        """
        if self._database.is_open:
            return
        try:
            self._database.open()
        except Corrupt as error:
            kept = self._database.set_aside()
            log.error("%s It is kept as %s, and a new one is started: what waited in it is not told.", error, kept)
            self._database.open()

    def close(self) -> None:
        """Close the file; what waits stays. Never raises."""
        self._database.close()

    def put(self, notes: Sequence[Note], *, again: bool = False) -> list[Note]:
        """Store notes in one commit; on return they are safe. Returns the new ones: a step that came before is told once.

        :param again: a step that is put back on purpose is taken although it was seen.
        :raises StoreBroken: nothing was stored: do not acknowledge it.
        """
        self.open()
        fresh: list[Note] = []
        with self._database.transaction() as connection:
            for note in notes:
                mark = f"{note.target}\0{note.step}"
                new = connection.execute("INSERT OR IGNORE INTO seen (step) VALUES (?)", (mark,)).rowcount
                if new or again:
                    self._insert(connection, note)
                    fresh.append(note)
            connection.execute("DELETE FROM seen WHERE number <= (SELECT max(number) FROM seen) - ?", (MOST_SEEN,))
        return fresh

    def waiting(self, target: str, most: int = 200, *, urgent: bool = False, pictures: int = 10) -> list[Note]:
        """The oldest notes of a target, with at most so many pictures in all. Raises StoreBroken.

        :param urgent: only those that are urgent.
        """
        which = "AND urgent" if urgent else ""

        def read(connection: sqlite3.Connection) -> list[Note]:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM notes WHERE target = ? {which} ORDER BY row LIMIT ?", (target, most)
            ).fetchall()
            room = pictures
            notes = []
            for row in rows:
                found = connection.execute(
                    "SELECT name, type, data, row FROM pictures WHERE note = ? ORDER BY row LIMIT ?", (row[0], room)
                ).fetchall()
                room -= len(found)
                notes.append(_note(row, tuple(Picture(*each) for each in found)))
            return notes

        return self._query(read)

    def targets(self) -> dict[str, int]:
        """How many notes wait, by target. Raises StoreBroken."""
        return self._query(lambda c: dict(c.execute("SELECT target, count(*) FROM notes GROUP BY target").fetchall()))

    def settle(self, notes: Iterable[Note]) -> None:
        """These texts and pictures have arrived. Raises StoreBroken."""
        self.open()
        with self._database.transaction() as connection:
            for note in notes:
                connection.executemany("DELETE FROM pictures WHERE row = ?", ((each.row,) for each in note.pictures))
                connection.execute("UPDATE notes SET told = 1, tries = 0 WHERE row = ?", (note.row,))
                connection.execute(
                    "DELETE FROM notes WHERE row = ? AND NOT EXISTS (SELECT 1 FROM pictures WHERE note = ?)",
                    (note.row, note.row),
                )

    def failed(self, notes: Iterable[Note]) -> None:
        """One more try of these was in vain. Raises StoreBroken."""
        self.open()
        with self._database.transaction() as connection:
            connection.executemany("UPDATE notes SET tries = tries + 1 WHERE row = ?", ((note.row,) for note in notes))

    def whole(self, note: Note) -> Note:
        """The note with all of its pictures. Raises StoreBroken."""
        found = self._query(
            lambda c: c.execute(
                "SELECT name, type, data, row FROM pictures WHERE note = ? ORDER BY row", (note.row,)
            ).fetchall()
        )
        return msgspec.structs.replace(note, pictures=tuple(Picture(*each) for each in found))

    def remove(self, notes: Iterable[Note]) -> None:
        """Forget notes and their pictures. Raises StoreBroken."""
        self.open()
        with self._database.transaction() as connection:
            for note in notes:
                connection.execute("DELETE FROM pictures WHERE note = ?", (note.row,))
                connection.execute("DELETE FROM notes WHERE row = ?", (note.row,))

    def expired(self, now: float, most: int = 500) -> list[Note]:
        """Notes whose time is over. Raises StoreBroken."""
        rows = self._query(
            lambda c: c.execute(f"SELECT {_COLUMNS} FROM notes WHERE expires_at <= ? LIMIT ?", (now, most)).fetchall()
        )
        return [_note(row, ()) for row in rows]

    def too_many(self) -> list[Note]:
        """The oldest notes that are beyond what may wait: of a target that has too many, or of all for their pictures."""

        def read(connection: sqlite3.Connection) -> list[Note]:
            found: dict[int, Note] = {}
            for target, count in connection.execute("SELECT target, count(*) FROM notes GROUP BY target").fetchall():
                if count > MOST_WAITING:
                    query = f"SELECT {_COLUMNS} FROM notes WHERE target = ? ORDER BY row LIMIT ?"
                    for row in connection.execute(query, (target, count - MOST_WAITING)).fetchall():
                        found[row[0]] = _note(row, ())
            (size,) = connection.execute("SELECT coalesce(sum(size), 0) FROM pictures").fetchone()
            if size > MOST_BYTES:
                query = (
                    f"SELECT {_COLUMNS}, (SELECT sum(size) FROM pictures WHERE note = notes.row) FROM notes "
                    "WHERE row IN (SELECT note FROM pictures) ORDER BY row"
                )
                for *row, own in connection.execute(query).fetchall():
                    if size <= MOST_BYTES:
                        break
                    found[row[0]] = _note(row, ())
                    size -= own
            return list(found.values())

        return self._query(read)

    def _insert(self, connection: sqlite3.Connection, note: Note) -> None:
        row = connection.execute(
            "INSERT INTO notes (step, target, label, rule, title, text, at, expires_at, urgent, tries, told) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            (
                note.step, note.target, note.label, note.rule, note.title, note.text, note.at, note.expires_at,
                note.urgent, note.told,
            ),
        ).lastrowid  # fmt: skip
        connection.executemany(
            "INSERT INTO pictures (note, name, type, size, data) VALUES (?, ?, ?, ?, ?)",
            ((row, each.name, each.type, len(each.data), each.data) for each in note.pictures),
        )

    def _query(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        self.open()
        return self._database.query(read)


def _note(row: Sequence[object], pictures: tuple[Picture, ...]) -> Note:
    number, step, target, label, rule, title, text, at, expires_at, urgent, tries, told = row
    assert isinstance(number, int)
    assert isinstance(tries, int)
    assert isinstance(at, float)
    assert expires_at is None or isinstance(expires_at, float)
    return Note(
        row=number, step=str(step), target=str(target), label=str(label), rule=str(rule), title=str(title), text=str(text),
        at=at, expires_at=expires_at, urgent=bool(urgent), tries=tries, told=bool(told), pictures=pictures,
    )  # fmt: skip
