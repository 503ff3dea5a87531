"""``event-processor accounts``: who may log in to the dashboard; and a second factor that nobody can give any more."""

from __future__ import annotations

import argparse
import time

import msgspec
from sqlalchemy import select

from event_processor.commands.opening import ask_hubs, existing_store, house, reader, user
from event_processor.commands.output import clock, print_json, print_table
from event_processor.store import tables as t
from event_processor.store.database import Database
from event_processor.store.errors import StoreInUse
from event_processor.store.people import reset_second_factor
from pylib.errors import ConfigError, PylibError

__all__ = ["Listed", "run"]


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """An account, as it is listed. ``last_login_at`` is in seconds since the epoch."""

    name: str
    role: str
    disabled: bool
    second_factor: bool
    last_login_at: float | None


def run(options: argparse.Namespace) -> int:
    """List the accounts, or take a second factor away."""
    return _list(options) if options.verb == "list" else _reset(options)


def _list(options: argparse.Namespace) -> int:
    home = house()
    opened = reader(home)
    try:
        with opened.connect() as connection:
            rows = connection.execute(select(t.users).order_by(t.users.c.name)).all()
    finally:
        opened.close()
    found = [
        Listed(
            name=row.name,
            role=row.role,
            disabled=bool(row.disabled),
            second_factor=row.totp_secret is not None,
            last_login_at=row.last_login_at,
        )
        for row in rows
    ]
    if options.json:
        print_json(found)
        return 0
    lines = [
        (
            one.name, one.role, "no" if one.disabled else "yes", "yes" if one.second_factor else "no",
            "never" if one.last_login_at is None else clock(one.last_login_at, home.zone),
        )
        for one in found
    ]  # fmt: skip
    print_table(("name", "role", "may log in", "second factor", "last login"), lines)
    return 0


def _reset(options: argparse.Namespace) -> int:
    """By the hub that runs, else in the store itself, which then is nobody else's."""
    who = f"{user()} (command line)"
    answers = ask_hubs({"ask": "reset_second_factor", "name": options.name, "who": who})
    had = bool(answers[0]["had"]) if answers else _in_store(options.name, who)
    if options.json:
        print_json({"name": options.name, "had": had})
    elif had:
        print(f"{options.name} logs in with the password alone now, and may set up a second factor anew.")
    else:
        print(f"{options.name} had no second factor.")
    return 0


def _in_store(name: str, who: str) -> bool:
    database = Database(existing_store(house()))
    try:
        database.open()
    except StoreInUse:
        raise PylibError(
            "A hub runs on this store and cannot be asked ([app] control = no?). Stop it, then try again."
        ) from None
    try:
        with database.connection.begin():
            had = reset_second_factor(database.connection, name, at=time.time(), who=who)
    finally:
        database.close()
    if had is None:
        raise ConfigError(f"There is no account {name}: event-processor accounts list names them.")
    return had
