"""A hub or a store that is slow: what is done all the same is in the audit, and who is revoked meanwhile is not believed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, delete

from event_processor.domain.outcome import Evaluation, Outcome
from event_processor.domain.rulebook import Rulebook, compile_rules
from event_processor.settings import load
from event_processor.store import tables
from event_processor.store.images import ImageFolder
from event_processor.store.reader import Reader
from event_processor.web.auth import accounts
from event_processor.web.auth.accounts import audit_page
from event_processor.web.context import HubContext
from event_processor.web.mirror import Mirror
from event_processor.web.rulefile import Rules
from event_processor.web.schedulefile import Schedules
from event_processor.web.server import make_app
from pylib.config import AppConfig
from pylib.runtime.runtime import Runtime
from tests.unit.store.kit import PATIENCE, Bench, bench

CONF = "[rabbitmq]\nserver_address = localhost\nmq_exchange = home\n[mqtt]\nserver_address = localhost\n[web]\nhosts = hub\n"
RULES = '[[rule]]\nid = "r"\ntrigger = {device = "Door"}\naction = {do = "mode", mode = "away"}\n'


@pytest.fixture
def store(runtime: Runtime, tmp_path: Path) -> Iterator[Bench]:
    with bench(runtime, tmp_path / "hub.db") as b:
        yield b


@pytest.fixture
def context(runtime: Runtime, store: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubContext]:
    """A hub that takes what it is asked for and never says that it has done it."""
    monkeypatch.setattr("event_processor.web.context.ANSWER_WITHIN", 0.5)
    (tmp_path / "app.conf").write_text(CONF)
    asked: Future[Evaluation] = Future()
    reloaded: Future[Outcome] = Future()
    switched: Future[None] = Future()
    reader = Reader(tmp_path / "hub.db")
    yield HubContext(
        runtime,
        load(AppConfig(tmp_path / "app.conf", environ={"DEVICE_NAME": "attic"})),
        ask=lambda request: asked,
        writer=store.writer,
        reader=reader,
        mirror=Mirror({}),
        rules=Rules(tmp_path / "rules.toml", lambda file: Rulebook(compile_rules(file.rule)), lambda book: reloaded),
        schedules=Schedules(tmp_path / "schedules.toml", (), lambda file: (), lambda schedules: switched),
        images=ImageFolder(tmp_path / "images"),
        problems=list,
        folder=tmp_path,
        letters=tmp_path / "letters.db",
    )
    reader.close()


def answers(context: HubContext, store: Bench, *requests: tuple[str, str, dict[str, object]]) -> list[int]:
    """What an admin's program is answered, one after the other."""
    now = context.now()

    def prepared(connection: Connection) -> str:
        user = accounts.add_user(connection, name="ada", role="admin", password_hash="x", now=now)
        return accounts.new_token(connection, user=user.id, name="t", scope="admin", now=now, expires_at=None)[1]

    token = store.writer.submit(prepared).result(PATIENCE)

    async def asked(client: httpx.AsyncClient, method: str, path: str, body: dict[str, object]) -> int:
        if path.startswith("/api"):
            return (await client.request(method, path, json=body)).status_code
        return (await client.request(method, path, data=body)).status_code

    async def run() -> list[int]:
        context.open()
        try:
            transport = httpx.ASGITransport(make_app(context))
            headers = {"authorization": f"Bearer {token}", "host": "hub"}
            async with httpx.AsyncClient(transport=transport, base_url="http://hub", headers=headers) as client:
                return [await asked(client, *request) for request in requests]
        finally:
            context.close()

    return asyncio.run(run())


def audited(context: HubContext) -> list[tuple[str, str]]:
    page = audit_page(context.reader, None, 100, None, None)
    return [(entry.action, entry.detail) for entry in reversed(page.rows)]


def test_rules_that_are_saved_are_in_the_audit_although_the_hub_was_slow(context: HubContext, store: Bench) -> None:
    assert answers(context, store, ("PUT", "/api/rules-file", {"text": RULES})) == [503]
    assert context.rules.path.read_text() == RULES
    assert audited(context) == [("rules.save", "(the hub did not answer in time)")]


def test_what_the_hub_was_asked_for_is_in_the_audit_although_it_was_slow(context: HubContext, store: Bench) -> None:
    assert answers(context, store, ("PUT", "/api/mode", {"mode": "away"})) == [504]
    assert audited(context) == [("hub.set_mode", "False (the hub did not answer in time)")]


def test_who_is_revoked_while_he_is_looked_up_is_not_believed_afterwards(
    context: HubContext, store: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, now, read = make_app(context), context.now(), context.read

    def prepared(connection: Connection) -> str:
        user = accounts.add_user(connection, name="ada", role="admin", password_hash="x", now=now)
        return accounts.new_session(connection, user=user.id, now=now, expires_at=now + 60, address="", agent="")

    secret = store.writer.submit(prepared).result(PATIENCE)

    async def slow(*given: Any) -> object:
        found = await read(*given)
        await context.write(lambda connection: connection.execute(delete(tables.sessions)))
        app.state.auth.forget()
        return found

    async def run() -> list[bool]:
        context.open()
        with monkeypatch.context() as patched:
            patched.setattr(context, "read", slow)
            seen = [await app.state.auth.by_session(secret) is not None]
        seen.append(await app.state.auth.by_session(secret) is not None)
        context.close()
        return seen

    assert asyncio.run(run()) == [True, False]


def test_what_was_refused_is_not_in_the_audit(context: HubContext, store: Bench) -> None:
    wrong: dict[str, object] = {"text": "[[rule]]"}
    said = answers(context, store, ("PUT", "/api/rules-file", wrong), ("POST", "/rules/save", wrong))
    assert said == [422, 200], "the page says in its place what is wrong"
    assert not context.rules.path.exists()
    assert audited(context) == []
