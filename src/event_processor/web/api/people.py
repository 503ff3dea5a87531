"""Accounts, sessions, tokens and the audit, for the API."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, select, update

from event_processor.store import tables as t
from event_processor.store.people import NO_SECOND_FACTOR
from event_processor.web.api.fields import After, Limit, Name, cursor
from event_processor.web.api.router import Call, Empty, Operation
from event_processor.web.auth import accounts
from event_processor.web.auth.values import SCOPES, Account, AuditEntry, Role, Scope, SessionInfo, TokenInfo, may
from event_processor.web.auth.values import Name as UserName
from event_processor.web.problems import ProblemError

__all__ = ["OPERATIONS"]

Password = Annotated[str, msgspec.Meta(max_length=1000)]
Ident = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Days = Annotated[float, msgspec.Meta(gt=0, le=3650)]


class Accounts(msgspec.Struct, frozen=True):
    items: tuple[Account, ...]


class Sessions(msgspec.Struct, frozen=True):
    items: tuple[SessionInfo, ...]


class Tokens(msgspec.Struct, frozen=True):
    items: tuple[TokenInfo, ...]


class Audit(msgspec.Struct, frozen=True):
    items: tuple[AuditEntry, ...]
    next: str | None = None


class UserIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: UserName
    password: Password
    role: Role = "viewer"


class UserChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is given is changed. A new password or role ends the sessions of the account, and so does ``reset_second_factor``,
    which is for somebody who has lost the phone and the recovery codes."""

    role: Role | None = None
    disabled: bool | None = None
    password: Password | None = None
    reset_second_factor: bool = False


class TokenIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token for a program: it may do no more than its scope, and no more than whoever makes it."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    scope: Scope = "read"
    days: Days | None = None


class NewToken(msgspec.Struct, frozen=True):
    """The token itself is shown this once."""

    id: int
    token: str


class ById(msgspec.Struct, frozen=True):
    id: Ident


class BySession(msgspec.Struct, frozen=True):
    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]


class AuditAsked(msgspec.Struct, frozen=True, kw_only=True):
    who: Name | None = None
    action: Name | None = None
    after: After | None = None
    limit: Limit = 100


async def users(call: Call[Empty, None]) -> Accounts:
    return Accounts(await call.context.read(accounts.accounts, call.context.reader))


async def add_user(call: Call[Empty, UserIn]) -> Account:
    call.record("user.add", call.body.name, f"role {call.body.role}")
    return await call.auth.add_user(call.body.name, call.body.password, call.body.role)


async def change_user(call: Call[ById, UserChange]) -> Account:
    body, ident, now = call.body, call.params.id, call.context.now()
    found = {account.id: account for account in (await users(Call(call.request, call.user, Empty(), None))).items}.get(ident)
    if found is None:
        raise ProblemError(404, "There is no such account.")
    values: dict[str, object] = {}
    if body.role is not None:
        values["role"] = body.role
    if body.disabled is not None:
        values["disabled"] = body.disabled
    if body.password is not None:
        values["password_hash"] = await call.auth.hash(body.password, found.name)
    if body.reset_second_factor:
        values |= NO_SECOND_FACTOR
    if not values:
        return found

    def work(connection: Connection) -> accounts.Row:
        if body.reset_second_factor:
            accounts.put_recovery(connection, ident, ())
            accounts.end_sessions(connection, ident, but=call.user.session)
        return accounts.change_user(connection, ident, now, **values)

    row = await call.context.write(work)
    call.auth.forget()
    named = {"password_hash": "password", "totp_secret": "second factor taken away"}
    what = ", ".join(sorted(named.get(each, each) for each in values if not each.startswith("totp_") or each in named))
    call.record("user.change", found.name, what)
    return accounts.account(row)


async def remove_user(call: Call[ById, None]) -> None:
    name = await call.context.write(lambda connection: accounts.remove_user(connection, call.params.id))
    call.auth.forget()
    call.record("user.remove", name)


async def sessions(call: Call[Empty, None]) -> Sessions:
    everybody = may(call.user.role, "admin")
    found = await call.context.read(
        accounts.sessions,
        call.context.reader,
        None if everybody else call.user.id,
        call.context.now(),
        call.user.session,
    )
    return Sessions(found)


