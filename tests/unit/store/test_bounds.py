"""Nothing grows for ever: the audit, failed logins, notifications, tokens, and what is left of devices that are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, insert, select

from event_processor.store import tables as t
from event_processor.store.bounds import DOWN_TO, FAILED_LOGIN, TOKENS_DAYS, RowBound
from event_processor.store.database import Database
from event_processor.store.retention import DAY, Limits, Sweep
from event_processor.web.auth import accounts
from tests.unit.store.kit import START

NOW = START + 1000 * DAY


@contextmanager
def opened(url: str) -> Iterator[Connection]:
    database = Database(url)
    database.open()
    yield database.connection
    database.close()


def audit(connection: Connection, count: int, action: str, first: float = NOW - DAY) -> None:
    rows = [
        {"at": first + n, "who": "", "address": "", "action": action, "subject": f"{n}", "detail": ""} for n in range(count)
    ]
    with connection.begin():
        connection.execute(insert(t.audit), rows)


def sweep_all(connection: Connection, sweep: Sweep, now: float = NOW) -> None:
    for _ in range(1000):
        if not sweep.run(connection, now, time.monotonic):
            return
    raise AssertionError("it does not come to an end")


def numbers(connection: Connection, action: str) -> list[int]:
    with connection.begin():
        found = connection.execute(select(t.audit.c.subject).where(t.audit.c.action == action).order_by(t.audit.c.id))
        return [int(row.subject) for row in found]


def test_the_audit_keeps_the_latest_entries_and_a_flood_of_failed_logins_pushes_out_none_of_them(store_url: str) -> None:
    with opened(store_url) as connection:
        audit(connection, 350, "rules.change")
        audit(connection, 900, FAILED_LOGIN)
        sweep_all(connection, Sweep(Limits(most_audit=500, most_failed_logins=200)))
        assert numbers(connection, "rules.change") == list(range(350)), "however many failures came after them"
        kept = int(200 * DOWN_TO)
        assert numbers(connection, FAILED_LOGIN) == list(range(900 - kept, 900)), "the oldest go"


def test_the_audit_goes_by_age_too(store_url: str) -> None:
    with opened(store_url) as connection:
        audit(connection, 300, "rules.change", NOW - 30 * DAY)
        sweep_all(connection, Sweep(Limits(audit_days=30)), NOW + 149.5)
        assert numbers(connection, "rules.change") == list(range(150, 300))


def test_notifications_are_bounded(store_url: str) -> None:
    told = {"step_id": "s", "target": "phone", "title": "", "body": "", "at": NOW, "status": "sent", "attempts": 1}
    with opened(store_url) as connection:
        with connection.begin():
            connection.execute(insert(t.notifications), [told] * 250)
        sweep_all(connection, Sweep(Limits(most_notifications=100)))
        with connection.begin():
            assert connection.execute(select(func.count()).select_from(t.notifications)).scalar_one() == 90


def test_rows_are_not_counted_again_before_there_may_be_too_many(store_url: str) -> None:
    counted: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: Any) -> None:
        if "count(" in statement:
            counted.append(statement)

    with opened(store_url) as connection:
        bound = RowBound(t.audit, 100)
        event.listen(connection, "before_cursor_execute", note)

        def run() -> int:
            with connection.begin():
                return bound.run(connection)

        def settle(run: Callable[[], int]) -> int:
            gone = 0
            while some := run():
                gone += some
            return gone

        audit(connection, 40, "a")
        assert [run() for _ in range(5)] == [0] * 5
        audit(connection, 60, "a")
        assert [run() for _ in range(5)] == [0] * 5
        assert len(counted) == 1, "after the first look there was room for 60 more"
        audit(connection, 1, "a")
        assert settle(run) == 11, "down to nine tenths"
        assert len(counted) == 3
        with connection.begin():
            connection.execute(t.audit.delete())
        audit(connection, 130, "a")
        assert settle(run) == 40, "also where the numbers begin anew"


def test_tokens_that_are_over_are_listed_for_a_month_and_then_forgotten(store_url: str) -> None:
    with opened(store_url) as connection:
        with connection.begin():
            user = accounts.add_user(connection, name="ada", role="admin", password_hash="x", now=NOW).id
            for name, expires, revoked in (("good", None, None), ("later", NOW + 1, None), ("just", None, NOW - DAY),
                                           ("over", NOW - 40 * DAY, None), ("revoked", None, NOW - 40 * DAY)):  # fmt: skip
                number, _ = accounts.new_token(connection, user=user, name=name, scope="read", now=NOW, expires_at=expires)
                connection.execute(t.tokens.update().where(t.tokens.c.id == number).values(revoked_at=revoked))
        assert TOKENS_DAYS == 30
        sweep_all(connection, Sweep(Limits()))
        with connection.begin():
            assert set(connection.execute(select(t.tokens.c.name)).scalars()) == {"good", "later", "just"}


def test_who_makes_and_revokes_tokens_all_day_fills_nothing(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MOST_TOKENS", 5)
    with opened(store_url) as connection, connection.begin():
        user = accounts.add_user(connection, name="ada", role="admin", password_hash="x", now=NOW).id
        for n in range(30):
            number, _ = accounts.new_token(connection, user=user, name=f"{n}", scope="read", now=NOW, expires_at=None)
            connection.execute(t.tokens.update().where(t.tokens.c.id == number).values(revoked_at=NOW))
        names = connection.execute(select(t.tokens.c.name).order_by(t.tokens.c.id)).scalars().all()
        assert names == ["24", "25", "26", "27", "28", "29"]


def test_what_is_left_of_a_device_that_is_gone_goes_after_a_year_and_what_is_there_stays(store_url: str) -> None:
    old, recent = NOW - 401 * DAY, NOW - 399 * DAY
    rows = [
        ("entity", "Door", old), ("device", "dev-1", old), ("mode", "house", old), ("setting", "rule:x", old),
        ("value", "Door", old), ("online", "dev-1", old), ("meter", "Water", recent),
        ("meter", "Gone Meter", old), ("online", "dev-2", old), ("value", "Gone", old), ("liveness", "dev-2", old),
        *(("value", f"Gone {n}", old) for n in range(250)),
    ]  # fmt: skip
    with opened(store_url) as connection:
        with connection.begin():
            connection.execute(insert(t.state), [{"scope": s, "key": k, "value": "1", "changed_at": at} for s, k, at in rows])
        sweep_all(connection, Sweep(Limits()))
        with connection.begin():
            left = {(row.scope, row.key) for row in connection.execute(select(t.state.c.scope, t.state.c.key))}
        assert left == {(scope, key) for scope, key, _ in rows[:7]}


def test_in_a_file_that_is_too_large_readings_and_events_leave_room_for_each_other(tmp_path: Path) -> None:
    with opened(str(tmp_path / "hub.db")) as connection:
        with connection.begin():
            connection.execute(insert(t.readings), [
                {"meter": "Water", "at": NOW - 400 * DAY + n, "register": n, "delta": 1, "minute": 1} for n in range(20_000)
            ])  # fmt: skip
            connection.execute(insert(t.events), [
                {"id": n, "cause": f"c{n}", "at": NOW - (30 if n < 500 else 1) * DAY + n, "device": "", "kind": "timer",
                 "type": "", "topic": ""} for n in range(1000)
            ])  # fmt: skip
        sweep_all(connection, Sweep(Limits(readings_days=0, events_days=0, most_bytes=700_000)))
        with connection.begin():
            events = connection.execute(select(func.count(), func.min(t.events.c.id))).one()
            readings = connection.execute(select(func.count()).select_from(t.readings)).scalar_one()
        assert tuple(events) == (500, 500), "the last week of events stays"
        assert 0 < readings < 20_000, "and of the readings, which take the room, the oldest go"
