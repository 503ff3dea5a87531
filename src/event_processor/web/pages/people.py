"""Settings: accounts, logins, tokens, the second factor; the level of the log, a backup, and who did what.

The pages only show. What is changed is asked of the API by the page's script, so that there is one place that may do it.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from event_processor.store.reader import Cursor
from event_processor.web.auth import accounts, context_of, require, signed_in
from event_processor.web.auth.values import ROLES, SCOPES
from event_processor.web.pages.render import page
from event_processor.web.problems import ProblemError

__all__ = ["audit", "settings"]

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
PER_PAGE: Final = 100
"""Entries of the audit on one page."""


@require("viewer")
async def settings(request: Request) -> Response:
    """Your own account; and for an admin everybody's, and the hub's."""
    context, user = context_of(request), signed_in(request)
    admin = user.role == "admin"
    whose = None if admin else user.id
    people = await context.read(accounts.accounts, context.reader)
    me = next((each for each in people if each.id == user.id), None)
    if me is None:
        raise ProblemError(401, "This account is gone.")
    store = context.store()
    return page(
        request,
        "settings.html",
        at="settings",
        me=me,
        people=people if admin else (),
        sessions=await context.read(accounts.sessions, context.reader, whose, context.now(), user.session),
        tokens=[each for each in await context.read(accounts.tokens, context.reader, whose) if each.revoked_at is None],
        roles=ROLES,
        scopes=tuple(SCOPES),
        levels=LEVELS,
        level=logging.getLevelName(logging.getLogger().getEffectiveLevel()),
        store=store,
        listens={
            "MQTT": ", ".join(context.settings.subscriptions),
            "RabbitMQ": f"{context.settings.rabbitmq.mq_exchange}, {context.settings.rabbitmq.topic_filter}",
        },
    )


@require("admin")
async def audit(request: Request) -> Response:
    """Who did what, when and from where; the latest first."""
    context = context_of(request)
    who = request.query_params.get("who", "")[:64]
    try:
        after = Cursor.parse(request.query_params["after"]) if "after" in request.query_params else None
    except ValueError:
        raise ProblemError(400, "The address of this page has a place in it that cannot be read.") from None
    found = await context.read(accounts.audit_page, context.reader, after, PER_PAGE, who or None, None)
    here = {"who": who} if who else {}
    following = f"/settings/audit?{urlencode({**here, 'after': str(found.next)})}" if found.next is not None else ""
    return page(request, "audit.html", at="settings", entries=found.rows, who=who, next=following)
