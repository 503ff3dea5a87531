"""Passwords: how they are kept (argon2id), and which ones are taken."""

from __future__ import annotations

import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from event_processor.web.problems import ProblemError

__all__ = ["LONGEST", "SHORTEST", "Passwords", "check_password"]

SHORTEST: Final = 10
"""Characters of a password, at least."""

LONGEST: Final = 256
"""Characters of a password, at most: hashing a book would take long."""

# OWASP's password storage cheat sheet names these for argon2id, with 19 MiB at a time: it has to run on a small machine.
_MEMORY_KIB: Final = 19_456
_ROUNDS: Final = 2
_COMMON: Final = frozenset(
    ("password", "passwort", "1234567890", "123456789", "qwertyuiop", "qwertzuiop", "letmein", "iloveyou", "homeassistant",
     "eventprocessor", "changeme", "raspberry", "administrator", "welcome")
)  # fmt: skip


class Passwords:
    """Hashes and compares. Takes some 30 ms each on purpose: away from the loop. Any thread."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_ROUNDS, memory_cost=_MEMORY_KIB, parallelism=1)
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    def hash(self, password: str) -> str:
        """What is kept of a password."""
        return self._hasher.hash(password)

    def matches(self, stored: str | None, password: str) -> bool:
        """Whether it is the one. Without an account (``None``) it takes as long, and it is not."""
        if len(password) > LONGEST:  # nobody has such a one, and its beginning is another one
            stored, password = None, password[:LONGEST]
        try:
            self._hasher.verify(stored if stored is not None else self._nobody, password)
        except (Argon2Error, InvalidHashError):
            return False
        return stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether it was hashed in another way than it would be today."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return True


def check_password(password: str, name: str) -> None:
    """Raises ``ProblemError`` 422 for one that is too easy to guess."""
    plain = "".join(sign for sign in password.lower() if sign.isalnum()).rstrip("0123456789")
    if len(password) < SHORTEST:
        raise ProblemError(422, f"A password has {SHORTEST} characters at least.")
    if len(password) > LONGEST:
        raise ProblemError(422, f"A password has {LONGEST} characters at most.")
    if len(set(password)) < 5 or plain in _COMMON or password.lower() in _COMMON or plain == name.lower():
        raise ProblemError(422, "This password is among the first that are tried. Several words in a row are a good one.")
