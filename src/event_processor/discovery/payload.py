"""One MQTT message while it is read: bytes, text and JSON, each made at most once."""

from __future__ import annotations

import json
from typing import Final, TypeAlias

import msgspec

from event_processor.domain.fields import Scalar
from pylib.errors import DecodeError

__all__ = ["LONGEST_TEXT", "MOST_PAYLOAD", "Payload", "as_scalar", "as_text"]

MOST_PAYLOAD: Final = 256 * 1024
"""Bytes in an announcement or a state message; larger ones are left out. A picture is not a state."""
LONGEST_TEXT: Final = 4096
"""Characters of a reported text that are kept."""

_UNREAD: Final = object()
Json: TypeAlias = object


class Payload:
    """The body of one message. ``now`` is its arrival, in seconds since the epoch."""

    __slots__ = ("_json", "_text", "body", "now", "retained", "topic")

    def __init__(self, topic: str, body: bytes, *, retained: bool, now: float) -> None:
        self.topic, self.body, self.retained, self.now = topic, body, retained, now
        self._text: str | None = None
        self._json: object = _UNREAD

    @property
    def text(self) -> str:
        """The body as text. Raises ``DecodeError`` where it is none, or too long."""
        if self._text is None:
            self._check()
            try:
                self._text = self.body.decode("utf-8")
            except UnicodeDecodeError:
                raise DecodeError("the payload is not text in UTF-8") from None
        return self._text

    @property
    def json(self) -> Json:
        """The body as JSON. Raises ``DecodeError`` where it is none, or too long or too deep."""
        if self._json is _UNREAD:
            self._check()
            try:
                self._json = msgspec.json.decode(self.body)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                raise DecodeError("the payload is not JSON") from None
        return self._json

    def object(self) -> dict[str, object]:
        """The body as a JSON object."""
        found = self.json
        if not isinstance(found, dict):
            raise DecodeError("expected a JSON object")
        return found

    def json_or_none(self) -> Json:
        """The body as JSON, or ``None`` where it is none."""
        try:
            return self.json
        except DecodeError:
            return None

    def _check(self) -> None:
        if len(self.body) > MOST_PAYLOAD:
            raise DecodeError(f"the payload has {len(self.body)} bytes, and {MOST_PAYLOAD} is the most that is read")


def as_text(value: object) -> str:
    """Write a value as Home Assistant's templates do: ``True``, ``21.5``, ``None``; objects and lists as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, default=str)
    return str(value)


def as_scalar(value: object) -> Scalar:
    """Keep a single value as it is, and write an object or a list as JSON text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return as_text(value)[:LONGEST_TEXT]
