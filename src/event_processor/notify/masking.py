"""No secret in a log: what Apprise and the HTTP library below it say is passed on without the parts of any target's URL."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from pylib.config.redaction import HIDDEN

__all__ = ["LogGuard", "Mask"]

LOGGERS: Final = ("apprise", "urllib3.connectionpool", "urllib3.util.retry", "requests")
_SHORTEST: Final = 4
_PARTS: Final = re.compile(r"[/?&=:@,;+\s]+")


class Mask:
    """Replaces every part of the URLs that could be a secret: user, password, host (a token, for many services), path, query.

    Too much is hidden rather than too little. Any thread may call it.
    """

    __slots__ = ("_pattern",)

    def __init__(self, urls: Iterable[str]) -> None:
        found: set[str] = set()
        for url in urls:
            split = urlsplit(url)
            rest = url.partition("://")[2] or url
            pieces = {rest, split.password or "", split.username or "", *_PARTS.split(rest)}
            for piece in pieces:
                found |= {piece, unquote(piece), quote(piece, safe=""), quote(unquote(piece), safe="")}
        secrets = sorted((part for part in found if len(part) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, secrets)), re.IGNORECASE) if secrets else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


class LogGuard(logging.Filter):
    """Masks the records of the loggers below, and keeps the last warning of a sending thread, which tells why it failed.

    ``install`` and ``remove`` are called by the notifier's thread, when it starts and when it ends.
    """

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask
        self._said: dict[int, str] = {}

    def install(self) -> None:
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def remove(self) -> None:
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)

    def listen(self) -> None:
        """From now on the calling thread is a sending one: its warnings are told by the notifier, and not logged twice."""
        self._said[threading.get_ident()] = ""

    def said(self) -> str:
        """The last warning of the calling thread, masked; it listens no more."""
        return self._said.pop(threading.get_ident(), "")

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._mask(record.getMessage()), None
        if record.exc_info:
            record.msg += self._mask(f" {record.exc_info[0].__name__}: {record.exc_info[1]}" if record.exc_info[0] else "")
            record.exc_info = record.exc_text = None
        if record.levelno >= logging.WARNING and record.thread in self._said:
            self._said[record.thread] = str(record.msg)
            return False
        return True
