"""A file of text that people change here and with an editor: its text, its version, and whether it was changed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeAlias

from event_processor.web.problems import ProblemError

__all__ = ["Stamp", "read_text", "stamp_of", "version_of"]

Stamp: TypeAlias = tuple[int, int, int]


def read_text(path: Path) -> str:
    """The text of a file; empty where there is none. Raises ``OSError``, and ``ProblemError`` 409 for what is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ProblemError(409, f"{path.name} is no UTF-8: mend it with an editor on that machine.") from None


def version_of(text: str) -> str:
    """The version of a text: another one when anything in it is another."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stamp_of(path: Path) -> Stamp:
    """What is another one when the file was changed, or replaced by one of the same size within a tick of the clock."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
