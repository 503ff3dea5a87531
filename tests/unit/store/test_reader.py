"""Reading: pages that shift nothing, explanations, series, and a stream of everything; and never a write."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from event_processor.domain.meters import Reading
from event_processor.domain.outcome import Check
from event_processor.domain.records import ImageRecord, MeterRecord
from event_processor.store.album import OLDEST_S, Album
from event_processor.store.errors import StoreUnavailable
from event_processor.store.images import ImageFolder
from event_processor.store.reader import Cursor, Reader
from event_processor.store.series import Series
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import START, bench, event, outcome

pytestmark = pytest.mark.timeout(60)


def test_pages_go_back_through_everything_and_what_arrives_meanwhile_shifts_nothing(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored([outcome(n) for n in range(50)])
        reader = Reader(store_url)
        seen: list[str] = []
        page = reader.events(device="Door 3", limit=2)
        while True:
            seen += [row.cause for row in page.rows]
            if page.next is None:
                break
            b.stored(outcome(1000 + len(seen) * 10 + 3))
            page = reader.events(device="Door 3", limit=2, after=Cursor.parse(str(page.next)))
        assert seen == ["cause-43", "cause-33", "cause-23", "cause-13", "cause-3"]
        reader.close()


def test_events_are_found_by_what_one_knows_of_them(runtime: Runtime, store_url: str) -> None:
    odd = outcome(7, event=event(7, label="50% off_\\", type="window", kind="meter", device="Küche"))
    with bench(runtime, store_url) as b:
        b.stored([outcome(n) for n in range(5)], odd, outcome(8, event=None))
        reader = Reader(store_url)

        def causes(**by: object) -> list[str]:
            return [row.cause for row in reader.events(**by).rows]  # type: ignore[arg-type]

        assert causes(type="window") == ["cause-7"]
        assert causes(kind="timer") == ["cause-8"]
        assert causes(kind="meter") == ["cause-7"]
        assert causes(text="Küche") == ["cause-7"]
        assert causes(text="50%") == ["cause-7"]
        assert causes(text="5_%") == []
        assert causes(text="DOOR 4") == ["cause-4"]
        assert causes(since=START + 2, until=START + 4) == ["cause-3", "cause-2"]
        assert causes(text="'; DROP TABLE events; --") == []
        reader.close()


def test_an_explanation_has_all_there_is_about_a_cause(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored(outcome(1, steps=2))
        b.until(lambda: b.writer.health().in_flight == 0)
        b.stored(outcome(2))
        reader = Reader(store_url)
        found = reader.explain("cause-1")
        assert found is not None
        assert found.event.event == event(1)
        assert found.evaluations[0].evaluation.checks == (Check("enabled", True, "is enabled"),)
        assert [each.step.id for each in found.steps] == ["step-1-0", "step-1-1"]
        assert [each.step.body for each in found.steps] == [{"state": "on"}] * 2
        assert reader.explain(found.event.id) == reader.explain("cause-1")
        assert reader.explain("nobody") is None
        assert [e.evaluation.rule for e in reader.evaluations(fired=True).rows] == ["rule-1"]
        assert [e.evaluation.rule for e in reader.evaluations(rule="rule-2").rows] == ["rule-2"]
        assert reader.evaluations(device="Door 1").rows[0].event_id == found.event.id
        assert len(reader.steps(output="Siren")) == 2
        assert reader.state("device")["Door 1"] == b'{"last":1}'
        assert reader.state("timer") == {}
        reader.close()


def test_everything_is_gone_through_in_the_order_in_which_it_was_decided(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored(*([outcome(n) for n in range(first, first + 500)] for first in range(0, 5000, 500)))
        reader = Reader(store_url)
        found = list(reader.iter_events(START + 1000, START + 4500))
        assert [each.cause for each in found] == [f"cause-{n}" for n in range(1000, 4500)]
        assert found[0].event == event(1000)
        reader.close()


def test_readings_have_as_many_points_as_can_be_seen(runtime: Runtime, store_url: str) -> None:
    records = [
        MeterRecord(cause=f"c{n}", reading=Reading(entity="Water", at=START + n, register=float(n), delta=1.0, minute=0.5))
        for n in range(100)
    ]
    with bench(runtime, store_url) as b:
        b.stored(*records)
        reader = Reader(store_url)
        series = Series(reader)
        points = series.readings("Water", START, START + 100, points=10)
        assert [point.samples for point in points] == [10] * 10
        assert [(point.lowest, point.highest, point.used) for point in points[:2]] == [(0.0, 9.0, 10.0), (10.0, 19.0, 10.0)]
        assert points[1].at == START + 10
        assert series.readings("Gas", START, START + 100) == ()
        reader.close()


def test_a_reader_never_writes_and_makes_no_file(tmp_path: Path, runtime: Runtime) -> None:
    reader = Reader(tmp_path / "hub.db")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        reader.events()
    assert list(tmp_path.iterdir()) == []
    with bench(runtime, tmp_path / "hub.db") as b:
        b.stored(outcome(1))
        for statement in ("DELETE FROM events", "DROP TABLE events"):
            with pytest.raises(StoreUnavailable), reader.connect() as connection:
                connection.execute(text(statement))
        assert len(reader.events().rows) == 1


def test_a_reader_of_postgresql_never_writes(runtime: Runtime, postgresql: str) -> None:
    with bench(runtime, postgresql) as b:
        b.stored(outcome(1))
        reader = Reader(postgresql)
        with pytest.raises(StoreUnavailable), reader.connect() as connection:
            connection.execute(text("DELETE FROM events"))
        assert len(reader.events().rows) == 1
        reader.close()


def test_the_picture_that_goes_with_a_notification_is_the_latest_of_its_camera_by_then(
    runtime: Runtime, store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def taken(device: str, at: float, number: int) -> ImageRecord:
        name = f"2023/11/14/{number:064}.jpg"
        return ImageRecord(name=name, device=device, at=at, size=1, sha256="0" * 64, content_type="image/jpeg")

    folder = ImageFolder(tmp_path / "images")
    with bench(runtime, store_url) as b:
        b.stored(taken("A", START, 1), taken("A", START + 10, 2), taken("A", START + 30, 3), taken("B", START + 20, 4))
        album = Album(Reader(store_url), folder)
        found = [
            album.latest(*asked) for asked in (("A", START + 20), ("A", START + 30), ("B", START + 99), ("C", START + 99))
        ]
        assert [path and path.name.lstrip("0") for path in found] == ["2.jpg", "3.jpg", "4.jpg", None]
        assert album.latest("A", START + 30 + OLDEST_S) == found[1]
        assert album.latest("A", START + 31 + OLDEST_S) is None, "one of long ago would mislead"
        assert album.latest("A", START - 1) is None
        b.stored(ImageRecord(name="../x.jpg", device="E", at=START, size=1, sha256="", content_type="image/jpeg"))
        assert album.latest("E", START) is None
    assert Album(Reader(tmp_path / "no such store.db"), folder).latest("A", START) is None
    assert sum("goes without the picture" in line for line in caplog.messages) == 2
