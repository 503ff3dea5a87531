"""The disk or the file fails: it is said, events are still served, the damaged file is kept, and it recovers by itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from event_processor.domain.outcome import Change
from event_processor.domain.records import NotificationRecord
from event_processor.store import backlog
from event_processor.store.database import Database
from event_processor.store.migrate import HEAD
from pylib.errors import ConfigError
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import PATIENCE, START, Bench, bench, outcome, rows, step
from tests.unit.store.postgresql import Server

pytestmark = pytest.mark.timeout(90)

SMALL = 60  # pages of 4 KiB


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "hub.db"


@pytest.fixture
def filled(runtime: Runtime, file: Path) -> Path:
    """A store with history, state, an account and a step that nobody has accepted."""
    with bench(runtime, file, accepts=False) as b:
        b.stored(*([outcome(n) for n in range(first, first + 100)] for first in range(0, 2000, 100)))
        b.send(outcome(9000, steps=1, changes=(Change("mode", "house", b'"away"'),)))
        b.commands.next()
        b.writer.submit(
            lambda connection: connection.exec_driver_sql(
                "INSERT INTO users (name, role, password_hash, created_at, changed_at) VALUES ('ann', 'admin', 'x', 1, 1)"
            )
        ).result(PATIENCE)
    return file


def damaged_copies(file: Path) -> list[Path]:
    return sorted(
        path for path in file.parent.iterdir() if ".damaged-" in path.name and not path.name.endswith(("-wal", "-shm"))
    )


# -- damage --


def test_a_file_that_is_no_database_is_set_aside_and_a_new_one_started(
    runtime: Runtime, filled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with filled.open("r+b") as handle:
        handle.write(b"no database at all" * 6)
    with bench(runtime, filled) as b:
        health = b.writer.health()
        assert health.ok
        assert health.quarantined in damaged_copies(filled)
        b.stored(outcome(1, steps=1))
        assert b.commands.next()[2]["message_id"] == "step-1-0"
    assert "It is kept as" in caplog.text
    assert rows(filled, "events", "cause") == [("cause-1",)]


def test_what_can_be_read_of_a_damaged_file_is_taken_over_the_state_first(runtime: Runtime, filled: Path) -> None:
    # Pages in the middle of the history; the state's own pages are elsewhere.
    with closing(sqlite3.connect(filled)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'evaluations'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with filled.open("r+b") as handle:
        handle.seek((page - 1) * size)
        handle.write(os.urandom(size))
    with bench(runtime, filled) as b:
        assert b.loaded.quarantined in damaged_copies(filled)
        assert b.loaded.state[("mode", "house")] == b'"away"'
        assert len(b.loaded.state) == 11
        # The pending step is sent, with its id.
        assert b.commands.next()[2]["message_id"] == "step-9000-0"
    assert rows(filled, "users", "name, role") == [("ann", "admin")]
    assert rows(filled, "steps", "id, status") == [("step-9000-0", "done")]


@pytest.mark.parametrize("left", [0, 100, 4096, 40_000])
def test_a_file_that_was_cut_off_is_set_aside(runtime: Runtime, filled: Path, left: int) -> None:
    os.truncate(filled, left)
    with bench(runtime, filled) as b:
        assert b.writer.health().ok
        b.stored(outcome(1))
    assert ("cause-1",) in rows(filled, "events", "cause")
    if left:  # of nothing there is nothing to keep
        assert damaged_copies(filled)


def test_damage_that_is_met_while_it_runs_is_dealt_with_while_it_runs(runtime: Runtime, filled: Path) -> None:
    with bench(runtime, filled) as b:
        b.commands.next()
        b.writer.submit(lambda connection: None).result(PATIENCE)
        with closing(sqlite3.connect(filled)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            size = connection.execute("PRAGMA page_size").fetchone()[0]
            pages = [row[0] for row in connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE name IN ('events', 'uq_events_cause', 'ix_events_at')")]  # fmt: skip
        with filled.open("r+b") as handle:
            for page in pages:
                handle.seek((page - 1) * size)
                handle.write(b"\xff" * size)
        b.stored(outcome(1, steps=1))
        b.stored([outcome(n, steps=1) for n in range(2, 300)])
        b.until(lambda: b.writer.health().ok and b.writer.health().waiting == 0)
        assert b.writer.health().quarantined is not None
    assert ("cause-299",) in rows(filled, "events", "cause")


def test_a_newer_schema_is_refused_and_not_touched(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    database = Database(filled)
    with pytest.raises(ConfigError, match=r"schema 9999.*Update the hub"):
        database.open()
    database.close()
    assert damaged_copies(filled) == []


# -- no room, no permission, a lock --


def test_a_full_disk_stops_the_storing_and_not_the_hub(
    runtime: Runtime, file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MOST_UNSTORED", 100)
    limit = [SMALL]

    def limit_pages(raw: sqlite3.Connection) -> None:
        raw.execute(f"PRAGMA max_page_count={limit[0]}")

    database = Database(file, on_connect=limit_pages)
    with bench(runtime, file, database=database) as b:
        count = 0
        while b.writer.health().ok:
            b.stored([outcome(count + n, steps=1) for n in range(20)])
            count += 20
        stored = b.writer.health().stored
        assert 0 < stored < count
        assert "full" in b.writer.health().problem
        # Still served, and let go of when the steps were accepted.
        b.stored(*(outcome(count + n, steps=1) for n in range(200)))
        count += 200
        assert [b.commands.next()[2]["message_id"] for _ in range(count)] == [f"step-{n}-0" for n in range(count)]
        assert b.writer.health().waiting == 100
        assert b.writer.health().lost > 0
        limit[0] = 100_000
        b.until(lambda: b.writer.health().ok)
        b.stored(outcome(count, steps=1))
        assert b.writer.health().waiting == 0
        lost = b.writer.health().lost
    assert caplog.text.count("the disk is full") == 1, "said once, not once a message"
    causes = rows(file, "events", "cause")
    assert len(causes) == count + 1 - lost
    assert (f"cause-{count}",) in causes
    # Of lost history the state is there all the same, and steps are not sent twice.
    assert dict(rows(file, "state", "key, value"))[f"Door {(count - 1) % 10}"] == f'{{"last":{count - 1}}}'
    assert rows(file, "steps", "DISTINCT status") == [("done",)]


def test_a_locked_file_is_waited_for_and_then_made_up_for(runtime: Runtime, file: Path) -> None:
    with bench(runtime, file) as b:
        b.stored(outcome(1))
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            b.stored(outcome(2, steps=1))
            assert b.commands.next()[2]["message_id"] == "step-2-0"
            assert "locked" in b.writer.health().problem
            b.stored(outcome(3))
            other.execute("ROLLBACK")
        b.until(lambda: b.writer.health().ok)
        assert b.writer.health().lost == 0
    assert rows(file, "events", "cause") == [("cause-1",), ("cause-2",), ("cause-3",)]
    assert rows(file, "steps", "status") == [("done",)]


def test_what_the_database_will_not_take_costs_nothing_else_of_what_waited(
    runtime: Runtime, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endless = 2**70  # more than a column of SQLite takes
    told = NotificationRecord(step="step-2-0", target="phone", title="", body="", at=START, status="sent")
    with bench(runtime, file) as b:
        b.stored(outcome(1))
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            b.stored(outcome(2, steps=1))
            assert "locked" in b.writer.health().problem
            bad = outcome(4, all_steps=(step(4, qos=endless),))
            b.stored(outcome(3), bad, replace(told, attempts=endless), told, outcome(5))
            other.execute("ROLLBACK")
        b.until(lambda: b.writer.health().ok)
        health = b.writer.health()
        assert (health.waiting, health.lost, health.stored) == (0, 1, 4)
        b.stored(outcome(6))
    assert [number for (number,) in rows(file, "events", "cause")] == [f"cause-{n}" for n in (1, 2, 3, 5, 6)]
    assert dict(rows(file, "state", "key, value"))["Door 4"] == '{"last":4}', "its state is known all the same"
    assert rows(file, "notifications", "attempts") == [(1,)]
    assert rows(file, "steps", "status") == [("done",)]
    assert "'cause-4'" in caplog.text
    assert "NotificationRecord" in caplog.text


def test_a_hub_starts_without_a_store_and_has_one_when_it_can(
    runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with bench(runtime, tmp_path / "state" / "hub.db") as b:
        assert b.loaded.problem
        assert not b.writer.health().ok
        b.stored(outcome(1, steps=1))
        assert b.commands.next()[2]["message_id"] == "step-1-0"
        (tmp_path / "state").unlink()
        b.until(lambda: b.writer.health().ok)
        b.stored(outcome(2))
    assert rows(tmp_path / "state" / "hub.db", "events", "cause") == [("cause-1",), ("cause-2",)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB where that can be mounted, which takes root; the test above limits the pages instead."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root; test_a_full_disk_stops_the_storing limits the pages instead")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "store-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_really_full_is_survived_and_recovered_from(runtime: Runtime, disk: Path) -> None:
    with bench(runtime, disk / "hub.db") as b:
        count = 0
        while b.writer.health().ok:
            b.stored([outcome(count + n, steps=1) for n in range(50)])
            count += 50
        b.stored(outcome(count, steps=1))
        count += 1
        subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)
        b.until(lambda: b.writer.health().ok)
        b.stored(outcome(count, steps=1))
        assert b.writer.health().lost == 0
    assert len(rows(disk / "hub.db", "events", "cause")) == count + 1
    assert rows(disk / "hub.db", "steps", "DISTINCT status") == [("done",)]


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    if os.geteuid() == 0:  # root may write everywhere: ask a file system that nobody can write to
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "store-test", folder], check=True)
    try:
        database = Database(folder / "hub.db")
        with pytest.raises(Exception, match="Check that the folder exists") as caught:
            database.open()
        assert str(folder) in str(caught.value)
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", folder], check=True)


def test_a_stop_is_not_held_up_by_a_full_pipe_while_nothing_can_be_stored(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    made = Bench(runtime, tmp_path / "state" / "hub.db")
    made.writer.start()  # and nobody takes what it sends
    settled = [made.send([outcome(n, steps=1) for n in range(first, first + 50)]) for first in range(0, 3000, 50)]
    made.until(lambda: made.writer.health().waiting >= 2000)
    assert made.writer.stop(5.0)
    made.socket.close()
    made.commands.start()
    for each in settled:
        assert each.wait(PATIENCE), "accepted by the pipe's taker, or failed: none is forgotten"
    made.controls.start()


# -- PostgreSQL goes away --


def test_hubs_that_start_at_once_share_one_schema(postgresql: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        databases = [Database(postgresql) for _ in range(4)]
        assert sorted(map(str, pool.map(Database.open, databases))) == [HEAD, HEAD, HEAD, "None"]
        for database in databases:
            database.close()


def test_postgresql_may_go_away_and_come_back(runtime: Runtime, postgresql_server: Server, postgresql: str) -> None:
    with bench(runtime, postgresql) as b:
        b.stored(outcome(1))
        postgresql_server.stop(signal.SIGQUIT)
        try:
            b.stored(outcome(2, steps=1))
            assert b.commands.next()[2]["message_id"] == "step-2-0"
            assert not b.writer.health().ok
        finally:
            postgresql_server.start()
        b.until(lambda: b.writer.health().ok)
        b.stored(outcome(3))
    assert rows(postgresql, "events", "cause") == [("cause-1",), ("cause-2",), ("cause-3",)]
    assert rows(postgresql, "steps", "status") == [("done",)]
