"""A message's payload as a person may see it: decoded, without secrets, and without power over the terminal."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from pylib.config.redaction import HIDDEN, looks_secret, redact
from pylib.data import JSON, MSGPACK, decode
from pylib.errors import DecodeError

__all__ = ["Preview", "preview", "safe_value", "visible"]

_TEXT_LIMIT: Final = 20_000
_HEX_LIMIT: Final = 256

# `password=...`, `"token": "..."` in what is text only: up to the end of the value. Bounded, hence linear.
_ASSIGNED: Final = re.compile(
    r"""(?i)((?:pass(?:word|wd|phrase)?|token|secret|credential|api[_-]?key)[\w.-]{0,40}["']?\s{0,9}[=:]\s{0,9})"""
    r"""("[^"]*"|'[^']*'|[^\s,;&"']+)"""
)


class Preview(msgspec.Struct, frozen=True):
    """``value`` for JSON, ``text`` for a terminal, and what the payload turned out to be."""

    kind: str
    value: object
    text: str


def preview(body: bytes, content_type: str | None) -> Preview:
    """Decode what can be decoded. Never raises: a payload that nobody can decode is shown in hexadecimal."""
    if not body:
        return Preview("empty", None, "")
    for kind in _candidates(body, content_type):
        try:
            value = _hide(decode(body, kind))
            encoded = msgspec.json.encode(value)
            text = msgspec.json.format(encoded, indent=2).decode()
        except (DecodeError, msgspec.MsgspecError, ValueError, TypeError):
            continue
        name = "JSON" if "json" in kind else "MessagePack"
        return Preview(name, msgspec.json.decode(encoded), _shortened(visible(text, lines=True), len(text)))
    try:
        whole = body.decode()
    except UnicodeDecodeError:
        return _hexadecimal(body)
    if "\0" in whole:
        return _hexadecimal(body)
    # Twice what is shown is looked at, so that a secret that the end cuts in two is hidden, too.
    text = _shortened(visible(_hide_text(whole[: 2 * _TEXT_LIMIT]), lines=True), len(whole))
    return Preview("text", text, text)


def safe_value(value: object, name: str = "") -> str:
    """A header's value on one line, hidden where its name says that it is a secret."""
    if looks_secret(name):
        return HIDDEN
    hidden = _hide(value)
    return visible(hidden if isinstance(hidden, str) else repr(hidden))


def visible(text: str, *, lines: bool = False) -> str:
    """``text`` with every character spelt out that could move the cursor or hide text; ``lines`` keeps line ends."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or (lines and c in "\n\t") else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _candidates(body: bytes, content_type: str | None) -> list[str]:
    if content_type:
        return [content_type]
    # A byte below 0x80 is MessagePack, too, and any text begins with one: only a map or an array is convincing.
    first = body[0]
    container = 0x80 <= first <= 0x9F or first in (0xDC, 0xDD, 0xDE, 0xDF)
    return [JSON, MSGPACK] if container else [JSON]


def _hide(value: object) -> object:
    if isinstance(value, dict):
        return {key: HIDDEN if looks_secret(str(key)) else _hide(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(inner) for inner in value]
    return _hide_text(value) if isinstance(value, str) else value


def _hide_text(text: str) -> str:
    return _ASSIGNED.sub(rf"\g<1>{HIDDEN}", redact(text))


def _hexadecimal(body: bytes) -> Preview:
    rest = f" ... and {len(body) - _HEX_LIMIT} bytes more" if len(body) > _HEX_LIMIT else ""
    text = body[:_HEX_LIMIT].hex(" ") + rest
    return Preview("binary", text, text)


def _shortened(text: str, whole: int) -> str:
    """What is shown of a text of ``whole`` characters."""
    if whole <= _TEXT_LIMIT:
        return text
    return f"{text[:_TEXT_LIMIT]}\n... and {max(1, whole - _TEXT_LIMIT)} characters more"
