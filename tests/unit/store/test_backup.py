"""A backup is of one moment, is checked before it is used, and comes back whole, also into the other kind of store."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import MetaData, select

from event_processor.store.backup import backup
from event_processor.store.database import Database
from event_processor.store.errors import StoreInUse, StoreUnavailable
from event_processor.store.migrate import HEAD
from event_processor.store.reader import Reader
from event_processor.store.restore import restore
from pylib.errors import ConfigError
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import PATIENCE, bench, outcome
from tests.unit.store.test_migrations import EARLIER, EVENTS, foreign_keys_hold, make

pytestmark = pytest.mark.timeout(90)


def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that a backup is to hold."""
    reader = Reader(url)
    found = {}
    with reader.connect() as connection:
        metadata = MetaData()
        metadata.reflect(connection)
        for table in metadata.sorted_tables:
            if table.name not in ("alembic_version", "sessions"):
                ordered = select(table).order_by(*table.primary_key.columns)
                found[table.name] = [tuple(row) for row in connection.execute(ordered)]
    reader.close()
    found["meta"] = [row for row in found["meta"] if row[0] != "synced_at"]
    return found


def fill(runtime: Runtime, url: str) -> None:
    with bench(runtime, url) as b:
        b.stored(*([outcome(n, steps=1) for n in range(first, first + 100)] for first in range(0, 500, 100)))
        b.writer.submit(
            lambda connection: connection.exec_driver_sql(
                "INSERT INTO users (name, role, password_hash, totp_secret, created_at, changed_at)"
                " VALUES ('ann', 'admin', 'x', NULL, 1.5, 1.5)"
            )
        ).result(PATIENCE)


def test_a_backup_comes_back_whole(runtime: Runtime, store_url: str, tmp_path: Path) -> None:
    fill(runtime, store_url)
    said: list[tuple[str, int, int]] = []
    manifest = backup(store_url, tmp_path / "hub.backup", lambda *progress: said.append(progress))
    assert manifest.schema == HEAD
    assert {part.name: part.rows for part in manifest.tables}["events"] == 500
    assert ("events", 500, 500) in said
    before = contents(store_url)
    fill_more = outcome(50_000)
    with bench(runtime, store_url) as b:
        b.stored(fill_more)
    done = restore(tmp_path / "hub.backup", store_url, replace=True)
    assert done.rows == sum(len(rows) for name, rows in before.items()) + (store_url.startswith("/"))
    assert done.kept
    assert contents(store_url) == before
    assert foreign_keys_hold(store_url)
    # It is a store like any other: what comes now goes on counting.
    with bench(runtime, store_url) as b:
        assert len(b.loaded.causes) == 500
        b.stored(fill_more, outcome(3))
        b.writer.submit(
            lambda connection: connection.exec_driver_sql(
                "INSERT INTO users (name, role, password_hash, created_at, changed_at) VALUES ('bob', 'viewer', 'x', 1, 1)"
            )
        ).result(PATIENCE)
    assert len(contents(store_url)["events"]) == 501


@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
def test_a_backup_of_one_kind_becomes_a_store_of_the_other(
    runtime: Runtime, tmp_path: Path, postgresql: str, into: str
) -> None:
    source, target = (str(tmp_path / "hub.db"), postgresql) if into == "postgresql" else (postgresql, str(tmp_path / "hub.db"))
    fill(runtime, source)
    backup(source, tmp_path / "hub.backup")
    assert restore(tmp_path / "hub.backup", target).kept == ""
    assert contents(target) == contents(source)
    assert foreign_keys_hold(target)


@pytest.mark.parametrize("revision", EARLIER)
def test_a_backup_of_an_earlier_schema_is_taken_to_the_current_one(store_url: str, tmp_path: Path, revision: str) -> None:
    make(store_url, revision)
    assert backup(store_url, tmp_path / "old.backup").schema == revision
    target = tmp_path / "new.db"
    restore(tmp_path / "old.backup", target)
    found = contents(str(target))
    assert len(found["events"]) == EVENTS + 1
    assert len(found["evaluations"]) == EVENTS
    assert len(found["steps"]) == 10
    assert len(found["readings"]) == EVENTS // 5
    assert foreign_keys_hold(str(target))


def test_nothing_is_replaced_unasked(runtime: Runtime, store_url: str, tmp_path: Path) -> None:
    fill(runtime, store_url)
    backup(store_url, tmp_path / "hub.backup")
    before = contents(store_url)
    with pytest.raises(ConfigError, match="already"):
        restore(tmp_path / "hub.backup", store_url)
    with pytest.raises(ConfigError, match="exists already"):
        backup(store_url, tmp_path / "hub.backup")
    assert contents(store_url) == before


def test_a_store_that_a_hub_is_running_on_is_not_replaced(runtime: Runtime, store_url: str, tmp_path: Path) -> None:
    with bench(runtime, store_url) as b:
        b.stored(outcome(1))
        backup(store_url, tmp_path / "hub.backup")
        with pytest.raises(StoreInUse):
            restore(tmp_path / "hub.backup", store_url, replace=True)
        b.stored(outcome(2))
    assert len(contents(store_url)["events"]) == 2


