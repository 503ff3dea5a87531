"""From a backup to a store: checked before anything is touched, built beside what is there, and put in its place at the end.

A restore that fails, or is killed, leaves the store as it was. What it replaces is kept: a SQLite file beside the new one, the
tables of PostgreSQL in a schema of their own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import URL, Connection, func, insert, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from event_processor.store.backup import Manifest, Progress, TablePart, read_manifest, stored_tables
from event_processor.store.database import APPLICATION_ID, HUBS_LOCK, file_of, lock_file, make_engine, parse_url
from event_processor.store.errors import StoreInUse, StoreUnavailable, say
from event_processor.store.migrate import HEAD, revisions, upgrade
from pylib.delivery.sqlite import SIDE_FILES, make_folder, sync_folder
from pylib.errors import ConfigError

__all__ = ["Restored", "restore"]

ROWS_AT_ONCE: Final = 500
LONGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes of one row in a backup, at most."""

CHUNK: Final = 1024 * 1024
_BESIDE: Final = "restoring"


class Restored(msgspec.Struct, frozen=True):
    """What was restored, and where what was there before is kept (a file, or the name of a schema), if there was anything."""

    manifest: Manifest
    rows: int
    kept: str = ""


def restore(
    source: Path, url: str | os.PathLike[str] | URL, progress: Progress | None = None, *, replace: bool = False
) -> Restored:
    """Make a store out of a backup, at the current schema. Blocks.

    :param replace: whether a store that is there already may be replaced; it is kept under another name.
    :raises ConfigError: the backup is none, damaged or too new; or there is a store and ``replace`` is false.
    :raises StoreInUse: a hub is running on the store.
    :raises StoreUnavailable: the store cannot be written, or what was written did not pass the check.
    """
    target = parse_url(url)
    report = progress or (lambda table, done, total: None)
    try:
        with zipfile.ZipFile(source) as archive:
            manifest = read_manifest(archive)
            if manifest.schema not in revisions():
                raise ConfigError(
                    f"{source} has schema {manifest.schema}, newer than this hub's {HEAD}. Update the hub first."
                )
            for part in manifest.tables:
                _verify(archive, part)
            return (_to_sqlite if file_of(target) is not None else _to_postgresql)(archive, manifest, target, report, replace)
    except zipfile.BadZipFile as error:
        raise ConfigError(f"{source} is no backup of this hub, or is damaged ({error}).") from error
    except (msgspec.MsgspecError, ValueError) as error:  # a checksum is no proof of what a row is
        raise ConfigError(f"{source} is damaged: a row cannot be read ({error}). The store is as it was.") from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"The backup {source} cannot be restored: {say(error)} The store is as it was.") from error


