"""The spool on a disk that fails: nothing is stored half, the error says what to do, and it comes back by itself."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylib.delivery.spool import Spool, SpoolBroken
from pylib.testing.leaks import Snapshot, leaked_since


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB. Only root may mount it; what needs no real one is tested by a page limit below."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root; the same outcome is tested with a limit on pages")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "spool-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def opened(path: Path) -> Spool:
    spool = Spool(path)
    spool.open()
    return spool


def entry(number: int, size: int = 4000) -> tuple[str, bytes, float | None]:
    return ("a.b", number.to_bytes(8, "big") + bytes(size), None)


def numbers(spool: Spool) -> list[int]:
    return [int.from_bytes(item.data[:8], "big") for item in spool.read(0, 1_000_000)]


def fill(spool: Spool, start: int = 0) -> list[int]:
    """Append three at a time until the disk is full; what was acknowledged."""
    stored: list[int] = []
    for number in range(start, start + 100_000, 3):
        try:
            spool.append([entry(number + step) for step in range(3)])
        except SpoolBroken as error:
            assert "disk is full" in str(error) or "Make room" in str(error)  # noqa: PT017
            return stored
        stored += range(number, number + 3)
    raise AssertionError("the disk never filled")


def test_on_a_full_disk_exactly_the_acknowledged_is_stored_and_room_brings_it_back(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_000_000))
    spool = opened(small_disk / "s")
    stored = fill(spool)
    assert stored
    assert numbers(spool) == stored
    for _ in range(20):
        with pytest.raises(SpoolBroken):
            spool.append([entry(9, 100_000)])
    assert (numbers(spool), len(spool)) == (stored, len(stored))
    filler.unlink()
    spool.append([entry(777_777)])
    assert numbers(spool) == [*stored, 777_777]
    spool.close()
    again = opened(small_disk / "s")
    assert numbers(again) == [*stored, 777_777]
    again.close()


def test_what_was_delivered_while_the_disk_was_full_is_not_handed_out_again(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(500_000))
    spool = opened(small_disk / "s")
    stored = fill(spool)
    try:
        with (small_disk / "rest").open("wb", buffering=0) as rest:  # the last byte of the disk
            while rest.write(bytes(4096)):
                pass
    except OSError:
        pass
    while items := spool.read(0, 10):
        spool.remove([item.row for item in items])
        stored = stored[len(items) :]
        assert numbers(spool) == stored
    assert spool.empty
    assert len(spool) == 0
    filler.unlink()
    spool.append([entry(1)])
    assert numbers(spool) == [1]
    assert len(spool) == 1
    spool.close()
    again = opened(small_disk / "s")
    assert numbers(again) == [1]
    again.close()


def test_a_spool_can_be_opened_and_drained_on_a_disk_that_was_full_at_the_start(small_disk: Path) -> None:
    path = small_disk / "s"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(2 * 1024 * 1024 - 64 * 1024))
    spool = Spool(path)
    try:
        spool.open()
        fill(spool)
    except SpoolBroken as error:
        assert "full" in str(error) or "room" in str(error) or "disk" in str(error)  # noqa: PT017
    filler.unlink()
    spool.append([entry(5)])
    assert numbers(spool)[-1] == 5
    spool.close()


def test_a_page_limit_stands_in_for_a_full_disk_without_root(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    spool._database.query(lambda c: c.execute("PRAGMA max_page_count=40"))
    stored = fill(spool)
    assert numbers(spool) == stored
    spool._database.query(lambda c: c.execute("PRAGMA max_page_count=4000"))
    spool.append([entry(5)])
    assert numbers(spool) == [*stored, 5]
    spool.close()


def test_a_locked_file_is_an_error_after_a_second_and_no_more_when_the_lock_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    spool = opened(path)
    spool.append([entry(1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolBroken, match="locked for 1 s"):
        spool.append([entry(2)])
    spool.remove([1])
    assert numbers(spool) == []
    other.execute("ROLLBACK")
    spool.append([entry(3)])
    assert numbers(spool) == [3]
    other.close()
    spool.close()


def test_a_file_that_is_no_database_is_set_aside_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    rubbish = random.Random(1).randbytes(50_000)
    for number in (1, 2):
        path.write_bytes(rubbish)
        spool = opened(path)
        spool.append([entry(number)])
        assert numbers(spool) == [number]
        spool.close()
        assert (tmp_path / f"s.corrupt-{number}").read_bytes() == rubbish
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert "s.corrupt-1" in caplog.text
    assert "how many it held is not known" in caplog.text


def filled(path: Path, count: int = 400) -> None:
    spool = opened(path)
    spool.append([entry(number, 1000) for number in range(count)])
    spool.close()


def test_of_a_truncated_file_the_rest_is_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    filled(path)
    os.truncate(path, path.stat().st_size // 2)
    spool = opened(path)
    left = numbers(spool)
    assert left == list(range(len(left)))
    assert 150 <= len(left) <= 210
    spool.append([entry(1_000_000)])
    assert numbers(spool) == [*left, 1_000_000]
    assert f"{len(left)} were saved" in caplog.text
    spool.close()


def test_a_file_cut_to_nothing_beside_its_log_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    spool = opened(path)
    spool.append([entry(1)])
    copy = tmp_path / "killed"
    copy.mkdir()
    (copy / "s-wal").write_bytes((tmp_path / "s-wal").read_bytes())
    (copy / "s").touch()
    spool.close()
    again = opened(copy / "s")
    assert again.empty
    assert "cut to nothing" in caplog.text
    assert (copy / "s.corrupt-1-wal").stat().st_size > 0
    again.close()


def test_a_damaged_page_costs_its_own_messages_and_no_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    filled(path)
    with path.open("r+b") as file:  # dd conv=notrunc
        file.seek(20480)
        file.write(b"\xee" * 4096)
    spool = opened(path)
    left = numbers(spool)
    assert 380 <= len(left) < 400
    assert left == sorted(set(left))
    assert len(spool) == len(left)
    assert f"{len(left)} were saved and up to {400 - len(left)} are lost" in caplog.text
    spool.append([entry(500)])
    spool.close()
    again = opened(path)
    assert numbers(again) == [*left, 500]
    again.close()


def test_damage_that_shows_while_running_loses_no_message_that_can_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"
    filled(path)
    spool = opened(path)
    with path.open("r+b") as file:
        file.seek(40960)
        file.write(b"\xee" * 8192)
    spool._database.query(lambda c: c.execute("PRAGMA shrink_memory"))
    left = numbers(spool)
    assert 380 <= len(left) < 400
    spool.append([entry(500)])
    assert numbers(spool) == [*left, 500]
    assert f"{400 - len(left)} are lost" in caplog.text
    spool.close()


def test_a_message_that_changed_on_a_sound_page_is_never_handed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    spool = opened(path)
    spool.append([("a.b", b"siren off", None), ("a.b", b"siren on!", None)])
    spool.close()
    path.write_bytes(path.read_bytes().replace(b"siren off", b"siren on "))
    spool = opened(path)
    assert [item.data for item in spool.read(0, 9)] == [b"siren on!"]
    assert "not what was stored" in caplog.text
    spool.close()


def test_damage_while_the_spool_was_closed_is_found_when_it_is_opened_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"
    spool = opened(path)
    spool.append([entry(number, 1000) for number in range(400)])
    spool.close()
    with path.open("r+b") as file:
        file.seek(20480)
        file.write(b"\xee" * 4096)
    spool.open()
    assert "were saved" in caplog.text
    spool.close()


def test_a_kill_between_salvage_and_renaming_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s"
    filled(path, 10)
    path.rename(tmp_path / "s.salvaged")
    spool = opened(path)
    assert numbers(spool) == list(range(10))
    spool.close()
    (tmp_path / "s.salvaged").write_bytes(b"half a salvage")
    spool.open()
    assert numbers(spool) == list(range(10))
    assert not (tmp_path / "s.salvaged").exists()
    spool.close()


def test_a_folder_that_cannot_be_written_to_is_an_error_and_works_when_it_can(tmp_path: Path) -> None:
    """A file in the folder's place, as root may write into any folder."""
    folder = tmp_path / "folder"
    folder.touch()
    spool = Spool(folder / "s")
    with pytest.raises(SpoolBroken, match=r"cannot be opened.*Check that the folder"):
        spool.open()
    with pytest.raises(SpoolBroken):
        spool.append([entry(1)])
    folder.unlink()
    spool.append([entry(2)])
    assert numbers(spool) == [2]
    spool.close()