async def end_session(call: Call[BySession, None]) -> None:
    table, ident = t.sessions, call.params.id
    wanted: list[ColumnElement[bool]] = [table.c.hash.like(f"{ident}%")]
    if not may(call.user.role, "admin"):
        wanted.append(table.c.user_id == call.user.id)
    gone = await call.context.write(lambda connection: connection.execute(delete(table).where(*wanted)).rowcount)
    call.auth.forget()
    if not gone:
        raise ProblemError(404, "There is no such session.")
    call.record("session.end", ident)


async def tokens(call: Call[Empty, None]) -> Tokens:
    everybody = may(call.user.role, "admin")
    return Tokens(await call.context.read(accounts.tokens, call.context.reader, None if everybody else call.user.id))


async def add_token(call: Call[Empty, TokenIn]) -> NewToken:
    body, now = call.body, call.context.now()
    if call.user.token and not may(call.user.role, "admin"):
        raise ProblemError(403, "A token makes tokens only where its scope is admin: log in with the password.")
    if not may(call.user.role, SCOPES[body.scope]):
        raise ProblemError(403, f"A token with the scope {body.scope} may do more than you may.")
    expires_at = now + body.days * 86_400 if body.days is not None else None
    ident, token = await call.context.write(
        lambda connection: accounts.new_token(
            connection, user=call.user.id, name=body.name, scope=body.scope, now=now, expires_at=expires_at
        )
    )
    call.record("token.add", body.name, f"number {ident}, scope {body.scope}")
    return NewToken(ident, token)


async def revoke_token(call: Call[ById, None]) -> None:
    table, ident, now = t.tokens, call.params.id, call.context.now()
    wanted: list[ColumnElement[bool]] = [table.c.id == ident, table.c.revoked_at.is_(None)]
    if not may(call.user.role, "admin"):
        wanted.append(table.c.user_id == call.user.id)

    def work(connection: Connection) -> str | None:
        name: str | None = connection.execute(select(table.c.name).where(*wanted)).scalar_one_or_none()
        connection.execute(update(table).where(*wanted).values(revoked_at=now))
        return name

    name = await call.context.write(work)
    call.auth.forget()
    if name is None:
        raise ProblemError(404, "There is no such token, or it was revoked before.")
    call.record("token.revoke", name, f"number {ident}")


async def audit(call: Call[AuditAsked, None]) -> Audit:
    asked = call.params
    page = await call.context.read(
        accounts.audit_page, call.context.reader, cursor(asked.after), asked.limit, asked.who, asked.action
    )
    return Audit(page.rows, None if page.next is None else str(page.next))


OPERATIONS: Final = (
    Operation(name="users", method="GET", path="/users", role="admin", handler=users, answer=Accounts, tag="people",
              summary="All accounts"),
    Operation(name="user.add", method="POST", path="/users", role="admin", handler=add_user, body=UserIn, answer=Account,
              status=201, tag="people", summary="Make an account"),
    Operation(name="user.change", method="PATCH", path="/users/{id}", role="admin", handler=change_user, params=ById,
              body=UserChange, answer=Account, tag="people", summary="Change an account"),
    Operation(name="user.remove", method="DELETE", path="/users/{id}", role="admin", handler=remove_user, params=ById,
              tag="people", summary="Delete an account with its sessions and tokens"),
    Operation(name="sessions", method="GET", path="/sessions", role="viewer", handler=sessions, answer=Sessions, tag="people",
              summary="Logins that are under way: one's own, for an admin everybody's"),
    Operation(name="session.end", method="DELETE", path="/sessions/{id}", role="viewer", handler=end_session,
              params=BySession, tag="people", summary="End a session"),
    Operation(name="tokens", method="GET", path="/tokens", role="viewer", handler=tokens, answer=Tokens, tag="people",
              summary="Tokens: one's own, for an admin everybody's"),
    Operation(name="token.add", method="POST", path="/tokens", role="viewer", handler=add_token, body=TokenIn,
              answer=NewToken, status=201, secret=True, tag="people", summary="Make a token for a program"),
    Operation(name="token.revoke", method="DELETE", path="/tokens/{id}", role="viewer", handler=revoke_token, params=ById,
              tag="people", summary="Revoke a token"),
    Operation(name="audit", method="GET", path="/audit", role="admin", handler=audit, params=AuditAsked, answer=Audit,
              tag="people", summary="Who did what, the latest first"),
)  # fmt: skip
