"""The rows of accounts, sessions, tokens and the audit: reading and writing, without any decision about who may.

Functions that take a ``Connection`` run in the writer's transactions; the others read.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any, Final, TypeAlias, cast

import msgspec
import sqlalchemy
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from event_processor.store import tables as t
from event_processor.store.people import recovery_key
from event_processor.store.reader import Cursor, Page, Reader
from event_processor.web.auth.values import SCOPES, Account, AuditEntry, Role, Scope, SessionInfo, TokenInfo, role_of
from event_processor.web.problems import ProblemError

__all__ = [
    "Row", "account", "accounts", "add_user", "audit_page", "change_user", "end_sessions", "find_session", "find_token",
    "find_user", "find_user_by_id", "hash_secret", "new_session", "new_token", "note", "put_recovery", "remove_user",
    "sessions", "tokens", "use_recovery",
]  # fmt: skip

MOST_USERS: Final = 200
MOST_SESSIONS: Final = 50
MOST_TOKENS: Final = 200

# Its columns are those of the query; SQLAlchemy's types do not follow them through a join.
Row: TypeAlias = sqlalchemy.Row[Any]
_ID: Final = 16
# The same as values.Name; but its $ would let a line's end pass.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


def hash_secret(secret: str) -> str:
    """What is kept of a session's or a token's secret. It has 256 random bits, so a plain hash will do."""
    return hashlib.sha256(secret.encode()).hexdigest()


def account(row: Row) -> Account:
    """An account of a row of ``users``."""
    return Account(
        id=row.id,
        name=row.name,
        role=role_of(row.role),
        disabled=bool(row.disabled),
        second_factor=row.totp_secret is not None,
        created_at=row.created_at,
        changed_at=row.changed_at,
        last_login_at=row.last_login_at,
    )


# -- reading -----------------------------------------------------------------------------------------------------------


def accounts(reader: Reader) -> tuple[Account, ...]:
    """All accounts, by name."""
    with reader.connect() as connection:
        return tuple(account(row) for row in connection.execute(select(t.users).order_by(t.users.c.name)))


def find_user(reader: Reader, name: str) -> Row | None:
    """The row of an account by its name."""
    with reader.connect() as connection:
        return connection.execute(select(t.users).where(t.users.c.name == name.strip().lower())).first()


def find_user_by_id(reader: Reader, ident: int) -> Row | None:
    """The row of an account by its number."""
    with reader.connect() as connection:
        return connection.execute(select(t.users).where(t.users.c.id == ident)).first()


def find_session(reader: Reader, hash: str) -> Row | None:
    """A session with its user: ``user_id``, ``name``, ``role``, ``disabled``, ``seen_at``, ``expires_at``."""
    query = (
        select(t.sessions, t.users.c.name, t.users.c.role, t.users.c.disabled)
        .join(t.users, t.users.c.id == t.sessions.c.user_id)
        .where(t.sessions.c.hash == hash)
    )
    with reader.connect() as connection:
        return connection.execute(query).first()


def find_token(reader: Reader, hash: str) -> Row | None:
    """A token with its user, as ``find_session``."""
    query = (
        select(t.tokens, t.users.c.name.label("user"), t.users.c.role, t.users.c.disabled)
        .join(t.users, t.users.c.id == t.tokens.c.user_id)
        .where(t.tokens.c.hash == hash)
    )
    with reader.connect() as connection:
        return connection.execute(query).first()


def sessions(reader: Reader, user: int | None, now: float, current: str) -> tuple[SessionInfo, ...]:
    """The sessions that are under way, of one user or of all; the latest used first."""
    query = (
        select(t.sessions, t.users.c.name)
        .join(t.users, t.users.c.id == t.sessions.c.user_id)
        .where(t.sessions.c.expires_at > now)
        .order_by(t.sessions.c.seen_at.desc())
        .limit(1000)
    )
    if user is not None:
        query = query.where(t.sessions.c.user_id == user)
    with reader.connect() as connection:
        return tuple(
            SessionInfo(
                id=row.hash[:_ID],
                user=row.name,
                created_at=row.created_at,
                seen_at=row.seen_at,
                expires_at=row.expires_at,
                address=row.address,
                agent=row.agent,
                current=row.hash == current,
            )
            for row in connection.execute(query)
        )


def tokens(reader: Reader, user: int | None) -> tuple[TokenInfo, ...]:
    """The tokens of one user or of all, the newest first, also those that were revoked."""
    query = (
        select(t.tokens, t.users.c.name.label("user"))
        .join(t.users, t.users.c.id == t.tokens.c.user_id)
        .order_by(t.tokens.c.id.desc())
        .limit(1000)
    )
    if user is not None:
        query = query.where(t.tokens.c.user_id == user)
    with reader.connect() as connection:
        return tuple(_token(row) for row in connection.execute(query))


def _token(row: Row) -> TokenInfo:
    scope = row.scopes if row.scopes in SCOPES else "read"
    return TokenInfo(
        id=row.id,
        user=row.user,
        name=row.name,
        scope=cast(Scope, scope),
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
    )


def audit_page(reader: Reader, after: Cursor | None, limit: int, who: str | None, action: str | None) -> Page[AuditEntry]:
    """Who did what, the latest first."""
    table = t.audit.c
    query = select(t.audit).order_by(table.at.desc(), table.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where((table.at < after.at) | ((table.at == after.at) & (table.id < after.id)))
    if who is not None:
        query = query.where(table.who == who)
    if action is not None:
        query = query.where(table.action == action)
    with reader.connect() as connection:
        rows = connection.execute(query).all()
    found = tuple(
        AuditEntry(
            id=row.id, at=row.at, who=row.who, address=row.address, action=row.action, subject=row.subject, detail=row.detail
        )
        for row in rows[:limit]
    )
    return Page(found, Cursor(found[-1].at, found[-1].id) if len(rows) > limit else None)


# -- writing -----------------------------------------------------------------------------------------------------------


def note(
    connection: Connection, *, at: float, who: str, address: str, action: str, subject: str = "", detail: str = ""
) -> None:
    """Write down who did what. Never what proves an identity."""
    connection.execute(
        insert(t.audit).values(
            at=at, who=who[:200], address=address, action=action[:200], subject=subject[:500], detail=detail[:2000]
        )
    )


def add_user(connection: Connection, *, name: str, role: Role, password_hash: str, now: float, first: bool = False) -> Account:
    """Make an account. Raises ``ProblemError`` 409 where there is one of that name, or, for the ``first``, any; 422 for a name
    that is none."""
    if not _NAME.fullmatch(name):
        raise ProblemError(422, "A name has up to 64 small letters, digits and . _ @ - and begins with a letter or a digit.")
    count = connection.execute(select(func.count()).select_from(t.users)).scalar_one()
    if first and count:
        raise ProblemError(409, "The set-up is done already: log in.")
    if count >= MOST_USERS:
        raise ProblemError(409, f"There are {MOST_USERS} accounts, and that is the limit.")
    try:
        connection.execute(
            insert(t.users).values(name=name, role=role, password_hash=password_hash, created_at=now, changed_at=now)
        )
    except IntegrityError:
        raise ProblemError(409, f"There is an account {name} already.") from None
    return account(connection.execute(select(t.users).where(t.users.c.name == name)).one())


def change_user(connection: Connection, ident: int, now: float, **values: object) -> Row:
    """Change an account, and end its sessions where that matters. The last admin stays one.

    Raises ``ProblemError``: 404, or 409 where nobody would be left who may do everything.
    """
    row = connection.execute(select(t.users).where(t.users.c.id == ident)).first()
    if row is None:
        raise ProblemError(404, "There is no such account.")
    if row.role == "admin" and not row.disabled and (values.get("role", "admin") != "admin" or values.get("disabled") is True):
        _another_admin(connection, ident)
    connection.execute(update(t.users).where(t.users.c.id == ident).values(**values, changed_at=now))
    if values.keys() & {"password_hash", "role"} or values.get("disabled") is True:
        connection.execute(delete(t.sessions).where(t.sessions.c.user_id == ident))
    return connection.execute(select(t.users).where(t.users.c.id == ident)).one()


def remove_user(connection: Connection, ident: int) -> str:
    """Delete an account with its sessions and tokens; returns its name. Raises as ``change_user``."""
    row = connection.execute(select(t.users).where(t.users.c.id == ident)).first()
    if row is None:
        raise ProblemError(404, "There is no such account.")
    if row.role == "admin" and not row.disabled:
        _another_admin(connection, ident)
    for table in (t.sessions, t.tokens):
        connection.execute(delete(table).where(table.c.user_id == ident))
    connection.execute(delete(t.meta).where(t.meta.c.key == recovery_key(ident)))
    connection.execute(delete(t.users).where(t.users.c.id == ident))
    return str(row.name)


def _another_admin(connection: Connection, ident: int) -> None:
    users = t.users.c
    others = (
        select(func.count()).select_from(t.users).where(users.role == "admin", users.disabled.is_(False), users.id != ident)
    )
    if not connection.execute(others).scalar_one():
        raise ProblemError(409, "This is the last account with the role admin: give it to another one first.")


def new_session(connection: Connection, *, user: int, now: float, expires_at: float, address: str, agent: str) -> str:
    """Begin a session; returns its secret, of which only the hash is kept. Old ones make room."""
    secret = secrets.token_urlsafe(32)
    table = t.sessions
    connection.execute(delete(table).where(table.c.expires_at <= now))
    mine = select(table.c.hash).where(table.c.user_id == user).order_by(table.c.seen_at.desc()).offset(MOST_SESSIONS - 1)
    old = connection.execute(mine.limit(MOST_SESSIONS)).scalars().all()
    if old:
        connection.execute(delete(table).where(table.c.hash.in_(old)))
    connection.execute(
        insert(table).values(
            hash=hash_secret(secret), user_id=user, created_at=now, seen_at=now, expires_at=expires_at,
            address=address, agent=agent[:200],
        )
    )  # fmt: skip
    connection.execute(update(t.users).where(t.users.c.id == user).values(last_login_at=now))
    return secret


def end_sessions(connection: Connection, user: int, *, but: str) -> None:
    """End the logins of an account, all but one (its hash)."""
    connection.execute(delete(t.sessions).where(t.sessions.c.user_id == user, t.sessions.c.hash != but))


def new_token(
    connection: Connection, *, user: int, name: str, scope: Scope, now: float, expires_at: float | None
) -> tuple[int, str]:
    """Make a token; returns its number and the token itself, of which only the hash is kept."""
    count = select(func.count()).select_from(t.tokens).where(t.tokens.c.user_id == user, t.tokens.c.revoked_at.is_(None))
    if connection.execute(count).scalar_one() >= MOST_TOKENS:
        raise ProblemError(409, f"There are {MOST_TOKENS} tokens of this account, and that is the limit: revoke some.")
    over = select(t.tokens.c.id).where(t.tokens.c.user_id == user, t.tokens.c.revoked_at.is_not(None))
    old = connection.execute(over.order_by(t.tokens.c.id.desc()).offset(MOST_TOKENS).limit(MOST_TOKENS)).scalars().all()
    if old:
        connection.execute(delete(t.tokens).where(t.tokens.c.id.in_(old)))
    token = f"ep_{secrets.token_urlsafe(32)}"
    hashed = hash_secret(token)
    connection.execute(
        insert(t.tokens).values(user_id=user, name=name, hash=hashed, scopes=scope, created_at=now, expires_at=expires_at)
    )
    return connection.execute(select(t.tokens.c.id).where(t.tokens.c.hash == hashed)).scalar_one(), token


# -- recovery codes ----------------------------------------------------------------------------------------------------


def put_recovery(connection: Connection, user: int, hashes: tuple[str, ...]) -> None:
    """Keep the hashes of recovery codes; none takes them away."""
    connection.execute(delete(t.meta).where(t.meta.c.key == recovery_key(user)))
    if hashes:
        connection.execute(insert(t.meta).values(key=recovery_key(user), value=msgspec.json.encode(hashes).decode()))


def use_recovery(connection: Connection, user: int, hashed: str) -> bool:
    """Use up a recovery code. False where there is none like it."""
    row = connection.execute(select(t.meta.c.value).where(t.meta.c.key == recovery_key(user))).first()
    known = msgspec.json.decode(row.value, type=tuple[str, ...]) if row is not None else ()
    if hashed not in known:
        return False
    put_recovery(connection, user, tuple(each for each in known if each != hashed))
    return True
