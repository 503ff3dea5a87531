"""What a picture is: how it comes in a message, by what its kind is known, and what it is called once it is on disk.

A device sends a picture as it is, or in Base64 (RFC 4648) where the message is JSON or text. Pure functions, any thread.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from event_processor.domain.outcome import Change
from pylib.errors import DecodeError

__all__ = ["MOST_BYTES", "TYPE", "decoded", "digest_of", "is_name", "kind_of_picture", "name_of", "names_in"]

MOST_BYTES: Final = 10 * 1024 * 1024
"""Bytes of one picture, at most."""

TYPE: Final = "picture"
"""The type of an entity whose value is a picture: its name."""

_MOST_ENCODED: Final = (
    MOST_BYTES * 4 // 3 + MOST_BYTES // 32
)  # with a line break every 64 characters, and some words before it
_NAME: Final = re.compile(r"\d{4}/\d{2}/\d{2}/[0-9a-f]{64}\.(?:jpg|png|gif|webp)", re.ASCII)
_STORED: Final = re.compile(rb'"(' + _NAME.pattern.encode() + rb')"')
_KINDS: Final = (
    (re.compile(rb"\xff\xd8\xff"), "jpg", "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png", "image/png"),
    (re.compile(rb"GIF8[79]a"), "gif", "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp", "image/webp"),
)
# How a picture begins in a page's address (RFC 2397), which browsers' own programs send.
_DATA_URL: Final = re.compile(rb"data:[\w.+/-]{0,100};base64,")


def decoded(value: object) -> bytes:
    """The picture in a field or a body: bytes as they are, or Base64 as text or bytes.

    Raises ``DecodeError`` for what is neither, or larger than ``MOST_BYTES``. The reason is the same for all pictures that are
    refused for it, so that it can be said once.
    """
    if isinstance(value, str):
        if len(value) > _MOST_ENCODED:
            raise _too_large()
        value = value.encode("ascii", "replace")
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise DecodeError("expected a picture: bytes, or text in Base64")
    data = bytes(value)
    if kind_of_picture(data) is None:
        if len(data) > _MOST_ENCODED:
            raise _too_large()
        text = _DATA_URL.sub(b"", data, count=1) if data.startswith(b"data:") else data
        try:
            data = binascii.a2b_base64(text.translate(None, b" \t\r\n"), strict_mode=True)
        except (binascii.Error, ValueError):
            data = b""
        if kind_of_picture(data) is None:
            raise DecodeError("this is no picture: neither JPEG nor PNG, GIF or WebP, as it is or in Base64")
    if len(data) > MOST_BYTES:
        raise _too_large()
    return data


def _too_large() -> DecodeError:
    return DecodeError(f"the picture is too large: {MOST_BYTES // 1024**2} MiB are the limit")


def kind_of_picture(data: bytes) -> tuple[str, str] | None:
    """How the file is to end and its content type, by the first bytes; ``None`` for what a browser does not show."""
    for pattern, ending, content_type in _KINDS:
        if pattern.match(data):
            return ending, content_type
    return None


def digest_of(sha256: str, device: str) -> str:
    """By what a device's picture is known, given the hash of its content: no word of the device's stands in it."""
    return hashlib.sha256(f"{device}\0{sha256}".encode("utf-8", "replace")).hexdigest()


def name_of(sha256: str, ending: str, device: str, at: float) -> str:
    """What a device's picture of that moment (seconds since the epoch) is called: by day, device and content. The same picture
    of the same device on the same day has the same name."""
    return f"{datetime.fromtimestamp(at, UTC):%Y/%m/%d}/{digest_of(sha256, device)}.{ending}"


def is_name(text: object) -> bool:
    """Whether this is what a picture is called. Nothing that leads out of the folder of pictures is."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def names_in(changes: Iterable[Change]) -> Mapping[str, str]:
    """The last picture of each entity, by the values that were stored."""
    found = {}
    for change in changes:
        if change.scope == "value" and change.value is not None and (name := _STORED.search(change.value)) is not None:
            found[change.key] = name[1].decode("ascii")
    return found
