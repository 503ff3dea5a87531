"""What is too old or too much is forgotten, in slices, and what is still needed is not; pictures too."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from event_processor.app import sweep_of
from event_processor.domain.meter_periods import Added
from event_processor.domain.meters import Reading
from event_processor.domain.records import ImageRecord, MeterRecord
from event_processor.settings.sections import House
from event_processor.store import tables
from event_processor.store.database import Database
from event_processor.store.images import ImageFolder, ImageSweep
from event_processor.store.retention import DAY, Limits, Sweep
from pylib.errors import Rejected
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import START, bench, outcome, rows
from tests.unit.store.test_migrations import foreign_keys_hold

pytestmark = pytest.mark.timeout(60)

JPEG = b"\xff\xd8\xff\xe0" + b"picture"
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"


def sweep_all(url: str, sweep: Sweep, now: float) -> int:
    """Run a sweep to its end; how many slices that took."""
    database = Database(url)
    database.open()
    slices = 1
    try:
        while sweep.run(database.connection, now, time.monotonic):
            slices += 1
            assert slices < 5000
    finally:
        database.close()
    return slices


def test_events_go_with_all_that_is_theirs_when_they_are_too_old(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored([outcome(n, steps=1) for n in range(1000)])
        b.until(lambda: b.writer.health().in_flight == 0)
    sweep = Sweep(Limits(events_days=1.0))
    sweep_all(store_url, sweep, START + DAY + 600.5)
    assert sweep.forgotten == 601
    assert rows(store_url, "events", "count(*), min(at)") == [(399, START + 601)]
    assert rows(store_url, "evaluations", "count(*)") == [(399,)]
    assert rows(store_url, "steps", "count(*)") == [(399,)]
    assert foreign_keys_hold(store_url)
    assert len(rows(store_url, "state")) == 10, "the state is never forgotten"


def test_what_waits_to_be_sent_is_kept_however_old_it_is(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url, accepts=False) as b:
        b.send(outcome(1, steps=1))
        b.commands.next()
        b.stored(outcome(2))
    sweep_all(store_url, Sweep(Limits(events_days=1.0)), START + 100 * DAY)
    assert rows(store_url, "events", "cause") == [("cause-1",)]


def test_readings_and_hours_go_and_days_stay(runtime: Runtime, store_url: str) -> None:
    added = tuple(Added(entity="Water", span=span, start=START, amount=1.0) for span in ("hour", "day", "month"))
    with bench(runtime, store_url) as b:
        b.stored([
            MeterRecord(cause=f"c{n}", added=added,
                        reading=Reading(entity="Water", at=START + n, register=n, delta=1, minute=1))
            for n in range(500)
        ])  # fmt: skip
    sweep_all(store_url, Sweep(Limits(readings_days=10, hours_days=10)), START + 10 * DAY + 249.5)
    assert rows(store_url, "readings", "count(*)") == [(250,)]
    assert rows(store_url, "totals", "span, amount") == [("day", 500.0), ("month", 500.0)]


def test_sessions_that_are_over_go(store_url: str) -> None:
    database = Database(store_url)
    database.open()
    with database.connection.begin():
        database.connection.execute(insert(tables.users).values(id=1, name="ann", role="admin", password_hash="x",
                                                                created_at=1, changed_at=1))  # fmt: skip
        for number in range(3):
            database.connection.execute(insert(tables.sessions).values(
                hash=str(number), user_id=1, created_at=1, seen_at=1, expires_at=START + number, address="", agent="",
            ))  # fmt: skip
    database.close()
    sweep_all(store_url, Sweep(Limits()), START + 1.5)
    assert rows(store_url, "sessions", "hash") == [("2",)]


def test_a_file_that_is_too_large_shrinks_to_nine_tenths_of_its_limit(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "hub.db"
    with bench(runtime, file) as b:
        b.stored(*([outcome(n) for n in range(first, first + 500)] for first in range(0, 5000, 500)))
    before = file.stat().st_size
    sweep_all(str(file), Sweep(Limits(events_days=0, most_bytes=before // 2)), START + DAY)
    ((count, oldest),) = rows(file, "events", "count(*), min(at)")
    assert 1000 < count < 2500
    assert oldest == START + 5000 - count, "the oldest go first"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert file.stat().st_size < before * 0.55, "and the room is given back"


def test_a_sweep_holds_the_writer_up_for_milliseconds_at_a_time(runtime: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "hub.db"
    with bench(runtime, file) as b:
        b.stored(*([outcome(n) for n in range(first, first + 500)] for first in range(0, 5000, 500)))
    sweep = Sweep(Limits(events_days=1.0), every_s=0.001, pause_s=0.001)
    now = time.time()
    assert now > START + 5000 + DAY, "all of these are old"
    with bench(runtime, file, sweep=sweep) as b:
        number = 100_000
        while sweep.forgotten < 5000:
            b.stored(outcome(number, steps=1))
            assert b.commands.next()[2]["message_id"] == f"step-{number}-0"
            number += 1
        assert number - 100_000 > 5, "events were served in between"


# -- pictures --


def test_a_picture_is_kept_by_day_and_content_and_once(tmp_path: Path) -> None:
    folder = ImageFolder(tmp_path / "images")
    record = folder.save(JPEG, device="Cam", at=START, cause="cause-1")
    assert record.name == f"2026/09/21/{sha256(f'Cam{chr(0)}{record.sha256}'.encode()).hexdigest()}.jpg"
    assert record.sha256 == sha256(JPEG).hexdigest()
    assert record.content_type == "image/jpeg"
    assert folder.path_of(record.name).read_bytes() == JPEG
    assert folder.save(JPEG, device="Cam", at=START + 1).name == record.name
    assert folder.save(PNG, device="Cam", at=START).name.endswith(".png")
    assert len([path for path in (tmp_path / "images").rglob("*") if path.is_file()]) == 2
    other = folder.save(JPEG, device="Other Cam", at=START)
    assert other.name != record.name, "what two cameras send alike belongs to both, and one of them may be forgotten"


NAMES = (
    "../../etc/passwd",
    "/etc/passwd",
    "2026/11/24/../../../x.jpg",
    "2026/11/24/abc.jpg",
    "",
    "a\x00b",
    "２０２６/11/24/" + "0" * 64 + ".jpg",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(Rejected):
        ImageFolder(tmp_path).path_of(name)
    with pytest.raises(Rejected):
        ImageFolder(tmp_path).remove(name)


def test_what_is_no_picture_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ImageFolder(tmp_path / "images")
    for data in (b"", b"<svg onload=alert(1)>", b"GIF", b"%PDF-1.4"):
        with pytest.raises(Rejected, match="no picture"):
            folder.save(data, device="Cam", at=START)
    monkeypatch.setattr("event_processor.store.images.MOST_BYTES", 10)
    with pytest.raises(Rejected, match="limit"):
        folder.save(JPEG, device="Cam", at=START)
    assert not (tmp_path / "images").exists()


def test_a_picture_is_kept_although_the_sweep_takes_its_folder_away_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ImageFolder(tmp_path / "images")
    old = folder.save(JPEG, device="Cam", at=START)
    make, swept = tempfile.mkstemp, [old.name]

    def sweeping(*given: Any, **named: Any) -> tuple[int, str]:
        if swept:
            folder.remove(swept.pop())
        return make(*given, **named)

    monkeypatch.setattr("event_processor.store.images.tempfile.mkstemp", sweeping)
    new = folder.save(PNG, device="Cam", at=START)
    assert folder.path_of(new.name).read_bytes() == PNG
    assert not folder.path_of(old.name).exists()


def test_pictures_go_by_age_and_by_size_with_their_entries(runtime: Runtime, store_url: str, tmp_path: Path) -> None:
    folder = ImageFolder(tmp_path / "images")
    records: list[ImageRecord] = [folder.save(JPEG + bytes([n]) * 100, device="Cam", at=START + n * DAY) for n in range(50)]
    with bench(runtime, store_url) as b:
        b.stored(list(records))
    size = records[0].size
    images = ImageSweep(folder, days=30, most_bytes=5 * size)
    sweep_all(store_url, Sweep(Limits(), images=images), START + 49 * DAY)
    assert rows(store_url, "images", "name", "at") == [(record.name,) for record in records[-5:]]
    left = sorted(str(path.relative_to(folder.folder)) for path in folder.folder.rglob("*") if path.is_file())
    assert left == sorted(record.name for record in records[-5:])
    assert not (folder.folder / records[0].name).parent.exists(), "and no empty folders stay behind"


def test_files_that_no_entry_names_are_leftovers_after_a_day(runtime: Runtime, tmp_path: Path) -> None:
    folder = ImageFolder(tmp_path / "images")
    known, lost = folder.save(JPEG, device="Cam", at=START), folder.save(PNG, device="Cam", at=START)
    other = folder.folder / "notes.txt"
    other.write_text("somebody's own")
    database = Database(tmp_path / "hub.db")
    database.open()
    with database.connection.begin():
        database.connection.execute(insert(tables.images).values(
            name=known.name, device="Cam", at=START, size=1, sha256="0", content_type="image/jpeg"))  # fmt: skip

    def tidied() -> list[bool]:
        sweep = ImageSweep(folder)
        with database.connection.begin():
            while sweep.tidy(database.connection, time.time()):
                pass
        return [folder.path_of(record.name).exists() for record in (known, lost)]

    assert tidied() == [True, True], "they are new: their entries may be on their way"
    for record in (known, lost):
        os.utime(folder.path_of(record.name), (START, START))
    os.utime(other, (START, START))
    assert tidied() == [True, False]
    database.close()
    assert other.exists()


def test_a_sweep_finds_leftovers_by_itself_and_looks_again_the_next_day(runtime: Runtime, tmp_path: Path) -> None:
    folder = ImageFolder(tmp_path / "images")
    first, second = folder.save(JPEG, device="Cam", at=START), folder.save(PNG, device="Cam", at=START)
    half = folder.path_of(first.name).with_name(".new-abc")
    half.write_bytes(b"half a picture")
    os.utime(half, (START, START))
    os.utime(folder.path_of(first.name), (START, START))
    database = Database(tmp_path / "hub.db")
    database.open()
    sweep, now = Sweep(Limits(), images=ImageSweep(folder)), time.time()
    while sweep.run(database.connection, now, time.monotonic):
        pass
    assert not half.exists()
    assert not folder.path_of(first.name).exists()
    assert folder.path_of(second.name).exists(), "it is new: its entry may be on its way"
    os.utime(folder.path_of(second.name), (START, START))
    assert not sweep.run(database.connection, now + DAY / 2, time.monotonic)
    assert folder.path_of(second.name).exists()
    while sweep.run(database.connection, now + DAY + 1, time.monotonic):
        pass
    database.close()
    assert not folder.path_of(second.name).exists()


def test_a_picture_that_cannot_be_deleted_is_said_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ImageFolder(tmp_path / "images")
    record = folder.save(JPEG, device="Cam", at=START)
    database = Database(tmp_path / "hub.db")
    database.open()
    with database.connection.begin():
        database.connection.execute(insert(tables.images).values(
            name=record.name, device="Cam", at=START, size=1, sha256="0", content_type="image/jpeg"))  # fmt: skip

    def refuse(name: str) -> None:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(folder, "remove", refuse)
    sweep = Sweep(Limits(), images=ImageSweep(folder))
    for _ in range(3):
        sweep.run(database.connection, START + 40 * DAY, time.monotonic)
    assert [line for line in caplog.messages if "cannot be deleted" in line] == [caplog.messages[-1]]
    database.close()
    assert folder.path_of(record.name).exists()


def test_how_long_pictures_are_kept_is_a_setting(tmp_path: Path) -> None:
    def kept(house: House) -> int:
        folder = ImageFolder(tmp_path / f"{house.keep_picture_days:g}-{house.keep_picture_mib:g}" / "images")
        folder.folder.parent.mkdir()
        database = Database(folder.folder.parent / "hub.db")
        database.open()
        for number in range(4):
            record = folder.save(PNG + bytes(512 * 1024) + bytes([number]), device="Cam", at=START + number * DAY)
            row = {"name": record.name, "device": "Cam", "at": record.at, "size": record.size, "sha256": record.sha256}
            with database.connection.begin():
                database.connection.execute(insert(tables.images).values(**row, content_type="image/png"))
        sweep = sweep_of(house, folder.folder.parent)
        while sweep.run(database.connection, START + 3.5 * DAY, time.monotonic):
            pass
        database.close()
        return sum(path.is_file() for path in folder.folder.rglob("*"))

    assert kept(House()) == 4
    assert kept(House(keep_picture_days=2)) == 2
    assert kept(House(keep_picture_mib=0.6)) == 1
    assert kept(House(keep_picture_days=0, keep_picture_mib=0)) == 4
