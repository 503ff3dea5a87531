"""The table of letters: its format, and the transactions on it. Retry store and dead letters are two views of it.

One row is one letter, waiting or dead; it becomes the other by one UPDATE. That is why a letter is parked exactly once,
and why no kill can lose it or leave it in both places.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from pylib.config import redact
from pylib.delivery.letters import DEFAULT_LIMITS, Letter, Limits, store_path
from pylib.delivery.shared import SharedDatabase
from pylib.delivery.sqlite import StoreFull

__all__ = ["COLUMNS", "LetterTable", "Totals", "failure", "letter_of", "safe_text", "trim"]

# "PLLT": marks a file of letters, so that no other file is ever taken for one.
_APPLICATION_ID: Final = 0x504C4C54

log: Final = logging.getLogger("pylib.store")

MIGRATIONS: Final = (
    # Version 1. `place` is the order among the letters of one key; it is the ident until a replay moves a letter to the
    # end. What is short stands before the body, so that a list does not read bodies.
    """
    CREATE TABLE letters (
        ident INTEGER PRIMARY KEY, place INTEGER NOT NULL, parked_at REAL, size INTEGER NOT NULL,
        origin TEXT NOT NULL, broker TEXT NOT NULL, address TEXT NOT NULL, key TEXT NOT NULL,
        message_id TEXT, created_at REAL, expires_at REAL, received_at REAL NOT NULL, content_type TEXT,
        tries INTEGER NOT NULL, due_at REAL NOT NULL, error TEXT NOT NULL, traceback TEXT NOT NULL,
        headers BLOB NOT NULL, body BLOB NOT NULL);
    CREATE INDEX letters_waiting ON letters (origin, key, place) WHERE parked_at IS NULL;
    CREATE INDEX letters_dead ON letters (parked_at, ident) WHERE parked_at IS NOT NULL;
    CREATE TABLE totals (
        last INTEGER NOT NULL, waiting INTEGER NOT NULL, waiting_bytes INTEGER NOT NULL,
        dead INTEGER NOT NULL, dead_bytes INTEGER NOT NULL, dropped INTEGER NOT NULL);
    INSERT INTO totals VALUES (0, 0, 0, 0, 0, 0);
    CREATE TRIGGER letters_in AFTER INSERT ON letters BEGIN
        UPDATE totals SET
            waiting = waiting + (NEW.parked_at IS NULL),
            waiting_bytes = waiting_bytes + (NEW.parked_at IS NULL) * NEW.size,
            dead = dead + (NEW.parked_at IS NOT NULL),
            dead_bytes = dead_bytes + (NEW.parked_at IS NOT NULL) * NEW.size;
    END;
    CREATE TRIGGER letters_out AFTER DELETE ON letters BEGIN
        UPDATE totals SET
            waiting = waiting - (OLD.parked_at IS NULL),
            waiting_bytes = waiting_bytes - (OLD.parked_at IS NULL) * OLD.size,
            dead = dead - (OLD.parked_at IS NOT NULL),
            dead_bytes = dead_bytes - (OLD.parked_at IS NOT NULL) * OLD.size;
    END;
    CREATE TRIGGER letters_moved AFTER UPDATE OF parked_at, size ON letters BEGIN
        UPDATE totals SET
            waiting = waiting - (OLD.parked_at IS NULL) + (NEW.parked_at IS NULL),
            waiting_bytes = waiting_bytes
                - (OLD.parked_at IS NULL) * OLD.size + (NEW.parked_at IS NULL) * NEW.size,
            dead = dead - (OLD.parked_at IS NOT NULL) + (NEW.parked_at IS NOT NULL),
            dead_bytes = dead_bytes
                - (OLD.parked_at IS NOT NULL) * OLD.size + (NEW.parked_at IS NOT NULL) * NEW.size;
    END;
    """,
)

COLUMNS: Final = (
    "ident, parked_at, origin, broker, address, key, message_id, created_at, expires_at, received_at, content_type, "
    "tries, due_at, error, traceback, headers, body"
)
_INSERT: Final = f"INSERT INTO letters (place, size, {COLUMNS}) VALUES ({', '.join('?' * 19)})"
_ERROR_LIMIT: Final = 2_000
_TRACEBACK_LIMIT: Final = 16_000
_encode: Final = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, object]).decode


class Totals(msgspec.Struct, frozen=True, gc=False):
    """What the file holds. ``dropped`` counts the dead letters that had to make room, over the life of the file."""

    waiting: int = 0
    waiting_bytes: int = 0
    dead: int = 0
    dead_bytes: int = 0
    dropped: int = 0


class LetterTable:
    """One connection to the file, opened when it is first needed. Belongs to the thread that opens it.

    :param path: the file; ``None`` means the application's own, see ``store_path``, and is resolved at the first use.
    """

    __slots__ = ("_database", "_path", "_report_from", "_unreported", "limits")

    def __init__(self, path: Path | None, limits: Limits = DEFAULT_LIMITS) -> None:
        self._path = path
        self._database: SharedDatabase | None = None
        self._unreported = 0
        self._report_from = 0.0
        self.limits = limits

    @property
    def path(self) -> Path:
        """The file, whether it is there or not."""
        if self._path is None:
            self._path = store_path()
        return self._path

    @property
    def is_open(self) -> bool:
        """Whether there is a connection. One that an error has ended is made anew by the next use."""
        return self._database is not None and self._database.is_open

    def exists(self) -> bool:
        """Whether the file is there. Asking does not create it."""
        return self.is_open or self.path.exists()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is executed inside is on the disk when the block is left, or has not happened if it raises.

        :raises StoreBroken: the disk is full, or the file is locked for too long, damaged or out of reach.
        """
        with self._open().transaction() as connection:
            yield connection

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """The rows of one SELECT. Raises as ``transaction`` does."""

        def read(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
            return connection.execute(sql, values).fetchall()

        return self._open().query(read)

    def totals(self) -> Totals:
        """How much is stored; nothing, where there is no file."""
        if not self.exists():
            return Totals()
        [row] = self.query("SELECT waiting, waiting_bytes, dead, dead_bytes, dropped FROM totals")
        return msgspec.convert(dict(zip(Totals.__struct_fields__, row, strict=True)), Totals)

    def insert(self, connection: sqlite3.Connection, letters: Sequence[Letter], parked_at: float | None) -> list[int]:
        """Add letters, waiting ones if ``parked_at`` is None, in this order; inside a transaction.

        :raises StoreFull: more waiting letters, or bytes of them, than the limits allow.
        """
        last, waiting, waiting_bytes = connection.execute("SELECT last, waiting, waiting_bytes FROM totals").fetchone()
        rows = [_row(letter, last + n, parked_at) for n, letter in enumerate(letters, 1)]
        if parked_at is None:
            size = waiting_bytes + sum(int(row[1]) for row in rows)  # type: ignore[call-overload]  # its size
            if waiting + len(rows) > self.limits.waiting_letters or size > self.limits.waiting_bytes:
                raise StoreFull(
                    f"{self.path}: {waiting} messages ({waiting_bytes} bytes) wait for another try, which is as many "
                    "as may be kept. The broker keeps the others until some of these succeed or become dead letters: "
                    "mend what makes the handler fail."
                )
        connection.execute("UPDATE totals SET last = last + ?", (len(rows),))
        connection.executemany(_INSERT, rows)
        return [last + n for n in range(1, len(rows) + 1)]

    def report_dropped(self, count: int) -> None:
        """Say, at most once in a minute, that dead letters had to make room."""
        self._unreported += count
        now = time.monotonic()
        if self._unreported and now >= self._report_from:
            log.warning(
                "%s: dropped the %d oldest dead letters to make room (limits: %d letters, %d bytes). Look at what "
                "fails with `pylib dead-letters list`, mend it, then replay or drop them.",
                self.path,
                self._unreported,
                self.limits.dead_letters,
                self.limits.dead_bytes,
            )
            self._unreported = 0
            self._report_from = now + 60.0

    def close(self) -> None:
        """Close the connection; the next use opens another. On the owning thread."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _open(self) -> SharedDatabase:
        if self._database is None:
            self._database = SharedDatabase(
                self.path, kind="letter store", application_id=_APPLICATION_ID, migrations=MIGRATIONS
            )
        return self._database


def trim(connection: sqlite3.Connection, limits: Limits) -> int:
    """Drop the oldest dead letters until the limits hold, the newest never; inside a transaction. Returns how many."""
    dropped = 0
    while True:
        dead, size = connection.execute("SELECT dead, dead_bytes FROM totals").fetchone()
        over = max(dead - limits.dead_letters, int(size > limits.dead_bytes))
        count = min(over, dead - 1)
        if count <= 0:
            break
        connection.execute(
            "DELETE FROM letters WHERE ident IN (SELECT ident FROM letters WHERE parked_at IS NOT NULL "
            "ORDER BY parked_at, ident LIMIT ?)",
            (count,),
        )
        dropped += count
    if dropped:
        connection.execute("UPDATE totals SET dropped = dropped + ?", (dropped,))
    return dropped


def letter_of(row: Sequence[object]) -> Letter:
    """The letter of a row of ``COLUMNS``."""
    (ident, parked_at, origin, broker, address, key, message_id, created_at, expires_at, received_at, content_type,
     tries, due_at, error, traceback, headers, body) = row  # fmt: skip
    return msgspec.convert(
        {
            "ident": ident, "parked_at": parked_at, "origin": origin, "broker": broker, "address": address, "key": key,
            "message_id": message_id, "created_at": created_at, "expires_at": expires_at, "received_at": received_at,
            "content_type": content_type, "tries": tries, "due_at": due_at, "error": error, "traceback": traceback,
            "headers": _headers(headers), "body": body,
        },
        Letter,
    )  # fmt: skip


def safe_text(text: str, limit: int | None = None) -> str:
    """Text as UTF-8 can hold it, cut in the middle to ``limit`` characters: both ends of a traceback say something."""
    if limit is not None and len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def failure(error: str, traceback: str) -> tuple[str, str]:
    """Error and traceback as they are stored: without the passwords of URLs, and cut to what a person reads."""
    return safe_text(redact(error), _ERROR_LIMIT), safe_text(redact(traceback), _TRACEBACK_LIMIT)


def _row(letter: Letter, ident: int, parked_at: float | None) -> tuple[object, ...]:
    headers = _encode(letter.headers)
    error, traceback = failure(letter.error, letter.traceback)
    size = len(letter.body) + len(headers) + len(letter.address) + len(error) + len(traceback)
    return (
        ident, size, ident, parked_at, safe_text(letter.origin), safe_text(redact(letter.broker)),
        safe_text(letter.address), safe_text(letter.key),
        None if letter.message_id is None else safe_text(letter.message_id),
        letter.created_at, letter.expires_at, letter.received_at,
        None if letter.content_type is None else safe_text(letter.content_type),
        letter.tries, letter.due_at, error, traceback, headers, letter.body,
    )  # fmt: skip


def _headers(blob: object) -> dict[str, object]:
    assert isinstance(blob, bytes)
    return _decode(blob)
