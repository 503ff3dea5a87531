"""What may leave the machine, or be read later by somebody else: no password, no token, no address that is a secret, no body.

:func:`scrub` is for a line that stays here (a log, a message), :func:`scrub_report` for what a third party gets to see.
Both hide too much rather than too little, and both are linear in the length of what they are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pylib.config import AppConfig
from pylib.config.redaction import HIDDEN, looks_secret, redact

__all__ = ["known_secrets", "scrub", "scrub_report"]

#: Characters of one text that a report may have, and values of one report that are looked at.
MOST_TEXT: Final = 8192
MOST_DEPTH: Final = 16

# Schemes whose rest names a machine and no secret, once its password is gone. Of any other (a notification service's) the
# whole rest is its secret: ``tgram://<token>/<chat>``, ``discord://<id>/<token>``.
_PLAIN: Final = re.compile(r"(amqps?|mqtts?|tcp|ssl|inproc|ipc|https?|wss?|file|sqlite|postgresql)(\+.*)?", re.IGNORECASE)
_URL: Final = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{1,30})://([^\s\"'<>]*)")
# Services that are let in by an address alone: all of its path is the secret.
_HOOKS: Final = ("hc-ping.com", "cronitor.", "hooks.slack.com", "discord.com/api/webhooks", "api.telegram.org", "/api/push/",
                 "maker.ifttt.com", "ntfy.sh", "ingest.sentry.io", "webhook")  # fmt: skip
_SAID: Final = re.compile(
    r"(?i)\b((?:[a-z0-9_.-]{0,40}(?:password|passwd|passphrase|secret|token|api[_-]?key|credential)s?)[\"']?\s{0,3}[=:]\s{0,3})"
    r"(\"[^\"]{0,400}\"|'[^']{0,400}'|[^\s,;&\"'})\]]{1,400})"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic|digest)\s{1,3}[A-Za-z0-9+/=._~-]{8,}")
_JWT: Final = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*")
# What is likely a body in a sentence: bytes as Python shows them, and objects as JSON or Python show them.
_BYTES: Final = re.compile(r"\bb(\"[^\"]*\"|'[^']*')")
_OBJECT: Final = re.compile(r"\{[^{}]*[:][^{}]*\}")
_BODIES: Final = frozenset(
    ("data", "body", "payload", "message_body", "content", "image", "cookies", "query_string", "env", "vars")
)
_HEADERS: Final = frozenset(("authorization", "cookie", "set-cookie"))
_SHORTEST_SECRET: Final = 4


def scrub(text: str) -> str:
    """The text without passwords in URLs, addresses that are secrets, tokens, and what is named a password. Any thread."""
    if "://" in text:
        text = _URL.sub(_url, redact(text))
    if "=" in text or ":" in text:
        text = _SAID.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return _JWT.sub(HIDDEN, text) if "eyJ" in text else text


def scrub_report(value: object, secrets: Iterable[str] = ()) -> object:
    """A report, or any value, as a third party may have it: every text scrubbed and short, and no body in it.

    :param secrets: the values that this application's settings hold, which are hidden wherever they stand.
    """
    return _clean(value, tuple(secrets), 0)


def known_secrets(config: AppConfig) -> tuple[str, ...]:
    """The values of all options that may be a secret by their name, the longest first. Reads the settings."""
    found: set[str] = set()
    for section in config.sections():
        for option, value in config.items(section):
            if looks_secret(option) or option in ("ping_url", "url", "urls"):
                found.add(value.strip())
    return tuple(sorted((each for each in found if len(each) >= _SHORTEST_SECRET), key=len, reverse=True))


def _url(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    if not _PLAIN.fullmatch(scheme):
        return f"{scheme}://{HIDDEN}"
    lower = rest.lower()
    if any(hook in lower for hook in _HOOKS):
        return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}/{HIDDEN}"
    return match.group()


def _clean(value: object, secrets: tuple[str, ...], depth: int) -> object:
    if isinstance(value, str):
        return _text(value, secrets)
    if isinstance(value, bytes | bytearray | memoryview):
        return HIDDEN
    if depth >= MOST_DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        return {name: HIDDEN if _hides(name, entry) else _clean(entry, secrets, depth + 1) for name, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(entry, secrets, depth + 1) for entry in value]
    return value


def _hides(name: object, entry: object) -> bool:
    """Whether what stands under this name goes as a whole. A crash report's own ``data`` of a breadcrumb goes as well."""
    lower = str(name).lower()
    if entry is None or isinstance(entry, bool | int | float):
        return False
    return lower in _BODIES or lower in _HEADERS or looks_secret(lower)


def _text(text: str, secrets: tuple[str, ...]) -> str:
    if len(text) > MOST_TEXT:
        text = f"{text[:MOST_TEXT]}... ({len(text)} characters)"
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return _OBJECT.sub("{***}", _BYTES.sub("b'***'", scrub(text)))