def test_a_disk_that_turns_read_only_is_an_error_and_works_when_it_is_writable_again(small_disk: Path) -> None:
    spool = opened(small_disk / "s")
    spool.append([entry(1)])
    spool.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(SpoolBroken, match=r"cannot be opened.*may be written to"):
        spool.open()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    spool.append([entry(2)])
    assert numbers(spool) == [1, 2]
    spool.close()


def test_a_commit_that_was_reported_as_failed_is_not_there_after_reopening(tmp_path: Path) -> None:
    """A failed fsync may leave a whole transaction in the log: what we called not stored must not be sent."""
    path = tmp_path / "s"
    spool = opened(path)
    spool.append([entry(1)])
    with spool._database.transaction() as connection:
        connection.execute("INSERT INTO spool VALUES (2, 40, 0, 0.0, NULL, 'a.b', x'0000000000000063')")
    spool._database._drop_connection()
    assert numbers(spool) == [1]
    assert len(spool) == 1
    spool.append([entry(2)])
    assert numbers(spool) == [1, 2]
    assert len(spool) == 2
    spool.close()


def test_failures_and_recoveries_leave_no_descriptor_behind(tmp_path: Path) -> None:
    before = Snapshot.take()
    for number in range(5):
        path = tmp_path / f"s{number}"
        path.write_bytes(b"rubbish" * 1000)
        spool = opened(path)
        spool.append([entry(1)])
        spool._database._drop_connection()
        spool.append([entry(2)])
        spool.close()
        spool.close()
    assert leaked_since(before) == []
