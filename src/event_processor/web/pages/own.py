"""One's own account: another password, the second factor. The page's script asks, with JSON, and shows what is shown once."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from event_processor.web.auth import accounts, auth_of, context_of, require, signed_in
from event_processor.web.auth.current import record
from event_processor.web.auth.second import check_totp, hash_code, make_offer, make_recovery_codes
from event_processor.web.auth.values import User
from event_processor.web.problems import ProblemError

__all__ = ["password", "totp", "totp_confirm", "totp_remove"]

T = TypeVar("T")
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_SECRET: Final = r"^[A-Z2-7]{32}$"


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password until now, and the new one."""

    old: Word
    new: Word


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who changes what a login needs says the password once more."""

    password: Word


class Confirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The secret that was offered, and a code that the app has made of it."""

    secret: Annotated[str, msgspec.Meta(pattern=_SECRET)]
    code: Annotated[str, msgspec.Meta(max_length=10)]


@require("viewer")
async def password(request: Request) -> Response:
    """Another password. Every login of this account ends, this one too."""
    context, user, auth = context_of(request), _person(request), auth_of(request)
    asked = await _body(request, Change)
    await auth.verify(request, user, asked.old)
    hashed = await auth.hash(asked.new, user.name)
    await context.write(lambda connection: accounts.change_user(connection, user.id, context.now(), password_hash=hashed))
    auth.forget()
    record(request, "user.password", user.name)
    return Response(status_code=204)


@require("viewer")
async def totp(request: Request) -> Response:
    """Offer a second factor: nothing is in force before it is confirmed."""
    user = _person(request)
    await auth_of(request).verify(request, user, (await _body(request, Asked)).password)
    record(request, "user.totp_offer", user.name)
    return _answer(make_offer(user.name))


@require("viewer")
async def totp_confirm(request: Request) -> Response:
    """Put it in force, and give the recovery codes."""
    context, user = context_of(request), _person(request)
    asked = await _body(request, Confirmed)
    step = check_totp(asked.secret, asked.code, None, context.now())
    if step is None:
        raise ProblemError(403, "This code is wrong: look whether the clocks of the phone and the hub are right.")
    codes = make_recovery_codes()

    def work(connection: Connection) -> None:
        accounts.change_user(connection, user.id, context.now(), totp_secret=asked.secret, totp_last_step=step)
        accounts.put_recovery(connection, user.id, tuple(map(hash_code, codes)))

    await context.write(work)
    auth_of(request).forget()
    record(request, "user.totp", user.name, "in force")
    return _answer({"recovery_codes": codes})


@require("viewer")
async def totp_remove(request: Request) -> Response:
    """Take it away."""
    context, user = context_of(request), _person(request)
    await auth_of(request).verify(request, user, (await _body(request, Asked)).password)

    def work(connection: Connection) -> None:
        accounts.change_user(connection, user.id, context.now(), totp_secret=None, totp_last_step=None)
        accounts.put_recovery(connection, user.id, ())

    await context.write(work)
    auth_of(request).forget()
    record(request, "user.totp", user.name, "taken away")
    return Response(status_code=204)


def _person(request: Request) -> User:
    """Who is logged in; a token may not change what a login needs."""
    user = signed_in(request)
    if user.token:
        raise ProblemError(403, "This takes a login: a token cannot change what a login needs.")
    return user


async def _body(request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProblemError(422, "Fill in all fields.") from None


def _answer(value: object) -> Response:
    return Response(msgspec.json.encode(value), headers={"cache-control": "no-store"}, media_type="application/json")