def _verify(archive: zipfile.ZipFile, part: TablePart) -> None:
    digest = hashlib.sha256()
    try:
        with archive.open(f"{part.name}.jsonl") as member:
            while chunk := member.read(CHUNK):
                digest.update(chunk)
    except (KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ConfigError(f"{archive.filename} is damaged: {part.name}: {error}. Use another backup.") from error
    if digest.hexdigest() != part.sha256:
        raise ConfigError(f"{archive.filename} is damaged: the checksum of {part.name} is wrong. Use another backup.")


def _to_sqlite(archive: zipfile.ZipFile, manifest: Manifest, url: URL, progress: Progress, replace: bool) -> Restored:
    file = file_of(url)
    assert file is not None
    make_folder(file)
    lock = lock_file(file)
    beside = file.with_name(f"{file.name}.{_BESIDE}")
    try:
        there = file.exists() and file.stat().st_size > 0
        if there and not replace:
            raise ConfigError(
                f"There is a store at {file} already. Say that it may be replaced; it is kept beside the new one."
            )
        _remove(beside)
        os.close(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine = make_engine(url.set(database=str(beside)))
        try:
            with engine.connect() as connection:
                rows = _fill_sqlite(connection, archive, manifest, progress)
        finally:
            engine.dispose()
        handle = os.open(beside, os.O_RDWR)
        os.fsync(handle)
        os.close(handle)
        kept = str(_keep(file)) if there else ""
        os.replace(beside, file)
        sync_folder(file.parent)
        return Restored(manifest, rows, kept)
    finally:
        _remove(beside)
        os.close(lock)


def _fill_sqlite(connection: Connection, archive: zipfile.ZipFile, manifest: Manifest, progress: Progress) -> int:
    """As ``_fill``, in a file that is checked as a whole at the end."""
    raw: Any = connection.connection.driver_connection
    raw.execute("PRAGMA auto_vacuum=INCREMENTAL")
    raw.execute(f"PRAGMA application_id={APPLICATION_ID}")
    rows = _fill(connection, archive, manifest, progress)
    wrong = raw.execute("PRAGMA foreign_key_check").fetchmany(3)
    found = [said for (said,) in raw.execute("PRAGMA integrity_check(3)")]
    if wrong or found != ["ok"]:
        raise StoreUnavailable(f"What was restored did not pass the check: {wrong or found}. The store is as it was.")
    return rows


def _to_postgresql(archive: zipfile.ZipFile, manifest: Manifest, url: URL, progress: Progress, replace: bool) -> Restored:
    engine = make_engine(url)
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    beside = make_engine(url.update_query_dict({"options": f"-csearch_path={_BESIDE}"}))
    try:
        with engine.connect() as connection:
            if not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": HUBS_LOCK}).scalar():
                raise StoreInUse("A hub is running on this store, or somebody else is restoring it. Stop it, then try again.")
            connection.commit()
            there = inspect(connection).has_table("events")
            if there and not replace:
                raise ConfigError(
                    "There is a store already. Say that it may be replaced; its tables are kept in another schema."
                )
            connection.execute(text(f"DROP SCHEMA IF EXISTS {_BESIDE} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {_BESIDE}"))
            connection.commit()
            with beside.connect() as new:
                rows = _fill(new, archive, manifest, progress)
                _set_sequences(new)
                names = inspect(new).get_table_names(schema=_BESIDE)
            kept = f"before_restore_{stamp}" if there else ""
            # All of it or nothing: another program sees either the old tables or the new ones.
            current = connection.execute(text("SELECT current_schema()")).scalar_one()
            if there:
                connection.execute(text(f'CREATE SCHEMA "{kept}"'))
                for name in inspect(connection).get_table_names(schema=current):
                    if name in names:
                        connection.execute(text(f'ALTER TABLE "{current}"."{name}" SET SCHEMA "{kept}"'))
            for name in names:
                connection.execute(text(f'ALTER TABLE "{_BESIDE}"."{name}" SET SCHEMA "{current}"'))
            connection.execute(text(f"DROP SCHEMA {_BESIDE}"))
            connection.commit()
            return Restored(manifest, rows, kept)
    finally:
        engine.dispose()
        beside.dispose()


def _fill(connection: Connection, archive: zipfile.ZipFile, manifest: Manifest, progress: Progress) -> int:
    """The schema of the backup, its rows, the way to the current schema; and the count, which has to be right."""
    upgrade(connection, manifest.schema)
    tables = {table.name: table for table in stored_tables(connection)}
    connection.commit()
    total = 0
    for name, table in tables.items():  # parents before children
        part = next((part for part in manifest.tables if part.name == name), None)
        if part is None:
            continue
        done = 0
        with connection.begin():
            for rows in _slices(_lines(archive, part)):
                connection.execute(insert(table), rows)
                done += len(rows)
                progress(name, done, part.rows)
            there = connection.execute(select(func.count()).select_from(table)).scalar_one()
        if not done == part.rows == there:
            raise StoreUnavailable(f"Of {part.rows} rows of {name}, {there} were restored. The store is as it was.")
        total += done
    upgrade(connection)
    return total


def _lines(archive: zipfile.ZipFile, part: TablePart) -> Iterator[dict[str, object]]:
    decode: Callable[[bytes], list[Any]] = msgspec.json.Decoder(list[Any]).decode
    binary = [index for index, column in enumerate(part.columns) if column in part.binary]
    with archive.open(f"{part.name}.jsonl") as member:
        while line := member.readline(LONGEST_LINE):
            values = decode(line)
            for index in binary:
                if values[index] is not None:
                    values[index] = base64.b64decode(values[index])
            yield dict(zip(part.columns, values, strict=True))


def _slices(rows: Iterator[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    some: list[dict[str, object]] = []
    for row in rows:
        some.append(row)
        if len(some) == ROWS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _set_sequences(connection: Connection) -> None:
    """PostgreSQL goes on counting where the restored rows end."""
    for table in stored_tables(connection):
        key = list(table.primary_key.columns)
        if len(key) != 1:
            continue
        where = {"table": table.name, "column": key[0].name}
        sequence = connection.execute(text("SELECT pg_get_serial_sequence(:table, :column)"), where).scalar()
        if sequence is not None:
            highest = connection.execute(select(func.max(key[0]))).scalar()
            if highest is not None:
                connection.execute(text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest})
    connection.commit()


def _keep(file: Path) -> Path:
    """Give the old file a second name, under which it is found when the new one has taken the first: so that a kill at any
    moment leaves either of them in its place."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    number, kept = 1, file.with_name(f"{file.name}.before-restore-{stamp}")
    while kept.exists():
        number += 1
        kept = file.with_name(f"{file.name}.before-restore-{stamp}-{number}")
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as old:  # what is in its log goes into the file
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        pass  # a damaged one is kept as it is, with its side files
    os.link(file, kept)
    for end in SIDE_FILES:
        if Path(f"{file}{end}").exists():
            Path(f"{file}{end}").rename(f"{kept}{end}")
    return kept


def _remove(file: Path) -> None:
    for end in ("", *SIDE_FILES):
        Path(f"{file}{end}").unlink(missing_ok=True)
