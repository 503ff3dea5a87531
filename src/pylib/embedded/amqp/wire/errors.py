"""What a client did wrong, as AMQP says it: a reply code, a text, and whether the channel or the connection ends."""

from __future__ import annotations

from typing import Final, NoReturn

__all__ = ["NAMES", "AmqpError", "Malformed", "fail", "reply_text"]

#: Reply codes of AMQP 0-9-1, section 1.2, by their names as RabbitMQ writes them.
NAMES: Final = {
    311: "CONTENT_TOO_LARGE",
    312: "NO_ROUTE",
    313: "NO_CONSUMERS",
    320: "CONNECTION_FORCED",
    402: "INVALID_PATH",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    506: "RESOURCE_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}

#: Codes that end the channel alone; all others end the connection.
_SOFT: Final = frozenset({311, 312, 313, 403, 404, 405, 406})

_LONGEST: Final = 255


class Malformed(Exception):
    """Bytes that are not what they claim to be. Translated into an AmqpError where the channel and method are known."""


class AmqpError(Exception):
    """A misuse, to be answered with channel.close or connection.close.

    code    reply code
    text    explanation, without the code's name
    hard    whether the connection ends (by default as the code says)
    method  (class id, method id) of the failing method; None: that of the method at hand
    """

    def __init__(self, code: int, text: str, *, hard: bool | None = None, method: tuple[int, int] | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.hard = code not in _SOFT if hard is None else hard
        self.method = method


def fail(code: int, text: str) -> NoReturn:
    """Raise the AmqpError of a code."""
    raise AmqpError(code, text)


def reply_text(code: int, text: str) -> str:
    """The text of a close frame: ``NAME - explanation``, cut to what a short string holds."""
    whole = f"{NAMES.get(code, 'INTERNAL_ERROR')} - {text}".encode("utf-8", "surrogateescape")
    if len(whole) > _LONGEST:
        whole = whole[: _LONGEST - 3] + b"..."
    return whole.decode("utf-8", "surrogateescape")
