"""What can be done about somebody's account without the dashboard: for the command line, and a hub that is asked by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from event_processor.store import tables as t

__all__ = ["NO_SECOND_FACTOR", "recovery_key", "reset_second_factor"]

#: The columns of ``users`` of somebody who logs in with the password alone.
NO_SECOND_FACTOR: Final[Mapping[str, bool | None]] = {"totp_secret": None, "totp_encrypted": False, "totp_last_step": None}


def recovery_key(user: int) -> str:
    """The key in ``meta`` under which the hashes of an account's recovery codes are."""
    return f"recovery:{user}"


def reset_second_factor(connection: Connection, name: str, *, at: float, who: str) -> bool | None:
    """Take somebody's second factor away, with the recovery codes and every login that is under way. In a transaction.

    Returns whether there was one; None where there is no such account.
    """
    users = t.users.c
    row = connection.execute(select(users.id, users.name, users.totp_secret).where(users.name == name.strip().lower())).first()
    if row is None:
        return None
    connection.execute(update(t.users).where(users.id == row.id).values(**NO_SECOND_FACTOR, changed_at=at))
    connection.execute(delete(t.meta).where(t.meta.c.key == recovery_key(row.id)))
    connection.execute(delete(t.sessions).where(t.sessions.c.user_id == row.id))
    connection.execute(
        insert(t.audit).values(
            at=at, who=who, address="", action="second_factor.reset", subject=row.name, detail="at the command line"
        )
    )
    return row.totp_secret is not None
