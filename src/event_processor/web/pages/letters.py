"""Dead letters: look at one, change it, have it tried again, drop it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from event_processor.web.auth import context_of, require
from event_processor.web.auth.current import record
from event_processor.web.context import HubContext
from event_processor.web.pages.render import page
from event_processor.web.problems import ProblemError
from pylib.delivery.dead_letters import DeadLetters
from pylib.delivery.letters import Letter, NoSuchLetter
from pylib.errors import Rejected
from pylib.tools.preview import preview, safe_value

__all__ = ["letter", "letter_do", "letter_list"]

T = TypeVar("T")

PER_PAGE: Final = 50
"""Dead letters on one page."""
MOST_EDITED: Final = 200_000
"""Bytes of a body that can be changed on a page."""


@require("operator")
async def letter_list(request: Request) -> Response:
    """The newest first."""
    context = context_of(request)
    text = request.query_params.get("from", "0")
    offset = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0
    found = await _with(context, lambda letters: letters.list(PER_PAGE + 1, offset))
    totals = await _with(context, lambda letters: letters.totals())
    return page(
        request,
        "letters.html",
        at="dead-letters",
        letters=found[:PER_PAGE],
        totals=totals,
        next=f"/dead-letters?from={offset + PER_PAGE}" if len(found) > PER_PAGE else "",
    )


@require("operator")
async def letter(request: Request) -> Response:
    """One, decoded and without secrets; who may change it sees the body as it is."""
    context, ident = context_of(request), request.path_params["ident"]
    found = await _with(context, lambda letters: letters.show(ident))
    shown = preview(found.body, found.content_type)
    return page(
        request,
        "letter.html",
        at="dead-letters",
        letter=found,
        shown=shown,
        text=_editable(found),
        headers=[(str(name), safe_value(value, str(name))) for name, value in found.headers.items()],
        expired=found.expired(context.now()),
    )


@require("operator")
async def letter_do(request: Request) -> Response:
    """Have it tried again (as it is, or with another body), or drop it."""
    context, ident = context_of(request), request.path_params["ident"]
    form = await request.form(max_fields=10, max_part_size=2 * MOST_EDITED)
    what, body = str(form.get("do", "")), str(form.get("body", "")).replace("\r\n", "\n").encode()
    force = form.get("force") == "yes"

    def drop(letters: DeadLetters) -> None:
        letters.drop(ident)

    def replay(letters: DeadLetters) -> None:
        letters.replay(ident, force)

    def changed(letters: DeadLetters) -> None:
        """The changed one is a letter of its own: whoever saw the first one does not take it for that."""
        old = letters.show(ident)
        new = msgspec.structs.replace(old, ident=0, body=body, message_id=None)
        number = letters.add(new)
        try:
            letters.replay(number, force)
        except Rejected:
            letters.drop(number)
            raise
        letters.drop(ident)

    work = {"drop": drop, "replay": replay, "edit": changed}.get(what)
    if work is None or (what == "edit" and len(body) > MOST_EDITED):
        raise ProblemError(422, "A dead letter can be replayed, changed and replayed, or dropped.")
    await _with(context, work)
    record(request, f"dead_letter.{what}", str(ident))
    if "hx-request" in request.headers:
        return Response("", 200, {"HX-Redirect": "/dead-letters"})
    return RedirectResponse("/dead-letters", 303)


def _editable(found: Letter) -> str | None:
    """The body where it is text of a size that a page can take."""
    if len(found.body) > MOST_EDITED:
        return None
    try:
        text = found.body.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


async def _with(context: HubContext, work: Callable[[DeadLetters], T]) -> T:
    def run() -> T:
        with closing(DeadLetters(context.letters)) as letters:
            return work(letters)

    try:
        return await context.read(run)
    except NoSuchLetter as error:
        raise ProblemError(404, str(error)) from None
    except Rejected as error:
        raise ProblemError(409, str(error)) from None
