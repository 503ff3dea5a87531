"""Who may do what: accounts, sessions, tokens, and the guard in front of everything.

``current(request)`` is who asks; ``require("operator")`` decorates what not everybody may do; ``page_context`` gives pages
``user``, ``csrf`` and ``nonce``; ``auth_of(request)`` is the object that logs people in and out and keeps the accounts.
"""

from __future__ import annotations

from event_processor.web.auth.current import (
    auth_of,
    context_of,
    csrf_token,
    current,
    nonce,
    page_context,
    record,
    require,
    signed_in,
    unrecorded,
)
from event_processor.web.auth.values import Role, User, may

__all__ = [
    "Role", "User", "auth_of", "context_of", "csrf_token", "current", "may", "nonce", "page_context", "record", "require",
    "signed_in", "unrecorded",
]  # fmt: skip
