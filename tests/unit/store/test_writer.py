"""The writer: an outcome is stored as a whole, its steps go out afterwards, and its delivery is let go of in time."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import insert, select

from event_processor.domain.meter_periods import Added
from event_processor.domain.meters import Reading
from event_processor.domain.outcome import Change
from event_processor.domain.records import ImageRecord, MeterRecord, NotificationRecord
from event_processor.store import tables
from event_processor.store.errors import StoreUnavailable
from event_processor.store.writer import StoreWriter
from pylib.errors import ConfigError, Rejected
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import PATIENCE, START, bench, event, outcome, rows, step

pytestmark = pytest.mark.timeout(90)


def test_an_outcome_is_stored_with_all_its_parts_and_its_steps_go_out(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored(outcome(1, steps=2), outcome(2))
        sent = [b.commands.next(), b.commands.next()]
    assert [address for address, _, _ in sent] == ["siren/set", "siren/set"]
    assert [how["message_id"] for _, _, how in sent] == ["step-1-0", "step-1-1"]
    assert sent[0][1] == {"state": "on"}
    assert rows(store_url, "events", "id, cause, device, kind, active") == [
        (1, "cause-1", "Door 1", "input", True), (2, "cause-2", "Door 2", "input", True),
    ]  # fmt: skip
    assert rows(store_url, "evaluations", "event_id, rule, fired") == [(1, "rule-1", True), (2, "rule-2", False)]
    assert rows(store_url, "steps", "id, event_id, position, status") == [
        ("step-1-0", 1, 0, "done"), ("step-1-1", 1, 1, "done"),
    ]  # fmt: skip
    assert rows(store_url, "state", "scope, key, value") == [
        ("device", "Door 1", '{"last":1}'), ("device", "Door 2", '{"last":2}'),
    ]  # fmt: skip


def test_the_next_run_loads_the_state_and_what_was_decided(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        assert b.loaded.state == {}
        b.stored([outcome(n) for n in range(20)])
        b.stored(outcome(50, changes=(Change("device", "Door 3", None), Change("mode", "house", b'"away"'))))
    with bench(runtime, store_url) as b:
        assert b.loaded.causes == (*(f"cause-{n}" for n in range(20)), "cause-50")
        assert b.loaded.state[("mode", "house")] == b'"away"'
        assert b.loaded.state[("device", "Door 4")] == b'{"last":14}'
        assert ("device", "Door 3") not in b.loaded.state


def test_the_last_change_of_a_batch_wins(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored([
            outcome(1, changes=(Change("timer", "a", b"1"), Change("timer", "b", b"1"))),
            outcome(2, changes=(Change("timer", "a", None), Change("timer", "b", b"2"))),
            outcome(3, changes=(Change("timer", "c", None), Change("timer", "c", b"3"))),
        ])  # fmt: skip
    assert rows(store_url, "state", "key, value") == [("b", "2"), ("c", "3")]


def test_a_cause_that_is_stored_is_not_stored_again_and_its_pending_steps_keep_their_ids(
    runtime: Runtime, store_url: str
) -> None:
    with bench(runtime, store_url, accepts=False) as b:
        b.send(outcome(1, steps=1))
        b.commands.next()
    with bench(runtime, store_url) as b:
        # Decided again, with other ids and other changes: neither counts.
        again = outcome(1, all_steps=(step(99),), changes=(Change("device", "Door 1", b'"again"'),))
        b.stored([again, outcome(2, steps=1)])
        ids = {b.commands.next()[2]["message_id"] for _ in range(2)}
        assert ids == {"step-1-0", "step-2-0"}
        assert b.commands.taken.empty()
    assert rows(store_url, "events", "cause") == [("cause-1",), ("cause-2",)]
    assert rows(store_url, "evaluations", "count(*)") == [(2,)]
    assert rows(store_url, "state", "key, value") == [("Door 1", '{"last":1}'), ("Door 2", '{"last":2}')]
    assert rows(store_url, "steps", "id, status") == [("step-1-0", "done"), ("step-2-0", "done")]


def test_the_same_cause_twice_in_one_batch_counts_once(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored([outcome(1, steps=1), outcome(1, steps=1), outcome(2)])
        assert b.commands.next()[2]["message_id"] == "step-1-0"
    assert rows(store_url, "events", "cause") == [("cause-1",), ("cause-2",)]
    assert rows(store_url, "evaluations", "event_id") == [(1,), (3,)]


def test_a_delivery_is_let_go_of_when_its_steps_were_accepted(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url, accepts=False) as b:
        settled = b.send(outcome(1, steps=2))
        b.commands.next()
        b.commands.next()
        assert not settled.wait(0.1)
        b.commands.let_go()
        assert settled.wait(PATIENCE)


def test_a_delivery_does_not_wait_for_a_broker_that_is_away_once_the_disk_has_it(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url, accepts=False) as b:
        begun = time.monotonic()
        settled = b.send(outcome(1, steps=1))
        b.commands.next()
        assert settled.wait(PATIENCE)
        assert time.monotonic() - begun >= 0.9
        b.commands.let_go()
        b.until(lambda: b.writer.health().in_flight == 0)
    assert rows(store_url, "steps", "status") == [("done",)]


@pytest.mark.parametrize("in_memory", [0, 300, 5000])
def test_what_finds_no_room_waits_in_memory_or_in_the_table_and_goes_out_in_order(
    runtime: Runtime, store_url: str, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr("event_processor.store.outbox.MOST_WAITING", in_memory)
    with bench(runtime, store_url, accepts=False) as b:
        for first in range(0, 1200, 100):
            b.send([outcome(n, steps=1) for n in range(first, first + 100)])
        b.until(lambda: b.writer.health().behind and b.writer.health().stored == 1200)
        # Commands wait; control messages have a lane of their own.
        b.send(outcome(5000, all_steps=(step(5000, kind="control"),)))
        assert b.controls.next()[2]["message_id"] == "step-5000-0"
        b.commands.let_go()
        got = [b.commands.next()[2]["message_id"] for _ in range(1200)]
        assert got == [f"step-{n}-0" for n in range(1200)]
        b.until(lambda: b.writer.health().in_flight == 0 and not b.writer.health().behind)
    assert rows(store_url, "steps", "DISTINCT status") == [("done",)]


def test_a_step_whose_time_is_up_is_not_sent_late(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url, accepts=False) as b:
        b.send(outcome(1, all_steps=(step(1, expires_at=time.time() - 1), step(2))))
        b.commands.next()
        b.commands.next()
    with bench(runtime, store_url) as b:
        assert b.commands.next()[2]["message_id"] == "step-2-0"
        b.until(lambda: b.writer.health().in_flight == 0)
        assert b.writer.health().expired == 1
    assert rows(store_url, "steps", "id, status") == [("step-1-0", "expired"), ("step-2-0", "done")]


def test_a_refused_step_is_kept_with_the_reason_and_its_delivery_is_done_with(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url, error=Rejected("no queue is bound")) as b:
        b.stored(outcome(1, steps=1))
        b.until(lambda: b.writer.health().refused == 1)
    assert rows(store_url, "steps", "status, reason") == [("failed", "no queue is bound")]


def test_a_step_that_came_back_unsent_is_sent_again(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url, error=ConnectionError("the bridge was restarted")) as b:
        b.stored(outcome(1, steps=1))
        assert b.commands.next()[2]["message_id"] == "step-1-0"
        b.commands.error = None
        assert b.commands.next()[2]["message_id"] == "step-1-0"
        b.until(lambda: b.writer.health().in_flight == 0)
    assert rows(store_url, "steps", "status") == [("done",)]


def test_a_step_of_a_kind_that_nobody_takes_is_said_and_kept(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored(outcome(1, all_steps=(step(1, kind="notify"),)))
    ((status, reason),) = rows(store_url, "steps", "status, reason")
    assert status == "failed"
    assert "notify" in reason


@pytest.mark.parametrize("poison", [{"topic": "a\x00b"}, {"value": "\ud800"}, {"created_at": float("nan")}])
def test_an_outcome_that_cannot_be_stored_costs_itself_alone(
    runtime: Runtime, store_url: str, poison: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    bad = outcome(2, event=event(2, **poison))
    with bench(runtime, store_url) as b:
        done = b.send([outcome(1, steps=1), outcome(3, steps=1)])
        other = b.send(bad)
        last = b.send(outcome(4, steps=1))
        for settled in (done, other, last):
            assert settled.wait(PATIENCE)
        assert [b.commands.next()[2]["message_id"] for _ in range(3)] == ["step-1-0", "step-3-0", "step-4-0"]
        assert b.writer.health().ok
    causes = {cause for (cause,) in rows(store_url, "events", "cause")}
    assert {"cause-1", "cause-3", "cause-4"} <= causes


def test_what_is_no_outcome_is_refused_and_said(runtime: Runtime, store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with bench(runtime, store_url) as b:
        b.stored("nonsense", {"a": 1}, [[outcome(1)]], outcome(2))
    assert caplog.text.count("Something was not stored") == 3
    assert rows(store_url, "events", "cause") == [("cause-2",)]


def test_an_outcome_without_an_event_is_stored_as_a_timers(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored(outcome(1, event=None, changes=()))
    assert rows(store_url, "events", "cause, kind, body") == [("cause-1", "timer", None)]


def test_what_a_meter_adds_is_added_once_however_often_its_event_comes(runtime: Runtime, store_url: str) -> None:
    def metered(number: int, register: float) -> list[Any]:
        said = outcome(number, event=event(number, device="Water", kind="meter", value=register))
        reading = Reading(entity="Water", at=START + number, register=register, delta=0.5, minute=0.25)
        added = (
            Added(entity="Water", span="hour", start=START, amount=0.5),
            Added(entity="Water", span="day", start=START, amount=0.5),
        )
        return [said, MeterRecord(cause=said.cause, reading=reading, added=added)]

    with bench(runtime, store_url) as b:
        b.stored(metered(1, 10.0), metered(2, 10.5), metered(1, 10.0))
        b.stored(metered(2, 10.5))
    assert rows(store_url, "readings", "meter, register, delta, minute", "at") == [
        ("Water", 10.0, 0.5, 0.25), ("Water", 10.5, 0.5, 0.25),
    ]  # fmt: skip
    assert rows(store_url, "totals", "span, amount, samples") == [("day", 1.0, 2), ("hour", 1.0, 2)]


def test_notifications_and_pictures_have_their_entries(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:
        b.stored(
            NotificationRecord(step="step-1-0", target="phone", title="Door", body="open", at=START, status="sent"),
            ImageRecord(name="a.jpg", device="Cam", at=START, size=3, sha256="0" * 64, content_type="image/jpeg"),
        )
    assert rows(store_url, "notifications", "step_id, target, status, attempts") == [("step-1-0", "phone", "sent", 1)]
    assert rows(store_url, "images", "name, size") == [("a.jpg", 3)]


def test_the_entry_of_a_picture_that_comes_again_tells_of_the_last_time(runtime: Runtime, store_url: str) -> None:
    def taken(at: float, cause: str) -> ImageRecord:
        return ImageRecord(name="a.jpg", device="Cam", at=at, size=3, sha256="0" * 64, content_type="image/jpeg", cause=cause)

    with bench(runtime, store_url) as b:
        b.stored(taken(START, "first"), taken(START + 9, "second"))
        b.stored(taken(START, "first"))
    assert rows(store_url, "images", "at, cause") == [(START + 9, "second")]


def test_other_threads_have_their_writes_done_by_the_writer(runtime: Runtime, store_url: str) -> None:
    user = {"name": "ann", "role": "admin", "password_hash": "$argon2id$", "created_at": START, "changed_at": START}
    with bench(runtime, store_url) as b:
        b.writer.submit(lambda connection: connection.execute(insert(tables.users).values(**user))).result(PATIENCE)
        names = b.writer.submit(lambda connection: connection.execute(select(tables.users.c.name)).scalars().all())
        assert names.result(PATIENCE) == ["ann"]
        twice = b.writer.submit(lambda connection: connection.execute(insert(tables.users).values(**user)))
        with pytest.raises(Exception, match=r"(?i)unique"):
            twice.result(PATIENCE)
        b.stored(outcome(1))
        assert b.writer.health().ok


def test_outcomes_of_many_threads_are_all_stored(runtime: Runtime, store_url: str) -> None:
    with bench(runtime, store_url) as b:

        def feed(first: int) -> None:
            from pylib.zmq import zmq_socket

            with runtime.active():
                socket = zmq_socket(8)
                socket.connect("inproc://store")
                for number in range(first, first + 100):
                    socket.send_pyobj(outcome(number))
                b.until(lambda: b.writer.health().stored == 300)
                socket.close()

        threads = [threading.Thread(target=feed, args=(first,)) for first in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert len(rows(store_url, "events", "cause")) == 300


def test_one_hub_alone_has_a_sqlite_file(runtime: Runtime, tmp_path: Any) -> None:
    from event_processor.store.database import Database
    from event_processor.store.errors import StoreInUse

    with bench(runtime, tmp_path / "hub.db"), pytest.raises(StoreInUse, match="in use by another hub"):
        Database(tmp_path / "hub.db").open()
    database = Database(tmp_path / "hub.db")
    database.open()
    with pytest.raises(StoreInUse):
        StoreWriter(tmp_path / "hub.db", sinks={}).load()
    database.close()
    database.open()
    database.close()


def test_the_database_of_another_program_is_left_alone(tmp_path: Any) -> None:
    import sqlite3

    from event_processor.store.database import Database

    with sqlite3.connect(tmp_path / "photos.db") as other:
        other.execute("CREATE TABLE photos (name)")
    other.close()
    before = (tmp_path / "photos.db").read_bytes()
    database = Database(tmp_path / "photos.db")
    with pytest.raises(ConfigError, match="another program"):
        database.open()
    database.close()
    assert (tmp_path / "photos.db").read_bytes() == before


def test_a_password_is_in_no_message(store_url: str) -> None:
    from event_processor.store.database import Database
    from event_processor.store.reader import Reader

    database = Database("postgresql://hub:hunter2@127.0.0.1:9/hub")
    for attempt in (database.open, Reader("postgresql://hub:hunter2@127.0.0.1:9/hub").events):
        with pytest.raises(StoreUnavailable) as caught:
            attempt()
        assert "hunter2" not in str(caught.value) + repr(database)
    for url in ("mysql://a:hunter2@b/c", "sqlite://", "postgresql://a:hunter2@b:port/c"):
        with pytest.raises(ConfigError) as refused:
            Database(url)
        assert "hunter2" not in str(refused.value)
