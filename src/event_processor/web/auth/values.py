"""The values of accounts. What proves an identity (a password, a token) is in none of them."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

__all__ = ["ROLES", "SCOPES", "Account", "AuditEntry", "Role", "Scope", "SessionInfo", "TokenInfo", "User", "may", "role_of"]

Role: TypeAlias = Literal["viewer", "operator", "admin"]
Scope: TypeAlias = Literal["read", "operate", "admin"]

#: Who may more includes who may less.
ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "admin")
SCOPES: Final[dict[Scope, Role]] = {"read": "viewer", "operate": "operator", "admin": "admin"}

Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._@-]{0,63}$")]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. ``role`` is what this login may do: with a token no more than the token's scope.

    ``session`` is the (hashed) session, "" with a token; ``token`` the token's number, 0 with a session.
    """

    id: int
    name: str
    role: Role
    session: str = ""
    token: int = 0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as the dashboard and the API show it."""

    id: int
    name: str
    role: Role
    disabled: bool
    second_factor: bool
    created_at: float
    changed_at: float
    last_login_at: float | None


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A login that is under way. ``id`` names it, and is no secret: it is the beginning of a hash."""

    id: str
    user: str
    created_at: float
    seen_at: float
    expires_at: float
    address: str
    agent: str
    current: bool = False


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A token for programs, without the token itself."""

    id: int
    user: str
    name: str
    scope: Scope
    created_at: float
    expires_at: float | None
    used_at: float | None
    revoked_at: float | None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, when and from where."""

    id: int
    at: float
    who: str
    address: str
    action: str
    subject: str
    detail: str


def role_of(text: str) -> Role:
    """The role that is kept as this word; for one that nobody knows, the one that may do least."""
    return text if text in ROLES else "viewer"


def may(role: Role, needed: Role) -> bool:
    """Whether a role includes another one."""
    return ROLES.index(role) >= ROLES.index(needed)
