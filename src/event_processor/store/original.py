"""Reads what the first hub left: its SQLite file and its ``app.conf``, as they are, whichever of its versions wrote them.

No version of it had migrations, and its schema script lacks columns and a table that its programs expect. So nothing is relied
on here: a table that is missing is empty, a column that is missing is unknown, and a row that makes no sense is reported.
The files are only read.
"""

from __future__ import annotations

import configparser
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from pylib.errors import ConfigError

__all__ = ["Original", "Row", "flag", "number", "read_original", "word"]

MOST_ROWS: Final = 1_000_000
"""Rows of one table that are read; of more, the latest."""

LARGEST_CONF: Final = 1024 * 1024
TABLES: Final = (
    "general_config", "heartbeat", "event_log", "input_config", "output_config", "meter_config", "input_link", "output_link",
)  # fmt: skip

Row: TypeAlias = Mapping[str, object]


class Original(msgspec.Struct, frozen=True):
    """Rows by table, with only the columns that were there, and options by section of ``app.conf``; ``modified_at`` is when
    the database was written last, in seconds since the epoch."""

    tables: Mapping[str, tuple[Row, ...]]
    conf: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()
    modified_at: float = 0.0

    def rows(self, table: str) -> tuple[Row, ...]:
        return self.tables.get(table, ())

    def option(self, section: str, option: str) -> str:
        """An option of ``app.conf``; empty where it is not set, or still a placeholder (``%(NAME)s``)."""
        value = self.conf.get(section, {}).get(option, "").strip()
        return "" if value.startswith("%(") else value


def read_original(database: Path | None, app_conf: Path | None = None) -> Original:
    """Read either file, or both. Raises ``ConfigError`` for one that cannot be read at all."""
    notes: list[str] = []
    tables: dict[str, tuple[Row, ...]] = {}
    modified_at = 0.0
    if database is not None:
        if not database.is_file():
            raise ConfigError(f"There is no file {database}.")
        modified_at = database.stat().st_mtime
        try:
            with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
                there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
                if "input_config" not in there:
                    raise ConfigError(f"{database} is no database of the first hub: it has no table input_config.")
                for table in TABLES:
                    if table not in there:
                        notes.append(f"The database has no table {table}: taken as empty.")
                        continue
                    tables[table] = _rows(connection, table, notes)
        except sqlite3.Error as error:
            raise ConfigError(f"{database} cannot be read ({error}).") from error
    conf: dict[str, dict[str, str]] = {}
    if app_conf is not None:
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # names as they are written
        try:
            if app_conf.stat().st_size > LARGEST_CONF:
                raise ConfigError(f"{app_conf} is larger than {LARGEST_CONF} bytes: this is no app.conf.")
            parser.read_string(app_conf.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            raise ConfigError(f"{app_conf} cannot be read ({str(error).splitlines()[0]}).") from error
        conf = {section: dict(parser.items(section)) for section in parser.sections()}
    return Original(tables, conf, tuple(notes), modified_at)


def _rows(connection: sqlite3.Connection, table: str, notes: list[str]) -> tuple[Row, ...]:
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rowid DESC LIMIT {MOST_ROWS + 1}")
    columns = [column[0] for column in cursor.description]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor]
    if len(rows) > MOST_ROWS:
        rows.pop()
        notes.append(f"{table} has more than {MOST_ROWS} rows: the latest {MOST_ROWS} were read.")
    return tuple(reversed(rows))


def word(row: Row, *columns: str) -> str:
    """The text of the first of these columns that is there and not empty."""
    for column in columns:
        value = row.get(column)
        if value is not None and str(value).strip():
            return str(value).strip()
    return ""


def number(row: Row, column: str) -> float | None:
    """A column as a number; None where it is missing, empty or none."""
    value = row.get(column)
    if value is None or isinstance(value, bytes):
        return None
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if abs(found) < 1e15 else None


def flag(row: Row, column: str) -> bool | None:
    """A column as yes or no; None where it is missing or empty."""
    value = row.get(column)
    if value is None or value == "":
        return None
    return str(value).strip().lower() not in ("0", "false", "no", "off", "f", "n", "0.0")
