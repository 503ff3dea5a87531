"""Dead letters, for the API: look at them, change them, have them tried again, drop them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Final, TypeVar

import msgspec

from event_processor.web.api.fields import Limit
from event_processor.web.api.router import Call, Operation
from event_processor.web.context import HubContext
from event_processor.web.problems import ProblemError
from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import Letter, NoSuchLetter, Summary
from pylib.errors import Rejected

__all__ = ["OPERATIONS", "with_letters"]

T = TypeVar("T")
Ident = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
MOST_SKIPPED: Final = 1_000_000


class LetterOut(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter. ``body`` is base64; ``text`` the same where it is UTF-8."""

    summary: Summary
    body: str
    text: str | None
    content_type: str | None
    expired: bool


class Letters(msgspec.Struct, frozen=True):
    """Dead letters, the latest first; ``next`` is the ``offset`` of the next page."""

    items: tuple[Summary, ...]
    total: int
    next: int | None = None


class Numbered(msgspec.Struct, frozen=True):
    id: int


class LettersAsked(msgspec.Struct, frozen=True, kw_only=True):
    address: str | None = None
    origin: str | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=MOST_SKIPPED)] = 0
    limit: Limit = 50


class ById(msgspec.Struct, frozen=True):
    id: Ident


class ReplayIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``force`` has it tried although its time is over."""

    force: bool = False


class BodyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the message should have said: ``text``, or ``body`` in base64."""

    text: Annotated[str, msgspec.Meta(max_length=1_000_000)] | None = None
    body: Annotated[str, msgspec.Meta(max_length=1_400_000)] | None = None


async def with_letters(context: HubContext, work: Callable[[DeadLetters], T]) -> T:
    """Open the file, do something with it, and close it, away from the loop. Raises ``ProblemError`` 404 or 409."""

    def run() -> T:
        with closing(DeadLetters(context.letters, context.runtime.clock)) as letters:
            return work(letters)

    try:
        return await context.read(run)
    except NoSuchLetter:
        raise ProblemError(
            404, "There is no such dead letter: it was replayed, dropped, or made room for newer ones."
        ) from None
    except Rejected:
        text = "Its time is over: what it asks for may no longer be wanted. Use force to have it tried all the same."
        raise ProblemError(409, text) from None


async def letters(call: Call[LettersAsked, None]) -> Letters:
    asked = call.params

    def work(found: DeadLetters) -> Letters:
        rows = found.list(asked.limit + 1, asked.offset, address=asked.address, origin=asked.origin)
        more = asked.offset + asked.limit if len(rows) > asked.limit else None
        return Letters(tuple(rows[: asked.limit]), found.count(), more)

    return await with_letters(call.context, work)


async def letter(call: Call[ById, None]) -> LetterOut:
    found = await with_letters(call.context, lambda letters: letters.show(call.params.id))
    return _shown(found, call.context.now())


async def replay(call: Call[ById, ReplayIn]) -> None:
    await with_letters(call.context, lambda letters: letters.replay(call.params.id, call.body.force))


async def drop(call: Call[ById, None]) -> None:
    await with_letters(call.context, lambda letters: letters.drop(call.params.id))


async def edit(call: Call[ById, BodyIn]) -> Numbered:
    """A message with another body takes its place, under a number of its own; it is a dead letter still."""
    given = call.body
    if (given.text is None) == (given.body is None):
        raise ProblemError(422, "Give either text or body.")
    try:
        body = given.text.encode() if given.text is not None else base64.b64decode(given.body or "", validate=True)
    except (binascii.Error, ValueError):
        raise ProblemError(422, "body: this is no base64.") from None
    now = call.context.now()

    def work(letters: DeadLetters) -> int:
        old = letters.show(call.params.id)
        ident = letters.add(msgspec.structs.replace(old, ident=0, body=body, parked_at=now))
        letters.drop(old.ident)
        return ident

    ident = await with_letters(call.context, work)
    call.record("dead_letter.edit", f"{call.params.id}", f"it is {ident} now")
    return Numbered(ident)


def _shown(letter: Letter, now: float) -> LetterOut:
    try:
        text: str | None = letter.body.decode()
    except UnicodeDecodeError:
        text = None
    summary = Summary(
        ident=letter.ident,
        origin=letter.origin,
        broker=letter.broker,
        address=letter.address,
        key=letter.key,
        message_id=letter.message_id,
        created_at=letter.created_at,
        expires_at=letter.expires_at,
        received_at=letter.received_at,
        parked_at=letter.parked_at or 0.0,
        tries=letter.tries,
        size=len(letter.body),
        error=letter.error,
    )
    return LetterOut(
        summary=summary,
        body=base64.b64encode(letter.body).decode(),
        text=text,
        content_type=letter.content_type,
        expired=letter.expired(now),
    )


OPERATIONS: Final = (
    Operation(name="dead_letters", method="GET", path="/dead-letters", role="operator", handler=letters, params=LettersAsked,
              answer=Letters, tag="dead letters", summary="Messages that were given up, the latest first"),
    Operation(name="dead_letter", method="GET", path="/dead-letters/{id}", role="operator", handler=letter, params=ById,
              answer=LetterOut, tag="dead letters", summary="One of them, whole"),
    Operation(name="dead_letter.replay", method="POST", path="/dead-letters/{id}/replay", role="operator", handler=replay,
              params=ById, body=ReplayIn, tag="dead letters", summary="Have it tried again"),
    Operation(name="dead_letter.edit", method="PUT", path="/dead-letters/{id}/body", role="operator", handler=edit,
              params=ById, body=BodyIn, answer=Numbered, tag="dead letters",
              summary="Give it another body, under another number"),
    Operation(name="dead_letter.drop", method="DELETE", path="/dead-letters/{id}", role="operator", handler=drop, params=ById,
              tag="dead letters", summary="Forget it for good"),
)  # fmt: skip
