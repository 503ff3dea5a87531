"""Each earlier schema, with data in it, becomes the current one; what it becomes is what ``tables`` says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, event, insert, text

from event_processor.store import migrate
from event_processor.store.database import APPLICATION_ID, Database, file_of, make_engine, parse_url
from event_processor.store.migrate import HEAD, revision_of, revisions, upgrade
from event_processor.store.reader import Reader
from event_processor.store.series import Series
from event_processor.store.tables import METADATA
from event_processor.web.auth import accounts
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import START, bench, outcome, rows
from tests.unit.store.kit import event as said

pytestmark = pytest.mark.timeout(90)

EVENTS = 1200
EARLIER = ("0001", "0002", "0003", "0004")


def make(url: str, revision: str) -> None:
    """A store as the hub of that time left it, with some of everything that it knew."""
    file = file_of(parse_url(url))
    engine = make_engine(parse_url(url))
    if file is not None:
        file.touch()
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        if file is not None:
            raw.execute(f"PRAGMA application_id={APPLICATION_ID}")
        upgrade(connection, revision)
        fill(connection)
    engine.dispose()


def fill(connection: Connection) -> None:
    metadata = MetaData()
    metadata.reflect(connection)
    connection.commit()

    def put(table: str, *values: dict[str, Any]) -> None:
        if table in metadata.tables:
            known = metadata.tables[table].columns.keys()
            connection.execute(
                insert(metadata.tables[table]), [{k: v for k, v in row.items() if k in known} for row in values]
            )

    with connection.begin():
        events = []
        for number in range(1, EVENTS + 1):
            meter = number % 5 == 0
            body = said(number, kind="meter", device="Water", value=number / 10, minute=0.5) if meter else said(number)
            events.append({
                "id": number, "cause": f"cause-{number}", "at": START + number, "device": body.device, "kind": body.kind,
                "type": body.type, "topic": body.topic, "active": body.active, "body": msgspec.json.encode(body).decode(),
            })  # fmt: skip
        events.append({"id": EVENTS + 1, "cause": "timer-1", "at": START, "device": "", "kind": "timer", "body": None,
                       "type": "", "topic": "", "active": None})  # fmt: skip
        put("events", *events)
        put("evaluations", *({
            "event_id": number, "rule": "rule", "device": "Door 1", "at": START + number, "fired": number % 2 == 0,
            "reason": "fired", "explanation": "because", "checks": "[]",
        } for number in range(1, EVENTS + 1)))  # fmt: skip
        put("steps", *({
            "id": f"step-{number}", "event_id": number, "position": 0, "kind": "command", "rule": "rule", "output": "Siren",
            "address": "siren/set", "body": msgspec.msgpack.encode("on"), "at": START, "expires_at": time.time() + 600,
            "qos": 1, "retain": False, "done": number < EVENTS, "status": "done" if number < EVENTS else "pending",
        } for number in range(EVENTS - 9, EVENTS + 1)))  # fmt: skip
        put("state", {"scope": "mode", "key": "house", "value": '"away"', "changed_at": START})
        put("meta", {"key": "last_event", "value": str(EVENTS + 1)})
        put("readings", *({"meter": "Water", "at": START + n, "register": n / 10, "delta": 0.5, "minute": 0.5}
                          for n in range(5, EVENTS + 1, 5)))  # fmt: skip
        put("totals", {"meter": "Water", "span": "day", "start": START, "amount": 12.5, "samples": 3})
        put("notifications", {"step_id": "step-1", "target": "phone", "title": "t", "body": "b", "at": START,
                              "status": "sent", "attempts": 1})  # fmt: skip
        put("users", {"id": 1, "name": "ada", "role": "admin", "password_hash": "$argon2id$", "created_at": START,
                      "totp_secret": "JBSWY3DPEHPK3PXP", "totp_last_step": 7, "changed_at": START})  # fmt: skip
        put("sessions", {"hash": "0" * 64, "user_id": 1, "created_at": START, "seen_at": START, "expires_at": START * 2,
                         "address": "::1", "agent": ""})  # fmt: skip
        put("tokens", {"user_id": 1, "name": "script", "hash": "1" * 64, "scopes": "read", "created_at": START})
        put("audit", *({"at": START + n, "who": "ada", "address": "::1", "action": "login" if n % 2 else "login.failed",
                        "subject": "ada", "detail": ""} for n in range(20)))  # fmt: skip
        put("images", {"name": "2026/01/01/a.jpg", "device": "Cam", "at": START, "size": 1, "sha256": "0" * 64,
                       "content_type": "image/jpeg"})  # fmt: skip


def test_the_current_schema_is_what_the_tables_say(store_url: str) -> None:
    assert revisions()[-1] == HEAD
    assert revisions() == (*EARLIER, HEAD)
    database = Database(store_url)
    assert database.open() is None
    context = MigrationContext.configure(database.connection, opts={"compare_type": True})
    assert compare_metadata(context, METADATA) == []
    database.close()


@pytest.mark.parametrize("revision", EARLIER)
def test_a_store_of_each_earlier_schema_is_taken_over_whole(runtime: Runtime, store_url: str, revision: str) -> None:
    make(store_url, revision)
    with bench(runtime, store_url) as b:
        assert b.loaded.state == {("mode", "house"): b'"away"'}
        assert len(b.loaded.causes) == EVENTS + 1
        # What was pending then is sent now, and nothing that was done.
        assert b.commands.next()[2]["message_id"] == f"step-{EVENTS}"
        b.stored(outcome(7777, steps=1))
        assert b.commands.next()[2]["message_id"] == "step-7777-0"
    reader = Reader(store_url)
    with reader.connect() as connection:
        assert revision_of(connection) == HEAD
    assert len(list(reader.iter_events(0))) == EVENTS + 2
    assert sum(1 for event in reader.iter_events(0) if event.event == said(3)) == 1
    explained = reader.explain("cause-4")
    assert explained is not None
    assert [each.evaluation.fired for each in explained.evaluations] == [True]
    assert len(reader.steps(status="done")) == 11
    assert reader.events(type="door", limit=1).rows
    readings = Series(reader).readings("Water", START, START + EVENTS + 1, points=1)
    assert readings[0].samples == EVENTS // 5
    assert readings[0].highest == EVENTS / 10
    if revision != "0001":
        assert Series(reader).totals("Water", "day", 0, START + 1)[0].amount == 12.5
        assert len(Series(reader).notifications()) == 1
    if revision >= "0004":
        assert rows(store_url, "users", "name, totp_secret, totp_last_step") == [("ada", "JBSWY3DPEHPK3PXP", 7)]
        assert rows(store_url, "tokens", "name") == [("script",)]
        found = accounts.audit_page(reader, None, 100, None, "login.failed")
        assert [entry.at for entry in found.rows] == [START + n for n in range(18, -1, -2)]
    reader.close()
    assert rows(store_url, "events", "count(DISTINCT cause)") == [(EVENTS + 2,)]
    assert foreign_keys_hold(store_url)


def foreign_keys_hold(url: str) -> bool:
    """Whether every evaluation and step has its event; SQLite is asked itself."""
    database = Database(url)
    database.open()
    connection = database.connection
    orphans = [
        connection.execute(text(f"SELECT count(*) FROM {table} WHERE event_id NOT IN (SELECT id FROM events)")).scalar_one()
        for table in ("evaluations", "steps")
    ]
    if connection.dialect.name == "sqlite":
        orphans.append(len(connection.exec_driver_sql("PRAGMA foreign_key_check").all()))
    database.close()
    return not any(orphans)


@pytest.mark.parametrize("revision", EARLIER)
def test_a_migration_that_fails_half_way_leaves_the_schema_before_it(store_url: str, revision: str) -> None:
    make(store_url, revision)
    engine = make_engine(parse_url(store_url))

    class PulledPlugError(Exception):
        pass

    with engine.connect() as connection:

        @event.listens_for(connection, "before_cursor_execute", retval=False)
        def fail(conn: object, cursor: object, statement: str, *rest: object) -> None:
            if statement.startswith("UPDATE alembic_version"):
                raise PulledPlugError

        with pytest.raises(PulledPlugError):
            upgrade(connection)
        connection.rollback()
    engine.dispose()
    with make_engine(parse_url(store_url)).connect() as connection:
        assert revision_of(connection) == revision
    database = Database(store_url)
    assert database.open() == revision
    assert revision_of(database.connection) == HEAD
    database.close()


def test_a_current_store_is_opened_without_alembic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "hub.db")
    database.open()
    database.close()

    def never() -> object:
        raise AssertionError("the migrations were read")

    monkeypatch.setattr(migrate, "_scripts", never)
    assert database.open() == HEAD
    database.close()
