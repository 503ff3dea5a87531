"""One's own account: another password, the second factor. The page's script asks, with JSON, and shows what is shown once."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from event_processor.web.auth import own, require
from event_processor.web.auth.current import unrecorded
from event_processor.web.problems import ProblemError

__all__ = ["password", "totp", "totp_confirm", "totp_remove"]

T = TypeVar("T")
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password until now, and the new one."""

    old: Word
    new: Word


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who changes what a login needs says the password once more."""

    password: Word


class Confirmed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code that the app has made of the secret that was offered."""

    code: Annotated[str, msgspec.Meta(max_length=10)]


@require("viewer")
async def password(request: Request) -> Response:
    """Another password. Every login of this account ends, this one too."""
    unrecorded(request)  # what is called here writes the audit itself, in its own words
    asked = await _body(request, Change)
    await own.change_password(request, asked.old, asked.new)
    return Response(status_code=204)


@require("viewer")
async def totp(request: Request) -> Response:
    """Offer a second factor: nothing is in force before it is confirmed."""
    unrecorded(request)
    return _answer(await own.offer_second_factor(request, (await _body(request, Asked)).password))


@require("viewer")
async def totp_confirm(request: Request) -> Response:
    """Put it in force, and give the recovery codes."""
    unrecorded(request)
    codes = await own.confirm_second_factor(request, (await _body(request, Confirmed)).code)
    return _answer({"recovery_codes": codes})


@require("viewer")
async def totp_remove(request: Request) -> Response:
    """Take it away."""
    unrecorded(request)
    await own.drop_second_factor(request, (await _body(request, Asked)).password)
    return Response(status_code=204)


async def _body(request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProblemError(422, "Fill in all fields.") from None


def _answer(value: object) -> Response:
    return Response(msgspec.json.encode(value), headers={"cache-control": "no-store"}, media_type="application/json")
