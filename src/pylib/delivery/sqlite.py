"""SQLite files that hold messages: opened, migrated, checked and, when damaged, set aside, in one way for all of them.

A connection from here commits to the disk (write-ahead log, ``synchronous=FULL``), waits :data:`BUSY_TIMEOUT` for a
lock, keeps its log and its memory small, and knows what kind of file it has opened: a database of another program or of
a newer version of this library is refused and never touched.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pylib.errors import ConfigError, PylibError

__all__ = ["BUSY_TIMEOUT", "Corrupt", "StoreBroken", "StoreFull", "advice", "connect", "open_database", "set_aside"]

log = logging.getLogger("pylib.store")

BUSY_TIMEOUT: Final = 1.0
"""Seconds that an operation waits for a lock which another program holds on the file."""

PAGES_IN_WAL: Final = 1000
"""A commit that takes the write-ahead log past this many pages (of 4 KiB) copies it back into the file."""

WAL_LIMIT: Final = 4 * 1024 * 1024
"""Bytes to which the write-ahead log is cut when it starts again from its beginning."""

CACHE: Final = 2048
"""KiB of pages that a connection keeps in memory."""

PRAGMAS: Final = (
    "synchronous=FULL",
    f"wal_autocheckpoint={PAGES_IN_WAL}",
    f"journal_size_limit={WAL_LIMIT}",
    f"cache_size=-{CACHE}",
    # Overwriting what is deleted with zeros doubles the wear and protects nothing on a disk that remaps its blocks.
    "secure_delete=OFF",
    "cell_size_check=ON",
)

SIDE_FILES: Final = ("-wal", "-shm", "-journal")


class StoreFull(PylibError):
    """A store has no room within its limits: nothing of the operation was stored."""


class StoreBroken(PylibError):
    """A store cannot read or write at the moment; nothing of the operation was stored. Says what to do about it."""


class Corrupt(StoreBroken):
    """The file is damaged. The store sets it aside and starts a new one."""


def open_database(
    path: Path, migrations: Sequence[str], *, kind: str = "message store", application_id: int = 0
) -> sqlite3.Connection:
    """A connection to ``path`` at the current version, in autocommit mode, for the calling thread.

    A damaged file is set aside (see :func:`set_aside`), reported by one ERROR, and a new one started.
    Raises what :func:`connect` raises, except ``Corrupt``.
    """
    try:
        return connect(path, migrations, kind=kind, application_id=application_id)
    except Corrupt as error:
        kept = set_aside(path)
        log.error("%s It is kept as %s and a new one is started; what was in it is out of reach until it is mended.",
                  error, kept)  # fmt: skip
        return connect(path, migrations, kind=kind, application_id=application_id)


def connect(
    path: Path, migrations: Sequence[str], *, kind: str, application_id: int = 0, check: bool = True
) -> sqlite3.Connection:
    """As :func:`open_database`, but a damaged file stays where it is.

    :param migrations: scripts that lead from each version (``PRAGMA user_version``) to the next; the first makes
        version 1 out of an empty file. Each runs in a transaction of its own.
    :param kind: what to call the file in messages.
    :param application_id: marks files of this kind (``PRAGMA application_id``).
    :param check: look through the whole file for damage.
    :raises Corrupt: the file is damaged.
    :raises StoreBroken: ``sqlite3.Error`` and ``OSError`` as well: it cannot be opened now.
    :raises ConfigError: it belongs to another program or to a newer version.
    """
    make_folder(path)
    wal = Path(f"{path}-wal")
    # SQLite would take an empty file for a new one and delete the log beside it without a word.
    if path.exists() and path.stat().st_size == 0 and wal.exists() and wal.stat().st_size > 0:
        raise Corrupt(f"The {kind} {path} was cut to nothing.")
    # Messages are private: SQLite gives its side files the permissions of the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        version = _belongs_to_us(connection, path, len(migrations), kind, application_id)
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreBroken(
                f"The {kind} {path} cannot use a write-ahead log there (SQLite offers {mode!r}). Use a local disk."
            )
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if check:
            found = [text for (text,) in connection.execute("PRAGMA quick_check(3)")]
            if found != ["ok"]:
                raise Corrupt(f"The {kind} {path} is damaged: {'; '.join(found)[:300]}.")
        for number, script in enumerate(migrations[version:], start=version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE; {script.rstrip().rstrip(';')}; PRAGMA application_id={application_id}; "
                f"PRAGMA user_version={number}; COMMIT;"
            )
    except sqlite3.Error as error:
        connection.close()
        if is_corrupt(error):
            raise Corrupt(f"The {kind} {path} is damaged ({error}).") from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _belongs_to_us(connection: sqlite3.Connection, path: Path, known: int, kind: str, application_id: int) -> int:
    """The version of the file. Nothing is written before this is known."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if (mark != application_id and (tables or mark or version)) or (tables and not version):
        raise ConfigError(f"{path} is a database of another program, not a {kind} of this one. Name another file.")
    if version > known:
        raise ConfigError(
            f"The {kind} {path} was written by a newer version of this library (format {version}; this one knows up to "
            f"{known}). Update the library, or name another file."
        )
    return version


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the contents of the file are at fault, not its surroundings."""
    return _name(error).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def is_harmless(error: sqlite3.Error) -> bool:
    """Whether the connection can be used further: the file is locked or the disk full, and nothing was written."""
    return _name(error).startswith(("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED"))


def advice(error: sqlite3.Error | OSError) -> str:
    """What is wrong and what to do, in one or two sentences that end in a full stop."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}. Check that the folder exists, may be written to and has room."
    name = _name(error)
    if name.startswith("SQLITE_FULL"):
        return "the disk is full. Make room; it goes on by itself then."
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"another program has held it locked for {BUSY_TIMEOUT:g} s. Close what has the file open, for example a "
            "database browser; it goes on by itself then."
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return f"{error}. The file and its folder must be writable for the user that runs this program."
    if is_corrupt(error):
        return f"the file is damaged ({error})."
    return f"{error} ({name or type(error).__name__}). Look at the disk (dmesg, df); it is tried again by itself."


def set_aside(path: Path) -> Path:
    """Rename a damaged, closed file and its side files to ``<name>.corrupt-<n>``; returns that. Raises ``OSError``."""
    number = 1
    while (target := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    # Side files first: were we killed in between, the damaged file would still be found damaged.
    for end in SIDE_FILES:
        side = Path(f"{path}{end}")
        if side.exists():
            side.rename(f"{target}{end}")
    path.rename(target)
    sync_folder(path.parent)
    return target


def make_folder(path: Path) -> None:
    """The folder of ``path``, readable for its owner only where it is new, and there after a power cut."""
    missing = []
    folder = path.absolute().parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes names in ``folder`` (new or changed) survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or ""
