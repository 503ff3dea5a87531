"""``event-processor accounts``: who may log in, and a second factor that nobody can give any more, with and without a hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from event_processor.processor import EventProcessor
from event_processor.steering import offer
from event_processor.store import tables as t
from event_processor.store.database import Database
from pylib.config.folders import state_folder
from pylib.observe.control import Control, control_path
from pylib.runtime.runtime import Runtime
from tests.unit.commands.kit import Commands, in_process
from tests.unit.store.kit import bench


@pytest.fixture
def hub(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.conf").write_text(f"[app]\nstate_dir = {tmp_path}/state\n")
    database = Database(tmp_path / "state" / "hub.db")
    database.open()
    with database.connection.begin():
        for name, secret in (("ada", "sealed"), ("bob", None)):
            database.connection.execute(insert(t.users).values(
                name=name, role="admin", password_hash="x", totp_secret=secret, totp_encrypted=True, created_at=1, changed_at=1
            ))  # fmt: skip
    database.close()
    with in_process(monkeypatch, {}):
        yield Commands(capsys)


def secrets(folder: Path) -> list[str | None]:
    database = Database(folder / "state" / "hub.db")
    database.open()
    found = list(database.connection.execute(select(t.users.c.totp_secret).order_by(t.users.c.name)).scalars())
    database.close()
    return found


def test_accounts_are_listed_and_a_second_factor_is_taken_away(hub: Commands, tmp_path: Path) -> None:
    assert [(one["name"], one["second_factor"]) for one in hub.json("accounts", "list")] == [("ada", True), ("bob", False)]
    assert "sealed" not in hub.run("accounts", "list")
    assert "password alone" in hub.run("accounts", "reset-second-factor", "Ada")
    assert hub.json("accounts", "reset-second-factor", "bob") == {"name": "bob", "had": False}
    assert "no account eve" in hub.run("accounts", "reset-second-factor", "eve", code=1)
    assert secrets(tmp_path) == [None, None]


def test_a_hub_that_runs_and_cannot_be_asked_is_said(hub: Commands, runtime: Runtime, tmp_path: Path) -> None:
    with bench(runtime, tmp_path / "state" / "hub.db"):
        assert "Stop it, then try again" in hub.run("accounts", "reset-second-factor", "ada", code=1)
    assert secrets(tmp_path) == ["sealed", None]


def test_a_hub_that_runs_does_it_itself(hub: Commands, runtime: Runtime, tmp_path: Path) -> None:
    with bench(runtime, tmp_path / "state" / "hub.db") as b:
        control = Control(runtime, control_path(state_folder(application="event-processor")), list)
        idle: EventProcessor = object()  # type: ignore[assignment]  # not asked
        offer(control, idle, b.writer, list, list)  # type: ignore[arg-type]  # nor these
        control.start()
        assert hub.json("accounts", "reset-second-factor", "ada") == {"name": "ada", "had": True}
        assert "no account eve" in hub.run("accounts", "reset-second-factor", "eve", code=1)
    assert secrets(tmp_path) == [None, None]
