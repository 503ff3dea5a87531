"""A store opened: SQLite in a file, or PostgreSQL by URL, at the current schema, for the one that writes.

SQLite: write-ahead log, ``synchronous=NORMAL`` (a commit survives the death of the process at once, and a power cut from
the next checkpoint or :meth:`Database.to_disk` on), foreign keys enforced, one hub per file by a lock beside it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from event_processor.store.errors import StoreDamaged, StoreInUse, StoreUnavailable, damaged, say
from event_processor.store.migrate import upgrade
from pylib.delivery.sqlite import make_folder
from pylib.errors import ConfigError

__all__ = ["Database", "file_of", "make_engine", "parse_url"]

log = logging.getLogger("event_processor.store")

BUSY_TIMEOUT: Final = 1.0
"""Seconds that a statement waits for a lock which another program holds on the file."""

CONNECT_TIMEOUT: Final = 3
"""Seconds that PostgreSQL may take to answer a connection attempt."""

ANSWER_TIMEOUT_MS: Final = 10_000
"""Milliseconds that sent data may go unacknowledged by the machine with PostgreSQL before the connection is given up."""

LOOK_FOR_DAMAGE: Final = 2.0
"""Seconds at most that a start spends on looking for damage in a SQLite file. What is met later is dealt with then."""

PAGES_IN_WAL: Final = 10_000
"""Pages in the write-ahead log from which a commit copies them back by itself: a ``Checkpointer`` does it long before."""

WAL_LIMIT: Final = 16 * 1024 * 1024
CACHE: Final = 8192
APPLICATION_ID: Final = 0x48756273
HUBS_LOCK: Final = 0x4875627374
MIGRATION_LOCK: Final = 0x4875624D69

_PRAGMAS: Final = (
    "foreign_keys=ON",
    "synchronous=NORMAL",
    f"wal_autocheckpoint={PAGES_IN_WAL}",
    f"journal_size_limit={WAL_LIMIT}",
    f"cache_size=-{CACHE}",
    "temp_store=MEMORY",
    "cell_size_check=ON",
)


def parse_url(url: str | os.PathLike[str] | URL) -> URL:
    """A URL, or the path of a SQLite file, as SQLAlchemy has it. Raises ``ConfigError``, without any password."""
    try:
        if isinstance(url, str) and "://" in url:
            url = make_url(url)
        if not isinstance(url, URL):
            return URL.create("sqlite", database=str(Path(url).expanduser()))
    except (ArgumentError, ValueError):
        raise ConfigError(
            "The store's URL cannot be understood. Write a file's path, or postgresql://user@host/name."
        ) from None
    kind = url.get_backend_name()
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if kind != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigError(
            f"The store {url.render_as_string()!r} is neither a SQLite file nor PostgreSQL. "
            "Write a file's path, or postgresql://user@host/name."
        )
    return url


def file_of(url: URL) -> Path | None:
    """The file of a SQLite store; None for PostgreSQL."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def make_engine(url: URL, *, read_only: bool = False) -> Engine:
    """An engine; who asks it for a connection owns that. Only readers of PostgreSQL share a few. Connects to nothing yet."""
    file = file_of(url)
    if file is None:
        try:
            engine = create_engine(
                url,
                **({"pool_size": 2, "pool_pre_ping": True} if read_only else {"poolclass": NullPool}),
                isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
                connect_args={
                    "connect_timeout": CONNECT_TIMEOUT,
                    "tcp_user_timeout": ANSWER_TIMEOUT_MS,
                    "application_name": "event-processor",
                },
            )
        except (ModuleNotFoundError, NoSuchModuleError):
            raise ConfigError("PostgreSQL needs the package psycopg: pip install 'pylib-automation[postgresql]'") from None
        event.listen(engine, "connect", _prepare_postgresql)
        if read_only:
            engine = engine.execution_options(postgresql_readonly=True)
        return engine
    target = file.absolute().as_uri() + ("?mode=ro" if read_only else "?mode=rw")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(target, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        for pragma in ("query_only=ON", f"cache_size=-{CACHE}") if read_only else _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    # A transaction that reads first and writes later fails at once when another program has written in between.
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _prepare_postgresql(connection: Any, record: object) -> None:
    from event_processor.store.plain_text import accept_nul

    accept_nul(connection)


class Database:
    """The writer's side of a store: one connection, owned by the thread that opens it. Makes nothing before ``open``.

    :param on_connect: called with each new SQLite connection, before anything is read; for tests that limit its size.
    """

    def __init__(self, url: str | os.PathLike[str] | URL, *, on_connect: Callable[[sqlite3.Connection], None] | None = None):
        self.url = parse_url(url)
        self.file = file_of(self.url)
        self._on_connect = on_connect
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"Database({self.name})"

    @property
    def name(self) -> str:
        """What to call it in messages: without a password."""
        return str(self.file) if self.file is not None else self.url.render_as_string()

    @property
    def connection(self) -> Connection:
        """The open connection. Raises ``StoreUnavailable`` where there is none."""
        if self._connection is None:
            raise StoreUnavailable(f"The store {self.name} is not open.")
        return self._connection

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self) -> str | None:
        """Connect, look for damage and migrate; returns the schema that was found, None for a new store.

        :raises StoreDamaged: the SQLite file is damaged; it stays where it is.
        :raises StoreInUse: another hub has the SQLite file, or is restoring the PostgreSQL database.
        :raises StoreUnavailable: it cannot be opened now.
        :raises ConfigError: it belongs to another program, or to a newer version of the hub.
        """
        self.disconnect()
        try:
            if self.file is not None:
                self._prepare_file(self.file)
            self._engine = make_engine(self.url)
            self._connection = self._engine.connect()
            if self.file is not None:
                self._begin_sqlite(self._connection)
            else:
                self._begin_postgresql(self._connection)
            before = upgrade(self._connection)
            if self.file is None:
                self._connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
                self._connection.commit()
            return before
        except (ConfigError, StoreUnavailable):
            self.disconnect()
            raise
        except (DBAPIError, sqlite3.Error, OSError) as error:
            self.disconnect()
            kind = StoreDamaged if damaged(error) else StoreUnavailable
            raise kind(f"The store {self.name} cannot be opened: {say(error)}") from error
        except BaseException:
            self.disconnect()
            raise

    def to_disk(self) -> None:
        """Have everything committed so far survive a power cut. PostgreSQL does that with each commit."""
        if self.file is not None:
            raw = self._raw()
            raw.execute("PRAGMA synchronous=FULL")
            try:
                raw.execute("BEGIN IMMEDIATE")
                raw.execute("INSERT INTO meta (key, value) VALUES ('synced_at', ?) "
                            "ON CONFLICT (key) DO UPDATE SET value = excluded.value", (repr(time.time()),))  # fmt: skip
                raw.execute("COMMIT")
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                raw.execute("PRAGMA synchronous=NORMAL")

    def disconnect(self) -> None:
        """Close the connection and keep the lock on the file. Twice is harmless; raises nothing."""
        connection, self._connection = self._connection, None
        engine, self._engine = self._engine, None
        for closing in (connection.close if connection is not None else None, engine.dispose if engine is not None else None):
            try:
                if closing is not None:
                    closing()
            except (DBAPIError, sqlite3.Error, OSError) as error:
                log.debug("closing the store: %s", say(error))

    def close(self) -> None:
        """Close the connection and give the file back to others."""
        self.disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- inside ------------------------------------------------------------------------------------------------------

    def _prepare_file(self, file: Path) -> None:
        make_folder(file)
        if self._lock is None:
            self._lock = lock_file(file)
        wal = Path(f"{file}-wal")
        # SQLite would take an empty file for a new one and delete the log beside it without a word.
        if file.exists() and file.stat().st_size == 0 and wal.exists() and wal.stat().st_size > 0:
            raise StoreDamaged(f"The store {file} was cut to nothing.")
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _raw(self) -> sqlite3.Connection:
        raw: Any = self.connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        return raw

    def _begin_sqlite(self, connection: Connection) -> None:
        raw = self._raw()
        if self._on_connect is not None:
            self._on_connect(raw)
        (tables,) = raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (mark,) = raw.execute("PRAGMA application_id").fetchone()
        if tables and mark != APPLICATION_ID:
            raise ConfigError(f"{self.file} is a database of another program, not a store of this hub. Name another file.")
        if not tables:
            raw.execute("PRAGMA auto_vacuum=INCREMENTAL")
            raw.execute(f"PRAGMA application_id={APPLICATION_ID}")
        (mode,) = raw.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailable(
                f"The store {self.file} cannot use a write-ahead log there (SQLite offers {mode!r}). Use a local disk."
            )
        found = _damage(raw)
        if found:
            raise StoreDamaged(f"The store {self.file} is damaged: {found}.")

    def _begin_postgresql(self, connection: Connection) -> None:
        # Shared with other hubs; a restore takes it for itself. It is the session's: gone with the connection.
        if not connection.execute(text("SELECT pg_try_advisory_lock_shared(:lock)"), {"lock": HUBS_LOCK}).scalar():
            raise StoreInUse(f"The store {self.name} is being restored. Start again when that is done.")
        # One at a time looks at the schema and changes it: hubs that share a database may start at once.
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.commit()


def lock_file(file: Path) -> int:
    """Take a SQLite store for oneself; a descriptor to be closed in the end. Raises ``StoreInUse``."""
    handle = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StoreInUse(
            f"The store {file} is in use by another hub. Stop that one, or give this one a file of its own "
            "(several hubs share a PostgreSQL database)."
        ) from None
    return handle


def _damage(raw: sqlite3.Connection) -> str:
    """What is wrong with the file, as far as that shows in the time there is; empty where nothing is."""
    until = time.monotonic() + LOOK_FOR_DAMAGE
    raw.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)
    try:
        found = [found for (found,) in raw.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
            raise
        return ""
    finally:
        raw.set_progress_handler(None, 0)
    return "" if found == ["ok"] else "; ".join(str(text) for text in found)[:300]
