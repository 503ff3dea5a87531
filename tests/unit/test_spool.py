"""The spool's promises while the disk behaves: order, limits, policies, lives, and what is there after a restart."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylib.delivery.spool import Item, Spool, SpoolBroken, SpoolFull, SpoolLimits
from pylib.delivery.spool_table import APPLICATION_ID, MIGRATIONS, ROW_OVERHEAD, checksum
from pylib.delivery.sqlite import WAL_LIMIT, connect
from pylib.errors import ConfigError
from pylib.testing.clock import VirtualClock

Entry = tuple[str, bytes, float | None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.spool"


@pytest.fixture
def spool(path: Path, virtual_clock: VirtualClock) -> Iterator[Spool]:
    spool = Spool(path, clock=virtual_clock)
    spool.open()
    yield spool
    spool.close()


def opened(path: Path, limits: SpoolLimits, clock: VirtualClock) -> Spool:
    spool = Spool(path, limits, clock)
    spool.open()
    return spool


def batch(*names: str, address: str = "a.b", expires_at: float | None = None) -> list[Entry]:
    return [(address, name.encode(), expires_at) for name in names]


def texts(items: list[Item]) -> list[str]:
    return [item.data.decode() for item in items]


def waiting(spool: Spool) -> list[str]:
    return texts(spool.read(0, 1_000_000))


def test_messages_come_back_in_the_order_in_which_they_went_in(spool: Spool) -> None:
    spool.append(batch("1", "2", "3"))
    spool.append(batch("4"))
    first = spool.read(0, 2)
    assert texts(first) == ["1", "2"]
    assert texts(spool.read(first[-1].row, 10)) == ["3", "4"]
    assert len(spool) == 4


def test_a_message_keeps_its_address_data_and_end_of_life(spool: Spool, virtual_clock: VirtualClock) -> None:
    end = virtual_clock.time() + 60
    spool.append([("dach/süd.*", b"\x00\xff" * 5000, end), ("", b"", None)])
    one, other = spool.read(0, 2)
    assert (one.address, one.data, one.expires_at) == ("dach/süd.*", b"\x00\xff" * 5000, end)
    assert (other.address, other.data, other.expires_at) == ("", b"", None)


def test_what_waits_is_there_after_a_restart_and_what_was_removed_is_not(path: Path, spool: Spool) -> None:
    spool.append(batch("1", "2", "3", "4"))
    items = spool.read(0, 4)
    spool.remove([items[0].row, items[2].row])
    size = spool.bytes
    spool.close()
    again = Spool(path)
    again.open()
    assert (len(again), again.bytes, waiting(again)) == (2, size, ["2", "4"])
    again.close()


def test_removing_everything_leaves_an_empty_spool_and_rows_are_not_numbered_again(spool: Spool) -> None:
    spool.append(batch("1", "2"))
    rows = [item.row for item in spool.read(0, 9)]
    spool.remove(rows)
    assert spool.empty
    assert (len(spool), spool.bytes) == (0, 0)
    spool.append(batch("3"))
    assert texts(spool.read(rows[-1], 9)) == ["3"]


def test_removing_unknown_rows_or_the_same_rows_twice_changes_nothing(spool: Spool) -> None:
    spool.append(batch("1", "2"))
    row = spool.read(0, 1)[0].row
    spool.remove([row, row])
    spool.remove([row, 999])
    spool.remove([])
    assert (len(spool), waiting(spool)) == (1, ["2"])


def test_a_spool_that_was_never_opened_says_so(path: Path) -> None:
    spool = Spool(path)
    for use in (lambda: spool.append(batch("1")), lambda: spool.read(0, 1), lambda: spool.remove([1])):
        with pytest.raises(SpoolBroken, match=r"call open\(\) first"):
            use()
    assert not path.exists()
    spool.close()


@pytest.mark.parametrize("by", ["messages", "bytes"])
def test_a_full_spool_that_blocks_stores_nothing_of_the_batch(path: Path, virtual_clock: VirtualClock, by: str) -> None:
    one = 1 + 3 + ROW_OVERHEAD
    limits = SpoolLimits(max_messages=3) if by == "messages" else SpoolLimits(max_bytes=3 * one)
    spool = opened(path, limits, virtual_clock)
    spool.append(batch("1", "2"))
    with pytest.raises(SpoolFull, match="is full: 2 of"):
        spool.append(batch("3", "4"))
    assert waiting(spool) == ["1", "2"]
    assert (len(spool), spool.dropped) == (2, 0)
    spool.append(batch("3"))
    spool.remove([spool.read(0, 1)[0].row])
    spool.append(batch("4"))
    assert waiting(spool) == ["2", "3", "4"]
    spool.close()


def test_a_batch_larger_than_the_whole_spool_is_told_that_waiting_is_no_use(path: Path, virtual_clock: VirtualClock) -> None:
    spool = opened(path, SpoolLimits(max_messages=2), virtual_clock)
    with pytest.raises(SpoolFull, match="can never be stored"):
        spool.append(batch("1", "2", "3"))
    spool.close()


def test_dropping_the_oldest_keeps_the_newest_counts_and_says_so_once(
    path: Path, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened(path, SpoolLimits(max_messages=3, policy="drop_oldest"), virtual_clock)
    with caplog.at_level(logging.WARNING, "pylib.spool"):
        for name in "123456":
            spool.append(batch(name))
        assert waiting(spool) == ["4", "5", "6"]
        spool.append(batch("7", "8", "9", "10"))
    assert waiting(spool) == ["8", "9", "10"]
    assert (len(spool), spool.dropped) == (3, 7)
    assert [record.getMessage().count("oldest messages are dropped") for record in caplog.records] == [1]
    spool.close()


def test_dropping_the_newest_keeps_what_waits_counts_and_says_so_once(
    path: Path, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened(path, SpoolLimits(max_messages=3, policy="drop_newest"), virtual_clock)
    with caplog.at_level(logging.WARNING, "pylib.spool"):
        spool.append(batch("1", "2"))
        spool.append(batch("3", "4"))
        spool.append(batch("5"))
    assert waiting(spool) == ["1", "2", "3"]
    assert (len(spool), spool.dropped) == (3, 2)
    assert [record.getMessage().count("newest messages are dropped") for record in caplog.records] == [1]
    spool.close()


def test_a_new_spell_of_dropping_is_said_again(
    path: Path, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened(path, SpoolLimits(max_messages=1, policy="drop_newest"), virtual_clock)
    with caplog.at_level(logging.WARNING, "pylib.spool"):
        for _ in range(2):
            spool.append(batch("1", "2"))
            spool.append(batch("3"))
            spool.remove([item.row for item in spool.read(0, 9)])
            spool.append(batch("4"))
            spool.remove([item.row for item in spool.read(0, 9)])
    assert len(caplog.records) == 2
    spool.close()


def test_the_latest_per_address_replaces_the_one_that_waits(path: Path, virtual_clock: VirtualClock) -> None:
    spool = opened(path, SpoolLimits(latest_per_key=True, max_messages=2), virtual_clock)
    spool.append([("a", b"1", None), ("b", b"2", None), ("a", b"3", None)])
    assert waiting(spool) == ["2", "3"]
    spool.append([("b", b"4", None)])
    assert waiting(spool) == ["3", "4"]
    assert (len(spool), spool.superseded, spool.dropped) == (2, 2, 0)
    with pytest.raises(SpoolFull):
        spool.append([("b", b"5", None), ("c", b"6", None)])
    assert waiting(spool) == ["3", "4"]
    spool.close()


def test_an_expired_message_is_never_handed_out_not_even_after_a_restart(
    path: Path, spool: Spool, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    now = virtual_clock.time()
    spool.append([("siren", b"on", now + 10), ("log", b"x", None), ("siren", b"late", now + 11)])
    virtual_clock.advance(10)
    with caplog.at_level(logging.WARNING, "pylib.spool"):
        assert waiting(spool) == ["x", "late"]
    assert (spool.expired, len(spool), len(caplog.records)) == (1, 2, 1)
    spool.close()
    virtual_clock.advance(1)
    again = Spool(path, clock=virtual_clock)
    again.open()
    assert waiting(again) == ["x"]
    assert again.expired == 1
    again.close()


def test_reading_goes_on_behind_a_window_full_of_expired_messages(spool: Spool, virtual_clock: VirtualClock) -> None:
    spool.append(batch(*map(str, range(50)), expires_at=virtual_clock.time() + 1))
    spool.append(batch("live"))
    virtual_clock.advance(2)
    assert texts(spool.read(0, 5)) == ["live"]
    assert (spool.expired, len(spool)) == (50, 1)


def test_messages_beyond_the_maximum_age_are_dropped_and_counted(path: Path, virtual_clock: VirtualClock) -> None:
    spool = opened(path, SpoolLimits(max_age=60), virtual_clock)
    spool.append(batch("old"))
    virtual_clock.advance(61)
    spool.append(batch("new"))
    assert waiting(spool) == ["new"]
    assert spool.expired == 1
    spool.close()


def test_a_full_spool_gives_the_room_of_the_expired_to_the_living(path: Path, virtual_clock: VirtualClock) -> None:
    spool = opened(path, SpoolLimits(max_messages=3, max_age=100), virtual_clock)
    spool.append(batch("1", "2", expires_at=virtual_clock.time() + 5))
    spool.append(batch("3"))
    virtual_clock.advance(6)
    spool.append(batch("4", "5"))
    assert waiting(spool) == ["3", "4", "5"]
    virtual_clock.advance(95)
    spool.append(batch("6"))
    assert waiting(spool) == ["4", "5", "6"]
    assert spool.expired == 3
    spool.close()


def test_limits_that_make_no_sense_are_refused() -> None:
    for wrong in ({"max_bytes": 0}, {"max_messages": 0}, {"max_age": 0}, {"policy": "drop"}):
        with pytest.raises(ConfigError):
            SpoolLimits(**wrong)


def test_every_commit_of_messages_is_synchronous_whatever_went_before(spool: Spool) -> None:
    modes: list[int] = []

    def mode(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    modes.append(spool._database.query(mode))
    spool.append(batch("1", "2"))
    spool.remove([1])
    modes.append(spool._database.query(mode))
    with spool._database.transaction() as connection:
        modes.append(mode(connection))
    full = 2
    assert modes == [full] * 3
    assert spool._database.query(lambda c: c.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"


def test_the_file_and_its_log_stop_growing_once_the_traffic_is_steady(path: Path, spool: Spool) -> None:
    data = [("a", bytes(1000), None)] * 100
    sizes = []
    for _ in range(200):
        spool.append(data)
        spool.remove([item.row for item in spool.read(0, 100)])
        sizes.append(path.stat().st_size)
    log_size = Path(f"{path}-wal").stat().st_size
    assert max(sizes) < 1_000_000
    assert log_size <= WAL_LIMIT + 1_000_000


def test_a_second_owner_is_refused_while_the_first_has_the_file(path: Path, spool: Spool) -> None:
    other = Spool(path)
    with pytest.raises(SpoolBroken, match="in use by another relay"):
        other.open()
    spool.append(batch("1"))
    spool.close()
    assert waiting(other) == ["1"]
    other.close()


def test_the_file_is_readable_for_its_owner_only(path: Path, spool: Spool) -> None:
    spool.append(batch("1"))
    assert {name: (path.parent / name).stat().st_mode & 0o77 for name in (path.name, f"{path.name}-wal")} == {
        path.name: 0,
        f"{path.name}-wal": 0,
    }


def test_a_spool_of_format_1_opens_with_its_messages(path: Path) -> None:
    with sqlite3.connect(path) as old:
        old.executescript(
            f"""
            CREATE TABLE spool (row INTEGER PRIMARY KEY, size INTEGER NOT NULL, checksum INTEGER NOT NULL,
                stored_at REAL NOT NULL, expires_at REAL, address TEXT NOT NULL, data BLOB NOT NULL);
            CREATE INDEX spool_expires ON spool (expires_at) WHERE expires_at IS NOT NULL;
            INSERT INTO spool VALUES (7, 40, {checksum("a.b", b"1")}, 1700000000.0, NULL, 'a.b', x'31');
            PRAGMA application_id=0x70795350;
            PRAGMA user_version=1;
            """
        )
    old.close()
    spool = Spool(path)
    spool.open()
    assert waiting(spool) == ["1"]
    spool.append(batch("2"))
    assert [item.row for item in spool.read(0, 9)] == [7, 8]
    spool.close()


def test_an_older_format_is_brought_forward_step_by_step_and_keeps_its_messages(path: Path, spool: Spool) -> None:
    spool.append(batch("1"))
    spool.close()
    newer = (*MIGRATIONS, "ALTER TABLE spool ADD COLUMN hops INTEGER NOT NULL DEFAULT 3;", "CREATE TABLE more (x);")
    connection = connect(path, newer, kind="spool", application_id=APPLICATION_ID)
    assert connection.execute("SELECT data, hops FROM spool").fetchall() == [(b"1", 3)]
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    connection.close()
    with pytest.raises(ConfigError, match=r"newer version of this library \(format 3"):
        spool.open()


def test_a_migration_that_fails_changes_nothing(path: Path, spool: Spool) -> None:
    spool.append(batch("1"))
    spool.close()
    broken = (*MIGRATIONS, "ALTER TABLE spool ADD COLUMN hops INTEGER; SELECT no_such_column FROM spool;")
    with pytest.raises(sqlite3.OperationalError):
        connect(path, broken, kind="spool", application_id=APPLICATION_ID)
    spool.open()
    assert waiting(spool) == ["1"]


def test_the_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE photos (name)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="database of another program"):
        Spool(path).open()
    assert path.read_bytes() == before


def test_memory_stays_flat_while_a_hundred_thousand_messages_wait(tmp_path: Path) -> None:
    """In a process of its own: the peak of this one was set by other tests."""
    code = """
import resource, sys
from pylib.delivery.spool import Spool
spool = Spool(sys.argv[1]); spool.open()
batch = [("a.b", bytes(300), None)] * 500
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spool.append(batch); spool.read(0, 500); before = peak()
for _ in range(199): spool.append(batch)
row = count = 0
while items := spool.read(row, 500):
    row, count = items[-1].row, count + len(items)
print(count, len(spool), peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True)
    count, length, grown = map(int, done.stdout.split())
    assert count == length == 100_000
    assert grown <= 4096, f"the process grew by {grown} KiB"
