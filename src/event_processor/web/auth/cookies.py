"""What the cookies are called: of a login, and of a form before one."""

from __future__ import annotations

from typing import Final

__all__ = ["ANONYMOUS", "SESSION", "cookie_name"]

SESSION: Final = "event_processor_session"
ANONYMOUS: Final = "event_processor_form"


def cookie_name(name: str, secure: bool) -> str:
    """The cookie's name: under TLS with the prefix with which browsers take it from this very host, and over TLS, only."""
    return f"__Host-{name}" if secure else name
