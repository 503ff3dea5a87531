"""The first visit: nobody has an account yet, and who can read the hub's log may make the first one."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable
from typing import Final

from event_processor.web.problems import ProblemError

__all__ = ["FirstRun"]

log = logging.getLogger("event_processor.web")

VALID_FOR: Final = 1800.0
"""Seconds for which a code is good."""

TRIES: Final = 10
"""Wrong codes after which a new one is made."""

AGAIN_AFTER: Final = 60.0
"""Seconds between two codes in the log."""

_SIGNS: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"


class FirstRun:
    """The one-time code. For one thread.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._code = ""
        self._until = self._told_at = float("-inf")
        self._wrong = 0
        self.needed = False
        self.address = ""

    def begin(self, address: str) -> None:
        """Nobody has an account: tell the code on the console. ``address`` is where the dashboard is."""
        self.needed = True
        self.address = address
        self._renew()

    def visited(self) -> None:
        """Somebody looks at the page for the first visit: where the code is over, there is another one in the log."""
        if self.needed and self._clock() > self._until and self._clock() - self._told_at >= AGAIN_AFTER:
            self._renew()

    def check(self, code: str) -> None:
        """Raises ``ProblemError``: 409 where the set-up is done, 403 where the code is wrong or over."""
        if not self.needed:
            raise ProblemError(409, "The set-up is done already: log in.")
        given = "".join(sign for sign in code.upper() if sign.isalnum())
        now = self._clock()
        if now <= self._until and hmac.compare_digest(given.encode(), self._code.replace("-", "").encode()):
            return
        self._wrong += 1
        if self._wrong >= TRIES:
            self._until = float("-inf")
        self.visited()
        raise ProblemError(403, "This is not the code, or it is over. The latest one is in the hub's log.")

    def done(self) -> None:
        """There is an account now; the code is used up."""
        self.needed = False
        self._code, self._until = "", float("-inf")

    def _renew(self) -> None:
        self._code = "-".join("".join(secrets.choice(_SIGNS) for _ in range(4)) for _ in range(3))
        self._told_at = self._clock()
        self._until = self._told_at + VALID_FOR
        self._wrong = 0
        log.warning(
            "Nobody has an account for the dashboard yet: open %s/setup and enter the code %s, which is good for %d minutes.",
            self.address,
            self._code,
            VALID_FOR // 60,
        )
