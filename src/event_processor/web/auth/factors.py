"""Second factors in the store: encrypting what is not yet, and using up a code. In the writer's transactions."""

from __future__ import annotations

import logging
from typing import Final, Literal, TypeAlias

from sqlalchemy import Connection, select, update

from event_processor.store import tables as t
from event_processor.web.auth import accounts
from event_processor.web.auth.sealing import Sealer
from event_processor.web.auth.second import check_totp, hash_code

__all__ = ["LOST", "How", "seal_all", "use_code"]

log = logging.getLogger("event_processor.web")

How: TypeAlias = Literal["password and second factor", "password and recovery code", "lost", ""]

#: What a person is told whose secret cannot be decrypted any more.
LOST: Final = (
    "Two-factor of {name} must be set up again: the key that it was kept with is gone. Log in with a recovery code, or have "
    "it taken away (an admin under Settings, or on the hub's machine: event-processor accounts reset-second-factor {name})."
)


def use_code(connection: Connection, sealer: Sealer, user: int, code: str, now: float) -> How:
    """Use up a code. Says which kind it was; "" where it is wrong, and "lost" where it cannot be known whether it is.

    Raises ``OSError`` where the key cannot be read.
    """
    row = connection.execute(select(t.users).where(t.users.c.id == user)).first()
    if row is None or row.totp_secret is None:
        return ""
    secret = sealer.open(user, row.totp_secret) if row.totp_encrypted else str(row.totp_secret)
    if secret is not None:
        step = check_totp(secret, code, row.totp_last_step, now)
        if step is not None:
            connection.execute(update(t.users).where(t.users.c.id == user).values(totp_last_step=step))
            return "password and second factor"
    if accounts.use_recovery(connection, user, hash_code(code)):
        return "password and recovery code"
    return "" if secret is not None else "lost"


def seal_all(connection: Connection, sealer: Sealer) -> tuple[int, tuple[str, ...]]:
    """Encrypt every secret that is not: from an earlier version, or from a backup of one.

    Returns how many it were, and whose secrets cannot be decrypted. Raises ``OSError`` where there can be no key.
    """
    users = t.users.c
    kept = connection.execute(select(t.users).where(users.totp_secret.is_not(None)).order_by(users.name)).all()
    plain = [row for row in kept if not row.totp_encrypted]
    if plain and connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")  # what is written over is not left on the file's pages
    for row in plain:
        connection.execute(
            update(t.users)
            .where(users.id == row.id)
            .values(totp_secret=sealer.seal(row.id, row.totp_secret), totp_encrypted=True)
        )
    return len(plain), tuple(row.name for row in kept if row.totp_encrypted and sealer.open(row.id, row.totp_secret) is None)
