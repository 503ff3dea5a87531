"""What may be shown: secrets are known by the names of their options, and passwords by their place in a URL."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HIDDEN", "looks_secret", "redact", "shown"]

HIDDEN: Final = "***"

_SECRET_WORDS: Final = re.compile(r"pass(word|wd|phrase)?|token|secret|key|credential|dsn", re.IGNORECASE)
_WORD: Final = re.compile(r"\S+")


def looks_secret(option: str) -> bool:
    """Whether an option of this name may hold a secret, so that its value must not be shown."""
    return _SECRET_WORDS.search(option) is not None


def redact(text: str) -> str:
    """Replace the password of every URL in ``text``: ``amqp://me:***@host``. Linear in the length of ``text``.

    A password may itself contain ``@``, ``:`` or ``/``, so everything from the first colon after ``://`` to the last
    ``@`` of the same word goes. Too much is hidden rather than too little.
    """
    if "://" not in text or "@" not in text:
        return text
    return _WORD.sub(_redact_word, text)


def _redact_word(match: re.Match[str]) -> str:
    word = match.group()
    start = word.find("://")
    end = word.rfind("@")
    if start < 0 or end < start:
        return word
    colon = word.find(":", start + 3, end)
    return word if colon < 0 else f"{word[: colon + 1]}{HIDDEN}{word[end:]}"


def shown(option: str, value: str) -> str:
    """The value of an option as a message may show it: quoted, cut to one short line, or hidden."""
    if looks_secret(option):
        return f"{HIDDEN} (not shown)"
    if "://" in value and "@" in value:
        return f"a URL with a user in it ({HIDDEN}, not shown)"
    return '"' + (value if len(value) <= 80 else value[:77] + "...").replace("\n", "\\n") + '"'
