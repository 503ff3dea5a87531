"""A backup: everything that a store knows, of one moment, in one file, while the hub goes on working.

The file is a zip archive: one ``<table>.jsonl`` per table, a row per line, and ``manifest.json`` with the schema, the
number of rows and a checksum of each. It is the same for SQLite and PostgreSQL, so a backup of one can be restored into the
other. Left out are the sessions of the dashboard: who restores a backup logs in again. Pictures stay where they are.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import URL, Connection, LargeBinary, MetaData, Table, func, select
from sqlalchemy.exc import SQLAlchemyError

from event_processor.store.errors import StoreUnavailable, say
from event_processor.store.migrate import revision_of
from event_processor.store.reader import Reader
from pylib.errors import ConfigError

__all__ = ["FORMAT", "MANIFEST", "Manifest", "Progress", "TablePart", "backup", "read_manifest", "stored_tables"]

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
ROWS_AT_ONCE: Final = 1000
LARGEST_MANIFEST: Final = 1024 * 1024
_NOT_OURS: Final = ("alembic_version", "sessions")

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a table's name, the rows done and the rows there are."""

_encoder: Final = msgspec.json.Encoder()


class TablePart(msgspec.Struct, frozen=True):
    """One table in a backup; ``binary`` names the columns that are base64 there."""

    name: str
    rows: int
    sha256: str
    columns: tuple[str, ...]
    binary: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds; ``created_at`` is in seconds since the epoch."""

    format: int
    schema: str
    created_at: float
    tables: tuple[TablePart, ...]


def backup(url: str | os.PathLike[str] | URL, target: Path, progress: Progress | None = None) -> Manifest:
    """Write a backup to ``target``, which must not exist yet. Blocks; the store is read only, and of one moment.

    :raises ConfigError: ``target`` exists, or there is no store.
    :raises StoreUnavailable: the store cannot be read, or the file not be written; nothing is left of it then.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already. Name another file, or move that one away.")
    unfinished = target.with_name(f"{target.name}.unfinished")
    reader = Reader(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, reader.connect() as connection:
                manifest = _write(connection, archive, progress or (lambda table, done, total: None))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except OSError as error:
        raise StoreUnavailable(f"The backup {target} cannot be written: {say(error)}") from error
    finally:
        reader.close()
        try:
            unfinished.unlink(missing_ok=True)
        except OSError:
            pass  # what stood in the way of writing it is said already
    return manifest


def read_manifest(archive: zipfile.ZipFile) -> Manifest:
    """What an open backup says of itself. Raises ``ConfigError`` for one that is none, or of a newer version."""
    try:
        info = archive.getinfo(MANIFEST)
        if info.file_size > LARGEST_MANIFEST:
            raise ValueError("its list of contents is too long")
        found = msgspec.json.decode(archive.read(info), type=Manifest)
    except (KeyError, ValueError, msgspec.MsgspecError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{archive.filename} is no backup of this hub, or is damaged ({error}).") from error
    if found.format > FORMAT:
        raise ConfigError(f"{archive.filename} was written by a newer version of the hub. Update the hub first.")
    return found


def stored_tables(connection: Connection) -> list[Table]:
    """The tables as they are in this very store, whatever its schema, parents before children."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name not in _NOT_OURS]


def _write(connection: Connection, archive: zipfile.ZipFile, progress: Progress) -> Manifest:
    try:
        schema = revision_of(connection)
        if schema is None:
            raise ConfigError("There is nothing in this store yet: start the hub once.")
        parts = [_write_table(connection, archive, table, progress) for table in stored_tables(connection)]
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"The store cannot be read: {say(error)}") from error
    manifest = Manifest(format=FORMAT, schema=schema, created_at=time.time(), tables=tuple(parts))
    archive.writestr(MANIFEST, msgspec.json.format(_encoder.encode(manifest)))
    return manifest


def _write_table(connection: Connection, archive: zipfile.ZipFile, table: Table, progress: Progress) -> TablePart:
    total = int(connection.execute(select(func.count()).select_from(table)).scalar_one())
    digest = hashlib.sha256()
    done = 0
    rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(select(table).order_by(*table.primary_key.columns))
    with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as member:
        for some in rows.partitions():
            lines = _encoder.encode_lines([tuple(row) for row in some])
            member.write(lines)
            digest.update(lines)
            done += len(some)
            progress(table.name, done, total)
    return TablePart(
        name=str(table.name),
        rows=done,
        sha256=digest.hexdigest(),
        columns=tuple(str(column.name) for column in table.columns),
        binary=tuple(str(column.name) for column in table.columns if isinstance(column.type, LargeBinary)),
    )
