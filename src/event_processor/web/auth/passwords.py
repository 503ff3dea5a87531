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
    ("password", "passwort", "letmein", "iloveyou", "homeassistant", "eventprocessor", "changeme", "raspberry", "raspberrypi",
     "administrator", "admin", "welcome", "willkommen", "sunshine", "football", "superman", "computer", "internet", "secret",
     "geheim", "hallo", "mosquitto", "rabbitmq", "zigbee2mqtt")
)  # fmt: skip
_ROWS: Final = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm",
                "azertyuiopqsdfghjklmwxcvbn", "1q2w3e4r5t6y7u8i9o0p", "1q2w3e4r5t6z7u8i9o0p")  # fmt: skip
_SHORTEST_ROW: Final = 5
# Signs that stand for letters.
_LETTERS: Final = str.maketrans("@430$!15", "aaeosiis")


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
    low = password.lower()
    words = {_plain(low), _plain(low.rstrip("0123456789!?.#*-_").translate(_LETTERS))}
    if len(password) < SHORTEST:
        raise ProblemError(422, f"A password has {SHORTEST} characters at least.")
    if len(password) > LONGEST:
        raise ProblemError(422, f"A password has {LONGEST} characters at most.")
    common = _COMMON | {_plain(name.lower())}
    if len(set(low)) < 5 or any(word in common or _once(word) in common for word in words) or _in_a_row(low, *words):
        raise ProblemError(422, "This password is among the first that are tried. Several words in a row are a good one.")


def _plain(text: str) -> str:
    """A text without what people put around a word: signs, and digits at its end."""
    return "".join(sign for sign in text if sign.isalnum()).rstrip("0123456789")


def _once(text: str) -> str:
    """What a text repeats, or the text."""
    period = (text + text).find(text, 1)
    return text[:period]


def _in_a_row(*texts: str) -> bool:
    """Whether one of them is keys or letters in their order, there or back, however often."""
    found = [_once(text) for text in texts if len(text) >= _SHORTEST_ROW]
    return any(text in row * 2 or text[::-1] in row * 2 for row in _ROWS for text in found)