def test_a_damaged_backup_is_refused_before_anything_is_touched(runtime: Runtime, store_url: str, tmp_path: Path) -> None:
    fill(runtime, store_url)
    path = tmp_path / "hub.backup"
    backup(store_url, path)
    before = contents(store_url)
    whole = path.read_bytes()
    for number, spoilt in enumerate([
        whole[: len(whole) // 2], b"", b"nonsense" * 100,
        whole[: len(whole) // 3] + bytes(64) + whole[len(whole) // 3 + 64 :],
    ]):  # fmt: skip
        (tmp_path / f"bad-{number}").write_bytes(spoilt)
        with pytest.raises((ConfigError, StoreUnavailable), match=r"damaged|no backup"):
            restore(tmp_path / f"bad-{number}", store_url, replace=True)
    # One whose parts are sound and do not belong together: a row was taken out.
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "edited", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.split(b"\n", 1)[1] if name == "events.jsonl" else data)
    with pytest.raises(ConfigError, match="checksum of events"):
        restore(tmp_path / "edited", store_url, replace=True)
    assert contents(store_url) == before


def test_a_row_that_cannot_be_read_is_said_whatever_its_checksum(runtime: Runtime, store_url: str, tmp_path: Path) -> None:
    fill(runtime, store_url)
    backup(store_url, tmp_path / "hub.backup")
    before = contents(store_url)
    for number, first in enumerate((b"no row\n", b"[1, 2]\n")):
        with zipfile.ZipFile(tmp_path / "hub.backup") as old, zipfile.ZipFile(tmp_path / f"made-{number}", "w") as new:
            events = old.read("events.jsonl")
            made = first + events.split(b"\n", 1)[1]
            for name in old.namelist():
                data = made if name == "events.jsonl" else old.read(name)
                was, now = (hashlib.sha256(each).hexdigest().encode() for each in (events, made))
                new.writestr(name, data.replace(was, now) if name == "manifest.json" else data)
        with pytest.raises(ConfigError, match="is damaged: a row cannot be read"):
            restore(tmp_path / f"made-{number}", store_url, replace=True)
    assert contents(store_url) == before


def test_a_backup_of_a_newer_hub_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    fill(runtime, str(tmp_path / "hub.db"))
    backup(tmp_path / "hub.db", tmp_path / "hub.backup")
    with zipfile.ZipFile(tmp_path / "hub.backup") as old, zipfile.ZipFile(tmp_path / "newer", "w") as new:
        for name in old.namelist():
            text = old.read(name)
            new.writestr(name, text.replace(f'"{HEAD}"'.encode(), b'"0999"') if name == "manifest.json" else text)
    with pytest.raises(ConfigError, match="newer"):
        restore(tmp_path / "newer", tmp_path / "other.db")
    assert not (tmp_path / "other.db").exists()


def test_a_restore_that_fails_leaves_the_store_as_it_was(
    runtime: Runtime, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(runtime, store_url)
    backup(store_url, tmp_path / "hub.backup")
    with bench(runtime, store_url) as b:
        b.stored(outcome(7777))
    before = contents(store_url)

    def fails(source: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("event_processor.store.restore._slices", fails)
    with pytest.raises(StoreUnavailable, match="The store is as it was"):
        restore(tmp_path / "hub.backup", store_url, replace=True)
    monkeypatch.undo()
    assert contents(store_url) == before
    assert restore(tmp_path / "hub.backup", store_url, replace=True).kept
    assert len(contents(store_url)["events"]) == 500


def test_what_a_restore_replaced_can_be_restored_again(runtime: Runtime, tmp_path: Path) -> None:
    store = tmp_path / "hub.db"
    fill(runtime, str(store))
    backup(store, tmp_path / "hub.backup")
    with bench(runtime, store) as b:
        b.stored(outcome(7777))
    kept = Path(restore(tmp_path / "hub.backup", store, replace=True).kept)
    database = Database(kept)
    database.open()
    database.close()
    assert len(contents(str(kept))["events"]) == 501


def test_a_backup_is_for_its_owners_eyes_and_leaves_no_half_file(runtime: Runtime, tmp_path: Path) -> None:
    fill(runtime, str(tmp_path / "hub.db"))
    backup(tmp_path / "hub.db", tmp_path / "there" / "hub.backup")
    assert (tmp_path / "there" / "hub.backup").stat().st_mode & 0o077 == 0
    with pytest.raises(StoreUnavailable):
        backup(tmp_path / "nowhere.db", tmp_path / "there" / "other.backup")
    (tmp_path / "folder").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        backup(tmp_path / "hub.db", tmp_path / "folder" / "hub.backup")
    assert os.listdir(tmp_path / "there") == ["hub.backup"]
    assert not (tmp_path / "nowhere.db").exists()
